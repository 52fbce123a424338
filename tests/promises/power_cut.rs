//! Promise: a power cut in one zone, in two, in all three loses no acknowledged write, and every node
//! starts again without hands.
//!
//! Each node has a loop-mounted file system of its own. Power is cut by the file system's shutdown
//! request (`xfs_io -x -c shutdown`): it keeps exactly what was synced. Then the process is killed, and
//! the file system is mounted again, which replays its journal, as at the next start of a machine. The
//! system group's replicas lie on the same disks and lose power with them.
//!
//! The same cut under `eatmydata`, which turns every sync into nothing, must lose: else this test would
//! not notice a missing sync.

#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::path::{Path, PathBuf};
use std::process::Command;

use tombolo_tests::cluster::{PATIENCE, key};
use tombolo_tests::workload::{Ledger, Writers, item, lost};
use tombolo_tests::{Cluster, Setup, eventually};

/// Set for the run that must fail: what it loses is said after this word.
const WITHOUT_SYNC: &str = "TOMBOLO_TEST_POWER_CUT_WITHOUT_SYNC";
const WITHOUT_POWER_OFF: &str = "TOMBOLO_WITHOUT_POWER_OFF";
const ZONES: [&str; 3] = ["a", "b", "c"];
/// One cluster at a time: they are timed by their own patience.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

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

/// A node's disk: a file system in a file, mounted where the node keeps its data.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    fn make(images: &Path, region: &Path, zone: &str) -> Result<Disk, String> {
        let disk = Disk { image: images.join(zone), mount: region.join(zone) };
        std::fs::create_dir_all(&disk.mount).map_err(|e| e.to_string())?;
        let file = std::fs::File::create(&disk.image).map_err(|e| e.to_string())?;
        file.set_len(1 << 30).map_err(|e| e.to_string())?;
        run("mkfs.ext4", &["-q", text(&disk.image)])?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", text(&self.image), text(&self.mount)])
    }

    /// From here on nothing reaches the disk, and what was not synced never will.
    fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.mount)]).expect("xfsprogs is installed");
    }

    fn mount_again(&self) {
        run("umount", &[text(&self.mount)]).expect("nobody uses it: else the run is void");
        self.mount().expect("the file system recovers");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The end of a failed test; at the end of a good one nothing uses it.
        let _ = run("umount", &["-l", text(&self.mount)]);
        // The cluster's folder could not go while this was mounted in it.
        for empty in self.mount.ancestors().take(3) {
            let _ = std::fs::remove_dir(empty);
        }
    }
}

/// The disks; nothing where the machine forbids loop mounts and the environment allows to go without.
fn disks(images: &Path, region: &Path) -> Option<Vec<Disk>> {
    match ZONES.iter().map(|zone| Disk::make(images, region, zone)).collect() {
        Ok(disks) => Some(disks),
        Err(e) if std::env::var(WITHOUT_POWER_OFF).is_ok_and(|v| v == "1") => {
            println!("NOT RUN ({WITHOUT_POWER_OFF}=1): {e}");
            None
        }
        Err(e) => panic!(
            "this machine cannot cut the power of a loop-mounted file system: {e}\nrun as root where \
             loop mounts are allowed, or set {WITHOUT_POWER_OFF}=1 to go without this proof"
        ),
    }
}

/// Cuts the power of these zones under writers; gives what was acknowledged until all write again.
async fn cut(cluster: &Cluster, disks: &[Disk], zones: &[usize], round: usize) -> Ledger {
    let client = cluster.client(0).await;
    let writers = Writers::start(&client, "items", &format!("r{round}"), 12, 16);
    eventually("writes flow", PATIENCE, || async {
        client.get_item("items", key(&format!("r{round}-0-15")), true).await.ok().flatten()
    })
    .await;
    for zone in zones {
        disks[*zone].cut_power();
    }
    for zone in zones {
        cluster.kill(&format!("us-east/{}", ZONES[*zone])).await;
        disks[*zone].mount_again();
    }
    for zone in zones {
        cluster.release(&format!("us-east/{}", ZONES[*zone])).await;
    }
    let pk = format!("after {round}");
    eventually("the region writes again", PATIENCE, || async {
        client.put_item("items", item(&pk, 1)).await.ok()
    })
    .await;
    let written = writers.finish().await;
    println!(
        "power cut in {} of 3 zones: acknowledged {}, longest pause {:?}",
        zones.len(),
        written.ledger.acknowledged(),
        written.longest_pause
    );
    written.ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_anywhere_loses_no_acknowledged_write() {
    let _alone = ALONE.lock().await;
    let images = tempfile::tempdir().expect("a folder");
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disks) = disks(images.path(), &folder.path().join("us-east")) else { return };
    let cluster = Cluster::start_in(Setup::one_region(), folder).await;
    cluster.table("items", 3).await;

    let without_sync = std::env::var_os(WITHOUT_SYNC).is_some();
    let rounds: &[&[usize]] =
        if without_sync { &[&[0, 1, 2]] } else { &[&[0], &[1, 2], &[0, 1, 2], &[0, 1, 2]] };
    let mut ledger = Ledger::default();
    for (round, zones) in rounds.iter().enumerate() {
        ledger.0.extend(cut(&cluster, &disks, zones, round).await.0);
    }

    let client = cluster.client(0).await;
    let lost = lost(&client, "items", &ledger).await;
    assert!(lost.is_empty(), "lost: {lost:#?}");
    // Each round leaves one item besides the writers'. A key whose first write was never acknowledged
    // may be there or not.
    let acknowledged = ledger.0.values().filter(|entry| entry.acknowledged > 0).count();
    let items = (acknowledged + rounds.len()) as u64..=(ledger.0.len() + rounds.len()) as u64;
    eventually("the copies agree", PATIENCE, || async {
        let summary = cluster.verify(0, "items").await.summary?;
        (summary.agreed && items.contains(&summary.items)).then_some(())
    })
    .await;
    cluster.stop().await;
}

/// Without syncs the three zones' page caches hold what nobody's disk has.
#[test]
fn without_syncs_the_same_cut_is_noticed() {
    if std::env::var(WITHOUT_POWER_OFF).is_ok_and(|v| v == "1") {
        println!("NOT RUN ({WITHOUT_POWER_OFF}=1)");
        return;
    }
    let _alone = ALONE.blocking_lock();
    let output = Command::new("eatmydata")
        .arg(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", "a_power_cut_anywhere_loses_no_acknowledged_write", "--nocapture"])
        .env(WITHOUT_SYNC, "1")
        .output()
        .expect("eatmydata (a Debian package) can be run");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!output.status.success(), "nothing was lost without a single sync:\n{said}");
    let noticed = ["lost: ", "still not: the region writes again"];
    assert!(
        noticed.iter().any(|word| said.contains(word)),
        "it failed for another reason:\n{said}"
    );
}
