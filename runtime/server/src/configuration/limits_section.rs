//! The rows of the table of limits that a user may set, each with the range it may have.
//!
//! Comes in: the `[limits]` section. Goes out: limits. Invariant: any combination that passes here
//! keeps the relations that `quorate_types::limits` asserts of its own values. Limits that frames
//! and messages are laid out by are not here: they are the same on every server.

use super::ConfigurationError;
use super::section::Section;
use quorate_types::limits::Limits;

macro_rules! configurable {
    ($( $name:ident: $low:literal ..= $high:literal; )*) => {
        /// Every name that `[limits]` may hold.
        const NAMES: &[&str] = &[$( stringify!($name), )*];

        fn read_rows(section: &Section<'_>, limits: &mut Limits) -> Result<(), ConfigurationError> {
            $( limits.$name =
                section.integer_u32(stringify!($name), $low..=$high, limits.$name)?; )*
            Ok(())
        }
    };
}

configurable! {
    znode_data_bytes_max: 1_024 ..= 1_048_575;
    multi_operations_max: 1 ..= 10_000;
    session_outstanding_max: 1 ..= 65_536;
    sessions_max: 1 ..= 10_000_000;
    connections_max: 1 ..= 1_000_000;
    connection_watches_max: 0 ..= 10_000_000;
    connection_backlog_frames_max: 64 ..= 1_048_576;
    history_events_max: 0 ..= 10_000_000;
    history_bytes_max: 0 ..= 15_728_640;
    proposals_outstanding_max: 16 ..= 1_048_576;
    children_reply_max: 16 ..= 1_000_000;
    components_max: 1 ..= 65_536;
    mounts_max: 1 ..= 1_000_000;
    recipe_memory_bytes_max: 1_048_576 ..= 268_435_456;
    recipe_changes_max: 1 ..= 10_000;
    recipe_tickets_max: 1 ..= 65_535;
    mount_faults_max: 1 ..= 1_000_000;
    log_bytes_behind_snapshot: 65_536 ..= 1_073_741_824;
    snapshot_log_bytes: 1_048_576 ..= 1_073_741_824;
    log_segment_bytes: 65_536 ..= 1_073_741_824;
}

/// Reads the section over `limits`.
pub(super) fn read(root: &Section<'_>, limits: &mut Limits) -> Result<(), ConfigurationError> {
    let mut known = NAMES.to_vec();
    known.extend(["recipe_fuel_max", "enforces_quotas"]);
    let Some(section) = root.section("limits", &known)? else { return Ok(()) };
    read_rows(&section, limits)?;
    if let Some(fuel) = section.integer("recipe_fuel_max", 100_000..=1_000_000_000)? {
        limits.recipe_fuel_max = fuel;
    }
    if let Some(enforces) = section.boolean("enforces_quotas")? {
        limits.enforces_quotas = enforces;
    }
    Ok(())
}
