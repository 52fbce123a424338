//! Nothing that was acknowledged is lost when the process is killed (SIGKILL) at any moment under
//! load. The process is this test binary, run again.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test's helpers")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::load::Node;

const DIR: &str = "TOMBOLO_TEST_KILLED_NODE";

/// Not a test of its own: the process that the test below kills.
#[test]
fn node_under_load() {
    if let Some(dir) = std::env::var_os(DIR) {
        Node::start(dir.as_ref()).unwrap().run().unwrap();
    }
}

fn spawn(dir: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "node_under_load", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_node_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..12u64 {
        let mut child = spawn(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Another moment each time: after some acknowledgements and a varying while.
        let mut left = 1 + 37 * round;
        for line in &mut lines {
            if let Some(seq) = line.unwrap().strip_prefix("acked ") {
                acknowledged = seq.parse().unwrap();
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        std::thread::sleep(Duration::from_micros(700 * (round * 7 % 11)));
        child.kill().unwrap();
        for line in lines {
            if let Some(seq) = line.unwrap().strip_prefix("acked ") {
                acknowledged = seq.parse().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended by itself: {status}");
        let node = Node::start(dir.path()).unwrap();
        assert!(
            node.maker.seq >= acknowledged,
            "round {round}: {acknowledged} was acknowledged, {} came back",
            node.maker.seq
        );
        node.check();
    }
    assert!(acknowledged > 1_000, "{acknowledged}: there was load");
}
