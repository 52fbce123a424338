//! Promise: single-item operations with strong reads are linearizable, through any router.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tombolo_tests::cluster::key;
use tombolo_tests::linearizability::{Action, Operation, check};
use tombolo_tests::workload::{item, version_of};

use crate::shared;

#[test]
fn concurrent_histories_are_linearizable_per_key() {
    let shared = shared();
    let history = shared.runtime.block_on(async {
        shared.cluster.table("histories", 3).await;
        let begin = Instant::now();
        let next_value = Arc::new(AtomicU64::new(1));
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..16_u64 {
            // Every caller has one router of its own, so that different views meet.
            let client = shared.cluster.client_of(0, caller as usize % 3).await;
            let next_value = next_value.clone();
            tasks.spawn(async move {
                let mut random = SmallRng::seed_from_u64(caller);
                let mut history = Vec::new();
                let now = || begin.elapsed().as_nanos() as u64;
                while begin.elapsed() < Duration::from_secs(5) {
                    let pk = format!("h{}", random.random_range(0..100));
                    let start = now();
                    if random.random_bool(0.5) {
                        let value = next_value.fetch_add(1, Ordering::Relaxed);
                        let put = client.put_item("histories", item(&pk, value)).await;
                        let end = put.is_ok().then(now);
                        history.push(Operation {
                            key: pk,
                            action: Action::Write(value),
                            start,
                            end,
                        });
                    } else if let Ok(read) = client.get_item("histories", key(&pk), true).await {
                        let action = Action::Read(read.as_ref().map(version_of));
                        history.push(Operation { key: pk, action, start, end: Some(now()) });
                    }
                }
                history
            });
        }
        tasks.join_all().await.concat()
    });
    assert!(history.len() > 500, "only {} operations", history.len());
    if let Err(violation) = check(&history) {
        panic!("{violation:#?}");
    }

    // The checker sees a planted violation in this very history: a read of a value long overwritten.
    let mut planted = history;
    let last = planted.iter().filter_map(|o| o.end).max().unwrap_or_default();
    let first = planted.iter().find_map(|o| match o.action {
        Action::Write(value) if o.end.is_some() => Some((o.key.clone(), value, o.end)),
        _ => None,
    });
    let (key, value, end) = first.expect("something was written");
    let overwritten = planted.iter().any(|o| {
        o.key == key
            && matches!(o.action, Action::Write(v) if v != value)
            && Some(o.start) > end
            && o.end.is_some()
    });
    assert!(overwritten, "the first key was written once only");
    planted.push(Operation {
        key,
        action: Action::Read(Some(value)),
        start: last + 1,
        end: Some(last + 2),
    });
    assert!(check(&planted).is_err(), "the checker missed a planted stale read");
}
