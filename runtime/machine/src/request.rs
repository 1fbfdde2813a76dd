//! What the leader is asked to turn into a transaction, and what becomes of it.
//!
//! Comes in: requests that passed admission, with the stamp of the log entry they may become.
//! Goes out: a transaction to propose, or an answer that needs none. Data only.

use crate::transaction::Transaction;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_types::{
    Incarnation, MemberAddress, Operation, Outcome, Refusal, ServerId, SessionId, TicketId,
    ZnodePath, Zxid,
};

/// Who a connection proved to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name in its certificate, or what the door calls a client without one. Matches ACL
    /// entries of scheme `x509`.
    pub name: String,
    /// Further proofs as (scheme, id), such as `("ip", "10.0.0.7")`; they match ACL entries
    /// literally.
    pub proofs: Vec<(String, String)>,
}

impl Identity {
    /// An identity with no further proofs.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Identity {
        Identity { name: name.into(), proofs: Vec::new() }
    }
}

/// The log entry that a request may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its number: above everything prepared or applied before.
    pub zxid: Zxid,
    /// Milliseconds since 1970 by the leader's clock. Raised to the newest stamp if below it.
    pub time_ms: u64,
}

/// A connection that waits for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionOrigin {
    /// The server that holds it.
    pub server: ServerId,
    /// Its number there.
    pub connection: u64,
}

/// One recipe call.
#[derive(Clone, Copy, Debug)]
pub struct RecipeCall<'a> {
    /// One name below a mount, or the mount itself.
    pub object: &'a ZnodePath,
    /// Name of the operation.
    pub operation: &'a str,
    /// CBOR.
    pub arguments: &'a [u8],
    /// The caller's session.
    pub session: SessionId,
    /// Who the caller is.
    pub identity: &'a Identity,
}

/// What the leader can turn into a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A client's write.
    Client {
        /// Its session.
        session: SessionId,
        /// The zxid of the attach (or opening) that its connection got.
        epoch: Zxid,
        /// Number of the request within the session; a repeat is never done twice.
        sequence: u64,
        /// Every reply below this number has reached the client.
        oldest_unreplied: u64,
        /// Replies above it that have reached the client too.
        acknowledged: Vec<u64>,
        /// Who asks.
        identity: Identity,
        /// What for. Must be a write.
        operation: Operation,
    },
    /// Open a session for a connection.
    OpenSession {
        /// The connection.
        origin: ConnectionOrigin,
        /// Drawn at random by the server that holds the connection.
        password: [u8; 16],
        /// Wanted; clamped to the limits.
        timeout_ms: u32,
        /// Who asks.
        identity: Identity,
    },
    /// Take a session over to a connection.
    AttachSession {
        /// The connection.
        origin: ConnectionOrigin,
        /// Which session.
        session: SessionId,
        /// What the opening answered.
        password: [u8; 16],
        /// Who asks; must be the session's.
        identity: Identity,
    },
    /// End a session that was not heard from.
    ExpireSession {
        /// Which.
        session: SessionId,
    },
    /// Fire timers, ticket deadlines, TTLs and empty containers due at the stamp: a bounded
    /// number of them.
    FireDue,
    /// Remember a member's incarnation.
    RecordMember {
        /// The member.
        server: ServerId,
        /// What its disk says.
        incarnation: Incarnation,
    },
    /// Put the voters of the first membership on record that are not.
    RecordVoters {
        /// Where each is reached.
        voters: BTreeMap<ServerId, MemberAddress>,
    },
    /// End the change of the membership that is under way, and answer whose request it was.
    EndMembership {
        /// Done, or why nothing was changed.
        outcome: Result<(), Refusal>,
    },
}

/// What became of a request on the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// To be proposed under the stamp given, and only in the present term.
    Transaction(Transaction),
    /// No log entry: a refusal for now or of the session itself, or the kept reply of a repeated
    /// request; every other refusal is a transaction that changes nothing. The caller holds it until
    /// [`crate::Outstanding::tip`] is committed, for it may rest on outstanding changes.
    Answer(Outcome),
    /// A repeated call that is parked: its reply comes later under the same sequence.
    AlreadyParked(TicketId),
    /// Nothing to do.
    Nothing,
}
