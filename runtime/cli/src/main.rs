//! The binary `quorate`: servers, clusters, and every client and operator command.
//!
//! Comes in: the command line. Goes out: text or one JSON value on the standard output, messages on
//! the standard error, an exit code by kind of error. Must never hold a rule of the servers.

mod arguments;
mod bench;
mod call;
mod certificates;
mod cluster;
mod dev;
mod exit;
mod fields;
mod import;
mod leader;
mod lock;
mod member;
mod metrics;
mod next_step;
mod output;
mod profile;
mod readme;
mod recipe;
mod recipe_inspect;
mod recipe_new;
mod recipe_sign;
mod recipe_test;
mod serve;
mod shadow;
mod standard_recipes;
mod status;
mod tree;

use anyhow::Result;
use arguments::{Command, CommandLine, Reach};
use clap::Parser;
use output::Output;
use quorate_client::Client;
use quorate_recipe_scenario::json_cbor;
use std::process::ExitCode;

/// A frame is allocated on one thread and freed on another, and a request is many small pieces: the
/// system's allocator took a seventh of a busy server's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let output = Output::new(line.json);
    let done = match line.command {
        // A server makes its own threads.
        Command::Serve { source, exit_with_input } => {
            serve::run(&source, exit_with_input, output).map(|()| ExitCode::SUCCESS)
        }
        Command::Import(command) => import::run(&command, output).map(|()| ExitCode::SUCCESS),
        command => run_async(line.reach, command, output),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            ExitCode::from(exit::code_of(&error))
        }
    }
}

fn run_async(reach: Reach, command: Command, output: Output) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(reach, command, output))
}

async fn run(reach: Reach, command: Command, output: Output) -> Result<ExitCode> {
    match command {
        Command::Dev(arguments) => dev::run(&arguments, output).await?,
        Command::Serve { .. } | Command::Import(_) => {
            unreachable!("what talks to no server runs outside of the clients' runtime")
        }
        Command::Cluster(command) => cluster::run(&reach, &command, output).await?,
        Command::Member(command) => member::run(&reach, &command, output).await?,
        Command::Status { all } => status::run(&reach, all, output).await?,
        Command::Tree(command) => tree::run(&reach, command, output).await?,
        Command::Call(arguments) => call::run(&reach, &arguments, output).await?,
        Command::Lock(arguments) => return lock::run(&reach, &arguments, output).await,
        Command::Recipe(command) => recipe::run(&reach, command, output).await?,
        Command::Leader(command) => leader::run(&reach, &command, output).await?,
        Command::Bench(command) => bench::run(&reach, &command, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A client from flags, environment and profile.
async fn connect(reach: &Reach) -> Result<Client> {
    let profile = profile::resolve(reach)?;
    Ok(Client::connect(profile::client_config(&profile, reach)?).await?)
}
