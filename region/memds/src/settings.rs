//! What a table is set to besides its keys: capacity, indexes, protection, stream label, tags, and the
//! changes of it that `UpdateTable`, `UpdateTimeToLive` and the tag operations make.
//!
//! Always true: rows of programs that knew none of it decode, as [`TableSettings::default`]. A change is
//! applied as a whole or refused with DynamoDB's text; one that asks for what is already so is refused
//! where DynamoDB refuses it (stream, time to live) and is nothing elsewhere.
//!
//! Which of it all regions share: everything but tags, table class and encryption, which DynamoDB keeps
//! per replica (developer guide, "Global tables: settings that are synchronized"). Deletion protection is
//! shared, because deleting a table here deletes it everywhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tombolo_item::table::{IndexName, IndexProjection, LocalIndex};
use tombolo_item::{KeySchema, RegionId, StreamView};

use crate::error::CatalogError;
use crate::model::TableInfo;

/// Tags of one resource (developer guide, "Tagging restrictions").
pub const TAGS_MAX: usize = 50;
const DAY_MS: u64 = 86_400_000;

/// How capacity is paid for (API reference, `BillingMode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BillingMode {
    Provisioned,
    #[default]
    PayPerRequest,
}

/// API reference, `TableClass`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TableClass {
    #[default]
    Standard,
    StandardInfrequentAccess,
}

/// Provisioned request units a second (API reference, `ProvisionedThroughput`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    pub read: u64,
    pub write: u64,
}

/// When provisioned capacity last changed, ms since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThroughputChanges {
    pub increased_ms: Option<u64>,
    pub decreased_ms: Option<u64>,
    /// Decreases on the day (UTC) of the last one.
    pub decreases: u64,
}

impl ThroughputChanges {
    /// API reference, `NumberOfDecreasesToday`.
    pub fn decreases_today(&self, now_ms: u64) -> u64 {
        let same_day = self.decreased_ms.is_some_and(|at| at / DAY_MS == now_ms / DAY_MS);
        if same_day { self.decreases } else { 0 }
    }

    fn note(&mut self, from: Provisioned, to: Provisioned, now_ms: u64) {
        if to.read > from.read || to.write > from.write {
            self.increased_ms = Some(now_ms);
        }
        if to.read < from.read || to.write < from.write {
            self.decreases = self.decreases_today(now_ms) + 1;
            self.decreased_ms = Some(now_ms);
        }
    }
}

/// Where a global index is in its life (API reference, `IndexStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexStatus {
    Creating,
    Active,
    Deleting,
}

/// A global secondary index, as it was defined. Kept, not served yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalIndex {
    pub name: IndexName,
    pub schema: KeySchema,
    pub projection: IndexProjection,
    pub provisioned: Option<Provisioned>,
    pub status: IndexStatus,
}

/// The attribute with an item's time of expiry, in seconds since 1970 (API reference,
/// `TimeToLiveSpecification`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeToLive {
    pub attribute: String,
    pub enabled: bool,
}

/// Encryption at rest, as asked for (API reference, `SSESpecification`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    pub enabled: bool,
    pub key: Option<String>,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableSettings {
    pub billing_mode: BillingMode,
    /// With [`BillingMode::Provisioned`] only.
    pub provisioned: Option<Provisioned>,
    pub throughput_changes: ThroughputChanges,
    /// When the table last became [`BillingMode::PayPerRequest`], if it was not created so.
    pub pay_per_request_since_ms: Option<u64>,
    /// An index's number is its place here; the list never changes.
    pub local_indexes: Vec<LocalIndex>,
    pub global_indexes: Vec<GlobalIndex>,
    pub deletion_protection: bool,
    pub table_class: TableClass,
    pub table_class_since_ms: Option<u64>,
    /// The label of the stream that is on, or was last. On = [`TableInfo::view`].
    pub stream_label: Option<String>,
    pub ttl: Option<TimeToLive>,
    pub ttl_since_ms: Option<u64>,
    pub encryption: Option<Encryption>,
    pub tags: BTreeMap<String, String>,
    /// Grows with every change that other regions share; of two versions the greater is newer.
    pub revision: Revision,
}

/// Which version of a table's shared settings this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision {
    pub number: u64,
    /// Who made it: breaks ties.
    pub region: RegionId,
}

impl TableSettings {
    /// The settings of another region's newer row, with what is this region's own.
    pub(crate) fn adopt(&self, newer: &TableSettings) -> TableSettings {
        TableSettings {
            tags: self.tags.clone(),
            table_class: self.table_class,
            table_class_since_ms: self.table_class_since_ms,
            encryption: self.encryption.clone(),
            ..newer.clone()
        }
    }

    /// The number and definition of a local index.
    pub fn local_index(&self, name: &str) -> Option<(u8, &LocalIndex)> {
        let at = self.local_indexes.iter().position(|index| index.name.as_str() == name)?;
        Some((u8::try_from(at).ok()?, &self.local_indexes[at]))
    }

    pub fn global_index(&self, name: &str) -> Option<&GlobalIndex> {
        self.global_indexes.iter().find(|index| index.name.as_str() == name)
    }
}

/// What `UpdateTable` and `UpdateTimeToLive` ask for; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableChange {
    pub billing_mode: Option<BillingMode>,
    pub provisioned: Option<Provisioned>,
    pub deletion_protection: Option<bool>,
    pub table_class: Option<TableClass>,
    /// `Some(None)`: the stream is switched off.
    pub stream: Option<Option<StreamView>>,
    pub ttl: Option<TimeToLive>,
    pub encryption: Option<Encryption>,
    /// The definitions as they shall be.
    pub global_indexes: Option<Vec<GlobalIndex>>,
    /// Names of regions.
    pub add_regions: Vec<String>,
    pub remove_regions: Vec<String>,
}

impl TableChange {
    /// Change everything but the regions.
    pub fn apply(&self, info: &mut TableInfo, now_ms: u64) -> Result<(), CatalogError> {
        self.apply_capacity(info, now_ms)?;
        if let Some(view) = self.stream {
            apply_stream(info, view, now_ms)?;
        }
        if let Some(ttl) = &self.ttl {
            apply_ttl(info, ttl, now_ms)?;
        }
        let settings = &mut info.settings;
        if let Some(protected) = self.deletion_protection {
            settings.deletion_protection = protected;
        }
        if let Some(class) = self.table_class.filter(|class| *class != settings.table_class) {
            settings.table_class = class;
            settings.table_class_since_ms = Some(now_ms);
        }
        if let Some(encryption) = &self.encryption {
            settings.encryption = Some(encryption.clone());
        }
        if let Some(indexes) = &self.global_indexes {
            settings.global_indexes = indexes.clone();
        }
        Ok(())
    }

    fn apply_capacity(&self, info: &mut TableInfo, now_ms: u64) -> Result<(), CatalogError> {
        let settings = &mut info.settings;
        let mode = self.billing_mode.unwrap_or(settings.billing_mode);
        match mode {
            BillingMode::PayPerRequest if self.provisioned.is_some() => {
                return Err(CatalogError::Rejected(
                    "One or more parameter values were invalid: Neither ReadCapacityUnits nor \
                     WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"
                        .into(),
                ));
            }
            BillingMode::PayPerRequest => {
                if settings.billing_mode != mode {
                    settings.pay_per_request_since_ms = Some(now_ms);
                }
                settings.provisioned = None;
            }
            BillingMode::Provisioned => {
                let Some(to) = self.provisioned.or(settings.provisioned) else {
                    return Err(CatalogError::Rejected(
                        "One or more parameter values were invalid: ReadCapacityUnits and \
                         WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"
                            .into(),
                    ));
                };
                if let (Some(from), Some(_)) = (settings.provisioned, self.provisioned) {
                    if from == to && settings.billing_mode == mode {
                        return Err(CatalogError::Rejected(format!(
                            "The provisioned throughput for the table will not change. The \
                             requested value equals the current value. Current ReadCapacityUnits \
                             provisioned for the table: {}. Requested ReadCapacityUnits: {}. \
                             Current WriteCapacityUnits provisioned for the table: {}. Requested \
                             WriteCapacityUnits: {}. Refer to the Amazon DynamoDB Developer Guide \
                             for current limits and how to request higher limits.",
                            from.read, to.read, from.write, to.write
                        )));
                    }
                    settings.throughput_changes.note(from, to, now_ms);
                }
                settings.provisioned = Some(to);
            }
        }
        settings.billing_mode = mode;
        Ok(())
    }
}

fn apply_stream(
    info: &mut TableInfo,
    view: Option<StreamView>,
    now_ms: u64,
) -> Result<(), CatalogError> {
    match (info.view, view) {
        (Some(_), Some(_)) => {
            return Err(CatalogError::Rejected(format!(
                "Table already has an enabled stream: TableName: {}",
                info.name
            )));
        }
        (None, None) => {
            return Err(CatalogError::Rejected(format!(
                "Table is already disabled for streams: TableName: {}",
                info.name
            )));
        }
        (None, Some(_)) => info.settings.stream_label = Some(stream_label(now_ms)),
        (Some(_), None) => {
            info.settings.stream_label = info.stream_label();
        }
    }
    info.view = view;
    Ok(())
}

fn apply_ttl(info: &mut TableInfo, ttl: &TimeToLive, now_ms: u64) -> Result<(), CatalogError> {
    let on = info.settings.ttl.as_ref().filter(|known| known.enabled);
    match (on, ttl.enabled) {
        (Some(known), true) if known.attribute == ttl.attribute => {
            Err(CatalogError::Rejected("TimeToLive is already enabled".into()))
        }
        (Some(known), true) => Err(CatalogError::Rejected(format!(
            "TimeToLive is active on a different AttributeName: current AttributeName is {}",
            known.attribute
        ))),
        (None, false) => Err(CatalogError::Rejected("TimeToLive is already disabled".into())),
        (Some(known), false) if known.attribute != ttl.attribute => {
            Err(CatalogError::Rejected(format!(
                "TimeToLive is active on a different AttributeName: current AttributeName is {}",
                known.attribute
            )))
        }
        _ => {
            info.settings.ttl = Some(ttl.clone());
            info.settings.ttl_since_ms = Some(now_ms);
            Ok(())
        }
    }
}

/// The regions after the change. Adding one that is there, or removing one that is not, is refused.
pub(crate) fn regions_after(
    now: &[RegionId],
    add: &[RegionId],
    remove: &[RegionId],
) -> Result<Vec<RegionId>, CatalogError> {
    let mut after: BTreeSet<RegionId> = now.iter().copied().collect();
    for region in add {
        if !after.insert(*region) {
            return Err(CatalogError::Rejected(
                "One or more parameter values were invalid: Replica already exists in the Region"
                    .into(),
            ));
        }
    }
    for region in remove {
        if !after.remove(region) || add.contains(region) {
            return Err(CatalogError::Rejected(
                "One or more parameter values were invalid: Replica does not exist in the Region"
                    .into(),
            ));
        }
    }
    Ok(after.into_iter().collect())
}

/// A stream's label: the time it was switched on, as ISO 8601 (API reference, `LatestStreamLabel`).
pub(crate) fn stream_label(ms: u64) -> String {
    let (days, rest) = (ms / DAY_MS, ms % DAY_MS);
    let (year, month, day) = date(days);
    let (s, milli) = (rest / 1_000, rest % 1_000);
    let (hour, minute, second) = (s / 3_600, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}")
}

/// Civil date of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::table_content;

    fn info() -> TableInfo {
        table_content(1, "music", 1).row.info
    }

    fn rejected(change: TableChange, info: &TableInfo) -> String {
        match change.apply(&mut info.clone(), 5) {
            Err(CatalogError::Rejected(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn labels_are_times() {
        assert_eq!(stream_label(0), "1970-01-01T00:00:00.000");
        // The examples' own label (developer guide, "DynamoDB Streams"): 2015-05-20T20:51:10.252.
        assert_eq!(stream_label(1_432_155_070_252), "2015-05-20T20:51:10.252");
        assert_eq!(stream_label(951_782_400_000), "2000-02-29T00:00:00.000");
        assert_eq!(stream_label(1_767_225_599_999), "2025-12-31T23:59:59.999");
    }

    #[test]
    fn a_stream_is_switched_on_and_off_once() {
        let mut info = info();
        let on = TableChange { stream: Some(Some(StreamView::NewImage)), ..Default::default() };
        let off = TableChange { stream: Some(None), ..Default::default() };
        assert!(rejected(off.clone(), &info).contains("already disabled"));
        on.apply(&mut info, 1_432_155_070_252).unwrap();
        assert_eq!(info.view, Some(StreamView::NewImage));
        assert_eq!(info.stream_label().as_deref(), Some("2015-05-20T20:51:10.252"));
        assert!(rejected(on, &info).starts_with("Table already has an enabled stream"));
        off.apply(&mut info, 9).unwrap();
        assert_eq!(info.view, None);
        assert_eq!(info.stream_label().as_deref(), Some("2015-05-20T20:51:10.252"), "the last one");
    }

    #[test]
    fn capacity_goes_up_down_and_away() {
        let mut info = info();
        let to = |read, write| TableChange {
            billing_mode: Some(BillingMode::Provisioned),
            provisioned: Some(Provisioned { read, write }),
            ..Default::default()
        };
        let units = TableChange { billing_mode: None, ..to(1, 1) };
        assert!(rejected(units, &info).contains("Neither ReadCapacityUnits"));
        let bare = TableChange { provisioned: None, ..to(1, 1) };
        assert!(rejected(bare, &info).contains("must both be specified"));
        to(5, 5).apply(&mut info, 1).unwrap();
        assert_eq!(info.settings.throughput_changes, ThroughputChanges::default());
        assert!(rejected(to(5, 5), &info).contains("Current ReadCapacityUnits provisioned"));
        to(6, 5).apply(&mut info, 2).unwrap();
        to(6, 4).apply(&mut info, DAY_MS + 3).unwrap();
        to(6, 3).apply(&mut info, DAY_MS + 4).unwrap();
        let changes = info.settings.throughput_changes;
        assert_eq!((changes.increased_ms, changes.decreased_ms), (Some(2), Some(DAY_MS + 4)));
        assert_eq!(changes.decreases_today(DAY_MS + 9), 2);
        assert_eq!(changes.decreases_today(2 * DAY_MS), 0);
        let free = BillingMode::PayPerRequest;
        let change = TableChange { billing_mode: Some(free), ..Default::default() };
        change.apply(&mut info, 7).unwrap();
        assert_eq!((info.settings.billing_mode, info.settings.provisioned), (free, None));
        assert_eq!(info.settings.pay_per_request_since_ms, Some(7));
    }

    #[test]
    fn time_to_live_has_one_attribute() {
        let mut info = info();
        let ttl = |attribute: &str, enabled| TableChange {
            ttl: Some(TimeToLive { attribute: attribute.into(), enabled }),
            ..Default::default()
        };
        assert_eq!(rejected(ttl("at", false), &info), "TimeToLive is already disabled");
        ttl("at", true).apply(&mut info, 1).unwrap();
        assert_eq!(rejected(ttl("at", true), &info), "TimeToLive is already enabled");
        assert!(rejected(ttl("other", true), &info).contains("current AttributeName is at"));
        assert!(rejected(ttl("other", false), &info).contains("current AttributeName is at"));
        ttl("at", false).apply(&mut info, 2).unwrap();
        ttl("other", true).apply(&mut info, 3).unwrap();
    }

    #[test]
    fn regions_come_and_go_once() {
        let r = |ids: &[u16]| ids.iter().copied().map(RegionId).collect::<Vec<_>>();
        assert_eq!(regions_after(&r(&[1, 3]), &r(&[2]), &r(&[3])).unwrap(), r(&[1, 2]));
        assert!(regions_after(&r(&[1]), &r(&[1]), &[]).is_err());
        assert!(regions_after(&r(&[1]), &[], &r(&[2])).is_err());
        assert!(regions_after(&r(&[1]), &r(&[2]), &r(&[2])).is_err());
    }

    #[test]
    fn what_is_a_regions_own_stays_its_own() {
        let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let ours = TableSettings { tags: tags.clone(), ..Default::default() };
        let revision = Revision { number: 2, region: RegionId(1) };
        let class = TableClass::StandardInfrequentAccess;
        let theirs = TableSettings {
            revision,
            table_class: class,
            deletion_protection: true,
            ..Default::default()
        };
        let adopted = ours.adopt(&theirs);
        assert_eq!((adopted.tags, adopted.revision), (tags, revision));
        assert_eq!(
            (adopted.table_class, adopted.deletion_protection),
            (TableClass::Standard, true)
        );
    }
}
