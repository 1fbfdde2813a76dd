//! A process that contends with a library of its own.
//!
//! Comes in: a library, a cluster. Goes out: what the process says, line by line. Invariant: it dies
//! with this value; that two hold the lock is never passed over.

use crate::library::Library;
use crate::{GUARDED, LOCK};
use anyhow::{Result, bail};
use quorate_conformance::{Cluster, Heard, Program, poll};
use std::time::Duration;

pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// A running contender.
pub(crate) struct Contender {
    program: Program,
}

impl Contender {
    /// Starts one and waits until it is connected. It will hold the lock so many times and each time
    /// write its letter; without rounds it holds it once, until it is told to release.
    pub(crate) async fn start(
        cluster: &Cluster,
        library: &Library,
        (number, letter, rounds): (usize, &str, usize),
    ) -> Result<Contender> {
        let (addresses, rounds) = (cluster.zookeeper_addresses()?, rounds.to_string());
        let timeout_ms = SESSION_TIMEOUT.as_millis().to_string();
        let mut command = library.command(number);
        command.args([&addresses, &timeout_ms, LOCK, GUARDED, letter, &rounds]);
        let mut contender = Contender { program: Program::start(&mut command)? };
        contender.wait_for("connected").await?;
        Ok(contender)
    }

    /// Lets it begin.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.program.tell("begin")
    }

    /// Whether it has said this by now; what it says before is passed over.
    pub(crate) fn has_said(&mut self, word: &str) -> Result<bool> {
        loop {
            match self.program.heard() {
                Heard::Line(line) if line == word => return Ok(true),
                Heard::Line(line) if line.starts_with("two hold") => bail!("{line}"),
                Heard::Line(_) => {}
                Heard::Nothing => return Ok(false),
                Heard::Ended => bail!("it ended before it said {word:?}"),
            }
        }
    }

    /// Waits until it says this.
    pub(crate) async fn wait_for(&mut self, word: &str) -> Result<()> {
        let what = format!("a contender says {word:?}");
        poll(&what, async || Ok(self.has_said(word)?.then_some(()))).await
    }

    /// Lets it release what it holds, and waits for its end.
    pub(crate) async fn finish(self) -> Result<()> {
        self.program.finish().await
    }

    /// Kills it: nothing is released, nothing said.
    pub(crate) fn kill(self) -> Result<()> {
        self.program.kill()
    }
}
