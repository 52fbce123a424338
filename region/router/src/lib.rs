//! The front door of a region: gRPC `tombolo.v1` with reflection and health, the DynamoDB protocol
//! ([`dynamodb`]), limits, deadlines, one authorization gate, and errors in DynamoDB's words.
//!
//! Always true: a request becomes a typed operation, passes [`authorize::authorize`] once, and is
//! carried out by code that knows no protocol; every refusal says its reason, its request id and
//! whether a retry helps; a listener beyond loopback wants to know who asks: by a client certificate, by a token
//! or by a signature.
//!
//! Deliberately absent: routing, retries while leadership moves and write tokens (`tombolo-memds`
//! has them, `link` needs them too), verification and status of links (injected by `ops` as
//! [`Operations`]), queues: what exceeds the bound is turned away. Fields that this version does not
//! know are skipped by protobuf before anything here could see them.
//!
//! To read in this order: [`operation`], [`arn`], [`iterator`], [`authorize`], `bearer`, `door`, `wire`, `execute`, `region`,
//! [`errors`], [`failure`], `incoming`, `server`, [`settings`], `metrics`.

pub mod arn;
pub mod authorize;
mod bearer;
mod door;
pub mod dynamodb;
pub mod errors;
mod execute;
pub mod failure;
mod figures;
mod incoming;
pub mod iterator;
mod metrics;
pub mod operation;
mod operations;
mod region;
mod server;
pub mod settings;
mod subjects;
#[cfg(test)]
mod tests;
mod wire;

pub use operations::{Operations, OperationsError, base_status};
pub use server::{Router, RouterError, serve};
pub use settings::{RouterSettings, RouterTls};
