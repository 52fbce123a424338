//! The copies of a table as they really are: replicas on nodes, reached over the node port
//! (`ServiceId::Verify` for what the coordinator asks a region or a leader, the group's own service
//! for digests). The same questions serve the own region and others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tombolo_group::{
    CallError, Descriptor, DigestRequest, DigestResponse, Host, Net, Partition, Peer, Service,
    ServiceId, Space,
};
use tombolo_item::{
    GroupId, KeySchema, NodeId, RegionId, RowKey, Shard, TableId, chain_hash, json,
};
use tombolo_memds::Memds;

use super::compare::RowSeen;
use super::copies::{Copies, Level, Marker, RowLookup};
use crate::target::load_checkpoint;
use crate::wire;

const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// A digest reads a whole replica.
const DIGEST_DEADLINE: Duration = Duration::from_secs(120);
/// Rows looked up in one call.
const ROWS_MAX: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Ask {
    Partitions {
        table: TableId,
    },
    Marker {
        group: GroupId,
    },
    Rows {
        group: GroupId,
        /// Any replica may answer, not only the one that leads.
        any: bool,
        keys: Vec<RowKey>,
    },
    /// Heads of the shards the asked node leads.
    Heads {
        table: TableId,
    },
    /// What the asked node's region has applied of the table's other regions.
    Applied {
        table: TableId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Partitions(Vec<Descriptor>),
    Marker(Marker),
    Rows(Vec<RowLookup>),
    Heads(Vec<(Shard, u64)>),
    Applied(Vec<(RegionId, Vec<(Shard, u64)>)>),
}

/// What a verification works with on the node that runs it.
#[derive(Clone)]
pub struct VerifyDeps {
    pub host: Host,
    pub memds: Memds,
    pub net: Net,
}

/// Answers verifications that other nodes run.
pub(crate) struct VerifyService {
    deps: VerifyDeps,
}

impl VerifyService {
    pub(crate) fn new(deps: VerifyDeps) -> Self {
        VerifyService { deps }
    }
}

impl Service for VerifyService {
    fn call(&self, _from: Peer, body: Bytes) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let deps = self.deps.clone();
        Box::pin(async move {
            let ask = wire::decode("answer a verification", &body)
                .map_err(|error| CallError::Refused(error.to_string()))?;
            answer(&deps, ask).await.map(|answer| wire::encode(&answer)).map_err(CallError::Refused)
        })
    }
}

async fn answer(deps: &VerifyDeps, ask: Ask) -> Result<Answer, String> {
    Ok(match ask {
        Ask::Partitions { table } => Answer::Partitions(
            deps.memds.partitions(table).iter().map(|known| Descriptor::clone(known)).collect(),
        ),
        Ask::Marker { group } => {
            let index = deps.host.marker(group).await.map_err(|error| error.to_string())?;
            Answer::Marker(Marker { leader: deps.memds.node().id, index })
        }
        Ask::Rows { group, any, keys } => {
            if keys.len() > ROWS_MAX {
                return Err(format!("{} rows at once; at most {ROWS_MAX}", keys.len()));
            }
            let status = deps.host.group(group).ok_or("no replica of the group here")?;
            if !any && !status.serving {
                return Err("this replica does not lead the group now".into());
            }
            let partition = deps.host.partition(group).ok_or("no replica of the group here")?;
            let schema = deps.memds.table(status.table).map(|table| table.schema.clone());
            let look =
                move || keys.iter().map(|key| look_up(&partition, key, schema.as_ref())).collect();
            let rows = tokio::task::spawn_blocking(look);
            Answer::Rows(rows.await.map_err(|error| error.to_string())?)
        }
        Ask::Heads { table } => {
            let mut heads = Vec::new();
            for partition in deps.memds.partitions(table) {
                let status = deps.host.group(partition.group).filter(|status| status.serving);
                heads.extend(status.map(|status| (status.shard, status.seq)));
            }
            Answer::Heads(heads)
        }
        Ask::Applied { table } => {
            let table = deps.memds.table(table).ok_or_else(|| format!("no table {table}"))?;
            let mut applied = Vec::new();
            for region in &table.regions {
                if *region == deps.memds.node().region {
                    continue;
                }
                let checkpoint = load_checkpoint(&deps.memds, &table, *region)
                    .await
                    .map_err(|error| error.to_string())?;
                let shards = checkpoint.map_or_else(Vec::new, |(checkpoint, _)| {
                    checkpoint.shards.iter().map(|shard| (shard.shard, shard.seq)).collect()
                });
                applied.push((*region, shards));
            }
            Answer::Applied(applied)
        }
    })
}

fn look_up(partition: &Partition, key: &RowKey, schema: Option<&KeySchema>) -> RowLookup {
    match partition.get(Space::ITEMS, key) {
        Ok(row) => Ok(row.map(|row| RowSeen {
            stamp: row.stamp,
            tombstone: row.tombstone,
            content: chain_hash(&row.item),
            key: key_json(&row.key, schema),
        })),
        Err(error) => Err(error.to_string()),
    }
}

/// `{"id":{"S":"a"}}`
fn key_json(key: &tombolo_item::Key, schema: Option<&KeySchema>) -> String {
    match schema {
        Some(schema) => json::key_to_json(schema, key).to_string(),
        None => String::new(),
    }
}

impl VerifyDeps {
    async fn ask(&self, node: NodeId, ask: Ask) -> Result<Answer, String> {
        if node == self.memds.node().id {
            return answer(self, ask).await;
        }
        let body = self
            .net
            .call(node, ServiceId::Verify, wire::encode(&ask), CALL_DEADLINE)
            .await
            .map_err(|error| format!("node {node}: {error}"))?;
        wire::decode("read the answer of a verification", &body).map_err(|error| error.to_string())
    }

    fn nodes(&self, region: RegionId) -> Vec<NodeId> {
        if region == self.memds.node().region {
            return self.memds.nodes().iter().map(|node| node.id).collect();
        }
        let known = self.memds.regions().iter().find(|known| known.id == region);
        known.map_or_else(Vec::new, |region| region.nodes.iter().map(|node| node.0).collect())
    }

    /// The first answer of any node.
    async fn ask_any(&self, nodes: Vec<NodeId>, ask: Ask) -> Result<Answer, String> {
        let mut last = "it has no nodes".to_owned();
        for node in nodes {
            match self.ask(node, ask.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Its leader first, then whoever may lead by now.
    async fn ask_leader(&self, partition: &Descriptor, ask: Ask) -> Result<Answer, String> {
        let mut last = String::new();
        for _ in 0..LEADER_ATTEMPTS {
            let mut nodes: Vec<NodeId> = partition.leader.into_iter().collect();
            nodes.extend(
                partition
                    .replicas
                    .iter()
                    .filter(|node| !nodes.contains(node))
                    .copied()
                    .collect::<Vec<_>>(),
            );
            match self.ask_any(nodes, ask.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
            tokio::time::sleep(LEADER_PAUSE).await;
        }
        Err(last)
    }
}

/// An election takes two to four seconds.
const LEADER_ATTEMPTS: u32 = 12;
const LEADER_PAUSE: Duration = Duration::from_millis(500);

/// One table's copies, everywhere.
pub(super) struct RealCopies {
    pub(super) deps: VerifyDeps,
    pub(super) table: TableId,
}

const WRONG: &str = "the answer belongs to another question";

impl Copies for RealCopies {
    fn partitions(&self, region: RegionId) -> BoxFuture<'_, Result<Vec<Descriptor>, String>> {
        Box::pin(async move {
            let ask = Ask::Partitions { table: self.table };
            match self.deps.ask_any(self.deps.nodes(region), ask).await? {
                Answer::Partitions(partitions) => Ok(partitions),
                _ => Err(WRONG.into()),
            }
        })
    }

    fn marker(
        &self,
        _region: RegionId,
        partition: &Descriptor,
    ) -> BoxFuture<'_, Result<Marker, String>> {
        let partition = partition.clone();
        Box::pin(async move {
            let ask = Ask::Marker { group: partition.group };
            match self.deps.ask_leader(&partition, ask).await? {
                Answer::Marker(marker) => Ok(marker),
                _ => Err(WRONG.into()),
            }
        })
    }

    fn digest(
        &self,
        node: NodeId,
        group: GroupId,
        index: u64,
        request: DigestRequest,
    ) -> BoxFuture<'_, Result<DigestResponse, String>> {
        Box::pin(async move {
            let digest = self.deps.host.digest_on(node, group, index, request, DIGEST_DEADLINE);
            digest.await.map_err(|error| format!("node {node}: {error}"))
        })
    }

    fn rows(
        &self,
        _region: RegionId,
        partition: &Descriptor,
        node: Option<NodeId>,
        keys: Vec<RowKey>,
    ) -> BoxFuture<'_, Result<Vec<RowLookup>, String>> {
        let partition = partition.clone();
        Box::pin(async move {
            let mut rows = Vec::with_capacity(keys.len());
            for keys in keys.chunks(ROWS_MAX) {
                let (group, any) = (partition.group, node.is_some());
                let ask = Ask::Rows { group, any, keys: keys.to_vec() };
                let answer = match node {
                    Some(node) => self.deps.ask(node, ask).await,
                    None => self.deps.ask_leader(&partition, ask).await,
                };
                match answer? {
                    Answer::Rows(found) if found.len() == keys.len() => rows.extend(found),
                    _ => return Err(WRONG.into()),
                }
            }
            Ok(rows)
        })
    }

    fn level(&self, region: RegionId) -> BoxFuture<'_, Result<Level, String>> {
        Box::pin(async move {
            let nodes = self.deps.nodes(region);
            let asks =
                nodes.iter().map(|node| self.deps.ask(*node, Ask::Heads { table: self.table }));
            let mut heads: BTreeMap<Shard, u64> = BTreeMap::new();
            for answer in futures::future::join_all(asks).await {
                // A node that does not answer leads nothing that counts: see the check below.
                if let Ok(Answer::Heads(led)) = answer {
                    for (shard, seq) in led {
                        let known = heads.entry(shard).or_insert(seq);
                        *known = seq.max(*known);
                    }
                }
            }
            let ask = Ask::Applied { table: self.table };
            match self.deps.ask_any(nodes, ask).await? {
                Answer::Applied(applied) => {
                    Ok(Level { heads: heads.into_iter().collect(), applied })
                }
                _ => Err(WRONG.into()),
            }
        })
    }
}

/// The table's copies as this node can reach them.
pub(super) fn real(deps: &VerifyDeps, table: TableId) -> Arc<dyn Copies> {
    Arc::new(RealCopies { deps: deps.clone(), table })
}
