//! What callers of a configuration send and get.
//!
//! Comes in: nothing. Goes out: types that are CBOR as the recipe's are. Must never: share them with
//! the recipe, whose mistakes would be theirs.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) history_max: usize,
    pub(super) document_bytes_max: usize,
    pub(super) watchers_max: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Get {
    pub(super) member: Option<String>,
    pub(super) version: Option<u64>,
}

/// A version with its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Text {
    pub(super) version: u64,
    pub(super) document: String,
    pub(super) since_ms: u64,
    pub(super) identity: String,
    pub(super) note: String,
    pub(super) fate: Fate,
}

impl Text {
    /// What the history shows of it.
    pub(super) fn facts(&self) -> Version {
        let Text { version, document, since_ms, identity, note, fate } = self.clone();
        Version { version, bytes: document.len() as u64, since_ms, identity, note, fate }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fate {
    Set,
    RolledBackTo(u64),
    Staged,
    Promoted,
    Aborted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) version: u64,
    pub(super) bytes: u64,
    pub(super) since_ms: u64,
    pub(super) identity: String,
    pub(super) note: String,
    pub(super) fate: Fate,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Set {
    pub(super) document: String,
    pub(super) if_version: Option<u64>,
    pub(super) note: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Rollback {
    pub(super) to: u64,
    pub(super) if_version: Option<u64>,
    pub(super) note: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct History {
    pub(super) after: Option<u64>,
    pub(super) count: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stage {
    pub(super) document: String,
    pub(super) if_version: Option<u64>,
    pub(super) percentage: u8,
    pub(super) members: BTreeSet<String>,
    pub(super) note: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Widen {
    pub(super) version: u64,
    pub(super) percentage: u8,
    pub(super) members: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub(super) version: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RollOut {
    pub(super) version: u64,
    pub(super) percentage: u8,
    pub(super) members: BTreeSet<String>,
    pub(super) since_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) current: u64,
    pub(super) roll_out: Option<RollOut>,
    pub(super) versions: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AwaitChange {
    pub(super) version: u64,
    pub(super) member: Option<String>,
    pub(super) wait_ms: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) version: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Define {
    pub(super) definition: Option<Definition>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Field {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) required: bool,
}

impl Definition {
    /// Whether it is one at all: paths begin with a slash.
    pub(super) fn is_proper(&self) -> bool {
        self.fields.iter().all(|field| field.path.starts_with('/'))
    }

    /// Whether a text fits, of those that the trial sets: members with an integer, a string or both,
    /// or no JSON. Definitions here ask for integers.
    pub(super) fn fits(&self, text: &str) -> bool {
        text.starts_with('{')
            && self.fields.iter().all(|field| {
                let member = format!("\"{}\": ", field.path.trim_start_matches('/'));
                match text.split_once(&member) {
                    Some((_, value)) => value.starts_with(|first: char| first.is_ascii_digit()),
                    None => !field.required,
                }
            })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Remove {
    pub(super) if_version: Option<u64>,
}
