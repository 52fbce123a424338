//! A page that cannot be read kills the process once; the next start names the replica and keeps it
//! closed. The process is this test binary, run again.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test's helpers")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use support::{GROUP, Maker, TERM};
use tombolo_storage::{Disk, Partition, Space};

const DIR: &str = "TOMBOLO_TEST_CRASHED_NODE";

/// Not a test of its own: the process that dies while it reads.
#[test]
fn node_with_a_lost_page() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let disk = Disk::open(Path::new(&dir)).unwrap();
    let replica = disk.replica_dir(GROUP);
    let partition = Partition::create(&replica, 5, GROUP).unwrap();
    let mut maker = Maker::new(true);
    partition.apply(1, TERM, &[maker.configure(), maker.put("a", b"x")]).unwrap();
    partition.checkpoint().unwrap();
    // The map is longer than the file now: touching a page of it is SIGBUS.
    let data = partition.dir().join("data.mdb");
    std::fs::OpenOptions::new().write(true).open(data).unwrap().set_len(0).unwrap();
    let read = partition.get(Space::ITEMS, &maker.row_key("a"));
    unreachable!("the read ended with {read:?}");
}

#[test]
fn a_crash_while_reading_a_tree_quarantines_its_replica() {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "node_with_a_lost_page"])
        .env(DIR, dir.path())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(7), "SIGBUS: {status}");

    let disk = Disk::open(dir.path()).unwrap();
    assert_eq!(disk.quarantined(), [(GROUP, 5)]);
    drop(disk);
    let disk = Disk::open(dir.path()).unwrap();
    assert_eq!(disk.quarantined(), [(GROUP, 5)], "until it is rebuilt");
    assert!(matches!(Disk::open(dir.path()), Err(tombolo_storage::StorageError::Locked { .. })));
    disk.clear_quarantine(GROUP).unwrap();
    drop(disk);
    let disk = Disk::open(dir.path()).unwrap();
    assert!(disk.quarantined().is_empty());
    assert_eq!(disk.replicas().unwrap(), [GROUP]);
    disk.remove_replica(GROUP).unwrap();
    assert!(disk.replicas().unwrap().is_empty());
}
