//! Which part of a WHERE clause is the key: what a statement reads or writes, once its table is known.

use super::Select;
use super::error::{Parsed, StatementError, refused};
use crate::condition::{Comparator, Condition, Operand, Path, Step};
use crate::key::{Key, KeySchema, KeyType, SortCondition};
use crate::value::Value;

/// What a SELECT reads. The whole WHERE clause is the filter in every case: what the key has already
/// decided holds again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Item collections, or runs in them, that do not overlap, in the order to read them in.
    Query {
        parts: Vec<KeyPart>,
        forward: bool,
    },
    Scan,
}

/// One partition key and what is asked of the sort key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    pub partition: Value,
    pub sort: Option<SortCondition>,
}

impl Select {
    /// How to read it. `schema` is that of the table or of the index that is asked.
    pub fn read(&self, schema: &KeySchema) -> Result<Read, StatementError> {
        let parts = self.condition.as_ref().and_then(|condition| parts(condition, schema));
        let Some(mut parts) = parts else {
            return match (self.order.is_empty(), &self.condition) {
                (true, _) => Ok(Read::Scan),
                (false, None) => {
                    refused("Must have WHERE clause in the statement when using ORDER BY clause.")
                }
                (false, Some(_)) => refused(
                    "Must have at least one non-optional hash key condition in WHERE clause when \
                     using ORDER BY clause.",
                ),
            };
        };
        for part in &parts {
            check(&part.partition, schema.partition.kind, &schema.partition.name)?;
        }
        parts = merged(parts);
        let mut forward = true;
        let mut by_partition = None;
        for order in &self.order {
            let is = |name: &String| *name == order.attribute;
            if is(&schema.partition.name) {
                by_partition = Some(order.descending);
            } else if schema.sort.as_ref().is_some_and(|sort| is(&sort.name)) {
                forward = !order.descending;
            } else {
                return refused(format!(
                    "Variable reference {} in ORDER BY clause must be part of the primary key",
                    order.attribute
                ));
            }
        }
        if parts.len() > 1 && !self.order.is_empty() && by_partition.is_none() {
            return refused(
                "Must have hash key in ORDER BY clause when more than one hash key condition \
                 specified in WHERE clause.",
            );
        }
        if by_partition.is_some() {
            parts.sort_by(|a, b| a.partition.cmp(&b.partition));
        }
        if by_partition == Some(true) {
            parts.reverse();
        }
        Ok(Read::Query { parts, forward })
    }

    /// The key, when the WHERE clause gives all of it by equalities. The rest, if any, is the second.
    pub fn key(
        &self,
        schema: &KeySchema,
    ) -> Result<Option<(Key, Option<Condition>)>, StatementError> {
        match &self.condition {
            Some(condition) => split(condition, schema),
            None => Ok(None),
        }
    }
}

/// The key of UPDATE and DELETE and what else their WHERE clause asks of the item.
///
/// # Errors
/// When an attribute of the key is not given by exactly one equality.
pub(super) fn written_key(
    condition: &Condition,
    schema: &KeySchema,
) -> Result<(Key, Option<Condition>), StatementError> {
    split(condition, schema)?.ok_or_else(|| {
        StatementError::Refused(
            "Where clause does not contain a mandatory equality on all key attributes".into(),
        )
    })
}

impl super::Statement {
    /// The key that UPDATE and DELETE write to, and what else their WHERE clause asks of the item;
    /// `None` for other statements.
    pub fn written_key(
        &self,
        schema: &KeySchema,
    ) -> Result<Option<(Key, Option<Condition>)>, StatementError> {
        match self {
            Self::Update { condition, .. } | Self::Delete { condition, .. } => {
                written_key(condition, schema).map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn split(condition: &Condition, schema: &KeySchema) -> Parsed<Option<(Key, Option<Condition>)>> {
    let (mut partition, mut sort) = (None, None);
    let mut rest: Vec<Condition> = Vec::new();
    for conjunct in conjuncts(condition) {
        let (slot, name) = match equality(conjunct) {
            Some((name, _)) if name == schema.partition.name => (&mut partition, name),
            Some((name, _)) if schema.sort.as_ref().is_some_and(|sort| sort.name == name) => {
                (&mut sort, name)
            }
            _ => {
                rest.push(conjunct.clone());
                continue;
            }
        };
        let value = equality(conjunct).map(|(_, value)| value.clone());
        if slot.is_some() && *slot != value {
            return refused(format!(
                "Multiple conditions on same key {name}. Only single item Update/Insert/Delete are \
                 supported"
            ));
        }
        *slot = value;
    }
    let Some(partition) = partition else { return Ok(None) };
    if sort.is_some() != schema.sort.is_some() {
        return Ok(None);
    }
    let key = Key { partition, sort };
    check(&key.partition, schema.partition.kind, &schema.partition.name)?;
    if let (Some(attribute), Some(value)) = (&schema.sort, &key.sort) {
        check(value, attribute.kind, &attribute.name)?;
    }
    let rest = rest.into_iter().reduce(|a, b| Condition::And(Box::new(a), Box::new(b)));
    Ok(Some((key, rest)))
}

fn check(value: &Value, kind: KeyType, name: &str) -> Parsed<()> {
    match KeyType::of(value) {
        Some(given) if given == kind => Ok(()),
        Some(_) => refused(format!(
            "Key attribute's data type should match its data type in table's schema: Key {name}"
        )),
        None => refused(format!(
            "Key value must be of type S, N, or B. Key name: {name}, Key type: {}",
            value.type_name()
        )),
    }
}

/// The conditions that AND joins.
fn conjuncts(condition: &Condition) -> Vec<&Condition> {
    let (mut found, mut left) = (Vec::new(), vec![condition]);
    while let Some(condition) = left.pop() {
        match condition {
            Condition::And(a, b) => left.extend([&**b, &**a]),
            other => found.push(other),
        }
    }
    found
}

/// `name = value`, either way around.
fn equality(condition: &Condition) -> Option<(&str, &Value)> {
    match condition {
        Condition::Compare(a, Comparator::Eq, b) => match (a, b) {
            (Operand::Path(path), Operand::Value(value))
            | (Operand::Value(value), Operand::Path(path)) => Some((attribute(path)?, value)),
            _ => None,
        },
        _ => None,
    }
}

fn attribute(path: &Path) -> Option<&str> {
    match &path.0[..] {
        [Step::Attribute(name)] => Some(name),
        _ => None,
    }
}

/// The item collections that the condition can hold in; `None` where it can hold in any. Recurses as deep
/// as conditions are nested, which is bounded.
fn parts(condition: &Condition, schema: &KeySchema) -> Option<Vec<KeyPart>> {
    match condition {
        Condition::Or(a, b) => {
            let (mut all, more) = (parts(a, schema)?, parts(b, schema)?);
            all.extend(more);
            Some(all)
        }
        Condition::In(Operand::Path(path), list)
            if attribute(path) == Some(&schema.partition.name) =>
        {
            let of = |operand: &Operand| match operand {
                Operand::Value(value) => Some(KeyPart { partition: value.clone(), sort: None }),
                _ => None,
            };
            list.iter().map(of).collect()
        }
        Condition::And(..) => {
            let all = conjuncts(condition);
            let mut found = all.iter().find_map(|conjunct| match conjunct {
                Condition::And(..) => None,
                other => parts(other, schema),
            })?;
            let sort = all.iter().find_map(|conjunct| sort_condition(conjunct, schema));
            for part in &mut found {
                part.sort = part.sort.take().or_else(|| sort.clone());
            }
            Some(found)
        }
        other => {
            let (name, value) = equality(other)?;
            let part = KeyPart { partition: value.clone(), sort: None };
            (name == schema.partition.name).then(|| vec![part])
        }
    }
}

/// What a condition asks of the sort key, if a run of keys can answer it.
fn sort_condition(condition: &Condition, schema: &KeySchema) -> Option<SortCondition> {
    let sort = schema.sort.as_ref()?;
    let is_sort = |operand: &Operand| match operand {
        Operand::Path(path) => attribute(path) == Some(&sort.name),
        _ => false,
    };
    let value = |operand: &Operand| match operand {
        Operand::Value(value) if KeyType::of(value) == Some(sort.kind) => Some(value.clone()),
        _ => None,
    };
    match condition {
        Condition::Compare(a, comparator, b) => {
            let (value, mirrored) = match (is_sort(a), is_sort(b)) {
                (true, false) => (value(b)?, false),
                (false, true) => (value(a)?, true),
                _ => return None,
            };
            Some(match (comparator, mirrored) {
                (Comparator::Ne, _) => return None,
                (Comparator::Eq, _) => SortCondition::Eq(value),
                (Comparator::Lt, false) | (Comparator::Gt, true) => SortCondition::Lt(value),
                (Comparator::Le, false) | (Comparator::Ge, true) => SortCondition::Le(value),
                (Comparator::Gt, false) | (Comparator::Lt, true) => SortCondition::Gt(value),
                (Comparator::Ge, false) | (Comparator::Le, true) => SortCondition::Ge(value),
            })
        }
        Condition::Between(a, low, high) if is_sort(a) => {
            Some(SortCondition::Between(value(low)?, value(high)?))
        }
        Condition::BeginsWith(a, prefix) if is_sort(a) && sort.kind != KeyType::N => {
            Some(SortCondition::BeginsWith(value(prefix)?))
        }
        _ => None,
    }
}

/// Each partition key once: where there were several runs in one collection, all of it is read, so that
/// no item is read twice.
fn merged(parts: Vec<KeyPart>) -> Vec<KeyPart> {
    let mut merged: Vec<KeyPart> = Vec::with_capacity(parts.len());
    for part in parts {
        match merged.iter_mut().find(|known| known.partition == part.partition) {
            Some(known) if known.sort != part.sort => known.sort = None,
            Some(_) => {}
            None => merged.push(part),
        }
    }
    merged
}
