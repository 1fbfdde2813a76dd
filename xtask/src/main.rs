//! `cargo xtask`: everything a contributor or a build server does with this workspace.
//!
//! Comes in: the command line. Goes out: built recipes, test runs, lints; messages to the standard
//! error, results to the standard output.
//! Invariant: a command that fails says what to do next and ends with status 1.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

mod checks;
mod demo;
mod kazoo;
mod recipes;
mod simulate;
mod wasm_toolchain;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and checks this workspace.")]
struct CommandLine {
    #[command(subcommand)]
    command: XtaskCommand,
}

#[derive(Subcommand)]
enum XtaskCommand {
    /// Find, or install, a Rust that compiles recipes. Example: cargo xtask wasm-toolchain install
    WasmToolchain {
        /// What to do.
        #[arg(value_enum, default_value_t = wasm_toolchain::Action::Check)]
        action: wasm_toolchain::Action,
    },
    /// Build the standard recipes into target/recipes. Example: cargo xtask recipes
    Recipes {
        /// Only these: folder names under plugins/, or paths of other crates; all of plugins/ if none.
        names: Vec<String>,
    },
    /// Renew the tables in the READMEs of the standard recipes. Example: cargo xtask recipe-tables
    RecipeTables {
        /// Write nothing; fail if a README is out of date.
        #[arg(long)]
        check: bool,
    },
    /// Build the standard recipes and the binary that carries them. Example: cargo xtask build
    Build,
    /// Build the recipes, then run every test. Example: cargo xtask test -- raft
    Test {
        /// Passed on to the test runner.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Check formatting, lints and documentation. Example: cargo xtask lint
    Lint,
    /// What the build server runs: lint, then test. Example: cargo xtask ci
    Ci,
    /// Compare our Raft with raft-rs under the same faults. Example: cargo xtask oracle -- --seeds 1000
    Oracle {
        /// Passed on to the comparison.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run whole clusters under faults in virtual time. Example: cargo xtask simulate --seeds 2000
    #[command(disable_help_flag = true)]
    Simulate {
        /// Passed on to the simulator; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Plant bugs one after another; the simulator must find each. Example: cargo xtask mutants
    Mutants {
        /// One of tests/planted-bugs/README.md, or all of them.
        #[arg(default_value = "all")]
        bug: String,
        /// Seeds tried at most for each.
        #[arg(long, default_value_t = 300)]
        seeds: u64,
    },
    /// Give spoilt bytes to a decoder. Example: cargo xtask fuzz zookeeper --executions 10000000
    #[command(disable_help_flag = true)]
    Fuzz {
        /// Passed on to the fuzzer; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run kazoo's own test suite against three servers. Example: cargo xtask kazoo -- -k test_lock
    Kazoo {
        /// Passed on to pytest.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// A tour of a running cluster. Example: cargo xtask demo
    Demo,
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let done = match command_line.command {
        XtaskCommand::WasmToolchain { action } => wasm_toolchain::run(action),
        XtaskCommand::Recipes { names } => recipes::run(&names),
        XtaskCommand::RecipeTables { check } => recipes::tables(check),
        XtaskCommand::Build => build(),
        XtaskCommand::Test { arguments } => checks::test(&arguments),
        XtaskCommand::Lint => checks::lint(),
        XtaskCommand::Ci => checks::lint().and_then(|()| checks::test(&[])),
        XtaskCommand::Oracle { arguments } => checks::cargo(
            &["run", "--release", "--manifest-path", "tests/oracle/Cargo.toml"],
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        ),
        XtaskCommand::Simulate { arguments } => match simulate::run(&arguments) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        XtaskCommand::Mutants { bug, seeds } => match simulate::mutants(&bug, seeds) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        XtaskCommand::Fuzz { arguments } => checks::cargo(
            &["run", "--quiet", "--profile", "fuzz", "--package", "quorate-fuzz"],
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        ),
        XtaskCommand::Kazoo { arguments } => kazoo::run(&arguments),
        XtaskCommand::Demo => demo::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the standard recipes and the binary that carries them.
fn build() -> anyhow::Result<()> {
    recipes::run(&[])?;
    checks::cargo(&["build", "--package", "quorate"], &[])
}

/// The workspace that cargo runs this program for.
fn workspace_folder() -> PathBuf {
    let own_folder = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own_folder.parent().map_or(own_folder.clone(), PathBuf::from)
}

/// Where cargo puts what it builds.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_folder().join("target"), PathBuf::from)
}

fn say(message: &str) {
    eprintln!("xtask: {message}");
}
