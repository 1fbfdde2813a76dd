//! The words of consensus: replica ids, terms, indexes, entries, the persisted hard state.
//!
//! Comes in: numbers and opaque payloads. Goes out: small copyable values that every other file
//! of this room, storage and the replica share. Invariant: index 0 and term 0 mean "before the
//! first entry"; a real entry has index >= 1 and term >= 1. Never interprets a payload.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::membership::Membership;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}", self.0)
            }
        }
    };
}

number! {
    /// The number of one replica in its cluster; never reused after removal.
    ReplicaId
}
number! {
    /// An election's number; at most one leader exists in a term. 0: no election yet.
    Term
}
number! {
    /// A position in the log, from 1; 0 lies before the first entry.
    Index
}
number! {
    /// The number of one [`Write`](crate::Write), from 1, in the order writes must reach the disk.
    WriteSequence
}
number! {
    /// The caller's own number for a pending read barrier; must be unique among pending ones.
    ReadId
}

impl Index {
    /// The position after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The position before this one; 0 stays 0.
    pub fn previous(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term after this one.
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

/// What an entry's payload means to consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// What a new leader appends first; carries nothing, is skipped by the state machine.
    Empty,
    /// Opaque bytes for the state machine.
    Command,
    /// The encoded [`Membership`] that takes effect when this entry commits.
    Membership,
}

/// One position of the replicated log.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position, at least 1.
    pub index: Index,
    /// Term of the leader that created it.
    pub term: Term,
    /// What the payload means.
    pub kind: EntryKind,
    /// Opaque bytes, shared from the receiving frame to the disk and to followers.
    pub payload: Arc<[u8]>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{} {:?} {}B", self.index, self.term, self.kind, self.payload.len())
    }
}

/// What a replica must never forget besides its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HardState {
    /// Newest term seen.
    pub term: Term,
    /// Whom this replica voted for in `term`.
    pub vote: Option<ReplicaId>,
}

/// Where a snapshot stands in the log, and the membership in effect there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMark {
    /// The last entry that the snapshot includes; 0 on a new cluster.
    pub index: Index,
    /// The term of that entry; 0 on a new cluster.
    pub term: Term,
    /// The membership in effect after that entry.
    pub membership: Membership,
}

/// What a replica finds on its disk when it starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// Newest persisted term and vote.
    pub hard_state: HardState,
    /// Newest snapshot; index 0 with the first membership on a new cluster.
    pub snapshot: SnapshotMark,
    /// The log: contiguous; may begin at or before `snapshot.index` (a kept tail), at the latest
    /// right after it.
    pub entries: Vec<Entry>,
    /// Acknowledged entries were lost to corruption: no votes, no candidacy and no reads until the
    /// log again holds everything up to the commit index of a leader that has committed in its term.
    pub refetching: bool,
}

/// What a replica currently is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A voter that follows, or looks for, a leader.
    Follower,
    /// Asks whether an election could be won, without raising its term.
    PreCandidate,
    /// Asks for votes in its term.
    Candidate,
    /// Leads its term.
    Leader,
    /// Not a voter of the membership in effect here: receives entries, never campaigns.
    Learner,
}
