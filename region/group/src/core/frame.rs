//! How consensus messages of many groups travel in one frame between two nodes.
//!
//! Always true: the consensus library's own parser is never called (it has a known flaw): fields
//! are copied by hand; unknown versions, message kinds and entry kinds are refused by name; counts
//! are checked against the bytes present before anything is allocated; `from` and `to` are not on
//! the wire, they are the authenticated ends of the stream.
//!
//! ```text
//! frame   u8 version = 2 · u64 sender's wall clock, ms · u64 heard, ms · health · varint count · message* · u32 crc32c of all before
//! health  u8 flags (1 there is one, 2 it refuses, 4 measured, 8 slow) · if 1: [if 4: varint level, ms] · varint n · varint node heard*
//! message u8 kind · u64 group · varint term · then by kind:
//!   1 append            varint prev_index prev_term commit · varint n · entry*
//!   2 append response   varint index commit reject_hint log_term request_snapshot · u8 reject
//!   3 heartbeat         varint commit sent
//!   4 heartbeat resp.   varint commit sent (echo)
//!   5 vote, 7 pre-vote  varint index log_term commit commit_term · u8 transfer
//!   6 vote resp., 8 pre-vote resp.  varint commit commit_term · u8 reject
//!   9 snapshot          varint index term · bytes membership
//!   10 timeout now      (nothing)
//!   11 probe            (nothing)
//!   12 probe answer     u8 hears
//! entry   varint index term · u8 kind = 0 · bytes data · bytes context
//! ```

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType, Snapshot};
use tombolo_item::{Encoder, FormatError, GroupId, NodeId, SliceDecoder};

use super::conf::Membership;
use super::fitness::{HEARS_MAX, Health};

const VERSION: u8 = 2;
/// The library's mark of a vote request that follows a planned hand-over.
pub(crate) const TRANSFER: &[u8] = b"CampaignTransfer";

/// One group's message to its replica on another node.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerMessage {
    pub group: GroupId,
    pub body: PeerBody,
}

/// What a replica tells another.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerBody {
    /// A message of the consensus library. `sent_ms`: for a heartbeat when the leader sent it by
    /// its own monotonic clock, for the response the same number back, else 0.
    Raft { message: Box<Message>, sent_ms: u64 },
    /// "I would campaign: do you hear a leader of at least my term?"
    Probe { term: u64 },
    /// The answer to it.
    ProbeAnswer { term: u64, hears: bool },
}

/// A frame taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The sender's wall clock.
    pub wall_ms: u64,
    /// The newest wall clock in a frame that the sender had received from us; 0 = none yet.
    pub heard_ms: u64,
    /// What the sender says of itself; once a beat.
    pub health: Option<Health>,
    pub messages: Vec<PeerMessage>,
}

/// Whether the library's message may travel at all. Proposals, read requests and transfers are
/// only ever given to the local replica.
pub(crate) fn may_travel(kind: MessageType) -> bool {
    kind_of(kind).is_some()
}

fn kind_of(kind: MessageType) -> Option<u8> {
    use MessageType::*;
    Some(match kind {
        MsgAppend => 1,
        MsgAppendResponse => 2,
        MsgHeartbeat => 3,
        MsgHeartbeatResponse => 4,
        MsgRequestVote => 5,
        MsgRequestVoteResponse => 6,
        MsgRequestPreVote => 7,
        MsgRequestPreVoteResponse => 8,
        MsgSnapshot => 9,
        MsgTimeoutNow => 10,
        _ => return None,
    })
}

/// Writes a frame; messages that may not travel are left out.
pub fn encode(
    wall_ms: u64,
    heard_ms: u64,
    health: Option<&Health>,
    messages: &[PeerMessage],
) -> Bytes {
    let entries: usize = messages
        .iter()
        .map(|m| match &m.body {
            PeerBody::Raft { message, .. } => {
                32 + message.entries.iter().map(|e| e.data.len() + 24).sum::<usize>()
            }
            _ => 24,
        })
        .sum();
    let mut e = Encoder::with_capacity(entries + 32);
    e.u8(VERSION);
    e.u64(wall_ms);
    e.u64(heard_ms);
    encode_health(&mut e, health);
    let travelling = messages.iter().filter(|m| match &m.body {
        PeerBody::Raft { message, .. } => may_travel(message.msg_type),
        _ => true,
    });
    e.varint(travelling.clone().count() as u64);
    for message in travelling {
        encode_message(&mut e, message);
    }
    let crc = crc32c(&e.0);
    e.u32(crc);
    e.0.into()
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Flags (1 = there is one, 2 = it refuses, 4 = measured, 8 = slow), level, number and ids of the nodes heard.
fn encode_health(e: &mut Encoder, health: Option<&Health>) {
    let Some(health) = health else { return e.u8(0) };
    let flags = [true, health.refuses, health.level_ms.is_some(), health.slow];
    e.u8(flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag)));
    if let Some(level) = health.level_ms {
        e.varint(level.into());
    }
    let hears = health.hears.get(..HEARS_MAX).unwrap_or(&health.hears);
    e.varint(hears.len() as u64);
    hears.iter().for_each(|node| e.varint(node.0));
}

fn decode_health(d: &mut SliceDecoder) -> Result<Option<Health>, FormatError> {
    let flags = d.u8()?;
    match flags {
        0 => return Ok(None),
        _ if flags < 16 && flags & 1 == 1 => {}
        other => return Err(d.error(format!("unknown flags of a health: {other}"))),
    }
    let mut level_ms = None;
    if flags & 4 != 0 {
        let level = d.varint()?;
        level_ms = Some(u32::try_from(level).map_err(|_| d.error("a level beyond 32 bits"))?);
    }
    let count = d.varint()?;
    if count > HEARS_MAX as u64 {
        return Err(d.error(format!("{count} nodes heard are too many")));
    }
    let mut hears = Vec::with_capacity(count as usize);
    for _ in 0..count {
        hears.push(NodeId(d.varint()?));
    }
    let (refuses, slow) = (flags & 2 != 0, flags & 8 != 0);
    Ok(Some(Health { level_ms, refuses, slow, hears }))
}

fn encode_message(e: &mut Encoder, message: &PeerMessage) {
    let (kind, term) = match &message.body {
        PeerBody::Raft { message, .. } => {
            (kind_of(message.msg_type).unwrap_or_default(), message.term)
        }
        PeerBody::Probe { term } => (11, *term),
        PeerBody::ProbeAnswer { term, .. } => (12, *term),
    };
    e.u8(kind);
    e.u64(message.group.0);
    e.varint(term);
    let (m, sent_ms) = match &message.body {
        PeerBody::Raft { message, sent_ms } => (message, *sent_ms),
        PeerBody::Probe { .. } => return,
        PeerBody::ProbeAnswer { hears, .. } => return e.u8(u8::from(*hears)),
    };
    match kind {
        1 => {
            e.varint(m.index);
            e.varint(m.log_term);
            e.varint(m.commit);
            e.varint(m.entries.len() as u64);
            for entry in m.entries.iter() {
                e.varint(entry.index);
                e.varint(entry.term);
                e.u8(0);
                e.bytes(&entry.data);
                e.bytes(&entry.context);
            }
        }
        2 => {
            e.varint(m.index);
            e.varint(m.commit);
            e.varint(m.reject_hint);
            e.varint(m.log_term);
            e.varint(m.request_snapshot);
            e.u8(u8::from(m.reject));
        }
        3 | 4 => {
            e.varint(m.commit);
            e.varint(sent_ms);
        }
        5 | 7 => {
            e.varint(m.index);
            e.varint(m.log_term);
            e.varint(m.commit);
            e.varint(m.commit_term);
            e.u8(u8::from(m.context.as_ref() == TRANSFER));
        }
        6 | 8 => {
            e.varint(m.commit);
            e.varint(m.commit_term);
            e.u8(u8::from(m.reject));
        }
        9 => {
            let meta = m.get_snapshot().get_metadata();
            e.varint(meta.index);
            e.varint(meta.term);
            let conf = meta.get_conf_state().clone();
            e.bytes(&Membership { index: 0, conf }.encode());
        }
        _ => {}
    }
}

/// Takes a frame apart; `from` and `to` are the ends of the authenticated stream.
pub fn decode(bytes: &Bytes, from: NodeId, to: NodeId) -> Result<Frame, FormatError> {
    const WHAT: &str = "consensus frame";
    let Some(body_len) = bytes.len().checked_sub(4) else {
        return Err(FormatError::new(WHAT, bytes.len(), "shorter than its checksum"));
    };
    let (body, crc) = (bytes.slice(..body_len), bytes.slice(body_len..));
    if crc32c(&body).to_be_bytes() != crc[..] {
        return Err(FormatError::new(WHAT, body_len, "checksum does not match"));
    }
    let mut d = SliceDecoder::new(body, WHAT);
    let version = d.u8()?;
    if version != VERSION {
        return Err(d.error(format!("unknown frame version {version}")));
    }
    let wall_ms = d.u64()?;
    let heard_ms = d.u64()?;
    let health = decode_health(&mut d)?;
    let count = d.varint()?;
    if count > body_len as u64 / 10 {
        return Err(d.error(format!("{count} messages do not fit {body_len} bytes")));
    }
    let mut messages = Vec::with_capacity(count as usize);
    for _ in 0..count {
        messages.push(decode_message(&mut d, from, to)?);
    }
    if d.remaining() != 0 {
        return Err(d.error("bytes after the last message"));
    }
    Ok(Frame { wall_ms, heard_ms, health, messages })
}

fn decode_message(
    d: &mut SliceDecoder,
    from: NodeId,
    to: NodeId,
) -> Result<PeerMessage, FormatError> {
    let kind = d.u8()?;
    let group = GroupId(d.u64()?);
    let term = d.varint()?;
    let msg_type = match kind {
        1 => MessageType::MsgAppend,
        2 => MessageType::MsgAppendResponse,
        3 => MessageType::MsgHeartbeat,
        4 => MessageType::MsgHeartbeatResponse,
        5 => MessageType::MsgRequestVote,
        6 => MessageType::MsgRequestVoteResponse,
        7 => MessageType::MsgRequestPreVote,
        8 => MessageType::MsgRequestPreVoteResponse,
        9 => MessageType::MsgSnapshot,
        10 => MessageType::MsgTimeoutNow,
        11 => return Ok(PeerMessage { group, body: PeerBody::Probe { term } }),
        12 => {
            let hears = d.u8()? != 0;
            return Ok(PeerMessage { group, body: PeerBody::ProbeAnswer { term, hears } });
        }
        other => return Err(d.error(format!("unknown message kind {other}"))),
    };
    if term == 0 {
        return Err(d.error("a consensus message without a term"));
    }
    let mut m = Message { msg_type, from: from.0, to: to.0, term, ..Message::default() };
    let mut sent_ms = 0;
    match kind {
        1 => {
            m.index = d.varint()?;
            m.log_term = d.varint()?;
            m.commit = d.varint()?;
            let count = d.varint()?;
            if count > d.remaining() as u64 / 11 {
                return Err(d.error(format!("{count} entries do not fit what is left")));
            }
            let mut entries = Vec::with_capacity(count as usize);
            for at in 0..count {
                let entry = decode_entry(d)?;
                if entry.index != m.index + 1 + at {
                    return Err(d.error("entries of an append are not consecutive"));
                }
                entries.push(entry);
            }
            m.set_entries(entries.into());
        }
        2 => {
            m.index = d.varint()?;
            m.commit = d.varint()?;
            m.reject_hint = d.varint()?;
            m.log_term = d.varint()?;
            m.request_snapshot = d.varint()?;
            m.reject = d.u8()? != 0;
        }
        3 | 4 => {
            m.commit = d.varint()?;
            sent_ms = d.varint()?;
        }
        5 | 7 => {
            m.index = d.varint()?;
            m.log_term = d.varint()?;
            m.commit = d.varint()?;
            m.commit_term = d.varint()?;
            if d.u8()? != 0 {
                m.context = Bytes::from_static(TRANSFER);
            }
        }
        6 | 8 => {
            m.commit = d.varint()?;
            m.commit_term = d.varint()?;
            m.reject = d.u8()? != 0;
        }
        9 => {
            let mut snapshot = Snapshot::default();
            let meta = snapshot.mut_metadata();
            meta.index = d.varint()?;
            meta.term = d.varint()?;
            let conf = d.bytes()?;
            meta.set_conf_state(Membership::decode(&conf)?.conf);
            m.set_snapshot(snapshot);
        }
        _ => {}
    }
    Ok(PeerMessage { group, body: PeerBody::Raft { message: Box::new(m), sent_ms } })
}

fn decode_entry(d: &mut SliceDecoder) -> Result<Entry, FormatError> {
    let index = d.varint()?;
    let term = d.varint()?;
    let kind = d.u8()?;
    if kind != 0 {
        return Err(d.error(format!("unknown entry kind {kind}")));
    }
    let data = d.bytes()?;
    let context = d.bytes()?;
    let entry_type = EntryType::EntryNormal;
    Ok(Entry { entry_type, term, index, data, context, ..Entry::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn raft(m: Message, sent_ms: u64) -> PeerMessage {
        let body = PeerBody::Raft { message: Box::new(m), sent_ms };
        PeerMessage { group: GroupId(16), body }
    }

    fn message(msg_type: MessageType) -> Message {
        Message { msg_type, from: 1, to: 2, term: 5, ..Message::default() }
    }

    fn one_of_each() -> Vec<PeerMessage> {
        let entry = Entry {
            index: 8,
            term: 5,
            data: Bytes::from_static(b"data"),
            context: Bytes::from_static(b"c"),
            ..Entry::default()
        };
        let mut append = message(MessageType::MsgAppend);
        (append.index, append.log_term, append.commit) = (7, 4, 6);
        append.set_entries(vec![entry].into());
        let mut appended = message(MessageType::MsgAppendResponse);
        (appended.index, appended.commit, appended.reject_hint) = (300, 6, 9);
        (appended.log_term, appended.request_snapshot, appended.reject) = (4, 2, true);
        let mut beat = message(MessageType::MsgHeartbeat);
        beat.commit = 6;
        let mut beaten = message(MessageType::MsgHeartbeatResponse);
        beaten.commit = 7;
        let mut vote = message(MessageType::MsgRequestVote);
        (vote.index, vote.log_term, vote.commit, vote.commit_term) = (8, 5, 6, 4);
        vote.context = Bytes::from_static(TRANSFER);
        let mut voted = message(MessageType::MsgRequestVoteResponse);
        (voted.commit, voted.commit_term, voted.reject) = (6, 4, true);
        let mut pre_vote = message(MessageType::MsgRequestPreVote);
        (pre_vote.index, pre_vote.log_term) = (8, 5);
        let pre_voted = message(MessageType::MsgRequestPreVoteResponse);
        let mut snapshot = message(MessageType::MsgSnapshot);
        let mut meta = Snapshot::default();
        (meta.mut_metadata().index, meta.mut_metadata().term) = (99, 5);
        meta.mut_metadata().mut_conf_state().voters = vec![1, 2];
        snapshot.set_snapshot(meta);
        let probe = |body| PeerMessage { group: GroupId(16), body };
        vec![
            raft(append, 0),
            raft(appended, 0),
            raft(beat, 1_234),
            raft(beaten, 1_234),
            raft(vote, 0),
            raft(voted, 0),
            raft(pre_vote, 0),
            raft(pre_voted, 0),
            raft(snapshot, 0),
            raft(message(MessageType::MsgTimeoutNow), 0),
            probe(PeerBody::Probe { term: 5 }),
            probe(PeerBody::ProbeAnswer { term: 5, hears: true }),
        ]
    }

    #[test]
    fn a_frame_has_the_written_form_and_comes_back() {
        let messages = one_of_each();
        let hears = vec![NodeId(1), NodeId(3)];
        let health = Health { level_ms: Some(300), refuses: true, slow: false, hears };
        let bytes = encode(0x0102, 3, Some(&health), &messages);
        assert_eq!(hex(&bytes), GOLDEN);
        let frame = decode(&bytes, NodeId(1), NodeId(2)).unwrap();
        let health = Some(health);
        assert_eq!(frame, Frame { wall_ms: 0x0102, heard_ms: 3, health, messages });
    }

    const GOLDEN: &str = concat!(
        "020000000000000102000000000000000307ac020201030c01000000000000001005070406010805",
        "000000000464617461000000016302000000000000001005ac020609040201030000000000000010",
        "0506d2090400000000000000100507d2090500000000000000100508050604010600000000000000",
        "10050604010700000000000000100508050000000800000000000000100500000009000000000000",
        "00100563050000001e0100000000000000000200000000000000010000000000000002000000000a",
        "0000000000000010050b0000000000000010050c00000000000000100501d6e872ec",
    );

    #[test]
    fn what_may_not_travel_is_left_out() {
        let mut messages = one_of_each();
        messages.insert(0, raft(message(MessageType::MsgPropose), 0));
        messages.insert(3, raft(message(MessageType::MsgTransferLeader), 0));
        let whole = encode(0x0102, 3, None, &one_of_each());
        assert_eq!(encode(0x0102, 3, None, &messages), whole);
    }

    #[test]
    fn any_flip_and_any_cut_is_refused() {
        let bytes = encode(7, 0, None, &one_of_each());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped.into(), NodeId(1), NodeId(2)).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(decode(&bytes.slice(..cut), NodeId(1), NodeId(2)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn other_versions_kinds_and_counts_are_refused_by_name() {
        let check = |at: usize, value: u8, reason: &str| {
            let bytes = encode(7, 0, None, &[raft(message(MessageType::MsgTimeoutNow), 0)]);
            let mut changed = bytes[..bytes.len() - 4].to_vec();
            changed[at] = value;
            let crc = crc32c(&changed);
            changed.extend_from_slice(&crc.to_be_bytes());
            let error = decode(&changed.into(), NodeId(1), NodeId(2)).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        check(0, 1, "version 1");
        check(17, 8, "flags of a health: 8");
        check(18, 100, "100 messages do not fit");
        check(19, 77, "unknown message kind 77");
        check(28, 0, "without a term");
    }
}
