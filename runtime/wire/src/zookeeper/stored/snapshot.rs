//! Snapshots: the whole tree as one server had it.
//!
//! Comes in: a file's bytes. Goes out: sessions and ACLs first, then each znode, then what the end
//! says. Invariant: a parent stands before its children, as ZooKeeper writes it; the file counts as
//! read only after [`SnapshotReader::finish`]. A snapshot is fuzzy: it was written while transactions
//! went on, and holds some of the effects of those after the one in its name.

use super::{DecodeError, FileHeader, Reader, Record, SNAPSHOT_MAGIC, StoredError, StoredFault};
use crate::zookeeper::record::records;
use crate::zookeeper::request::Acl;
use adler2::Adler32;
use alloc::vec::Vec;
use bytes::Bytes;

/// The path that stands where no more znodes follow, and in every seal.
const END: &str = "/";
/// Bytes of a seal: checksum, and the path `/`.
const SEAL_BYTES: usize = 13;
/// Bytes of the last transaction's number.
const LAST_ZXID_BYTES: usize = 8;
/// From this version on a digest is a number, not hexadecimal text.
const NUMBER_DIGEST_VERSION: i32 = 2;

records! {
    /// A session.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StoredSession {
        /// Its number.
        id: i64,
        /// Its timeout in milliseconds.
        timeout_ms: i32,
    }

    /// An ACL that znodes name by a number.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AclRow<'a> {
        /// The number.
        number: i64,
        /// The ACL.
        entries: Vec<Acl<'a>>,
    }

    /// A znode's stat, without what follows from the tree.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StoredStat {
        /// The transaction that created it.
        czxid: i64,
        /// The transaction that last set its data.
        mzxid: i64,
        /// Milliseconds since 1970 when it was created.
        ctime_ms: i64,
        /// Milliseconds since 1970 when its data was last set.
        mtime_ms: i64,
        /// Settings of its data.
        version: i32,
        /// Children ever created.
        cversion: i32,
        /// Settings of its ACL.
        aversion: i32,
        /// The session that owns it, or how else it goes by itself; 0: it does not.
        ephemeral_owner: i64,
        /// The transaction that last created or deleted a child.
        pzxid: i64,
    }

    /// A znode without its path.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct StoredZnode {
        /// Its data, or null.
        data: Option<Bytes>,
        /// The number of its ACL; -1: everything for everyone.
        acl: i64,
        /// Its stat.
        stat: StoredStat,
    }
}

/// What stands before the znodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotStart<'a> {
    /// Sessions, in no order.
    pub sessions: Vec<StoredSession>,
    /// ACLs, in no order.
    pub acls: Vec<AclRow<'a>>,
}

/// ZooKeeper's own digest of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeDigest {
    /// After which transaction.
    pub zxid: i64,
    /// How it is computed.
    pub version: i32,
    /// The digest.
    pub digest: i64,
}

/// What stands behind the znodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// The digest of the tree when the snapshot was done; since 3.6. Of zxid 0: none was known.
    pub digest: Option<TreeDigest>,
    /// The last transaction when the snapshot was done; since 3.9.
    pub last_zxid: Option<i64>,
}

/// Reads a snapshot from its front.
#[derive(Clone)]
pub struct SnapshotReader<'a> {
    file: &'a Bytes,
    reader: Reader<'a>,
    sum: Adler32,
    /// Bytes in `sum`.
    summed: usize,
}

impl<'a> SnapshotReader<'a> {
    /// Reads what stands before the znodes.
    ///
    /// # Errors
    /// The file does not begin as a snapshot does.
    pub fn open(file: &'a Bytes) -> Result<(SnapshotReader<'a>, SnapshotStart<'a>), StoredError> {
        let reader = Reader::new(file);
        let mut snapshot = SnapshotReader { file, reader, sum: Adler32::new(), summed: 0 };
        FileHeader::expect(&mut snapshot.reader, SNAPSHOT_MAGIC)?;
        let sessions = snapshot.read("sessions")?;
        let acls = snapshot.read("acls")?;
        Ok((snapshot, SnapshotStart { sessions, acls }))
    }

    /// Bytes read so far, of the unpacked file.
    #[must_use]
    pub fn position(&self) -> usize {
        self.reader.position()
    }

    fn read<T: Record<'a>>(&mut self, field: &'static str) -> Result<T, StoredError> {
        let at = self.reader.position() as u64;
        T::read(&mut self.reader, field)
            .map_err(|error| StoredError { at, fault: StoredFault::Record(error) })
    }

    /// The next znode with its path, which is empty for the root; `None`: there are no more.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_znode(&mut self) -> Result<Option<(&'a str, StoredZnode)>, StoredError> {
        match self.read("path")? {
            END => Ok(None),
            path => Ok(Some((path, self.read("znode")?))),
        }
    }

    /// Reads what stands behind the znodes, and compares every checksum.
    ///
    /// # Errors
    /// A checksum differs, or the file does not end there.
    pub fn finish(mut self) -> Result<SnapshotEnd, StoredError> {
        self.seal()?;
        let mut end = SnapshotEnd::default();
        let has_digest = |left: usize| left != 0 && left != LAST_ZXID_BYTES + SEAL_BYTES;
        if has_digest(self.reader.remaining()) {
            end.digest = Some(self.digest()?);
            self.seal()?;
        }
        if self.reader.remaining() != 0 {
            end.last_zxid = Some(self.read("last zxid")?);
            self.seal()?;
        }
        if self.reader.remaining() != 0 {
            let at = self.position() as u64;
            return Err(StoredError { at, fault: StoredFault::Trailing });
        }
        Ok(end)
    }

    fn digest(&mut self) -> Result<TreeDigest, StoredError> {
        let at = self.position() as u64;
        let (zxid, version): (i64, i32) = (self.read("digest zxid")?, self.read("digest version")?);
        if version >= NUMBER_DIGEST_VERSION {
            return Ok(TreeDigest { zxid, version, digest: self.read("digest")? });
        }
        let text: &str = self.read("digest")?;
        let digest = match text {
            "" => Some(0),
            digits => u64::from_str_radix(digits, 16).ok().map(u64::cast_signed),
        };
        let wrong = StoredFault::Record(DecodeError::NotText { field: "digest" });
        let digest = digest.ok_or(StoredError { at, fault: wrong })?;
        Ok(TreeDigest { zxid, version, digest })
    }

    /// A checksum over everything in front of it, and the path `/`.
    fn seal(&mut self) -> Result<(), StoredError> {
        let at = self.position();
        let expected: i64 = self.read("seal")?;
        let path: &str = self.read("seal")?;
        self.sum.write_slice(self.file.get(self.summed..at).unwrap_or_default());
        self.summed = at;
        if expected == i64::from(self.sum.checksum()) && path == END {
            return Ok(());
        }
        Err(StoredError { at: at as u64, fault: StoredFault::Checksum })
    }
}

/// Appends the seal of everything in `file`.
pub fn write_seal(file: &mut Vec<u8>) {
    i64::from(adler2::adler32_slice(file)).write(file);
    END.write(file);
}
