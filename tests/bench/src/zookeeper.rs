//! Three of Debian's ZooKeeper servers for one run, and the same load on them and on quorate in turns.
//!
//! Comes in: a cluster of quorate's. Goes out: a table with both. Invariant: both keep their data in
//! folders of the same disk and sync every transaction; the processes end with their values. Must
//! never compare with what did not start: the reason is told.

use crate::cluster::Cluster;
use anyhow::{Context, Result, anyhow, bail};
use quorate_conformance::install_packages;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const JAR: &str = "/usr/share/java/zookeeper.jar";
const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";
const SERVERS: usize = 3;
/// How long an ensemble may take until it has a leader.
const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// Three servers with a leader.
pub(crate) struct Ensemble {
    servers: Vec<Child>,
    addresses: Vec<String>,
    folder: TempDir,
}

impl Ensemble {
    /// Starts them below this folder.
    pub(crate) fn start(below: &Path) -> Result<Ensemble> {
        if !Path::new(JAR).exists() {
            install_packages(&["zookeeper"])
                .map_err(|error| anyhow!("the package zookeeper cannot be installed: {error}"))?;
        }
        let folder = tempfile::tempdir_in(below)?;
        let ports = free_ports(SERVERS * 3)?;
        let lines: String = (0..SERVERS)
            .map(|server| {
                let [quorum, election] = [ports[server * 3 + 1], ports[server * 3 + 2]];
                format!("server.{}=127.0.0.1:{quorum}:{election}\n", server + 1)
            })
            .collect();
        let addresses = (0..SERVERS).map(|server| format!("127.0.0.1:{}", ports[server * 3]));
        let addresses = addresses.collect();
        let mut ensemble = Ensemble { servers: Vec::new(), addresses, folder };
        for server in 0..SERVERS {
            ensemble.start_server(server, ports[server * 3], &lines)?;
        }
        ensemble.wait()?;
        Ok(ensemble)
    }

    /// As ZooKeeper's own sample configuration has it, but for the limit of connections.
    fn start_server(&mut self, server: usize, port: u16, lines: &str) -> Result<()> {
        let home = self.folder.path().join((server + 1).to_string());
        std::fs::create_dir_all(home.join("data"))?;
        std::fs::write(home.join("data/myid"), (server + 1).to_string())?;
        let text = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={port}\n\
             maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n{lines}",
            home.join("data").display()
        );
        std::fs::write(home.join("zoo.cfg"), text)?;
        let log = File::create(home.join("log"))?;
        let child = Command::new("java")
            .args(["-Xmx1g", "-cp", CLASS_PATH])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(home.join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run java")?;
        self.servers.push(child);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let begun = Instant::now();
        while !self.addresses.iter().all(|address| is_serving(address)) {
            for (server, child) in (1..).zip(&mut self.servers) {
                if let Some(status) = child.try_wait()? {
                    let log = self.folder.path().join(format!("{server}/log"));
                    let log = std::fs::read_to_string(log).unwrap_or_default();
                    bail!("ZooKeeper server {server} ended at once: {status}; it said {log}");
                }
            }
            if begun.elapsed() > START_DEADLINE {
                bail!("the ZooKeeper servers have no leader after {START_DEADLINE:?}");
            }
            std::thread::sleep(POLL_PAUSE);
        }
        Ok(())
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// All at a time, so that none is given twice.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    listeners.iter().map(port).collect()
}

fn is_serving(address: &str) -> bool {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(START_DEADLINE))?;
        stream.write_all(b"srvr")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    answer().is_ok_and(|text| text.contains("Mode:"))
}

/// Loads both, in turns; prints a row for each load.
pub(crate) fn compare(cluster: &Cluster, words: &[&str]) -> Result<()> {
    let ensemble = Ensemble::start(cluster.below())?;
    let (servers, beside) = (cluster.zookeeper_addresses().join(","), ensemble.addresses.join(","));
    let load = ["zk", "--servers", &servers, "--beside", &beside];
    let figures = cluster.figures(&[&load[..], words].concat())?;
    println!("| load | at a time | quorate | p50 | p99 | ZooKeeper | p50 | p99 | times |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for row in figures["rows"].as_array().context("no rows")? {
        let number = |of: &str, name: &str| row[of][name].as_f64().unwrap_or(f64::NAN);
        let columns = |of: &str| {
            let (rate, p50, p99) =
                (number(of, "per_second"), number(of, "p50_ms"), number(of, "p99_ms"));
            format!("{rate:.0} | {p50:.2} ms | {p99:.2} ms")
        };
        let name = |field: &str| row.get(field).cloned().unwrap_or(Value::Null);
        let times = number("servers", "per_second") / number("beside", "per_second");
        println!(
            "| {} | {} | {} | {} | {times:.2} |",
            name("load").as_str().unwrap_or_default(),
            name("outstanding"),
            columns("servers"),
            columns("beside"),
        );
    }
    Ok(())
}
