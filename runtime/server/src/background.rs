//! The threads for work that must not hold up the replica: snapshot files and compilation.
//!
//! Comes in: jobs. Goes out: news to the inbox. Invariant: jobs of one kind are done in order, so a
//! component that is removed and brought again ends up as asked last.

use crate::disk::DiskPerformer;
use crate::inbox::Inbox;
use bytes::Bytes;
use quorate_machine::Machine;
use quorate_recipe_host::{Catalogue, Compiler};
use quorate_replica::Input;
use quorate_replica::SnapshotMark;
use quorate_storage::snapshot;
use quorate_types::ComponentDigest;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// Work of the snapshot thread.
pub(crate) enum SnapshotJob {
    /// Write a snapshot.
    Save {
        /// Of what.
        mark: SnapshotMark,
        /// The state; shares its pages with the replica's.
        machine: Box<Machine>,
    },
    /// Read a snapshot file.
    Load {
        /// Its name.
        file: String,
        /// Index of its mark.
        index: u64,
    },
}

/// The snapshot thread: ends when nobody can send jobs any more.
pub(crate) fn run_snapshots(
    jobs: &Receiver<SnapshotJob>,
    folder: &Path,
    cluster_id: u64,
    inbox: &Arc<Inbox>,
) {
    while let Ok(job) = jobs.recv() {
        match job {
            SnapshotJob::Save { mark, machine } => {
                let index = mark.index.0;
                let started = Instant::now();
                match save(folder, cluster_id, &mark, *machine) {
                    Ok(bytes) => {
                        let took_ms = started.elapsed().as_millis();
                        tracing::info!(index, bytes, took_ms, "snapshot written");
                    }
                    Err(error) => crate::abort_process(&format!(
                        "the snapshot cannot be written: {error}. Check the disk and its space"
                    )),
                }
                inbox.send_own(Input::SnapshotSaved { index });
            }
            SnapshotJob::Load { file, index } => {
                let read = load(folder, &file);
                if let Err(error) = &read {
                    tracing::warn!(file, %error, "the snapshot cannot be read");
                }
                inbox.send_own(Input::SnapshotLoaded { index, file: read.ok() });
            }
        }
    }
}

/// Writes the file durably and says how long it is.
fn save(
    folder: &Path,
    cluster_id: u64,
    mark: &SnapshotMark,
    machine: Machine,
) -> io::Result<usize> {
    let image = machine.encode_image();
    // The pages it shares with the replica's state are copied on every change while it lives.
    drop(machine);
    let bytes = snapshot::encode(mark, cluster_id, &image);
    drop(image);
    let length = bytes.len();
    let operations = snapshot::save(&snapshot::file_name(mark), bytes);
    DiskPerformer::new(folder.to_owned()).perform(&operations)?;
    Ok(length)
}

fn load(folder: &Path, file: &str) -> io::Result<Arc<[u8]>> {
    assert!(!file.contains('/'), "`{file}` is no name of a snapshot");
    std::fs::read(folder.join(file)).map(Arc::from)
}

/// Work of the compile thread.
pub(crate) enum CompileJob {
    /// Check and compile a component.
    Compile {
        /// Its name in the catalogue.
        digest: ComponentDigest,
        /// The component.
        bytes: Bytes,
    },
    /// Forget a component.
    Remove {
        /// Its name in the catalogue.
        digest: ComponentDigest,
    },
}

/// Compiled code is kept in `folder` if it can be used; without it every start compiles anew.
pub(crate) fn compiler(folder: &Path) -> Result<Compiler, quorate_recipe_host::RecipeError> {
    match Compiler::new()?.with_cache(folder) {
        Ok(compiler) => Ok(compiler),
        Err(error) => {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "compiled components are not kept on disk");
            Compiler::new()
        }
    }
}

/// The compile thread: ends when nobody can send jobs any more.
pub(crate) fn run_compiler(
    jobs: &Receiver<CompileJob>,
    compiler: &Compiler,
    catalogue: &Catalogue,
    inbox: &Arc<Inbox>,
) {
    while let Ok(job) = jobs.recv() {
        match job {
            CompileJob::Compile { digest, bytes } => {
                let outcome = compiler.compile(&digest, &bytes);
                match &outcome {
                    Ok(recipe) => tracing::info!(?recipe, "recipe ready"),
                    Err(error) => tracing::warn!(%digest, %error, "the component is no recipe"),
                }
                catalogue.insert(digest, outcome.map_err(|error| error.to_string()));
                inbox.send_own(Input::ComponentCompiled { digest });
            }
            CompileJob::Remove { digest } => {
                catalogue.remove(&digest);
                compiler.forget(&digest);
            }
        }
    }
}
