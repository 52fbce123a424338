//! Evaluating an update: what it makes of the newest proposed version of the item.
//!
//! Always true: an update never changes the key; what it makes is as legal as what a put may bring. An
//! update of an item that is not there makes one of the key's attributes, unless it only takes away.

use bytes::Bytes;
use tombolo_item::update::Update;
use tombolo_item::{Condition, Item, ItemError, KeySchema, Stamp};
use tombolo_storage::GroupConfig;

use super::Machine;
use super::evaluate::{Bench, Verdict};
use super::indexing;
use super::writes::{Images, Written, corrupt};
use crate::error::GroupError;
use crate::types::{ReturnImages, Token, WriteOp, WriteRequest};

/// What an update asks beside the change.
pub(super) struct Asked {
    pub(super) condition: Option<Condition>,
    pub(super) returns: ReturnImages,
    pub(super) return_on_failure: bool,
}

impl<M: Machine> Bench<'_, M> {
    pub(super) fn update(
        &mut self,
        config: &GroupConfig,
        request: &WriteRequest,
        update: &Update,
        asked: &Asked,
        token: Option<Token>,
    ) -> Result<Verdict, GroupError> {
        leaves_the_key(update, &config.schema)?;
        let found = self.find(request)?;
        let before = found.item(request)?;
        let failed =
            found.fails(asked.condition.as_ref(), before.as_ref(), asked.return_on_failure);
        if let Some(failed) = failed? {
            return Ok(failed);
        }
        let after = match &before {
            Some(item) => Some(evaluate(config, update, item)?),
            None if update.creates() => {
                Some(evaluate(config, update, &request.key.to_item(&config.schema))?)
            }
            None => None,
        };
        let images = images(update, asked.returns, before.as_ref(), after.as_ref());
        let written = Written { before, encoded: after.as_ref().map(Item::encode), after, images };
        self.replace(config, request, found, written, token)
    }

    /// The new image for a retry that finds its update done, as long as the row is what the update made of
    /// it. Old images are gone.
    pub(super) fn shown_again(
        &self,
        request: &WriteRequest,
        stamp: Option<Stamp>,
    ) -> Result<Option<Bytes>, GroupError> {
        use ReturnImages::{AllNew, UpdatedNew};
        let WriteOp::Update { update, returns: returns @ (AllNew | UpdatedNew), .. } = &request.op
        else {
            return Ok(None);
        };
        let (_, current) = self.row(&request.row_key)?;
        let made = current.filter(|row| !row.tombstone && Some(row.stamp) == stamp);
        let Some(made) = made else { return Ok(None) };
        let after = Item::decode(&made.item).map_err(|e| corrupt(request, e.to_string()))?;
        Ok(images(update, *returns, None, Some(&after)).new)
    }
}

fn evaluate(config: &GroupConfig, update: &Update, item: &Item) -> Result<Item, GroupError> {
    let after = update.apply(item).map_err(|error| GroupError::Rejected(error.to_string()))?;
    indexing::check(config, &after).map_err(|error| {
        let error = match error {
            ItemError::IndexKeyType { .. } => ItemError::IndexKeyUpdate,
            other => other,
        };
        GroupError::Rejected(error.to_string())
    })?;
    Ok(after)
}

fn leaves_the_key(update: &Update, schema: &KeySchema) -> Result<(), GroupError> {
    let is_key = |name: &&str| {
        *name == schema.partition.name
            || schema.sort.as_ref().is_some_and(|sort| *name == sort.name)
    };
    match update.top_level().find(is_key) {
        Some(name) => Err(GroupError::Rejected(format!(
            "One or more parameter values were invalid: Cannot update attribute {name}. This \
             attribute is part of the key"
        ))),
        None => Ok(()),
    }
}

/// What is shown of the two; nothing where it would be an item without attributes.
fn images(
    update: &Update,
    returns: ReturnImages,
    before: Option<&Item>,
    after: Option<&Item>,
) -> Images {
    let touched = || {
        let nothing = Item::default();
        update.touched(before.unwrap_or(&nothing), after.unwrap_or(&nothing))
    };
    let shown = |item: Item| (!item.0.is_empty()).then(|| item.encode());
    match returns {
        ReturnImages::None => Images::default(),
        ReturnImages::AllOld => Images { old: before.map(Item::encode), new: None },
        ReturnImages::UpdatedOld => Images { old: shown(touched().0), new: None },
        ReturnImages::AllNew => Images { old: None, new: after.map(Item::encode) },
        ReturnImages::UpdatedNew => Images { old: None, new: shown(touched().1) },
    }
}
