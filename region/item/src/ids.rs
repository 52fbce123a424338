//! Identifiers. They are numbers (or a UUID) and never names: names change, contain dots and collide
//! after a delete; these are never reused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an identifier of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: expected {form}")]
pub struct ParseIdError {
    what: &'static str,
    text: String,
    form: &'static str,
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $what:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bad =
                    || ParseIdError { what: $what, text: text.to_owned(), form: "a decimal number" };
                text.parse().map(Self).map_err(|_| bad())
            }
        }
    };
}

number_id!(
    /// A region of the deployment. Equal in the configuration of every region, because it breaks ties
    /// between stamps.
    RegionId(u16),
    "region id"
);
number_id!(
    /// A node, unique over all regions: `region << 32 | ordinal`.
    NodeId(u64),
    "node id"
);
number_id!(
    /// A replication group (equally: the partition it holds), unique within its region. 1 is the system
    /// group; groups of tables start at 16.
    GroupId(u64),
    "group id"
);

/// A table. A global table has the same id in every region.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TableId(pub Uuid);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TableId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Uuid::parse_str(text).map(Self).map_err(|_| ParseIdError {
            what: "table id",
            text: text.to_owned(),
            form: "a UUID",
        })
    }
}

/// One unbroken run of a partition's change records: the group and its lineage epoch, which grows
/// with each split. Written `<16 hex digits of the group>-<epoch>`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Shard {
    pub group: GroupId,
    pub epoch: u32,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.group.0, self.epoch)
    }
}

impl FromStr for Shard {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let bad = || ParseIdError {
            what: "shard",
            text: text.to_owned(),
            form: "<16 hex digits>-<epoch>, for example 0000000000000010-1",
        };
        let (group, epoch) = text.split_once('-').ok_or_else(bad)?;
        if group.len() != 16 {
            return Err(bad());
        }
        let group = u64::from_str_radix(group, 16).map_err(|_| bad())?;
        let epoch = epoch.parse().map_err(|_| bad())?;
        Ok(Self { group: GroupId(group), epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_written_and_read() {
        let shard = Shard { group: GroupId(0xa1), epoch: 3 };
        assert_eq!(shard.to_string(), "00000000000000a1-3");
        assert_eq!("00000000000000a1-3".parse(), Ok(shard));
        for bad in ["", "a1-3", "00000000000000a1", "00000000000000a1-", "00000000000000g1-1"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
