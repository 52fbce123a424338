//! Keeps the processes of a development cluster running.
//!
//! Always true: one thread starts and waits for all children, for as long as the cluster lives (the
//! kernel ties a child to the *thread* that started it). A child that ends is started again, after a
//! pause that doubles up to five seconds while it keeps ending early, unless restarting is off or it
//! is held. After each restart `on_start` is told. Children have their own process group, so that a
//! Ctrl-C in the terminal reaches only the supervisor, which then stops them in order.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Context, Failure, Result};

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A child that ran this long starts again at once.
const STEADY: Duration = Duration::from_secs(10);
/// A held process that does not end by itself is killed after this.
const HOLD_PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a process is started.
pub(super) struct Spec {
    /// `us-east/a`, `us-east/nats`.
    pub name: String,
    /// Makes the command; output goes to `log`.
    pub command: Box<dyn Fn() -> Command + Send>,
    pub log: PathBuf,
}

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessState {
    pub name: String,
    /// The newest process id, also after it ended.
    pub pid: u32,
    pub running: bool,
    /// Ended on purpose, and kept down.
    pub held: bool,
    /// How often it was started.
    pub starts: u32,
    /// How it ended the last time.
    pub last_end: Option<String>,
    pub log: PathBuf,
}

/// Told after each start of a process, with the state of all.
pub(super) type OnStart = Box<dyn Fn(&[ProcessState]) + Send>;

enum Order {
    /// Signal it and do not start it again until released.
    Hold(String, Signal, Sender<Result>),
    Release(String, Sender<Result>),
    /// Stop everything, in the order of the names' groups, and end.
    Stop(Duration, Sender<()>),
}

struct Process {
    spec: Spec,
    child: Option<Child>,
    started: Instant,
    pause: Duration,
    start_at: Option<Instant>,
    held: bool,
}

/// The handle. Dropping it kills what still runs.
pub(super) struct Supervisor {
    orders: Sender<Order>,
    state: Arc<Mutex<Vec<ProcessState>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn lock(state: &Mutex<Vec<ProcessState>>) -> MutexGuard<'_, Vec<ProcessState>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supervisor {
    /// Starts the thread, which starts the processes.
    pub(super) fn start(restart: bool, on_start: OnStart, specs: Vec<Spec>) -> Result<Supervisor> {
        let (orders, inbox) = channel();
        let now = Instant::now();
        let fresh = |spec: &Spec| ProcessState {
            name: spec.name.clone(),
            pid: 0,
            running: false,
            held: false,
            starts: 0,
            last_end: None,
            log: spec.log.clone(),
        };
        let state = Arc::new(Mutex::new(specs.iter().map(fresh).collect()));
        let process = |spec| Process {
            spec,
            child: None,
            started: now,
            pause: PAUSE_FIRST,
            start_at: Some(now),
            held: false,
        };
        let processes = specs.into_iter().map(process).collect();
        let mut keeper = Keeper { processes, state: Arc::clone(&state), restart, on_start };
        let thread = std::thread::Builder::new()
            .name("dev-supervisor".into())
            .spawn(move || keeper.run(&inbox))
            .context(|| "starting the supervisor's thread")?;
        Ok(Supervisor { orders, state, thread: Some(thread) })
    }

    /// The state of all processes, in the order they were given.
    pub(super) fn state(&self) -> Vec<ProcessState> {
        lock(&self.state).clone()
    }

    /// Names of the processes that are held.
    pub(super) fn held(&self) -> Vec<String> {
        let state = lock(&self.state);
        state.iter().filter(|p| p.held).map(|p| p.name.clone()).collect()
    }

    /// Another sender of orders, for a thread that may block.
    pub(super) fn orders(&self) -> Orders {
        Orders(self.orders.clone())
    }

    /// Stops everything: nodes first, then NATS; kills what does not end in time.
    pub(super) fn stop(&mut self, patience: Duration) {
        let (done, ended) = channel();
        if self.orders.send(Order::Stop(patience, done)).is_ok() {
            let _ = ended.recv();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives orders and waits until they are carried out.
pub(super) struct Orders(Sender<Order>);

impl Orders {
    /// Signals a process, waits for its end, and does not start it again until [`Orders::release`].
    pub(super) fn hold(&self, name: &str, signal: Signal) -> Result {
        self.give(|reply| Order::Hold(name.to_owned(), signal, reply))
    }

    /// Starts a held process again.
    pub(super) fn release(&self, name: &str) -> Result {
        self.give(|reply| Order::Release(name.to_owned(), reply))
    }

    fn give(&self, order: impl FnOnce(Sender<Result>) -> Order) -> Result {
        let (reply, answer) = channel();
        let gone = || Failure::unavailable("the development cluster was stopped");
        self.0.send(order(reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop(Duration::ZERO);
        }
    }
}

struct Keeper {
    processes: Vec<Process>,
    state: Arc<Mutex<Vec<ProcessState>>>,
    restart: bool,
    on_start: OnStart,
}

impl Keeper {
    fn run(&mut self, inbox: &Receiver<Order>) {
        loop {
            self.look();
            match inbox.recv_timeout(LOOK_EVERY) {
                Ok(Order::Hold(name, signal, reply)) => {
                    let _ = reply.send(self.hold(&name, signal));
                }
                Ok(Order::Release(name, reply)) => {
                    let _ = reply.send(self.release(&name));
                }
                Ok(Order::Stop(patience, done)) => {
                    self.stop(patience);
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.stop(Duration::ZERO);
                    return;
                }
            }
        }
    }

    /// Notices what ended and starts what is due.
    fn look(&mut self) {
        let now = Instant::now();
        for at in 0..self.processes.len() {
            self.notice_end(at, now);
            let process = &mut self.processes[at];
            if !process.held && process.start_at.is_some_and(|due| due <= now) {
                process.start_at = None;
                self.start(at, now);
            }
        }
    }

    fn notice_end(&mut self, at: usize, now: Instant) {
        let process = &mut self.processes[at];
        let Some(child) = &mut process.child else { return };
        let end = match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => status.to_string(),
            Err(error) => format!("it cannot be waited for: {error}"),
        };
        process.child = None;
        if now.duration_since(process.started) > STEADY {
            process.pause = PAUSE_FIRST;
        }
        if self.restart {
            process.start_at = Some(now + process.pause);
            process.pause = (process.pause * 2).min(PAUSE_MAX);
        }
        if !process.held {
            tracing::warn!(process = process.spec.name, end, "a process ended");
        }
        let mut state = lock(&self.state);
        state[at].running = false;
        state[at].last_end = Some(end);
    }

    fn start(&mut self, at: usize, now: Instant) {
        let process = &mut self.processes[at];
        process.started = now;
        match spawn(&process.spec) {
            Ok(child) => {
                {
                    let mut state = lock(&self.state);
                    state[at].pid = child.id();
                    state[at].running = true;
                    state[at].starts += 1;
                }
                process.child = Some(child);
                let all = lock(&self.state).clone();
                (self.on_start)(&all);
            }
            Err(error) => {
                let error = error.message;
                tracing::error!(process = process.spec.name, error, "cannot start a process");
                process.start_at = Some(now + process.pause);
                process.pause = (process.pause * 2).min(PAUSE_MAX);
                let mut state = lock(&self.state);
                state[at].starts += 1;
                state[at].last_end = Some(error);
            }
        }
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.processes.iter().position(|p| p.spec.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.processes.iter().map(|p| p.spec.name.as_str()).collect();
            Failure::usage(format!("there is no process {name:?}; there are {}", known.join(", ")))
        })
    }

    fn hold(&mut self, name: &str, with: Signal) -> Result {
        let at = self.find(name)?;
        let process = &mut self.processes[at];
        process.held = true;
        lock(&self.state)[at].held = true;
        if let Some(child) = &process.child {
            signal(child, with);
        }
        end(process, Instant::now() + HOLD_PATIENCE);
        process.start_at = None;
        let mut state = lock(&self.state);
        state[at].running = false;
        state[at].last_end = Some("held".into());
        Ok(())
    }

    fn release(&mut self, name: &str) -> Result {
        let at = self.find(name)?;
        let process = &mut self.processes[at];
        process.held = false;
        process.pause = PAUSE_FIRST;
        lock(&self.state)[at].held = false;
        if process.child.is_none() {
            process.start_at = None;
            self.start(at, Instant::now());
        }
        Ok(())
    }

    fn stop(&mut self, patience: Duration) {
        let is_nats = |process: &Process| process.spec.name.ends_with("/nats");
        // Nodes first: their last messages still find a broker.
        for nats in [false, true] {
            let group = |p: &&mut Process| is_nats(p) == nats;
            for process in self.processes.iter_mut().filter(group) {
                if let Some(child) = &process.child {
                    // INT, not TERM: everybody stops, there is nobody to hand leadership to.
                    signal(child, if patience.is_zero() { Signal::KILL } else { Signal::INT });
                }
            }
            let deadline = Instant::now() + patience;
            for process in self.processes.iter_mut().filter(group) {
                end(process, deadline);
            }
        }
        let mut state = lock(&self.state);
        state.iter_mut().for_each(|s| s.running = false);
    }
}

/// Waits until the deadline, then kills.
fn end(process: &mut Process, deadline: Instant) {
    let Some(mut child) = process.child.take() else { return };
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            tracing::warn!(process = process.spec.name, "did not stop in time and is killed");
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn signal(child: &Child, with: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It was not waited for yet, so the number is still its own.
        let _ = kill_process(pid, with);
    }
}

fn spawn(spec: &Spec) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)
        .context(|| format!("opening the log {}", spec.log.display()))?;
    let second = log.try_clone().context(|| "sharing the log")?;
    (spec.command)()
        .stdin(Stdio::null())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(second))
        .process_group(0)
        .spawn()
        .context(|| format!("starting {}", spec.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a state, never for a time.
    fn wait(
        supervisor: &Supervisor,
        what: &str,
        ok: impl Fn(&ProcessState) -> bool,
    ) -> ProcessState {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let state = supervisor.state().remove(0);
            if ok(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{what}: {state:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn sleeper(dir: &std::path::Path, restart: bool) -> (Supervisor, Receiver<u32>) {
        let spec = Spec {
            name: "r/a".into(),
            command: Box::new(|| {
                let mut command = Command::new("sleep");
                command.arg("1000");
                command
            }),
            log: dir.join("log"),
        };
        let (told, starts) = channel();
        let on_start: OnStart = Box::new(move |all| {
            let _ = told.send(all[0].pid);
        });
        (Supervisor::start(restart, on_start, vec![spec]).unwrap(), starts)
    }

    fn kill(pid: u32) {
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn a_killed_process_comes_back_and_is_announced() {
        let dir = tempfile::tempdir().unwrap();
        let (mut supervisor, starts) = sleeper(dir.path(), true);
        let first = wait(&supervisor, "it runs", |s| s.running);
        assert_eq!(starts.recv().unwrap(), first.pid);
        kill(first.pid);
        let second = wait(&supervisor, "it is back", |s| s.running && s.starts == 2);
        assert_ne!(first.pid, second.pid);
        assert_eq!(starts.recv().unwrap(), second.pid);
        assert!(second.last_end.unwrap().contains("signal: 9"));
        supervisor.stop(Duration::from_secs(5));
        assert!(!supervisor.state()[0].running);
    }

    #[test]
    fn without_restart_it_stays_down() {
        let dir = tempfile::tempdir().unwrap();
        let (supervisor, _starts) = sleeper(dir.path(), false);
        let first = wait(&supervisor, "it runs", |s| s.running);
        kill(first.pid);
        let ended = wait(&supervisor, "it ended", |s| !s.running);
        assert_eq!((ended.starts, ended.pid), (1, first.pid));
    }

    #[test]
    fn a_held_process_waits_for_its_release() {
        let dir = tempfile::tempdir().unwrap();
        let (supervisor, _starts) = sleeper(dir.path(), true);
        wait(&supervisor, "it runs", |s| s.running);
        supervisor.orders().hold("r/a", Signal::TERM).unwrap();
        assert!(!supervisor.state()[0].running);
        supervisor.orders().release("r/a").unwrap();
        wait(&supervisor, "it is back", |s| s.running && s.starts == 2);
        assert!(supervisor.orders().hold("r/x", Signal::TERM).is_err());
    }
}
