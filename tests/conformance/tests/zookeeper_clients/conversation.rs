//! A client's program puts promises to the test and has servers killed or stopped for it.
//!
//! Comes in: its lines: `kept …`, `violated …`, and `kill`, `start`, `freeze`, `thaw` with the address of
//! a server, or with `the leader`. Goes out: what was asked for, and how many promises were kept. Must
//! never pass over a promise that was violated.

use anyhow::{Context, Result, bail};
use quorate_conformance::{Cluster, Program};
use quorate_types::ServerId;
use std::process::Command;
use std::time::Duration;

/// Longer than the program itself waits for any promise: it is to say which was not kept.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program and what it has said.
pub(crate) struct Conversation {
    program: Program,
    kept: usize,
}

impl Conversation {
    pub(crate) fn start(command: &mut Command) -> Result<Conversation> {
        Ok(Conversation { program: Program::start(command)?, kept: 0 })
    }

    /// Does what it asks for until it ends; gives the promises kept.
    pub(crate) async fn run(mut self, cluster: &mut Cluster) -> Result<usize> {
        while let Some(line) = self.program.line(PATIENCE).await? {
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "kept" => self.note(&line),
                "violated" => bail!("{line}"),
                "kill" | "start" | "freeze" | "thaw" => self.change(cluster, verb, rest).await?,
                _ => println!("{line}"),
            }
        }
        Ok(self.kept)
    }

    fn note(&mut self, line: &str) {
        println!("{line}");
        self.kept += 1;
    }

    /// Does it to a server, and tells the program which one it was.
    async fn change(&mut self, cluster: &mut Cluster, verb: &str, which: &str) -> Result<()> {
        let server = match which {
            "the leader" => cluster.leader().await?,
            address => server_at(cluster, address)?,
        };
        match verb {
            "kill" => cluster.kill(server)?,
            "freeze" => cluster.process(server)?.freeze()?,
            "thaw" => cluster.process(server)?.thaw()?,
            _ => {
                cluster.start_server(server)?;
                cluster.wait_until_ready(server).await?;
            }
        }
        self.program.tell(&cluster.zookeeper_address(server)?.to_string())
    }
}

fn server_at(cluster: &Cluster, address: &str) -> Result<ServerId> {
    for server in cluster.servers() {
        if cluster.zookeeper_address(server)?.to_string() == address {
            return Ok(server);
        }
    }
    None.with_context(|| format!("no server is at {address}"))
}
