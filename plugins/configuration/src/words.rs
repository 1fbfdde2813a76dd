//! What callers of a configuration send and get, and what a mount is given.
//!
//! Comes in: nothing. Goes out: types with their schemas. Invariant: what a configuration of the
//! mount that was [checked](Config::check) allows in one call fits into one run of a recipe.

use crate::definition::Definition;
use quorate_recipe::prelude::*;
use std::collections::BTreeSet;

/// Versions that one document may keep: removing them all is one run.
const HISTORY_MAX: u32 = 200;
/// Bytes of a document: reading it as JSON is within one run's fuel.
const DOCUMENT_BYTES_MAX: u32 = 64 << 10;
/// Bytes of a note or a member's name.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Members that a roll-out may name.
pub(crate) const MEMBERS_MAX: usize = 100;

/// What a mount may be given. It holds for every document of the mount.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Versions of a document that are kept, the present one included: 1 to 200.
    pub history_max: u32,
    /// Bytes of a document, at most 65536.
    pub document_bytes_max: u32,
    /// Callers that may wait for one document to change.
    pub watchers_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { history_max: 50, document_bytes_max: 64 << 10, watchers_max: 10_000 }
    }
}

impl Config {
    /// Refuses what a run could not keep.
    pub(crate) fn check(&self) -> Result<()> {
        if !(1..=HISTORY_MAX).contains(&self.history_max) {
            return Err(Failure::new("bad-config", "history_max is from 1 to 200"));
        }
        if !(1..=DOCUMENT_BYTES_MAX).contains(&self.document_bytes_max) {
            return Err(Failure::new("bad-config", "document_bytes_max is from 1 to 65536"));
        }
        Ok(())
    }
}

/// Which version to read.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The one that this member shall run; none: the current one.
    #[serde(default)]
    pub member: Option<String>,
    /// This one, whoever shall run it. Not together with `member`.
    #[serde(default)]
    pub version: Option<u64>,
}

/// One version of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Document {
    /// Its number: grows from version to version, also when the document was removed in between.
    pub version: u64,
    /// The text.
    pub document: String,
    /// When it was set: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
    /// Who set it.
    pub identity: String,
    /// What they said.
    pub note: String,
    /// What has become of it.
    pub fate: Fate,
}

/// How a version came about, and what has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Set for everybody.
    Set,
    /// The text of this older version, set for everybody again.
    RolledBackTo(u64),
    /// Being rolled out.
    Staged,
    /// Rolled out, then set for everybody.
    Promoted,
    /// Rolled out, then taken back.
    Aborted,
}

/// A version without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// Bytes of its text.
    pub bytes: u64,
    /// When it was set: milliseconds since 1970.
    pub since_ms: u64,
    /// Who set it.
    pub identity: String,
    /// What they said.
    pub note: String,
    /// What has become of it.
    pub fate: Fate,
}

/// A new version for everybody.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The text.
    pub document: String,
    /// Only if this is the current version; 0: only if there is none; none given: in any case.
    #[serde(default)]
    pub if_version: Option<u64>,
    /// Shown in the history, at most 256 bytes.
    #[serde(default)]
    pub note: String,
}

/// Which version to go back to.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// A version in the history.
    pub to: u64,
    /// Only if this is the current version; none: in any case.
    #[serde(default)]
    pub if_version: Option<u64>,
    /// Shown in the history, at most 256 bytes.
    #[serde(default)]
    pub note: String,
}

/// Which part of the history to read.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Only versions after this one; none: from the oldest kept.
    #[serde(default)]
    pub after: Option<u64>,
    /// Versions at most.
    #[serde(default = "history_count")]
    pub count: u32,
}

fn history_count() -> u32 {
    HISTORY_MAX
}

impl Default for History {
    fn default() -> Self {
        History { after: None, count: history_count() }
    }
}

/// A new version for some.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The text.
    pub document: String,
    /// Only if this is the current version; none: in any case.
    #[serde(default)]
    pub if_version: Option<u64>,
    /// How many of a hundred members run it; not given: 0.
    #[serde(default)]
    pub percentage: u8,
    /// These members run it, whatever the percentage.
    #[serde(default)]
    pub members: BTreeSet<String>,
    /// Shown in the history, at most 256 bytes.
    #[serde(default)]
    pub note: String,
}

/// Whom a roll-out reaches from now on.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Widen {
    /// The version being rolled out.
    pub version: u64,
    /// How many of a hundred members run it. Whoever runs it at a percentage does so at a greater.
    pub percentage: u8,
    /// These members run it, whatever the percentage; they replace those named before.
    #[serde(default)]
    pub members: BTreeSet<String>,
}

/// The end of a roll-out.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The version being rolled out.
    pub version: u64,
}

/// A version that some members shall run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct RollOut {
    /// Which.
    pub version: u64,
    /// How many of a hundred members run it.
    pub percentage: u8,
    /// Members that run it whatever the percentage.
    pub members: BTreeSet<String>,
    /// When it began: milliseconds since 1970.
    pub since_ms: u64,
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Status {
    /// The version for everybody; 0: there is no document.
    pub current: u64,
    /// The version being rolled out, if any.
    pub roll_out: Option<RollOut>,
    /// How many versions are kept.
    pub versions: u32,
}

/// What to wait for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct AwaitChange {
    /// The version that the caller has; 0: none.
    #[serde(default)]
    pub version: u64,
    /// The member that the caller is; none: it runs the current version.
    #[serde(default)]
    pub member: Option<String>,
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// There is another version to run. It is told without its text, so that telling ten thousand
/// members costs little: `get` reads it, from the nearest server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Change {
    /// Which; 0: the document was removed.
    pub version: u64,
}

/// What documents must look like from now on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Define {
    /// None: any text.
    #[serde(default)]
    pub definition: Option<Definition>,
}

/// Under which condition to remove.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// Only if this is the current version; none: in any case.
    #[serde(default)]
    pub if_version: Option<u64>,
}
