//! `quorate lock` as a process that holds a lock until it is told to stop, or dies.
//!
//! Comes in: a cluster, an object. Goes out: the fencing token once the lock is held. Invariant: the
//! guarded command ends with this, however the process around it ended.

use crate::{Cluster, binary, poll};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A process that waits for a lock, or holds it.
pub struct LockHolder {
    child: Child,
    /// The guarded command ends when this does.
    input: Option<ChildStdin>,
    token: Receiver<String>,
}

/// Starts `quorate lock` with a command that says its token and then waits.
///
/// # Errors
/// The process cannot be started.
pub fn lock(cluster: &Cluster, object: &str, session_timeout: Duration) -> Result<LockHolder> {
    let timeout_ms = session_timeout.as_millis().to_string();
    let mut child = Command::new(binary()?)
        .args(["--session-timeout-ms", &timeout_ms, "--profile"])
        .arg(cluster.profile())
        .args(["lock", object, "--", "sh", "-c", "echo $QUORATE_FENCING_TOKEN; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run quorate lock")?;
    let input = child.stdin.take();
    let output = child.stdout.take().context("its output is piped")?;
    let (sender, token) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // No line: it ended without the lock, and the channel says so.
        if BufReader::new(output).read_line(&mut line).is_ok_and(|length| length > 0) {
            let _ = sender.send(line);
        }
    });
    Ok(LockHolder { child, input, token })
}

impl LockHolder {
    /// The fencing token, if the lock is held by now.
    ///
    /// # Errors
    /// What was printed is no number.
    pub fn token_now(&self) -> Result<Option<u64>> {
        match self.token.try_recv() {
            Ok(line) => Ok(Some(line.trim().parse().with_context(|| line.clone())?)),
            Err(_) => Ok(None),
        }
    }

    /// Waits for the lock; gives the fencing token.
    ///
    /// # Errors
    /// It is not given in time.
    pub async fn token(&self) -> Result<u64> {
        poll("a lock is given", async || self.token_now()).await
    }

    /// Kills the process: nothing is released, nothing said.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends the guarded command and waits for the process to release the lock and end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn finish(mut self) -> Result<ExitStatus> {
        drop(self.input.take());
        poll("quorate lock ends", async || Ok(self.child.try_wait()?)).await
    }
}

impl Drop for LockHolder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
