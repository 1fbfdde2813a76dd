//! What the core wants done, drained once per batch of inputs with `take_output`.
//!
//! Comes in: what the other files queued. Goes out: one write, messages, what may be applied,
//! answered reads. Invariant: writes are numbered in the order they must reach the disk, and a
//! message that promises something leaves only after the write it rests on is durable. Never
//! repeats itself: each item is handed out once.

use alloc::vec::Vec;
use core::fmt;

use crate::message::Message;
use crate::types::{Entry, HardState, Index, ReadId, ReplicaId, SnapshotMark, Term, WriteSequence};

/// Everything that came of the inputs since the last drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// To be written after every earlier write; then call `durable(sequence)`.
    pub write: Option<Write>,
    /// May leave at once, beside the write.
    pub messages: Vec<(ReplicaId, Message)>,
    /// Entries up to here are committed and durable here: read them with `entries` before the next
    /// call that takes input, apply them, then call `applied`. `None`: nothing new.
    pub apply_to: Option<Index>,
    /// An install has become durable: swap the state machine now. Comes before `apply_to`.
    pub installed: Option<SnapshotMark>,
    /// Answered read barriers: read once the index is applied.
    pub reads: Vec<(ReadId, Result<Index, ReadRefusal>)>,
    /// Role, term or known leader changed.
    pub role_changed: bool,
    /// Leader: send this peer the newest snapshot, then call `snapshot_sent`.
    pub snapshot_wanted: Vec<ReplicaId>,
    /// Another membership is in effect here.
    pub membership_changed: bool,
}

/// One write to the log: all of it becomes durable, in this order of fields, or none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Number of the write.
    pub sequence: WriteSequence,
    /// New term and vote.
    pub hard_state: Option<HardState>,
    /// A snapshot replaces the whole log; its file is durable already.
    pub installed: Option<SnapshotMark>,
    /// Entries from this one on are dropped.
    pub truncate_from: Option<Index>,
    /// Appended after that; contiguous.
    pub entries: Vec<Entry>,
    /// The lost part of the log has been fetched again: clear the mark that says it is missing.
    pub refetched: bool,
}

/// Why a proposal, a membership change or a transfer was not begun. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeRefusal {
    /// This replica does not lead.
    NotLeader {
        /// Who does, if known.
        leader: Option<ReplicaId>,
    },
    /// This replica leads, but in another term than the proposal was made for.
    OtherTerm {
        /// The term it leads.
        term: Term,
    },
    /// A leader transfer is under way.
    Transferring {
        /// To whom.
        to: ReplicaId,
    },
    /// Too many bytes are uncommitted; try again later.
    Full,
    /// An earlier membership change is not finished, or nothing of the leader's own term has been
    /// committed yet; try again later.
    MembershipPending,
    /// The membership change makes no sense.
    Membership(crate::membership::MembershipError),
    /// The transfer's target is not another voter, or no voter is fit to be one.
    NoTransferTarget,
}

impl fmt::Display for ProposeRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProposeRefusal::NotLeader { leader: Some(id) } => write!(out, "replica {id} leads"),
            ProposeRefusal::NotLeader { leader: None } => write!(out, "no leader is known"),
            ProposeRefusal::OtherTerm { term } => write!(out, "the term is {term} by now"),
            ProposeRefusal::Transferring { to } => write!(out, "leadership is moving to {to}"),
            ProposeRefusal::Full => write!(out, "too many uncommitted bytes"),
            ProposeRefusal::MembershipPending => write!(out, "membership is not settled yet"),
            ProposeRefusal::Membership(error) => write!(out, "{error}"),
            ProposeRefusal::NoTransferTarget => write!(out, "no other voter can take over"),
        }
    }
}

impl core::error::Error for ProposeRefusal {}

/// Why a read barrier was not answered with an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRefusal {
    /// The replica asked does not lead any more.
    NotLeader,
    /// No leader answered in time.
    Expired,
    /// This replica lost a part of its log and is fetching it again.
    Refetching,
}

impl fmt::Display for ReadRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadRefusal::NotLeader => write!(out, "the replica asked does not lead"),
            ReadRefusal::Expired => write!(out, "no leader answered in time"),
            ReadRefusal::Refetching => write!(out, "this replica is fetching lost entries"),
        }
    }
}

impl core::error::Error for ReadRefusal {}

/// What a peer may not say. The caller closes the connection; nothing here changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The message claims to be from the receiver itself.
    FromSelf,
    /// A term or index is beyond 2^62, or an entry's index or term is 0.
    OutOfRange,
    /// Entries are not contiguous, or their terms fall, or exceed the message's.
    BrokenEntries,
    /// A membership entry does not decode.
    BrokenMembership,
    /// Two leaders in one term.
    SecondLeader,
    /// The append contradicts an entry that is committed.
    ContradictsCommitted,
    /// The peer acknowledges entries or read rounds that were never sent.
    AcknowledgesUnsent,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Violation::FromSelf => "message from the receiver itself",
            Violation::OutOfRange => "term or index out of range",
            Violation::BrokenEntries => "entries are not contiguous or their terms are wrong",
            Violation::BrokenMembership => "membership entry does not decode",
            Violation::SecondLeader => "second leader in one term",
            Violation::ContradictsCommitted => "append contradicts a committed entry",
            Violation::AcknowledgesUnsent => "acknowledges what was never sent",
        })
    }
}

impl core::error::Error for Violation {}
