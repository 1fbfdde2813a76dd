//! From the files of a stopped ZooKeeper to its tree.
//!
//! Comes in: a list of files. Goes out: the tree after the last transaction, and how it was come by.
//! Invariant: a tree comes out only if nothing is missing: the transactions follow one another without a
//! gap from the snapshot's to the last, and that one is not older than what any snapshot holds. What
//! ZooKeeper says the digest of the tree is, if it says so, it is. Must never go on behind damage.

use crate::Progress;
use crate::error::ImportError;
use crate::source::{self, Source, StoredFile};
use crate::source_tree::SourceTree;
use quorate_wire::zookeeper::stored::{
    LogEnd, LogEntry, LogReader, LogStep, SnapshotReader, StoredError, TreeDigest,
};
use std::path::{Path, PathBuf};

/// The digest that [`SourceTree::digest`] computes.
const DIGEST_VERSION: i32 = 2;
/// The first transaction of a server alone, and of an ensemble.
const FIRST_ZXIDS: [i64; 2] = [1, (1 << 32) + 1];
/// Bits of a zxid that count the transactions of an epoch.
const COUNTER_MASK: i64 = 0xffff_ffff;
/// Records between two words on how far the reading is.
const PROGRESS_RECORDS: u64 = 4_096;

/// Whether the tree was compared with ZooKeeper's own digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestCheck {
    /// It is equal, after the last transaction.
    Equal,
    /// It differs, and the import was told to go on.
    Ignored,
    /// ZooKeeper kept none: it is of a version before 3.6, or was told not to compute it.
    NotKept,
}

/// Where a tree was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The snapshot that it begins with; `None`: the log begins with the first transaction.
    pub snapshot: Option<PathBuf>,
    /// The logs read.
    pub logs: Vec<PathBuf>,
    /// Transactions replayed.
    pub transactions: u64,
    /// The last one.
    pub last_zxid: i64,
    /// The leader's clock at the last one replayed, in milliseconds since 1970; 0: none was.
    pub last_time_ms: i64,
    /// Whether ZooKeeper has the same tree.
    pub digest: DigestCheck,
}

/// Reads snapshot and logs.
pub(crate) struct Reading<'a> {
    source: &'a Source,
    progress: &'a mut dyn FnMut(Progress),
    tree: SourceTree,
    last_zxid: i64,
    last_time_ms: i64,
    transactions: u64,
    /// ZooKeeper's digest after the last transaction.
    logged_digest: Option<TreeDigest>,
    /// A log that ended inside a transaction, and where.
    torn: Option<(PathBuf, u64)>,
    bytes_before: u64,
    bytes_total: u64,
}

/// What to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice<'a> {
    /// The snapshot to begin with; default: the newest.
    pub(crate) snapshot: Option<&'a str>,
    pub(crate) ignore_digest: bool,
}

/// Whether no transaction is missing between two.
fn follows(after: i64, next: i64) -> bool {
    let is_next_epoch = next >> 32 > after >> 32 && next & COUNTER_MASK == 1;
    match after {
        0 => FIRST_ZXIDS.contains(&next),
        _ => next == after + 1 || is_next_epoch,
    }
}

/// Reads the tree that the files hold.
pub(crate) fn read(
    source: &Source,
    choice: &Choice<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(SourceTree, Origin), ImportError> {
    let snapshot = choose(source, choice.snapshot)?;
    let snapshot_zxid = snapshot.map_or(0, |file| file.zxid);
    let logs = logs_since(&source.logs, snapshot_zxid);
    let files = snapshot.into_iter().chain(logs);
    let bytes_total = files.filter_map(|file| Some(file.path.metadata().ok()?.len())).sum();
    let mut reading = Reading {
        source,
        progress,
        tree: SourceTree::new(),
        last_zxid: snapshot_zxid,
        last_time_ms: 0,
        transactions: 0,
        logged_digest: None,
        torn: None,
        bytes_before: 0,
        bytes_total,
    };
    let needed = match snapshot {
        Some(file) => reading.snapshot(file)?,
        None => 0,
    };
    for log in logs {
        reading.log(log, snapshot_zxid)?;
    }
    reading.check_complete(snapshot, needed)?;
    let digest = reading.check_digest(choice.ignore_digest)?;
    let Reading { tree, last_zxid, last_time_ms, transactions, .. } = reading;
    let origin = Origin {
        snapshot: snapshot.map(|file| file.path.clone()),
        logs: logs.iter().map(|file| file.path.clone()).collect(),
        transactions,
        last_zxid,
        last_time_ms,
        digest,
    };
    Ok((tree, origin))
}

fn choose<'a>(
    source: &'a Source,
    wanted: Option<&str>,
) -> Result<Option<&'a StoredFile>, ImportError> {
    let name = |file: &StoredFile| {
        file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let Some(wanted) = wanted else { return Ok(source.snapshots.last()) };
    let found = source.snapshots.iter().find(|file| name(file) == wanted);
    found.map(Some).ok_or_else(|| ImportError::NoSuchSnapshot {
        name: wanted.to_owned(),
        folder: source.snapshot_folder.clone(),
        there: source.snapshots.iter().map(name).collect::<Vec<_>>().join(", "),
    })
}

/// The logs that may hold transactions after `zxid`.
fn logs_since(logs: &[StoredFile], zxid: i64) -> &[StoredFile] {
    let behind = logs.partition_point(|log| log.zxid <= zxid.saturating_add(1));
    logs.get(behind.saturating_sub(1)..).unwrap_or_default()
}

impl Reading<'_> {
    fn tell(&mut self, done: usize, records: u64) {
        if records.is_multiple_of(PROGRESS_RECORDS) {
            let done = (self.bytes_before + done as u64).min(self.bytes_total);
            (self.progress)(Progress::Reading { done, total: self.bytes_total });
        }
    }

    /// Takes a snapshot in; gives the last transaction that it holds effects of.
    fn snapshot(&mut self, file: &StoredFile) -> Result<i64, ImportError> {
        let bytes = source::read(&file.path)?;
        let damaged = |error| ImportError::SnapshotDamaged { path: file.path.clone(), error };
        let (mut reader, start) = SnapshotReader::open(&bytes).map_err(damaged)?;
        // Checked as a whole before any of it counts: a byte spoilt in a path would look like a tree
        // that ZooKeeper wrote wrongly.
        check_whole(reader.clone()).map_err(damaged)?;
        let mut tree = SourceTree::default();
        tree.take_acls(&start.acls);
        tree.sessions = start.sessions.iter().map(|one| (one.id, one.timeout_ms)).collect();
        let mut records = 0;
        while let Some((path, znode)) = reader.next_znode().map_err(damaged)? {
            if !tree.take_znode(path, znode) {
                let (path, znode) = (file.path.clone(), path.to_owned());
                return Err(ImportError::NoParent { path, znode });
            }
            records += 1;
            self.tell(reader.position(), records);
        }
        let end = reader.finish().map_err(damaged)?;
        self.tree = tree;
        self.bytes_before += file.path.metadata().map_or(0, |about| about.len());
        // A server that began to lead calls its tree one of the new epoch before it has a transaction
        // of that; the digest is then of the last one of the epoch before.
        let digest = end.digest.filter(|digest| digest.zxid >= file.zxid && digest.zxid > 0);
        self.logged_digest = digest.filter(|digest| digest.zxid == file.zxid);
        let held = [Some(file.zxid), digest.map(|digest| digest.zxid), end.last_zxid];
        Ok(held.into_iter().flatten().max().unwrap_or(file.zxid))
    }

    /// Replays a log but for what the snapshot has for sure.
    fn log(&mut self, file: &StoredFile, snapshot_zxid: i64) -> Result<(), ImportError> {
        let bytes = source::read(&file.path)?;
        let damaged = |error| ImportError::LogDamaged { path: file.path.clone(), error };
        let mut reader = LogReader::open(&bytes).map_err(damaged)?;
        let mut records = 0;
        loop {
            match reader.step().map_err(damaged)? {
                LogStep::Entry(entry) if entry.header.zxid <= snapshot_zxid => {}
                LogStep::Entry(entry) => self.entry(&file.path, &entry)?,
                LogStep::End(LogEnd::Whole) => break,
                LogStep::End(LogEnd::Torn { at }) => {
                    self.torn.get_or_insert((file.path.clone(), at));
                    break;
                }
            }
            records += 1;
            self.tell(reader.position(), records);
        }
        self.bytes_before += bytes.len() as u64;
        Ok(())
    }

    fn entry(&mut self, path: &Path, entry: &LogEntry<'_>) -> Result<(), ImportError> {
        let (after, next) = (self.last_zxid, entry.header.zxid);
        // What a crash left unfinished was written again, or followed by nothing of its epoch: the
        // second cannot be told from a loss.
        if let Some((torn, at)) = self.torn.take()
            && next != after + 1
        {
            let next_path = path.to_owned();
            return Err(ImportError::LogCut { path: torn, at, after, next, next_path });
        }
        // A transaction that is logged twice is replayed twice, as ZooKeeper does.
        if next > after && !follows(after, next) {
            return Err(ImportError::Gap { after, next, path: path.to_owned(), at: entry.at });
        }
        self.tree.apply(&entry.header, &entry.transaction);
        self.transactions += 1;
        self.last_zxid = after.max(next);
        self.last_time_ms = entry.header.time_ms;
        self.logged_digest = entry.digest.map(|digest| TreeDigest {
            zxid: next,
            version: digest.version,
            digest: digest.digest,
        });
        Ok(())
    }

    /// `needed`: the last transaction that the snapshot read holds effects of.
    fn check_complete(&self, read: Option<&StoredFile>, needed: i64) -> Result<(), ImportError> {
        let last = self.last_zxid;
        let early = |path: &Path, needed| {
            Err(ImportError::LogEndsEarly { path: path.to_owned(), needed, last })
        };
        if let Some(file) = read
            && last < needed
        {
            return early(&file.path, needed);
        }
        match self.source.snapshots.last() {
            // A snapshot of an epoch without transactions holds no more than the epoch before.
            Some(newest) if last < newest.zxid && newest.zxid & COUNTER_MASK != 0 => {
                early(&newest.path, newest.zxid)
            }
            _ => Ok(()),
        }
    }

    fn check_digest(&self, ignore: bool) -> Result<DigestCheck, ImportError> {
        let comparable = |digest: &TreeDigest| digest.version == DIGEST_VERSION;
        let Some(logged) = self.logged_digest.filter(comparable) else {
            return Ok(DigestCheck::NotKept);
        };
        let found = self.tree.digest();
        match logged.digest == found {
            true => Ok(DigestCheck::Equal),
            false if ignore => Ok(DigestCheck::Ignored),
            false => Err(ImportError::Digest { zxid: logged.zxid, logged: logged.digest, found }),
        }
    }
}

/// Reads a snapshot to its end for the checksums alone.
fn check_whole(mut reader: SnapshotReader<'_>) -> Result<(), StoredError> {
    while reader.next_znode()?.is_some() {}
    reader.finish().map(drop)
}
