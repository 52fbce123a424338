//! The voter's promise and the leader's lease: why two leaders never serve at once.
//!
//! Always true:
//! - A voter that acknowledged a leader's heartbeat at `t` grants no vote and does not campaign
//!   before `t + PROMISE`, whatever else it hears; only a planned hand-over passes.
//! - A leader's lease ends `LEASE` after the *sending* of the newest heartbeat that a quorum (itself
//!   included) acknowledged. Sending comes before acknowledging, and `LEASE < PROMISE`, so every
//!   quorum that could elect a successor holds a voter whose promise outlives the lease. The gap
//!   between the two is what clocks may drift apart in that time.
//! - All times are one node's own monotonic milliseconds; none crosses the wire but as an echo.

use raft::eraftpb::ConfState;

/// How long a voter keeps quiet after acknowledging a heartbeat, and after its own start.
pub const PROMISE_MS: u64 = 2_000;
/// How long a leader serves on acknowledged heartbeats.
pub const LEASE_MS: u64 = 1_600;

/// Until when this voter keeps quiet. Only moves forward.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    until_ms: u64,
}

impl Promise {
    pub(crate) fn until(at_ms: u64) -> Promise {
        Promise { until_ms: at_ms }
    }

    pub(crate) fn extend(&mut self, now_ms: u64) {
        self.until_ms = self.until_ms.max(now_ms + PROMISE_MS);
    }

    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms
    }

    pub(crate) fn until_ms(&self) -> u64 {
        self.until_ms
    }
}

/// When the newest acknowledged heartbeat of each voter was sent.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    acked: Vec<(u64, u64)>,
    until_ms: u64,
}

impl Lease {
    /// Voter `id` acknowledged the heartbeat that was sent at `sent_ms`.
    pub(crate) fn acknowledge(&mut self, id: u64, sent_ms: u64) {
        match self.acked.iter_mut().find(|(voter, _)| *voter == id) {
            Some((_, at)) => *at = (*at).max(sent_ms),
            None => self.acked.push((id, sent_ms)),
        }
    }

    /// Recomputes the end of the lease; the leader acknowledges itself at `now_ms`.
    pub(crate) fn renew(&mut self, conf: &ConfState, own: u64, now_ms: u64) -> u64 {
        let mut sent = self.quorum_sent(&conf.voters, own, now_ms);
        if !conf.voters_outgoing.is_empty() {
            sent = sent.min(self.quorum_sent(&conf.voters_outgoing, own, now_ms));
        }
        if sent > 0 {
            self.until_ms = self.until_ms.max(sent + LEASE_MS);
        }
        self.until_ms
    }

    /// The newest sending time that a majority of `voters` acknowledged; 0 = none.
    fn quorum_sent(&self, voters: &[u64], own: u64, now_ms: u64) -> u64 {
        let mut times: Vec<u64> = voters
            .iter()
            .map(|id| match self.acked.iter().find(|(voter, _)| voter == id) {
                _ if *id == own => now_ms,
                Some((_, at)) => *at,
                None => 0,
            })
            .collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(voters.len() / 2).copied().unwrap_or(0)
    }

    /// Whether this voter acknowledged anything sent lately.
    pub(crate) fn hears(&self, id: u64, now_ms: u64) -> bool {
        self.acked.iter().any(|(voter, at)| *voter == id && now_ms < at + LEASE_MS)
    }

    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms
    }

    pub(crate) fn until_ms(&self) -> u64 {
        self.until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> ConfState {
        ConfState { voters: vec![1, 2, 3], ..ConfState::default() }
    }

    #[test]
    fn the_lease_counts_from_sending_and_needs_a_quorum() {
        let mut lease = Lease::default();
        assert_eq!(lease.renew(&three(), 1, 1_000), 0, "alone there is no lease");
        lease.acknowledge(2, 400);
        assert_eq!(lease.renew(&three(), 1, 1_000), 400 + LEASE_MS);
        lease.acknowledge(3, 700);
        assert_eq!(lease.renew(&three(), 1, 1_000), 700 + LEASE_MS);
        lease.acknowledge(3, 500);
        assert_eq!(
            lease.renew(&three(), 1, 1_000),
            700 + LEASE_MS,
            "late echoes take nothing back"
        );
    }

    #[test]
    fn a_joint_configuration_needs_both_quorums() {
        let mut conf = three();
        conf.voters_outgoing = vec![1, 4, 5];
        let mut lease = Lease::default();
        lease.acknowledge(2, 900);
        assert_eq!(lease.renew(&conf, 1, 1_000), 0);
        lease.acknowledge(5, 300);
        assert_eq!(lease.renew(&conf, 1, 1_000), 300 + LEASE_MS);
    }

    #[test]
    fn a_single_voter_leads_by_itself() {
        let conf = ConfState { voters: vec![1], ..ConfState::default() };
        assert_eq!(Lease::default().renew(&conf, 1, 50), 50 + LEASE_MS);
    }
}
