//! `quorate lock`: run a command while holding a lock.
//!
//! Comes in: a lock's object and a command. Goes out: the command's exit code. Invariant: when the
//! session is lost the command is told to stop, because somebody else may hold the lock by then;
//! what it guards should compare fencing tokens all the same.

use crate::arguments::{LockArguments, Reach};
use crate::connect;
use crate::output::Output;
use anyhow::{Context, Result};
use quorate_client::LockGuard;
use serde_json::json;
use std::pin::{Pin, pin};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long the command has to stop after the session was lost, before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Exit code when the lock was lost while the command ran.
const EXIT_LOCK_LOST: u8 = 9;

pub(crate) async fn run(
    reach: &Reach,
    arguments: &LockArguments,
    output: Output,
) -> Result<ExitCode> {
    let client = connect(reach).await?;
    let lock = client.lock(&arguments.object).with_note(arguments.note.clone());
    let wait = arguments.wait_ms.map(Duration::from_millis);
    // One for the whole run: a signal that came between two of them would be lost.
    let mut interruption = pin!(interrupted());
    let guard = tokio::select! {
        guard = lock.acquire(wait) => guard?,
        // Dropping the future takes back the place in the line.
        () = &mut interruption => return Ok(ExitCode::from(130)),
    };
    let token = guard.fencing_token();
    output.note(&format!("holding {} under fencing token {token}", arguments.object));
    let mut child = spawn(arguments, token)?;
    let code = watch_over(&mut child, &guard, interruption, output).await?;
    if code != EXIT_LOCK_LOST {
        guard.release().await.context("the command is done; releasing the lock failed")?;
        client.close().await?;
    }
    if output.is_json() {
        output.print("", &json!({ "fencing_token": token, "exit_code": code }));
    }
    Ok(ExitCode::from(code))
}

fn spawn(arguments: &LockArguments, token: u64) -> Result<Child> {
    let (program, rest) = arguments.command.split_first().context("no command was given")?;
    Command::new(program)
        .args(rest)
        .env("QUORATE_FENCING_TOKEN", token.to_string())
        .env("QUORATE_LOCK", &arguments.object)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run `{program}`"))
}

async fn watch_over(
    child: &mut Child,
    guard: &LockGuard,
    interruption: Pin<&mut impl Future<Output = ()>>,
    output: Output,
) -> Result<u8> {
    tokio::select! {
        status = child.wait() => Ok(code_of(status?)),
        reason = guard.lost() => {
            output.note(&format!("the lock is lost: {reason}; stopping the command"));
            stop(child).await?;
            Ok(EXIT_LOCK_LOST)
        }
        () = interruption => {
            stop(child).await?;
            Ok(130)
        }
    }
}

/// Asks the command to stop; kills it if it does not.
async fn stop(child: &mut Child) -> Result<()> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok())
        && let Some(pid) = rustix::process::Pid::from_raw(pid)
    {
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if timeout(STOP_GRACE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}

fn code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Completes when a person or a supervisor asks the process to end.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
