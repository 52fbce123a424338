//! Which of two versions of an item wins.
//!
//! Last writer wins, as in DynamoDB's global tables: the version with the greater stamp. It is a
//! `crdts::LWWReg` whose marker is the stamp, so merging is commutative, associative and idempotent, and
//! every region ends with the same version whatever the order and number of arrivals.
//!
//! Always true: pure, no I/O, no clock. Two versions with one stamp and different contents are not
//! merged but reported: stamps are unique, so one of them is damaged or a history was forked.
//!
//! Deliberately absent: merging inside an item (counters, sets, attributes), which is another rule of
//! this crate's kind and takes its state from the change record's merge state.

use bytes::Bytes;
use crdts::{CvRDT, LWWReg};
use tombolo_item::Stamp;

/// One version of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub stamp: Stamp,
    /// The version is "deleted".
    pub tombstone: bool,
    /// The item's encoded bytes; empty for a tombstone.
    pub content: Bytes,
}

/// What to do with the version that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The local version stays; the one that came in lost.
    Keep,
    /// The one that came in replaces the local version.
    Take,
    /// It is here already.
    Same,
    /// One stamp, two contents. Neither may replace the other without a person (or a repair) looking.
    Forked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    tombstone: bool,
    bytes: Bytes,
}

fn register(version: &Version) -> LWWReg<Content, Stamp> {
    let content = Content { tombstone: version.tombstone, bytes: version.content.clone() };
    LWWReg { val: content, marker: version.stamp }
}

/// Decides between what is here (`None`: nothing was ever here, not even a tombstone) and what came.
pub fn merge(local: Option<&Version>, remote: &Version) -> Decision {
    let Some(local) = local else { return Decision::Take };
    let (before, incoming) = (register(local), register(remote));
    if before == incoming {
        return Decision::Same;
    }
    // On equal markers LWWReg::merge keeps each side's own value, for ever; so it is asked first.
    if before.validate_merge(&incoming).is_err() {
        return Decision::Forked;
    }
    let mut merged = before.clone();
    merged.merge(incoming);
    if merged == before { Decision::Keep } else { Decision::Take }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tombolo_item::{Hlc, RegionId};

    /// Contents are a function of the stamp, as in a system whose stamps are unique.
    fn version(hlc: u64, region: u16, seq: u64) -> Version {
        let stamp = Stamp { hlc: Hlc(hlc), region: RegionId(region), seq };
        let tombstone = (hlc + seq).is_multiple_of(3);
        let content =
            if tombstone { Bytes::new() } else { Bytes::from(format!("{hlc}/{region}/{seq}")) };
        Version { stamp, tombstone, content }
    }

    fn any_version() -> impl Strategy<Value = Version> {
        (0..6_u64, 0..3_u16, 0..3_u64).prop_map(|(hlc, region, seq)| version(hlc, region, seq))
    }

    /// The version that two versions merge to.
    fn both(a: &Version, b: &Version) -> Version {
        match merge(Some(a), b) {
            Decision::Keep | Decision::Same => a.clone(),
            Decision::Take => b.clone(),
            Decision::Forked => panic!("stamps are unique here"),
        }
    }

    #[test]
    fn the_later_stamp_wins_and_regions_break_ties() {
        let (older, newer) = (version(1, 2, 9), version(2, 1, 1));
        assert_eq!(merge(Some(&older), &newer), Decision::Take);
        assert_eq!(merge(Some(&newer), &older), Decision::Keep);
        assert_eq!(merge(Some(&newer), &newer), Decision::Same);
        assert_eq!(merge(None, &older), Decision::Take);
        assert_eq!(merge(Some(&version(1, 1, 9)), &version(1, 2, 1)), Decision::Take);
    }

    #[test]
    fn a_delete_beats_an_older_write_and_loses_to_a_newer_one() {
        let write = version(1, 1, 1);
        let delete = Version { tombstone: true, content: Bytes::new(), ..version(2, 1, 2) };
        let again = version(4, 2, 1);
        assert_eq!(merge(Some(&write), &delete), Decision::Take);
        assert_eq!(merge(Some(&delete), &write), Decision::Keep);
        assert_eq!(merge(Some(&delete), &again), Decision::Take);
    }

    #[test]
    fn two_contents_under_one_stamp_are_reported() {
        let one = version(1, 1, 1);
        let other = Version { content: Bytes::from_static(b"altered"), ..one.clone() };
        assert_eq!(merge(Some(&one), &other), Decision::Forked);
        assert_eq!(merge(Some(&other), &one), Decision::Forked);
        let deleted = Version { tombstone: true, content: Bytes::new(), ..one.clone() };
        assert_eq!(merge(Some(&one), &deleted), Decision::Forked);
    }

    proptest! {
        #[test]
        fn merging_is_commutative(a in any_version(), b in any_version()) {
            prop_assert_eq!(both(&a, &b), both(&b, &a));
        }

        #[test]
        fn merging_is_associative(a in any_version(), b in any_version(), c in any_version()) {
            prop_assert_eq!(both(&both(&a, &b), &c), both(&a, &both(&b, &c)));
        }

        #[test]
        fn merging_is_idempotent(a in any_version(), b in any_version()) {
            prop_assert_eq!(both(&a, &a), a.clone());
            prop_assert_eq!(both(&both(&a, &b), &b), both(&a, &b));
        }

        /// Every replica ends with the greatest stamp, in whatever order and how often versions come.
        #[test]
        fn all_orders_converge(
            history in proptest::collection::vec(any_version(), 1..12),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let mut seen: Vec<&Version> =
                order.iter().map(|i| &history[i.index(history.len())]).collect();
            seen.extend(&history);
            let mut state: Option<Version> = None;
            for version in seen {
                if merge(state.as_ref(), version) == Decision::Take {
                    state = Some(version.clone());
                }
            }
            let last = history.iter().max_by_key(|version| version.stamp).cloned();
            prop_assert_eq!(state, last);
        }
    }
}
