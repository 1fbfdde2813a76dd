//! What ZooKeeper's servers keep on disk, 3.4 to 3.9: snapshots and logs of transactions.
//!
//! Comes in: the bytes of a whole file, unpacked if it was packed, or typed records. Goes out: typed
//! records that borrow from the file, or bytes. Invariant: every byte that a checksum covers was
//! compared with it before its file counts as read; what is set aside grows with the bytes that are
//! there. Must never judge a record: whether a path is one and what a transaction does to a tree is
//! looked at elsewhere.
//!
//! Both kinds of file begin with a [`FileHeader`] and hold the records of ZooKeeper's wire, big endian.
//! A snapshot is sessions, ACLs, znodes parents first, and a seal; since 3.6 the digest of the tree
//! and a second seal, since 3.9 the last transaction and a third ([`SnapshotReader`]). A log is frames of
//! a checksum, a transaction and an end mark, behind which lie the zeros set aside for more
//! ([`LogReader`]).

mod log;
mod snapshot;
mod transaction;

pub use log::{LogEnd, LogEntry, LogReader, LogStep, write_log_entry};
pub use snapshot::{
    AclRow, SnapshotEnd, SnapshotReader, SnapshotStart, StoredSession, StoredStat, StoredZnode,
    TreeDigest, write_seal,
};
pub use transaction::{
    ClosedSession, CreatedContainer, CreatedTtl, CreatedZnode, DataSet, Deleted, MultiItem,
    StoredAclSet, StoredMulti, StoredTransaction, TransactionDigest, TransactionHeader,
    VersionChecked,
};

use super::record::{DecodeError, Reader, Record, records};
use alloc::vec::Vec;
use core::fmt;

/// `ZKSN`: a snapshot.
pub const SNAPSHOT_MAGIC: i32 = 0x5a4b_534e;
/// `ZKLG`: a log.
pub const LOG_MAGIC: i32 = 0x5a4b_4c47;
/// The version of both kinds of file, in every ZooKeeper there is.
pub const FILE_VERSION: i32 = 2;

records! {
    /// The start of a file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FileHeader {
        /// Which kind of file.
        magic: i32,
        /// [`FILE_VERSION`].
        version: i32,
        /// The number of the database; nothing looks at it.
        database: i64,
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredError {
    /// Bytes in front of the record that is wrong, in the unpacked file.
    pub at: u64,
    /// What.
    pub fault: StoredFault,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredFault {
    /// It does not begin as such a file does.
    Magic(i32),
    /// It is of a version that no ZooKeeper writes.
    Version(i32),
    /// A record is none.
    Record(DecodeError),
    /// The bytes differ from those that the checksum was made of.
    Checksum,
    /// More follows where the file should end.
    Trailing,
    /// A transaction is cut off, and others follow behind it.
    CutInside,
    /// Something other than zeros lies in the room set aside for more transactions.
    AfterEnd,
}

impl fmt::Display for StoredError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.fault)
    }
}

impl core::error::Error for StoredError {}

impl fmt::Display for StoredFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoredFault::Magic(magic) => write!(f, "it begins with {magic:08x}"),
            StoredFault::Version(version) => write!(f, "it has the version {version}, not 2"),
            StoredFault::Record(DecodeError::Short { field }) => {
                write!(f, "the file ends inside `{field}`")
            }
            StoredFault::Record(error) => write!(f, "{error}"),
            StoredFault::Checksum => f.write_str("the bytes do not have their checksum"),
            StoredFault::Trailing => f.write_str("more follows where the file should end"),
            StoredFault::CutInside => {
                f.write_str("a transaction is cut off, and others follow behind it")
            }
            StoredFault::AfterEnd => {
                f.write_str("there is something in the room set aside for more transactions")
            }
        }
    }
}

impl FileHeader {
    /// Of a file of this kind.
    #[must_use]
    pub fn of(magic: i32) -> FileHeader {
        FileHeader { magic, version: FILE_VERSION, database: 0 }
    }

    /// Reads it and compares it with what such a file begins with.
    fn expect(reader: &mut Reader<'_>, magic: i32) -> Result<(), StoredError> {
        let at_start = |fault| StoredError { at: 0, fault };
        let header = FileHeader::read(reader, "FileHeader")
            .map_err(|error| at_start(StoredFault::Record(error)))?;
        if header.magic != magic {
            return Err(at_start(StoredFault::Magic(header.magic)));
        }
        if header.version != FILE_VERSION {
            return Err(at_start(StoredFault::Version(header.version)));
        }
        Ok(())
    }
}
