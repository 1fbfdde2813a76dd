//! A cluster of three for one run, and load on it.
//!
//! Comes in: the binary. Goes out: figures. Invariant: its processes end with it; the profile of
//! whoever runs it stays as it is.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Ticks of the times in `/proc`, per second: fixed by Linux for what it tells programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Three server processes.
pub(crate) struct Cluster {
    binary: PathBuf,
    dev: Child,
    process_ids: Vec<u64>,
    zookeeper_addresses: Vec<String>,
    folder: TempDir,
}

impl Cluster {
    pub(crate) fn start(binary: &Path) -> Result<Cluster> {
        // Not in memory, as /tmp may be: syncs are to cost what they cost.
        let folder = tempfile::tempdir_in(binary.parent().context("a binary lies in a folder")?)?;
        let mut dev = command(binary, &folder)
            .args(["dev", "--servers", "3", "--port", "0", "--dir"])
            .arg(folder.path().join("cluster"))
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start quorate dev")?;
        let output = dev.stdout.take().context("its output is piped")?;
        let mut cluster = Cluster {
            binary: binary.to_owned(),
            dev,
            process_ids: Vec::new(),
            zookeeper_addresses: Vec::new(),
            folder,
        };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line).context("quorate dev is not ready")?;
        let servers = ready["servers"].as_array().context("no servers in the ready line")?;
        cluster.process_ids = servers.iter().filter_map(|server| server["pid"].as_u64()).collect();
        let addresses = servers.iter().filter_map(|server| server["zookeeper_address"].as_str());
        cluster.zookeeper_addresses = addresses.map(str::to_owned).collect();
        ensure!(cluster.process_ids.len() == 3, "three servers were expected: {line}");
        Ok(cluster)
    }

    /// Where ZooKeeper clients connect.
    pub(crate) fn zookeeper_addresses(&self) -> &[String] {
        &self.zookeeper_addresses
    }

    /// A folder on the disk of its data.
    pub(crate) fn below(&self) -> &Path {
        self.folder.path()
    }

    /// Runs one load; gives what it reports.
    pub(crate) fn figures(&self, load: &[&str]) -> Result<Value> {
        let output = command(&self.binary, &self.folder)
            .arg("--profile")
            .arg(self.folder.path().join("cluster/profile.toml"))
            .arg("bench")
            .args(load)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run quorate bench")?;
        if !output.status.success() {
            bail!("quorate bench {load:?} ended with {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("what it reports is no JSON")
    }

    /// Runs one load; gives the columns of its row.
    pub(crate) fn bench(&self, load: &[&str], seconds: u64) -> Result<String> {
        let before = self.processor_seconds()?;
        let figures = self.figures(&[load, &["--seconds", &seconds.to_string()]].concat())?;
        let number =
            |name: &str| figures[name].as_f64().with_context(|| format!("no {name} in {figures}"));
        let processor_us = (self.processor_seconds()? - before) * 1e6 / number("count")?.max(1.0);
        Ok(format!(
            "| {} | {:.0} | {:.2} ms | {:.2} ms | {processor_us:.0} µs |",
            number("outstanding")?,
            number("per_second")?,
            number("p50_ms")?,
            number("p99_ms")?,
        ))
    }

    /// What all servers together have used, in user and kernel mode.
    fn processor_seconds(&self) -> Result<f64> {
        let mut ticks = 0.0;
        for process in &self.process_ids {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))
                .with_context(|| format!("server process {process} has ended"))?;
            // Behind the name in parentheses; fields 14 and 15 of all, see proc(5).
            let (_, fields) = stat.rsplit_once(") ").context("/proc is not as expected")?;
            for field in fields.split(' ').skip(11).take(2) {
                ticks += field.parse::<f64>()?;
            }
        }
        Ok(ticks / TICKS_PER_SECOND)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let process = i32::try_from(self.dev.id()).ok().and_then(Pid::from_raw);
        // It stops its servers and waits for them.
        let asked = process.is_some_and(|process| kill_process(process, Signal::TERM).is_ok());
        if !asked {
            let _ = self.dev.kill();
        }
        let _ = self.dev.wait();
    }
}

fn command(binary: &Path, folder: &TempDir) -> Command {
    let mut command = Command::new(binary);
    command.arg("--json").env("XDG_CONFIG_HOME", folder.path()).stdin(Stdio::null());
    command
}
