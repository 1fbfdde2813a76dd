//! How a run refuses: a code for programs, a message for people, details for both.
//!
//! Comes in: the recipe's own refusals and those of the tree. Goes out: what the caller is told.
//! Invariant: a run that ends in a [`Failure`] has changed nothing.

use crate::codec;
use serde::Serialize;
use std::fmt;

/// What operations and event handlers give back.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A refusal. The caller sees all of it; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs: kebab case, part of the recipe's promise.
    pub code: String,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// For programs: CBOR, or empty.
    pub detail: Vec<u8>,
}

impl Failure {
    /// A refusal without details.
    pub fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure { code: code.into(), message: message.into(), detail: Vec::new() }
    }

    /// Adds details. A value that has no CBOR form adds none.
    #[must_use]
    pub fn with_detail(mut self, detail: &impl Serialize) -> Failure {
        self.detail = codec::encode(detail).unwrap_or_default();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

/// Why the tree refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// There is no such znode, or its parent is missing.
    NoNode,
    /// The znode is there already.
    NodeExists,
    /// It has children.
    NotEmpty,
    /// It has this version, not the one expected.
    BadVersion(i32),
    /// The path is not allowed.
    BadPath,
    /// The owner given is no live session.
    NoSession,
    /// The parent is ephemeral.
    NoChildrenForEphemerals,
    /// A query tried to change something.
    ReadOnly,
    /// A reason that came after this version of the contract.
    Other(String),
}

impl TreeError {
    /// Its code, the same that clients see for plain requests.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            TreeError::NoNode => "no-node",
            TreeError::NodeExists => "node-exists",
            TreeError::NotEmpty => "not-empty",
            TreeError::BadVersion(_) => "bad-version",
            TreeError::BadPath => "bad-path",
            TreeError::NoSession => "no-session",
            TreeError::NoChildrenForEphemerals => "no-children-for-ephemerals",
            TreeError::ReadOnly => "read-only",
            TreeError::Other(code) => code,
        }
    }

    /// The refusal to pass on, naming the znode.
    #[must_use]
    pub fn at(self, path: &str) -> Failure {
        let message = match &self {
            TreeError::BadVersion(version) => format!("znode {path:?} has version {version}"),
            other => format!("znode {path:?}: {}", other.code()),
        };
        Failure::new(self.code(), message)
    }
}
