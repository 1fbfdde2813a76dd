//! A watch whose server is killed again and again while others write: it tells what was
//! acknowledged, each write once.

use anyhow::{Context, Result, bail, ensure};
use quorate_client::{
    Client, CreateMode, Notification, Operation, Reply, ServerId, SessionState, WatchEvent,
    WatchEventKind, WatchMode, WatchOptions, ZnodePath, Zxid,
};
use quorate_conformance::{Cluster, PATIENCE, Recipes, binary, on_cluster, poll};
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

const KILLS: usize = 8;
const TOP: &str = "/stream";
const VALUE: &str = "/stream/value";
const END: &str = "/stream/end";

/// A change, as its writer was told of it and as a watcher is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    zxid: Zxid,
    kind: WatchEventKind,
    path: String,
    data: String,
}

#[test]
fn a_recursive_watch_equals_the_acknowledged_writes_over_kills_of_its_server() {
    on_cluster(Recipes::None, async |cluster| {
        cluster.leader().await?;
        let writer = cluster.connect().await?;
        create(&writer, TOP, "").await?;
        let value = create(&writer, VALUE, "0").await?;
        let watcher = Client::connect(cluster.client_config()?).await?;
        let options = WatchOptions::new(WatchMode::PersistentRecursive).since(value.zxid);
        let mut watch = watcher.watch_with(TOP, options.with_values()).await?;
        let told = tokio::spawn(async move {
            let mut told = Vec::new();
            loop {
                let Some(notification) = watch.next().await else { bail!("the session ended") };
                let Notification::Changed(event) = notification else {
                    bail!("after {} events: {notification:?}", told.len())
                };
                told.push(change_of(event)?);
                if told.last().is_some_and(|last| last.path == END) {
                    return Ok(told);
                }
            }
        });
        let stop = Arc::new(AtomicBool::new(false));
        let writing = start_writing(writer, Arc::clone(&stop));
        for _ in 0..KILLS {
            kill_server_of(cluster, &watcher).await?;
        }
        stop.store(true, Ordering::Relaxed);
        let written = writing.await??;
        let told =
            tokio::time::timeout(PATIENCE, told).await.context("the end was not told")???;
        println!("{} writes were acknowledged, {} were told", written.len(), told.len());
        let differs = written.iter().zip(&told).find(|(written, told)| written != told);
        ensure!(differs.is_none(), "written and told: {differs:?}");
        ensure!(written.len() == told.len());
        watch_by_command(cluster, &written)
    });
}

/// What is written from here on, until told to stop; then the end.
fn start_writing(client: Client, stop: Arc<AtomicBool>) -> JoinHandle<Result<Vec<Change>>> {
    tokio::spawn(async move {
        let mut written = Vec::new();
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        for number in 1u64.. {
            pace.tick().await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let data = number.to_string();
            written.push(match number % 3 {
                0 => create(&client, &format!("{TOP}/{number}"), &data).await?,
                _ => set(&client, &data).await?,
            });
        }
        written.push(create(&client, END, "").await?);
        Ok(written)
    })
}

async fn create(client: &Client, path: &str, data: &str) -> Result<Change> {
    let operation = Operation::Create {
        path: ZnodePath::parse(path)?,
        data: data.to_owned().into(),
        mode: CreateMode::Persistent,
        acl: None,
    };
    let Reply::Created(_, stat) = client.request(operation).await? else { bail!("no znode") };
    let (kind, path, data) = (WatchEventKind::Created, path.to_owned(), data.to_owned());
    Ok(Change { zxid: stat.czxid, kind, path, data })
}

async fn set(client: &Client, data: &str) -> Result<Change> {
    let stat = client.set(VALUE, data.to_owned(), None).await?;
    let (kind, path, data) = (WatchEventKind::DataChanged, VALUE.to_owned(), data.to_owned());
    Ok(Change { zxid: stat.mzxid, kind, path, data })
}

fn change_of(event: WatchEvent) -> Result<Change> {
    let data = event.data.context("the watch asked for values")?;
    let data = String::from_utf8(data.to_vec())?;
    Ok(Change { zxid: event.zxid, kind: event.kind, path: event.path.as_str().to_owned(), data })
}

fn server_of(client: &Client) -> Option<ServerId> {
    match client.state() {
        SessionState::Connected { server, .. } => Some(server),
        SessionState::Disconnected | SessionState::Ended { .. } => None,
    }
}

async fn kill_server_of(cluster: &mut Cluster, watcher: &Client) -> Result<()> {
    cluster.wait_until_caught_up().await?;
    let killed = poll("the watcher is connected", async || Ok(server_of(watcher))).await?;
    cluster.kill(killed)?;
    poll("the watcher has moved", async || {
        Ok(server_of(watcher).filter(|server| *server != killed))
    })
    .await?;
    cluster.start_server(killed)?;
    cluster.wait_until_ready(killed).await
}

/// `quorate tree watch` from a zxid, then from where it stopped.
fn watch_by_command(cluster: &Cluster, written: &[Change]) -> Result<()> {
    let mut from = written[0].zxid.to_string();
    for part in [&written[1..4], &written[4..6]] {
        let output = Command::new(binary()?)
            .args(["--json", "--profile"])
            .arg(cluster.profile())
            .args(["tree", "watch", TOP, "--recursive", "--values", "--from", &from, "--count"])
            .arg(part.len().to_string())
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout)?;
        let mut lines: Vec<Value> =
            printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let end = lines.pop().context("nothing was printed")?;
        let printed: Vec<_> =
            lines.iter().map(|line| (line["zxid"].as_u64(), line["data"].as_str())).collect();
        let expected: Vec<_> =
            part.iter().map(|change| (Some(change.zxid.0), Some(change.data.as_str()))).collect();
        ensure!(printed == expected, "{printed:?} instead of {expected:?}");
        from = end["position"].as_str().context("the last line says where to go on")?.to_owned();
    }
    Ok(())
}
