//! `AttributeUpdates` of UpdateItem.

use std::collections::BTreeMap;

use super::{LegacyError, invalid};
use crate::expression::Path;
use crate::update::{Action, Dialect, SetOperand, SetValue, Update};
use crate::value::Value;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AttributeAction {
    #[default]
    Put,
    Add,
    Delete,
}

impl AttributeAction {
    /// As requests name it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "PUT" => Self::Put,
            "ADD" => Self::Add,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }
}

/// What happens to one attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeUpdate {
    pub action: AttributeAction,
    pub value: Option<Value>,
}

/// `AttributeUpdates`, from attribute names. Without any, an update that makes an item of the key alone.
///
/// ADD takes a list, too, and appends it; DELETE without a value takes the attribute away.
pub fn attribute_updates_to_update(
    updates: &BTreeMap<String, AttributeUpdate>,
) -> Result<Update, LegacyError> {
    let actions = updates.iter().map(|(name, update)| action(name, update));
    Ok(Update { actions: actions.collect::<Result<_, _>>()?, dialect: Dialect::AttributeUpdates })
}

fn action(name: &str, update: &AttributeUpdate) -> Result<Action, LegacyError> {
    let path = Path::attribute(name);
    let Some(value) = update.value.clone() else {
        return match update.action {
            AttributeAction::Delete => Ok(Action::Remove(path)),
            _ => Err(invalid("Only DELETE action is allowed when no attribute value is specified")),
        };
    };
    value.check()?;
    let kind = value.type_name();
    let is_set = matches!(value, Value::Ss(_) | Value::Ns(_) | Value::Bs(_));
    match update.action {
        AttributeAction::Put => Ok(Action::Set(path, SetValue::Is(SetOperand::Value(value)))),
        AttributeAction::Add if is_set || matches!(value, Value::N(_) | Value::L(_)) => {
            Ok(Action::Add(path, value))
        }
        AttributeAction::Add => {
            Err(invalid(format!("ADD action is not supported for the type {kind}")))
        }
        AttributeAction::Delete if is_set => Ok(Action::Delete(path, value)),
        AttributeAction::Delete => {
            Err(invalid(format!("DELETE action with value is not supported for the type {kind}")))
        }
    }
}
