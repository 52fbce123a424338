//! The publisher against a broker that misbehaves in every way it is allowed to, and against a
//! real nats-server that is killed, emptied and stopped.

mod composing;
mod hostile;
mod nats;
mod region;

use super::for_tests::TestLeader;
use crate::face::TableFace;
use crate::testkit::REGION;
use tombolo_item::{KeyAttribute, KeySchema, KeyType, RegionId, StreamView, TableId};

fn face(table: TableId, view: StreamView) -> TableFace {
    TableFace {
        table,
        name: "orders.eu".into(),
        region_name: REGION.into(),
        region: RegionId(1),
        schema: KeySchema {
            partition: KeyAttribute { name: "id".into(), kind: KeyType::S },
            sort: None,
        },
        view: Some(view),
        replicated: true,
    }
}
