//! What a query or a scan shows of each item: `Select`, projection, and what an index holds.

use tombolo_item::partiql::Columns;
use tombolo_item::{Condition, IndexProjection, Item, KeySchema, LocalIndex, Projection};

use crate::errors;
use crate::failure::Failure;
use crate::operation::Select;

/// How items are shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// Nothing but the count.
    pub(super) count_only: bool,
    /// Whole items are read, also of an index that does not hold them.
    pub(super) whole: bool,
    projection: Option<Projection>,
    /// What a PartiQL statement shows instead: each path as an attribute of its own.
    pub(super) columns: Option<Columns>,
}

impl View {
    /// What the parameters of a request come to, if they go together.
    pub(super) fn of(
        select: Option<Select>,
        projection: Option<Projection>,
        index: Option<&LocalIndex>,
        schema: &KeySchema,
    ) -> Result<View, Failure> {
        let select = match (select, &projection, index) {
            (Some(Select::SpecificAttributes), None, _) => return Err(errors::select_needs_names()),
            (Some(select), Some(_), _) if select != Select::SpecificAttributes => {
                return Err(errors::select_with_names(select));
            }
            (Some(Select::AllProjectedAttributes), _, None) => {
                return Err(errors::select_needs_index());
            }
            (Some(select), _, _) => select,
            (None, Some(_), _) => Select::SpecificAttributes,
            (None, None, Some(_)) => Select::AllProjectedAttributes,
            (None, None, None) => Select::AllAttributes,
        };
        let whole = match (index, select) {
            (None, _) | (Some(_), Select::AllAttributes) => true,
            (Some(index), Select::SpecificAttributes) => {
                let named = projection.as_ref();
                named.is_some_and(|named| !named.top_level().all(|name| holds(index, schema, name)))
            }
            (Some(_), Select::AllProjectedAttributes | Select::Count) => false,
        };
        // An index that holds everything has nothing to fetch.
        let all = index.is_some_and(|index| index.projection == IndexProjection::All);
        Ok(View {
            count_only: select == Select::Count,
            whole: whole && !all,
            projection,
            columns: None,
        })
    }

    /// The parts asked for of what was read.
    pub(super) fn show(&self, item: Item) -> Item {
        match (&self.columns, &self.projection) {
            (Some(columns), _) => columns.apply(&item),
            (None, Some(projection)) => projection.apply(&item),
            (None, None) => item,
        }
    }
}

/// Whether an index holds an attribute.
fn holds(index: &LocalIndex, schema: &KeySchema, name: &str) -> bool {
    let keys = [Some(&schema.partition), schema.sort.as_ref(), Some(&index.sort)];
    match &index.projection {
        IndexProjection::All => true,
        _ if keys.into_iter().flatten().any(|key| key.name == name) => true,
        IndexProjection::KeysOnly => false,
        IndexProjection::Include(names) => names.iter().any(|known| known == name),
    }
}

/// A query's filter may not ask about the key: that is what the key condition is for.
pub(super) fn check_filter(filter: Option<&Condition>, keys: &KeySchema) -> Result<(), Failure> {
    let of_key = |name: &str| {
        keys.partition.name == name || keys.sort.as_ref().is_some_and(|sort| sort.name == name)
    };
    let paths = filter.map(Condition::paths).unwrap_or_default();
    match paths.iter().map(|path| path.top()).find(|name| of_key(name)) {
        Some(name) => Err(errors::filter_on_key(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::{IndexName, KeyAttribute, KeyType};

    fn key(name: &str) -> KeyAttribute {
        KeyAttribute { name: name.into(), kind: KeyType::S }
    }

    fn schema() -> KeySchema {
        KeySchema { partition: key("pk"), sort: Some(key("sk")) }
    }

    fn index(projection: IndexProjection) -> LocalIndex {
        LocalIndex { name: IndexName::new("by-x").unwrap(), sort: key("x"), projection }
    }

    /// API_Query, `Select`.
    #[test]
    fn which_parameters_go_together() {
        let names = || Some(Projection::of_attributes(["a"]));
        let of = |select, projection, index: Option<&LocalIndex>| {
            View::of(select, projection, index, &schema())
        };
        let keys_only = index(IndexProjection::KeysOnly);
        for (select, projection, on_index) in [
            (Some(Select::SpecificAttributes), None, false),
            (Some(Select::AllAttributes), names(), false),
            (Some(Select::Count), names(), false),
            (Some(Select::AllProjectedAttributes), None, false),
            (Some(Select::AllProjectedAttributes), names(), true),
        ] {
            let refused = of(select, projection, on_index.then_some(&keys_only));
            assert_eq!(refused.unwrap_err().reason, "ValidationException", "{select:?}");
        }
        assert!(of(None, None, None).unwrap().whole);
        assert!(of(Some(Select::Count), None, None).unwrap().count_only);
        assert!(!of(None, None, Some(&keys_only)).unwrap().whole);
        assert!(of(Some(Select::AllAttributes), None, Some(&keys_only)).unwrap().whole);
        assert!(of(None, names(), Some(&keys_only)).unwrap().whole);
        let include = index(IndexProjection::Include(vec!["a".into()]));
        assert!(!of(None, names(), Some(&include)).unwrap().whole);
        let all = index(IndexProjection::All);
        assert!(!of(Some(Select::AllAttributes), None, Some(&all)).unwrap().whole);
    }
}
