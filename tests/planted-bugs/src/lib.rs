//! Bugs planted on purpose: a test that never fails proves nothing, so the simulator must find
//! each of these.
//!
//! Comes in: the bug that a test chose. Goes out: whether the place that asks holds it. Invariant:
//! at most one bug is planted in a process, and none unless [`plant`] was called. Must never: be
//! compiled into a server that people use; the crates that hold the places depend on this one only
//! under their feature `planted-bugs`.
#![no_std]
#![forbid(unsafe_code)]

mod table;

pub use table::{PlantedBug, Room};

use core::sync::atomic::{AtomicU32, Ordering};

/// One more than the bug's place in the table; zero: none.
static PLANTED: AtomicU32 = AtomicU32::new(0);

/// Plants a bug in the whole process in place of any other, or takes it out.
pub fn plant(bug: Option<PlantedBug>) {
    PLANTED.store(bug.map_or(0, number), Ordering::Relaxed);
}

/// Whether the bug is planted.
#[must_use]
pub fn is_planted(bug: PlantedBug) -> bool {
    PLANTED.load(Ordering::Relaxed) == number(bug)
}

/// The bug that is planted.
#[must_use]
pub fn planted() -> Option<PlantedBug> {
    PlantedBug::ALL.iter().copied().find(|bug| is_planted(*bug))
}

const fn number(bug: PlantedBug) -> u32 {
    bug as u32 + 1
}
