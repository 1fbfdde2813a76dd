//! What a writer has written, and the check that it is there.
//!
//! Comes in: acknowledgements. Goes out: an error that names what is missing or there twice.
//! Invariant: names carry the number of the write that made them, so that a write done twice shows.

use crate::Cluster;
use anyhow::{Context, Result, bail};
use quorate_client::{Client, ReadLevel, ServerId};
use std::collections::BTreeSet;

/// The znode above everything that writers make.
const TOP: &str = "/writes";

/// What one writer has written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The writer's.
    pub name: String,
    /// Sessions it needed; more than one means that one was lost.
    pub sessions: u32,
    /// Sequential znodes asked for.
    pub created_tried: u64,
    /// Values asked for: 1, 2 and so on.
    pub set_tried: u64,
    /// Names acknowledged, in the order of acknowledgement.
    pub created: Vec<String>,
    /// Values acknowledged.
    pub set_count: u64,
    /// The greatest of them.
    pub set_newest: u64,
}

impl Written {
    pub(crate) fn new(name: &str) -> Written {
        Written {
            name: name.to_owned(),
            sessions: 0,
            created_tried: 0,
            set_tried: 0,
            created: Vec::new(),
            set_count: 0,
            set_newest: 0,
        }
    }

    /// Writes acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.set_count + self.created.len() as u64
    }

    /// What must be there before the first write.
    pub(crate) fn znodes(&self) -> [(String, &'static str); 4] {
        let top = format!("{TOP}/{}", self.name);
        let created = self.created_path();
        [(TOP.to_owned(), ""), (top, ""), (created, ""), (self.value_path(), "0")]
    }

    pub(crate) fn value_path(&self) -> String {
        format!("{TOP}/{}/value", self.name)
    }

    fn created_path(&self) -> String {
        format!("{TOP}/{}/created", self.name)
    }

    pub(crate) fn path_of_new(&self, number: u64) -> String {
        format!("{}/{number:08}-", self.created_path())
    }

    pub(crate) fn set_acknowledged(&mut self, number: u64) {
        self.set_count += 1;
        self.set_newest = self.set_newest.max(number);
    }

    async fn check(&self, client: &Client) -> Result<()> {
        let names = client.children(&self.created_path()).await?;
        let there: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let missing: Vec<_> =
            self.created.iter().filter(|name| !there.contains(name.as_str())).collect();
        if !missing.is_empty() {
            bail!("{} acknowledged znodes are missing: {missing:?}", missing.len());
        }
        let numbers: BTreeSet<&str> =
            names.iter().filter_map(|name| name.split('-').next()).collect();
        if numbers.len() != names.len() {
            bail!("of {} znodes some were created twice: {names:?}", names.len());
        }
        let value = client.get(&self.value_path()).await?;
        let number: u64 = std::str::from_utf8(&value.data)?.parse()?;
        if number < self.set_newest || number > self.set_tried {
            bail!("the value is {number}; acknowledged up to {}", self.set_newest);
        }
        // In one session nothing is unknown: each write was done exactly once.
        if self.sessions == 1 {
            let done = (u64::try_from(value.stat.version)?, names.len() as u64);
            let asked = (self.set_tried, self.created_tried);
            if done != asked {
                bail!("(values, znodes) asked for {asked:?}, done {done:?}");
            }
        }
        Ok(())
    }
}

/// Reads on every server, from its own state after a sync, all that writers were told is written.
///
/// # Errors
/// Something is missing, or was done twice.
pub async fn assert_all_there(cluster: &Cluster, all: &[Written]) -> Result<()> {
    for server in cluster.servers() {
        assert_all_at(cluster, server, all).await.with_context(|| format!("server {server}"))?;
    }
    Ok(())
}

async fn assert_all_at(cluster: &Cluster, server: ServerId, all: &[Written]) -> Result<()> {
    let client = cluster.connect_to(server).await?;
    client.sync().await?;
    let local = client.at(ReadLevel::Local);
    for written in all {
        written.check(&local).await.with_context(|| written.name.clone())?;
    }
    Ok(client.close().await?)
}
