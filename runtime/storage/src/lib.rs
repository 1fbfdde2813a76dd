//! The log and snapshot formats: turns batches into disk operations, and files back into a log.
//!
//! Comes in: what consensus wants kept, or every file of a data directory. Goes out: operations for
//! the shell to perform in order, or what the log holds. Invariant: what a completed `Sync` covered
//! is read back or its loss is reported, and nothing is read back that was never written. Must
//! never: touch a disk, or take a torn tail for corruption or corruption for a torn tail silently.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod crc;
mod frame;
mod identity;
mod log;
mod manifest;
mod record;
mod recovery;
mod segment;
pub mod snapshot;
mod twin;

pub use identity::{IDENTITY_FILE, ServerIdentity};
pub use log::{Log, LogBatch, LogSettings};
pub use manifest::MANIFEST_FILE;
pub use recovery::{Damage, DamageCause, Recovered, RecoveryError};

use alloc::string::String;
use alloc::vec::Vec;

/// One step for the shell. Steps are performed in the order given; the first that fails ends the
/// process, because after a failed write or sync nobody knows what the disk holds.
///
/// File names have no folder: all files lie in one data directory. A `Sync` may be left out only if
/// a `Sync` of the same file follows and nothing but `WriteAt` to that file lies between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOperation {
    /// Makes the file, or empties the one there, and fills it with `bytes` zeros that take up room
    /// on the disk (written, not merely reserved).
    CreateZeroed {
        /// Name.
        file: String,
        /// Length.
        bytes: u64,
    },
    /// Writes inside the file's length.
    WriteAt {
        /// Name.
        file: String,
        /// Place of the first byte.
        offset: u64,
        /// What to write.
        bytes: Vec<u8>,
    },
    /// Makes the file's content durable (`fdatasync`), not its name.
    Sync {
        /// Name.
        file: String,
    },
    /// Gives a file another name; a file already there is replaced.
    Rename {
        /// Old name.
        from: String,
        /// New name.
        to: String,
    },
    /// Removes the file.
    Remove {
        /// Name.
        file: String,
    },
    /// Makes names durable: creations, renames and removals (`fsync` of the folder).
    SyncDirectory,
}
