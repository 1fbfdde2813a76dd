//! The data directories of the new servers: all of them, verified, or none.
//!
//! Comes in: a state and folders. Goes out: data directories that servers start from. Invariant: nothing
//! has its final name before every server's data is durable and was read back equal; what fails before
//! that leaves nothing behind. Must never touch a folder with data in it.

use crate::Progress;
use crate::digest::{self, TreeFigures};
use crate::error::ImportError;
use crate::servers::{NewCluster, NewServer};
use crate::source::sync_folder;
use quorate_machine::Machine;
use quorate_replica::Founding;
use quorate_server::{LOCK_FILE, STATE_FOLDER, new_incarnation, perform_in};
use quorate_storage::{Log, LogSettings, ServerIdentity, snapshot};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where a server's files are until all servers have theirs.
const STAGED_FOLDER: &str = "state.import";

/// Folders on their way, removed again unless the import is done.
#[derive(Default)]
struct Staged {
    /// Made by this import, outermost first; removed if empty.
    made: Vec<PathBuf>,
    /// Each with the name that it gets.
    folders: Vec<(PathBuf, PathBuf)>,
    /// Those that have got it.
    named: Vec<PathBuf>,
    /// Locked data directories.
    _locks: Vec<File>,
    is_done: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // What cannot be removed is no data of any server: `state` is what counts.
        for folder in self.named.iter().chain(self.folders.iter().map(|(staged, _)| staged)) {
            let _ = fs::remove_dir_all(folder);
        }
        for folder in self.made.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |cause| ImportError::Unwritable { path, cause }
}

/// Fails unless every folder can take the data of a new server.
pub(crate) fn check_empty(cluster: &NewCluster) -> Result<(), ImportError> {
    cluster.servers.iter().try_for_each(|server| {
        let state = server.folder.join(STATE_FOLDER);
        let entries = match fs::read_dir(&state) {
            Ok(entries) => entries.count(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(cause) => return Err(ImportError::Unreadable { path: state, cause }),
        };
        match entries {
            0 => Ok(()),
            _ => Err(ImportError::NotEmpty { server: server.server, path: state }),
        }
    })
}

/// Writes and verifies the data of all servers. `expected`: what the source holds.
pub(crate) fn write(
    cluster: &NewCluster,
    machine: &Machine,
    expected: &TreeFigures,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ImportError> {
    check_empty(cluster)?;
    let servers = cluster.servers.iter().map(|server| server.server);
    let founding = Founding::new(machine, cluster.cluster_id, servers);
    let mut staged = Staged::default();
    let total = cluster.servers.len() as u64;
    for (done, server) in (0..).zip(&cluster.servers) {
        progress(Progress::Writing { done, total });
        let folder = stage(&mut staged, server)?;
        let identity = ServerIdentity {
            cluster: cluster.cluster_id,
            server: server.server,
            incarnation: new_incarnation(),
        };
        let operations = founding.operations(identity, server.log_segment_bytes);
        perform_in(&folder, &operations).map_err(unwritable(&folder))?;
        drop(operations);
        progress(Progress::Verifying { done, total });
        verify(server, &folder, machine, expected)?;
    }
    name_all(&mut staged)
}

/// Makes the folder that the server's files are written to, and keeps others from its data directory.
fn stage(staged: &mut Staged, server: &NewServer) -> Result<PathBuf, ImportError> {
    let mut missing: Vec<&Path> =
        server.folder.ancestors().take_while(|folder| !folder.exists()).collect();
    missing.retain(|folder| !folder.as_os_str().is_empty());
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    for folder in missing.into_iter().rev() {
        builder.create(folder).map_err(unwritable(folder))?;
        staged.made.push(folder.to_owned());
    }
    let lock_path = server.folder.join(LOCK_FILE);
    if lock_path.exists() {
        let lock = File::open(&lock_path).map_err(unwritable(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => staged._locks.push(lock),
            Err(TryLockError::WouldBlock) => {
                let path = server.folder.clone();
                return Err(ImportError::ServerRuns { server: server.server, path });
            }
            Err(TryLockError::Error(cause)) => return Err(unwritable(&lock_path)(cause)),
        }
    }
    let folder = server.folder.join(STAGED_FOLDER);
    if folder.exists() {
        // Of an import that was ended; nothing else has this name.
        fs::remove_dir_all(&folder).map_err(unwritable(&folder))?;
    }
    builder.create(&folder).map_err(unwritable(&folder))?;
    staged.folders.push((folder.clone(), server.folder.join(STATE_FOLDER)));
    Ok(folder)
}

/// Gives every folder its final name.
fn name_all(staged: &mut Staged) -> Result<(), ImportError> {
    for (folder, state) in staged.folders.clone() {
        // A folder in this place was seen to be empty; that it still is the removal sees to.
        if state.exists() {
            fs::remove_dir(&state).map_err(unwritable(&state))?;
        }
        fs::rename(&folder, &state).map_err(unwritable(&state))?;
        staged.named.push(state.clone());
        let parents = state.ancestors().skip(1).take(2 + staged.made.len());
        for parent in parents.filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent).map_err(unwritable(parent))?;
        }
    }
    staged.is_done = true;
    Ok(())
}

/// Reads a server's files as its start would, and compares.
fn verify(
    server: &NewServer,
    folder: &Path,
    written: &Machine,
    expected: &TreeFigures,
) -> Result<(), ImportError> {
    let differs = |what: String| ImportError::Verification { server: server.server, what };
    let files = read_files(folder).map_err(unwritable(folder))?;
    let settings = LogSettings { segment_bytes: server.log_segment_bytes };
    let recovered =
        Log::recover(settings, &files).map_err(|error| differs(format!("the log: {error}")))?;
    if recovered.damage.is_some() || recovered.refetching || !recovered.entries.is_empty() {
        return Err(differs(String::from("the log is not as it was written")));
    }
    let name = snapshot::file_name(&recovered.snapshot);
    let bytes = files.get(&name).ok_or_else(|| differs(format!("{name} is missing")))?;
    let (mark, image) =
        snapshot::decode(bytes).map_err(|error| differs(format!("{name}: {error}")))?;
    let machine =
        Machine::decode_image(&image).map_err(|error| differs(format!("{name}: {error}")))?;
    if mark != recovered.snapshot || machine.digest() != written.digest() {
        return Err(differs(format!("{name} holds another state")));
    }
    let found = digest::of_machine(&machine);
    if found != *expected {
        return Err(differs(format!("there are {found:?}, not {expected:?}")));
    }
    Ok(())
}

fn read_files(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| io::Error::other("a name that is no text"))?;
        files.insert(name, fs::read(entry.path())?);
    }
    Ok(files)
}
