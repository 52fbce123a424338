//! [`crate::report`] <-> `tombolo.v1`.

use tombolo_item::{GroupId, NodeId, RegionId, Shard};

use crate::convert;
use crate::error::ClientError;
use crate::report::{
    GroupStatus, LinkStatus, NodeStatus, RegionStatus, StatusReport, StreamStatus, TableDigest,
    VerifyEvent, VerifyFinding, VerifySummary,
};
use crate::v1;

fn region_id(wire: u32) -> Result<RegionId, ClientError> {
    let id = u16::try_from(wire)
        .map_err(|_| ClientError::incomprehensible("a region's number is out of range"))?;
    Ok(RegionId(id))
}

fn shard(text: &str) -> Result<Shard, ClientError> {
    text.parse().map_err(|_| ClientError::incomprehensible("a shard's name has another form"))
}

/// A status report from the wire.
pub fn status(wire: v1::StatusResponse) -> Result<StatusReport, ClientError> {
    let regions = wire.regions.into_iter().map(|one| {
        Ok(RegionStatus {
            id: region_id(one.region_id)?,
            name: one.name,
            local: one.local,
            reachable: one.reachable,
        })
    });
    let nodes = wire.nodes.into_iter().map(|one| NodeStatus {
        id: NodeId(one.node),
        region: one.region,
        zone: one.zone,
        reachable: one.reachable,
        grpc: one.grpc,
        admin: one.admin,
        roles: one.roles,
        drained: one.drained,
        disk_bytes: one.disk_bytes,
        disk_free_bytes: one.disk_free_bytes,
    });
    let groups = wire.groups.into_iter().map(|one| {
        Ok(GroupStatus {
            group: GroupId(one.group),
            shard: shard(&one.shard)?,
            table: one.table_name,
            leader: one.leader_node.map(NodeId),
            term: one.term,
            serving: one.serving,
            applied: one.applied,
            committed: one.committed,
            seq: one.sequence,
            voters: one.voters.into_iter().map(NodeId).collect(),
            lag_entries: one.lag_entries,
        })
    });
    let links = wire.links.into_iter().map(|one| {
        Ok(LinkStatus {
            table: one.table_name,
            source: one.source_region,
            shard: shard(&one.shard)?,
            applied_seq: one.applied_sequence,
            head_seq: one.head_sequence,
            lag_ms: one.lag_ms,
            state: one.state,
        })
    });
    let streams = wire.streams.into_iter().map(|one| {
        Ok(StreamStatus {
            table: one.table_name,
            shard: shard(&one.shard)?,
            published_seq: one.published_sequence,
            head_seq: one.head_sequence,
            state: one.state,
        })
    });
    Ok(StatusReport {
        region: wire.region,
        node: (wire.node != 0).then_some(NodeId(wire.node)),
        version: wire.version,
        regions: regions.collect::<Result<_, ClientError>>()?,
        nodes: nodes.collect(),
        groups: groups.collect::<Result<_, ClientError>>()?,
        links: links.collect::<Result<_, ClientError>>()?,
        streams: streams.collect::<Result<_, ClientError>>()?,
    })
}

/// A status report for the wire.
pub fn status_to_wire(report: StatusReport) -> v1::StatusResponse {
    let regions = report.regions.into_iter().map(|one| v1::RegionStatus {
        name: one.name,
        region_id: u32::from(one.id.0),
        local: one.local,
        reachable: one.reachable,
    });
    let nodes = report.nodes.into_iter().map(|one| v1::NodeStatus {
        node: one.id.0,
        zone: one.zone,
        reachable: one.reachable,
        grpc: one.grpc,
        admin: one.admin,
        roles: one.roles,
        drained: one.drained,
        disk_bytes: one.disk_bytes,
        disk_free_bytes: one.disk_free_bytes,
        region: one.region,
    });
    let groups = report.groups.into_iter().map(|one| v1::GroupStatus {
        group: one.group.0,
        shard: one.shard.to_string(),
        table_name: one.table,
        leader_node: one.leader.map(|node| node.0),
        term: one.term,
        serving: one.serving,
        applied: one.applied,
        committed: one.committed,
        sequence: one.seq,
        voters: one.voters.into_iter().map(|node| node.0).collect(),
        lag_entries: one.lag_entries,
    });
    let links = report.links.into_iter().map(|one| v1::LinkStatus {
        table_name: one.table,
        source_region: one.source,
        shard: one.shard.to_string(),
        applied_sequence: one.applied_seq,
        head_sequence: one.head_seq,
        lag_ms: one.lag_ms,
        state: one.state,
    });
    let streams = report.streams.into_iter().map(|one| v1::StreamStatus {
        table_name: one.table,
        shard: one.shard.to_string(),
        published_sequence: one.published_seq,
        head_sequence: one.head_seq,
        state: one.state,
    });
    v1::StatusResponse {
        region: report.region,
        node: report.node.map(|node| node.0).unwrap_or_default(),
        version: report.version,
        regions: regions.collect(),
        nodes: nodes.collect(),
        groups: groups.collect(),
        links: links.collect(),
        streams: streams.collect(),
    }
}

fn digest(wire: Option<v1::TableDigest>) -> TableDigest {
    let wire = wire.unwrap_or_default();
    TableDigest { items: wire.items, bytes: wire.bytes, sum: wire.sum, xor: wire.xor }
}

fn digest_to_wire(digest: TableDigest) -> Option<v1::TableDigest> {
    let TableDigest { items, bytes, sum, xor } = digest;
    Some(v1::TableDigest { items, bytes, sum, xor })
}

/// A verification's event from the wire.
pub fn event(wire: v1::VerifyTableEvent) -> Result<VerifyEvent, ClientError> {
    use v1::verify_table_event::Event;
    let event = wire.event.ok_or_else(|| ClientError::incomprehensible("an event of no kind"))?;
    Ok(match event {
        Event::Progress(v1::VerifyProgress { phase, done, total }) => {
            VerifyEvent::Progress { phase, done, total }
        }
        Event::Replica(one) => VerifyEvent::Replica {
            region: one.region,
            group: GroupId(one.group),
            node: NodeId(one.node),
            index: one.index,
            digest: digest(one.digest),
        },
        Event::Region(one) => {
            VerifyEvent::Region { region: one.region, digest: digest(one.digest) }
        }
        Event::Finding(one) => VerifyEvent::Finding(VerifyFinding {
            region: one.region,
            group: one.group.map(GroupId),
            node: one.node.map(NodeId),
            key: match one.key.is_empty() {
                true => None,
                false => Some(
                    convert::item(one.key)
                        .map_err(|error| ClientError::incomprehensible(&error.to_string()))?,
                ),
            },
            kind: one.kind,
            reason: one.reason,
        }),
        Event::Summary(one) => VerifyEvent::Summary(VerifySummary {
            agreed: one.agreed,
            replicas: one.replicas,
            regions: one.regions,
            findings: one.findings,
            items: one.items,
            elapsed_ms: one.elapsed_ms,
            in_flight: one.in_flight,
        }),
    })
}

/// A verification's event for the wire.
pub fn event_to_wire(event: VerifyEvent) -> v1::VerifyTableEvent {
    use v1::verify_table_event::Event;
    let event = match event {
        VerifyEvent::Progress { phase, done, total } => {
            Event::Progress(v1::VerifyProgress { phase, done, total })
        }
        VerifyEvent::Replica { region, group, node, index, digest } => {
            Event::Replica(v1::ReplicaDigest {
                region,
                group: group.0,
                node: node.0,
                index,
                digest: digest_to_wire(digest),
            })
        }
        VerifyEvent::Region { region, digest } => {
            Event::Region(v1::RegionDigest { region, digest: digest_to_wire(digest) })
        }
        VerifyEvent::Finding(one) => Event::Finding(v1::VerifyFinding {
            region: one.region,
            group: one.group.map(|group| group.0),
            node: one.node.map(|node| node.0),
            key: one.key.map(convert::item_to_wire).unwrap_or_default(),
            kind: one.kind,
            reason: one.reason,
        }),
        VerifyEvent::Summary(one) => Event::Summary(v1::VerifySummary {
            agreed: one.agreed,
            replicas: one.replicas,
            regions: one.regions,
            findings: one.findings,
            items: one.items,
            elapsed_ms: one.elapsed_ms,
            in_flight: one.in_flight,
        }),
    };
    v1::VerifyTableEvent { event: Some(event) }
}
