//! Scenarios of recipes: scripts of calls with the trace they must leave, natively and in the servers.
//!
//! Comes in: `scenarios/*.txt` of a recipe's crate, and a [`Stage`], something that runs the recipe:
//! `quorate_recipe::testing` natively, `quorate-recipe-test` as the component on the real machine. Goes
//! out: what differs from the files. Invariant: a trace holds for every stage, line by line; nothing in
//! it is left out or made alike, because every stage numbers and times alike: the mount becomes
//! transaction [`MOUNT_ZXID`] at [`START_MS`], and from then on everything but a query takes the next
//! number. Must never: know how a stage runs anything.
//!
//! The commands are described in `sdk/recipe/README.md`.

pub mod json_cbor;
mod line;
mod scenario;
mod script;
mod stage;

pub use scenario::{Scenario, ScenarioError, check_file, scenarios_in};
pub use script::run_script;
pub use stage::{Answer, CallId, Happened, Refused, Stage, Znode};

/// Where every stage mounts the recipe.
pub const MOUNT_PATH: &str = "/mount";

/// The number of the transaction that the mount is; before it is room for what a stage needs to get
/// there.
pub const MOUNT_ZXID: u64 = 1_000;

/// When a scenario begins: milliseconds since 1970, in November 2023. Any moment will do.
pub const START_MS: u64 = 1_700_000_000_000;

/// What sessions ask for.
pub const SESSION_TIMEOUT_MS: u32 = 10_000;
