//! Faults that tests switch on to see that the property checkers find them.

/// One deliberate fault of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// Writes are answered when proposed.
    AckBeforeQuorum,
    /// The lease counts from the receipt of an acknowledgement.
    LeaseFromReceipt,
    /// A voter grants votes and campaigns inside its promise.
    NoPromise,
    /// The vote is not written down (and no promise after the start hides it).
    ForgetVote,
    /// Sequence numbers are consumed by proposals that failed.
    SkipSequence,
    /// A new leader serves before it applied its own first entry.
    ServeAtOnce,
    /// Replicas fold their own identity into what they apply.
    DivergingApply,
}
