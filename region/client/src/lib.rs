//! The wire of `tombolo.v1` (protobuf files, generated code, conversions) and the Rust client.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("tombolo.v1");
}
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("tombolo_v1");
pub mod codec;
