//! The membership of a group as bytes: what a log base and a snapshot carry.
//!
//! Always true: version byte first; an unknown version is refused by name; all the sets of a joint
//! configuration have their place, so that membership changes need no new format.
//!
//! ```text
//! u8 version = 1 · u64 index of the change that made it ·
//! 5 sets: voters, learners, voters_outgoing, learners_next (each: varint count, u64 each), u8 auto_leave
//! ```

use bytes::Bytes;
use raft::eraftpb::ConfState;
use tombolo_item::{Decoder, Encoder, FormatError, NodeId};

const VERSION: u8 = 1;
/// More members than any group ever has; bounds what a damaged count can allocate.
const MEMBERS_MAX: u64 = 64;

/// Who is in a group, since which log index.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Membership {
    pub(crate) index: u64,
    pub(crate) conf: ConfState,
}

impl Membership {
    pub(crate) fn of_voters(voters: &[NodeId]) -> Membership {
        let mut ids: Vec<u64> = voters.iter().map(|n| n.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let conf = ConfState { voters: ids, ..ConfState::default() };
        Membership { index: 0, conf }
    }

    pub(crate) fn voters(&self) -> Vec<NodeId> {
        self.conf.voters.iter().map(|id| NodeId(*id)).collect()
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut e = Encoder::default();
        e.u8(VERSION);
        e.u64(self.index);
        let c = &self.conf;
        for set in [&c.voters, &c.learners, &c.voters_outgoing, &c.learners_next] {
            e.varint(set.len() as u64);
            for id in set {
                e.u64(*id);
            }
        }
        e.u8(u8::from(c.auto_leave));
        e.0.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Membership, FormatError> {
        let mut d = Decoder::new(bytes, "membership");
        let version = d.u8()?;
        if version != VERSION {
            return Err(d.error(format!("unknown membership version {version}")));
        }
        let index = d.u64()?;
        let mut sets: [Vec<u64>; 4] = Default::default();
        for set in &mut sets {
            let count = d.varint()?;
            if count > MEMBERS_MAX {
                return Err(d.error(format!("{count} members are more than {MEMBERS_MAX}")));
            }
            for _ in 0..count {
                set.push(d.u64()?);
            }
        }
        let auto_leave = d.u8()? != 0;
        let [voters, learners, voters_outgoing, learners_next] = sets;
        let conf = ConfState {
            voters,
            learners,
            voters_outgoing,
            learners_next,
            auto_leave,
            ..ConfState::default()
        };
        Ok(Membership { index, conf })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_has_the_written_form() {
        let mut membership = Membership::of_voters(&[NodeId(3), NodeId(1), NodeId(3)]);
        membership.index = 9;
        membership.conf.learners = vec![7];
        membership.conf.auto_leave = true;
        let expected = [
            &[1][..],
            &9u64.to_be_bytes(),
            &[2],
            &1u64.to_be_bytes(),
            &3u64.to_be_bytes(),
            &[1],
            &7u64.to_be_bytes(),
            &[0, 0, 1],
        ]
        .concat();
        assert_eq!(membership.encode(), expected);
        assert_eq!(Membership::decode(&expected), Ok(membership));
    }

    #[test]
    fn other_versions_and_wild_counts_are_refused() {
        let error = Membership::decode(&[2, 0]).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        let mut wild = vec![1; 9];
        wild.extend_from_slice(&[0xff, 0xff, 0x03]);
        assert!(Membership::decode(&wild).unwrap_err().to_string().contains("members"));
        let good = Membership::of_voters(&[NodeId(1)]).encode();
        for cut in 0..good.len() {
            assert!(Membership::decode(&good[..cut]).is_err());
        }
    }
}
