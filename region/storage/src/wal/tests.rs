//! The log as a whole: what it acknowledges survives, what it finds is told apart.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use tombolo_item::GroupId;

use super::segment::{self, LogFile};
use super::*;
use crate::StorageError;

const G: GroupId = GroupId(16);
const H: GroupId = GroupId(17);

fn settings(dir: &Path) -> WalSettings {
    WalSettings {
        segment_bytes: 8 << 10,
        keep_segments: 2,
        idle_mark: None,
        ..WalSettings::new(dir)
    }
}

fn open(dir: &Path) -> (Wal, Recovered) {
    Wal::open(settings(dir)).unwrap()
}

fn entry(group: GroupId, index: u64, bytes: usize) -> WalRecord {
    let data = Bytes::from(vec![index as u8; bytes]);
    let entry = LogEntry { index, term: 1, kind: 0, data, context: Bytes::new() };
    WalRecord::Entry { group, entry }
}

fn base(group: GroupId, index: u64, generation: u64) -> WalRecord {
    let base = LogBase { index, term: 1, generation, conf: Bytes::from_static(b"members") };
    WalRecord::Base { group, base }
}

fn vote(group: GroupId, term: u64) -> WalRecord {
    WalRecord::HardState { group, state: HardState { term, vote: 3, commit: 0 } }
}

fn append(wal: &Wal, records: Vec<WalRecord>) -> Result<(), StorageError> {
    let (send, receive) = mpsc::channel();
    wal.append(records, Box::new(move |outcome| send.send(outcome).unwrap()));
    receive.recv().unwrap()
}

fn indexes(recovered: &Recovered, group: GroupId) -> Vec<u64> {
    recovered.groups.get(&group).map_or(Vec::new(), |g| g.entries.iter().map(|e| e.index).collect())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn what_was_acknowledged_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, recovered) = open(dir.path());
    assert!(recovered.groups.is_empty());
    append(&wal, vec![base(G, 0, 1), vote(G, 4)]).unwrap();
    append(&wal, (1..=5).map(|i| entry(G, i, 100)).collect()).unwrap();
    append(&wal, vec![entry(H, 1, 10), vote(H, 9), WalRecord::Drop { group: H }]).unwrap();
    // A new leader replaces what follows entry 2.
    append(&wal, vec![entry(G, 3, 7), entry(G, 4, 7)]).unwrap();
    drop(wal);
    for _ in 0..3 {
        let (wal, recovered) = open(dir.path());
        assert_eq!(indexes(&recovered, G), [1, 2, 3, 4]);
        let group = &recovered.groups[&G];
        assert_eq!(group.entries[2].data.len(), 7);
        assert_eq!((group.hard_state.term, group.base.generation), (4, 1));
        assert_eq!(&group.base.conf[..], b"members");
        assert!(!recovered.groups.contains_key(&H));
        drop(wal);
    }
}

#[test]
fn a_base_with_another_generation_forgets_older_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    append(&wal, vec![base(G, 0, 1)]).unwrap();
    append(&wal, (1..=9).map(|i| entry(G, i, 10)).collect()).unwrap();
    append(&wal, vec![base(G, 5, 2)]).unwrap();
    append(&wal, vec![entry(G, 6, 11)]).unwrap();
    append(&wal, vec![base(G, 5, 2)]).unwrap();
    drop(wal);
    let (_wal, recovered) = open(dir.path());
    assert_eq!(indexes(&recovered, G), [6]);
    assert_eq!(recovered.groups[&G].entries[0].data.len(), 11);
}

#[test]
fn a_forgetting_base_is_known_when_the_base_before_it_was_recycled() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    append(&wal, vec![base(G, 0, 1)]).unwrap();
    append(&wal, (1..=12).map(|i| entry(G, i, 1_000)).collect()).unwrap();
    // The first segment goes; entries 8 to 12 stay in the second, before any base.
    append(&wal, vec![base(G, 7, 1)]).unwrap();
    append(&wal, vec![base(G, 9, 2)]).unwrap();
    append(&wal, vec![vote(G, 1)]).unwrap();
    drop(wal);
    let (_wal, recovered) = open(dir.path());
    assert!(indexes(&recovered, G).is_empty(), "entries 10 to 12 are void");
    assert_eq!((recovered.groups[&G].base.index, recovered.groups[&G].base.generation), (9, 2));
}

#[test]
fn segments_are_recycled_only_when_nobody_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    // An idle group whose vote lies in the first segment only.
    append(&wal, vec![base(H, 0, 1), vote(H, 7)]).unwrap();
    append(&wal, vec![base(G, 0, 1)]).unwrap();
    let mut index = 0;
    while wal.status().segments < 5 {
        index += 1;
        append(&wal, vec![entry(G, index, 1_000)]).unwrap();
    }
    assert_eq!(wal.oldest_pins(), [G]);
    append(&wal, vec![base(G, index, 1)]).unwrap();
    // The trimming follows the answer; the next answer follows the trimming.
    append(&wal, vec![vote(G, 2)]).unwrap();
    assert!(wal.status().segments <= 2, "{:?}", wal.status());
    assert!(wal.oldest_pins().is_empty());
    for _ in 0..40 {
        index += 1;
        append(&wal, vec![entry(G, index, 1_000), base(G, index - 1, 1)]).unwrap();
    }
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert!(files < 8, "{files} files: segments are reused");
    drop(wal);
    let (_wal, recovered) = open(dir.path());
    assert_eq!(recovered.groups[&H].hard_state.term, 7);
    assert_eq!(recovered.groups[&H].base.generation, 1);
    assert_eq!(indexes(&recovered, G), [index]);
}

#[test]
fn an_append_larger_than_a_segment_is_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    append(&wal, (1..=40).map(|i| entry(G, i, 1_000)).collect()).unwrap();
    assert!(wal.status().segments >= 5);
    let too_large = append(&wal, vec![entry(G, 41, 9_000)]);
    assert!(matches!(too_large, Err(StorageError::Invalid { .. })), "{too_large:?}");
    drop(wal);
    let (_wal, recovered) = open(dir.path());
    assert_eq!(indexes(&recovered, G), (1..=40).collect::<Vec<_>>());
}

#[test]
fn answers_come_in_order_and_all_of_them_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    let (send, receive) = mpsc::channel();
    for index in 1..=500 {
        let send = send.clone();
        let done: Done = Box::new(move |outcome| send.send((index, outcome.is_ok())).unwrap());
        wal.append(vec![entry(G, index, 50)], done);
    }
    drop((wal, send));
    let answers: Vec<_> = receive.iter().collect();
    assert_eq!(answers, (1..=500).map(|i| (i, true)).collect::<Vec<_>>());
}

#[test]
fn a_panicking_answer_does_not_silence_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    wal.append(vec![entry(G, 1, 50)], Box::new(|_| panic!("planted")));
    append(&wal, vec![entry(G, 2, 50)]).unwrap();
}

/// Three acknowledged appends, then one of three records whose answer nobody got. Returns where the
/// acknowledged bytes end and where all do.
fn written(dir: &Path, idle_mark: Option<Duration>) -> (std::path::PathBuf, u64, u64) {
    let (wal, _) = Wal::open(WalSettings { idle_mark, ..settings(dir) }).unwrap();
    let mut end = segment::HEADER as u64;
    for first in [1, 3, 5] {
        let records = vec![entry(G, first, 20), entry(G, first + 1, 20)];
        end += records.iter().map(|r| frame::size(r) as u64).sum::<u64>();
        append(&wal, records).unwrap();
    }
    let acknowledged = end;
    let records = vec![entry(G, 7, 20), entry(G, 8, 20), entry(G, 9, 20)];
    end += records.iter().map(|r| frame::size(r) as u64).sum::<u64>();
    append(&wal, records).unwrap();
    let path = segment::path_of(dir, 1);
    if idle_mark.is_some() {
        let marked = || {
            let bytes = fs::read(&path).unwrap();
            frame::decode(1, &bytes[end as usize..]).is_ok_and(|f| f.record.is_none())
        };
        while !marked() {
            std::thread::yield_now();
        }
    }
    drop(wal);
    (path, acknowledged, end)
}

#[test]
fn cut_at_every_byte_a_prefix_with_all_acknowledged_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, acknowledged, end) = written(&dir.path().join("wal"), None);
    let whole = fs::read(&path).unwrap();
    for cut in acknowledged..end {
        let mut bytes = whole.clone();
        bytes[cut as usize..].fill(0);
        fs::write(&path, &bytes).unwrap();
        let copied = dir.path().join("copy");
        copy(path.parent().unwrap(), &copied);
        let (wal, recovered) = open(&copied);
        let found = indexes(&recovered, G);
        assert!(found.len() >= 6, "cut at {cut}: {found:?}");
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
        // What was cut stays cut, also when the same numbers are given out again.
        let next = found.len() as u64 + 1;
        append(&wal, vec![entry(G, next, 33)]).unwrap();
        drop(wal);
        let (wal, again) = open(&copied);
        assert_eq!(indexes(&again, G), (1..=next).collect::<Vec<_>>(), "cut at {cut}");
        drop(wal);
        fs::remove_dir_all(&copied).unwrap();
    }
}

#[test]
fn a_flipped_byte_is_a_torn_tail_or_damage_never_wrong_data() {
    for idle_mark in [None, Some(Duration::from_millis(1))] {
        let dir = tempfile::tempdir().unwrap();
        let (path, acknowledged, end) = written(&dir.path().join("wal"), idle_mark);
        let whole = fs::read(&path).unwrap();
        for at in segment::HEADER as u64..end {
            let mut bytes = whole.clone();
            bytes[at as usize] ^= 0x41;
            fs::write(&path, &bytes).unwrap();
            match super::recover::recover(path.parent().unwrap()) {
                Ok(found) => {
                    assert!(idle_mark.is_none(), "at {at}: the mark says all of it was durable");
                    assert!(at >= acknowledged, "at {at}: acknowledged records are lost silently");
                    let found = indexes(&found.recovered, G);
                    assert!(found.len() >= 6 && found.len() < 9, "at {at}: {found:?}");
                    assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
                }
                Err(StorageError::WalDamaged { path: named, offset, .. }) => {
                    assert!(at < acknowledged || idle_mark.is_some(), "at {at}");
                    assert_eq!(named, path);
                    assert!(offset <= at && at < offset + 200, "{offset} names {at}");
                }
                Err(other) => panic!("at {at}: {other}"),
            }
        }
    }
}

#[test]
fn damage_in_an_older_segment_or_a_missing_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    append(&wal, (1..=30).map(|i| entry(G, i, 1_000)).collect()).unwrap();
    drop(wal);
    let second = segment::path_of(dir.path(), 2);
    let whole = fs::read(&second).unwrap();
    let mut bytes = whole.clone();
    bytes[3_000] ^= 1;
    fs::write(&second, &bytes).unwrap();
    let damaged = Wal::open(settings(dir.path())).err().unwrap().to_string();
    assert!(damaged.contains("wal-0000000000000002 at byte"), "{damaged}");
    // The last record of an older segment is no torn tail either.
    let mut bytes = whole.clone();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[end] ^= 1;
    fs::write(&second, &bytes).unwrap();
    assert!(matches!(Wal::open(settings(dir.path())), Err(StorageError::WalDamaged { .. })));
    fs::remove_file(&second).unwrap();
    let missing = Wal::open(settings(dir.path())).err().unwrap().to_string();
    assert!(missing.contains("segments after 1 are missing before it"), "{missing}");
    fs::write(&second, &whole).unwrap();
    let (_wal, recovered) = open(dir.path());
    assert_eq!(indexes(&recovered, G).len(), 30);
}

#[test]
fn two_processes_do_not_share_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_wal, _) = open(dir.path());
    assert!(matches!(Wal::open(settings(dir.path())), Err(StorageError::Locked { .. })));
}

/// A disk that fails the writes and syncs it is told to.
struct Hostile {
    file: File,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    full: AtomicUsize,
    sync: AtomicUsize,
}

fn counted(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl LogFile for Hostile {
    fn write(&self, bytes: &[u8], at: u64) -> std::io::Result<()> {
        if counted(&self.faults.full) {
            // Half of it arrives.
            self.file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(std::io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.file.write_all_at(bytes, at)
    }
    fn sync(&self) -> std::io::Result<()> {
        if counted(&self.faults.sync) {
            return Err(std::io::Error::from_raw_os_error(libc::EIO));
        }
        self.file.sync_data()
    }
}

fn open_hostile(dir: &Path) -> (Wal, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let given = faults.clone();
    let wrap = move |file| Box::new(Hostile { file, faults: given.clone() }) as Box<dyn LogFile>;
    (Wal::open_with(settings(dir), Box::new(wrap)).unwrap().0, faults)
}

#[test]
fn a_full_disk_refuses_restores_the_position_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, faults) = open_hostile(dir.path());
    append(&wal, vec![entry(G, 1, 100)]).unwrap();
    faults.full.store(1, Ordering::SeqCst);
    let refused = append(&wal, vec![entry(G, 2, 100), entry(G, 3, 100)]).unwrap_err();
    assert!(refused.is_no_space() && !refused.is_fatal(), "{refused}");
    assert!(wal.status().full);
    // What the host had queued behind it would leave a hole.
    assert!(append(&wal, vec![entry(G, 4, 100)]).unwrap_err().is_no_space());
    append(&wal, vec![entry(H, 1, 5)]).unwrap();
    append(&wal, vec![entry(G, 2, 7)]).unwrap();
    assert!(!wal.status().full);
    drop(wal);
    let (_wal, recovered) = open(dir.path());
    assert_eq!(indexes(&recovered, G), [1, 2]);
    assert_eq!(recovered.groups[&G].entries[1].data.len(), 7);
    assert_eq!(indexes(&recovered, H), [1]);
}

#[test]
fn a_failed_sync_is_fatal_for_everything_after() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, faults) = open_hostile(dir.path());
    append(&wal, vec![entry(G, 1, 100)]).unwrap();
    faults.sync.store(1, Ordering::SeqCst);
    assert!(append(&wal, vec![entry(G, 2, 100)]).unwrap_err().is_fatal());
    assert!(append(&wal, vec![entry(G, 2, 100)]).unwrap_err().is_fatal(), "no retry");
    assert!(wal.status().failed);
}

#[test]
fn a_hole_is_refused_as_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    append(&wal, vec![entry(G, 1, 100)]).unwrap();
    let hole = append(&wal, vec![entry(G, 3, 100)]);
    assert!(matches!(hole, Err(StorageError::Invalid { .. })), "{hole:?}");
}

#[test]
fn an_old_life_of_a_segment_is_never_read_as_new() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    append(&wal, vec![base(G, 0, 1)]).unwrap();
    for index in 1..=60 {
        append(&wal, vec![entry(G, index, 500), base(G, index - 1, 1)]).unwrap();
        if index % 20 == 0 {
            let copied = tempfile::tempdir().unwrap();
            copy(dir.path(), copied.path());
            let (_wal, recovered) = open(copied.path());
            assert_eq!(indexes(&recovered, G), [index]);
            assert_eq!(recovered.torn_bytes, 0);
        }
    }
}
