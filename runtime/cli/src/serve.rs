//! `quorate serve`: one server process.
//!
//! Comes in: a configuration file. Goes out: a log on the standard error; the process ends when the
//! server does. Must never print a secret.

use anyhow::Result;
use quorate_server::configuration::ServerConfig;
use std::path::Path;
use tracing_subscriber::EnvFilter;

pub(crate) fn run(config: &Path, exit_with_input: bool) -> Result<()> {
    let filter = EnvFilter::try_from_env("QUORATE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,quinn=warn,rustls=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let config = ServerConfig::load(config)?;
    if exit_with_input {
        std::thread::spawn(stop_at_end_of_input);
    }
    // The server makes its own runtime and threads; this one only waits.
    tokio::task::block_in_place(|| quorate_server::run(config))?;
    Ok(())
}

/// Reads until the end, then asks the process to stop, as a supervisor would.
fn stop_at_end_of_input() {
    let mut discarded = std::io::sink();
    // An error ends the input as well.
    let _ = std::io::copy(&mut std::io::stdin(), &mut discarded);
    let _ = rustix::process::kill_process(
        rustix::process::getpid(),
        rustix::process::Signal::TERM,
    );
}
