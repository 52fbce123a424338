//! Generates `tombolo.v1` from `proto/`, without an installed protoc: protox parses, prost generates.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 4] = [
        "tombolo/v1/items.proto",
        "tombolo/v1/tables.proto",
        "tombolo/v1/streams.proto",
        "tombolo/v1/operations.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    std::fs::write(out.join("tombolo_v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Binary values stay slices of the received message; maps come out in the order in which
        // items are encoded.
        .bytes(".")
        .btree_map(".")
        // One operation is as small as it can be on the wire: a frame of empty ones must not take
        // hundreds of times its size in memory.
        .boxed(".tombolo.v1.SessionOperation.operation.put_item")
        .boxed(".tombolo.v1.SessionOperation.operation.get_item")
        .boxed(".tombolo.v1.SessionOperation.operation.delete_item")
        .boxed(".tombolo.v1.SessionOperation.operation.query")
        .boxed(".tombolo.v1.SessionOperation.operation.update_item")
        // Refuses an undecodable body as the caller's mistake.
        .codec_path("crate::codec::StrictCodec")
        .build_client(true)
        .build_server(true)
        .compile_fds(descriptors)?;
    Ok(())
}
