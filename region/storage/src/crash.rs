//! LMDB follows pointers in a mapped file: a rotten page can end the process with SIGSEGV or SIGBUS.
//! The handler here leaves one line, group and generation of the tree that was being read, in a
//! file that was opened beforehand; at the next start that replica is quarantined instead of
//! crashing the node again.
//!
//! Always true: the handler allocates nothing, locks nothing, and then lets the process die the way
//! it would have died without it. A crash outside a tree leaves no line.
//!
//! Absent: the scan of whole trees in a child process. Scans run in this process; a page that
//! crashes it costs one restart, after which its replica is not opened.

use std::cell::{Cell, UnsafeCell};
use std::fs::{File, OpenOptions};
use std::mem::MaybeUninit;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;

use crate::StorageError;

/// Bytes of one line: two numbers of 16 hexadecimal digits, a space, a line feed.
pub(crate) const LINE: usize = 34;

thread_local! {
    /// Group and generation of the tree this thread is reading; groups are never 0.
    static READING: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

static REPORT: AtomicI32 = AtomicI32::new(-1);

/// Marks this thread as reading a tree until it is dropped.
pub(crate) struct Reading((u64, u64));

pub(crate) fn reading(group: u64, generation: u64) -> Reading {
    Reading(READING.replace((group, generation)))
}

impl Drop for Reading {
    fn drop(&mut self) {
        READING.set(self.0);
    }
}

struct Previous(UnsafeCell<[MaybeUninit<libc::sigaction>; 2]>);

// SAFETY: written only under `INSTALL`'s lock before the handler that reads it is in place, and
// never again afterwards.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous = Previous(UnsafeCell::new([MaybeUninit::uninit(); 2]));
static INSTALL: Mutex<bool> = Mutex::new(false);
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Installs the handler (once per process) and makes it report into `path` from now on.
pub(crate) fn install(path: &Path) -> Result<(), StorageError> {
    let mut installed = INSTALL.lock();
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| StorageError::io("open the crash report", path, e))?;
    let old = REPORT.swap(file.into_raw_fd(), Ordering::SeqCst);
    if old >= 0 {
        // SAFETY: `old` came from `into_raw_fd` above and was owned by `REPORT` alone.
        unsafe { libc::close(old) };
    }
    if *installed {
        return Ok(());
    }
    for (slot, signal) in SIGNALS.into_iter().enumerate() {
        // SAFETY: all-zero is a valid `sigaction`; the handler is an `extern "C"` function of the
        // signature that SA_SIGINFO asks for and is async-signal-safe; `PREVIOUS` is written under
        // the lock, before the handler that reads it can run.
        let failed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            let previous = (*PREVIOUS.0.get())[slot].as_mut_ptr();
            libc::sigaction(signal, ptr::null(), previous) != 0
                || libc::sigaction(signal, &action, ptr::null_mut()) != 0
        };
        if failed {
            let e = std::io::Error::last_os_error();
            return Err(StorageError::io("install the crash handler for", path, e));
        }
    }
    *installed = true;
    Ok(())
}

extern "C" fn handler(
    signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    leave_line();
    let slot = usize::from(signal != libc::SIGSEGV);
    // SAFETY: `install` filled both slots before it installed this handler. Returning runs the
    // faulting instruction again under the previous action (Rust's stack check, or death).
    unsafe {
        libc::sigaction(signal, (*PREVIOUS.0.get())[slot].as_ptr(), ptr::null_mut());
    }
}

/// LMDB's own assertions end here: same line, then abort.
pub(crate) unsafe extern "C" fn on_assert(
    _env: *mut lmdb_sys::MDB_env,
    _message: *const libc::c_char,
) {
    leave_line();
    // SAFETY: ends the process; nothing follows.
    unsafe { libc::abort() }
}

fn leave_line() {
    let (group, generation) = READING.get();
    let report = REPORT.load(Ordering::SeqCst);
    if group == 0 || report < 0 {
        return;
    }
    let line = line(group, generation);
    // SAFETY: `line` is a local array of `LINE` bytes; `write` is async-signal-safe.
    unsafe { libc::write(report, line.as_ptr().cast(), LINE) };
}

fn line(group: u64, generation: u64) -> [u8; LINE] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = [b' '; LINE];
    for digit in 0..16 {
        let shift = 60 - 4 * digit;
        line[digit] = DIGITS[(group >> shift) as usize & 15];
        line[17 + digit] = DIGITS[(generation >> shift) as usize & 15];
    }
    line[LINE - 1] = b'\n';
    line
}

/// What earlier crashes left in the report; lines that are not ours are passed over.
pub(crate) fn read(path: &Path) -> Result<Vec<(u64, u64)>, StorageError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StorageError::io("read the crash report", path, e)),
    };
    let mut found: Vec<(u64, u64)> = text
        .lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(g, n)| {
            Some((u64::from_str_radix(g, 16).ok()?, u64::from_str_radix(n, 16).ok()?))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Replaces the report by `lines`.
pub(crate) fn rewrite(path: &Path, lines: &[(u64, u64)]) -> Result<(), StorageError> {
    let fail = |e| StorageError::io("rewrite the crash report", path, e);
    let mut bytes = Vec::new();
    for (group, generation) in lines {
        bytes.extend_from_slice(&line(*group, *generation));
    }
    std::fs::write(path, bytes).map_err(fail)?;
    File::open(path).and_then(|f| f.sync_all()).map_err(fail)
}
