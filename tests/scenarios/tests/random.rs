//! Storms: clusters of 3 and 5 replicas under random faults. `SEEDS=n` runs n seeds per size
//! instead of the usual number, `SEED=n` runs that one and
//! `TRACE=1` tells it step by step. A failure names its seed.

use std::env;
use std::panic;
use std::time::Instant;

use quorate_scenarios::storm::{self, Summary};

/// Virtual time with faults, per seed.
const STORM_MS: u64 = 4_000;
const SEEDS_USUAL: u64 = 300;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn run_seeds(voters: u64) {
    let run = if env::var("TRACE").is_ok() { storm::run_told } else { storm::run };
    let begun = Instant::now();
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS_USUAL),
    };
    let mut total = Summary::default();
    let mut failures = Vec::new();
    for seed in seeds.clone() {
        match panic::catch_unwind(|| run(seed, voters, STORM_MS)) {
            Ok(Ok(summary)) => total.add(&summary),
            Ok(Err(message)) => failures.push(format!("SEED={seed}: {message}")),
            Err(_) => failures.push(format!("SEED={seed}: panic, told above")),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{voters} voters, {} seeds, {seconds:.1} s: {total:?}", seeds.count());
    let shown = failures.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of the seeds fail:\n{shown}", failures.len());
}

#[test]
fn three_replicas_stay_safe_in_any_storm_and_recover_after_it() {
    run_seeds(3);
}

#[test]
fn five_replicas_stay_safe_in_any_storm_and_recover_after_it() {
    run_seeds(5);
}

#[test]
fn a_seed_is_a_whole_run() {
    for seed in [7, 8] {
        let digest = |outcome: Result<Summary, String>| outcome.map(|summary| summary.digest);
        let first = digest(storm::run(seed, 3, STORM_MS));
        assert_eq!(first, digest(storm::run(seed, 3, STORM_MS)), "seed {seed}");
    }
}
