//! Parked calls, typed by the reply their callers wait for.
//!
//! Comes in: ticket numbers from the server. Goes out: the same numbers, stored in znodes.
//! Invariant: numbers are unique for ever and sort by arrival, and so do their keys.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// Number of a parked call whose reply type is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TicketId(pub u64);

impl TicketId {
    /// The number as a znode name: as long for every ticket, so that names sort by arrival.
    #[must_use]
    pub fn key(self) -> String {
        format!("{:020}", self.0)
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A parked call whose caller waits for an `R`. Stored in a znode as a number.
pub struct Ticket<R> {
    id: TicketId,
    reply: PhantomData<fn() -> R>,
}

impl<R> Ticket<R> {
    /// The ticket with this number. The caller vouches for the type.
    #[must_use]
    pub fn from_id(id: TicketId) -> Ticket<R> {
        Ticket { id, reply: PhantomData }
    }

    /// Its number.
    #[must_use]
    pub fn id(self) -> TicketId {
        self.id
    }

    /// As [`TicketId::key`].
    #[must_use]
    pub fn key(self) -> String {
        self.id.key()
    }
}

impl<R> Clone for Ticket<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Ticket<R> {}

impl<R> PartialEq for Ticket<R> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<R> Eq for Ticket<R> {}

impl<R> fmt::Debug for Ticket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.id)
    }
}

impl<R> Serialize for Ticket<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

impl<'de, R> Deserialize<'de> for Ticket<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TicketId::deserialize(deserializer).map(Ticket::from_id)
    }
}

/// What a command that may park answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<R> {
    /// Now.
    Done(R),
    /// Later, by [`crate::Run::complete`].
    Parked(Ticket<R>),
}

impl<R> From<R> for Reply<R> {
    fn from(reply: R) -> Self {
        Reply::Done(reply)
    }
}
