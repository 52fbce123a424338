//! The world: three nodes, a network, disks, clients, and a nemesis, all from one seed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tombolo_item::table::{IndexName, IndexProjection, LocalIndex};
use tombolo_item::{
    ChangeRecord, GroupId, HashSecret, Item, Key, KeyAttribute, KeyRange, KeySchema, KeyType,
    NodeId, RegionId, RowKey, TableId, Value,
};
use tombolo_storage::GroupConfig;
use uuid::Uuid;

use super::disk::{Batch, Install, SimDisk};
use super::model::Model;
use super::{Observation, Property};
use crate::core::frame::{self, PeerBody, PeerMessage};
use crate::core::planted::Planted;
use crate::core::{
    Answer, CoreSettings, Event, Fitness, GroupCore, Machine, Note, Now, Output, PROMISE_MS,
    Submit, Ticket,
};
use crate::error::GroupError;
use crate::host::{GroupSpec, first_records};
use crate::types::{Token, WriteOp, WriteOutcome, WriteRequest};

const GROUP: GroupId = GroupId(16);
const NODES: u64 = 3;
const KEYS: u64 = 4;
const TICK_MS: u64 = 10;

/// How long and how wild.
#[derive(Debug, Clone)]
pub(in crate::core) struct Settings {
    pub(in crate::core) seed: u64,
    pub(in crate::core) planted: Option<Planted>,
    pub(in crate::core) wild_ms: u64,
    pub(in crate::core) calm_ms: u64,
    /// Little else than short crashes and cuts, close together.
    pub(in crate::core) storm: bool,
    /// Disks without the usual hiccups, clients with patience.
    pub(in crate::core) steady: bool,
    /// Disks that are slow for a while.
    pub(in crate::core) slow_disks: Vec<SlowDisk>,
    /// Nodes that do not hear each other from this time on, in the calm part too.
    pub(in crate::core) apart: Option<(u64, u64, u64)>,
}

/// A node whose disk takes `takes_ms` for a write between two times.
#[derive(Debug, Clone)]
pub(in crate::core) struct SlowDisk {
    pub(in crate::core) node: u64,
    pub(in crate::core) while_ms: std::ops::Range<u64>,
    pub(in crate::core) takes_ms: std::ops::Range<u64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seed: 0,
            planted: None,
            wild_ms: 45_000,
            calm_ms: 15_000,
            storm: false,
            steady: false,
            slow_disks: Vec::new(),
            apart: None,
        }
    }
}

pub(super) struct SimNode {
    pub(super) id: u64,
    pub(super) core: Option<GroupCore<Model>>,
    disk: SimDisk,
    /// Its monotonic clock: started at, and how fast (per mille).
    started_ms: u64,
    rate: u64,
    wall_ahead_ms: u64,
    paused_until: u64,
    restart_at: u64,
    next_beat: u64,
    disk_free_at: u64,
    life: u64,
    fingerprinted: u64,
    pub(super) fitness: Fitness,
    /// When the writes under way were begun, and how long those took that ended since the beat.
    pub(super) writing: VecDeque<u64>,
    pub(super) wrote: Vec<u64>,
}

impl SimNode {
    pub(super) fn now(&self, at_ms: u64) -> Now {
        let mono = (at_ms - self.started_ms) * self.rate / 1_000;
        Now { mono_ms: mono + 1, wall_ms: 1_000_000 + at_ms + self.wall_ahead_ms }
    }
}

enum Happening {
    Tick,
    Arrive { from: u64, to: u64, frame: Bytes },
    Durable { node: u64, life: u64 },
    Pulled { node: u64, life: u64, leader: u64, leader_term: u64 },
    Act { client: u64 },
    Nemesis,
}

#[derive(Debug, Clone)]
struct Op {
    key: RowKey,
    read: bool,
    node: u64,
    token: u64,
    request: Option<WriteRequest>,
}

/// Everything there is.
pub(in crate::core) struct World {
    settings: Settings,
    rng: SmallRng,
    pub(super) now_ms: u64,
    order: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    pub(super) nodes: Vec<SimNode>,
    keys: Vec<(Key, RowKey)>,
    cut: Vec<(u64, u64)>,
    loss: f64,
    slow: f64,
    /// No writes before: a replica that lags can win an election only in a quiet group.
    quiet_until: u64,
    next_op: u64,
    ops: BTreeMap<u64, Op>,
    belief: u64,
    trace: Vec<u8>,
}

impl World {
    pub(in crate::core) fn new(settings: Settings) -> World {
        let spec = spec();
        let mut rng = SmallRng::seed_from_u64(settings.seed);
        let nodes = (1..=NODES)
            .map(|id| SimNode {
                id,
                core: None,
                disk: SimDisk::new(&first_records(&spec)),
                started_ms: 0,
                rate: 985 + rng.random_range(0..30),
                wall_ahead_ms: rng.random_range(0..50),
                paused_until: 0,
                restart_at: 0,
                next_beat: 0,
                disk_free_at: 0,
                life: 0,
                fingerprinted: 0,
                fitness: Fitness::default(),
                writing: VecDeque::new(),
                wrote: Vec::new(),
            })
            .collect();
        let keys = (0..KEYS)
            .map(|n| {
                let key = Key { partition: Value::S(format!("key {n}")), sort: None };
                let row = spec.config.schema.row_key(&spec.config.secret, &key);
                (key, row.expect("a short key"))
            })
            .collect();
        let mut world = World {
            settings,
            rng,
            now_ms: 0,
            order: 0,
            agenda: BTreeMap::new(),
            nodes,
            keys,
            cut: Vec::new(),
            loss: 0.01,
            slow: 0.02,
            quiet_until: 0,
            next_op: 1,
            ops: BTreeMap::new(),
            belief: 1,
            trace: Vec::new(),
        };
        (1..=NODES).for_each(|id| world.start(id));
        world.plan(TICK_MS, Happening::Tick);
        world.plan(1_000, Happening::Nemesis);
        (0..4).for_each(|client| world.plan(500 + client, Happening::Act { client }));
        world
    }

    pub(in crate::core) fn trace(&self) -> &[u8] {
        &self.trace
    }

    /// (applied, fingerprint) of every replica.
    pub(in crate::core) fn ends(&self) -> Vec<(u64, u64)> {
        let of =
            |core: &GroupCore<Model>| (core.machine().applied().0, core.machine().fingerprint());
        self.nodes.iter().filter_map(|n| n.core.as_ref().map(of)).collect()
    }

    pub(in crate::core) fn histories(&self) -> Vec<(u64, &[ChangeRecord])> {
        self.nodes
            .iter()
            .filter_map(|n| n.core.as_ref().map(|c| (n.id, c.machine().history.as_slice())))
            .collect()
    }

    fn plan(&mut self, in_ms: u64, what: Happening) {
        self.order += 1;
        self.agenda.insert((self.now_ms + in_ms, self.order), what);
    }

    fn start(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let planted = self.settings.planted;
        let seed = self.settings.seed;
        let node = &mut self.nodes[id as usize - 1];
        node.life += 1;
        node.started_ms = now_ms;
        node.restart_at = 0;
        node.next_beat = 0;
        node.disk_free_at = now_ms;
        node.disk.queue.clear();
        node.fingerprinted = 0;
        node.fitness = Fitness::default();
        node.writing.clear();
        node.wrote.clear();
        let settings = CoreSettings {
            node: NodeId(id),
            region: RegionId(1),
            max_clock_skew_ms: 500,
            uncommitted_bytes: 4_000,
            log_tail_bytes: 2_000,
            quiet_until_ms: PROMISE_MS + 1,
            seed: seed ^ id ^ node.life << 8,
            planted,
        };
        let (restored, tree) = node.disk.restore();
        let now = node.now(now_ms);
        let core = GroupCore::new(GROUP, settings, restored, tree, now);
        node.core = Some(core.expect("what the disk holds can be started from"));
    }

    fn crash(&mut self, id: u64, down_ms: u64) {
        let kept = {
            let queued = self.nodes[id as usize - 1].disk.queue.len();
            self.rng.random_range(0..=queued)
        };
        let node = &mut self.nodes[id as usize - 1];
        for _ in 0..kept {
            if let Some(batch) = node.disk.queue.pop_front() {
                node.disk.write(&batch);
            }
        }
        node.core = None;
        node.restart_at = self.now_ms + down_ms;
    }

    /// Runs the wild part, then heals everything and lets it calm down.
    pub(in crate::core) fn run(&mut self, property: &mut dyn Property) -> Result<(), String> {
        let (wild, calm) = (self.settings.wild_ms, self.settings.calm_ms);
        let mut healed = false;
        while let Some(((at, _), what)) = self.agenda.pop_first() {
            self.now_ms = at;
            if at >= wild && !healed {
                healed = true;
                self.heal();
            }
            if at >= wild + calm {
                break;
            }
            self.happen(what, property).map_err(|e| format!("seed {}: {e}", self.settings.seed))?;
        }
        Ok(())
    }

    fn heal(&mut self) {
        self.cut.clear();
        self.loss = 0.0;
        self.slow = 0.0;
        for id in 1..=NODES {
            self.nodes[id as usize - 1].paused_until = 0;
            if self.nodes[id as usize - 1].core.is_none() {
                self.start(id);
            }
        }
    }

    fn happen(&mut self, what: Happening, property: &mut dyn Property) -> Result<(), String> {
        match what {
            Happening::Tick => self.tick(property),
            Happening::Arrive { from, to, frame } => self.arrive(from, to, frame, property),
            Happening::Durable { node, life } => self.durable(node, life, property),
            Happening::Pulled { node, life, leader, leader_term } => {
                self.pulled(node, life, leader, leader_term, property)
            }
            Happening::Act { client } => self.act(client, property),
            Happening::Nemesis => {
                self.nemesis();
                Ok(())
            }
        }
    }

    fn tick(&mut self, property: &mut dyn Property) -> Result<(), String> {
        self.plan(TICK_MS, Happening::Tick);
        for id in 1..=NODES {
            let at = self.now_ms;
            let node = &mut self.nodes[id as usize - 1];
            if node.core.is_none() && at >= node.restart_at {
                self.start(id);
                continue;
            }
            let Some(core) = &node.core else { continue };
            if at < node.paused_until {
                continue;
            }
            let now = node.now(at);
            if now.mono_ms >= node.next_beat {
                node.next_beat = now.mono_ms + 500;
                self.judge(id, property)?;
                self.step(id, Event::Beat, property)?;
            } else if now.mono_ms >= core.deadline_ms() {
                self.step(id, Event::Wake, property)?;
            }
        }
        self.observe_serving(property)
    }

    fn observe_serving(&mut self, property: &mut dyn Property) -> Result<(), String> {
        let mut serving = Vec::new();
        for node in &self.nodes {
            if let Some(core) = &node.core
                && node.now(self.now_ms).mono_ms < core.serves_until_ms()
            {
                serving.push((node.id, core.view().term));
            }
        }
        property.observe(self.now_ms, &Observation::Serving { nodes: &serving })
    }

    pub(super) fn step(
        &mut self,
        id: u64,
        event: Event,
        property: &mut dyn Property,
    ) -> Result<(), String> {
        let at = self.now_ms;
        let node = &mut self.nodes[id as usize - 1];
        let now = node.now(at);
        let Some(core) = &mut node.core else { return Ok(()) };
        let mut out = Output::default();
        core.step(now, event, &mut out);
        self.carry_out(id, out, property)
    }

    fn carry_out(
        &mut self,
        id: u64,
        out: Output,
        property: &mut dyn Property,
    ) -> Result<(), String> {
        let at = self.now_ms;
        for (group, note) in &out.notes {
            assert_eq!(*group, GROUP);
            self.trace.extend_from_slice(format!("{at} {id} {note:?}\n").as_bytes());
            match note {
                Note::Applied => {
                    let node = &mut self.nodes[id as usize - 1];
                    let Some(core) = &node.core else { continue };
                    let index = core.machine().applied().0;
                    if index != node.fingerprinted {
                        node.fingerprinted = index;
                        let fingerprint = core.machine().fingerprint();
                        let what = Observation::Applied { node: id, index, fingerprint };
                        property.observe(at, &what)?;
                    }
                }
                Note::SnapshotWanted { leader, term } => {
                    let life = self.nodes[id as usize - 1].life;
                    let takes = self.rng.random_range(5..400);
                    let (leader, leader_term) = (leader.0, *term);
                    self.plan(takes, Happening::Pulled { node: id, life, leader, leader_term });
                }
                Note::Fault(reason) => return Err(format!("node {id} is at fault: {reason}")),
                _ => {}
            }
        }
        if !out.records.is_empty() || !out.persists.is_empty() {
            let readies = out.persists.iter().map(|(_, number)| *number).collect();
            let records = out.records;
            self.write(id, Batch { records, tree: None, readies, installs: None });
        }
        let mut frames: BTreeMap<u64, Vec<PeerMessage>> = BTreeMap::new();
        for (to, message) in out.sends {
            property.observe(at, &Observation::Sent { node: id, to: to.0, message: &message })?;
            frames.entry(to.0).or_default().push(message);
        }
        for (to, messages) in frames {
            let frame = frame::encode(at, 0, None, &messages);
            self.send(id, to, frame);
        }
        for (ticket, answer) in out.answers {
            self.answered(id, ticket, answer, property)?;
        }
        Ok(())
    }

    fn write(&mut self, id: u64, batch: Batch) {
        let takes = match self.rng.random_range(0..100) {
            0..5 if !self.settings.steady => self.rng.random_range(50..800),
            _ => self.rng.random_range(1..15),
        };
        let now_ms = self.now_ms;
        let slow = self.settings.slow_disks.iter();
        let slow = slow.rev().find(|s| s.node == id && s.while_ms.contains(&now_ms));
        let slow = slow.map(|slow| self.rng.random_range(slow.takes_ms.clone()));
        let node = &mut self.nodes[id as usize - 1];
        node.disk.queue.push_back(batch);
        node.writing.push_back(now_ms);
        node.disk_free_at = match slow {
            // Everything that waits is written at once, so slowness does not add up.
            Some(takes) => node.disk_free_at.max(now_ms + takes),
            None => node.disk_free_at.max(now_ms) + takes,
        };
        let (life, wait) = (node.life, node.disk_free_at - now_ms);
        self.plan(wait, Happening::Durable { node: id, life });
    }

    pub(super) fn send(&mut self, from: u64, to: u64, frame: Bytes) {
        self.trace.extend_from_slice(format!("{} {from}>{to} ", self.now_ms).as_bytes());
        self.trace.extend_from_slice(&frame);
        let apart = self.settings.apart.is_some_and(|(a, b, since)| {
            self.now_ms >= since && (from.min(to), from.max(to)) == (a, b)
        });
        if apart || self.cut.contains(&(from, to)) || self.rng.random_bool(self.loss) {
            return;
        }
        let copies = if self.rng.random_bool(0.02) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if self.rng.random_bool(self.slow) {
                self.rng.random_range(300..3_500)
            } else {
                self.rng.random_range(1..20)
            };
            let frame = frame.clone();
            self.plan(delay, Happening::Arrive { from, to, frame });
        }
    }

    fn arrive(
        &mut self,
        from: u64,
        to: u64,
        frame: Bytes,
        property: &mut dyn Property,
    ) -> Result<(), String> {
        let node = &self.nodes[to as usize - 1];
        if self.now_ms < node.paused_until {
            let wait = node.paused_until - self.now_ms;
            self.plan(wait, Happening::Arrive { from, to, frame });
            return Ok(());
        }
        let read = frame::decode(&frame, NodeId(from), NodeId(to)).map_err(|e| e.to_string())?;
        self.hear(from, to, read.health);
        for message in read.messages {
            let body: PeerBody = message.body;
            self.step(to, Event::Message { from: NodeId(from), body }, property)?;
        }
        Ok(())
    }

    fn durable(&mut self, id: u64, life: u64, property: &mut dyn Property) -> Result<(), String> {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[id as usize - 1];
        if node.life != life || node.core.is_none() {
            return Ok(());
        }
        if now_ms < node.paused_until {
            let wait = node.paused_until - now_ms;
            self.plan(wait, Happening::Durable { node: id, life });
            return Ok(());
        }
        let Some(batch) = node.disk.queue.pop_front() else { return Ok(()) };
        node.wrote.extend(node.writing.pop_front().map(|at| now_ms - at));
        node.disk.write(&batch);
        if let Some(install) = batch.installs {
            let (index, entry_term) = install.model.applied();
            if let Some(core) = &mut node.core {
                core.replace_machine(install.model);
            }
            let event = Event::SnapshotInstalled {
                leader: NodeId(install.leader),
                term: install.leader_term,
                index,
                entry_term,
                conf: install.conf,
            };
            self.step(id, event, property)?;
        }
        for number in batch.readies {
            self.step(id, Event::Persisted { number }, property)?;
        }
        Ok(())
    }

    fn pulled(
        &mut self,
        id: u64,
        life: u64,
        leader: u64,
        leader_term: u64,
        property: &mut dyn Property,
    ) -> Result<(), String> {
        if self.nodes[id as usize - 1].life != life {
            return Ok(());
        }
        let source = self.nodes[leader as usize - 1].core.as_ref();
        let copy = source.map(|core| (core.machine().clone(), core.conf()));
        let reachable = !self.cut.contains(&(leader, id)) && !self.cut.contains(&(id, leader));
        let node = &self.nodes[id as usize - 1];
        match (copy, &node.core) {
            (Some((model, conf)), Some(core))
                if reachable && core.accepts_snapshot(model.applied().0) =>
            {
                let at = model.applied();
                let continues = core.term_at(at.0) == Some(at.1);
                // One more than any on its way: two pulls never share a generation.
                let generation = node.disk.generation() + 1 + node.disk.queue.len() as u64;
                let records = core.rebase(at, generation, continues);
                let install = Install { leader, leader_term, model: model.clone(), conf };
                let (tree, installs) = (Some(model), Some(install));
                self.write(id, Batch { records, tree, readies: Vec::new(), installs });
                Ok(())
            }
            _ => self.step(id, Event::SnapshotFailed, property),
        }
    }

    fn checkpoint(&mut self, id: u64) {
        let node = &self.nodes[id as usize - 1];
        let Some(core) = &node.core else { return };
        // Not while a new generation is on its way: the host compares generations.
        if node.disk.queue.iter().any(|b| b.installs.is_some()) {
            return;
        }
        let tree = core.machine().clone();
        let (index, _) = tree.applied();
        let repin = self.rng.random_bool(0.3);
        let records = core.rebase(tree.applied(), node.disk.generation(), repin);
        let batch = Batch { records, tree: Some(tree), readies: Vec::new(), installs: None };
        self.write(id, batch);
        let node = &mut self.nodes[id as usize - 1];
        let now = node.now(self.now_ms);
        let mut out = Output::default();
        if let Some(core) = &mut node.core {
            core.handle(now, Event::Checkpointed { index }, &mut out);
        }
        assert!(out.is_empty(), "a checkpoint asks for nothing");
    }

    fn nemesis(&mut self) {
        let most = if self.settings.storm { 400 } else { 2_500 };
        let pause = self.rng.random_range(most / 12..most);
        self.plan(pause, Happening::Nemesis);
        if self.now_ms >= self.settings.wild_ms {
            return;
        }
        let id = self.rng.random_range(1..=NODES);
        let other = id % NODES + 1;
        let happens = match self.settings.storm {
            true => [0, 0, 0, 4, 15][self.rng.random_range(0..5)],
            false => self.rng.random_range(0..18),
        };
        match happens {
            0 | 1 => {
                let down = self.rng.random_range(1..if self.settings.storm { 60 } else { 4_000 });
                if self.nodes[id as usize - 1].core.is_some() {
                    self.crash(id, down);
                }
            }
            2 | 3 => {
                let stop = self.rng.random_range(100..5_000);
                self.nodes[id as usize - 1].paused_until = self.now_ms + stop;
            }
            4 | 5 => {
                self.cut =
                    (1..=NODES).filter(|n| *n != id).flat_map(|n| [(n, id), (id, n)]).collect();
            }
            6 => self.cut = vec![(id, other)],
            7 => self.cut = vec![(id, other), (other, id)],
            8 => self.loss = 0.2,
            9 => self.slow = 0.3,
            10 => {
                (1..=NODES).for_each(|id| self.checkpoint(id));
            }
            11 => {
                let mut out = Output::default();
                let now = self.nodes[id as usize - 1].now(self.now_ms);
                if let Some(core) = &mut self.nodes[id as usize - 1].core {
                    core.handle(now, Event::HandOver, &mut out);
                }
            }
            12 | 13 => {
                self.quiet_until = self.now_ms + self.rng.random_range(1_000..7_000);
            }
            14 => {
                // Quiet, and then one pair apart: the third hears both.
                self.quiet_until = self.now_ms + 6_000;
                self.cut = vec![(id, other), (other, id)];
            }
            _ => {
                self.cut.clear();
                self.loss = 0.01;
                self.slow = 0.02;
            }
        }
    }

    // ---- clients --------------------------------------------------------------------------

    fn act(&mut self, client: u64, property: &mut dyn Property) -> Result<(), String> {
        let pause = self.rng.random_range(if self.settings.steady { 50..350 } else { 5..120 });
        self.plan(pause, Happening::Act { client });
        if self.now_ms + 4_000 > self.settings.wild_ms + self.settings.calm_ms {
            return Ok(());
        }
        let node = match self.rng.random_range(0..4) {
            0 => self.rng.random_range(1..=NODES),
            _ => self.belief,
        };
        let (key, row_key) = self.keys[self.rng.random_range(0..self.keys.len())].clone();
        let burst = if self.rng.random_bool(0.05) { 12 } else { 1 };
        let mut submits = Vec::new();
        for _ in 0..burst {
            let op = self.next_op;
            self.next_op += 1;
            let read = self.rng.random_bool(0.4) || self.now_ms < self.quiet_until;
            let request = (!read).then(|| self.write_request(op, &key, &row_key));
            property.observe(self.now_ms, &Observation::Invoked { op, key: &row_key })?;
            let submit = match &request {
                Some(request) => Submit::Write(Box::new(request.clone())),
                None => Submit::Barrier,
            };
            let op_of = Op { key: row_key.clone(), read, node, token: op, request };
            self.ops.insert(op, op_of);
            submits.push((op, submit));
        }
        self.deliver(node, submits, property)
    }

    fn write_request(&mut self, op: u64, key: &Key, row_key: &RowKey) -> WriteRequest {
        let token = Token {
            session: Uuid::from_u128(1),
            number: op,
            lowest_unfinished: 0,
            issued_ms: 1_000_000 + self.now_ms,
        };
        let (condition, return_old, return_on_failure) = (None, false, false);
        let write = if self.rng.random_bool(0.2) {
            WriteOp::Delete { condition, return_old, return_on_failure }
        } else {
            let size = self.rng.random_range(1..200);
            let item = Item(BTreeMap::from([
                ("k".to_owned(), key.partition.clone()),
                ("v".to_owned(), Value::S(format!("{op:0size$}"))),
            ]));
            WriteOp::Put { item: item.encode(), condition, return_old, return_on_failure }
        };
        WriteRequest {
            group: GROUP,
            epoch: 1,
            key: key.clone(),
            row_key: row_key.clone(),
            op: write,
            token: Some(token),
        }
    }

    fn deliver(
        &mut self,
        id: u64,
        submits: Vec<(Ticket, Submit)>,
        property: &mut dyn Property,
    ) -> Result<(), String> {
        let node = &mut self.nodes[id as usize - 1];
        if node.core.is_none() || self.now_ms < node.paused_until {
            return Ok(());
        }
        self.step(id, Event::Submit(submits), property)
    }

    fn answered(
        &mut self,
        id: u64,
        ticket: Ticket,
        answer: Result<Answer, GroupError>,
        property: &mut dyn Property,
    ) -> Result<(), String> {
        let at = self.now_ms;
        self.trace.extend_from_slice(format!("{at} {id} {ticket} {answer:?}\n").as_bytes());
        let Some(op) = self.ops.remove(&ticket) else { return Ok(()) };
        match answer {
            Ok(Answer::Write(response)) => {
                assert!(!matches!(response.outcome, WriteOutcome::ConditionFailed { .. }));
                let what =
                    Observation::WriteAcked { op: op.token, key: &op.key, stamp: response.stamp };
                property.observe(at, &what)
            }
            Ok(Answer::Leads) => {
                let core = self.nodes[op.node as usize - 1].core.as_ref();
                let row = core.map(|c| c.machine().row(&op.key).expect("memory does not fail"));
                let stamp = row.flatten().map(|row| row.stamp);
                property
                    .observe(at, &Observation::ReadAnswered { op: op.token, key: &op.key, stamp })
            }
            Ok(other) => Err(format!("an answer nobody asked for: {other:?}")),
            Err(GroupError::NotLeader { leader, .. }) => {
                self.belief = leader.map_or(self.rng.random_range(1..=NODES), |n| n.0);
                self.again(op, property)
            }
            Err(GroupError::OutcomeUnknown(_)) => {
                self.belief = self.rng.random_range(1..=NODES);
                self.again(op, property)
            }
            Err(_) => Ok(()),
        }
    }

    /// Now and then a client tries again, with the same token.
    fn again(&mut self, op: Op, property: &mut dyn Property) -> Result<(), String> {
        if op.read || !self.rng.random_bool(0.5) {
            return Ok(());
        }
        let Some(request) = op.request.clone() else { return Ok(()) };
        let ticket = self.next_op;
        self.next_op += 1;
        let node = self.belief;
        self.ops.insert(ticket, Op { node, ..op });
        self.deliver(node, vec![(ticket, Submit::Write(Box::new(request)))], property)
    }
}

fn spec() -> GroupSpec {
    let config = GroupConfig {
        group: GROUP,
        table: TableId(Uuid::from_u128(7)),
        schema: KeySchema {
            partition: KeyAttribute { name: "k".into(), kind: KeyType::S },
            sort: None,
        },
        secret: HashSecret([3; 16]),
        range: KeyRange::full(),
        epoch: 1,
        view: None,
        regions: vec![RegionId(1), RegionId(2)],
        parent: None,
        keep_log: false,
        indexes: vec![LocalIndex {
            name: IndexName::new("by-v").expect("a legal name"),
            sort: KeyAttribute { name: "v".into(), kind: KeyType::S },
            projection: IndexProjection::All,
        }],
    };
    GroupSpec { group: GROUP, config, voters: (1..=NODES).map(NodeId).collect() }
}
