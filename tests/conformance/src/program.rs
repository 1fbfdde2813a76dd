//! A program in another language that says lines and is told lines.
//!
//! Comes in: a command. Goes out: what the process says, line by line. Invariant: it dies with this
//! value. Must never wait without a deadline for a process that says nothing.

use crate::server::signal;
use crate::{PATIENCE, poll_within};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

/// A running program.
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    said: Receiver<String>,
}

/// What a program has said since it was last listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line.
    Line(String),
    /// Nothing yet.
    Nothing,
    /// Its last words were heard before.
    Ended,
}

impl Program {
    /// Starts it; its error output goes to this process's own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Result<Program> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("its output is piped")?;
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Whoever listened may be gone.
                let _ = sender.send(line);
            }
        });
        Ok(Program { child, input, said })
    }

    /// Tells it a line.
    ///
    /// # Errors
    /// It does not listen.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("its input is open")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// The next thing it said.
    pub fn heard(&mut self) -> Heard {
        match self.said.try_recv() {
            Ok(line) => Heard::Line(line),
            Err(TryRecvError::Empty) => Heard::Nothing,
            Err(TryRecvError::Disconnected) => Heard::Ended,
        }
    }

    /// Waits for a line; `None`: it ended, and well.
    ///
    /// # Errors
    /// It says nothing for so long, or ended badly.
    pub async fn line(&mut self, patience: Duration) -> Result<Option<String>> {
        let heard = poll_within(patience, "a program says something", async || {
            Ok(Some(self.heard()).filter(|heard| *heard != Heard::Nothing))
        });
        match heard.await? {
            Heard::Line(line) => Ok(Some(line)),
            _ => self.ended().await.map(|()| None),
        }
    }

    /// Waits until it says exactly this; what it says before is passed over.
    ///
    /// # Errors
    /// It does not in time, or ends.
    pub async fn wait_for(&mut self, wanted: &str) -> Result<()> {
        loop {
            match self.line(PATIENCE).await.with_context(|| format!("before {wanted:?}"))? {
                Some(line) if line == wanted => return Ok(()),
                Some(_) => {}
                None => bail!("it ended before it said {wanted:?}"),
            }
        }
    }

    /// Ends its input and waits for its end.
    ///
    /// # Errors
    /// It ends badly or not in time.
    pub async fn finish(mut self) -> Result<()> {
        self.input = None;
        self.ended().await
    }

    async fn ended(&mut self) -> Result<()> {
        let status = poll_within(PATIENCE, "a program ends", async || Ok(self.child.try_wait()?));
        let status: ExitStatus = status.await?;
        if !status.success() {
            bail!("a program ended with {status}");
        }
        Ok(())
    }

    /// Stops it: it lives, and neither says nor hears anything.
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

    /// Kills it: nothing is released, nothing said.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
