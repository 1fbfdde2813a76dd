//! A server from start to end: opens the data directory, starts the threads, opens the doors, and
//! takes all of it down again in order.
//!
//! Comes in: a configuration. Goes out: a running server with its addresses. Invariant: nobody is
//! let in before the data directory is locked and read; a server has ended only after the replica
//! has handed over and the disk thread has done every job.

use crate::background::{self, CompileJob, SnapshotJob};
use crate::configuration::{ServerConfig, SignerError, VerifyMode};
use crate::disk::{self, DataDirectory, DataDirectoryError, DiskJob, DiskPerformer};
use crate::entropy;
use crate::identity_of::{CertificateName, identity_of};
use crate::inbox::Inbox;
use crate::quic_native::{ConnectionNumbers, NativeDoor};
use crate::quic_peer::{PeerDoor, PeerSettings};
use crate::replica_task::{self, Clock, Members, Performers, Standing};
use crate::tls::{TlsError, TlsMaterial};
use crate::transport::{self, CLOSE_DEADLINE, CloseCode, FLUSH_DEADLINE};
use crate::zookeeper::{Listeners, ZooKeeperConfig, ZooKeeperDoor};
use quinn::{Endpoint, EndpointConfig, TokioRuntime, VarInt};
use quorate_recipe_host::{Catalogue, WasmExecutor};
use quorate_replica::{Input, MemberAddress, Replica, Settings, StartError, Verify};
use quorate_storage::ServerIdentity;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its data directory.
    #[error("the data directory cannot be used: {0}")]
    DataDirectory(#[from] DataDirectoryError),
    /// What is in it.
    #[error("the data directory cannot be started from: {0}")]
    Data(#[from] StartError),
    /// Its certificates.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// Its certificate is for somebody else.
    #[error("the certificate in tls.certificate is not this server's: {0}")]
    WrongCertificate(String),
    /// An address.
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The key of somebody who signs recipes.
    #[error("{0}")]
    Signer(#[from] SignerError),
    /// The recipe engine.
    #[error("recipes cannot run here: {0}")]
    Recipes(#[from] quorate_recipe_host::RecipeError),
    /// A thread or the like.
    #[error("the operating system refused: {0}")]
    System(#[from] io::Error),
}

/// The sockets of all doors. Bound apart from the start so that several servers of one process or
/// test can learn all addresses before the first starts.
#[derive(Debug)]
pub struct Sockets {
    native: UdpSocket,
    peer: UdpSocket,
    zookeeper: Listeners<TcpListener>,
}

impl Sockets {
    /// Binds the configured addresses.
    ///
    /// # Errors
    /// An address is in use or not this machine's.
    pub fn bind(native: SocketAddr, peer: SocketAddr) -> Result<Sockets, ServerError> {
        let bind = |address| {
            UdpSocket::bind(address).map_err(|source| ServerError::Listen { address, source })
        };
        let zookeeper = Listeners { main: None, tls: None };
        Ok(Sockets { native: bind(native)?, peer: bind(peer)?, zookeeper })
    }

    /// With the ports for ZooKeeper clients.
    ///
    /// # Errors
    /// An address is in use or not this machine's.
    pub fn with_zookeeper(mut self, config: &ZooKeeperConfig) -> Result<Sockets, ServerError> {
        let bind = |address| {
            TcpListener::bind(address).map_err(|source| ServerError::Listen { address, source })
        };
        let tls = config.tls.as_ref().and_then(|tls| tls.listen);
        self.zookeeper = Listeners {
            main: config.listen.map(bind).transpose()?,
            tls: tls.map(bind).transpose()?,
        };
        Ok(self)
    }

    /// Where ZooKeeper clients connect, if they may.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn zookeeper_address(&self) -> io::Result<Option<SocketAddr>> {
        self.zookeeper.main.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Where they connect with TLS, if they may.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn zookeeper_tls_address(&self) -> io::Result<Option<SocketAddr>> {
        self.zookeeper.tls.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Where native clients connect.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn native_address(&self) -> io::Result<SocketAddr> {
        self.native.local_addr()
    }

    /// Where peers connect.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        self.peer.local_addr()
    }
}

/// A server that runs in this process. Dropping it shuts it down.
pub struct RunningServer {
    runtime: Option<Runtime>,
    inbox: Arc<Inbox>,
    threads: Vec<JoinHandle<()>>,
    replica_task: tokio::task::JoinHandle<()>,
    standing: watch::Receiver<Standing>,
    stopping: watch::Sender<bool>,
    endpoints: [Endpoint; 2],
    /// Of native and of ZooKeeper clients.
    client_doors: Vec<tokio::task::JoinHandle<()>>,
    peer_door: Option<tokio::task::JoinHandle<()>>,
    peer_stopping: watch::Sender<bool>,
    native_address: SocketAddr,
    peer_address: SocketAddr,
    zookeeper_address: Option<SocketAddr>,
    zookeeper_tls_address: Option<SocketAddr>,
    /// Held until everything else has ended.
    data: DataDirectory,
}

impl RunningServer {
    /// Binds the configured addresses and starts.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub fn start(config: &ServerConfig) -> Result<RunningServer, ServerError> {
        // The sockets come last in a start, but their errors are the commonest: tried first.
        let mut sockets = Sockets::bind(config.native_listen, config.peer_listen)?;
        if let Some(zookeeper) = &config.zookeeper {
            sockets = sockets.with_zookeeper(zookeeper)?;
        }
        RunningServer::start_on(config, sockets)
    }

    /// Starts on sockets that are bound already.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub fn start_on(config: &ServerConfig, sockets: Sockets) -> Result<RunningServer, ServerError> {
        let tls = TlsMaterial::load(&config.tls)?;
        check_own_certificate(config, &tls)?;
        let trust = config.recipes.trust()?;
        let data = DataDirectory::open(&config.data_dir)?;
        let compiler = background::compiler(&data.compiled_folder())?;
        let catalogue = Arc::new(Catalogue::new());
        let clock = Clock::new();
        let executor = WasmExecutor::new(Arc::clone(&catalogue)).timed().trusting(trust);
        let files = data.read_files()?;
        let replica = Replica::start(settings(config), &files, executor, clock.now())?;
        drop(files);
        let identity = replica.identity();

        let inbox = Arc::new(Inbox::new());
        let (standing_sender, standing) = watch::channel(Standing::default());
        let (members_sender, members) = watch::channel(Arc::new(replica.member_addresses()));
        let applied = Arc::new(AtomicU64::new(replica.applied().0));
        let (disk_sender, disk_jobs) = channel::<DiskJob>();
        let (snapshot_sender, snapshot_jobs) = channel::<SnapshotJob>();
        let (compile_sender, compile_jobs) = channel::<CompileJob>();
        let performers = Performers {
            disk: disk_sender,
            snapshots: snapshot_sender,
            compiler: compile_sender,
            standing: standing_sender,
            members: members_sender,
            applied: Arc::clone(&applied),
        };
        let (starts, state_folder) = (data.starts(), data.state_folder());
        let doors = Doors { config, tls: &tls, inbox: &inbox, starts, state_folder, members };
        let doors = doors.open(sockets, identity, applied)?;
        let replica_inbox = Arc::clone(&inbox);
        let replica_task = doors.runtime.spawn(async move {
            let _part = Part("replica");
            replica_task::run(Box::new(replica), replica_inbox, clock, performers).await;
        });
        let compile_inbox = Arc::clone(&inbox);
        let run_compiler = move || {
            background::run_compiler(&compile_jobs, &compiler, &catalogue, &compile_inbox);
        };
        let threads = vec![
            spawn_disk(&data, disk_jobs, &inbox)?,
            spawn_snapshots(&data, snapshot_jobs, (identity.cluster, &inbox))?,
            spawn("compiler", replica_task::STACK_BYTES, run_compiler)?,
        ];
        tracing::info!(
            server = %config.server, cluster = config.cluster, native = %doors.native_address,
            peers = %doors.peer_address, data_dir = %config.data_dir.display(), "server started"
        );
        Ok(RunningServer {
            runtime: Some(doors.runtime),
            inbox,
            threads,
            replica_task,
            standing,
            stopping: doors.stopping,
            endpoints: doors.endpoints,
            client_doors: doors.client_doors,
            peer_door: Some(doors.peer_door),
            peer_stopping: doors.peer_stopping,
            native_address: doors.native_address,
            peer_address: doors.peer_address,
            zookeeper_address: doors.zookeeper_address,
            zookeeper_tls_address: doors.zookeeper_tls_address,
            data,
        })
    }

    /// Where native clients connect.
    #[must_use]
    pub fn native_address(&self) -> SocketAddr {
        self.native_address
    }

    /// Where peers connect.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Where ZooKeeper clients connect, if they may.
    #[must_use]
    pub fn zookeeper_address(&self) -> Option<SocketAddr> {
        self.zookeeper_address
    }

    /// Where they connect with TLS, if they may.
    #[must_use]
    pub fn zookeeper_tls_address(&self) -> Option<SocketAddr> {
        self.zookeeper_tls_address
    }

    /// How often a server was started in this data directory, this time among them.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.data.starts()
    }

    /// What the replica says of itself; changes are announced.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits until this server knows a leader. False: it does not within `longest`.
    #[must_use]
    pub fn wait_for_leader(&self, longest: Duration) -> bool {
        let mut standing = self.standing.clone();
        self.runtime().block_on(async {
            let known = standing.wait_for(|standing| standing.leader.is_some());
            matches!(tokio::time::timeout(longest, known).await, Ok(Ok(_)))
        })
    }

    /// The runtime that serves the doors, for tasks that belong to this server.
    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("taken only when the server is dropped")
    }

    /// Hands over leadership, says goodbye to clients, makes everything durable, ends; waits for
    /// all of it.
    pub fn shut_down(self) {
        drop(self);
    }

    fn end(&mut self, runtime: Runtime) {
        self.stopping.send_replace(true);
        self.inbox.send_own(Input::Shutdown);
        runtime.block_on(self.close_doors());
        // The other threads end when it has given up their queues.
        let _ = runtime.block_on(&mut self.replica_task);
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended the process already.
            let _ = thread.join();
        }
        runtime.shutdown_timeout(FLUSH_DEADLINE);
        tracing::info!("server stopped");
    }

    async fn close_doors(&mut self) {
        // An error means that the replica's task is gone, which is an end too.
        let _ = self.standing.wait_for(|standing| standing.shut_down).await;
        for door in self.client_doors.drain(..) {
            let _ = tokio::time::timeout(FLUSH_DEADLINE * 2, door).await;
        }
        self.peer_stopping.send_replace(true);
        if let Some(door) = self.peer_door.take() {
            let _ = tokio::time::timeout(FLUSH_DEADLINE * 2, door).await;
        }
        for endpoint in &self.endpoints {
            let code = VarInt::from_u32(CloseCode::ShuttingDown as u32);
            endpoint.close(code, b"the server is shutting down");
            let _ = tokio::time::timeout(CLOSE_DEADLINE, endpoint.wait_idle()).await;
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // On a thread of its own: whoever drops a server may be a task, which must not block.
        std::thread::scope(|scope| scope.spawn(|| self.end(runtime)).join().is_ok());
    }
}

fn check_own_certificate(config: &ServerConfig, tls: &TlsMaterial) -> Result<(), ServerError> {
    match identity_of(tls.own_certificate(), &config.cluster) {
        Ok(CertificateName::Server(server)) if server == config.server => Ok(()),
        Ok(name) => Err(ServerError::WrongCertificate(format!(
            "it is for {name}; server.id is {}",
            config.server
        ))),
        Err(reason) => Err(ServerError::WrongCertificate(reason.to_string())),
    }
}

fn settings(config: &ServerConfig) -> Settings {
    let members = config.members.iter().map(|member| {
        let (peer, native) = (member.peer_address.clone(), member.native_address.clone());
        let zookeeper = member.zookeeper_address.clone();
        (member.server, MemberAddress { peer, native, zookeeper })
    });
    Settings {
        identity: ServerIdentity {
            cluster: config.cluster_id(),
            server: config.server,
            incarnation: entropy::new_incarnation(),
        },
        members: members.collect(),
        join: config.join,
        read_only_mode: config.zookeeper.as_ref().is_some_and(|door| door.read_only_mode),
        seed: entropy::random_number(),
        election_timeout_ms_min: config.timeouts.election_ms_min,
        election_timeout_ms_max: config.timeouts.election_ms_max,
        heartbeat_interval_ms: config.timeouts.heartbeat_ms,
        verify: match config.verify {
            VerifyMode::Off => Verify::Off,
            VerifyMode::Sample => Verify::Sample,
            VerifyMode::All => Verify::All,
        },
        limits: config.limits,
    }
}

fn spawn_disk(
    data: &DataDirectory,
    jobs: Receiver<DiskJob>,
    inbox: &Arc<Inbox>,
) -> io::Result<JoinHandle<()>> {
    let performer = DiskPerformer::new(data.state_folder());
    let inbox = Arc::clone(inbox);
    spawn("disk", 1 << 20, move || disk::run(&jobs, performer, &inbox))
}

fn spawn_snapshots(
    data: &DataDirectory,
    jobs: Receiver<SnapshotJob>,
    (cluster_id, inbox): (u64, &Arc<Inbox>),
) -> io::Result<JoinHandle<()>> {
    let (folder, inbox) = (data.state_folder(), Arc::clone(inbox));
    spawn("snapshots", 4 << 20, move || {
        background::run_snapshots(&jobs, &folder, cluster_id, &inbox);
    })
}

/// A thread whose panic ends the process.
fn spawn(
    name: &'static str,
    stack_bytes: usize,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(stack_bytes);
    builder.spawn(move || {
        let _part = Part(name);
        work();
    })
}

/// A part of the server whose panic ends the process: a server with a part missing is worse than
/// none.
struct Part(&'static str);

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::abort_process(&format!("the {} met a bug; please report it", self.0));
        }
    }
}

struct Doors<'a> {
    config: &'a ServerConfig,
    tls: &'a TlsMaterial,
    inbox: &'a Arc<Inbox>,
    starts: u64,
    /// Of the log and the snapshots.
    state_folder: PathBuf,
    members: watch::Receiver<Members>,
}

struct OpenDoors {
    runtime: Runtime,
    stopping: watch::Sender<bool>,
    peer_stopping: watch::Sender<bool>,
    endpoints: [Endpoint; 2],
    client_doors: Vec<tokio::task::JoinHandle<()>>,
    peer_door: tokio::task::JoinHandle<()>,
    native_address: SocketAddr,
    peer_address: SocketAddr,
    zookeeper_address: Option<SocketAddr>,
    zookeeper_tls_address: Option<SocketAddr>,
}

/// One core is left to the disk. On a small machine more threads would mostly wake one another: with
/// two on two cores, one write at a time took an eighth longer.
fn serving_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1))
}

impl Doors<'_> {
    fn open(
        &self,
        sockets: Sockets,
        identity: ServerIdentity,
        applied: Arc<AtomicU64>,
    ) -> Result<OpenDoors, ServerError> {
        let config = self.config;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("serving")
            .worker_threads(serving_threads())
            .thread_stack_size(replica_task::STACK_BYTES)
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let (native_address, peer_address) = (sockets.native_address()?, sockets.peer_address()?);
        let zookeeper_address = sockets.zookeeper_address()?;
        let zookeeper_tls_address = sockets.zookeeper_tls_address()?;
        let native_config = self.tls.native_door(config.client_certificates)?;
        let native_reset = transport::endpoint_config(self.tls.secret_for("native reset tokens"));
        let peer_reset = transport::endpoint_config(self.tls.secret_for("peer reset tokens"));
        let native_endpoint = endpoint(sockets.native, native_config, native_reset)?;
        let peer_endpoint = endpoint(sockets.peer, self.tls.peer_door()?, peer_reset)?;
        let endpoints = [native_endpoint.clone(), peer_endpoint.clone()];
        let dialer = self.tls.peer_dialer()?;
        let (stopping, native_stopping) = watch::channel(false);
        let (peer_stopping, peers_stopping) = watch::channel(false);
        let inbox = Arc::clone(self.inbox);
        let numbers = Arc::new(ConnectionNumbers::new(self.starts));
        let mut client_doors = Vec::new();
        if let Some(settings) = &config.zookeeper {
            let shared = (Arc::clone(&inbox), Arc::clone(&numbers));
            let (settings, folder) = (settings.clone(), self.state_folder.clone());
            let door = ZooKeeperDoor::new(settings, config.limits, shared, folder)?;
            let listeners = Listeners {
                main: sockets.zookeeper.main.map(listening).transpose()?,
                tls: sockets.zookeeper.tls.map(listening).transpose()?,
            };
            let serve = Arc::new(door).serve(listeners, native_stopping.clone());
            client_doors.push(runtime.spawn(serve));
        }
        let native = NativeDoor::new(config.cluster.clone(), config.limits, inbox, numbers);
        let native = Arc::new(native);
        let peers = config.members.iter().filter(|member| member.server != config.server);
        let peer_settings = PeerSettings {
            server: config.server,
            incarnation: identity.incarnation,
            cluster: config.cluster.clone(),
            cluster_id: identity.cluster,
            configured: peers.map(|member| (member.server, member.peer_address.clone())).collect(),
            frame_bytes_max: config.limits.peer_frame_bytes_max,
        };
        let peer = Arc::new(PeerDoor::new(
            peer_settings,
            self.members.clone(),
            Arc::clone(self.inbox),
            applied,
        ));
        client_doors.push(runtime.spawn(native.serve(native_endpoint, native_stopping)));
        let peer_door = runtime.spawn(peer.serve(peer_endpoint, dialer, peers_stopping));
        drop(entered);
        Ok(OpenDoors {
            runtime,
            stopping,
            peer_stopping,
            endpoints,
            client_doors,
            peer_door,
            native_address,
            peer_address,
            zookeeper_address,
            zookeeper_tls_address,
        })
    }
}

/// A bound port of TCP as the runtime has it; needs an entered runtime.
fn listening(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// An endpoint on a bound socket; needs an entered runtime.
pub(crate) fn endpoint(
    socket: UdpSocket,
    config: quinn::ServerConfig,
    endpoint_config: EndpointConfig,
) -> io::Result<Endpoint> {
    socket.set_nonblocking(true)?;
    Endpoint::new(endpoint_config, Some(config), socket, Arc::new(TokioRuntime))
}
