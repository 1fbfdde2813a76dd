//! `quorate bench`: load on a running cluster, figures on the standard output.
//!
//! Comes in: a kind of load, how many requests at a time, for how long. Goes out: requests per
//! second and the spread of their times. Must never leave anything in the tree.

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
    let client = connect(reach).await?;
    let (name, outstanding, times, elapsed) = match command {
        BenchCommand::Writes { outstanding, seconds, bytes } => {
            let (times, elapsed) = writes(&client, *outstanding, *seconds, *bytes).await?;
            ("writes", *outstanding, times, elapsed)
        }
        BenchCommand::Lock { mount, outstanding, seconds } => {
            let (times, elapsed) = locks(&client, mount, *outstanding, *seconds).await?;
            ("acquire+release", *outstanding, times, elapsed)
        }
    };
    client.close().await?;
    report(name, outstanding, times, elapsed, output);
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
    let times = gather(workers).await?;
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
    let times = gather(workers).await?;
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

async fn gather(mut workers: JoinSet<Result<Vec<Duration>, ClientError>>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while let Some(worker) = workers.join_next().await {
        times.append(&mut worker.context("a worker of the load broke")??);
    }
    times.sort_unstable();
    Ok(times)
}

fn report(name: &str, outstanding: u32, times: Vec<Duration>, elapsed: Duration, output: Output) {
    let at = |share: f64| -> f64 {
        let position = (times.len() as f64 * share) as usize;
        times.get(position.min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
            * 1_000.0
    };
    let rate = times.len() as f64 / elapsed.as_secs_f64();
    let (p50, p99) = (at(0.5), at(0.99));
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
