//! Brings another store's data to a new cluster: a ZooKeeper's, 3.4 to 3.9.
//!
//! Comes in: the folders of a stopped ZooKeeper, the configurations of servers that were never started.
//! Goes out: their data directories, all with the same state, and a report. The straight line: `source`
//! (which files), `reading` (what ZooKeeper had, by way of `source_tree`), `transfer` (what comes over),
//! `servers` (where to), `writing` (all or nothing), `digest` (what was read is what was written).
//! Invariant: the source is only read; whatever goes wrong, no server has part of an import. Must never
//! import less than there is without an error, but for what [`Transfer`] lists.

#![warn(missing_docs)]

mod digest;
mod error;
mod reading;
mod servers;
mod source;
mod source_tree;
mod transfer;
mod writing;

#[cfg(test)]
mod tests;

pub use digest::TreeFigures;
pub use error::ImportError;
pub use reading::{DigestCheck, Origin};
pub use servers::{Configurations, NewServer};
pub use transfer::{DroppedEphemeral, Transfer};

use quorate_machine::Machine;
use quorate_types::Zxid;
use quorate_types::limits::Limits;
use reading::Choice;
use servers::{NewCluster, ZooKeeperFolders};
use source::Source;
use std::path::PathBuf;

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Snapshot and logs, in bytes of their files.
    Reading {
        /// Read.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// The znodes become a state.
    Building,
    /// The data of servers is written.
    Writing {
        /// Servers done.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// It is read back and compared.
    Verifying {
        /// Servers done.
        done: u64,
        /// Of so many.
        total: u64,
    },
}

/// What is to be imported, and where to.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The ZooKeeper's dataDir, or its `version-2`. `None`: what the one `zoo.cfg` names.
    pub data_dir: Option<PathBuf>,
    /// Its dataLogDir; `None`: what that `zoo.cfg` names, or dataDir.
    pub data_log_dir: Option<PathBuf>,
    /// The new servers. `None`: nothing is written.
    pub configurations: Option<Configurations>,
    /// A folder that gets the data of all servers, in place of their own.
    pub out: Option<PathBuf>,
    /// Nothing is written.
    pub check: bool,
    /// Name of the snapshot to begin with; `None`: the newest.
    pub snapshot: Option<String>,
    /// Goes on if ZooKeeper's own digest differs.
    pub ignore_digest: bool,
}

/// What was imported, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where it was read from.
    pub origin: Origin,
    /// Counts and digest, the same on both sides.
    pub figures: TreeFigures,
    /// What came over, and what did not.
    pub transfer: Transfer,
    /// The new cluster's first transaction.
    pub first_zxid: Zxid,
    /// The state's digest, which every server shows at its start.
    pub state_digest: u64,
    /// The servers and their folders; none after a check.
    pub servers: Vec<NewServer>,
    /// Why the source may not be at rest; only a check goes on then.
    pub running: Option<String>,
}

impl Import {
    /// Does it.
    ///
    /// # Errors
    /// The first thing that is wrong; then nothing was written.
    pub fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report, ImportError> {
        let cluster = match &self.configurations {
            Some(configurations) => Some(configurations.resolve(self.out.as_deref())?),
            None => None,
        };
        let target = cluster.as_ref().filter(|_| !self.check);
        target.map_or(Ok(()), writing::check_empty)?;
        let source = self.source()?;
        let running = match source.check_stopped() {
            Err(error) if target.is_none() => Some(error.to_string()),
            stopped => {
                stopped?;
                None
            }
        };
        let choice =
            Choice { snapshot: self.snapshot.as_deref(), ignore_digest: self.ignore_digest };
        let (mut tree, origin) = reading::read(&source, &choice, progress)?;
        source.check_unchanged()?;
        progress(Progress::Building);
        let first_zxid = transfer::seed_of(origin.last_zxid, source.epoch)?;
        let mut transfer = transfer::drop_sessions(&mut tree, first_zxid);
        let limits = cluster.as_ref().map_or(Limits::PRODUCTION, |cluster| cluster.limits);
        let time_ms =
            transfer::newest_time_ms(&tree).max(u64::try_from(origin.last_time_ms).unwrap_or(0));
        let znodes = transfer::transfer(&tree, &limits, time_ms, &mut transfer)?;
        let machine = Machine::with_znodes(limits, (first_zxid, time_ms), znodes)
            .expect("the transfer checks parents, and paths are keys");
        let figures = digest::of_source(&tree);
        drop(tree);
        if let Some(cluster) = target {
            writing::write(cluster, &machine, &figures, progress)?;
        }
        let servers = target.map(|cluster: &NewCluster| cluster.servers.clone());
        Ok(Report {
            origin,
            figures,
            transfer,
            first_zxid,
            state_digest: machine.digest(),
            servers: servers.unwrap_or_default(),
            running,
        })
    }

    fn source(&self) -> Result<Source, ImportError> {
        if let Some(data_dir) = &self.data_dir {
            return Source::open(data_dir, self.data_log_dir.as_deref());
        }
        let folders = match &self.configurations {
            Some(configurations) => configurations.zookeeper_folders()?,
            None => None,
        };
        let Some(ZooKeeperFolders { data, data_log }) = folders else {
            return Err(ImportError::Servers(String::from(
                "where is the ZooKeeper's data? Name it with --data-dir; only one --zoo-cfg alone says it",
            )));
        };
        Source::open(&data, self.data_log_dir.as_deref().or(data_log.as_deref()))
    }
}
