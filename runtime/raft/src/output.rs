//! What the core wants done, drained once per batch of inputs with `take_output`.
//!
//! Comes in: what the other files queued. Goes out: one write, messages, what may be applied,
//! answered reads. Invariant: writes are numbered in the order they must reach the disk, and a
//! message that promises something leaves only after the write it rests on is durable. Never
//! repeats itself: each item is handed out once.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use crate::message::Message;
use crate::raft::Raft;
use crate::types::{Entry, HardState, Index, ReadId, ReplicaId, SnapshotMark, Term, WriteSequence};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};

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

/// What is queued for the next drain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    messages: Vec<(ReplicaId, Message)>,
    held: Vec<Held>,
    hard_state_dirty: bool,
    /// The write that carries the present hard state, once handed out.
    hard_state_sequence: WriteSequence,
    pub(crate) refetched: bool,
    pub(crate) installed: Option<SnapshotMark>,
    pub(crate) reads: Vec<(ReadId, Result<Index, ReadRefusal>)>,
    pub(crate) role_changed: bool,
    pub(crate) snapshot_wanted: BTreeSet<ReplicaId>,
    pub(crate) membership_changed: bool,
}

impl Outbox {
    pub(crate) fn hard_state_changed(&mut self) {
        self.hard_state_dirty = true;
    }
}

/// A promise that waits for the write it rests on.
#[derive(Clone, Debug)]
struct Held {
    after: WriteSequence,
    promise: Promise,
}

#[derive(Clone, Debug)]
enum Promise {
    Send(ReplicaId, Message),
    OwnVote,
}

impl Raft {
    /// Queues a message that promises nothing.
    pub(crate) fn send(&mut self, to: ReplicaId, message: Message) {
        self.outbox.messages.push((to, message));
    }

    /// The write that makes the present term and vote durable.
    fn hard_state_covered_by(&self) -> WriteSequence {
        if self.outbox.hard_state_dirty {
            self.log.next_sequence()
        } else {
            self.outbox.hard_state_sequence
        }
    }

    /// Queues a message that rests on the present term and vote, and on the log up to `index`.
    pub(crate) fn send_once_durable(&mut self, to: ReplicaId, message: Message, index: Index) {
        let after = self.hard_state_covered_by().max(self.log.sequence_covering(index));
        self.hold(after, Promise::Send(to, message));
    }

    /// Counts this replica's vote for itself once it is durable.
    pub(crate) fn vote_for_itself_once_durable(&mut self) {
        let after = self.hard_state_covered_by();
        self.hold(after, Promise::OwnVote);
    }

    fn hold(&mut self, after: WriteSequence, promise: Promise) {
        match promise {
            Promise::Send(to, message) if after <= self.log.durable_sequence() => {
                self.send(to, message);
            }
            promise => self.outbox.held.push(Held { after, promise }),
        }
    }

    /// Forgets promises of an older term: nobody needs them any more.
    pub(crate) fn drop_held(&mut self) {
        self.outbox.held.clear();
    }

    /// Releases what rested on writes that are durable by now.
    pub(crate) fn release_held(&mut self) {
        let durable = self.log.durable_sequence();
        let all = core::mem::take(&mut self.outbox.held);
        let (released, waiting) = all.into_iter().partition(|held| held.after <= durable);
        self.outbox.held = waiting;
        let released: Vec<Held> = released;
        for held in released {
            match held.promise {
                Promise::Send(to, message) => self.send(to, message),
                Promise::OwnVote => self.count_own_vote(),
            }
        }
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        assert!(hard_state.term >= self.hard_state.term, "term goes back");
        if hard_state != self.hard_state {
            self.hard_state = hard_state;
            self.outbox.hard_state_changed();
        }
    }

    /// Drains everything that came of the inputs so far. Appends and read rounds are made here, so
    /// that one drain per batch of inputs makes one message per peer of them.
    pub fn take_output(&mut self) -> Output {
        self.start_reads();
        self.feed_all();
        let write = self.next_write();
        let apply_to = self.next_apply();
        Output {
            write,
            messages: core::mem::take(&mut self.outbox.messages),
            apply_to,
            installed: self.outbox.installed.take(),
            reads: core::mem::take(&mut self.outbox.reads),
            role_changed: core::mem::take(&mut self.outbox.role_changed),
            snapshot_wanted: core::mem::take(&mut self.outbox.snapshot_wanted)
                .into_iter()
                .collect(),
            membership_changed: core::mem::take(&mut self.outbox.membership_changed),
        }
    }

    fn next_write(&mut self) -> Option<Write> {
        let dirty = self.outbox.hard_state_dirty;
        if !(dirty || self.outbox.refetched || self.log.has_unwritten()) {
            return None;
        }
        let sequence = self.log.next_sequence();
        let change = self.log.begin_write();
        if dirty {
            self.outbox.hard_state_dirty = false;
            self.outbox.hard_state_sequence = sequence;
        }
        let hard_state = dirty.then_some(self.hard_state);
        #[cfg(feature = "planted-bugs")]
        let hard_state = if is_planted(PlantedBug::VoteNotWritten) {
            hard_state.map(|known| HardState { vote: None, ..known })
        } else {
            hard_state
        };
        Some(Write {
            sequence,
            hard_state,
            installed: change.installed,
            truncate_from: change.truncate_from,
            entries: change.entries,
            refetched: core::mem::take(&mut self.outbox.refetched),
        })
    }

    fn next_apply(&mut self) -> Option<Index> {
        let ready = self.committed.min(self.log.durable_index());
        if self.log.is_installing() || ready <= self.apply_told {
            return None;
        }
        self.apply_told = ready;
        Some(ready)
    }
}
