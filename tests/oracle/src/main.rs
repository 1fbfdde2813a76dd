//! Runs the same seeds on our Raft and on raft-rs and compares what they commit and send.
//!
//! Comes in: the command line. Goes out: one line for each number of servers and a table for each on
//! the standard output; status 1 when a ratio is out of bounds or a run breaks. Invariant: both
//! candidates meet the same schedule. Must never count differently for one than for the other.

use std::process::ExitCode;

use clap::Parser;

mod candidate;
mod figures;
mod network;
mod ours;
mod schedule;
mod theirs;

use figures::{COMMITTED_RATIO_MIN, Comparison, Figures, MESSAGES_RATIO_MAX, ratio};
use ours::Ours;
use schedule::Schedule;
use theirs::Theirs;

#[derive(Parser)]
#[command(about = "Compares our Raft with raft-rs under the same faults.")]
struct CommandLine {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Numbers of servers to run each seed with.
    #[arg(long, default_values_t = [3, 5], value_parser = clap::value_parser!(u64).range(2..=15))]
    servers: Vec<u64>,
    /// Print each seed with its faults and figures.
    #[arg(long)]
    each: bool,
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    match run(&command_line) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("oracle: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command_line: &CommandLine) -> Result<bool, String> {
    let mut comparisons = Vec::new();
    for servers in &command_line.servers {
        let comparison = compare(command_line, *servers)?;
        println!("{}", line(*servers, command_line.seeds, &comparison));
        comparisons.push((*servers, comparison));
    }
    for (servers, comparison) in &comparisons {
        println!("\n{servers} servers, {} seeds\n{}", command_line.seeds, comparison.table());
    }
    let holds = comparisons.iter().all(|(_, comparison)| comparison.holds());
    let verdict = if holds { "hold" } else { "DO NOT HOLD" };
    println!(
        "bounds (committed at least {COMMITTED_RATIO_MIN}, messages at most {MESSAGES_RATIO_MAX}): \
         {verdict}"
    );
    Ok(holds)
}

fn compare(command_line: &CommandLine, servers: u64) -> Result<Comparison, String> {
    let mut comparison = Comparison::default();
    let first = command_line.first;
    for seed in first..first + command_line.seeds {
        let schedule = Schedule::draw(seed, servers);
        let broke = |who: &str, message: String| {
            format!("{who}, seed {seed}, {servers} servers: {message}")
        };
        let ours = network::run::<Ours>(&schedule).map_err(|message| broke("ours", message))?;
        let theirs =
            network::run::<Theirs>(&schedule).map_err(|message| broke("theirs", message))?;
        if command_line.each {
            println!("seed {seed}: {}; {}", schedule.describe(), brief(&ours, &theirs));
        }
        comparison.add(&ours, &theirs);
    }
    Ok(comparison)
}

fn line(servers: u64, seeds: u64, comparison: &Comparison) -> String {
    let verdict = if comparison.holds() { "ok" } else { "out of bounds" };
    let figures = brief(&comparison.ours, &comparison.theirs);
    format!("{servers} servers, {seeds} seeds: {figures}: {verdict}")
}

fn brief(ours: &Figures, theirs: &Figures) -> String {
    let one = |name: &str, ours: u64, theirs: u64| {
        format!("{name} {ours}/{theirs} = {:.3}", ratio(ours, theirs))
    };
    [
        one("committed", ours.committed, theirs.committed),
        one("messages", ours.messages(), theirs.messages()),
        one("elections", ours.elections, theirs.elections),
    ]
    .join(", ")
}
