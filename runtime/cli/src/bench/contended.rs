//! Clients that contend for locks: how long each waits, what a turn costs the log, who gets how many.
//!
//! Comes in: a mount of the lock recipe, how many clients and locks, for how long. Goes out: acquires
//! per second, waits, log entries per turn and per release, each client's share. Invariant: every
//! client has a session and a connection of its own, and all of them are open before the first entry
//! is counted. Must never leave a lock held.

use super::{gather, in_ms, percentile};
use crate::arguments::Reach;
use crate::connect;
use crate::output::Output;
use anyhow::{Context, Result, ensure};
use quorate_client::{Client, ClientError};
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Who contends for what.
pub(super) struct Contention<'a> {
    pub(super) mount: &'a str,
    pub(super) clients: u32,
    pub(super) objects: u32,
    pub(super) seconds: u64,
}

/// What all clients came to.
struct Turns {
    /// From asking for the lock to having it, in order of length; one for each turn.
    waits: Vec<Duration>,
    /// Turns of each client, the least first.
    by_client: Vec<usize>,
    elapsed: Duration,
    /// By how much the servers' log grew.
    entries: u64,
}

pub(super) async fn run(reach: &Reach, load: &Contention<'_>, output: Output) -> Result<()> {
    ensure!(load.clients > 0 && load.objects > 0, "at least one client and one object");
    let mut clients = Vec::new();
    let mut connecting = JoinSet::new();
    for _ in 0..load.clients {
        let reach = reach.clone();
        connecting.spawn(async move { connect(&reach).await });
    }
    while let Some(client) = connecting.join_next().await {
        clients.push(client.context("a connection broke")??);
    }
    let turns = contend(&clients, load).await?;
    for client in clients {
        client.close().await?;
    }
    report(load, &turns, output);
    Ok(())
}

async fn contend(clients: &[Client], load: &Contention<'_>) -> Result<Turns> {
    let name = format!("{}/bench-{}", load.mount, clients[0].session());
    let before = log_length(&clients[0]).await?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(load.seconds);
    let mut workers = JoinSet::new();
    for (client, turn) in clients.iter().zip(0..) {
        let object = format!("{name}-{}", turn % load.objects);
        workers.spawn(take_turns(client.clone(), object, end));
    }
    let (waits, by_client) = gather(workers).await?;
    let elapsed = begun.elapsed();
    let entries = log_length(&clients[0]).await? - before;
    Ok(Turns { waits, by_client, elapsed, entries })
}

async fn take_turns(
    client: Client,
    object: String,
    end: Instant,
) -> Result<Vec<Duration>, ClientError> {
    let lock = client.lock(&object);
    let mut waits = Vec::new();
    while Instant::now() < end {
        let asked = Instant::now();
        let guard = lock.acquire(None).await?;
        waits.push(asked.elapsed());
        guard.release().await?;
    }
    Ok(waits)
}

/// Entries of the log that are applied at the client's server: all that were answered before, at least.
async fn log_length(client: &Client) -> Result<u64> {
    client.sync().await?;
    Ok(client.status().await?.applied.0)
}

fn report(load: &Contention<'_>, turns: &Turns, output: Output) {
    let count = turns.waits.len();
    // Every turn asks twice: an acquire that waits in line (or finds the lock free), and a release
    // that grants to the next in line. What the acquires leave is what hand-overs cost.
    let per_turn = turns.entries as f64 / count.max(1) as f64;
    let of_releases = turns.entries.saturating_sub(count as u64);
    let per_release = of_releases as f64 / count.max(1) as f64;
    let rate = count as f64 / turns.elapsed.as_secs_f64();
    let at = |share: f64| in_ms(percentile(&turns.waits, share));
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    let least = turns.by_client.first().copied().unwrap_or(0);
    let most = turns.by_client.last().copied().unwrap_or(0);
    let text = format!(
        "contended acquire+release: {rate:.0}/s  ({count} in {:.1} s, {} clients, {} locks)\n\
         wait for the lock: p50 {p50:.2} ms  p99 {p99:.2} ms  max {max:.2} ms\n\
         log entries: {per_turn:.3} per turn (an acquire and a release), {per_release:.3} from a \
         release being asked to the next holder's grant ({} in all)\n\
         turns of a client: {least} at the least, {most} at the most",
        turns.elapsed.as_secs_f64(),
        load.clients,
        load.objects,
        turns.entries,
    );
    let value = json!({
        "load": "contended acquire+release",
        "outstanding": load.clients,
        "clients": load.clients,
        "objects": load.objects,
        "count": count,
        "per_second": rate,
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": max,
        "entries": turns.entries,
        "entries_per_turn": per_turn,
        "entries_per_hand_over": per_release,
        "client_turns_min": least,
        "client_turns_max": most,
    });
    output.print(&text, &value);
}
