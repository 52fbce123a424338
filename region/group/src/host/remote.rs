//! The same questions, asked of another node (or of this one, without the net).
//!
//! Always true: a change whose answer was lost is `OutcomeUnknown`; a read whose answer was lost may
//! be asked again.

use std::time::Duration;

use tombolo_item::{GroupId, Hlc, NodeId, Shard};
use tombolo_storage::{Changes, Confirmed};

use super::{Host, late, unexpected};
use crate::error::GroupError;
use crate::net::{CallError, ServiceId};
use crate::service::{Ask, Tell, decode, encode};
use crate::types::*;

impl Host {
    async fn ask(&self, node: NodeId, ask: Ask, deadline: Duration) -> Result<Tell, GroupError> {
        let changes =
            matches!(ask, Ask::Write(_) | Ask::Confirm(..) | Ask::Marker(_) | Ask::Follow(..));
        let body = encode(&ask);
        match self.0.net.call(node, ServiceId::Group, body, deadline).await {
            Ok(answer) => decode::<Result<Tell, GroupError>>(&answer).unwrap_or_else(|reason| {
                Err(GroupError::OutcomeUnknown(format!("node {node}: {reason}")))
            }),
            Err(CallError::Overloaded(why)) => Err(GroupError::Overloaded(why)),
            Err(error @ (CallError::Lost(_) | CallError::Timeout)) if changes => {
                Err(GroupError::OutcomeUnknown(format!("node {node}: {error}")))
            }
            Err(error) => Err(GroupError::NotServing(format!("node {node}: {error}"))),
        }
    }

    /// [`Self::write`] on another node (or here, without the net).
    pub async fn write_on(
        &self,
        node: NodeId,
        request: WriteRequest,
        deadline: Duration,
    ) -> Result<WriteResponse, GroupError> {
        if node == self.0.settings.node {
            let late = || GroupError::OutcomeUnknown("no answer before the deadline".into());
            let write = tokio::time::timeout(deadline, self.write(request));
            return write.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Write(Box::new(request)), deadline).await? {
            Tell::Write(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::read`] on another node (or here).
    pub async fn read_on(
        &self,
        node: NodeId,
        request: ReadRequest,
        deadline: Duration,
    ) -> Result<ReadResponse, GroupError> {
        if node == self.0.settings.node {
            let read = tokio::time::timeout(deadline, self.read(request));
            return read.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Read(request), deadline).await? {
            Tell::Read(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::range`] on another node (or here).
    pub async fn range_on(
        &self,
        node: NodeId,
        request: RangeRequest,
        deadline: Duration,
    ) -> Result<RangeResponse, GroupError> {
        if node == self.0.settings.node {
            let range = tokio::time::timeout(deadline, self.range(request));
            return range.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Range(request), deadline).await? {
            Tell::Range(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::conflicts`] on another node (or here).
    pub async fn conflicts_on(
        &self,
        node: NodeId,
        request: ConflictsRequest,
        deadline: Duration,
    ) -> Result<ConflictsResponse, GroupError> {
        if node == self.0.settings.node {
            let conflicts = tokio::time::timeout(deadline, self.conflicts(request));
            return conflicts.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Conflicts(request), deadline).await? {
            Tell::Conflicts(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::follow`] on another node (or here).
    pub async fn follow_on(
        &self,
        node: NodeId,
        group: GroupId,
        facts: TableFacts,
        deadline: Duration,
    ) -> Result<(), GroupError> {
        if node == self.0.settings.node {
            let follow = tokio::time::timeout(deadline, self.follow(group, facts));
            return follow.await.unwrap_or_else(|_| Err(late()));
        }
        self.ask(node, Ask::Follow(group, facts), deadline).await.map(|_| ())
    }

    /// [`Self::confirm`] on another node (or here).
    pub async fn confirm_on(
        &self,
        node: NodeId,
        group: GroupId,
        confirmed: Confirmed,
        deadline: Duration,
    ) -> Result<(), GroupError> {
        if node == self.0.settings.node {
            let confirm = tokio::time::timeout(deadline, self.confirm(group, confirmed));
            return confirm.await.unwrap_or_else(|_| Err(late()));
        }
        self.ask(node, Ask::Confirm(group, confirmed), deadline).await.map(|_| ())
    }

    /// [`Self::marker`] on another node (or here).
    pub async fn marker_on(
        &self,
        node: NodeId,
        group: GroupId,
        deadline: Duration,
    ) -> Result<u64, GroupError> {
        if node == self.0.settings.node {
            let marker = tokio::time::timeout(deadline, self.marker(group));
            return marker.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Marker(group), deadline).await? {
            Tell::Marker(index) => Ok(index),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::closed_stamp`] on another node (or here).
    pub async fn closed_stamp_on(
        &self,
        node: NodeId,
        group: GroupId,
        deadline: Duration,
    ) -> Result<Hlc, GroupError> {
        if node == self.0.settings.node {
            let closed = tokio::time::timeout(deadline, self.closed_stamp(group));
            return closed.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Closed(group), deadline).await? {
            Tell::Closed(closed) => Ok(closed),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::group`] of another node (or here).
    pub async fn status_on(
        &self,
        node: NodeId,
        group: GroupId,
        deadline: Duration,
    ) -> Result<GroupStatus, GroupError> {
        if node == self.0.settings.node {
            return self.group(group).ok_or(GroupError::NoSuchGroup);
        }
        match self.ask(node, Ask::Status(group), deadline).await? {
            Tell::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Change records of a shard as another node (or this one) holds them.
    pub async fn changes_on(
        &self,
        node: NodeId,
        shard: Shard,
        from_seq: u64,
        max_bytes: u32,
        deadline: Duration,
    ) -> Result<Changes, GroupError> {
        if node == self.0.settings.node {
            let log = self.change_log(shard).ok_or(GroupError::NoSuchGroup)?;
            return self.blocking(move || log.read(from_seq, max_bytes as usize)).await?;
        }
        match self.ask(node, Ask::Changes(shard, from_seq, max_bytes), deadline).await? {
            Tell::Changes { records, oldest_seq, head_seq } => {
                Ok(Changes { records, oldest_seq, head_seq })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::digest`] of another node's replica (or of the one here).
    pub async fn digest_on(
        &self,
        node: NodeId,
        group: GroupId,
        at_index: u64,
        request: DigestRequest,
        deadline: Duration,
    ) -> Result<DigestResponse, GroupError> {
        if node == self.0.settings.node {
            let digest = tokio::time::timeout(deadline, self.digest(group, at_index, request));
            return digest.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Digest(group, at_index, request), deadline).await? {
            Tell::Digest(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}
