//! `quorate dev`: a local cluster of real server processes with its own certificates.
//!
//! Comes in: how many servers, where. Goes out: a ready line with addresses, a profile that every
//! other command finds. Invariant: the servers end with this process; the data stays for the next
//! time.

use crate::arguments::DevArguments;
use crate::cluster::{NewCluster, NewServer, WrittenCluster, ZooKeeperPorts};
use crate::exit::Mistake;
use crate::lock::interrupted;
use crate::output::Output;
use crate::profile::{Profile, client_config};
use crate::recipe;
use crate::standard_recipes::{STANDARD_RECIPES, usual_mount};
use anyhow::{Context, Result, bail};
use quorate_client::{Client, ErrorCode, MountRequest, ask_status};
use quorate_server::configuration::{ServerConfig, VerifyMode, ZOOKEEPER_PORT, ZOOKEEPER_TLS_PORT};
use quorate_types::limits::Limits;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long the servers have to stop before they are killed.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Between two looks whether a server knows the leader.
const LEADER_PAUSE: Duration = Duration::from_millis(20);
/// Ports between two servers.
const PORT_STEP: u16 = 10;
/// Log segments of a local cluster: small, for they are filled with zeros ahead of use.
const SEGMENT_BYTES: u32 = 1 << 20;

pub(crate) async fn run(arguments: &DevArguments, output: Output) -> Result<()> {
    check_recipes(&arguments.recipes)?;
    let cluster = prepare(arguments)?;
    let mut children = Vec::new();
    for configuration in &cluster.configurations {
        children.push(spawn(configuration)?);
    }
    // One for the whole run: a signal that came between two of them would be lost.
    let mut interruption = pin!(interrupted());
    let serving = tokio::select! {
        ready = make_ready(arguments, &cluster, output) => ready.map(|()| true),
        () = &mut interruption => Ok(false),
        ended = first_end(&children) => Err(ended),
    };
    if matches!(serving, Ok(true)) {
        print_ready(&cluster, &children, output)?;
        watch_over(&mut children, interruption, output).await;
    }
    output.note("stopping");
    stop(children).await?;
    serving.map(drop)
}

/// Before anything is written: a misspelt name is told at once.
fn check_recipes(wanted: &[String]) -> Result<()> {
    let is_known = |name: &&String| STANDARD_RECIPES.iter().any(|(known, _)| known == *name);
    let Some(unknown) = wanted.iter().find(|name| !is_known(name)) else { return Ok(()) };
    let known: Vec<&str> = STANDARD_RECIPES.iter().map(|(name, _)| *name).collect();
    bail!(Mistake::bad_arguments(format!(
        "`{unknown}` is no standard recipe of this binary; there are: {}",
        known.join(", ")
    )))
}

/// Makes the cluster's folder, or takes the one that is there.
fn prepare(arguments: &DevArguments) -> Result<WrittenCluster> {
    let out = &arguments.dir;
    if !out.exists() {
        let servers = dev_servers(arguments)?;
        let limits = Limits { log_segment_bytes: SEGMENT_BYTES, ..Limits::PRODUCTION };
        let name = "dev".to_owned();
        return NewCluster { name, servers, verify: VerifyMode::All, limits }.write(out);
    }
    let out = std::fs::canonicalize(out).with_context(|| out.display().to_string())?;
    let profile_path = out.join("profile.toml");
    let profile = Profile::load(&profile_path).with_context(|| {
        format!("{} is there and holds no dev cluster: name another --dir", out.display())
    })?;
    let count = profile.endpoints.len();
    if u64::try_from(count)? != arguments.servers {
        bail!(
            "{} holds a cluster of {count}: pass --servers {count}, another --dir, or remove it",
            out.display()
        );
    }
    let configurations =
        (1..=count).map(|server| out.join(format!("server-{server}/quorate.toml"))).collect();
    Ok(WrittenCluster { configurations, profile, profile_path })
}

fn dev_servers(arguments: &DevArguments) -> Result<Vec<NewServer>> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let count = u16::try_from(arguments.servers)?;
    let ports: Vec<[u16; 2]> = if arguments.port == 0 {
        free_ports(usize::from(count))?
    } else {
        let last =
            arguments.port.checked_add(PORT_STEP * count).context("the ports end at 65535")?;
        (arguments.port..last)
            .step_by(usize::from(PORT_STEP))
            .map(|port| [port, port + 1])
            .collect()
    };
    let zookeeper_ports = zookeeper_ports(usize::from(count), arguments.port == 0)?;
    let server = |([native_port, peer_port], ports): ([u16; 2], ZooKeeperPorts)| NewServer {
        host: loopback.to_string(),
        listen: loopback,
        native_port,
        peer_port,
        zookeeper_ports: Some(ports),
        data_dir: None,
    };
    Ok(ports.into_iter().zip(zookeeper_ports).map(server).collect())
}

/// TCP ports for ZooKeeper clients: the usual ones and those that follow, unless somebody uses one of
/// them at this moment or `any` will do.
fn zookeeper_ports(count: usize, any: bool) -> Result<Vec<ZooKeeperPorts>> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let usual = (ZOOKEEPER_PORT..).zip(ZOOKEEPER_TLS_PORT..).take(count);
    let usual = usual.map(|(plain, tls)| ZooKeeperPorts { plain, tls });
    let is_free = |ports: ZooKeeperPorts| bind(ports.plain).and_then(|_| bind(ports.tls)).is_ok();
    if !any && usual.clone().all(is_free) {
        return Ok(usual.collect());
    }
    let listeners = (0..count * 2).map(|_| bind(0)).collect::<Result<Vec<_>, _>>();
    let listeners = listeners.context("no free port")?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    let ports = ports.collect::<Result<Vec<_>>>()?;
    let pairs = ports.as_chunks().0.iter();
    Ok(pairs.map(|[plain, tls]| ZooKeeperPorts { plain: *plain, tls: *tls }).collect())
}

/// Pairs of UDP ports that nobody uses at this moment.
fn free_ports(count: usize) -> Result<Vec<[u16; 2]>> {
    let sockets: Vec<UdpSocket> = (0..count * 2)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .context("no free port")?;
    let ports: Vec<u16> = sockets
        .iter()
        .map(|socket| Ok(socket.local_addr()?.port()))
        .collect::<Result<_, std::io::Error>>()?;
    Ok(ports.as_chunks().0.to_vec())
}

fn spawn(configuration: &Path) -> Result<Child> {
    let folder = configuration.parent().unwrap_or(Path::new("."));
    let log_path = folder.join("server.log");
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| log_path.display().to_string())?;
    Command::new(std::env::current_exe().context("where am I?")?)
        .arg("serve")
        .arg("--config")
        .arg(configuration)
        .arg("--exit-with-input")
        // The pipe ends when this process does, however it ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start a server process")
}

/// Waits for a leader, installs and mounts the standard recipes, waits until every server knows the
/// leader: whichever is asked next can answer.
async fn make_ready(
    arguments: &DevArguments,
    cluster: &WrittenCluster,
    output: Output,
) -> Result<()> {
    let reach = crate::arguments::Reach {
        timeout_ms: 60_000,
        session_timeout_ms: 6_000,
        ..crate::arguments::Reach::default()
    };
    let client = Client::connect(client_config(&cluster.profile, &reach)?).await?;
    if !arguments.bare {
        if STANDARD_RECIPES.is_empty() {
            output.note(
                "this binary was built without the standard recipes: run `cargo xtask build`",
            );
        }
        let wanted = |name: &str| {
            arguments.recipes.is_empty() || arguments.recipes.iter().any(|wanted| wanted == name)
        };
        for (name, component) in STANDARD_RECIPES.iter().filter(|(name, _)| wanted(name)) {
            mount_standard(&client, name, component, output).await?;
        }
    }
    client.close().await?;
    for endpoint in &cluster.profile.endpoints {
        let profile = Profile { endpoints: vec![endpoint.clone()], ..cluster.profile.clone() };
        let config = client_config(&profile, &reach)?;
        while ask_status(&config).await?.leader.is_none() {
            tokio::time::sleep(LEADER_PAUSE).await;
        }
    }
    Ok(())
}

async fn mount_standard(
    client: &Client,
    name: &str,
    component: &'static [u8],
    output: Output,
) -> Result<()> {
    let path = usual_mount(name);
    let mounted = client.list_mounts().await?;
    if mounted.iter().any(|mount| mount.path.as_str() == path) {
        return Ok(());
    }
    let installed = recipe::install(client, component.into(), None, output).await?;
    let request = MountRequest {
        path: path.clone(),
        digest: installed.digest,
        config: bytes::Bytes::new(),
        open: false,
        fuel: None,
    };
    match client.mount(request).await {
        Err(error) if error.code() == Some(ErrorCode::NodeExists) => {
            output.note(&format!("{path} is in use: the recipe {name} is not mounted there"));
            Ok(())
        }
        other => Ok(other?),
    }
}

fn print_ready(cluster: &WrittenCluster, children: &[Child], output: Output) -> Result<()> {
    let default = cluster.profile.save_as_default()?;
    let profile = default.as_ref().unwrap_or(&cluster.profile_path);
    let endpoints = cluster.profile.endpoints.join(",");
    let zookeeper = cluster.configurations.iter().map(|path| zookeeper_addresses(path));
    let zookeeper = zookeeper.collect::<Result<Vec<_>>>()?;
    let mut text =
        format!("ready  {} servers  {endpoints}  profile {}", children.len(), profile.display());
    for (door, addresses) in [
        (
            "ZooKeeper clients",
            zookeeper.iter().map(|known| known.plain).collect::<Option<Vec<_>>>(),
        ),
        ("  with TLS", zookeeper.iter().map(|known| known.tls).collect()),
    ] {
        if let Some(addresses) = addresses {
            let addresses = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
            let _ = write!(text, "\n       {door}: {}", addresses.join(","));
        }
    }
    if default.is_none() {
        text.push_str("\n       another profile is the default: pass --profile with this one");
    }
    let servers: Vec<Value> = (1..)
        .zip(children.iter().zip(&cluster.profile.endpoints).zip(&zookeeper))
        .map(|(server, ((child, endpoint), zookeeper)): (u64, _)| {
            json!({
                "server": server,
                "pid": child.id(),
                "native_address": endpoint,
                "zookeeper_address": zookeeper.plain,
                "zookeeper_tls_address": zookeeper.tls,
            })
        })
        .collect();
    let value = json!({
        "ready": true,
        "servers": servers,
        "profile": cluster.profile_path.display().to_string(),
    });
    output.print(&text, &value);
    Ok(())
}

/// Where a server serves ZooKeeper clients.
struct ZooKeeperAddresses {
    plain: Option<SocketAddr>,
    tls: Option<SocketAddr>,
}

/// Where a server serves ZooKeeper clients, by its configuration.
fn zookeeper_addresses(configuration: &Path) -> Result<ZooKeeperAddresses> {
    let config = ServerConfig::load(configuration)?.zookeeper;
    let plain = config.as_ref().and_then(|config| config.listen);
    let tls = config.and_then(|config| config.tls).and_then(|tls| tls.listen);
    Ok(ZooKeeperAddresses { plain, tls })
}

/// An error that says which server ended first.
async fn first_end(children: &[Child]) -> anyhow::Error {
    let pids: Vec<PathBuf> = children
        .iter()
        .filter_map(|child| child.id())
        .map(|pid| PathBuf::from(format!("/proc/{pid}/stat")))
        .collect();
    loop {
        for (server, stat) in (1..).zip(&pids) {
            let text = std::fs::read_to_string(stat).unwrap_or_default();
            let gone = text.is_empty() || text.contains(") Z ");
            if gone {
                let server: u64 = server;
                return anyhow::anyhow!(
                    "server {server} ended at once: see server-{server}/server.log in the cluster's folder"
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Until the user ends it; a server that ends by itself is told of, the others go on.
async fn watch_over(
    children: &mut [Child],
    mut interruption: Pin<&mut impl Future<Output = ()>>,
    output: Output,
) {
    let mut told = vec![false; children.len()];
    loop {
        tokio::select! {
            () = &mut interruption => return,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        for (position, child) in children.iter_mut().enumerate() {
            if let (Ok(Some(status)), false) = (child.try_wait(), told[position]) {
                told[position] = true;
                output.note(&format!("server {} has ended: {status}", position + 1));
            }
        }
        if told.iter().all(|ended| *ended) {
            return;
        }
    }
}

async fn stop(mut children: Vec<Child>) -> Result<()> {
    for child in &mut children {
        // The end of its input asks a server to stop.
        drop(child.stdin.take());
    }
    for child in &mut children {
        if timeout(STOP_GRACE, child.wait()).await.is_err() {
            child.kill().await?;
        }
    }
    Ok(())
}
