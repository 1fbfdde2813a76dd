//! A process that contends with a library of its own.
//!
//! Comes in: a library, a cluster. Goes out: what the process says, line by line. Invariant: it dies
//! with this value, and its last words are shown when it fails.

use crate::library::Library;
use crate::{GUARDED, LOCK};
use anyhow::{Context, Result, bail};
use quorate_conformance::{Cluster, poll};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// A running contender.
pub(crate) struct Contender {
    child: Child,
    input: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Contender {
    /// Starts one and waits until it is connected. It will hold the lock so many times and each time
    /// write its letter; without rounds it holds it once, until it is told to release.
    pub(crate) async fn start(
        cluster: &Cluster,
        library: &Library,
        (number, letter, rounds): (usize, &str, usize),
    ) -> Result<Contender> {
        let servers = cluster.servers();
        let addresses: Result<Vec<String>> = servers
            .iter()
            .map(|server| Ok(cluster.zookeeper_address(*server)?.to_string()))
            .collect();
        let timeout_ms = SESSION_TIMEOUT.as_millis().to_string();
        let mut child = library
            .command(number)
            .args([&addresses?.join(","), &timeout_ms, LOCK, GUARDED, letter])
            .arg(rounds.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run a contender")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("its output is piped")?;
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Whoever listened may be gone.
                let _ = sender.send(line);
            }
        });
        let mut contender = Contender { child, input, said };
        contender.wait_for("connected").await?;
        Ok(contender)
    }

    /// Lets it begin.
    pub(crate) fn begin(&mut self) -> Result<()> {
        let input = self.input.as_mut().context("its input is open")?;
        Ok(writeln!(input, "begin")?)
    }

    /// Whether it has said this by now; what it says before is passed over.
    pub(crate) fn has_said(&mut self, word: &str) -> Result<bool> {
        loop {
            match self.said.try_recv() {
                Ok(line) if line == word => return Ok(true),
                Ok(line) if line.starts_with("two hold") => bail!("{line}"),
                Ok(_) => {}
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => {
                    bail!("it ended before it said {word:?}: {}", self.child.wait()?)
                }
            }
        }
    }

    /// Waits until it says this.
    pub(crate) async fn wait_for(&mut self, word: &str) -> Result<()> {
        let what = format!("a contender says {word:?}");
        poll(&what, async || Ok(self.has_said(word)?.then_some(()))).await
    }

    /// Lets it release what it holds, and waits for its end.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.input = None;
        let status = poll("a contender ends", async || Ok(self.child.try_wait()?)).await?;
        if !status.success() {
            bail!("a contender ended with {status}");
        }
        Ok(())
    }

    /// Kills it: nothing is released, nothing said.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
