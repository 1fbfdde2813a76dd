//! What callers send and get.
//!
//! Comes in and goes out: CBOR by the names of the fields. Invariant: arguments that are not known are
//! refused, so that a misspelt limit is not one that is missing. Must never: change the meaning of a
//! field; clients of other languages were built from these.

use quorate_recipe::prelude::*;

/// Who wants to lead, and what to tell others.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// The candidate's name, its own in this election; none: the number of the caller's session.
    #[serde(default)]
    pub name: Option<String>,
    /// Shown to all while the candidate leads: an address, say.
    #[serde(default)]
    pub value: Blob,
    /// Milliseconds to wait in line; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// You lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Term {
    /// Send it with everything you do as the leader, and let whoever it is done to refuse a smaller
    /// one than it has seen.
    pub term: u64,
}

/// What is to be shown from now on.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Proclaim {
    /// The term of the caller.
    pub term: u64,
    /// Takes the place of the value before.
    pub value: Blob,
}

/// A state of the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
}

/// Which term to end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Resign {
    /// The term of the caller.
    pub term: u64,
}

/// Which term to end, and who leads next.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The term of the caller.
    pub term: u64,
    /// The name of a candidate in line.
    pub to: String,
}

/// What the caller has seen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Observe {
    /// Answered once the revision is another one; none: at once.
    #[serde(default)]
    pub after: Option<u64>,
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// How the election stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Standing {
    /// The last change of the leader or of its value; 0: nobody leads.
    pub revision: u64,
    /// Who leads; none: nobody.
    pub leader: Option<Leader>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Leader {
    /// The candidate's name.
    pub name: String,
    /// Its session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
    /// The fencing token.
    pub term: u64,
    /// When it was told of last: the term, or a later proclamation.
    pub revision: u64,
    /// What it proclaims.
    pub value: Blob,
    /// When its term began: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
}

/// A part of the line.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Only those behind this place; none: from the first.
    #[serde(default)]
    pub after: Option<u64>,
    /// At most so many; none: 100, which is the most.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A candidate in line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Place {
    /// Grows along the line.
    pub place: u64,
    /// The candidate's name.
    pub name: String,
    /// Its session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
}
