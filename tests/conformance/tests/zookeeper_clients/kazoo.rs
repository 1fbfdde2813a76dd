//! kazoo's clients as others see them: ephemerals of one that was killed or stopped, and a lock that
//! kazoo's own recipe gives, watched natively.

use crate::source;
use anyhow::{Context, Result, ensure};
use quorate_client::{
    Client, CreateMode, Notification, Watch, WatchEvent, WatchEventKind, WatchMode,
};
use quorate_conformance::{Cluster, Program, Recipes, Tool, install_kazoo, on_cluster, poll};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
/// ZooKeeper's tick, if nothing else is said.
const TICK: Duration = Duration::from_secs(2);
const OWNED: usize = 20;
const PARENT: &str = "/parent";
const LOCK: &str = "/lock";
const LEDGER: &str = "/ledger";
const HOLDERS: usize = 4;
const ROUNDS: usize = 25;

/// Runs a body on a cluster, unless kazoo cannot be had.
fn on_cluster_with_kazoo(body: impl AsyncFnOnce(&mut Cluster, Kazoo) -> Result<()>) {
    match install_kazoo(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        Ok(folder) => {
            on_cluster(Recipes::None, async |cluster| body(cluster, Kazoo { folder }).await)
        }
        Err(reason) => println!("skipped: kazoo cannot be had here: {reason}"),
    }
}

/// Where it is installed.
struct Kazoo {
    folder: PathBuf,
}

impl Kazoo {
    fn start(&self, cluster: &Cluster, script: &str, words: &[&str]) -> Result<Program> {
        let timeout_ms = SESSION_TIMEOUT.as_millis().to_string();
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &self.folder).arg(source("kazoo").join(script));
        Program::start(command.args([cluster.zookeeper_addresses()?, timeout_ms]).args(words))
    }
}

#[test]
fn ephemerals_of_a_killed_client_go_with_its_session() {
    on_cluster_with_kazoo(async |cluster, kazoo| {
        let native = cluster.connect().await?;
        let (mut watch, owner) = own(&native, cluster, &kazoo).await?;
        let killed = Instant::now();
        owner.kill()?;
        judge("killed", &gone(&mut watch).await?, killed.elapsed())
    });
}

#[test]
fn ephemerals_of_a_client_whose_host_stands_still_go_and_it_learns_that() {
    on_cluster_with_kazoo(async |cluster, kazoo| {
        let native = cluster.connect().await?;
        let (mut watch, mut owner) = own(&native, cluster, &kazoo).await?;
        let frozen = Instant::now();
        owner.freeze()?;
        judge("stopped", &gone(&mut watch).await?, frozen.elapsed())?;
        owner.thaw()?;
        owner.wait_for("lost").await
    });
}

/// A client with ephemerals, and a watch of who sees them go.
async fn own(native: &Client, cluster: &Cluster, kazoo: &Kazoo) -> Result<(Watch, Program)> {
    native.create(PARENT, "", CreateMode::Persistent).await?;
    let mut owner = kazoo.start(cluster, "ephemerals.py", &[PARENT, &OWNED.to_string()])?;
    owner.wait_for("owned").await?;
    let there = native.children(PARENT).await?.len();
    ensure!(there == OWNED, "{there} of {OWNED} are there");
    let watch = native.watch(PARENT, WatchMode::PersistentRecursive).await?;
    Ok((watch, owner))
}

/// Waits until all are gone; their events.
async fn gone(watch: &mut Watch) -> Result<Vec<WatchEvent>> {
    let mut events = Vec::new();
    while events.len() < OWNED {
        events.push(next(watch).await?);
    }
    Ok(events)
}

async fn next(watch: &mut Watch) -> Result<WatchEvent> {
    let told = timeout(quorate_conformance::PATIENCE, watch.next()).await;
    match told.context("nothing more is told")? {
        Some(Notification::Changed(event)) => Ok(event),
        other => anyhow::bail!("not a change: {other:?}"),
    }
}

fn judge(what: &str, events: &[WatchEvent], took: Duration) -> Result<()> {
    println!("ephemerals went {took:?} after their client was {what}; timeout {SESSION_TIMEOUT:?}");
    ensure!(events.iter().all(|event| event.kind == WatchEventKind::Deleted), "{events:?}");
    ensure!(events.iter().all(|event| event.zxid == events[0].zxid), "not all at once: {events:?}");
    // The timeout is the promise. It counts from the last sign of life, at most a third of it before
    // the end; a leader that began meanwhile on a busy machine gives it in full once more.
    ensure!(took >= SESSION_TIMEOUT / 2, "a session ended while it was alive");
    ensure!(took <= 2 * SESSION_TIMEOUT + TICK, "a dead session lived on");
    Ok(())
}

#[test]
fn whom_kazoo_gives_its_lock_is_seen_natively() {
    on_cluster_with_kazoo(async |cluster, kazoo| {
        let native = cluster.connect().await?;
        native.create(LOCK, "", CreateMode::Persistent).await?;
        native.create(LEDGER, "", CreateMode::Persistent).await?;
        let watch = native.watch(LOCK, WatchMode::PersistentRecursive).await?;
        let seeing = tokio::spawn(holders_seen(watch));
        let rounds = ROUNDS.to_string();
        let mut holders = Vec::new();
        for _ in 0..HOLDERS {
            let mut holder = kazoo.start(cluster, "holder.py", &[LOCK, LEDGER, &rounds])?;
            holder.wait_for("connected").await?;
            holders.push(holder);
        }
        in_line(cluster, &native, &mut holders).await?;
        for holder in holders {
            holder.finish().await?;
        }
        let ledger = native.get(LEDGER).await?.data;
        let granted: Vec<&str> = std::str::from_utf8(&ledger)?.lines().collect();
        ensure!(granted.len() == HOLDERS * ROUNDS, "{} grants", granted.len());
        let seen = seeing.await??;
        println!("{} grants of kazoo's lock were seen natively", seen.len());
        ensure!(seen == granted, "kazoo gave it to {granted:?}, seen were {seen:?}");
        Ok(())
    });
}

/// One after another stands in line, as the command shows; then the first gives way.
async fn in_line(cluster: &Cluster, native: &Client, holders: &mut [Program]) -> Result<()> {
    let tool = Tool::of(cluster)?;
    for (number, holder) in holders.iter_mut().enumerate() {
        holder.tell("begin")?;
        if number == 0 {
            holder.wait_for("held").await?;
        }
        poll("it stands in line", async || {
            Ok((native.children(LOCK).await?.len() == number + 1).then_some(()))
        })
        .await?;
    }
    let listed = tool.done(&["tree", "ls", LOCK])?;
    let names = listed["children"].as_array().context("names")?;
    ensure!(names.len() == HOLDERS, "{listed}");
    let ledger = native.get(LEDGER).await?.data;
    let first = std::str::from_utf8(&ledger)?.trim_end();
    let names = names.iter().filter_map(|name| name.as_str());
    let oldest = names.min_by_key(|name| place_of(name)).context("a place")?;
    ensure!(oldest == first, "{oldest} is first in line, and {first} holds the lock");
    for holder in holders {
        // For the lock in its first round, and that it may go on.
        holder.tell("go on")?;
    }
    Ok(())
}

/// The number that the server gave to a place in line.
fn place_of(name: &str) -> &str {
    name.rsplit("__").next().unwrap_or(name)
}

/// Who was first in line, one after another, until nobody was.
async fn holders_seen(mut watch: Watch) -> Result<Vec<String>> {
    let mut line: BTreeSet<(String, String)> = BTreeSet::new();
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..2 * HOLDERS * ROUNDS {
        let event = next(&mut watch).await?;
        let name = event.path.as_str().trim_start_matches(LOCK).trim_start_matches('/').to_owned();
        let place = (place_of(&name).to_owned(), name);
        match event.kind {
            WatchEventKind::Created => line.insert(place),
            WatchEventKind::Deleted => line.remove(&place),
            other => anyhow::bail!("{other:?} of {}", place.1),
        };
        let holder = line.first().map(|(_, name)| name.clone());
        seen.extend(holder.filter(|holder| seen.last() != Some(holder)));
    }
    ensure!(line.is_empty(), "still in line: {line:?}");
    Ok(seen)
}
