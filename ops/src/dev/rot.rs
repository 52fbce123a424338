//! Planting rot in a stored item, to show that it is found: one bit of one replica's tree, flipped on
//! disk behind the running node.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where in a node's trees these bytes stand: file and offset.
pub fn places(data: &Path, needle: &[u8]) -> std::io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![data.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "data.mdb") {
                let bytes = std::fs::read(&path)?;
                let hits = bytes.windows(needle.len()).enumerate().filter(|(_, w)| *w == needle);
                found.extend(hits.map(|(offset, _)| (path.clone(), offset as u64)));
            }
        }
    }
    Ok(found)
}

/// Flips the lowest bit of the byte at `offset`.
pub fn flip_bit(file: &Path, offset: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ 1], offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_is_found_and_flipped() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("replicas/16/1/data.mdb");
        std::fs::create_dir_all(tree.parent().unwrap()).unwrap();
        std::fs::write(&tree, b"......needle..").unwrap();
        std::fs::write(dir.path().join("other"), b"needle").unwrap();
        let found = places(dir.path(), b"needle").unwrap();
        assert_eq!(found, [(tree.clone(), 6)]);
        flip_bit(&tree, 6).unwrap();
        assert_eq!(std::fs::read(&tree).unwrap(), b"......oeedle..");
    }
}
