//! The command behind `cargo xtask simulate`: many seeds, their figures, and the smallest failure.
//!
//! Comes in: the command line. Goes out: a line per failure with all that repeats it, figures, and
//! an exit status that tells the kind of the failure. Invariant: what a seed does depends on nothing
//! but the seed and the wishes; threads only share out the seeds.

use anyhow::{Context, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_simulator::executor::Recipes;
use quorate_simulator::fault::Fault;
use quorate_simulator::plan::{Plan, Wishes};
use quorate_simulator::repair::{DAMAGES_PER_CLUSTER, Tally, damage_cluster};
use quorate_simulator::run::{FailureKind, Report, keep_panics, run};
use quorate_simulator::shrink::shrink;
use quorate_simulator::totals::Totals;
use quorate_simulator::trials::{self, Trial};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Simulates whole clusters under faults; see tests/simulator/README.md.
///
/// Exit status: 0 clean, 1 wrong use, 10 crash, 11 correctness, 12 liveness, 13 nondeterminism.
#[derive(Parser)]
#[command(name = "cargo xtask simulate", arg_required_else_help = false)]
struct CommandLine {
    /// Run this seed alone, and say what it did. Example: --seed 42
    #[arg(long)]
    seed: Option<u64>,
    /// Run so many seeds, from `--first` on. Example: --seeds 2000
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long)]
    first: Option<u64>,
    /// Runs about this standard recipe, or `all` one after another: its own workload, and its promises.
    /// Example: --recipe queue
    #[arg(long)]
    recipe: Option<String>,
    /// Run seeds until so many hours of cluster life were simulated, and print a row of the ledger.
    #[arg(long)]
    hours: Option<f64>,
    /// Members of the cluster; drawn if not given.
    #[arg(long, value_parser = ["3", "5"])]
    replicas: Option<String>,
    /// Clients; drawn if not given.
    #[arg(long)]
    clients: Option<usize>,
    /// Clients of the ZooKeeper protocol besides; drawn if not given.
    #[arg(long)]
    zookeeper_clients: Option<usize>,
    /// Milliseconds of work under faults; drawn if not given.
    #[arg(long)]
    busy_ms: Option<u64>,
    /// Faults that must not happen, separated by commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// The only faults that may happen.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Run the first so many seeds twice and compare everything they did.
    #[arg(long, default_value_t = 10)]
    twice: u64,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Seeds run beside each other; as many as there are processors if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Where the components are.
    #[arg(long, default_value = "target/recipes")]
    recipes: PathBuf,
    /// Print the totals as JSON.
    #[arg(long)]
    json: bool,
    /// Run the seeds of this file too, one command line of this program in each line.
    #[arg(long)]
    regressions: Option<PathBuf>,
    /// Damage servers' files so many times, one damage after another, instead of running seeds: every
    /// server must come back as it was. Example: --repairs 50000
    #[arg(long)]
    repairs: Option<u64>,
    /// Plant this bug, or `all` one after another, and say how many seeds it takes to be found;
    /// `--seeds` is the most that are tried.
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    bug: Option<String>,
}

fn main() -> ExitCode {
    match simulate(&CommandLine::parse()) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(kind)) => ExitCode::from(exit_status(kind)),
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn exit_status(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Crash => 10,
        FailureKind::Correctness => 11,
        FailureKind::Liveness => 12,
        FailureKind::Nondeterminism => 13,
    }
}

fn faults(names: &[String]) -> anyhow::Result<BTreeSet<Fault>> {
    let mut found = BTreeSet::new();
    for name in names {
        let Some(fault) = Fault::from_name(name) else {
            let all: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
            bail!("there is no fault {name}; there are: {}", all.join(", "));
        };
        found.insert(fault);
    }
    Ok(found)
}

fn wishes(line: &CommandLine) -> anyhow::Result<Wishes> {
    Ok(Wishes {
        servers: line.replicas.as_ref().and_then(|text| text.parse().ok()),
        clients: line.clients,
        zookeeper_clients: line.zookeeper_clients,
        busy_ms: line.busy_ms,
        without: faults(&line.without)?,
        only: faults(&line.only)?,
        trial: None,
    })
}

fn simulate(line: &CommandLine) -> anyhow::Result<Option<FailureKind>> {
    let tried = tried(line)?;
    // Regressions may be about any of them.
    let all = line.regressions.is_some().then(|| trials::ALL.iter().copied().map(Some));
    let loaded = tried.iter().copied().chain(all.into_iter().flatten()).flatten();
    let names: BTreeSet<&'static str> = loaded.map(|trial| trial.name).collect();
    let recipes = Arc::new(Recipes::load_with(&line.recipes, names)?);
    keep_panics();
    let mut worst = None;
    for trial in tried {
        if let Some(trial) = trial {
            println!("recipe {}:", trial.name);
        }
        let wishes = Wishes { trial, ..wishes(line)? };
        worst = worst.or(simulate_one(line, wishes, Arc::clone(&recipes))?);
        if worst.is_some() && !line.keep_going {
            break;
        }
    }
    Ok(worst)
}

/// What the runs are about: `None` is the work of every day.
fn tried(line: &CommandLine) -> anyhow::Result<Vec<Option<&'static Trial>>> {
    Ok(match line.recipe.as_deref() {
        None => vec![None],
        Some("all") => trials::ALL.iter().copied().map(Some).collect(),
        Some(name) => vec![Some(trials::named(name)?)],
    })
}

fn simulate_one(
    line: &CommandLine,
    wishes: Wishes,
    recipes: Arc<Recipes>,
) -> anyhow::Result<Option<FailureKind>> {
    #[cfg(feature = "planted-bugs")]
    if let Some(bug) = &line.bug {
        return find_bugs(bug, line, &wishes, &recipes);
    }
    if let Some(damages) = line.repairs {
        return Ok(Repairs::new(line, damages, recipes).run_all());
    }
    if let Some(seed) = line.seed {
        return Ok(show_one(seed, &wishes, &recipes));
    }
    if let Some(file) = &line.regressions
        && let Some(kind) = run_regressions(file, &recipes)?
    {
        return Ok(Some(kind));
    }
    let many = Many::new(line, wishes, recipes);
    many.run_all();
    Ok(many.conclude(line))
}

/// Seeds that once failed.
fn run_regressions(file: &Path, recipes: &Arc<Recipes>) -> anyhow::Result<Option<FailureKind>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut worst = None;
    for row in text.lines() {
        let words = row.split('#').next().unwrap_or_default();
        if words.trim().is_empty() {
            continue;
        }
        let line =
            CommandLine::try_parse_from(["simulate"].into_iter().chain(words.split_whitespace()))
                .with_context(|| format!("{}: {row}", file.display()))?;
        let seed = line.seed.with_context(|| format!("{}: no --seed in: {row}", file.display()))?;
        let trial = tried(&line)?.into_iter().flatten().next();
        let wishes = Wishes { trial, ..wishes(&line)? };
        let report = run(&Plan::draw(seed, &wishes), recipes);
        println!("again {row}: {}", if report.failure.is_some() { "FAILS" } else { "holds" });
        print_failure(seed, &wishes, &report);
        worst = worst.or(report.failure.map(|failure| failure.kind));
    }
    Ok(worst)
}

/// Plants bugs and lets the checkers find them.
#[cfg(feature = "planted-bugs")]
fn find_bugs(
    name: &str,
    line: &CommandLine,
    wishes: &Wishes,
    recipes: &Arc<Recipes>,
) -> anyhow::Result<Option<FailureKind>> {
    use quorate_simulator::mutants::{bugs_named, find};
    let mut escaped = 0;
    let bugs = bugs_named(name)?;
    for bug in &bugs {
        let seeds = line.first.unwrap_or(1)..line.first.unwrap_or(1) + line.seeds;
        let found = find(*bug, seeds, wishes, recipes);
        escaped += usize::from(found.is_none());
        println!(
            "{:32} {}",
            bug.name(),
            found.map_or("NOT FOUND".into(), |found| found.to_string())
        );
    }
    println!("{} of {} planted bugs were found", bugs.len() - escaped, bugs.len());
    Ok((escaped > 0).then_some(FailureKind::Correctness))
}

/// One seed, with everything there is to say about it.
fn show_one(seed: u64, wishes: &Wishes, recipes: &Arc<Recipes>) -> Option<FailureKind> {
    let plan = Plan::draw(seed, wishes);
    println!("seed {seed}: {plan}");
    let report = run(&plan, recipes);
    let mut totals = Totals::default();
    totals.add(&report.figures);
    println!("{totals}");
    let again = run(&plan, recipes);
    if again.figures.sum != report.figures.sum {
        println!("the second run did something else: {:x}", again.figures.sum);
        return Some(FailureKind::Nondeterminism);
    }
    println!("the second run did the same: {:016x}", again.figures.sum);
    let failure = report.failure.clone()?;
    print_failure(seed, wishes, &report);
    let small = shrink(seed, wishes, failure.kind, recipes);
    println!("smallest that fails the same way: {}", small.command(seed));
    print_failure(seed, &small.wishes, &small.report);
    for text in &small.report.tail {
        println!("    {text}");
    }
    Some(failure.kind)
}

fn print_failure(seed: u64, wishes: &Wishes, report: &Report) {
    let Some(failure) = &report.failure else { return };
    let violation = &failure.violation;
    println!(
        "seed {seed} {:?} after {} ms, {}: {}",
        failure.kind, violation.at_ms, violation.checker, violation.text
    );
    println!("  plan: {}", Plan::draw(seed, wishes));
}

/// Many seeds, shared out among threads.
struct Many {
    wishes: Wishes,
    recipes: Arc<Recipes>,
    first: u64,
    seeds: u64,
    until_ms: u64,
    twice: u64,
    keep_going: bool,
    threads: usize,
    next: AtomicU64,
    simulated_ms: AtomicU64,
    stops: AtomicBool,
    totals: Mutex<Totals>,
    failures: Mutex<Vec<(u64, Report)>>,
    progress: ProgressBar,
    began: Instant,
}

impl Many {
    fn new(line: &CommandLine, wishes: Wishes, recipes: Arc<Recipes>) -> Many {
        let seeds = if line.hours.is_some() { u64::MAX } else { line.seeds };
        let until_ms = line.hours.map_or(u64::MAX, |hours| (hours * 3_600_000.0) as u64);
        let length = line.hours.map_or(line.seeds, |_| until_ms / 1_000);
        let progress = ProgressBar::new(length);
        let style = ProgressStyle::with_template("{elapsed} [{wide_bar}] {pos}/{len} {msg}");
        progress.set_style(style.expect("the template is proper"));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Many {
            wishes,
            recipes,
            first: line.first.unwrap_or(1),
            seeds,
            until_ms,
            twice: line.twice,
            keep_going: line.keep_going,
            threads: line.threads.unwrap_or(processors),
            next: AtomicU64::new(0),
            simulated_ms: AtomicU64::new(0),
            stops: AtomicBool::new(false),
            totals: Mutex::default(),
            failures: Mutex::default(),
            progress,
            began: Instant::now(),
        }
    }

    fn run_all(&self) {
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| while self.run_next() {});
            }
        });
        self.progress.finish_and_clear();
    }

    /// Runs the next seed; `false`: there is none.
    fn run_next(&self) -> bool {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        let simulated_ms = self.simulated_ms.load(Ordering::Relaxed);
        let done = place >= self.seeds || simulated_ms >= self.until_ms;
        if done || self.stops.load(Ordering::Relaxed) {
            return false;
        }
        let seed = self.first + place;
        let plan = Plan::draw(seed, &self.wishes);
        let mut report = run(&plan, &self.recipes);
        if place < self.twice && report.failure.is_none() {
            let again = run(&plan, &self.recipes);
            if again.figures.sum != report.figures.sum {
                report.fail_as_nondeterministic(again.figures.sum);
            }
        }
        self.count(seed, report);
        true
    }

    fn count(&self, seed: u64, report: Report) {
        let virtual_ms = report.figures.virtual_ms;
        let before_ms = self.simulated_ms.fetch_add(virtual_ms, Ordering::Relaxed);
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.add(&report.figures);
        if self.until_ms == u64::MAX {
            self.progress.inc(1);
        } else {
            self.progress.set_position((before_ms + virtual_ms) / 1_000);
        }
        self.progress.set_message(format!("{:.1} h simulated", totals.hours()));
        if report.failure.is_some() {
            if !self.keep_going {
                self.stops.store(true, Ordering::Relaxed);
            }
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).push((seed, report));
        }
    }

    fn conclude(&self, line: &CommandLine) -> Option<FailureKind> {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by_key(|(seed, _)| *seed);
        for (seed, report) in failures.iter() {
            print_failure(*seed, &self.wishes, report);
            let trial = self.wishes.trial.map(|trial| format!(" --recipe {}", trial.name));
            println!("  again: cargo xtask simulate --seed {seed}{}", trial.unwrap_or_default());
        }
        if line.json {
            println!("{}", totals.json(failures.len(), self.began.elapsed()));
        } else {
            println!("{totals}");
            let (seconds, hours) = (self.began.elapsed().as_secs_f64(), totals.hours());
            println!(
                "{hours:.1} cluster-hours in {seconds:.0} s on {} threads: {:.0} times real time",
                self.threads,
                hours * 3_600.0 / seconds
            );
        }
        if line.hours.is_some() {
            println!("{}", totals.ledger_row(self.first, failures.len()));
        }
        failures.first().and_then(|(_, report)| Some(report.failure.as_ref()?.kind))
    }
}

/// Damages to clusters, shared out among threads.
struct Repairs {
    recipes: Arc<Recipes>,
    first: u64,
    damages: u64,
    keep_going: bool,
    threads: usize,
    next: AtomicU64,
    stops: AtomicBool,
    tally: Mutex<Tally>,
    failures: Mutex<Vec<String>>,
    began: Instant,
}

impl Repairs {
    fn new(line: &CommandLine, damages: u64, recipes: Arc<Recipes>) -> Repairs {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Repairs {
            recipes,
            first: line.seed.or(line.first).unwrap_or(1),
            damages,
            keep_going: line.keep_going,
            threads: line.threads.unwrap_or(processors),
            next: AtomicU64::new(0),
            stops: AtomicBool::new(false),
            tally: Mutex::default(),
            failures: Mutex::default(),
            began: Instant::now(),
        }
    }

    fn run_all(&self) -> Option<FailureKind> {
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| while self.run_next() {});
            }
        });
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for failure in failures.iter() {
            println!("{failure}");
        }
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = self.began.elapsed().as_secs_f64();
        println!(
            "{tally}\n{seconds:.0} s on {} threads, {} failures",
            self.threads,
            failures.len()
        );
        (!failures.is_empty()).then_some(FailureKind::Correctness)
    }

    /// Damages the next cluster; `false`: there is none.
    fn run_next(&self) -> bool {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        let done = place * DAMAGES_PER_CLUSTER;
        if done >= self.damages || self.stops.load(Ordering::Relaxed) {
            return false;
        }
        let damages = (self.damages - done).min(DAMAGES_PER_CLUSTER);
        let (tally, ended) = damage_cluster(self.first + place, damages, &self.recipes);
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(&tally);
        if let Err(text) = ended {
            self.stops.fetch_or(!self.keep_going, Ordering::Relaxed);
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        true
    }
}
