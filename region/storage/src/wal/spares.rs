//! Segments that are ready before they are needed, made by a thread of their own so that filling
//! 64 MiB with zeros delays no append.
//!
//! Always true: a spare is complete (filled under the name `filling-…`, then renamed) and as large
//! as the settings say; a failure to make one is tried again only when somebody asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::WalSettings;
use super::segment::{self, SegmentFile};
use crate::{StorageError, files};

pub(super) struct Spares {
    shared: Arc<Shared>,
    maker: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    settings: WalSettings,
}

#[derive(Default)]
struct State {
    stock: Vec<PathBuf>,
    /// Somebody waits for one.
    asked: bool,
    /// Why the last one could not be made.
    error: Option<StorageError>,
    next: u64,
    stop: bool,
}

impl Spares {
    pub(super) fn start(
        settings: &WalSettings,
        found: Vec<(u64, PathBuf)>,
    ) -> Result<Self, StorageError> {
        let mut state = State::default();
        for (name, path) in files::list(&settings.dir)? {
            if name.starts_with("filling-") {
                files::remove_file(&path)?;
            }
        }
        for (number, path) in found {
            state.next = state.next.max(number + 1);
            let size = path
                .metadata()
                .map_err(|e| StorageError::io("read the size of the spare", &path, e))?
                .len();
            if size == settings.segment_bytes {
                state.stock.push(path);
            } else {
                files::remove_file(&path)?;
            }
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            settings: settings.clone(),
        });
        let maker = std::thread::Builder::new()
            .name("wal-spares".into())
            .spawn({
                let shared = shared.clone();
                move || shared.make()
            })
            .map_err(|e| StorageError::io("start the thread of spares in", &settings.dir, e))?;
        Ok(Self { shared, maker: Some(maker) })
    }

    /// A spare; waits while one is being made.
    pub(super) fn take(&self) -> Result<PathBuf, StorageError> {
        let mut state = self.shared.state.lock();
        state.error = None;
        loop {
            if let Some(spare) = state.stock.pop() {
                state.asked = false;
                self.shared.changed.notify_all();
                return Ok(spare);
            }
            if let Some(e) = &state.error {
                return Err(e.clone());
            }
            state.asked = true;
            self.shared.changed.notify_all();
            self.shared.changed.wait(&mut state);
        }
    }

    /// Takes back a segment whose content nobody needs.
    pub(super) fn give(&self, segment: &SegmentFile) -> Result<(), StorageError> {
        let settings = &self.shared.settings;
        let mut state = self.shared.state.lock();
        if segment.size != settings.segment_bytes || state.stock.len() > settings.spare_segments {
            files::remove_file(&segment.path)?;
            return files::sync_dir(&settings.dir);
        }
        let spare = segment::spare_path(&settings.dir, state.next);
        state.next += 1;
        files::rename(&segment.path, &spare)?;
        state.stock.push(spare);
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(maker) = self.maker.take()
            && maker.join().is_err()
        {
            tracing::error!("the thread that makes log segments panicked");
        }
    }
}

impl Shared {
    fn make(&self) {
        let mut state = self.state.lock();
        loop {
            let wanted = state.stock.len() < self.settings.spare_segments || state.asked;
            if state.stop {
                return;
            }
            if !wanted || !state.stock.is_empty() && state.asked || state.error.is_some() {
                self.changed.wait(&mut state);
                continue;
            }
            let number = state.next;
            state.next += 1;
            drop(state);
            let made = self.fill(number);
            state = self.state.lock();
            match made {
                Ok(spare) => state.stock.push(spare),
                Err(e) => {
                    state.asked = false;
                    state.error = Some(e);
                }
            }
            self.changed.notify_all();
        }
    }

    fn fill(&self, number: u64) -> Result<PathBuf, StorageError> {
        let dir = &self.settings.dir;
        let filling = dir.join(format!("filling-{number:016x}"));
        files::zero_filled(&filling, self.settings.segment_bytes)?;
        let spare = segment::spare_path(dir, number);
        files::rename(&filling, &spare)?;
        Ok(spare)
    }
}
