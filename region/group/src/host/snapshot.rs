//! Snapshots between nodes: the follower pulls chunk by chunk what any up-to-date replica holds.
//!
//! Always true: the pulled copy is complete, checksummed and synced in a generation folder of its
//! own before the loop hears of it; the served view is of one applied index; a reader that nobody
//! asks for is let go after a while, because it pins pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tombolo_item::{GroupId, NodeId};
use tombolo_storage::{SnapshotReader, SnapshotWriter};

use super::inbox::{Cmd, Pulled};
use super::{Host, Inner};
use crate::error::GroupError;
use crate::net::ServiceId;
use crate::service::{Ask, Tell, decode, encode};

const CHUNK_BYTES: usize = 1 << 20;
const CALL: Duration = Duration::from_secs(10);
/// A reader that was not asked for this long is closed.
const IDLE_MS: u64 = 30_000;
/// More readers than this at once would pin too many trees.
const READERS_MAX: usize = 8;

struct Reader {
    reader: SnapshotReader,
    next: u32,
    used_ms: u64,
}

#[derive(Default)]
pub(super) struct Readers {
    next_id: u64,
    open: BTreeMap<u64, Arc<Mutex<Reader>>>,
}

impl Host {
    pub(crate) async fn open_snapshot(&self, group: GroupId) -> Result<Tell, GroupError> {
        let shared = self.shared(group)?;
        let now_ms = self.inner().clock.mono_ms();
        {
            let mut readers = self.inner().readers.lock();
            readers.open.retain(|_, r| r.try_lock().is_none_or(|r| now_ms < r.used_ms + IDLE_MS));
            if readers.open.len() >= READERS_MAX {
                let why = "too many snapshots are being read from this node";
                return Err(GroupError::Overloaded(why.into()));
            }
        }
        let conf = shared.conf.lock().clone();
        let partition = shared.partition.load_full();
        let opened = self.blocking(move || partition.snapshot()).await?;
        let reader = opened.map_err(crate::core::stored)?;
        let (index, term) = (reader.index, reader.term);
        let mut readers = self.inner().readers.lock();
        readers.next_id += 1;
        let id = readers.next_id;
        let reader = Reader { reader, next: 0, used_ms: now_ms };
        readers.open.insert(id, Arc::new(Mutex::new(reader)));
        Ok(Tell::SnapshotOpened { id, index, term, conf })
    }

    pub(crate) async fn read_snapshot(&self, id: u64, at: u32) -> Result<Bytes, GroupError> {
        let gone =
            || GroupError::NotServing("the snapshot is no longer open; open it again".into());
        let reader = self.inner().readers.lock().open.get(&id).cloned().ok_or_else(gone)?;
        let now_ms = self.inner().clock.mono_ms();
        let read = move || {
            let mut reader = reader.lock();
            if reader.next != at {
                return Ok(None);
            }
            reader.next += 1;
            reader.used_ms = now_ms;
            reader.reader.next_chunk(CHUNK_BYTES).map(|chunk| Some(chunk.unwrap_or_default()))
        };
        let chunk = self.blocking(read).await?.map_err(crate::core::stored)?.ok_or_else(gone)?;
        if chunk.is_empty() {
            self.inner().readers.lock().open.remove(&id);
        }
        Ok(chunk)
    }
}

/// Starts pulling `group` from `leader` into `generation`; the loop hears how it went.
pub(super) fn pull(
    inner: &Arc<Inner>,
    group: GroupId,
    generation: u64,
    leader: NodeId,
    leader_term: u64,
) {
    let inner = inner.clone();
    let runtime = inner.runtime.clone();
    runtime.spawn(async move {
        let result = pull_all(&inner, group, generation, leader, leader_term).await;
        inner.inbox.push(Cmd::Pulled { group, result });
    });
}

async fn ask(inner: &Inner, leader: NodeId, ask: &Ask) -> Result<Tell, String> {
    let body = encode(ask);
    let answer = inner.net.call(leader, ServiceId::Group, body, CALL).await;
    let answer = answer.map_err(|e| format!("asking node {leader}: {e}"))?;
    let told: Result<Tell, GroupError> = decode(&answer)?;
    told.map_err(|e| format!("node {leader} answered: {e}"))
}

async fn pull_all(
    inner: &Arc<Inner>,
    group: GroupId,
    generation: u64,
    leader: NodeId,
    leader_term: u64,
) -> Result<Box<Pulled>, String> {
    let told = ask(inner, leader, &Ask::SnapshotOpen(group)).await?;
    let Tell::SnapshotOpened { id, index, term, conf } = told else {
        return Err(format!("node {leader} answered something else than a snapshot"));
    };
    let dir = inner.replica_dir(group);
    let created = tokio::task::spawn_blocking(move || {
        SnapshotWriter::create(&dir, generation, group).map_err(|e| e.to_string())
    });
    let mut writer = created.await.map_err(|e| e.to_string())??;
    let mut at = 0u32;
    loop {
        let told = ask(inner, leader, &Ask::SnapshotRead(id, at)).await?;
        let Tell::SnapshotChunk(chunk) = told else {
            return Err(format!("node {leader} answered something else than a chunk"));
        };
        if chunk.is_empty() {
            break;
        }
        let written = tokio::task::spawn_blocking(move || {
            writer.write_chunk(&chunk).map_err(|e| e.to_string()).map(|()| writer)
        });
        writer = written.await.map_err(|e| e.to_string())??;
        at += 1;
    }
    let finished = tokio::task::spawn_blocking(move || writer.finish().map_err(|e| e.to_string()));
    let partition = finished.await.map_err(|e| e.to_string())??;
    if partition.applied() != (index, term) {
        return Err(format!("the copy is at {:?}, not at {index}", partition.applied()));
    }
    let entry_term = term;
    Ok(Box::new(Pulled { partition, generation, index, entry_term, conf, leader, leader_term }))
}
