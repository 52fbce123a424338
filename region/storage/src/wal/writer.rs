//! The log's one writer thread: drain the queue, write one buffer, one `fdatasync`, answer all.
//!
//! Always true:
//! - Answers come in the order of the appends, each exactly once, also when the log is dropped.
//! - An append is refused as a whole: segments for all of it are at hand before its first byte.
//! - After a failed write or sync nothing is written any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tombolo_item::GroupId;

use super::frame::{self, Place};
use super::groups::{Groups, Tail};
use super::recover;
use super::segment::{self, LogFile, Segment, SegmentFile};
use super::spares::Spares;
use super::{Done, Recovered, WalRecord, WalSettings, WalStatus};
use crate::{StorageError, files, metrics};

/// How much one batch may hold, so that memory stays bounded.
const BATCH_BYTES: usize = 16 << 20;
const LEAST_SEGMENT: u64 = 4096;

/// A node's write-ahead log. Dropping it finishes what is queued.
pub struct Wal {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Job {
    records: Vec<WalRecord>,
    done: Done,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stop: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    book: Mutex<Book>,
    settings: WalSettings,
}

/// What others may ask about the log; the writer alone changes it.
struct Book {
    groups: Groups,
    segments: VecDeque<SegmentFile>,
    last_lsn: u64,
    full: bool,
    failed: bool,
}

pub(super) type Wrap = Box<dyn Fn(File) -> Box<dyn LogFile> + Send>;

impl Wal {
    /// Recovers the log in `settings.dir` and starts its writer on a fresh segment.
    pub fn open(settings: WalSettings) -> Result<(Self, Recovered), StorageError> {
        Self::open_with(settings, Box::new(|file| Box::new(file)))
    }

    pub(super) fn open_with(
        settings: WalSettings,
        wrap: Wrap,
    ) -> Result<(Self, Recovered), StorageError> {
        if settings.segment_bytes < LEAST_SEGMENT {
            return Err(StorageError::Invalid {
                what: "write-ahead log segment size",
                reason: format!("{} bytes; at least {LEAST_SEGMENT}", settings.segment_bytes),
            });
        }
        files::create_dir(&settings.dir)?;
        let lock = files::LockFile::take("the write-ahead log", settings.dir.join("LOCK"))?;
        let found = recover::recover(&settings.dir)?;
        let next = found.segments.last().map_or(0, |s| s.number) + 1;
        let spares = Spares::start(&settings, found.spares)?;
        let last_lsn = found.recovered.last_lsn;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            book: Mutex::new(Book {
                groups: found.groups,
                segments: found.segments.into(),
                last_lsn,
                full: false,
                failed: false,
            }),
            settings,
        });
        let mut writer = Writer {
            shared: shared.clone(),
            spares,
            wrap,
            active: None,
            next_segment: next,
            durable: last_lsn,
            lsn: last_lsn,
            buffer: Vec::new(),
            at_hand: VecDeque::new(),
            batch_error: None,
            refused: BTreeSet::new(),
            failure: None,
            may_trim: true,
            unmarked: false,
            _lock: lock,
        };
        // A full disk does not keep a node from starting: it serves reads and refuses writes.
        match writer.gather(1) {
            Ok(()) => writer.roll()?,
            Err(e) if e.is_no_space() => {
                tracing::warn!(error = %e, "the log starts full: writes are refused");
                writer.shared.book.lock().full = true;
            }
            Err(e) => return Err(e),
        }
        writer.publish();
        let thread = std::thread::Builder::new()
            .name("wal".into())
            .spawn(move || writer.run())
            .map_err(|e| StorageError::io("start the thread of", &shared.settings.dir, e))?;
        Ok((Self { shared, writer: Some(thread) }, found.recovered))
    }

    /// Queues records; `done` is called once, in order, when they are durable or refused as a whole.
    /// Never blocks.
    ///
    /// After `NoSpace` the log's position is as before; later appends of a group whose entries then
    /// leave a hole are refused the same way until they continue from what was kept.
    pub fn append(&self, records: Vec<WalRecord>, done: Done) {
        let mut queue = self.shared.queue.lock();
        queue.jobs.push_back(Job { records, done });
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Groups whose checkpoint (and then `Base`) would free the oldest segment. Empty while there
    /// are no more segments than the settings keep, unless the disk is full.
    pub fn oldest_pins(&self) -> Vec<GroupId> {
        let book = self.shared.book.lock();
        let enough = book.segments.len() > self.shared.settings.keep_segments.max(1);
        match book.segments.front() {
            Some(oldest) if enough || (book.full && book.segments.len() > 1) => {
                book.groups.pinning(oldest.number)
            }
            _ => Vec::new(),
        }
    }

    pub fn status(&self) -> WalStatus {
        let book = self.shared.book.lock();
        WalStatus {
            segments: book.segments.len(),
            bytes: book.segments.iter().map(|s| s.size).sum(),
            oldest_lsn: book.segments.front().map_or(0, |s| s.before + 1),
            last_lsn: book.last_lsn,
            full: book.full,
            failed: book.failed,
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.shared.queue.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the log's writer thread panicked");
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    spares: Spares,
    wrap: Wrap,
    /// `None` after a failed write, or when no segment could be had yet.
    active: Option<Segment>,
    next_segment: u64,
    /// The last LSN known durable, and the last given out.
    durable: u64,
    lsn: u64,
    /// Frames of the active segment that are not written yet.
    buffer: Vec<u8>,
    /// Spares taken for the batch.
    at_hand: VecDeque<PathBuf>,
    /// Why the rest of the current batch cannot be kept.
    batch_error: Option<StorageError>,
    /// Groups with a refused append that nothing continued yet.
    refused: BTreeSet<GroupId>,
    failure: Option<StorageError>,
    /// Something happened that may have freed the oldest segment.
    may_trim: bool,
    /// There are records that no mark follows.
    unmarked: bool,
    _lock: files::LockFile,
}

/// Where a record went, and whether it is a base that forgets older entries.
type Noted = (u64, bool);

/// A job of a batch on its way to an answer.
enum Step {
    Refused(Done, StorageError),
    /// Its frames are in the buffer or in a segment.
    Placed {
        job: Job,
        places: Vec<Noted>,
        last_lsn: u64,
    },
}

impl Writer {
    fn run(mut self) {
        while let Some(jobs) = self.next_jobs() {
            if jobs.is_empty() {
                self.mark();
                continue;
            }
            self.batch(jobs);
            if self.may_trim && self.failure.is_none() {
                self.may_trim = false;
                if let Err(e) = self.trim() {
                    tracing::warn!(error = %e, "the oldest log segment was not recycled");
                    self.may_trim = true;
                }
            }
            self.publish();
        }
    }

    /// Everything queued (within bounds); empty when the log has been idle for a while; `None` at
    /// the end.
    fn next_jobs(&mut self) -> Option<Vec<Job>> {
        let mut queue = self.shared.queue.lock();
        while queue.jobs.is_empty() {
            if queue.stop {
                return None;
            }
            match self.shared.settings.idle_mark {
                Some(idle) if self.unmarked && self.failure.is_none() => {
                    let deadline = Instant::now() + idle;
                    if self.shared.wake.wait_until(&mut queue, deadline).timed_out()
                        && queue.jobs.is_empty()
                    {
                        return Some(Vec::new());
                    }
                }
                _ => self.shared.wake.wait(&mut queue),
            }
        }
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while let Some(job) = queue.jobs.front() {
            let size: usize = job.records.iter().map(frame::size).sum();
            if !jobs.is_empty() && bytes + size > BATCH_BYTES {
                break;
            }
            bytes += size;
            jobs.extend(queue.jobs.pop_front());
        }
        Some(jobs)
    }

    /// Keeps what can be kept of `jobs` with one sync, then answers all in order.
    fn batch(&mut self, jobs: Vec<Job>) {
        self.batch_error = None;
        let mut tails = BTreeMap::new();
        let mut steps = Vec::with_capacity(jobs.len());
        for job in jobs {
            steps.push(match self.place(&job.records, &mut tails) {
                Ok(places) => Step::Placed { job, places, last_lsn: self.lsn },
                Err(e) => {
                    self.note_refused(&job.records, &e);
                    Step::Refused(job.done, e)
                }
            });
        }
        if let Err(e) = self.flush() {
            self.batch_error = Some(e);
        }
        metrics::WAL_BATCHES.inc();
        let mut answers: Vec<(Done, Result<(), StorageError>)> = Vec::with_capacity(steps.len());
        for step in steps {
            answers.push(match (step, &self.batch_error) {
                (Step::Refused(done, e), _) => (done, Err(e)),
                (Step::Placed { job, last_lsn, .. }, Some(e)) if last_lsn > self.durable => {
                    let e = e.clone();
                    self.note_refused(&job.records, &e);
                    (job.done, Err(e))
                }
                (Step::Placed { job, places, .. }, _) => {
                    self.note_kept(&job.records, &places);
                    (job.done, Ok(()))
                }
            });
        }
        self.publish();
        for (done, answer) in answers {
            // A panic in one answer must not silence the log for everybody.
            if catch_unwind(AssertUnwindSafe(|| done(answer))).is_err() {
                tracing::error!("the answer to an append panicked");
            }
        }
    }

    fn note_refused(&mut self, records: &[WalRecord], error: &StorageError) {
        if error.is_no_space() {
            metrics::WAL_REFUSED.inc();
            self.refused.extend(records.iter().map(WalRecord::group));
            self.shared.book.lock().full = true;
        }
    }

    fn note_kept(&mut self, records: &[WalRecord], places: &[Noted]) {
        let mut book = self.shared.book.lock();
        for (record, (segment, forgets)) in records.iter().zip(places) {
            book.groups.note(record, *segment, *forgets);
            match record {
                WalRecord::Entry { group, .. } => {
                    self.refused.remove(group);
                    book.full = false;
                }
                WalRecord::Base { .. } | WalRecord::Drop { .. } => self.may_trim = true,
                WalRecord::HardState { .. } => {}
            }
        }
        metrics::WAL_RECORDS.inc_by(records.len() as u64);
    }

    /// Puts all of `records` into the buffer, over as many segments as they need, or nothing.
    /// Returns where each went.
    fn place(
        &mut self,
        records: &[WalRecord],
        tails: &mut BTreeMap<GroupId, Tail>,
    ) -> Result<Vec<Noted>, StorageError> {
        if let Some(e) = self.failure.as_ref().or(self.batch_error.as_ref()) {
            return Err(e.clone());
        }
        let (moved, forgets) = self.moved_tails(records, tails)?;
        self.make_room(records)?;
        let mut places = Vec::with_capacity(records.len());
        for (record, forgets) in records.iter().zip(forgets) {
            let size = frame::size(record) as u64;
            if self.room() < size
                && let Err(e) = self.roll()
            {
                self.batch_error = Some(e.clone());
                return Err(e);
            }
            let number = self.active.as_ref().map_or(0, |a| a.number);
            self.lsn += 1;
            let place =
                Place { segment: number, lsn: self.lsn, synced_from: self.durable + 1, forgets };
            frame::encode(Some(record), place, &mut self.buffer);
            places.push((number, forgets));
        }
        tails.extend(moved);
        Ok(places)
    }

    /// Where the groups' logs end after `records` and which of them forget older entries, or why
    /// they do not fit.
    fn moved_tails(
        &self,
        records: &[WalRecord],
        tails: &BTreeMap<GroupId, Tail>,
    ) -> Result<(BTreeMap<GroupId, Tail>, Vec<bool>), StorageError> {
        let mut forgets = Vec::with_capacity(records.len());
        let mut moved: BTreeMap<GroupId, Tail> = BTreeMap::new();
        for record in records {
            let group = record.group();
            let tail = match moved.get(&group).or_else(|| tails.get(&group)) {
                Some(tail) => *tail,
                None => self.shared.book.lock().groups.tail(group),
            };
            let after = tail.after(record).map_err(|reason| {
                if self.refused.contains(&group) {
                    let path = self.shared.settings.dir.clone();
                    StorageError::NoSpace { action: "append after a refused append to", path }
                } else {
                    StorageError::Invalid { what: "append to the write-ahead log", reason }
                }
            })?;
            forgets.push(tail.forgets(record));
            moved.insert(group, after);
        }
        Ok((moved, forgets))
    }

    /// Bytes that still fit behind what is buffered for the active segment.
    fn room(&self) -> u64 {
        self.active.as_ref().map_or(0, |a| a.remaining() - self.buffer.len() as u64)
    }

    /// Makes sure that the segments `records` need are at hand. Entries leave the last part of the
    /// last segment alone: with a full disk it takes the bases that make room.
    fn make_room(&mut self, records: &[WalRecord]) -> Result<(), StorageError> {
        let capacity = self.shared.settings.segment_bytes - segment::HEADER as u64;
        let (mut room, mut segments) = (self.room(), 0);
        for record in records {
            let size = frame::size(record) as u64;
            if size > capacity {
                let reason = format!("a record of {size} bytes; a segment holds {capacity}");
                return Err(StorageError::Invalid {
                    what: "append to the write-ahead log",
                    reason,
                });
            }
            if size > room {
                segments += 1;
                room = capacity;
            }
            room -= size;
        }
        self.gather(segments)?;
        let entries = records.iter().any(|r| matches!(r, WalRecord::Entry { .. }));
        if entries && room < capacity / 16 {
            self.gather(segments + 1)?;
        }
        Ok(())
    }

    /// Takes spares until `count` are at hand.
    fn gather(&mut self, count: usize) -> Result<(), StorageError> {
        while self.at_hand.len() < count {
            self.at_hand.push_back(self.spares.take()?);
        }
        Ok(())
    }

    /// Makes everything so far durable and goes on in a fresh segment, whose spare is at hand.
    fn roll(&mut self) -> Result<(), StorageError> {
        self.flush()?;
        let dir = &self.shared.settings.dir;
        let spare = self.at_hand.pop_front().ok_or_else(|| StorageError::NoSpace {
            action: "open a log segment in",
            path: dir.clone(),
        })?;
        let opened = segment::open_fresh(dir, &spare, self.next_segment, self.lsn);
        let (file, info) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                self.failure = Some(e.clone());
                return Err(e);
            }
        };
        self.next_segment += 1;
        self.active = Some(Segment {
            number: info.number,
            path: info.path.clone(),
            file: (self.wrap)(file),
            position: segment::HEADER as u64,
            size: info.size,
        });
        self.shared.book.lock().segments.push_back(info);
        self.may_trim = true;
        Ok(())
    }

    /// Writes and syncs what is buffered. Out of space: the segment is left as it is, and the next
    /// append goes on in a fresh one, whose header says where this one ended.
    fn flush(&mut self) -> Result<(), StorageError> {
        if self.durable == self.lsn {
            return Ok(());
        }
        if let Some(e) = &self.failure {
            return Err(e.clone());
        }
        let Some(active) = &mut self.active else {
            return Err(StorageError::Stopped { reason: "no segment is open".into() });
        };
        if let Err(e) = active.file.write(&self.buffer, active.position) {
            let path = active.path.clone();
            self.buffer.clear();
            self.lsn = self.durable;
            self.active = None;
            if crate::error::is_full(&e) {
                return Err(StorageError::NoSpace { action: "append to", path });
            }
            return Err(self.fail(StorageError::fatal("write", &path, e)));
        }
        let started = Instant::now();
        if let Err(e) = active.file.sync() {
            let e = StorageError::fatal("sync", &active.path, e);
            return Err(self.fail(e));
        }
        metrics::WAL_FSYNC_SECONDS.observe(started.elapsed().as_secs_f64());
        metrics::WAL_APPEND_BYTES.inc_by(self.buffer.len() as u64);
        active.position += self.buffer.len() as u64;
        self.buffer.clear();
        self.durable = self.lsn;
        self.unmarked = true;
        Ok(())
    }

    fn fail(&mut self, error: StorageError) -> StorageError {
        tracing::error!(error = %error, "the write-ahead log stops");
        self.failure = Some(error.clone());
        error
    }

    /// Notes, without a sync, that everything so far is durable.
    fn mark(&mut self) {
        self.unmarked = false;
        if self.room() < frame::HEADER as u64 || self.failure.is_some() {
            return;
        }
        let Some(active) = &mut self.active else { return };
        let place = Place {
            segment: active.number,
            lsn: self.lsn + 1,
            synced_from: self.durable + 1,
            forgets: false,
        };
        let mut bytes = Vec::with_capacity(frame::HEADER);
        frame::encode(None, place, &mut bytes);
        match active.file.write(&bytes, active.position) {
            Ok(()) => {
                active.position += bytes.len() as u64;
                self.lsn += 1;
            }
            Err(e) => {
                let e = StorageError::fatal("write a mark into", &active.path, e);
                self.fail(e);
                self.publish();
            }
        }
    }

    /// Recycles the oldest segments that nobody needs, after writing again what they alone hold.
    fn trim(&mut self) -> Result<(), StorageError> {
        // Only segments that were there before: writing again may open new ones.
        let newest = self.next_segment;
        loop {
            let (oldest, records) = {
                let book = self.shared.book.lock();
                match book.segments.front() {
                    Some(oldest)
                        if book.segments.len() > 1
                            && oldest.number < newest
                            && !book.groups.is_pinned(oldest.number) =>
                    {
                        (oldest.clone(), book.groups.only_in(oldest.number))
                    }
                    _ => return Ok(()),
                }
            };
            self.batch_error = None;
            let places = self.place(&records, &mut BTreeMap::new())?;
            self.flush()?;
            self.note_kept(&records, &places);
            self.shared.book.lock().segments.pop_front();
            self.spares.give(&oldest)?;
        }
    }

    fn publish(&mut self) {
        let mut book = self.shared.book.lock();
        book.last_lsn = self.durable;
        book.failed = self.failure.is_some();
        metrics::WAL_SEGMENTS.set(book.segments.len() as i64);
        metrics::WAL_FULL.set(i64::from(book.full));
    }
}
