//! The process around the replica: sockets, files, threads, clocks, certificates.
//!
//! Comes in: `quorate.toml`, signals, connections. Goes out: inputs to the replica, and its actions
//! performed. Everything here is a thin shell: what a frame means, who leads and what is durable
//! when is decided in `quorate-replica` and below, and none of it is decided again here.
//!
//! Threads: one writes the log's files (`disk`), one writes snapshots and one compiles components
//! (`background`); a tokio runtime runs everything else as tasks: one that owns the replica
//! (`replica_task`), and those of the doors (`quic_native`, `quic_peer`, `zookeeper`). They are joined
//! by the replica's `inbox`, an `outbox` for each connection, and queues of jobs.

#![warn(missing_docs)]

mod background;
pub mod certificates;
pub mod configuration;
mod disk;
mod entropy;
mod handshake_words;
pub mod identity_of;
mod inbox;
mod outbox;
mod quic_native;
mod quic_peer;
mod replica_task;
mod running;
#[cfg(test)]
mod test_doors;
pub mod tls;
mod transport;
mod zookeeper;

pub use configuration::ServerConfig;
pub use disk::{DataDirectory, DataDirectoryError, LOCK_FILE, STATE_FOLDER, perform_in};
pub use entropy::new_incarnation;
pub use quic_native::ANONYMOUS;
pub use replica_task::Standing;
pub use running::{RunningServer, ServerError, Sockets};
pub use zookeeper::{SaslUser, ShownCertificates, ZooKeeperConfig, ZooKeeperTls};

use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};

/// What a server says once it is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where native clients connect.
    pub native_address: SocketAddr,
    /// Where peers connect.
    pub peer_address: SocketAddr,
    /// Where ZooKeeper clients connect, if they may.
    pub zookeeper_address: Option<SocketAddr>,
    /// Where they connect with TLS, if they may.
    pub zookeeper_tls_address: Option<SocketAddr>,
    /// The leader that the server found, or became.
    pub leader: quorate_types::ServerId,
}

/// Runs a server until SIGTERM or SIGINT, then shuts it down cleanly. A second signal ends the
/// process at once. Must not be called from a task of a runtime unless that task may block.
///
/// # Errors
/// The server cannot start.
pub fn run(config: &ServerConfig) -> Result<(), ServerError> {
    run_and_tell(config, |_| {})
}

/// As [`run`]; `on_ready` is called once, when the server first knows a leader.
///
/// # Errors
/// The server cannot start.
pub fn run_and_tell(
    config: &ServerConfig,
    on_ready: impl FnOnce(Ready),
) -> Result<(), ServerError> {
    let server = RunningServer::start(config)?;
    server.runtime().block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut standing = server.standing();
        let mut on_ready = Some(on_ready);
        loop {
            let leader = standing.borrow_and_update().leader;
            if let Some(leader) = leader
                && let Some(on_ready) = on_ready.take()
            {
                let (native_address, peer_address) =
                    (server.native_address(), server.peer_address());
                tracing::info!(%leader, native = %native_address, "ready");
                on_ready(Ready {
                    native_address,
                    peer_address,
                    zookeeper_address: server.zookeeper_address(),
                    zookeeper_tls_address: server.zookeeper_tls_address(),
                    leader,
                });
            }
            tokio::select! {
                changed = standing.changed() => if changed.is_err() { break },
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        tracing::info!("shutting down; a second signal ends this at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("ended by a second signal");
            std::process::exit(130);
        });
        Ok::<_, ServerError>(())
    })?;
    server.shut_down();
    Ok(())
}

/// Ends the process after an error that nobody can handle. Memory, threads and connections go as
/// they are: everything acknowledged is on the disk.
fn abort_process(reason: &str) -> ! {
    tracing::error!(reason, "the server ends");
    // Standard error too: the log may be going elsewhere, and this is the last word.
    eprintln!("quorate: {reason}");
    std::process::abort();
}
