//! `cargo xtask simulate`: builds what the simulator installs, then runs it.
//!
//! Comes in: the simulator's own arguments, passed on. Goes out: its exit status. The components are
//! the standard recipes and two of the harmful ones.

use crate::{recipes, workspace_folder};
use anyhow::Context;
use std::process::{Command, ExitCode};

/// Features of `examples/hostile` that a simulation mounts.
const HARMS: [&str; 2] = ["traps", "loops"];

/// Builds the components that simulations install.
fn components() -> anyhow::Result<()> {
    recipes::run(&[])?;
    harms()
}

/// Builds the harmful ones among them.
pub(crate) fn harms() -> anyhow::Result<()> {
    HARMS.iter().try_for_each(|harm| recipes::build_with_feature("examples/hostile", harm))
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    components()?;
    simulator(&[], arguments)
}

/// Lets the simulator find planted bugs.
pub(crate) fn mutants(bug: &str, seeds: u64) -> anyhow::Result<ExitCode> {
    components()?;
    let arguments = [String::from("--bug"), bug.into(), "--seeds".into(), seeds.to_string()];
    simulator(&["--features", "planted-bugs"], &arguments)
}

fn simulator(build: &[&str], arguments: &[String]) -> anyhow::Result<ExitCode> {
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace_folder())
        .args(["run", "--quiet", "--package", "quorate-simulator"])
        .args(build)
        .arg("--")
        .arg("--recipes")
        .arg(workspace_folder().join("target/recipes"))
        .args(arguments)
        .status()
        .context("cargo run --package quorate-simulator")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
