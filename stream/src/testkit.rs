//! Test tools: a nats-server of our own, and a log of real change records.

use crate::chain::Position;
use bytes::Bytes;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, GroupId, Hlc, Item, Key, RegionId, RowKey, Shard, Stamp,
    TableId, Value, chain_hash,
};

/// The server that development clusters run; fetched where there is none.
pub(crate) fn nats_server_binary() -> PathBuf {
    let search = tombolo::nats::find::Search {
        named: std::env::var_os("TOMBOLO_NATS_SERVER").map(PathBuf::from),
        ..Default::default()
    };
    tombolo::nats::find::find_or_install(&search, &|line| eprintln!("{line}"))
        .unwrap_or_else(|error| panic!("these tests need a nats-server: {error}"))
}

/// One nats-server with JetStream, credentials and a monitor; killed when dropped.
pub(crate) struct NatsServer {
    child: Option<Child>,
    folder: tempfile::TempDir,
    port: u16,
    monitor_port: u16,
    extra: String,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl NatsServer {
    pub(crate) fn start() -> NatsServer {
        NatsServer::with("")
    }

    /// With more lines at the top level of its configuration.
    pub(crate) fn with(extra: &str) -> NatsServer {
        let mut server = NatsServer {
            child: None,
            folder: tempfile::tempdir().expect("a temporary folder"),
            port: free_port(),
            monitor_port: free_port(),
            extra: extra.into(),
        };
        server.up();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://tester:secret@127.0.0.1:{}", self.port)
    }

    pub(crate) fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
    }

    pub(crate) fn store(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it (again), on the same ports and store.
    pub(crate) fn up(&mut self) {
        assert!(self.child.is_none());
        let config = self.folder.path().join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nserver_name: test\n\
             jetstream {{\n  store_dir: \"{}\"\n}}\n\
             authorization {{\n  user: tester\n  password: secret\n}}\n{}\n",
            self.port,
            self.monitor_port,
            self.folder.path().join("store").display(),
            self.extra
        );
        std::fs::write(&config, text).expect("a configuration file");
        let child = Command::new(nats_server_binary())
            .arg("-c")
            .arg(&config)
            .arg("-l")
            .arg(self.folder.path().join("nats.log"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "nats-server does not listen");
            std::thread::yield_now();
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("reaped");
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) const REGION: &str = "us-east";

pub(crate) fn table_id(n: u128) -> TableId {
    TableId(uuid::Uuid::from_u128(n))
}

pub(crate) fn shard_id(group: u64) -> Shard {
    Shard { group: GroupId(group), epoch: 1 }
}

/// The log of one shard: real change records, chained, kept in memory.
pub(crate) struct TestLog {
    pub(crate) table: TableId,
    pub(crate) shard: Shard,
    records: Mutex<Vec<Bytes>>,
    oldest: AtomicU64,
    head: watch::Sender<Position>,
}

impl TestLog {
    pub(crate) fn new(table: TableId, shard: Shard) -> Arc<TestLog> {
        Arc::new(TestLog {
            table,
            shard,
            records: Mutex::new(Vec::new()),
            oldest: AtomicU64::new(1),
            head: watch::Sender::new(Position::default()),
        })
    }

    /// A log that agrees with this one up to `seq`, and knows nothing of what follows.
    pub(crate) fn fork(&self, seq: u64) -> Arc<TestLog> {
        let fork = TestLog::new(self.table, self.shard);
        let kept = self.records.lock()[..seq as usize].to_vec();
        let hash = kept.last().map_or(0, |record| chain_hash(record));
        *fork.records.lock() = kept;
        fork.head.send_replace(Position { seq, hash });
        fork
    }

    fn record(&self, kind: ChangeKind, text_bytes: usize) -> ChangeRecord {
        let Position { seq, hash } = *self.head.borrow();
        let seq = seq + 1;
        let key = Key { partition: Value::S(format!("key-{seq}")), sort: None };
        let item = Item(
            [
                ("id".to_owned(), key.partition.clone()),
                ("text".to_owned(), Value::S("x".repeat(text_bytes))),
            ]
            .into(),
        );
        let stamp = |n: u64| Stamp { hlc: Hlc(n << 16), region: RegionId(1), seq: n };
        let touch = kind == ChangeKind::Touch;
        let image = (!touch && kind != ChangeKind::Remove).then(|| item.encode());
        ChangeRecord {
            table: self.table,
            shard: self.shard,
            seq,
            stamp: stamp(1_700_000_000_000 + seq),
            replaced: (kind != ChangeKind::Insert).then(|| stamp(1_600_000_000_000 + seq)),
            closed: Hlc(1),
            origin: RegionId(1),
            cause: if touch { Cause::Touch } else { Cause::User },
            kind,
            transaction: None,
            key,
            row_key: RowKey(Bytes::copy_from_slice(&seq.to_be_bytes())),
            new: image,
            old: (kind == ChangeKind::Modify).then(|| item.encode()),
            eval_term: 1,
            prev_hash: hash,
            merge_state: Bytes::new(),
            ext: Bytes::new(),
        }
    }

    pub(crate) fn append(&self, kind: ChangeKind, text_bytes: usize) {
        let record = self.record(kind, text_bytes);
        let bytes = record.encode();
        let hash = chain_hash(&bytes);
        self.records.lock().push(bytes);
        self.head.send_replace(Position { seq: record.seq, hash });
    }

    /// Inserts of `text_bytes` each.
    pub(crate) fn grow(&self, count: usize, text_bytes: usize) {
        for _ in 0..count {
            self.append(ChangeKind::Insert, text_bytes);
        }
    }

    pub(crate) fn head(&self) -> Position {
        *self.head.borrow()
    }

    pub(crate) fn heads(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    pub(crate) fn get(&self, seq: u64) -> Bytes {
        self.records.lock()[seq as usize - 1].clone()
    }

    pub(crate) fn all(&self) -> Vec<Bytes> {
        self.records.lock().clone()
    }

    /// Forgets what is before `oldest`.
    pub(crate) fn trim(&self, oldest: u64) {
        self.oldest.store(oldest, Ordering::Relaxed);
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Relaxed)
    }

    /// Records from `from` on, at least one, about `bytes_max`.
    pub(crate) fn read(&self, from: u64, bytes_max: usize) -> Vec<(u64, Bytes)> {
        let records = self.records.lock();
        let mut bytes = 0;
        let from = from.max(self.oldest());
        (from..=records.len() as u64)
            .map(|seq| (seq, records[seq as usize - 1].clone()))
            .take_while(|(_, record)| {
                let fits = bytes == 0 || bytes < bytes_max;
                bytes += record.len();
                fits
            })
            .collect()
    }
}
