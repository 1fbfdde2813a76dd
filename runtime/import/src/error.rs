//! Why an import does not work, and what to do about it.
//!
//! Data only. Invariant: every error says which file or folder it is about and what comes next; whatever
//! the error, the ZooKeeper's files are as they were, and no server has got part of an import.

use quorate_server::configuration::ConfigurationError;
use quorate_types::ServerId;
use quorate_wire::zookeeper::stored::StoredError;
use std::io;
use std::path::PathBuf;

/// What to do about a damaged file.
const ELSEWHERE: &str =
    "take the data directory of another server of the ensemble, or a backup of it";

/// Why an import does not work.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or folder of the source.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is nothing in it.
    #[error(
        "there is no snapshot and no log of a ZooKeeper in {}: name the folder that `dataDir` names in its \
         zoo.cfg, and with --data-log-dir the one that `dataLogDir` names", path.display()
    )]
    NoData {
        /// The folder.
        path: PathBuf,
    },
    /// A snapshot that was asked for.
    #[error("there is no snapshot {name} in {}; there are {there}", folder.display())]
    NoSuchSnapshot {
        /// Its name.
        name: String,
        /// The folder.
        folder: PathBuf,
        /// The names of those that are there.
        there: String,
    },
    /// A ZooKeeper is at work there.
    #[error(
        "process {process} has {} open: stop that ZooKeeper first, or import a copy of a stopped one's \
         folder", path.display()
    )]
    Running {
        /// Its id.
        process: u32,
        /// The file.
        path: PathBuf,
    },
    /// The files are not what they were when the reading began.
    #[error("{} changes while it is read: stop that ZooKeeper first", path.display())]
    Changes {
        /// Which.
        path: PathBuf,
    },
    /// A snapshot is cut off or spoilt.
    #[error(
        "the snapshot {} is damaged {error}. If an older snapshot is there, `--snapshot NAME` begins with \
         that, and loses nothing if the logs since are there, which is checked; else {ELSEWHERE}",
        path.display()
    )]
    SnapshotDamaged {
        /// The file.
        path: PathBuf,
        /// Where and what.
        error: StoredError,
    },
    /// A packed snapshot cannot be unpacked.
    #[error(
        "the snapshot {} cannot be unpacked: {cause}. If an older snapshot is there, `--snapshot NAME` \
         begins with that; else {ELSEWHERE}", path.display()
    )]
    Packed {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A log is spoilt.
    #[error("the log {} is damaged {error}; {ELSEWHERE}", path.display())]
    LogDamaged {
        /// The file.
        path: PathBuf,
        /// Where and what.
        error: StoredError,
    },
    /// A log is cut off though others follow.
    #[error(
        "the log {} is cut off at byte {at}, and the next transaction that is there is {next:#x}, in {}: what was \
         between {after:#x} and that is lost here; {ELSEWHERE}", path.display(), next_path.display()
    )]
    LogCut {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        at: u64,
        /// The last transaction before.
        after: i64,
        /// The next one.
        next: i64,
        /// The file of that.
        next_path: PathBuf,
    },
    /// Transactions are missing.
    #[error(
        "after transaction {after:#x} comes {next:#x}, at byte {at} of {}: those between are missing, \
         perhaps with a log that was removed; {ELSEWHERE}", path.display()
    )]
    Gap {
        /// The last one there is.
        after: i64,
        /// The next one there is.
        next: i64,
        /// The file of that.
        path: PathBuf,
        /// And where in it.
        at: u64,
    },
    /// The log ends before the snapshot does.
    #[error(
        "the snapshot {} holds effects of transactions up to {needed:#x}, but the logs end with {last:#x}: \
         a log is missing or cut off; {ELSEWHERE}", path.display()
    )]
    LogEndsEarly {
        /// The snapshot.
        path: PathBuf,
        /// The last transaction that it holds effects of.
        needed: i64,
        /// The last transaction in the logs.
        last: i64,
    },
    /// The snapshot is no tree.
    #[error("the snapshot {}: the parent of `{znode}` is not there; {ELSEWHERE}", path.display())]
    NoParent {
        /// The file.
        path: PathBuf,
        /// The znode.
        znode: String,
    },
    /// The tree is not the one that ZooKeeper had.
    #[error(
        "after transaction {zxid:#x} the tree's digest is {found:016x}, and ZooKeeper logged {logged:016x}: \
         this is not the tree that the ensemble had. {ELSEWHERE}; --ignore-digest imports it as it is"
    )]
    Digest {
        /// After which transaction.
        zxid: i64,
        /// What ZooKeeper computed.
        logged: i64,
        /// What the tree read has.
        found: i64,
    },
    /// Znodes that quorate cannot hold.
    #[error(
        "{} cannot be imported; change or delete them in the ZooKeeper first:\n  {}",
        counted(list),
        shown(list)
    )]
    OverLimits {
        /// Each, with the reason.
        list: Vec<String>,
    },
    /// Zxids are too high.
    #[error(
        "the ensemble's epoch is {epoch}, and the highest that can be imported is {max}: transactions above \
         it would have no numbers"
    )]
    Epoch {
        /// The ensemble's.
        epoch: u64,
        /// The highest.
        max: u64,
    },
    /// A configuration of the new cluster.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The configurations do not make up one cluster.
    #[error("{0}")]
    Servers(String),
    /// A server has data already.
    #[error(
        "server {server} has data in {}: an import is for servers that were never started. If what is there \
         is not needed, move it away, on every server of the cluster", path.display()
    )]
    NotEmpty {
        /// Which server.
        server: ServerId,
        /// Its folder.
        path: PathBuf,
    },
    /// A server runs.
    #[error("server {server} runs with {}: stop it first", path.display())]
    ServerRuns {
        /// Which server.
        server: ServerId,
        /// Its data directory.
        path: PathBuf,
    },
    /// A folder of the new cluster cannot be written.
    #[error("cannot write {}: {cause}; nothing was imported", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What was written is not what was read.
    #[error(
        "what was written for server {server} is not what was read: {what}; nothing was imported. The disk \
         may be failing; if it happens again, please report it"
    )]
    Verification {
        /// Which server.
        server: ServerId,
        /// What differs.
        what: String,
    },
}

/// Lines of a list that an error shows.
const SHOWN_MAX: usize = 20;

fn counted(list: &[String]) -> String {
    if list.len() == 1 { String::from("1 znode") } else { format!("{} znodes", list.len()) }
}

fn shown(list: &[String]) -> String {
    let mut lines: Vec<String> = list.iter().take(SHOWN_MAX).cloned().collect();
    if list.len() > SHOWN_MAX {
        lines.push(format!("and {} more", list.len() - SHOWN_MAX));
    }
    lines.join("\n  ")
}
