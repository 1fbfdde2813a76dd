//! `quorate bench`: load on a running cluster, figures on the standard output.
//!
//! Comes in: a kind of load, how many requests at a time, for how long. Goes out: requests per
//! second and the spread of their times. Must never leave anything in the tree.

mod contended;
mod queue;
mod zookeeper;

use crate::arguments::{BenchCommand, Reach};
use crate::connect;
use crate::output::Output;
use anyhow::{Context, Result};
use quorate_client::{Client, ClientError, CreateMode};
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) async fn run(reach: &Reach, command: &BenchCommand, output: Output) -> Result<()> {
    if let BenchCommand::Lock { mount, clients: Some(clients), objects, seconds, .. } = command {
        let (clients, objects, seconds) = (*clients, *objects, *seconds);
        let load = contended::Contention { mount, clients, objects, seconds };
        return contended::run(reach, &load, output).await;
    }
    if let BenchCommand::Zk(plan) = command {
        return zookeeper::run(plan, output).await;
    }
    let client = connect(reach).await?;
    let done = load(&client, command, output).await;
    // What went wrong is what the user needs to see, whatever becomes of the session.
    let closed = client.close().await;
    done?;
    Ok(closed?)
}

async fn load(client: &Client, command: &BenchCommand, output: Output) -> Result<()> {
    match command {
        BenchCommand::Writes { outstanding, seconds, bytes } => {
            let (times, elapsed) = writes(client, *outstanding, *seconds, *bytes).await?;
            report("writes", *outstanding, &times, elapsed, output);
        }
        BenchCommand::Lock { mount, outstanding, seconds, .. } => {
            let (times, elapsed) = locks(client, mount, *outstanding, *seconds).await?;
            report("acquire+release", *outstanding, &times, elapsed, output);
        }
        BenchCommand::Queue { mount, short, items, outstanding, seconds, bytes } => {
            let lengths = [*short, *items];
            let (outstanding, seconds, bytes) = (*outstanding, *seconds, *bytes);
            let load = queue::Load { mount, lengths, outstanding, seconds, bytes };
            queue::run(client, &load, output).await?;
        }
        BenchCommand::Zk(_) => unreachable!("it has connections of its own"),
    }
    Ok(())
}

async fn writes(
    client: &Client,
    outstanding: u32,
    seconds: u64,
    bytes: usize,
) -> Result<(Vec<Duration>, Duration)> {
    let path = format!("/bench-{}", client.session());
    client.create(&path, "", CreateMode::Persistent).await?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let mut workers = JoinSet::new();
    for worker in 0..outstanding {
        let (client, znode) = (client.clone(), format!("{path}/{worker}"));
        workers.spawn(write_until(client, znode, bytes, end));
    }
    let (times, _) = gather(workers).await?;
    let elapsed = begun.elapsed();
    client.delete(&path, None).await?;
    Ok((times, elapsed))
}

async fn write_until(
    client: Client,
    znode: String,
    bytes: usize,
    end: Instant,
) -> Result<Vec<Duration>, ClientError> {
    client.create(&znode, "", CreateMode::Persistent).await?;
    let data = bytes::Bytes::from(vec![b'x'; bytes]);
    let mut times = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        client.set(&znode, data.clone(), None).await?;
        times.push(begun.elapsed());
    }
    client.delete(&znode, None).await?;
    Ok(times)
}

async fn locks(
    client: &Client,
    mount: &str,
    outstanding: u32,
    seconds: u64,
) -> Result<(Vec<Duration>, Duration)> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let mut workers = JoinSet::new();
    for worker in 0..outstanding {
        let object = format!("{mount}/bench-{}-{worker}", client.session());
        workers.spawn(lock_until(client.clone(), object, end));
    }
    let (times, _) = gather(workers).await?;
    Ok((times, begun.elapsed()))
}

async fn lock_until(
    client: Client,
    object: String,
    end: Instant,
) -> Result<Vec<Duration>, ClientError> {
    let lock = client.lock(&object);
    let mut times = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        lock.acquire(None).await?.release().await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// The times of all workers, in order of length, and how many each has, the least first.
async fn gather(
    mut workers: JoinSet<Result<Vec<Duration>, ClientError>>,
) -> Result<(Vec<Duration>, Vec<usize>)> {
    let (mut times, mut counts) = (Vec::new(), Vec::new());
    while let Some(worker) = workers.join_next().await {
        let mut own = worker.context("a worker of the load broke")??;
        counts.push(own.len());
        times.append(&mut own);
    }
    times.sort_unstable();
    counts.sort_unstable();
    Ok((times, counts))
}

/// The time that this share of all, in order of length, does not exceed; none: zero.
fn percentile(times: &[Duration], share: f64) -> Duration {
    let position = (times.len() as f64 * share) as usize;
    times.get(position.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn in_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn report(name: &str, outstanding: u32, times: &[Duration], elapsed: Duration, output: Output) {
    let rate = times.len() as f64 / elapsed.as_secs_f64();
    let (p50, p99) = (in_ms(percentile(times, 0.5)), in_ms(percentile(times, 0.99)));
    let text = format!(
        "{name}: {rate:.0}/s  p50 {p50:.2} ms  p99 {p99:.2} ms  ({} in {:.1} s, {outstanding} at a time)",
        times.len(),
        elapsed.as_secs_f64()
    );
    let value = json!({
        "load": name,
        "outstanding": outstanding,
        "count": times.len(),
        "per_second": rate,
        "p50_ms": p50,
        "p99_ms": p99,
    });
    output.print(&text, &value);
}
