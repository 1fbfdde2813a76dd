//! The folder of compiled components: a server compiles each component once, not at every start.
//!
//! Comes in: a component's digest. Goes out: its compiled code, if this very server wrote it for
//! this very engine and no bit has changed since; otherwise nothing, and the caller compiles.
//! Invariant: compiled code is machine code that is run as it is, so only files of a folder that no
//! other user can write are read, and each is checked against the sum written with it.
//! Must never: read a file that came from a peer, a client or a backup.

use crate::error::CacheError;
use quorate_types::ComponentDigest;
use sha2::{Digest, Sha256};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Counts up with every change of what the files hold.
const FORMAT: u32 = 1;

static TEMPORARY_NUMBER: AtomicU64 = AtomicU64::new(0);

/// An open folder.
#[derive(Debug)]
pub(crate) struct ComponentCache {
    folder: PathBuf,
    engine_hash: u64,
}

impl ComponentCache {
    /// Opens or makes the folder, for the files of this engine.
    ///
    /// # Errors
    /// When it cannot be made or written, or other users could write into it.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<ComponentCache, CacheError> {
        let refused = |source| CacheError::Io { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused)?;
        let mut hasher = DefaultHasher::new();
        FORMAT.hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = ComponentCache { folder: folder.to_owned(), engine_hash: hasher.finish() };
        let metadata = fs::symlink_metadata(folder).map_err(refused)?;
        let own_user = cache.own_user().map_err(refused)?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 || !metadata.is_dir() || metadata.uid() != own_user {
            let path = folder.to_owned();
            return Err(CacheError::Shared { path, mode, owner: metadata.uid() });
        }
        Ok(cache)
    }

    /// The user this process writes files as.
    fn own_user(&self) -> io::Result<u32> {
        let probe = self.temporary();
        let user = create_new(&probe)?.metadata()?.uid();
        fs::remove_file(&probe)?;
        Ok(user)
    }

    /// The compiled component, or `None` when it is not there, is for another engine or is damaged.
    pub(crate) fn load(&self, engine: &Engine, digest: &ComponentDigest) -> Option<Component> {
        let path = self.path(digest);
        let code = fs::read(&path).ok()?;
        let sum = fs::read_to_string(path.with_extension("sha256")).ok()?;
        if sum.trim_end() != self.sum(digest, &code) {
            tracing::warn!(path = %path.display(), "a compiled component is damaged: compiling anew");
            return None;
        }
        // SAFETY: `deserialize` runs what it is given as machine code. These bytes were written by
        // `store` of this process or an earlier one of the same user: the folder is writable by
        // nobody else (checked in `open`), the sum over name and content holds, and the name
        // carries the hash of the engine's version and settings, which wasmtime checks once more.
        #[allow(unsafe_code)]
        let loaded = unsafe { Component::deserialize(engine, &code) };
        loaded
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "cannot load"))
            .ok()
    }

    /// Keeps a compiled component for the next start.
    ///
    /// # Errors
    /// When the disk refuses; the component can be used all the same.
    pub(crate) fn store(&self, digest: &ComponentDigest, code: &[u8]) -> Result<(), CacheError> {
        let path = self.path(digest);
        let sum = self.sum(digest, code);
        self.write(&path.with_extension("sha256"), sum.as_bytes())
            .and_then(|()| self.write(&path, code))
            .map_err(|source| CacheError::Io { path, source })
    }

    /// Forgets a component.
    pub(crate) fn remove(&self, digest: &ComponentDigest) {
        let path = self.path(digest);
        for path in [path.with_extension("sha256"), path] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove");
                }
                _ => {}
            }
        }
    }

    /// A reader sees the whole file or none.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.temporary();
        let written = create_new(&temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            drop(fs::remove_file(&temporary));
        }
        written
    }

    fn path(&self, digest: &ComponentDigest) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}.cwasm", self.engine_hash))
    }

    fn temporary(&self) -> PathBuf {
        let number = TEMPORARY_NUMBER.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!(".new-{}-{number}", std::process::id()))
    }

    /// Covers the name too, so that a file cannot stand in for another one.
    fn sum(&self, digest: &ComponentDigest, code: &[u8]) -> String {
        let mut sum = Sha256::new();
        sum.update(digest.0);
        sum.update(self.engine_hash.to_le_bytes());
        sum.update(code);
        ComponentDigest(sum.finalize().into()).to_string()
    }
}

fn create_new(path: &Path) -> io::Result<fs::File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
