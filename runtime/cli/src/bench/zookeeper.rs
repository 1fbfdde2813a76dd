//! `quorate bench zk`: pipelined load over the ZooKeeper protocol, on one ensemble or on two in turn.
//!
//! Comes in: addresses, kinds of load, how many requests at a time. Goes out: for each the requests
//! per second and the spread of their times, a line as soon as it is known. Invariant: both ensembles
//! get the same requests in turns, so that whatever else the machine does falls on both; the first
//! connection goes to the leader of each. Must never leave anything in the tree.

mod pipeline;

use super::{in_ms, percentile};
use crate::arguments::{ZooKeeperBench, ZooKeeperLoad};
use crate::output::Output;
use anyhow::{Context, Result};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use pipeline::{Pipeline, mode_of};
use quorate_types::Permissions;
use quorate_wire::zookeeper::{Acl, Create, PathVersion, Read, Request, SetData, encode_request};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Znodes that are read and set.
const ZNODES: u64 = 64;
/// Requests under way while the tree is filled and emptied.
const TIDYING_WINDOW: usize = 256;
/// Any version.
const ANY: i32 = -1;

/// What one ensemble made of one load.
#[derive(Default)]
struct Measured {
    times: Vec<Duration>,
    elapsed: Duration,
}

impl Measured {
    fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn text(&self) -> String {
        let (p50, p99) = (percentile(&self.times, 0.5), percentile(&self.times, 0.99));
        let (p50, p99) = (in_ms(p50), in_ms(p99));
        format!("{:>8.0}/s  p50 {p50:>7.2} ms  p99 {p99:>7.2} ms", self.per_second())
    }

    fn json(&self) -> Value {
        json!({
            "count": self.times.len(),
            "per_second": self.per_second(),
            "p50_ms": in_ms(percentile(&self.times, 0.5)),
            "p99_ms": in_ms(percentile(&self.times, 0.99)),
        })
    }
}

pub(super) async fn run(plan: &ZooKeeperBench, output: Output) -> Result<()> {
    let mut ensembles = vec![Ensemble::prepare(&plan.servers, plan.bytes).await?];
    if !plan.beside.is_empty() {
        ensembles.push(Ensemble::prepare(&plan.beside, plan.bytes).await?);
    }
    let measured = measure_all(&ensembles, plan, output).await;
    // Whatever went wrong, nothing is to stay; what went wrong first is told.
    let mut cleaned = Ok(());
    for ensemble in &ensembles {
        cleaned = cleaned.and(ensemble.clean().await);
    }
    let rows = measured?;
    output.print("", &json!({ "rows": rows }));
    cleaned
}

async fn measure_all(
    ensembles: &[Ensemble],
    plan: &ZooKeeperBench,
    output: Output,
) -> Result<Vec<Value>> {
    if plan.warm_up_seconds > 0 {
        warm_up(ensembles, plan, output).await?;
    }
    let bar = progress(plan, ensembles.len(), output);
    let mut rows = Vec::new();
    for load in plan.loads.iter().copied() {
        for outstanding in plan.outstanding.iter().copied() {
            let measured = measure(ensembles, plan, (load, outstanding), &bar).await?;
            rows.push(row(load, outstanding, &measured));
            if !output.is_json() {
                let text = text_of(load, outstanding, &measured);
                bar.suspend(|| output.print(&text, &Value::Null));
            }
        }
    }
    bar.finish_and_clear();
    Ok(rows)
}

async fn warm_up(ensembles: &[Ensemble], plan: &ZooKeeperBench, output: Output) -> Result<()> {
    let most = plan.outstanding.iter().copied().max().unwrap_or(1);
    let seconds = Duration::from_secs(plan.warm_up_seconds);
    for ensemble in ensembles {
        output.note(&format!("warming {} up", ensemble.servers.join(", ")));
        for load in &plan.loads {
            let shares = ensemble.shares(most, plan.connections);
            let loaded = ensemble.load(*load, &shares, seconds, &mut Measured::default()).await;
            loaded.with_context(|| ensemble.words(*load, most))?;
        }
    }
    Ok(())
}

fn progress(plan: &ZooKeeperBench, ensembles: usize, output: Output) -> ProgressBar {
    let turns = plan.loads.len() * plan.outstanding.len() * ensembles;
    let all = turns as u64 * u64::from(plan.rounds);
    let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(all) };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// One load on every ensemble, in turns.
async fn measure(
    ensembles: &[Ensemble],
    plan: &ZooKeeperBench,
    (load, outstanding): (ZooKeeperLoad, u32),
    bar: &ProgressBar,
) -> Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = ensembles.iter().map(|_| Measured::default()).collect();
    let seconds = Duration::from_secs(plan.seconds);
    for _ in 0..plan.rounds {
        for (ensemble, measured) in ensembles.iter().zip(&mut measured) {
            bar.set_message(format!("{} {outstanding} at a time", load.name()));
            let shares = ensemble.shares(outstanding, plan.connections);
            let loaded = ensemble.load(load, &shares, seconds, measured).await;
            loaded.with_context(|| ensemble.words(load, outstanding))?;
            bar.inc(1);
        }
    }
    for measured in &mut measured {
        measured.times.sort_unstable();
    }
    Ok(measured)
}

fn text_of(load: ZooKeeperLoad, outstanding: u32, measured: &[Measured]) -> String {
    let mut text = format!("{:<7}{outstanding:>5} at a time", load.name());
    for measured in measured {
        text += &format!("  | {}", measured.text());
    }
    if let [own, beside] = measured {
        text += &format!("  | {:.2} times", own.per_second() / beside.per_second());
    }
    text
}

fn row(load: ZooKeeperLoad, outstanding: u32, measured: &[Measured]) -> Value {
    let mut row = json!({ "load": load.name(), "outstanding": outstanding });
    for (name, measured) in ["servers", "beside"].iter().zip(measured) {
        row[name] = measured.json();
    }
    row
}

/// One ensemble under load. Connections are opened for each turn: none has to be kept alive while
/// another ensemble has its turn.
struct Ensemble {
    /// The leader first, if it is known.
    servers: Vec<String>,
    /// Everything of this load is below it.
    path: String,
    data: Bytes,
}

impl Ensemble {
    /// Creates the znodes that are read and set.
    async fn prepare(servers: &[String], bytes: usize) -> Result<Ensemble> {
        let mut leader_first = Vec::new();
        for server in servers {
            let leads = mode_of(server).await.is_some_and(|mode| mode == "leader");
            leader_first.insert(if leads { 0 } else { leader_first.len() }, server.clone());
        }
        let mut pipeline = Pipeline::open(&leader_first[0]).await?;
        let path = format!("/quorate-bench-{:x}", pipeline.session());
        let data = Bytes::from(vec![b'x'; bytes]);
        pipeline.ask(&create(&path, &data)).await?;
        each(&mut pipeline, 0..ZNODES, |znode, out, xid| {
            encode_request(out, xid, &create(&format!("{path}/{znode}"), &data));
        })
        .await?;
        pipeline.close().await?;
        Ok(Ensemble { servers: leader_first, path, data })
    }

    /// What a load was when it failed.
    fn words(&self, load: ZooKeeperLoad, outstanding: u32) -> String {
        format!("{} {outstanding} at a time at {}", load.name(), self.servers.join(", "))
    }

    /// How many requests each connection has at a time.
    fn shares(&self, outstanding: u32, connections: Option<u32>) -> Vec<usize> {
        let most = connections.map_or(self.servers.len(), |connections| connections as usize);
        let outstanding = outstanding as usize;
        let most = most.min(outstanding);
        let share = |place| outstanding / most + usize::from(place < outstanding % most);
        (0..most).map(share).collect()
    }

    /// One turn, and what it created is deleted.
    async fn load(
        &self,
        load: ZooKeeperLoad,
        shares: &[usize],
        lasting: Duration,
        measured: &mut Measured,
    ) -> Result<()> {
        let mut pipelines = Vec::new();
        for place in 0..shares.len() {
            pipelines.push(Pipeline::open(&self.servers[place % self.servers.len()]).await?);
        }
        let mut running = JoinSet::new();
        let begun = Instant::now();
        for ((pipeline, share), place) in pipelines.into_iter().zip(shares).zip(0..) {
            let (path, data, window) = (self.path.clone(), self.data.clone(), *share);
            let work = Work { load, path, data, place, end: begun + lasting };
            running.spawn(work.run(pipeline, window));
        }
        let mut done = Vec::new();
        while let Some(ended) = running.join_next().await {
            let (pipeline, work, mut times) = ended.context("a connection broke")??;
            done.push((pipeline, work, times.len() as u64));
            measured.times.append(&mut times);
        }
        measured.elapsed += begun.elapsed();
        for (mut pipeline, work, requests) in done {
            work.tidy(&mut pipeline, requests).await?;
            pipeline.close().await?;
        }
        Ok(())
    }

    /// Deletes what [`Ensemble::prepare`] created.
    async fn clean(&self) -> Result<()> {
        let mut pipeline = Pipeline::open(&self.servers[0]).await?;
        each(&mut pipeline, 0..ZNODES, |znode, out, xid| {
            encode_request(out, xid, &delete(&format!("{}/{znode}", self.path)));
        })
        .await
        .with_context(|| format!("{} stays and has to be deleted", self.path))?;
        pipeline.ask(&delete(&self.path)).await?;
        pipeline.close().await
    }
}

/// What one connection does in one turn.
struct Work {
    load: ZooKeeperLoad,
    path: String,
    data: Bytes,
    /// Of this connection among those of the turn.
    place: u64,
    end: Instant,
}

impl Work {
    /// Gives back the connection, and the time of each request.
    async fn run(
        self,
        mut pipeline: Pipeline,
        window: usize,
    ) -> Result<(Pipeline, Work, Vec<Duration>)> {
        let mut number = 0;
        let times = pipeline.run(window, |out, xid| {
            let more = Instant::now() < self.end;
            if more {
                self.append(out, xid, number);
                number += 1;
            }
            more
        });
        let times = times.await?;
        Ok((pipeline, self, times))
    }

    /// Appends the request of this number.
    fn append(&self, out: &mut Vec<u8>, xid: i32, number: u64) {
        let Work { path, data, place, .. } = self;
        let znode = || format!("{path}/{}", (number + place * ZNODES / 3) % ZNODES);
        match self.load {
            ZooKeeperLoad::Set => {
                let (path, data) = (&znode(), Some(data.clone()));
                let set = SetData { path, data, version: ANY };
                encode_request(out, xid, &Request::SetData(set));
            }
            ZooKeeperLoad::Get => {
                let get = Read { path: &znode(), watch: false };
                encode_request(out, xid, &Request::GetData(get));
            }
            ZooKeeperLoad::Create => encode_request(out, xid, &create(&self.created(number), data)),
        }
    }

    fn created(&self, number: u64) -> String {
        format!("{}/created-{}-{number}", self.path, self.place)
    }

    /// Deletes what so many requests have created.
    async fn tidy(&self, pipeline: &mut Pipeline, requests: u64) -> Result<()> {
        if self.load != ZooKeeperLoad::Create {
            return Ok(());
        }
        each(pipeline, 0..requests, |number, out, xid| {
            encode_request(out, xid, &delete(&self.created(number)));
        })
        .await
    }
}

/// One request for each item, many at a time.
async fn each<I>(
    pipeline: &mut Pipeline,
    items: impl IntoIterator<Item = I>,
    request: impl Fn(I, &mut Vec<u8>, i32),
) -> Result<()> {
    let mut items = items.into_iter();
    let sent = pipeline.run(TIDYING_WINDOW, |out, xid| match items.next() {
        None => false,
        Some(item) => {
            request(item, out, xid);
            true
        }
    });
    sent.await.map(drop)
}

fn create<'a>(path: &'a str, data: &Bytes) -> Request<'a> {
    let anyone = Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" };
    Request::Create(Create { path, data: Some(data.clone()), acl: vec![anyone], mode: 0 })
}

fn delete(path: &str) -> Request<'_> {
    Request::Delete(PathVersion { path, version: ANY })
}
