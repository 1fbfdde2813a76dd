//! A cluster of real server processes for tests to kill, damage and watch.
//!
//! Comes in: the binary `quorate` and the body of a test. Goes out: the body's verdict, with the
//! servers' logs when it is a bad one. Invariant: no process outlives its test, and only one
//! cluster runs at a time, since each wants the machine for itself. Must never: wait by sleeping
//! where something can be asked, or go on waiting without a deadline.

mod binary;
mod cluster;
mod command;
mod java;
mod packages;
mod program;
mod segment_file;
mod server;
mod tool;
mod writer;
mod written;
mod zookeeper_client;
mod zookeeper_stream;

pub use binary::binary;
pub use cluster::{Cluster, Recipes, alone};
pub use command::{LockHolder, lock};
pub use java::{JavaLibrary, JavaProgram};
pub use packages::{install_kazoo, install_packages, run_quietly};
pub use program::{Heard, Program};
pub use segment_file::{Frame, SegmentFile};
pub use server::ServerProcess;
pub use tool::{Refused, Tool, example, word};
pub use writer::Writer;
pub use written::{Written, assert_all_there};
pub use zookeeper_client::{Answered, ZooKeeperClient, ZooKeeperEvent, ZooKeeperSession};
pub use zookeeper_stream::{ZooKeeperStream, ZooKeeperTls};

use anyhow::Result;
use std::time::{Duration, Instant};

/// How long anything may take that has no tighter bound: a loaded machine must not fail a test.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two questions of a poll.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Runs a test's body on a fresh cluster of three.
///
/// # Panics
/// When the body fails; the servers' logs are printed then.
pub fn on_cluster(recipes: Recipes, body: impl AsyncFnOnce(&mut Cluster) -> Result<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut cluster = Cluster::start(recipes).await.expect("a cluster starts");
        if let Err(error) = body(&mut cluster).await {
            panic!("{error:?}");
        }
    });
}

/// Asks until there is an answer.
///
/// # Errors
/// The question's own, or none after [`PATIENCE`]; `what` says what was waited for.
pub async fn poll<T>(what: &str, question: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    poll_within(PATIENCE, what, question).await
}

/// As [`poll`], for what may take longer.
///
/// # Errors
/// As [`poll`], after `patience`.
pub async fn poll_within<T>(
    patience: Duration,
    what: &str,
    mut question: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = question().await? {
            return Ok(answer);
        }
        if begin.elapsed() > patience {
            anyhow::bail!("waited {patience:?} in vain: {what}");
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}
