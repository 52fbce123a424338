//! Reading and writing rows of the system group, from any node of the region.
//!
//! Always true: reads are strong. A write with an expectation is one conditional write in the
//! group: between two writers exactly one wins. Retries go under a token.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tombolo_group::{GroupError, RangeRequest, ReadRequest, WriteOp, WriteOutcome, WriteRequest};
use tombolo_item::{Condition, Stamp, Value};

use crate::error::{MemdsError, RouteError};
use crate::memds::{Expect, Memds};
use crate::rows::{
    self, Row, SYSTEM_EPOCH, SYSTEM_GROUP, SYSTEM_SECRET, parts_of, system_item, system_key,
    system_schema,
};
use crate::submit::Tries;

/// How long an operation on a system row is tried: long enough for a new leader.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a row must be for its write to happen: an expectation the group itself can check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    Any,
    Absent,
    Value(Bytes),
}

impl Memds {
    /// A row, read from the leader.
    pub async fn system_get(
        &self,
        kind: &str,
        id: &str,
    ) -> Result<Option<(Vec<u8>, Stamp)>, MemdsError> {
        Ok(self.get(kind, id).await?.map(|(value, stamp)| (value.to_vec(), stamp)))
    }

    /// Write a row, if it is as expected; [`MemdsError::Conflict`] if it is not.
    pub async fn system_put(
        &self,
        kind: &str,
        id: &str,
        value: Vec<u8>,
        expect: Expect,
    ) -> Result<Stamp, MemdsError> {
        let held = self.held(kind, id, expect).await?;
        self.write_row(kind, id, Some(value), held).await
    }

    /// Remove a row, if it is as expected. Removing a row that is not there is no error.
    pub async fn system_delete(
        &self,
        kind: &str,
        id: &str,
        expect: Expect,
    ) -> Result<(), MemdsError> {
        let held = self.held(kind, id, expect).await?;
        self.write_row(kind, id, None, held).await.map(|_| ())
    }

    /// All rows of a kind, by id.
    pub async fn system_list(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, MemdsError> {
        let attempt = || format!("listing {kind} rows");
        let schema = system_schema();
        let mut range = schema
            .sort_range(&SYSTEM_SECRET, &Value::S(kind.into()), None)
            .map_err(|error| invalid(attempt(), error.to_string()))?;
        let mut rows = Vec::new();
        loop {
            let mut tries = Tries::read(Instant::now() + PATIENCE);
            let page = loop {
                let slot = &self.0.system;
                let result = async {
                    let left = tries.left()?;
                    let target = tries.leader(slot).ok_or(RouteError::NoTable)?;
                    let request = RangeRequest {
                        group: SYSTEM_GROUP,
                        epoch: SYSTEM_EPOCH,
                        range: range.clone(),
                        reverse: false,
                        limit: 0,
                        max_bytes: 0,
                        strong: true,
                        index: None,
                    };
                    match self.0.host.range_on(target, request, left).await {
                        Ok(page) => {
                            slot.set_leader(target);
                            Ok(Some(page))
                        }
                        Err(error) => tries.failed(slot, target, error).await.map(|_| None),
                    }
                };
                if let Some(page) = result.await.map_err(|error| unreachable(attempt(), error))? {
                    break page;
                }
            };
            for (_, stored) in &page.items {
                let (id, value) = parts_of(stored).map_err(|reason| MemdsError::Format {
                    kind: kind.into(),
                    id: "?".into(),
                    reason,
                })?;
                rows.push((id, value.to_vec()));
            }
            match page.items.last() {
                Some((last, _)) if page.more => range.start = last.successor(),
                _ => return Ok(rows),
            }
        }
    }

    /// A row of a known kind.
    pub(crate) async fn get_row<T: Row>(&self, id: &str) -> Result<Option<(T, Bytes)>, MemdsError> {
        match self.get(T::KIND, id).await? {
            Some((value, _)) => Ok(Some((T::decode(id, &value)?, value))),
            None => Ok(None),
        }
    }

    pub(crate) async fn put_row<T: Row>(
        &self,
        id: &str,
        row: &T,
        held: Held,
    ) -> Result<(), MemdsError> {
        self.write_row(T::KIND, id, Some(row.encode()), held).await.map(|_| ())
    }

    pub(crate) async fn delete_row<T: Row>(&self, id: &str, held: Held) -> Result<(), MemdsError> {
        self.write_row(T::KIND, id, None, held).await.map(|_| ())
    }

    /// Change a row by `change` until no other writer comes between. `None` from `change`: leave it.
    pub(crate) async fn update_row<T: Row>(
        &self,
        id: &str,
        mut change: impl FnMut(T) -> Option<T>,
    ) -> Result<(), MemdsError> {
        loop {
            let Some((row, value)) = self.get_row::<T>(id).await? else { return Ok(()) };
            let Some(row) = change(row) else { return Ok(()) };
            match self.put_row(id, &row, Held::Value(value)).await {
                Err(MemdsError::Conflict { .. }) => {}
                done => return done,
            }
        }
    }

    async fn held(&self, kind: &str, id: &str, expect: Expect) -> Result<Held, MemdsError> {
        match expect {
            Expect::Any => Ok(Held::Any),
            Expect::Absent => Ok(Held::Absent),
            Expect::Stamp(expected) => match self.get(kind, id).await? {
                Some((value, stamp)) if stamp == expected => Ok(Held::Value(value)),
                _ => Err(MemdsError::Conflict { kind: kind.into(), id: id.into() }),
            },
        }
    }

    pub(crate) async fn get(
        &self,
        kind: &str,
        id: &str,
    ) -> Result<Option<(Bytes, Stamp)>, MemdsError> {
        let attempt = || format!("reading {kind}/{id}");
        let row_key = system_schema()
            .row_key(&SYSTEM_SECRET, &system_key(kind, id))
            .map_err(|error| invalid(attempt(), error.to_string()))?;
        let slot = &self.0.system;
        let mut tries = Tries::read(Instant::now() + PATIENCE);
        let response = loop {
            let left = tries.left().map_err(|error| unreachable(attempt(), error))?;
            let Some(target) = tries.leader(slot) else { return Err(no_voters(attempt())) };
            let request = ReadRequest {
                group: SYSTEM_GROUP,
                epoch: SYSTEM_EPOCH,
                row_key: row_key.clone(),
                strong: true,
            };
            match self.0.host.read_on(target, request, left).await {
                Ok(response) => {
                    slot.set_leader(target);
                    break response;
                }
                Err(error) => {
                    let again = tries.failed(slot, target, error).await;
                    again.map_err(|error| unreachable(attempt(), error))?;
                }
            }
        };
        let Some(stored) = response.item else { return Ok(None) };
        let format =
            |reason: String| MemdsError::Format { kind: kind.into(), id: id.into(), reason };
        let (_, value) = parts_of(&stored).map_err(format)?;
        let stamp = response.stamp.ok_or_else(|| format("it has no stamp".into()))?;
        Ok(Some((value, stamp)))
    }

    /// One conditional write; `None` removes the row.
    pub(crate) async fn write_row(
        &self,
        kind: &str,
        id: &str,
        value: Option<Vec<u8>>,
        held: Held,
    ) -> Result<Stamp, MemdsError> {
        let attempt = || format!("writing {kind}/{id}");
        let condition = condition_of(&held).map_err(|error| invalid(attempt(), error))?;
        let op = match value {
            Some(value) => WriteOp::Put {
                item: system_item(kind, id, value).encode(),
                condition,
                return_old: false,
                return_on_failure: false,
            },
            None => WriteOp::Delete { condition, return_old: false, return_on_failure: false },
        };
        let key = system_key(kind, id);
        let row_key = system_schema()
            .row_key(&SYSTEM_SECRET, &key)
            .map_err(|error| invalid(attempt(), error.to_string()))?;
        let slot = &self.0.system;
        let unfinished = self.0.session.begin();
        let mut tries = Tries::write(Instant::now() + PATIENCE);
        let response = loop {
            let left = tries.left().map_err(|error| unreachable(attempt(), error))?;
            let Some(target) = tries.leader(slot) else { return Err(no_voters(attempt())) };
            let request = WriteRequest {
                group: SYSTEM_GROUP,
                epoch: SYSTEM_EPOCH,
                key: key.clone(),
                row_key: row_key.clone(),
                op: op.clone(),
                token: Some(unfinished.token()),
            };
            match self.0.host.write_on(target, request, left).await {
                Ok(response) => {
                    slot.set_leader(target);
                    break response;
                }
                Err(error) => {
                    let again = tries.failed(slot, target, error).await;
                    again.map_err(|error| unreachable(attempt(), error))?;
                }
            }
        };
        match response.outcome {
            WriteOutcome::ConditionFailed { .. } => {
                Err(MemdsError::Conflict { kind: kind.into(), id: id.into() })
            }
            _ => Ok(response.stamp.unwrap_or_default()),
        }
    }
}

fn condition_of(held: &Held) -> Result<Option<Condition>, String> {
    let (text, values) = match held {
        Held::Any => return Ok(None),
        Held::Absent => ("attribute_not_exists(#v)", BTreeMap::new()),
        Held::Value(value) => {
            ("#v = :held", BTreeMap::from([(":held".to_owned(), Value::B(value.clone()))]))
        }
    };
    let names = BTreeMap::from([("#v".to_owned(), rows::VALUE.to_owned())]);
    tombolo_item::condition::parse(text, &names, &values)
        .map(Some)
        .map_err(|error| error.to_string())
}

fn invalid(attempt: String, reason: String) -> MemdsError {
    MemdsError::System { attempt, source: GroupError::Invalid(reason) }
}

fn unreachable(attempt: String, error: RouteError) -> MemdsError {
    match error {
        RouteError::Group(source) => MemdsError::System { attempt, source },
        other => MemdsError::Unreachable { attempt, reason: other.to_string() },
    }
}

fn no_voters(attempt: String) -> MemdsError {
    MemdsError::Unreachable { attempt, reason: "no voters of the system group are known".into() }
}
