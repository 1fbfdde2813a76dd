//! Two thousand ZooKeeper sessions lose their server at once.

use anyhow::{Context, Result, ensure};
use quorate_client::ServerId;
use quorate_conformance::{Cluster, Recipes, ZooKeeperClient, ZooKeeperSession, on_cluster};
use quorate_types::Permissions;
use quorate_wire::zookeeper::{Acl, Create, Read, Reply, Request, ServerMessage};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const SESSIONS: usize = 2_000;
const THREADS: usize = 8;
/// Long enough that a busy machine resumes all of them in time.
const TIMEOUT_MS: i32 = 30_000;

/// A session, with the ephemeral znode that it owns.
struct Held {
    session: ZooKeeperSession,
    path: String,
}

#[test]
fn all_sessions_of_a_killed_server_go_on_elsewhere_with_their_ephemerals() {
    on_cluster(Recipes::None, async |cluster| {
        // All sessions here are of one address.
        let (usual, any) = ("connections_per_address_max = 60", "connections_per_address_max = 0");
        cluster.reconfigure(|text| text.replace(usual, any)).await?;
        let victim = cluster.leader().await?;
        let addresses = others(cluster, victim)?;
        let address = cluster.zookeeper_address(victim)?;
        let of_thread = |thread| (thread..SESSIONS).step_by(THREADS).collect();
        let numbers: Vec<Vec<usize>> = (0..THREADS).map(of_thread).collect();
        let groups = spread(numbers, move |number, _| open(address, *number)).await?;
        let sessions_before = cluster.status(victim).await?.sessions;
        cluster.kill(victim)?;
        let begin = Instant::now();
        let resumed =
            spread(groups, move |held, place| resume(addresses[place % addresses.len()], held))
                .await?;
        let took = begin.elapsed();
        println!("{SESSIONS} sessions went on within {took:?} of the kill of their server");
        let leader = cluster.leader().await?;
        let sessions = cluster.status(leader).await?.sessions;
        // The observer's own session at the victim may have gone, none of the others.
        ensure!(sessions + 1 >= sessions_before, "{sessions_before} sessions became {sessions}");
        let gone = resumed.iter().flatten().filter(|is_there| !**is_there).count();
        ensure!(gone == 0, "{gone} sessions or ephemerals are gone");
        cluster.start_server(victim)?;
        cluster.wait_until_ready(victim).await?;
        cluster.assert_equal().await.map(drop)
    });
}

fn others(cluster: &Cluster, victim: ServerId) -> Result<Vec<SocketAddr>> {
    cluster.others(victim).into_iter().map(|server| cluster.zookeeper_address(server)).collect()
}

fn open(address: SocketAddr, number: usize) -> Result<Held> {
    let mut client = ZooKeeperClient::connect(address, TIMEOUT_MS)?;
    let path = format!("/storm-{number}");
    let all = Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" };
    let create = Create { path: &path, data: None, acl: vec![all], mode: 1 };
    let made = client.ask(&Request::Create(create))?.context("the server closed")?;
    ensure!(matches!(made.message()?, ServerMessage::Reply { .. }), "{:?}", made.message()?);
    let session = client.session().clone();
    // The connection stays with the server until that dies.
    std::mem::forget(client);
    Ok(Held { session, path })
}

/// Goes on with a session at a server that may still look for a leader; says whether it and its
/// ephemeral znode are there.
fn resume(address: SocketAddr, held: &Held) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(25);
    loop {
        match ZooKeeperClient::resume(address, TIMEOUT_MS, &held.session, 0) {
            Ok(Some(mut client)) if client.timeout_ms() > 0 => {
                let wanted = Request::Exists(Read { path: &held.path, watch: false });
                let answer = client.ask(&wanted)?.context("the server closed")?;
                let owner = match answer.message()? {
                    ServerMessage::Reply { reply: Reply::Stat(stat), .. } => stat.ephemeral_owner,
                    _ => 0,
                };
                std::mem::forget(client);
                return Ok(owner == held.session.id);
            }
            Ok(Some(_)) => return Ok(false),
            Ok(None) | Err(_) => ensure!(Instant::now() < deadline, "{address} lets nobody in"),
        }
        thread::yield_now();
    }
}

/// Does it for every item of these groups, each group on a thread of its own; `work` is told its place
/// in the group too.
async fn spread<H: Send + 'static, T: Send + 'static>(
    groups: Vec<Vec<H>>,
    work: impl Fn(&H, usize) -> Result<T> + Clone + Send + 'static,
) -> Result<Vec<Vec<T>>> {
    let tasks = groups.into_iter().map(|group| {
        let work = work.clone();
        tokio::task::spawn_blocking(move || {
            group.iter().enumerate().map(|(place, item)| work(item, place)).collect::<Result<_>>()
        })
    });
    let mut done = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        done.push(task.await??);
    }
    Ok(done)
}
