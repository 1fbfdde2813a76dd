//! One server process.
//!
//! Comes in: a folder with its configuration. Goes out: a process to end in a clean or an unclean
//! way. Invariant: it is killed when this is dropped, and asked to stop when the test process itself
//! is killed, by the end of its input.

use crate::{PATIENCE, binary, poll};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Instant;

/// A running server.
pub struct ServerProcess {
    child: Child,
    ready: Receiver<String>,
    is_ready: bool,
}

impl ServerProcess {
    /// Starts `quorate serve` on `<folder>/quorate.toml`; its log goes to `<folder>/server.log`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(folder: &Path) -> Result<ServerProcess> {
        ServerProcess::start_on(folder, "--config", "quorate.toml")
    }

    /// Starts it on `<folder>/zoo.cfg`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_zoo_cfg(folder: &Path) -> Result<ServerProcess> {
        ServerProcess::start_on(folder, "--zoo-cfg", "zoo.cfg")
    }

    fn start_on(folder: &Path, flag: &str, file: &str) -> Result<ServerProcess> {
        let log = OpenOptions::new().create(true).append(true).open(log_path(folder))?;
        let mut child = Command::new(binary()?)
            .args(["--json", "serve", "--exit-with-input", flag])
            .arg(folder.join(file))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start a server")?;
        let output = child.stdout.take().context("its output is piped")?;
        let (sender, ready) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Whoever waited may be gone.
                let _ = sender.send(line);
            }
        });
        Ok(ServerProcess { child, ready, is_ready: false })
    }

    /// Its number with the operating system.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has said that it knows a leader and serves.
    ///
    /// # Errors
    /// It has ended before.
    pub fn is_ready(&mut self) -> Result<bool> {
        match self.ready.try_recv() {
            _ if self.is_ready => {}
            Ok(line) => self.is_ready = line.contains("\"ready\":true"),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                bail!("a server ended before it was ready: {}", self.child.wait()?)
            }
        }
        Ok(self.is_ready)
    }

    /// Waits until it says so.
    ///
    /// # Errors
    /// It ends, or says nothing in time.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        poll("a server says that it is ready", async || Ok(self.is_ready()?.then_some(()))).await
    }

    /// Stops it: it lives, and neither hears nor says anything.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn freeze(&self) -> Result<()> {
        signal(&self.child, Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn thaw(&self) -> Result<()> {
        signal(&self.child, Signal::CONT)
    }

    /// Ends it as a power cut would, apart from what the disk cache would lose.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        signal(&self.child, Signal::TERM)?;
        let begin = Instant::now();
        let status = poll("a server ends after SIGTERM", async || Ok(self.child.try_wait()?)).await;
        status.with_context(|| format!("{:?} of at most {PATIENCE:?}", begin.elapsed()))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a child.
pub(crate) fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process")?;
    Ok(kill_process(pid, signal)?)
}

/// Where a server's log is.
pub(crate) fn log_path(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// The last lines of a server's log.
pub(crate) fn log_tail(folder: &Path, lines: usize) -> String {
    let Ok(log) = File::open(log_path(folder)) else { return "no log".to_owned() };
    let all: Vec<String> = BufReader::new(log).lines().map_while(Result::ok).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
