//! What can go wrong with one disk operation.
//!
//! Comes in: a disk, the operation it is about to perform, and choices. Goes out: a fault that this
//! operation can suffer. Invariant: an *honest* fault is reported to the caller as an error; a *lie*
//! is not, and shows only after a loss of power.

use crate::{Choices, FaultyDisk};
use quorate_storage::DiskOperation;
use std::fmt;

/// What goes wrong with one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// Honest: the operation fails and changes nothing. Any operation.
    IoError,
    /// Honest: the disk is full. Of a write the first bytes are written, of a creation so many
    /// zeros; a rename changes nothing.
    FullDisk {
        /// How much of the write or creation is done; more than there is means all but one byte.
        kept_bytes: u64,
    },
    /// Honest: the sync of a file fails, and its pages are clean all the same (ext4, XFS, Btrfs):
    /// they read back until a loss of power, are not on the disk, and no later sync writes them.
    /// After a failed sync of the directory its changes stay unsynced.
    FailedSync,
    /// Lie: the bytes land somewhere else, in whole sectors, over what is there. The intended place
    /// reads back from the page cache until a loss of power and keeps its old bytes on the disk.
    Misdirected {
        /// The file that is hit.
        file: String,
        /// Where; rounded down to a sector, and what does not fit into the file is lost.
        offset: u64,
    },
    /// Lie: the bytes never reach the disk; they read back from the page cache until a loss of
    /// power.
    LostWrite,
    /// Lie: a creation, rename or removal that no sync of the directory makes durable.
    LostDirectoryEntry,
}

impl DiskFault {
    /// Whether this operation can suffer it.
    pub fn fits(&self, operation: &DiskOperation) -> bool {
        let is_write = matches!(operation, DiskOperation::WriteAt { .. });
        let is_creation = matches!(operation, DiskOperation::CreateZeroed { .. });
        let is_rename = matches!(operation, DiskOperation::Rename { .. });
        let is_removal = matches!(operation, DiskOperation::Remove { .. });
        let is_sync =
            matches!(operation, DiskOperation::Sync { .. } | DiskOperation::SyncDirectory);
        match self {
            DiskFault::IoError => true,
            DiskFault::FullDisk { .. } => is_write || is_creation || is_rename,
            DiskFault::FailedSync => is_sync,
            DiskFault::Misdirected { .. } | DiskFault::LostWrite => is_write,
            DiskFault::LostDirectoryEntry => is_creation || is_rename || is_removal,
        }
    }

    /// Whether the caller is told that all is well.
    pub fn is_lie(&self) -> bool {
        match self {
            DiskFault::IoError | DiskFault::FullDisk { .. } | DiskFault::FailedSync => false,
            DiskFault::Misdirected { .. } => true,
            DiskFault::LostWrite | DiskFault::LostDirectoryEntry => true,
        }
    }

    /// A fault that is reported, of the kinds that this operation can suffer.
    pub fn draw_honest(operation: &DiskOperation, choices: &mut Choices) -> DiskFault {
        let kept_bytes = match operation {
            DiskOperation::WriteAt { bytes, .. } => choices.below(bytes.len() as u64 + 1),
            DiskOperation::CreateZeroed { bytes, .. } => choices.below(bytes + 1),
            _ => 0,
        };
        let kinds = [DiskFault::IoError, DiskFault::FullDisk { kept_bytes }, DiskFault::FailedSync];
        let kinds: Vec<DiskFault> =
            kinds.into_iter().filter(|fault| fault.fits(operation)).collect();
        kinds[choices.below(kinds.len() as u64) as usize].clone()
    }

    /// A lie about this operation; None for a sync, whose lies are told by the writes before it.
    pub fn draw_lie(
        disk: &FaultyDisk,
        operation: &DiskOperation,
        choices: &mut Choices,
    ) -> Option<DiskFault> {
        match operation {
            DiskOperation::WriteAt { .. } if choices.one_in(2) => Some(DiskFault::LostWrite),
            DiskOperation::WriteAt { .. } => {
                let (file, offset) = disk.draw_place(choices)?;
                Some(DiskFault::Misdirected { file, offset })
            }
            DiskOperation::Sync { .. } | DiskOperation::SyncDirectory => None,
            _ => Some(DiskFault::LostDirectoryEntry),
        }
    }
}

/// What the caller of a failed operation is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Io => write!(f, "input/output error"),
            DiskError::Full => write!(f, "no space left on the disk"),
        }
    }
}

impl std::error::Error for DiskError {}
