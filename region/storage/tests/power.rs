//! The disk is cut off or fills up under a node: nothing acknowledged is lost, writes are refused
//! with a clear error while there is no room, and go on when there is.
//!
//! Power is cut by the file system's shutdown request (`xfs_io -x -c shutdown`, from xfsprogs): it
//! keeps exactly what was synced. The same run under `eatmydata`, which turns every sync into
//! nothing, must lose acknowledged writes: else this test would prove nothing.
//!
//! Needs root, loop devices, mkfs.ext4, mkfs.xfs, xfs_io and eatmydata. Where a machine forbids loop
//! mounts these tests fail and say so, unless TOMBOLO_WITHOUT_POWER_OFF=1 is set.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test's helpers")]

mod support;

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use support::load::Node;

const DIR: &str = "TOMBOLO_TEST_POWERED_NODE";
const WITHOUT: &str = "TOMBOLO_WITHOUT_POWER_OFF";

/// Not a test of its own: the process whose disk the tests below take away.
#[test]
fn node_under_load() {
    if let Some(dir) = std::env::var_os(DIR)
        && let Err(e) = Node::start(dir.as_ref()).and_then(Node::run)
    {
        println!("stopped: {e}");
    }
}

/// Runs a command to its end; the error is what it said.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| format!("{program} cannot be run ({e}): install it"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {} {said}", arguments.join(" "), output.status))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}

/// A file system in a file of its own, mounted.
struct Volume {
    _dir: tempfile::TempDir,
    image: PathBuf,
    mount: PathBuf,
}

impl Volume {
    /// `None` where the machine forbids it and the environment allows to go without.
    fn new(kind: &str, mebibytes: u64) -> Option<Self> {
        match Self::make(kind, mebibytes) {
            Ok(volume) => Some(volume),
            Err(e) if std::env::var(WITHOUT).is_ok_and(|v| v == "1") => {
                println!("NOT RUN ({WITHOUT}=1): {e}");
                None
            }
            Err(e) => panic!(
                "this machine cannot cut the power of a loop-mounted file system: {e}\nrun as root \
                 where loop mounts are allowed, or set {WITHOUT}=1 to go without this proof"
            ),
        }
    }

    fn make(kind: &str, mebibytes: u64) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let image = dir.path().join("image");
        let mount = dir.path().join("mount");
        std::fs::create_dir(&mount).map_err(|e| e.to_string())?;
        let file = std::fs::File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(mebibytes << 20).map_err(|e| e.to_string())?;
        run(&format!("mkfs.{kind}"), &["-q", text(&image)])?;
        let volume = Self { _dir: dir, image, mount };
        volume.mount()?;
        Ok(volume)
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", text(&self.image), text(&self.mount)])
    }

    /// The journal is read, as at the next start of a machine.
    fn mount_again(&self) {
        run("umount", &[text(&self.mount)]).expect("nobody uses it: else the run is void");
        self.mount().expect("the file system recovers");
    }

    fn data(&self) -> PathBuf {
        self.mount.join("data")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(e) = run("umount", &["-l", text(&self.mount)]) {
            println!("{e}");
        }
    }
}

struct Loaded {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    acknowledged: u64,
}

impl Loaded {
    fn start(volume: &Volume, without_sync: bool) -> Self {
        let binary = std::env::current_exe().unwrap();
        let mut command = if without_sync {
            let mut command = Command::new("eatmydata");
            command.arg(binary);
            command
        } else {
            Command::new(binary)
        };
        let mut child = command
            .args(["--exact", "node_under_load", "--nocapture"])
            .env(DIR, volume.data())
            .stdout(Stdio::piped())
            .spawn()
            .expect("eatmydata (a Debian package) and this test binary can be run");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, acknowledged: 0 }
    }

    /// The next word of the node: true for an acknowledgement, false for a refusal.
    fn next(&mut self) -> Option<bool> {
        for line in &mut self.lines {
            let line = line.unwrap();
            if let Some(seq) = line.strip_prefix("acked ") {
                self.acknowledged = seq.parse().unwrap();
                return Some(true);
            }
            if let Some(error) = line.strip_prefix("full: ") {
                assert!(error.contains("no space left"), "{error}");
                return Some(false);
            }
            if line.starts_with("stopped") {
                println!("{line}");
            }
        }
        None
    }

    fn acknowledge(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            left -= usize::from(self.next().expect("the node runs"));
        }
    }

    /// SIGKILL; what it still said counts.
    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        while self.next().is_some() {}
        self.child.wait().unwrap();
        self.acknowledged
    }
}

/// Cuts the power after `count` acknowledgements: what was acknowledged, and what came back.
fn cut(volume: &Volume, count: usize, without_sync: bool) -> (u64, Option<Node>) {
    let mut node = Loaded::start(volume, without_sync);
    node.acknowledge(count);
    run("xfs_io", &["-x", "-c", "shutdown", text(&volume.mount)]).unwrap();
    let acknowledged = node.kill();
    volume.mount_again();
    (acknowledged, Node::start(&volume.data()).ok())
}

fn lose_nothing(kind: &str) {
    let Some(volume) = Volume::new(kind, 400) else { return };
    // Small counts cut the first moments, large ones checkpoints and recycled segments.
    for count in [1, 40, 400] {
        let (acknowledged, node) = cut(&volume, count, false);
        let node = node.expect("the node starts again");
        println!("{kind}: acknowledged {acknowledged}, came back {}", node.maker.seq);
        assert!(node.maker.seq >= acknowledged, "acknowledged writes are lost");
        node.check();
    }
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_on_ext4() {
    lose_nothing("ext4");
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_on_xfs() {
    lose_nothing("xfs");
}

#[test]
fn without_syncs_the_same_cut_loses_acknowledged_writes() {
    let Some(volume) = Volume::new("ext4", 400) else { return };
    let (acknowledged, node) = cut(&volume, 100, true);
    let back = node.map_or(0, |node| node.maker.seq);
    println!("under eatmydata: acknowledged {acknowledged}, came back {back}");
    assert!(back < acknowledged, "this test would not notice a missing sync");
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let Some(volume) = Volume::new("ext4", 16) else { return };
    let ballast = volume.mount.join("ballast");
    std::fs::write(&ballast, vec![1; 9 << 20]).unwrap();

    // Until it is full, and refuses more than once (it reads between refusals).
    let mut node = Loaded::start(&volume, false);
    let mut refused = 0;
    while refused < 5 {
        refused += usize::from(!node.next().expect("a full disk does not stop it"));
    }
    // Killed and started again while it is full: it serves reads.
    let acknowledged = node.kill();
    let full = Node::start(&volume.data()).expect("a full disk does not keep it from starting");
    assert!(full.maker.seq >= acknowledged);
    full.check();
    drop(full);

    // Room comes back under a running node.
    let mut node = Loaded::start(&volume, false);
    std::fs::remove_file(&ballast).unwrap();
    node.acknowledge(50);
    let acknowledged = node.kill();
    let node = Node::start(&volume.data()).unwrap();
    assert!(node.maker.seq >= acknowledged);
    node.check();
}
