//! Why a link stopped, or a verification could not be carried out. A link that stops is started
//! again from its checkpoint, here or on another node; none of these loses anything.

use thiserror::Error;
use tombolo_item::{RegionId, TableId};

#[derive(Debug, Error)]
pub enum LinkError {
    #[error("cannot read the checkpoint of a link: {reason}")]
    Checkpoint { reason: String },
    #[error("cannot {attempt} the checkpoint row of table {table} from region {from}: {reason}")]
    System { attempt: &'static str, table: TableId, from: RegionId, reason: String },
    #[error(
        "the checkpoint of table {table} from region {from} was moved by another holder of its \
         link: this one stops"
    )]
    Superseded { table: TableId, from: RegionId },
    #[error("cannot read the stream of region {from}: {reason}")]
    Broker { from: RegionId, reason: String },
    #[error("region {region} did not answer on the direct channel: {reason}")]
    Direct { region: RegionId, reason: String },
    #[error("cannot {attempt} over the direct channel: {reason}")]
    Wire { attempt: &'static str, reason: String },
    #[error("{attempt} failed: {reason}")]
    Local { attempt: String, reason: String },
}

#[derive(Debug, Error)]
pub enum VerifyError {
    #[error("there is no table {0}")]
    NoTable(TableId),
}
