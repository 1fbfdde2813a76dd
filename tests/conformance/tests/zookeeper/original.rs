//! Debian's ZooKeeper 3.8 as a server process.
//!
//! Comes in: nothing, or a missing package, which is installed. Goes out: an address. Invariant: the
//! process and its data go with this value. Must never be missing in silence: where it cannot be
//! had, the reason is told.

use anyhow::{Context, Result, bail};
use quorate_conformance::{install_packages, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// `super:test`, as ZooKeeper's `DigestAuthenticationProvider` hashes it.
pub(crate) const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

const JAR: &str = "/usr/share/java/zookeeper.jar";
/// With the logger, so that a failure can be looked into.
const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";
/// Transactions between two snapshots, as ZooKeeper has it.
const SNAPSHOT_TRANSACTIONS: u32 = 100_000;
const WORD_DEADLINE: Duration = Duration::from_secs(2);

/// A running server.
pub(crate) struct Original {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

/// Whether it is there, or why it cannot be: the registry is out of reach.
pub(crate) fn is_installed() -> Result<(), String> {
    if Path::new(JAR).exists() {
        return Ok(());
    }
    install_packages(&["zookeeper"])
        .map_err(|error| format!("the package zookeeper cannot be installed: {error}"))
}

impl Original {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Result<Original> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        Original::start_in(folder, &data, SNAPSHOT_TRANSACTIONS).await
    }

    /// Starts one on a free port, on data that is kept when it ends.
    pub(crate) async fn start_on(data: &Path, snapshot_transactions: u32) -> Result<Original> {
        Original::start_in(tempfile::tempdir()?, data, snapshot_transactions).await
    }

    async fn start_in(
        folder: TempDir,
        data: &Path,
        snapshot_transactions: u32,
    ) -> Result<Original> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let text = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             minSessionTimeout=1000\nmaxSessionTimeout=600000\nmaxClientCnxns=0\n\
             admin.enableServer=false\nextendedTypesEnabled=true\n4lw.commands.whitelist=*\n",
            data.display()
        );
        let snapshot_count = format!("-Dzookeeper.snapCount={snapshot_transactions}");
        let configuration = folder.path().join("zoo.cfg");
        std::fs::write(&configuration, text)?;
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new("java")
            .args(["-Xmx256m", "-Dzookeeper.forceSync=no", "-Dzookeeper.extendedTypesEnabled=true"])
            .arg("-Dzookeeper.enforceQuota=true")
            .arg(snapshot_count)
            // Room set aside in a log, in KiB; a log of its own for every snapshot would take up a lot.
            .arg("-Dzookeeper.preAllocSize=64")
            .arg(format!("-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER_DIGEST}"))
            .args(["-cp", CLASS_PATH, "org.apache.zookeeper.server.ZooKeeperServerMain"])
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run java")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut original = Original { child, address, folder };
        poll("ZooKeeper says that it serves", async || {
            if let Some(status) = original.child.try_wait()? {
                bail!("ZooKeeper ended at once: {status}; it said {}", original.log());
            }
            Ok(is_serving(address).then_some(()))
        })
        .await?;
        Ok(original)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_serving(address: SocketAddr) -> bool {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, WORD_DEADLINE)?;
        stream.set_read_timeout(Some(WORD_DEADLINE))?;
        // It answers `ruok` before it takes sessions.
        stream.write_all(b"srvr")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    answer().is_ok_and(|text| text.contains("Mode:"))
}
