//! Three servers, their folder, and a client for each to ask how it stands.
//!
//! Comes in: the binary. Goes out: servers to start, kill and ask by their id. Invariant: while one
//! of these lives no other does, in any process; its servers die with it. Must never touch the
//! profile of whoever runs the tests.

use crate::binary::profile_folder;
use crate::server::{log_tail, signal};
use crate::{ServerProcess, Tool, ZooKeeperTls, binary, poll, word};
use anyhow::{Context, Result, bail};
use quorate_client::{Client, ClientConfig, Pem, ServerId, ServerStatus, SessionState};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Servers of a cluster.
const SERVERS: u64 = 3;
/// Ports between two servers of `quorate dev`.
const PORT_STEP: u16 = 10;
/// Below the ports that systems give to clients: a killed server's port stays free for it.
const PORTS: std::ops::Range<u16> = 12_000..30_000;
/// Lines of each server's log that a failure shows.
const LOG_LINES: usize = 60;

/// What a new cluster carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipes {
    /// No recipe.
    None,
    /// Every standard one, mounted where `quorate dev` mounts them.
    All,
    /// The lock, mounted where `quorate dev` mounts it.
    Lock,
}

/// Waits until no other cluster runs; none does while the file is held.
///
/// # Errors
/// The binary cannot be built, or the file not be locked.
pub fn alone() -> Result<File> {
    // Before the lock: building takes long and disturbs nobody's measurements but its own.
    binary()?;
    let alone = File::create(profile_folder()?.join("conformance.lock"))?;
    alone.lock()?;
    Ok(alone)
}

/// A cluster of three.
pub struct Cluster {
    running: BTreeMap<ServerId, ServerProcess>,
    /// Each connected to one server only.
    observers: BTreeMap<ServerId, Client>,
    endpoints: BTreeMap<ServerId, String>,
    folder: TempDir,
    /// Last, so that the next cluster begins only when this one's processes are gone.
    _alone: File,
}

impl Cluster {
    /// Makes a cluster in a folder of its own and starts every server.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn start(recipes: Recipes) -> Result<Cluster> {
        let alone = tokio::task::spawn_blocking(alone).await??;
        let folder = tempfile::tempdir()?;
        let endpoints = make_cluster(folder.path(), recipes).await?;
        let (running, observers) = (BTreeMap::new(), BTreeMap::new());
        let mut cluster = Cluster { running, observers, endpoints, folder, _alone: alone };
        for server in cluster.servers() {
            cluster.start_server(server)?;
        }
        for server in cluster.servers() {
            cluster.wait_until_ready(server).await?;
        }
        Ok(cluster)
    }

    /// The ids of all servers.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerId> {
        self.endpoints.keys().copied().collect()
    }

    /// The ids of all servers but this one.
    #[must_use]
    pub fn others(&self, server: ServerId) -> Vec<ServerId> {
        self.servers().into_iter().filter(|other| *other != server).collect()
    }

    /// The profile for commands.
    #[must_use]
    pub fn profile(&self) -> PathBuf {
        cluster_folder(self.folder.path()).join("profile.toml")
    }

    /// A server's folder: its configuration, its log, its data.
    #[must_use]
    pub fn server_folder(&self, server: ServerId) -> PathBuf {
        cluster_folder(self.folder.path()).join(format!("server-{server}"))
    }

    /// A server's data directory.
    #[must_use]
    pub fn data_folder(&self, server: ServerId) -> PathBuf {
        self.server_folder(server).join("data")
    }

    /// A configuration with every server.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn client_config(&self) -> Result<ClientConfig> {
        let folder = cluster_folder(self.folder.path()).join("client");
        let authority = Pem::read(folder.join("authority.pem"))?;
        let mut config = ClientConfig::new(self.endpoints.values().cloned(), authority);
        config.client_certificate_pem = Some(Pem::read(folder.join("admin.pem"))?);
        config.client_key_pem = Some(Pem::read(folder.join("admin-key.pem"))?);
        Ok(config)
    }

    /// A configuration with one server only.
    ///
    /// # Errors
    /// As [`Cluster::client_config`].
    pub fn client_config_of(&self, server: ServerId) -> Result<ClientConfig> {
        let mut config = self.client_config()?;
        config.endpoints = vec![self.endpoints[&server].clone()];
        Ok(config)
    }

    /// A client of every server.
    ///
    /// # Errors
    /// See [`Client::connect`].
    pub async fn connect(&self) -> Result<Client> {
        Ok(Client::connect(self.client_config()?).await?)
    }

    /// A client of one server only.
    ///
    /// # Errors
    /// See [`Client::connect`].
    pub async fn connect_to(&self, server: ServerId) -> Result<Client> {
        Ok(Client::connect(self.client_config_of(server)?).await?)
    }

    /// Lets one more server's folder be written, and starts it: it waits to be added.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub fn start_joining(&mut self, tool: &Tool) -> Result<ServerId> {
        let id = ServerId(self.servers().iter().map(|server| server.0).max().unwrap_or(0) + 1);
        let host = format!("127.0.0.1:{}", free_port()?);
        let authority = cluster_folder(self.folder.path()).join("authority");
        let folder = self.server_folder(id);
        let written = tool.done(&[
            "cluster",
            "add-server",
            &host,
            "--authority",
            word(&authority)?,
            "--out",
            word(&folder)?,
            "--data-dir",
            "data",
        ])?;
        if written["server"] != id.0 {
            bail!("server {id} was to be next, not {written}");
        }
        self.endpoints.insert(id, host);
        self.start_server(id)?;
        Ok(id)
    }

    /// A server that was removed: it is ended and counts no more.
    ///
    /// # Errors
    /// It is down.
    pub fn dismiss(&mut self, server: ServerId) -> Result<()> {
        self.kill(server)?;
        self.endpoints.remove(&server);
        Ok(())
    }

    /// Where a server serves ZooKeeper clients.
    ///
    /// # Errors
    /// Its configuration does not say so.
    pub fn zookeeper_address(&self, server: ServerId) -> Result<SocketAddr> {
        self.address_of_zookeeper(server, "listen")
    }

    /// Where it serves them with TLS.
    ///
    /// # Errors
    /// Its configuration does not say so.
    pub fn zookeeper_tls_address(&self, server: ServerId) -> Result<SocketAddr> {
        self.address_of_zookeeper(server, "listen_tls")
    }

    fn address_of_zookeeper(&self, server: ServerId, key: &str) -> Result<SocketAddr> {
        let text = std::fs::read_to_string(self.server_folder(server).join("quorate.toml"))?;
        let section = text.split("[zookeeper]").nth(1).context("there is no [zookeeper]")?;
        let begin = format!("{key} = ");
        let listen = section.lines().find_map(|line| line.strip_prefix(&begin));
        Ok(listen.context("no address")?.trim_matches('"').parse()?)
    }

    /// Certificate files of a ZooKeeper client that is the cluster's administrator.
    #[must_use]
    pub fn zookeeper_tls(&self) -> ZooKeeperTls {
        let folder = cluster_folder(self.folder.path()).join("client");
        let shown = (folder.join("admin.pem"), folder.join("admin-key.pem"));
        let authority = folder.join("authority.pem");
        ZooKeeperTls { authority, shown: Some(shown), is_old: false }
    }

    /// Starts every server again with these lines in its `[zookeeper]`, in the place of others with the
    /// same keys.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn restart_with_zookeeper_lines(&mut self, lines: &str) -> Result<()> {
        self.reconfigure(|text| with_zookeeper_lines(text, lines)).await
    }

    /// Where every server serves ZooKeeper clients, with commas between: what clients take.
    ///
    /// # Errors
    /// As [`Cluster::zookeeper_address`].
    pub fn zookeeper_addresses(&self) -> Result<String> {
        let servers = self.servers();
        let address = |server: &ServerId| Ok(self.zookeeper_address(*server)?.to_string());
        Ok(servers.iter().map(address).collect::<Result<Vec<_>>>()?.join(","))
    }

    /// Ends every server, edits what each is configured with, and starts them again.
    ///
    /// # Errors
    /// The first thing that does not work; an edit that changes nothing.
    pub async fn reconfigure(&mut self, edit: impl Fn(&str) -> String) -> Result<()> {
        for server in self.servers() {
            self.take(server)?.terminate().await?;
            let path = self.server_folder(server).join("quorate.toml");
            let text = std::fs::read_to_string(&path)?;
            let edited = edit(&text);
            if edited == text {
                bail!("{} has nothing to edit: {text}", path.display());
            }
            std::fs::write(path, edited)?;
        }
        for server in self.servers() {
            self.start_server(server)?;
        }
        for server in self.servers() {
            self.wait_until_ready(server).await?;
        }
        Ok(())
    }

    /// Starts a server that is down; does not wait.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_server(&mut self, server: ServerId) -> Result<()> {
        let process = ServerProcess::start(&self.server_folder(server))?;
        let before = self.running.insert(server, process);
        assert!(before.is_none(), "server {server} was running");
        Ok(())
    }

    /// Waits until a server knows a leader.
    ///
    /// # Errors
    /// It ends, or there is none in time.
    pub async fn wait_until_ready(&mut self, server: ServerId) -> Result<()> {
        let process = self.process(server)?;
        process.wait_until_ready().await.with_context(|| format!("server {server}"))
    }

    /// A running server's process.
    ///
    /// # Errors
    /// It is down.
    pub fn process(&mut self, server: ServerId) -> Result<&mut ServerProcess> {
        self.running.get_mut(&server).with_context(|| format!("server {server} is down"))
    }

    /// The process of every running server.
    #[must_use]
    pub fn process_ids(&self) -> BTreeMap<ServerId, u32> {
        self.running.iter().map(|(server, process)| (*server, process.id())).collect()
    }

    /// Takes a running server out, to end it.
    ///
    /// # Errors
    /// It is down.
    pub fn take(&mut self, server: ServerId) -> Result<ServerProcess> {
        self.observers.remove(&server);
        self.running.remove(&server).with_context(|| format!("server {server} is down"))
    }

    /// Kills a server.
    ///
    /// # Errors
    /// It is down.
    pub fn kill(&mut self, server: ServerId) -> Result<()> {
        self.take(server)?.kill()
    }

    /// How one server sees the cluster.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn status(&mut self, server: ServerId) -> Result<ServerStatus> {
        let known = self.observers.get(&server);
        let lives = known.is_some_and(|known| !matches!(known.state(), SessionState::Ended { .. }));
        if !lives {
            let observer = self.connect_to(server).await?;
            self.observers.insert(server, observer);
        }
        let observer = &self.observers[&server];
        let status = observer.within(Duration::from_secs(10)).status().await;
        status.with_context(|| format!("the status of server {server}"))
    }

    /// How every running server sees the cluster; those that cannot be asked are left out.
    pub async fn statuses(&mut self) -> Vec<ServerStatus> {
        let running: Vec<ServerId> = self.running.keys().copied().collect();
        let mut statuses = Vec::new();
        for server in running {
            if let Ok(status) = self.status(server).await {
                statuses.push(status);
            }
        }
        statuses
    }

    /// The leader, once every running server agrees.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn leader(&mut self) -> Result<ServerId> {
        let running = self.running.len();
        poll("every server names the same leader", async || {
            let statuses = self.statuses().await;
            let leader = statuses.iter().find(|status| status.role == "leader");
            let leader = leader.map(|status| status.server);
            let agree =
                statuses.len() == running && statuses.iter().all(|status| status.leader == leader);
            Ok(leader.filter(|_| agree))
        })
        .await
    }

    /// A server that follows, with its fellow and the leader: `(follower, other, leader)`.
    ///
    /// # Errors
    /// As [`Cluster::leader`].
    pub async fn roles(&mut self) -> Result<(ServerId, ServerId, ServerId)> {
        let leader = self.leader().await?;
        let others = self.others(leader);
        Ok((others[0], others[1], leader))
    }

    /// Waits until the leader's followers have all that it has committed by now.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn wait_until_caught_up(&mut self) -> Result<ServerId> {
        let leader = self.leader().await?;
        let goal = self.status(leader).await?.committed.0;
        poll("followers catch up", async || {
            let status = self.status(leader).await?;
            let caught_up = |server: &ServerId| {
                let mut others = status.members.iter().filter(|member| member.server == *server);
                others.any(|member| member.connected && member.matched.unwrap_or(0) >= goal)
            };
            Ok(self.others(leader).iter().all(caught_up).then_some(leader))
        })
        .await
    }

    /// Waits until every server has applied the same; their digests must be equal then.
    ///
    /// # Errors
    /// They differ, or the servers do not meet in time.
    pub async fn assert_equal(&mut self) -> Result<Vec<ServerStatus>> {
        let servers = self.servers();
        let statuses = poll("all servers have applied the same", async || {
            let mut statuses = Vec::new();
            for server in &servers {
                statuses.push(self.status(*server).await?);
            }
            let same = statuses.iter().all(|status| status.applied == statuses[0].applied);
            Ok(same.then_some(statuses))
        })
        .await?;
        let digests: Vec<u64> = statuses.iter().map(|status| status.digest).collect();
        if digests.iter().any(|digest| *digest != digests[0]) {
            bail!("after {} the digests differ: {digests:x?}", statuses[0].applied);
        }
        Ok(statuses)
    }

    /// The end of a server's log.
    #[must_use]
    pub fn log_tail(&self, server: ServerId, lines: usize) -> String {
        log_tail(&self.server_folder(server), lines)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.running.clear();
        if std::thread::panicking() {
            for server in self.servers() {
                eprintln!("---- server {server}\n{}", self.log_tail(server, LOG_LINES));
            }
        }
    }
}

/// Without such a section the text stays as it is.
fn with_zookeeper_lines(text: &str, lines: &str) -> String {
    let key = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    let keys: Vec<String> = lines.lines().map(key).collect();
    let Some((before, section)) = text.split_once("[zookeeper]\n") else { return text.to_owned() };
    let (section, after) = section.split_once("\n\n").unwrap_or((section, ""));
    let kept = section.lines().filter(|line| !keys.contains(&key(line)));
    let section: Vec<&str> = lines.lines().chain(kept).collect();
    format!("{before}[zookeeper]\n{}\n\n{after}", section.join("\n"))
}

fn cluster_folder(folder: &Path) -> PathBuf {
    folder.join("cluster")
}

/// Lets `quorate dev` write configurations and certificates; gives the endpoints.
async fn make_cluster(folder: &Path, recipes: Recipes) -> Result<BTreeMap<ServerId, String>> {
    let mut command = Command::new(binary()?);
    let port = free_port()?.to_string();
    command.args(["--json", "dev", "--servers", &SERVERS.to_string(), "--port", &port]);
    command.arg("--dir").arg(cluster_folder(folder));
    match recipes {
        Recipes::None => command.arg("--bare"),
        Recipes::All => &mut command,
        Recipes::Lock => command.args(["--recipes", "lock"]),
    };
    let log = File::create(folder.join("dev.log"))?;
    command.env("XDG_CONFIG_HOME", folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut dev = command.spawn().context("cannot run quorate dev")?;
    let mut line = String::new();
    let output = dev.stdout.take().context("its output is piped")?;
    BufReader::new(output).read_line(&mut line)?;
    signal(&dev, Signal::TERM)?;
    let ended = poll("quorate dev ends after SIGTERM", async || Ok(dev.try_wait()?)).await;
    if ended.is_err() {
        dev.kill()?;
        dev.wait()?;
    }
    let status = ended?;
    let words = || {
        let log = std::fs::read_to_string(folder.join("dev.log")).unwrap_or_default();
        format!("quorate dev: {status}; it said {line:?}; {log}")
    };
    let value: serde_json::Value = serde_json::from_str(&line).with_context(words)?;
    let servers = value["servers"].as_array().with_context(words)?;
    let endpoint = |server: &serde_json::Value| {
        Some((ServerId(server["server"].as_u64()?), server["native_address"].as_str()?.to_owned()))
    };
    servers.iter().map(endpoint).collect::<Option<_>>().with_context(words)
}

/// The first of a block of ports that nobody uses.
fn free_port() -> Result<u16> {
    let count = u16::try_from(SERVERS)? * PORT_STEP;
    // Starts elsewhere in each process, since another suite on this machine may look as well.
    let blocks = usize::from((PORTS.end - PORTS.start) / count);
    let skipped = usize::try_from(std::process::id())? % blocks;
    let starts = PORTS.step_by(usize::from(count));
    let is_free = |first: &u16| {
        let mut ports = (*first..*first + count).filter(|port| port % PORT_STEP < 2);
        ports.all(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    };
    starts.cycle().skip(skipped).take(blocks).find(is_free).context("no free ports")
}
