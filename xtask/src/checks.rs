//! `cargo xtask test` and `cargo xtask lint`: what must pass before a change is merged.
//!
//! Comes in: arguments for the test runner. Goes out: the output of the commands run, each of which
//! is shown first.

use crate::{recipes, say, simulate, workspace_folder};
use anyhow::{Context, bail};
use std::process::{Command, Stdio};

/// The components first, since tests run them; then every test, then the examples in the documentation.
pub(crate) fn test(arguments: &[String]) -> anyhow::Result<()> {
    recipes::run(&[])?;
    simulate::harms()?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if has_nextest() {
        // One run takes long: it tells of every failure, not of the first alone.
        cargo(&["nextest", "run", "--workspace", "--no-fail-fast"], &arguments)?;
    } else {
        say("cargo-nextest is not installed (cargo install cargo-nextest): using cargo test");
        cargo(&["test", "--workspace", "--all-targets"], &arguments)?;
    }
    if !arguments.is_empty() {
        return Ok(());
    }
    cargo(&["test", "--workspace", "--doc"], &[])?;
    for example in examples()? {
        cargo(&["test", "--manifest-path", &example], &[])?;
    }
    Ok(())
}

pub(crate) fn lint() -> anyhow::Result<()> {
    cargo(&["fmt", "--all", "--check"], &[]).context("run `cargo fmt --all`")?;
    cargo(&["clippy", "--workspace", "--all-targets"], &["-D", "warnings"])?;
    say("documentation");
    let mut command = command(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    finish(command)
}

/// Manifests of the crates under `examples/`: each is a workspace of its own.
fn examples() -> anyhow::Result<Vec<String>> {
    let folder = workspace_folder().join("examples");
    let mut manifests = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            manifests.push(manifest.to_string_lossy().into_owned());
        }
    }
    manifests.sort();
    Ok(manifests)
}

fn has_nextest() -> bool {
    let mut command = command(&["nextest", "--version"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace_folder());
    command
}

/// Runs cargo; `last` goes after `--`.
pub(crate) fn cargo(arguments: &[&str], last: &[&str]) -> anyhow::Result<()> {
    let mut command = command(arguments);
    if !last.is_empty() {
        command.arg("--").args(last);
    }
    finish(command)
}

fn finish(mut command: Command) -> anyhow::Result<()> {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    let line = format!("cargo {}", arguments.collect::<Vec<_>>().join(" "));
    say(&line);
    if command.status().with_context(|| format!("cannot run {line}"))?.success() {
        return Ok(());
    }
    bail!("`{line}` failed: see the messages above")
}
