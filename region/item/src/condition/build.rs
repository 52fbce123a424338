//! Conditions from operands, checked: what expressions and PartiQL statements have in common.
//!
//! A mistake comes back with its kind, which says when it is told, and its text, which is DynamoDB's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::evaluate::size;
use super::{Comparator, Condition, Operand};
use crate::expression::Flaw;
use crate::limits::IN_OPERANDS;
use crate::value::Value;

pub(crate) type Mistake = (Flaw, String);
pub(crate) type Built<T> = Result<T, Mistake>;

/// Functions that are conditions. `size` is an operand.
pub(crate) const FUNCTIONS: [&str; 5] =
    ["attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"];

pub(crate) fn comparator(symbol: &str) -> Option<Comparator> {
    Some(match symbol {
        "=" => Comparator::Eq,
        "<>" => Comparator::Ne,
        "<" => Comparator::Lt,
        "<=" => Comparator::Le,
        ">" => Comparator::Gt,
        ">=" => Comparator::Ge,
        _ => return None,
    })
}

/// `symbol` is the comparator as it was written.
pub(crate) fn compare(
    symbol: &str,
    comparator: Comparator,
    left: Operand,
    right: Operand,
) -> Built<Condition> {
    check_distinct(symbol, &left, &right)?;
    if !matches!(comparator, Comparator::Eq | Comparator::Ne) {
        check_ordered(symbol, &left)?;
        check_ordered(symbol, &right)?;
    }
    Ok(Condition::Compare(left, comparator, right))
}

pub(crate) fn between(value: Operand, low: Operand, high: Operand) -> Built<Condition> {
    for operand in [&value, &low, &high] {
        check_ordered("BETWEEN", operand)?;
    }
    if let (Operand::Value(low), Operand::Value(high)) = (&low, &high) {
        let problem = if low.type_name() != high.type_name() {
            Some("same data type for lower and upper bounds")
        } else {
            (low > high).then_some("upper bound to be greater than or equal to lower bound")
        };
        if let Some(problem) = problem {
            return Err((
                Flaw::OperandType,
                format!(
                    "The BETWEEN operator requires {problem}; lower bound operand: AttributeValue: {}, \
                     upper bound operand: AttributeValue: {}",
                    shown(low),
                    shown(high)
                ),
            ));
        }
    }
    Ok(Condition::Between(value, low, high))
}

pub(crate) fn in_list(value: Operand, list: Vec<Operand>) -> Built<Condition> {
    if list.len() > IN_OPERANDS {
        return Err((
            Flaw::OperandCount,
            format!(
                "The IN operator is provided with too many operands; number of operands: {}",
                list.len()
            ),
        ));
    }
    Ok(Condition::In(value, list))
}

/// One of [`FUNCTIONS`].
pub(crate) fn call(name: &str, operands: Vec<Operand>) -> Built<Condition> {
    let wanted = if name.ends_with("exists") { 1 } else { 2 };
    if operands.len() != wanted {
        return Err(wrong_count(name, operands.len()));
    }
    let mut operands = operands.into_iter();
    let (first, second) = (operands.next(), operands.next());
    if let (Some(a), Some(b)) = (&first, &second) {
        check_distinct(name, a, b)?;
    }
    match (name, first, second) {
        ("attribute_exists", Some(Operand::Path(path)), None) => Ok(Condition::Exists(path)),
        ("attribute_not_exists", Some(Operand::Path(path)), None) => Ok(Condition::NotExists(path)),
        ("attribute_type", Some(Operand::Path(path)), Some(kind)) => {
            Ok(Condition::TypeIs(path, type_name_of(kind)?))
        }
        ("begins_with", Some(a), Some(b)) => {
            for operand in [&a, &b] {
                match operand {
                    Operand::Value(Value::S(_) | Value::B(_)) | Operand::Path(_) => {}
                    Operand::Value(value) => return Err(wrong_type(name, value.type_name())),
                    Operand::Size(_) => return Err(wrong_type(name, "N")),
                }
            }
            Ok(Condition::BeginsWith(a, b))
        }
        ("contains", Some(a), Some(b)) => Ok(Condition::Contains(a, b)),
        _ => Err((
            Flaw::OperandType,
            format!("Operator or function requires a document path; operator or function: {name}"),
        )),
    }
}

/// The function `size`; of a literal it is a literal.
pub(crate) fn size_of(operands: Vec<Operand>) -> Built<Operand> {
    match <[Operand; 1]>::try_from(operands) {
        Err(operands) => Err(wrong_count("size", operands.len())),
        Ok([Operand::Path(path)]) => Ok(Operand::Size(path)),
        Ok([Operand::Value(value)]) => match size(&value) {
            Some(size) => Ok(Operand::Value(size)),
            None => Err(wrong_type("size", value.type_name())),
        },
        Ok([Operand::Size(_)]) => Err(wrong_type("size", "N")),
    }
}

/// The second operand of `attribute_type`.
fn type_name_of(operand: Operand) -> Built<String> {
    const TYPES: [&str; 10] = ["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"];
    let kind = match operand {
        Operand::Value(Value::S(kind)) if TYPES.contains(&kind.as_str()) => return Ok(kind),
        Operand::Value(Value::S(kind)) => {
            return Err((
                Flaw::OperandType,
                format!(
                    "Invalid attribute type name found; type: {kind}, \
                     valid types: {{B,NULL,SS,BOOL,L,BS,N,NS,S,M}}"
                ),
            ));
        }
        Operand::Value(value) => value.type_name(),
        Operand::Size(_) => "N",
        Operand::Path(_) => "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}",
    };
    Err(wrong_type("attribute_type", kind))
}

pub(crate) fn wrong_count(name: &str, count: usize) -> Mistake {
    let text = format!(
        "Incorrect number of operands for operator or function; operator or function: {name}, \
         number of operands: {count}"
    );
    (Flaw::OperandCount, text)
}

fn wrong_type(name: &str, kind: &str) -> Mistake {
    let text = format!(
        "Incorrect operand type for operator or function; operator or function: {name}, \
         operand type: {kind}"
    );
    (Flaw::OperandType, text)
}

/// An operand in the place where something is ordered: text, number or binary, where it is known.
fn check_ordered(operator: &str, operand: &Operand) -> Built<()> {
    match operand {
        Operand::Value(Value::S(_) | Value::N(_) | Value::B(_)) => Ok(()),
        Operand::Path(_) | Operand::Size(_) => Ok(()),
        Operand::Value(value) => Err(wrong_type(operator, value.type_name())),
    }
}

/// An attribute is not compared with itself.
fn check_distinct(operator: &str, a: &Operand, b: &Operand) -> Built<()> {
    match (a, b) {
        (Operand::Path(a), Operand::Path(b)) if a == b => Err((
            Flaw::SameOperands,
            format!(
                "The first operand must be distinct from the remaining operands for this operator \
                 or function; operator: {operator}, first operand: {a}"
            ),
        )),
        _ => Ok(()),
    }
}

/// A bound as DynamoDB shows it, cut where it is long.
fn shown(value: &Value) -> String {
    let content = match value {
        Value::S(text) => text.clone(),
        Value::N(number) => number.to_string(),
        Value::B(bytes) => STANDARD.encode(bytes),
        _ => "..".to_owned(),
    };
    let content: String = content.chars().take(200).collect();
    format!("{{{}:{content}}}", value.type_name())
}
