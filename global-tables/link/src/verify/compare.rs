//! Comparing what copies say about themselves. Pure: digests and row lists in, verdicts out.
//!
//! Always true: equal copies give no verdict; a verdict names the copy that stands alone where a
//! majority exists; a row that differs between regions is called divergent only when no change on
//! its way could explain it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tombolo_group::Digest;
use tombolo_item::{KeyRange, RegionId, RowKey, Stamp};

use super::report::{DigestSummary, FindingKind};

/// Hash-range buckets in the first comparison: 2^12.
pub(super) const BITS: u8 = 12;

/// What one copy says of one row: version and content.
pub(super) type Version = (Stamp, u64);

pub(super) fn add(total: &mut Digest, part: &Digest) {
    total.items += part.items;
    total.bytes += part.bytes;
    total.sum = total.sum.wrapping_add(part.sum);
    total.xor ^= part.xor;
}

pub(super) fn total(buckets: &[Digest]) -> Digest {
    let mut sum = Digest::default();
    for bucket in buckets {
        add(&mut sum, bucket);
    }
    sum
}

pub(super) fn summary(digest: &Digest) -> DigestSummary {
    DigestSummary { items: digest.items, bytes: digest.bytes, sum: digest.sum, xor: digest.xor }
}

/// The row keys whose hash begins with the `bits` bits of `bucket`.
pub(super) fn bucket_range(bucket: usize, bits: u8) -> KeyRange {
    let bound = |number: usize| -> Option<RowKey> {
        // Only whole bytes of a bound matter: shift the number to the top of four bytes.
        if number >> bits != 0 {
            return None;
        }
        let top = (number as u32) << (32 - u32::from(bits));
        let bytes = top.to_be_bytes();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(RowKey(bytes::Bytes::copy_from_slice(&bytes[..used])))
    };
    KeyRange {
        start: bound(bucket).unwrap_or_else(|| RowKey(bytes::Bytes::new())),
        end: bound(bucket + 1),
    }
}

/// The value most copies share and how many do; on a tie the one of `prefer`, else the first.
pub(super) fn majority<K: Ord + Copy, V: Eq>(
    votes: &BTreeMap<K, V>,
    prefer: Option<K>,
) -> Option<(&V, usize)> {
    let count = |value: &V| votes.values().filter(|other| *other == value).count();
    let mut best: Option<(&V, usize)> = None;
    let preferred = prefer.and_then(|key| votes.get(&key));
    for value in preferred.into_iter().chain(votes.values()) {
        let count = count(value);
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((value, count));
        }
    }
    best
}

/// Buckets in which not all copies agree.
pub(super) fn differing<'a, K: 'a>(
    copies: impl Iterator<Item = (&'a K, &'a Vec<Digest>)> + Clone,
) -> Vec<usize> {
    let buckets = copies.clone().map(|(_, buckets)| buckets.len()).max().unwrap_or(0);
    (0..buckets)
        .filter(|bucket| {
            let mut values =
                copies.clone().map(|(_, copy)| copy.get(*bucket).copied().unwrap_or_default());
            let first = values.next();
            values.any(|value| Some(value) != first)
        })
        .collect()
}

/// One copy's odd row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OddRow<K> {
    pub(super) copy: K,
    pub(super) row_key: RowKey,
    pub(super) kind: FindingKind,
    /// How many copies agree against it; 1 means that nobody is in a majority.
    pub(super) against: usize,
}

/// Replicas of one group at one log index: rows must be equal, so whoever differs is wrong.
pub(super) fn odd_rows<K: Ord + Copy>(
    copies: &BTreeMap<K, BTreeMap<RowKey, Version>>,
    prefer: Option<K>,
) -> Vec<OddRow<K>> {
    let keys: BTreeSet<&RowKey> = copies.values().flat_map(BTreeMap::keys).collect();
    let mut odd = Vec::new();
    for key in keys {
        let votes: BTreeMap<K, Option<Version>> =
            copies.iter().map(|(copy, rows)| (*copy, rows.get(key).copied())).collect();
        let Some((&expected, against)) = majority(&votes, prefer) else { continue };
        for (&copy, &vote) in &votes {
            let kind = match (vote, expected) {
                (vote, expected) if vote == expected => continue,
                (None, Some(_)) => FindingKind::Missing,
                (Some(_), None) => FindingKind::Extra,
                _ => FindingKind::Differs,
            };
            odd.push(OddRow { copy, row_key: key.clone(), kind, against });
        }
    }
    odd
}

/// Rows in which the regions' digests do not agree.
pub(super) fn differing_rows(
    regions: &BTreeMap<RegionId, BTreeMap<RowKey, Version>>,
) -> Vec<RowKey> {
    let keys: BTreeSet<&RowKey> = regions.values().flat_map(BTreeMap::keys).collect();
    keys.into_iter()
        .filter(|key| {
            let mut values = regions.values().map(|rows| rows.get(*key));
            let first = values.next();
            values.any(|value| Some(value) != first)
        })
        .cloned()
        .collect()
}

/// A row looked up by its key, tombstones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowSeen {
    pub(super) stamp: Stamp,
    pub(super) tombstone: bool,
    /// A hash of the item's bytes.
    pub(super) content: u64,
    /// The key as DynamoDB JSON text.
    pub(super) key: String,
}

/// What each region holds of one row.
pub(super) type Sight = BTreeMap<RegionId, Option<RowSeen>>;

/// All regions hold the same version, or none holds a live one.
pub(super) fn agrees(sight: &Sight) -> bool {
    let live = |row: &&RowSeen| !row.tombstone;
    if !sight.values().flatten().any(|row| live(&row)) {
        return true;
    }
    let mut versions =
        sight.values().map(|row| row.as_ref().map(|row| (row.stamp, row.tombstone, row.content)));
    let first = versions.next();
    versions.all(|version| Some(version) == first)
}

/// One region's fault in one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Divergence {
    pub(super) region: RegionId,
    pub(super) kind: FindingKind,
    pub(super) detail: String,
}

/// Whether a row diverges, given what was seen first and what is there after every region applied
/// all that was in any region's log after first sight.
///
/// - Two regions hold one stamp with different contents: divergent, whatever is in flight.
/// - The newest version seen at first sight was in its region's log then, so by now every region
///   must hold it or something newer (tombstones count as versions). A region that holds something
///   older, or nothing where an item should be, has lost it: divergent.
/// - Otherwise each region has moved to, or past, what was seen; what still differs is newer than
///   first sight and on its way.
pub(super) fn settle(first: &Sight, now: &Sight) -> Vec<Divergence> {
    let mut found = one_stamp_two_contents(now);
    let newest = first
        .iter()
        .filter_map(|(region, row)| Some((row.as_ref()?, *region)))
        .max_by_key(|(row, _)| row.stamp);
    let Some((newest, holder)) = newest else { return found };
    if !found.is_empty() || agrees(now) {
        return found;
    }
    let after = format!(
        "after applying everything that region {holder} had when it held {} {}",
        if newest.tombstone { "the delete" } else { "the version" },
        newest.stamp
    );
    for (&region, row) in now {
        let (kind, holds) = match row {
            Some(row) if row.stamp >= newest.stamp => continue,
            // A tombstone that every region is past is purged: no row is what it asks for.
            None if newest.tombstone => continue,
            None => (FindingKind::Missing, "nothing".to_owned()),
            Some(row) if row.tombstone => (FindingKind::Missing, format!("delete {}", row.stamp)),
            Some(row) if newest.tombstone => (FindingKind::Extra, format!("stamp {}", row.stamp)),
            Some(row) => (FindingKind::Differs, format!("stamp {}", row.stamp)),
        };
        let detail = format!("region {region} still holds {holds} {after}");
        found.push(Divergence { region, kind, detail });
    }
    found
}

/// Versions are unique by stamp: one stamp with two contents cannot be mended by waiting.
fn one_stamp_two_contents(sight: &Sight) -> Vec<Divergence> {
    let mut found = Vec::new();
    let rows: Vec<(RegionId, &RowSeen)> =
        sight.iter().filter_map(|(region, row)| Some((*region, row.as_ref()?))).collect();
    for (i, (region, row)) in rows.iter().enumerate() {
        for (other, theirs) in &rows[i + 1..] {
            let same = (row.tombstone, row.content) == (theirs.tombstone, theirs.content);
            if row.stamp != theirs.stamp || same {
                continue;
            }
            // Whoever wrote the version has it as it was written.
            let (odd, odd_row, good_row) = if row.stamp.region == *other {
                (*region, *row, *theirs)
            } else {
                (*other, *theirs, *row)
            };
            let kind = match (odd_row.tombstone, good_row.tombstone) {
                (true, false) => FindingKind::Missing,
                (false, true) => FindingKind::Extra,
                _ => FindingKind::Differs,
            };
            let detail = format!(
                "regions {region} and {other} hold stamp {} with different contents",
                row.stamp
            );
            found.push(Divergence { region: odd, kind, detail });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tombolo_item::Hlc;

    fn key(name: &str) -> RowKey {
        RowKey(Bytes::copy_from_slice(name.as_bytes()))
    }

    fn stamp(hlc: u64, region: u16) -> Stamp {
        Stamp { hlc: Hlc(hlc), region: RegionId(region), seq: hlc }
    }

    fn rows(list: &[(&str, u64, u64)]) -> BTreeMap<RowKey, Version> {
        list.iter().map(|(name, hlc, content)| (key(name), (stamp(*hlc, 1), *content))).collect()
    }

    #[test]
    fn buckets_tile_the_hash_space() {
        for bits in [1_u8, 4, 8, 12, 16] {
            let last = (1_usize << bits) - 1;
            assert_eq!(bucket_range(0, bits).start, key(""));
            assert_eq!(bucket_range(last, bits).end, None);
            for bucket in 0..last.min(300) {
                let (this, next) = (bucket_range(bucket, bits), bucket_range(bucket + 1, bits));
                assert_eq!(this.end.as_ref(), Some(&next.start));
                assert!(this.start < next.start);
            }
        }
        assert_eq!(bucket_range(0xabc, 12).start, RowKey(Bytes::from_static(&[0xab, 0xc0])));
    }

    #[test]
    fn a_single_flipped_bit_names_its_replica() {
        let good = rows(&[("a", 1, 11), ("b", 2, 22)]);
        let bad = rows(&[("a", 1, 11), ("b", 2, 22 ^ 1)]);
        let copies = BTreeMap::from([(1, good.clone()), (2, bad), (3, good)]);
        let odd = odd_rows(&copies, Some(2));
        assert_eq!(
            odd,
            [OddRow { copy: 2, row_key: key("b"), kind: FindingKind::Differs, against: 2 }],
            "even when it leads"
        );
    }

    #[test]
    fn missing_and_extra_rows_are_told_apart() {
        let good = rows(&[("a", 1, 11), ("b", 2, 22)]);
        let short = rows(&[("a", 1, 11)]);
        let long = rows(&[("a", 1, 11), ("b", 2, 22), ("c", 3, 33)]);
        let copies = BTreeMap::from([(1, good.clone()), (2, short), (3, good.clone())]);
        assert_eq!(odd_rows(&copies, None)[0].kind, FindingKind::Missing);
        assert_eq!(odd_rows(&copies, None)[0].copy, 2);
        let copies = BTreeMap::from([(1, good.clone()), (2, good), (3, long)]);
        assert_eq!(
            odd_rows(&copies, None),
            [OddRow { copy: 3, row_key: key("c"), kind: FindingKind::Extra, against: 2 }]
        );
    }

    #[test]
    fn two_copies_without_a_majority_side_with_the_leader() {
        let copies = BTreeMap::from([(1, rows(&[("a", 1, 1)])), (2, rows(&[("a", 1, 2)]))]);
        let odd = odd_rows(&copies, Some(2));
        assert_eq!(odd.len(), 1);
        assert_eq!((odd[0].copy, odd[0].against), (1, 1));
    }

    #[test]
    fn only_buckets_that_differ_are_looked_into() {
        let digest = |items| Digest { items, bytes: 1, sum: items, xor: 3 };
        let a = vec![digest(1), digest(2), Digest::default()];
        let mut b = a.clone();
        let copies = BTreeMap::from([(1, a.clone()), (2, b.clone())]);
        assert!(differing(copies.iter()).is_empty());
        b[1].xor ^= 1 << 40;
        let copies = BTreeMap::from([(1, a.clone()), (2, b)]);
        assert_eq!(differing(copies.iter()), [1]);
        let copies = BTreeMap::from([(1, a), (2, Vec::new())]);
        assert_eq!(differing(copies.iter()), [0, 1], "an absent bucket is an empty one");
    }

    fn regions(
        east: &[(&str, u64, u64)],
        west: &[(&str, u64, u64)],
    ) -> BTreeMap<RegionId, BTreeMap<RowKey, Version>> {
        BTreeMap::from([(RegionId(1), rows(east)), (RegionId(2), rows(west))])
    }

    fn live(hlc: u64, region: u16, content: u64) -> Option<RowSeen> {
        let key = String::new();
        Some(RowSeen { stamp: stamp(hlc, region), tombstone: false, content, key })
    }

    fn grave(hlc: u64, region: u16) -> Option<RowSeen> {
        let key = String::new();
        Some(RowSeen { stamp: stamp(hlc, region), tombstone: true, content: 0, key })
    }

    fn sight(east: Option<RowSeen>, west: Option<RowSeen>) -> Sight {
        BTreeMap::from([(RegionId(1), east), (RegionId(2), west)])
    }

    fn settled(first: &Sight, now: &Sight) -> Vec<(u16, FindingKind)> {
        settle(first, now).iter().map(|found| (found.region.0, found.kind)).collect()
    }

    #[test]
    fn only_rows_that_differ_are_looked_up() {
        let same = [("a", 1, 1), ("b", 2, 2)];
        assert!(differing_rows(&regions(&same, &same)).is_empty());
        let differ = regions(&[("a", 1, 1), ("b", 2, 2)], &[("b", 2, 3), ("c", 1, 1)]);
        assert_eq!(differing_rows(&differ), [key("a"), key("b"), key("c")]);
    }

    #[test]
    fn equal_and_absent_rows_agree() {
        assert!(agrees(&sight(live(5, 1, 50), live(5, 1, 50))));
        assert!(agrees(&sight(None, None)));
        assert!(agrees(&sight(grave(5, 1), None)), "one side has purged");
        assert!(!agrees(&sight(live(5, 1, 50), None)));
        assert!(!agrees(&sight(live(5, 1, 50), live(5, 1, 51))));
    }

    #[test]
    fn a_change_on_its_way_is_no_divergence() {
        let first = sight(live(5, 1, 50), live(3, 1, 30));
        for now in [
            sight(live(5, 1, 50), live(5, 1, 50)), // it arrived
            sight(live(9, 1, 90), live(5, 1, 50)), // and the key goes on changing,
            sight(live(5, 1, 50), live(8, 2, 80)), // here or there,
            sight(grave(9, 1), live(5, 1, 50)),    // or was deleted since,
            sight(live(5, 1, 50), grave(9, 2)),    // here or there,
            sight(None, None),                     // and even purged
        ] {
            assert_eq!(settled(&first, &now), [], "{now:?}");
        }
    }

    #[test]
    fn a_change_that_never_arrived_is_named() {
        let first = sight(live(5, 1, 50), live(3, 1, 30));
        assert_eq!(settled(&first, &first), [(2, FindingKind::Differs)]);
        let first = sight(live(5, 1, 50), None);
        assert_eq!(settled(&first, &first), [(2, FindingKind::Missing)]);
        // The region has an older tombstone where the item should be.
        let now = sight(live(5, 1, 50), grave(4, 1));
        assert_eq!(settled(&first, &now), [(2, FindingKind::Missing)]);
        // Even if the key was written again meanwhile.
        let now = sight(live(9, 1, 90), None);
        assert_eq!(settled(&first, &now), [(2, FindingKind::Missing)]);
    }

    #[test]
    fn a_delete_that_never_arrived_is_named() {
        let first = sight(grave(6, 1), live(3, 1, 30));
        assert_eq!(settled(&first, &first), [(2, FindingKind::Extra)]);
        assert_eq!(settled(&first, &sight(grave(6, 1), grave(6, 1))), []);
        assert_eq!(settled(&first, &sight(None, None)), []);
        // Written again since, there: the delete came first or lost.
        assert_eq!(settled(&first, &sight(grave(6, 1), live(8, 2, 80))), []);
    }

    #[test]
    fn one_stamp_with_two_contents_is_divergent_whatever_is_in_flight() {
        // Region 1 wrote the version, so region 2 holds it wrongly; and the other way round.
        let now = sight(live(5, 1, 50), live(5, 1, 51));
        assert_eq!(settled(&now, &now), [(2, FindingKind::Differs)]);
        let now = sight(live(5, 2, 50), live(5, 2, 51));
        assert_eq!(settled(&now, &now), [(1, FindingKind::Differs)]);
        let now = sight(live(5, 1, 50), grave(5, 1));
        assert_eq!(settled(&now, &now), [(2, FindingKind::Missing)]);
    }
}
