//! The command behind `cargo xtask fuzz`: so many executions of one target, and figures.
//!
//! Comes in: the command line. Goes out: figures, or a failure with what repeats it and status 1.

use anyhow::{Context, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_fuzz::allocation::Counting;
use quorate_fuzz::{run, target};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Gives spoilt bytes to a decoder. It may not panic, take memory that the bytes do not account for,
/// or read a message that is another one when written and read again.
#[derive(Parser)]
#[command(name = "cargo xtask fuzz", arg_required_else_help = true)]
struct CommandLine {
    /// The decoder: zookeeper. Example: cargo xtask fuzz zookeeper --executions 10000000 --seed 7
    target: String,
    /// How many inputs.
    #[arg(long, default_value_t = 1_000_000)]
    executions: u64,
    /// What decides all inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first input: to repeat one that failed.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

fn main() -> anyhow::Result<()> {
    let CommandLine { target, executions, seed, first } = CommandLine::parse();
    let names: Vec<&str> = target::TARGETS.iter().map(|target| target.name).collect();
    let target = target::named(&target)
        .with_context(|| format!("there is no target {target}; there are: {}", names.join(", ")))?;
    let last = first.checked_add(executions).context("--first and --executions: too many")?;
    let bar = ProgressBar::new(executions);
    let style = "{bar:40} {human_pos} of {human_len} executions, {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style)?);
    let started = Instant::now();
    let done = run::run(&target, seed, first..last, |executions| bar.set_position(executions));
    bar.finish_and_clear();
    match done {
        Ok(figures) => {
            let seconds = started.elapsed().as_secs_f64();
            println!(
                "{}: {} executions with seed {seed} in {seconds:.1} s ({:.0} a second): {} messages, \
                 {} refused; inputs up to {} bytes, memory up to {} bytes",
                target.name,
                figures.executions,
                figures.executions as f64 / seconds,
                figures.messages,
                figures.executions - figures.messages,
                figures.input_max,
                figures.memory_max,
            );
            Ok(())
        }
        Err(failure) => bail!("{failure}"),
    }
}
