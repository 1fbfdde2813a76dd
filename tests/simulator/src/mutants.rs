//! Planted bugs: the simulator must find each of them, or it proves nothing.
//!
//! Comes in: a bug and seeds to try. Goes out: the first seed that fails with the bug planted, and who
//! noticed. Invariant: bugs are planted for the whole process, so seeds of one bug run beside each
//! other and bugs run one after another.

use crate::executor::Recipes;
use crate::plan::{Plan, Wishes};
use crate::run::{Failure, FailureKind, run};
use anyhow::bail;
use quorate_planted_bugs::{PlantedBug, plant};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a bug was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub seeds: u64,
    pub seed: u64,
    pub failure: Failure,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.failure.kind {
            FailureKind::Crash => "crash",
            FailureKind::Correctness => "correctness",
            FailureKind::Liveness => "liveness",
            FailureKind::Nondeterminism => "nondeterminism",
        };
        let violation = &self.failure.violation;
        let text: String = violation.text.chars().filter(|one| *one != '\n').take(90).collect();
        write!(f, "{:4} seeds  {kind:11} {:16} {text}", self.seeds, violation.checker)
    }
}

/// The bugs that a name stands for: one, or `all`.
///
/// # Errors
/// When there is none of the name.
pub fn bugs_named(name: &str) -> anyhow::Result<Vec<PlantedBug>> {
    if name == "all" {
        return Ok(PlantedBug::ALL.to_vec());
    }
    match PlantedBug::from_name(name) {
        Some(bug) => Ok(vec![bug]),
        None => {
            let all: Vec<&str> = PlantedBug::ALL.iter().map(|bug| bug.name()).collect();
            bail!("there is no planted bug {name}; there are: {}", all.join(", "))
        }
    }
}

/// Runs seeds with the bug planted until one fails.
#[must_use]
pub fn find(
    bug: PlantedBug,
    seeds: Range<u64>,
    wishes: &Wishes,
    recipes: &Arc<Recipes>,
) -> Option<Found> {
    plant(Some(bug));
    let next = AtomicU64::new(seeds.start);
    let done = AtomicBool::new(false);
    let found: Mutex<Option<Found>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run(&Plan::draw(seed, wishes), recipes);
                    if let Some(failure) = report.failure {
                        done.store(true, Ordering::Relaxed);
                        let seeds = seed - seeds.start + 1;
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        if found.as_ref().is_none_or(|known| seed < known.seed) {
                            *found = Some(Found { seeds, seed, failure });
                        }
                    }
                }
            });
        }
    });
    plant(None);
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
