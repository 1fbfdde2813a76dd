//! Consensus: an own Raft as one object without clock, disk, network or randomness of its own.
//!
//! Comes in: ticks, peers' messages, proposals, reads, and reports that writes became durable and
//! entries were applied. Goes out: [`Output`], drained after each batch of inputs. Invariant: what
//! a replica promises (a vote, an acknowledgement) rests on a durable write; what is committed
//! stays. Illegal input from peers is refused as a [`Violation`]; broken internal invariants panic.
//! Never interprets a payload.
//!
//! # How to drive it
//!
//! ```text
//! loop {
//!     raft.tick(now) | raft.receive(now, from, message) | raft.propose(..) | raft.durable(..) ..
//!     let output = raft.take_output();
//!     queue output.write for the disk;        // in order; report with raft.durable(sequence)
//!     send output.messages;                   // beside the write
//!     if output.installed  { swap the state machine; }
//!     if output.apply_to   { apply raft.entries(..); raft.applied(index); }
//!     answer output.reads once their index is applied;
//! }
//! ```
//!
//! Times are milliseconds of one monotonic clock, given with each input; `next_deadline_ms` says
//! when the next `tick` has something to do.
//!
//! # Rules worth knowing
//!
//! - The leader replicates beside its own disk write; its own copy counts for commit only once
//!   durable.
//! - Votes, requests for votes and append acknowledgements wait inside until the write they rest on
//!   is durable; the write may be overtaken by a truncation, and then attests only what still stands.
//! - A membership takes effect when its entry commits. A new one is proposed only when the one
//!   before is committed, so a log that holds a membership entry proves all earlier ones committed.
//! - Each leader numbers its replication sessions with a peer; replies echo the number and name the
//!   peer's run (`life`), so a peer that restarted, with or without its log, starts from nothing.
//! - Reads are answered in rounds of heartbeats whose numbers are never reused within a term. What
//!   answers a message of an older term names no session and no round: it counts for nothing else.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod election;
mod log;
mod membership;
mod membership_change;
mod message;
mod output;
mod progress;
mod quorum;
mod raft;
mod read_index;
mod replication;
mod settings;
mod transfer;
mod types;

pub use membership::{Membership, MembershipChange, MembershipError, MembershipStep};
pub use message::{
    Append, AppendOutcome, AppendReply, Heartbeat, HeartbeatReply, Message, PreVote, PreVoteReply,
    ReadIndex, ReadIndexReply, TimeoutNow, Vote, VoteReply,
};
pub use output::{Output, ProposeRefusal, ReadRefusal, Violation, Write};
pub use progress::{PeerStatus, ReplicationState};
pub use raft::Raft;
pub use settings::Settings;
pub use types::{
    Entry, EntryKind, HardState, Index, ReadId, ReplicaId, Role, SnapshotMark, Start, Term,
    WriteSequence,
};
