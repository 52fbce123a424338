//! The routed submit. Skeleton.

use std::time::Instant;

use tombolo_group::{Host, RangeResponse, ReadResponse, WriteOp, WriteResponse};
use tombolo_item::{Key, KeyRange};

use crate::error::RouteError;
use crate::memds::Memds;
use crate::model::TableInfo;

/// Finds the partition, sends to its leader, tries again while that is safe.
#[derive(Clone)]
pub struct Routed(());

#[allow(unused_variables, clippy::todo, clippy::too_many_arguments)]
impl Routed {
    pub fn new(memds: Memds, host: Host) -> Routed {
        todo!()
    }
    pub async fn write(
        &self,
        table: &TableInfo,
        key: Key,
        op: WriteOp,
        deadline: Instant,
    ) -> Result<WriteResponse, RouteError> {
        todo!()
    }
    pub async fn read(
        &self,
        table: &TableInfo,
        key: &Key,
        strong: bool,
        deadline: Instant,
    ) -> Result<ReadResponse, RouteError> {
        todo!()
    }
    pub async fn range(
        &self,
        table: &TableInfo,
        range: KeyRange,
        reverse: bool,
        limit: u32,
        max_bytes: u32,
        strong: bool,
        deadline: Instant,
    ) -> Result<RangeResponse, RouteError> {
        todo!()
    }
}
