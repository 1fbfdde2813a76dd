//! The data directory and the one thread that writes the log.
//!
//! Comes in: batches of disk operations. Goes out: [`Input::DiskDone`] for each, in order, once it
//! is durable. Invariant: operations are performed in the order given; a sync is left out only when
//! a later one of the same file follows with nothing but writes to that file in between, which is
//! group commit. Must never retry or ignore an error: after a failed write or sync nobody knows
//! what is on the disk, so the process ends and recovery finds out.

use crate::inbox::Inbox;
use quorate_replica::Input;
use quorate_storage::DiskOperation;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Bytes of batches that share a sync; more would keep the first waiting.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// A group that takes longer is worth a warning: heartbeats are not far above.
const SLOW: Duration = Duration::from_millis(500);
/// Open files kept; a log writes one or two.
const OPEN_FILES_MAX: usize = 8;

/// The folder of the replica's files in a data directory.
pub const STATE_FOLDER: &str = "state";
/// The file that the process which uses a data directory has locked.
pub const LOCK_FILE: &str = "lock";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirectoryError {
    /// Another process has it.
    #[error(
        "{} is in use by another process; two servers cannot share a data directory: stop the \
         other one or set another server.data_dir", path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A data directory that this process alone uses, until this is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    root: PathBuf,
    starts: u64,
    _lock: File,
}

impl DataDirectory {
    /// Makes it if it is not there, locks it, counts this start.
    ///
    /// # Errors
    /// It is in use or cannot be read or written.
    pub fn open(root: &Path) -> Result<DataDirectory, DataDirectoryError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirectoryError::Unusable { path, source }
        };
        let state = root.join(STATE_FOLDER);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&state).map_err(at(&state))?;
        let lock_path = root.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirectoryError::InUse { path: root.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(at(&lock_path)(source)),
        }
        let starts = count_start(root).map_err(at(&root.join("starts")))?;
        sync_folder(root).map_err(at(root))?;
        Ok(DataDirectory { root: root.to_owned(), starts, _lock: lock })
    }

    /// How often a server was started here, this time among them; from 1.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// The folder of the replica's files.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.root.join(STATE_FOLDER)
    }

    /// The folder of compiled components; can be removed while no server runs.
    #[must_use]
    pub fn compiled_folder(&self) -> PathBuf {
        self.root.join("compiled")
    }

    /// Every file of the replica, whole.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read_files(&self) -> Result<BTreeMap<String, Vec<u8>>, DataDirectoryError> {
        let folder = self.state_folder();
        let at = |path: PathBuf| |source| DataDirectoryError::Unusable { path, source };
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(at(folder.clone()))? {
            let path = entry.map_err(at(folder.clone()))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.map(str::to_owned).ok_or_else(|| DataDirectoryError::Unusable {
                path: path.clone(),
                source: io::Error::other("no file of a server has such a name; move it away"),
            })?;
            let bytes = fs::read(&path).map_err(at(path))?;
            files.insert(name, bytes);
        }
        Ok(files)
    }
}

/// Adds one to the count of starts, durably, before any connection can use the new number.
fn count_start(root: &Path) -> io::Result<u64> {
    let path = root.join("starts");
    let before = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| {
            io::Error::other("it must hold a number; write one above the number of starts so far")
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let starts = before + 1;
    let fresh = root.join("starts.new");
    let mut file = File::create(&fresh)?;
    file.write_all(format!("{starts}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    Ok(starts)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Performs disk operations in a folder that no server uses.
///
/// # Errors
/// The first operation that fails; the folder is of no use then.
pub fn perform_in(folder: &Path, operations: &[DiskOperation]) -> io::Result<()> {
    DiskPerformer::new(folder.to_owned()).perform(operations)
}

/// Performs disk operations in one folder.
pub(crate) struct DiskPerformer {
    folder: PathBuf,
    open: BTreeMap<String, File>,
}

impl DiskPerformer {
    pub(crate) fn new(folder: PathBuf) -> DiskPerformer {
        DiskPerformer { folder, open: BTreeMap::new() }
    }

    /// Performs all, in order. After an error the rest is not performed and this must not be used
    /// again.
    pub(crate) fn perform(&mut self, operations: &[DiskOperation]) -> io::Result<()> {
        operations.iter().try_for_each(|operation| {
            let performed = self.perform_one(operation);
            performed.map_err(|error| {
                let folder = self.folder.display();
                io::Error::new(error.kind(), format!("{} in {folder}: {error}", name(operation)))
            })
        })
    }

    fn perform_one(&mut self, operation: &DiskOperation) -> io::Result<()> {
        match operation {
            DiskOperation::CreateZeroed { file, bytes } => self.create_zeroed(file, *bytes),
            DiskOperation::WriteAt { file, offset, bytes } => {
                self.file(file)?.write_all_at(bytes, *offset)
            }
            DiskOperation::Sync { file } => self.file(file)?.sync_data(),
            DiskOperation::Rename { from, to } => self.rename(from, to),
            DiskOperation::Remove { file } => self.remove(file),
            DiskOperation::SyncDirectory => sync_folder(&self.folder),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        assert!(
            !file.is_empty() && !file.contains('/') && !file.starts_with('.'),
            "`{file}` is no name of a file of a server"
        );
        self.folder.join(file)
    }

    fn file(&mut self, file: &str) -> io::Result<&File> {
        if !self.open.contains_key(file) {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let opened = options.open(self.path(file))?;
            if self.open.len() >= OPEN_FILES_MAX {
                self.open.pop_first();
            }
            self.open.insert(file.to_owned(), opened);
        }
        Ok(self.open.get(file).expect("it was just put there"))
    }

    fn create_zeroed(&mut self, file: &str, bytes: u64) -> io::Result<()> {
        self.open.remove(file);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let created = options.open(self.path(file))?;
        // Written, not only set aside: later syncs then need not write the file's length.
        let zeros = vec![0; 1 << 20];
        let mut rest = bytes;
        while rest > 0 {
            let part = usize::try_from(rest).unwrap_or(usize::MAX).min(zeros.len());
            (&created).write_all(&zeros[..part])?;
            rest -= part as u64;
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open.remove(to);
        fs::rename(self.path(from), self.path(to))?;
        if let Some(file) = self.open.remove(from) {
            self.open.insert(to.to_owned(), file);
        }
        Ok(())
    }

    /// Removing what is not there is no error: a crash may have come between two removals.
    fn remove(&mut self, file: &str) -> io::Result<()> {
        self.open.remove(file);
        match fs::remove_file(self.path(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

fn name(operation: &DiskOperation) -> String {
    match operation {
        DiskOperation::CreateZeroed { file, .. } => format!("create `{file}`"),
        DiskOperation::WriteAt { file, .. } => format!("write `{file}`"),
        DiskOperation::Sync { file } => format!("sync `{file}`"),
        DiskOperation::Rename { from, to } => format!("rename `{from}` to `{to}`"),
        DiskOperation::Remove { file } => format!("remove `{file}`"),
        DiskOperation::SyncDirectory => String::from("sync the folder"),
    }
}

/// Leaves out every sync that a later one of the same file makes superfluous.
pub(crate) fn merge_syncs(operations: Vec<DiskOperation>) -> Vec<DiskOperation> {
    // From the back: the file that the next kept operation syncs, with only its writes between.
    let mut synced_later: Option<String> = None;
    let mut kept = Vec::with_capacity(operations.len());
    for operation in operations.into_iter().rev() {
        match &operation {
            DiskOperation::Sync { file } if synced_later.as_ref() == Some(file) => continue,
            DiskOperation::Sync { file } => synced_later = Some(file.clone()),
            DiskOperation::WriteAt { file, .. } if synced_later.as_ref() == Some(file) => {}
            _ => synced_later = None,
        }
        kept.push(operation);
    }
    kept.reverse();
    kept
}

/// A batch for the disk.
pub(crate) struct DiskJob {
    /// Its number.
    pub(crate) batch: u64,
    /// In order.
    pub(crate) operations: Vec<DiskOperation>,
}

/// The disk thread: ends when nobody can send jobs any more and all are done.
pub(crate) fn run(jobs: &Receiver<DiskJob>, mut disk: DiskPerformer, inbox: &Arc<Inbox>) {
    while let Ok(first) = jobs.recv() {
        let (batches, operations) = group(first, jobs);
        let started = Instant::now();
        let operations = merge_syncs(operations);
        if let Err(error) = disk.perform(&operations) {
            crate::abort_process(&format!(
                "the disk failed: {error}. This server ends rather than guess what was written; \
                 check the disk, then start it again"
            ));
        }
        let took = started.elapsed();
        if took > SLOW {
            let took_ms = took.as_millis();
            tracing::warn!(took_ms, batches = batches.len(), "the disk is slow");
        }
        for batch in batches {
            inbox.send_own(Input::DiskDone { batch });
        }
    }
}

/// The first job and all others that wait already, up to a size.
fn group(first: DiskJob, jobs: &Receiver<DiskJob>) -> (Vec<u64>, Vec<DiskOperation>) {
    let mut batches = vec![first.batch];
    let mut operations = first.operations;
    let mut bytes = operations.iter().map(written_bytes).sum::<usize>();
    while bytes < GROUP_BYTES_MAX
        && let Ok(job) = jobs.try_recv()
    {
        bytes += job.operations.iter().map(written_bytes).sum::<usize>();
        batches.push(job.batch);
        operations.extend(job.operations);
    }
    (batches, operations)
}

fn written_bytes(operation: &DiskOperation) -> usize {
    match operation {
        DiskOperation::WriteAt { bytes, .. } => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn write(file: &str, offset: u64, text: &str) -> DiskOperation {
        DiskOperation::WriteAt { file: file.to_owned(), offset, bytes: text.as_bytes().to_vec() }
    }

    fn sync(file: &str) -> DiskOperation {
        DiskOperation::Sync { file: file.to_owned() }
    }

    fn rename(from: &str, to: &str) -> DiskOperation {
        DiskOperation::Rename { from: from.to_owned(), to: to.to_owned() }
    }

    #[test]
    fn consecutive_batches_of_one_file_share_one_sync() {
        let batch = |offset| [write("log", offset, "x"), sync("log")];
        let merged = merge_syncs([batch(0), batch(1), batch(2)].concat());
        let (a, b, c) = (write("log", 0, "x"), write("log", 1, "x"), write("log", 2, "x"));
        assert_eq!(merged, [a, b, c, sync("log")]);
    }

    #[test]
    fn a_sync_stays_before_anything_that_relies_on_it() {
        let operations = vec![
            write("new", 0, "x"),
            sync("new"),
            rename("new", "old"),
            DiskOperation::SyncDirectory,
            write("log", 0, "x"),
            sync("log"),
            write("next", 0, "x"),
            sync("next"),
            write("log", 1, "x"),
            sync("log"),
        ];
        assert_eq!(merge_syncs(operations.clone()), operations);
    }

    #[test]
    fn operations_leave_the_files_they_describe() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = DiskPerformer::new(folder.path().to_owned());
        let zeroed = DiskOperation::CreateZeroed { file: String::from("log"), bytes: 6 };
        let gone = || DiskOperation::Remove { file: String::from("gone") };
        disk.perform(&[zeroed, write("log", 2, "ab"), sync("log"), write("gone", 0, "x")]).unwrap();
        disk.perform(&[gone(), gone(), rename("log", "kept"), write("kept", 4, "c")]).unwrap();
        disk.perform(&[sync("kept"), DiskOperation::SyncDirectory]).unwrap();
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(
            (names, fs::read(folder.path().join("kept")).unwrap()),
            (1, b"\0\0abc\0".to_vec())
        );
    }

    #[test]
    fn a_failed_operation_is_an_error_that_names_it_and_ends_the_batch() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = DiskPerformer::new(folder.path().to_owned());
        let error = disk.perform(&[rename("absent", "kept"), write("after", 0, "x")]).unwrap_err();
        assert!(error.to_string().contains("rename `absent` to `kept`"), "{error}");
        assert!(!folder.path().join("after").exists());
    }

    #[tokio::test]
    async fn waiting_batches_are_performed_together_and_answered_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, jobs) = mpsc::channel();
        for batch in 0..4 {
            let operations = vec![write("log", batch, "x"), sync("log")];
            sender.send(DiskJob { batch, operations }).unwrap();
        }
        drop(sender);
        let inbox = Arc::new(Inbox::new());
        run(&jobs, DiskPerformer::new(folder.path().to_owned()), &inbox);
        let mut taken = Vec::new();
        inbox.take(&mut taken, Instant::now(), 0).await;
        let done = taken.iter().map(|event| match event {
            crate::inbox::Event::Input(Input::DiskDone { batch }) => *batch,
            _ => u64::MAX,
        });
        assert_eq!(done.collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(fs::read(folder.path().join("log")).unwrap(), b"xxxx");
    }

    #[test]
    fn a_group_ends_at_its_size() {
        let (sender, jobs) = mpsc::channel();
        let large = || vec![write("log", 0, &"x".repeat(GROUP_BYTES_MAX))];
        for batch in 1..3 {
            sender.send(DiskJob { batch, operations: large() }).unwrap();
        }
        let (batches, _) = group(DiskJob { batch: 0, operations: vec![sync("log")] }, &jobs);
        assert_eq!(batches, [0, 1]);
    }

    #[test]
    fn two_servers_cannot_share_a_data_directory() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let first = DataDirectory::open(&root).unwrap();
        let second = DataDirectory::open(&root);
        assert!(matches!(second, Err(DataDirectoryError::InUse { .. })), "{second:?}");
        assert_eq!(first.starts(), 1);
        drop(first);
        let again = DataDirectory::open(&root).unwrap();
        assert_eq!(again.starts(), 2);
        fs::write(again.state_folder().join("log-1"), b"abc").unwrap();
        let files = again.read_files().unwrap();
        assert_eq!(files.get("log-1").map(Vec::as_slice), Some(&b"abc"[..]));
    }
}
