//! `quorate serve`: one server process.
//!
//! Comes in: a configuration file. Goes out: a ready line, a log on the standard error; the process
//! ends when the server does. Must never print a secret.

use crate::arguments::ConfigurationFile;
use crate::certificates;
use crate::output::Output;
use anyhow::Result;
use quorate_server::configuration::ServerConfig;
use quorate_server::configuration::zoo_cfg::ZooCfg;
use serde_json::json;
use std::path::Path;
use tracing_subscriber::EnvFilter;

pub(crate) fn run(source: &ConfigurationFile, exit_with_input: bool, output: Output) -> Result<()> {
    let filter = EnvFilter::try_from_env("QUORATE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,quinn=warn,rustls=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let (config, warnings) = load(source, output)?;
    if exit_with_input {
        std::thread::spawn(stop_at_end_of_input);
    }
    quorate_server::run_and_tell(&config, |ready| {
        let text = format!(
            "ready  server {}  clients {}  peers {}  leader {}",
            config.server, ready.native_address, ready.peer_address, ready.leader
        );
        let value = json!({
            "ready": true,
            "server": config.server.0,
            "native_address": ready.native_address.to_string(),
            "peer_address": ready.peer_address.to_string(),
            "zookeeper_address": ready.zookeeper_address.map(|address| address.to_string()),
            "zookeeper_tls_address": ready.zookeeper_tls_address.map(|address| address.to_string()),
            "leader": ready.leader.0,
            "warnings": warnings,
        });
        output.print(&text, &value);
    })?;
    Ok(())
}

/// The configuration, and how many warnings there were about it.
fn load(source: &ConfigurationFile, output: Output) -> Result<(ServerConfig, usize)> {
    let Some(path) = &source.zoo_cfg else {
        // One of the two is there, or the arguments would not have been taken.
        let path = source.config.as_deref().unwrap_or(Path::new("quorate.toml"));
        return Ok((ServerConfig::load(path)?, 0));
    };
    let read = ZooCfg::load(path)?;
    read.log_warnings();
    if read.wants_own_certificates {
        certificates::make_own(&read.config, output)?;
    }
    Ok((read.config, read.warnings.len()))
}

/// Reads until the end, then asks the process to stop, as a supervisor would.
fn stop_at_end_of_input() {
    let mut discarded = std::io::sink();
    // An error ends the input as well.
    let _ = std::io::copy(&mut std::io::stdin(), &mut discarded);
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
}
