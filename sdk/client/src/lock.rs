//! A fair lock with fencing tokens, over the `lock` recipe.
//!
//! Comes in: an object below a mount of that recipe. Goes out: guards. Invariant: an acquire that
//! was given up never leaves the lock held: it is cancelled in line, or released if it was granted
//! meanwhile.

use crate::client::{Ask, Client, called, from_cbor, parse, to_cbor};
use crate::error::ClientError;
use crate::protocol::Undo;
use quorate_types::Operation;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const ACQUIRE: &str = "acquire";
const RELEASE: &str = "release";
/// The recipe's word for a lock that somebody else has.
const HELD: &str = "held";

#[derive(Serialize)]
struct AcquireArguments {
    wait_ms: Option<u64>,
    note: String,
}

/// The grant; also what `release` takes, so that an unwanted grant can be sent back as it came.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Grant {
    fence: u64,
}

/// A lock that can be acquired. Made by [`Client::lock`].
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::ClientError> {
/// let guard = client.lock("/locks/orders").acquire(None).await?;
/// println!("mine, under fencing token {}", guard.fencing_token());
/// guard.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Lock {
    client: Client,
    object: String,
    note: String,
}

impl Lock {
    pub(crate) fn new(client: Client, object: String) -> Lock {
        Lock { client, object, note: String::new() }
    }

    /// A word shown to whoever asks who has the lock.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Lock {
        self.note = note.into();
        self
    }

    /// Waits in line for the lock: for so long, or for ever if `None`. Dropping the future leaves
    /// the line.
    ///
    /// # Errors
    /// A refusal when the wait ends without the lock, and what [`ClientError`] says.
    pub async fn acquire(
        &self,
        wait: impl Into<Option<Duration>>,
    ) -> Result<LockGuard, ClientError> {
        let wait_ms = wait.into().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let object = parse(&self.object)?;
        let undo = Undo { object: object.clone(), operation: RELEASE.to_owned() };
        let operation = Operation::Call {
            object,
            operation: ACQUIRE.to_owned(),
            arguments: to_cbor(&AcquireArguments { wait_ms, note: self.note.clone() })?,
        };
        let ask = Ask { operation, undo: Some(undo) };
        let grant = from_cbor(ACQUIRE, &called(ACQUIRE, self.client.ask(ask).await?)?)?;
        Ok(LockGuard {
            client: self.client.clone(),
            object: self.object.clone(),
            grant,
            armed: true,
        })
    }

    /// Takes the lock if it is free; `None` if somebody has it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>, ClientError> {
        match self.acquire(Duration::ZERO).await {
            Ok(guard) => Ok(Some(guard)),
            Err(error) if error.recipe_code() == Some(HELD) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The lock is held. Dropping the guard releases it without waiting for the answer.
///
/// The lock is also lost when the session ends: watch [`Client::ended`], and send the fencing token
/// with every write to what the lock guards.
#[derive(Debug)]
pub struct LockGuard {
    client: Client,
    object: String,
    grant: Grant,
    armed: bool,
}

impl LockGuard {
    /// Strictly grows with every grant: what the lock guards should refuse a smaller one than it
    /// has seen.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.grant.fence
    }

    /// Waits until the lock is lost because the session has ended; gives the reason.
    pub async fn lost(&self) -> String {
        self.client.ended().await
    }

    /// Gives the lock to the next in line.
    ///
    /// # Errors
    /// See [`ClientError`]. After an error the release is tried once more in the background.
    pub async fn release(mut self) -> Result<(), ClientError> {
        let arguments = to_cbor(&self.grant)?;
        self.client.call_raw(&self.object, RELEASE, arguments).await?;
        self.armed = false;
        Ok(())
    }

    fn release_in_background(&self) -> Result<(), ClientError> {
        self.client.tell(Operation::Call {
            object: parse(&self.object)?,
            operation: RELEASE.to_owned(),
            arguments: to_cbor(&self.grant)?,
        });
        Ok(())
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = self.release_in_background()
        {
            tracing::warn!(%error, object = self.object, "a lock could not be released");
        }
    }
}
