//! Planted bugs: the simulator must find each of them, or it proves nothing.
//!
//! Comes in: a bug and seeds to try. Goes out: the first seed that fails with the bug planted, and who
//! noticed; for a bug of consensus, perhaps the storm or script of `tests/scenarios` that did. Invariant: bugs are planted for the whole process, so seeds of one bug run beside each
//! other and bugs run one after another.

use crate::executor::Recipes;
use crate::plan::{Plan, Wishes};
use crate::run::{Failure, FailureKind, run};
use anyhow::bail;
use quorate_planted_bugs::{PlantedBug, Room, plant};
use quorate_scenarios::commands::Script;
use quorate_scenarios::{script, storm};
use std::fmt;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Storms of consensus alone that are tried for one bug, and how long each is in virtual time.
const STORMS_MAX: u64 = 600;
const STORM_MS: u64 = 4_000;

/// How a bug was found.
#[derive(Clone, Debug)]
pub enum Found {
    /// Whole clusters misbehaved, at the last of so many seeds.
    Simulated { seeds: u64, seed: u64, failure: Failure },
    /// Consensus alone misbehaved in a storm, at the last of so many seeds.
    InStorm { seeds: u64, text: String },
    /// Consensus alone did something else in a script.
    InScript { name: String },
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Simulated { seeds, failure, .. } => {
                let kind = match failure.kind {
                    FailureKind::Crash => "crash",
                    FailureKind::Correctness => "correctness",
                    FailureKind::Liveness => "liveness",
                    FailureKind::Nondeterminism => "nondeterminism",
                };
                let (checker, text) = (failure.violation.checker, &failure.violation.text);
                write!(f, "{seeds:4} seeds  {kind:11} {checker:16} {}", one_line(text))
            }
            Found::InStorm { seeds, text } => {
                write!(f, "{seeds:4} storms {:28} {}", "of consensus alone", one_line(text))
            }
            Found::InScript { name } => {
                write!(f, "        script {:28} {name}", "of consensus alone")
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|one| *one != '\n').take(90).collect()
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

/// Looks for the bug in simulations, and one of consensus that is not found there in consensus
/// alone, where its rare interleavings come up far more often.
#[must_use]
pub fn find(
    bug: PlantedBug,
    seeds: Range<u64>,
    wishes: &Wishes,
    recipes: &Arc<Recipes>,
) -> Option<Found> {
    let found = simulate(bug, seeds, wishes, recipes);
    if found.is_some() || bug.room() != Room::Raft {
        return found;
    }
    plant(Some(bug));
    let found = find_in_storm().or_else(find_in_script);
    plant(None);
    found
}

fn find_in_storm() -> Option<Found> {
    for seed in 0..STORMS_MAX {
        let voters = if seed % 2 == 0 { 3 } else { 5 };
        let ended = catch_unwind(|| storm::run(seed, voters, STORM_MS));
        let text = match ended {
            Ok(Ok(_)) => continue,
            Ok(Err(text)) => text,
            Err(_) => String::from("a server panicked"),
        };
        return Some(Found::InStorm { seeds: seed + 1, text });
    }
    None
}

fn find_in_script() -> Option<Found> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/raft");
    script::scripts_in(&folder).into_iter().find_map(|path| {
        let ended = catch_unwind(|| {
            let mut cluster = Script::default();
            script::run_file(&path, &mut |command| cluster.run(command)).is_empty()
        });
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (!matches!(ended, Ok(true))).then_some(Found::InScript { name })
    })
}

/// Runs seeds with the bug planted until one fails.
fn simulate(
    bug: PlantedBug,
    seeds: Range<u64>,
    wishes: &Wishes,
    recipes: &Arc<Recipes>,
) -> Option<Found> {
    plant(Some(bug));
    let next = AtomicU64::new(seeds.start);
    let done = AtomicBool::new(false);
    let found: Mutex<Option<(u64, u64, Failure)>> = Mutex::default();
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
                        if found.as_ref().is_none_or(|(_, known, _)| seed < *known) {
                            *found = Some((seeds, seed, failure));
                        }
                    }
                }
            });
        }
    });
    plant(None);
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.map(|(seeds, seed, failure)| Found::Simulated { seeds, seed, failure })
}
