//! When a replica campaigns, and when it may vote.
//!
//! Always true: a replica campaigns and votes only outside its promise; the delays come from the
//! seed given at its start. Before campaigning it asks the others whether *they* hear the leader,
//! and stands down if they do: a replica that alone lost the leader must not disturb the group.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::lease::PROMISE_MS;

/// A follower that heard its leader this recently says so to a prober: three beats and a bit.
const HEARS_MS: u64 = 1_600;
/// How long a prober waits for answers.
const PROBE_MS: u64 = 250;

/// A question to the others, under way.
#[derive(Debug)]
struct Probe {
    until_ms: u64,
    hear: Vec<u64>,
    silent: Vec<u64>,
}

/// What a prober should do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wait,
    StandDown,
    Campaign,
}

/// The timers of one replica.
#[derive(Debug)]
pub(crate) struct Election {
    rng: SmallRng,
    /// Lower for the replica that should lead when nothing else decides, so that leaders spread.
    handicap_ms: u64,
    campaign_at_ms: u64,
    heard_at_ms: Option<u64>,
    probe: Option<Probe>,
}

impl Election {
    pub(crate) fn new(seed: u64, preferred: bool, first_ms: u64) -> Election {
        let handicap_ms = if preferred { 0 } else { 150 };
        let mut rng = SmallRng::seed_from_u64(seed);
        // The others leave the first election to the preferred one, which may start a little later.
        let first_handicap_ms = if preferred { 0 } else { 700 };
        let campaign_at_ms = first_ms + first_handicap_ms + rng.random_range(0..100);
        Election { rng, handicap_ms, campaign_at_ms, heard_at_ms: None, probe: None }
    }

    /// The leader spoke.
    pub(crate) fn heard(&mut self, now_ms: u64) {
        self.heard_at_ms = Some(now_ms);
        self.probe = None;
        let delay = PROMISE_MS + self.handicap_ms + self.rng.random_range(0..350);
        self.campaign_at_ms = now_ms + delay;
    }

    /// Try (again) a while from now: after a lost round, after standing down.
    pub(crate) fn retry(&mut self, now_ms: u64) {
        self.probe = None;
        self.campaign_at_ms = now_ms + 200 + self.handicap_ms + self.rng.random_range(0..500);
    }

    /// Campaign no sooner than this long from now.
    pub(crate) fn hold_back(&mut self, now_ms: u64, for_ms: u64) {
        self.probe = None;
        self.campaign_at_ms = self.campaign_at_ms.max(now_ms + for_ms);
    }

    pub(crate) fn hears(&self, now_ms: u64) -> bool {
        self.heard_at_ms.is_some_and(|at| now_ms < at + HEARS_MS)
    }

    pub(crate) fn due(&self, now_ms: u64) -> bool {
        now_ms >= self.campaign_at_ms
    }

    pub(crate) fn deadline_ms(&self) -> u64 {
        self.probe.as_ref().map_or(self.campaign_at_ms, |p| p.until_ms)
    }

    pub(crate) fn probing(&self) -> bool {
        self.probe.is_some()
    }

    pub(crate) fn start_probe(&mut self, now_ms: u64) {
        let (hear, silent) = (Vec::new(), Vec::new());
        self.probe = Some(Probe { until_ms: now_ms + PROBE_MS, hear, silent });
    }

    pub(crate) fn answer(&mut self, from: u64, hears: bool) {
        if let Some(probe) = &mut self.probe {
            let list = if hears { &mut probe.hear } else { &mut probe.silent };
            if !list.contains(&from) {
                list.push(from);
            }
        }
    }

    /// Decides a probe among `voters` members (this one included).
    pub(crate) fn verdict(&self, now_ms: u64, voters: usize) -> Verdict {
        let Some(probe) = &self.probe else { return Verdict::Wait };
        let most_that_can_hear = voters.saturating_sub(1 + probe.silent.len());
        if probe.hear.len() * 2 > voters {
            Verdict::StandDown
        } else if most_that_can_hear * 2 <= voters {
            Verdict::Campaign
        } else if now_ms < probe.until_ms {
            Verdict::Wait
        } else if probe.hear.len() > probe.silent.len() {
            Verdict::StandDown
        } else {
            Verdict::Campaign
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probing() -> Election {
        let mut election = Election::new(1, true, 0);
        election.start_probe(1_000);
        election
    }

    #[test]
    fn one_silent_voice_of_two_is_enough_to_campaign_among_three() {
        let mut election = probing();
        assert_eq!(election.verdict(1_001, 3), Verdict::Wait);
        election.answer(2, false);
        assert_eq!(election.verdict(1_001, 3), Verdict::Campaign);
    }

    #[test]
    fn a_replica_that_alone_lost_the_leader_stands_down() {
        let mut election = probing();
        election.answer(2, true);
        election.answer(2, true);
        assert_eq!(election.verdict(1_001, 3), Verdict::Wait, "one voice, twice");
        assert_eq!(election.verdict(1_250, 3), Verdict::StandDown);
        election.answer(3, true);
        assert_eq!(election.verdict(1_001, 3), Verdict::StandDown);
    }

    #[test]
    fn silence_does_not_stop_a_campaign() {
        assert_eq!(probing().verdict(1_250, 3), Verdict::Campaign);
    }

    #[test]
    fn equal_seeds_give_equal_delays() {
        let (mut a, mut b) = (Election::new(7, false, 0), Election::new(7, false, 0));
        for now in [10, 500, 900] {
            a.heard(now);
            b.heard(now);
            assert_eq!(a.deadline_ms(), b.deadline_ms());
        }
    }
}
