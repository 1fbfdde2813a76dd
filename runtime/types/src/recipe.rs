//! What is known of recipes: descriptors, limits of a mount, the catalogue as clients see it.
//!
//! Data only. A descriptor is what a component says of itself through `describe`; the servers
//! check it once, at install.

use crate::id::{ComponentDigest, Zxid};
use crate::path::ZnodePath;
use crate::request::Outcome;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Whether an operation may change state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// May change state: runs on the leader, its effects go through the log.
    Command,
    /// Reads only: runs on the server asked, without a log entry.
    Query,
}

/// One operation of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationDescriptor {
    /// Its name, in kebab case.
    pub name: String,
    /// Command or query.
    pub kind: OperationKind,
    /// JSON description of the arguments; empty when not given.
    pub arguments_schema: String,
    /// JSON description of the reply; empty when not given.
    pub reply_schema: String,
    /// The author's words.
    pub doc: String,
}

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeDescriptor {
    /// The recipe's name: lower-case letters, digits and dashes.
    pub name: String,
    /// Its version, `major.minor.patch`.
    pub version: String,
    /// Version of the layout of its state; `migrate` bridges two of them.
    pub state_version: u32,
    /// JSON description of the mount's configuration; empty when not given.
    pub config_schema: String,
    /// The author's words.
    pub doc: String,
    /// Every operation.
    pub operations: Vec<OperationDescriptor>,
}

impl RecipeDescriptor {
    /// The operation with this name.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&OperationDescriptor> {
        self.operations.iter().find(|operation| operation.name == name)
    }
}

/// Limits of the calls of one mount. Each is at most its row in [`crate::limits::Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeLimits {
    /// Fuel of one call.
    pub fuel: u64,
    /// Bytes of linear memory.
    pub memory_bytes: u32,
    /// Changes of one call.
    pub changes: u32,
    /// Bytes written by one call.
    pub written_bytes: u32,
    /// Bytes returned by the reads of one call.
    pub read_bytes: u32,
    /// Bytes of the reply.
    pub reply_bytes: u32,
    /// Bytes of log text.
    pub log_bytes: u32,
    /// Tickets parked or completed by one call.
    pub tickets: u32,
}

/// One installed component as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRecipe {
    /// Digest of the component.
    pub digest: ComponentDigest,
    /// Bytes of the component.
    pub bytes: u32,
    /// The transaction that installed it.
    pub installed: Zxid,
    /// Whether the server asked has compiled it.
    pub ready: bool,
    /// What it says of itself.
    pub descriptor: RecipeDescriptor,
}

/// What a version on trial has done beside the one that governs a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// The component that governs.
    pub before: ComponentDigest,
    /// The one on trial.
    pub after: ComponentDigest,
    /// Calls that are to be compared.
    pub wanted: u32,
    /// Calls compared so far.
    pub compared: u32,
    /// Those of them in which both did the same.
    pub equal: u32,
    /// Fuel that the component that governs used for the calls compared.
    pub fuel_before: u64,
    /// Fuel that the one on trial used for them.
    pub fuel_after: u64,
    /// The first calls in which they did not do the same.
    pub differences: Vec<ShadowDifference>,
}

impl ShadowReport {
    /// Nothing is compared yet.
    #[must_use]
    pub fn new(before: ComponentDigest, after: ComponentDigest, wanted: u32) -> ShadowReport {
        ShadowReport {
            before,
            after,
            wanted,
            compared: 0,
            equal: 0,
            fuel_before: 0,
            fuel_after: 0,
            differences: Vec::new(),
        }
    }
}

/// A call in which two versions did not do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowDifference {
    /// The transaction that the call was to become.
    pub zxid: Zxid,
    /// Relative to the mount.
    pub object: String,
    /// Which operation.
    pub operation: String,
    /// What the component that governs did.
    pub before: ShadowRun,
    /// What the one on trial would have done.
    pub after: ShadowRun,
}

/// What one version did, or would have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowRun {
    /// What the caller was told, or would have been.
    pub outcome: Outcome,
    /// What was changed, or would have been, a line each, for a person.
    pub changes: Vec<String>,
}

/// What the runs of one operation of a mount have cost on one server, since its process began. What
/// was run only to be compared does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationFigures {
    /// The operation; in parentheses: an event, or the migration.
    pub operation: String,
    /// Runs of every outcome.
    pub runs: u64,
    /// Those in which the recipe refused.
    pub refused: u64,
    /// Those that parked their caller.
    pub parked: u64,
    /// Those that trapped or passed a limit.
    pub faults: u64,
    /// Fuel of all runs.
    pub fuel: u64,
    /// Fuel of the run that took most.
    pub fuel_max: u64,
    /// Time of all runs.
    pub nanoseconds: u64,
    /// Time of the run that took longest.
    pub nanoseconds_max: u64,
}

impl OperationFigures {
    /// No run yet.
    #[must_use]
    pub fn new(operation: String) -> OperationFigures {
        OperationFigures { operation, ..OperationFigures::default() }
    }
}

/// One mount as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedRecipe {
    /// The subtree it governs.
    pub path: ZnodePath,
    /// Name of the recipe.
    pub recipe: String,
    /// Version of the recipe.
    pub version: String,
    /// Digest of the component.
    pub digest: ComponentDigest,
    /// What the recipe was given: CBOR; empty for its defaults, and for those who may not change it.
    pub config: Bytes,
    /// Whether plain writes below the mount are allowed.
    pub open: bool,
    /// Fuel of one call; `None`: the cluster's limit.
    pub fuel: Option<u64>,
    /// Why calls are refused, if they are.
    pub suspended: Option<String>,
    /// Traps since the last call that went well; 0 unless the server asked leads.
    pub faults: u32,
    /// Calls that wait.
    pub tickets: u64,
    /// What its runs have cost on the server asked.
    pub figures: Vec<OperationFigures>,
}
