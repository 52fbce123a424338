//! What Tombolo stores, as pure data: values, keys, numbers, conditions, sizes, stamps and the change
//! record.
//!
//! Always true of this crate: it does no I/O, reads no clock and starts no thread; what depends on
//! time takes the time as an argument. Every decoder takes hostile bytes: it checks bounds before it
//! allocates, bounds depth before it recurses, and answers with an error that names what was being
//! read and where. Every format starts with a version byte, and an unknown version is refused by name.
//!
//! Deliberately absent: HTTP, gRPC and DynamoDB's request shapes (they are the router's), merge rules
//! (`tombolo-merge`), anything that knows of files or replicas. The JSON form of attribute values is
//! here, not in the router, because the change stream and the command line write it too.
//!
//! In reading order:
//! - [`ids`]: the identifiers everything else is named by
//! - [`limits`]: every limit, with its source
//! - [`number`], [`value`]: what an attribute can hold; [`encoding`]: its stored bytes
//! - [`key`]: key schemas, row keys, ranges of them
//! - [`table`]: names of tables, what a stream shows
//! - [`capacity`]: request units
//! - [`condition`], [`update`], [`projection`]: expressions; [`legacy`]: what came before them;
//!   [`partiql`]: statements
//! - [`stamp`]: versions and the hybrid logical clock
//! - [`change`]: the change record, canonical bytes and chain
//! - [`json`]: attribute-value JSON and plain JSON
//! - [`codec`]: how all of the above are written and read; `depth`: how deep serde may read

pub mod capacity;
pub mod change;
pub mod codec;
pub mod condition;
mod depth;
pub mod encoding;
mod expression;
pub mod ids;
pub mod json;
pub mod key;
pub mod legacy;
pub mod limits;
pub mod number;
pub mod partiql;
pub mod projection;
pub mod stamp;
pub mod table;
pub mod update;
pub mod value;

pub use change::{Cause, ChangeKind, ChangeRecord, chain_hash};
pub use codec::{Decoder, Encoder, FormatError, SliceDecoder};
pub use condition::{Condition, ExpressionError, ExpressionKind};
pub use ids::{GroupId, NodeId, RegionId, Shard, TableId};
pub use key::{HashSecret, Key, KeyAttribute, KeyRange, KeySchema, KeyType, RowKey, SortCondition};
pub use number::Number;
pub use projection::Projection;
pub use stamp::{Hlc, HybridClock, Stamp};
pub use table::{IndexName, IndexProjection, LocalIndex, StreamView, TableName};
pub use update::{Update, UpdateError};
pub use value::{Item, ItemError, Value};
