//! Closed-loop load: callers that each wait for their answer, what they saw, and what was kept.
//!
//! Always true: each key belongs to one caller, which writes it with growing version numbers and one
//! write at a time. So what a key must hold afterwards is known exactly: at least the last
//! acknowledged version, at most the last attempted one.

mod draw;
mod dynamodb;
mod floors;
mod sign;
mod target;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tombolo_item::{Item, KeyAttribute, KeySchema, KeyType, Number, Value};

use crate::error::{Failure, Result};

pub use draw::Distribution;
use draw::Draw;
pub use dynamodb::DynamoDb;
pub use floors::{Floors, floors};
pub use sign::Credentials;
pub use target::Target;

/// How many of a hundred requests read.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    pub read_percent: u32,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub table: String,
    pub mix: Mix,
    pub clients: u32,
    pub items: u64,
    /// Names and values together.
    pub item_bytes: usize,
    pub distribution: Distribution,
    /// Requests per second over all callers; 0: no bound.
    pub rate: u64,
    pub strong: bool,
    pub warm_up: Duration,
    pub duration: Duration,
    pub seed: u64,
}

/// One kind of request, summed up. Milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latencies {
    pub count: u64,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    fn of(histogram: &Histogram<u64>, elapsed: Duration) -> Self {
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: histogram.len(),
            per_second: histogram.len() as f64 / elapsed.as_secs_f64(),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: histogram.max() as f64 / 1e3,
        }
    }
}

/// Microseconds, three digits, up to five minutes.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(300_000_000, 3)
        .expect("the bounds are constants that hdrhistogram takes")
}

/// What happened.
pub struct Outcome {
    pub elapsed: Duration,
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    /// Errors that callers saw, by reason.
    pub errors: BTreeMap<String, u64>,
    /// The last acknowledged version of each key that was written.
    pub acknowledged: HashMap<u64, u64>,
    /// The longest time in which no write of anybody was acknowledged.
    pub longest_pause: Duration,
}

impl Outcome {
    fn new() -> Self {
        Self {
            elapsed: Duration::ZERO,
            reads: histogram(),
            writes: histogram(),
            errors: BTreeMap::new(),
            acknowledged: HashMap::new(),
            longest_pause: Duration::ZERO,
        }
    }

    pub fn operations(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    pub fn reads(&self) -> Option<Latencies> {
        (!self.reads.is_empty()).then(|| Latencies::of(&self.reads, self.elapsed))
    }

    pub fn writes(&self) -> Option<Latencies> {
        (!self.writes.is_empty()).then(|| Latencies::of(&self.writes, self.elapsed))
    }

    /// All acknowledged writes, warm-up included.
    pub fn acknowledged_writes(&self) -> u64 {
        self.acknowledged.values().sum()
    }
}

/// The keys of the tables that are loaded: one text, `pk`.
pub fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "pk".into(), kind: KeyType::S }, sort: None }
}

/// The key attributes of a key.
pub fn key_of(key: u64) -> Item {
    [("pk".to_owned(), Value::S(format!("user{key:012}")))].into_iter().collect()
}

fn item_of(key: u64, version: u64, payload: &Bytes) -> Item {
    let mut item = key_of(key);
    item.insert("v", Value::N(Number::from(version)));
    item.insert("d", Value::B(payload.clone()));
    item
}

fn payload(plan: &Plan) -> Bytes {
    let around = item_of(0, 1, &Bytes::new()).size();
    let mut bytes = vec![0_u8; plan.item_bytes.saturating_sub(around).max(1)];
    SmallRng::seed_from_u64(plan.seed).fill(&mut bytes[..]);
    bytes.into()
}

/// Puts every item once, as version 0.
pub async fn load(target: &Target, plan: &Plan) -> Result {
    let next = Arc::new(AtomicU64::new(0));
    let payload = payload(plan);
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..plan.clients.max(32) {
        let (target, next, payload) = (target.clone(), next.clone(), payload.clone());
        let (table, items) = (plan.table.clone(), plan.items);
        tasks.spawn(async move {
            loop {
                let key = next.fetch_add(1, Ordering::Relaxed);
                if key >= items {
                    return Ok(());
                }
                target.put(&table, caller, key, 0, &payload).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        let done: std::result::Result<(), String> =
            done.map_err(|e| Failure::unavailable(e.to_string()))?;
        done.map_err(Failure::unavailable)?;
    }
    Ok(())
}

/// Runs the plan.
pub async fn drive(target: &Target, plan: &Plan) -> Outcome {
    let begin = Instant::now();
    let counted = begin + plan.warm_up;
    let end = counted + plan.duration;
    let last_ack = Arc::new(Pauses::new(begin));
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..plan.clients {
        let caller = Caller {
            target: target.clone(),
            plan: plan.clone(),
            caller,
            payload: payload(plan),
            begin,
            counted,
            end,
            pauses: last_ack.clone(),
        };
        tasks.spawn(caller.run());
    }
    let mut total = Outcome::new();
    while let Some(done) = tasks.join_next().await {
        let Ok(one) = done else { continue };
        // Both were made by `histogram`, so their bounds agree.
        let _ = total.reads.add(&one.reads);
        let _ = total.writes.add(&one.writes);
        total.acknowledged.extend(one.acknowledged);
        for (reason, count) in one.errors {
            *total.errors.entry(reason).or_default() += count;
        }
    }
    total.elapsed = counted.elapsed().min(plan.duration + Duration::from_secs(10));
    total.longest_pause = last_ack.longest();
    total
}

/// The longest time between two acknowledgements, whoever got them.
struct Pauses {
    begin: Instant,
    last_us: AtomicU64,
    longest_us: AtomicU64,
}

impl Pauses {
    fn new(begin: Instant) -> Self {
        Self { begin, last_us: AtomicU64::new(0), longest_us: AtomicU64::new(0) }
    }
    fn acknowledged(&self) {
        let now = self.begin.elapsed().as_micros() as u64;
        let last = self.last_us.fetch_max(now, Ordering::Relaxed);
        self.longest_us.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
    }
    fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_us.load(Ordering::Relaxed))
    }
}

struct Caller {
    target: Target,
    plan: Plan,
    caller: u32,
    payload: Bytes,
    begin: Instant,
    counted: Instant,
    end: Instant,
    pauses: Arc<Pauses>,
}

impl Caller {
    async fn run(self) -> Outcome {
        let mut outcome = Outcome::new();
        let mut random =
            SmallRng::seed_from_u64(self.plan.seed.wrapping_mul(31) ^ u64::from(self.caller));
        let draw = Draw::new(self.plan.distribution, self.plan.items);
        let mut attempted: HashMap<u64, u64> = HashMap::new();
        let clients = u64::from(self.plan.clients);
        let spacing = match self.plan.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(clients as f64 / rate as f64),
        };
        // Callers start spread over one spacing, so that a paced load has no waves.
        let mut due = self.begin + spacing.mul_f64(random.random());
        while Instant::now() < self.end {
            if !spacing.is_zero() {
                tokio::time::sleep_until(due.into()).await;
                due += spacing;
            }
            let key = draw.next(&mut random);
            let start = Instant::now();
            if random.random_range(0..100) < self.plan.mix.read_percent {
                match self.target.get(&self.plan.table, self.caller, key, self.plan.strong).await {
                    Ok(Some(_)) => self.record(&mut outcome.reads, start),
                    Ok(None) => *outcome.errors.entry("MissingItem".into()).or_default() += 1,
                    Err(reason) => *outcome.errors.entry(reason).or_default() += 1,
                }
                continue;
            }
            // The key of this caller that is nearest to the one drawn.
            let key = key - key % clients + u64::from(self.caller);
            let version = attempted.entry(key).or_insert(0);
            *version += 1;
            let (table, version) = (&self.plan.table, *version);
            match self.target.put(table, self.caller, key, version, &self.payload).await {
                Ok(()) => {
                    outcome.acknowledged.insert(key, version);
                    self.pauses.acknowledged();
                    self.record(&mut outcome.writes, start);
                }
                Err(reason) => *outcome.errors.entry(reason).or_default() += 1,
            }
        }
        outcome
    }

    fn record(&self, histogram: &mut Histogram<u64>, start: Instant) {
        if start >= self.counted {
            histogram.saturating_record(start.elapsed().as_micros() as u64);
        }
    }
}

/// What was found when everything written was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    pub checked: u64,
    /// Keys that hold less than was acknowledged, or nothing.
    pub lost: u64,
}

/// Reads every key that had an acknowledged write, strongly consistently.
pub async fn read_back(target: &Target, plan: &Plan, outcome: &Outcome) -> Result<Check> {
    let keys: Vec<(u64, u64)> = outcome.acknowledged.iter().map(|(&k, &v)| (k, v)).collect();
    let checked = keys.len() as u64;
    let mut tasks = tokio::task::JoinSet::new();
    for part in keys.chunks(keys.len().div_ceil(32).max(1)) {
        let (target, table, part) = (target.clone(), plan.table.clone(), part.to_vec());
        tasks.spawn(async move {
            let mut lost = 0;
            for (key, acknowledged) in part {
                let held = target.get(&table, 0, key, true).await?;
                if held.is_none_or(|held| held < acknowledged) {
                    lost += 1;
                }
            }
            Ok::<u64, String>(lost)
        });
    }
    let mut lost = 0;
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|e| Failure::unavailable(e.to_string()))?;
        lost += done.map_err(|reason| Failure::unavailable(format!("reading back: {reason}")))?;
    }
    Ok(Check { checked, lost })
}

fn version_in(item: &Item) -> Option<u64> {
    match item.get("v")? {
        Value::N(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            table: "t".into(),
            mix: Mix { read_percent: 0 },
            clients: 1,
            items: 1,
            item_bytes: 1_024,
            distribution: Distribution::Uniform,
            rate: 0,
            strong: true,
            warm_up: Duration::ZERO,
            duration: Duration::ZERO,
            seed: 1,
        }
    }

    #[test]
    fn items_have_the_size_that_was_asked_for() {
        for bytes in [64, 1_024, 4_096] {
            let plan = Plan { item_bytes: bytes, ..plan() };
            assert_eq!(item_of(5, 1, &payload(&plan)).size(), bytes);
        }
    }

    #[test]
    fn versions_are_read_back() {
        assert_eq!(version_in(&item_of(5, 17, &Bytes::new())), Some(17));
        assert_eq!(version_in(&key_of(5)), None);
    }

    #[test]
    fn the_longest_pause_is_found() {
        let pauses = Pauses::new(Instant::now() - Duration::from_secs(2));
        pauses.acknowledged();
        assert!(pauses.longest() >= Duration::from_secs(2));
    }
}
