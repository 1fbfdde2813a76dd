//! Transactions as ZooKeeper's servers log them: a record for each opcode.
//!
//! Comes in: an entry of a log without its checksum, or a typed transaction. Goes out: the other.
//! Invariant: a transaction states what becomes of the tree, not what was asked for, so that it can be
//! replayed; an item of a multi is none that holds further items.

use crate::zookeeper::number::Opcode;
use crate::zookeeper::record::{DecodeError, Reader, Record, Tagged, records, tagged};
use crate::zookeeper::request::Acl;
use alloc::vec::Vec;
use bytes::Bytes;

/// Bytes of a [`TransactionDigest`].
const DIGEST_BYTES: usize = 12;

records! {
    /// What stands before every transaction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TransactionHeader {
        /// The session that asked for it.
        session: i64,
        /// The client's number of its request.
        cxid: i32,
        /// The number of the transaction.
        zxid: i64,
        /// The leader's clock, in milliseconds since 1970.
        time_ms: i64,
        /// Which transaction follows.
        opcode: i32,
    }

    /// The digest of the tree after a transaction; since 3.6, behind it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TransactionDigest {
        /// How it is computed.
        version: i32,
        /// The digest.
        digest: i64,
    }

    /// A znode is created that stays, or goes with its session.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CreatedZnode<'a> {
        /// Where.
        path: &'a str,
        /// Its data, or null.
        data: Option<Bytes>,
        /// Its ACL.
        acl: Vec<Acl<'a>>,
        /// Whether it goes with the session.
        ephemeral: bool,
        /// The parent's count of children ever created, with this one; up to 3.3 it was left out.
        parent_cversion: Option<i32>,
    }

    /// A znode is created that goes when it was empty and unchanged for a time.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CreatedTtl<'a> {
        /// Where.
        path: &'a str,
        /// Its data, or null.
        data: Option<Bytes>,
        /// Its ACL.
        acl: Vec<Acl<'a>>,
        /// The parent's count of children ever created, with this one.
        parent_cversion: i32,
        /// That time, in milliseconds.
        ttl_ms: i64,
    }

    /// A container is created.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CreatedContainer<'a> {
        /// Where.
        path: &'a str,
        /// Its data, or null.
        data: Option<Bytes>,
        /// Its ACL.
        acl: Vec<Acl<'a>>,
        /// The parent's count of children ever created, with this one.
        parent_cversion: i32,
    }

    /// A znode is deleted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Deleted<'a> {
        /// Where.
        path: &'a str,
    }

    /// The data of a znode is set.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DataSet<'a> {
        /// Where.
        path: &'a str,
        /// The new data, or null.
        data: Option<Bytes>,
        /// The new version.
        version: i32,
    }

    /// The ACL of a znode is set.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct StoredAclSet<'a> {
        /// Where.
        path: &'a str,
        /// The new ACL.
        acl: Vec<Acl<'a>>,
        /// Its new version.
        version: i32,
    }

    /// A version was compared.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct VersionChecked<'a> {
        /// Where.
        path: &'a str,
        /// The version that was expected.
        version: i32,
    }

    /// Several transactions under one number, all or none.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct StoredMulti<'a> {
        /// In order. If one is an error, none takes effect.
        items: Vec<MultiItem<'a>>,
    }
}

tagged! {
    /// What a transaction does.
    pub enum StoredTransaction<'a> {
        /// Creates a znode.
        Create(CreatedZnode<'a>),
        /// Creates a znode; its stat was told.
        Create2(CreatedZnode<'a>),
        /// Creates a znode that goes by itself.
        CreateTtl(CreatedTtl<'a>),
        /// Creates a container.
        CreateContainer(CreatedContainer<'a>),
        /// Deletes a znode.
        Delete(Deleted<'a>),
        /// Deletes an empty container, or a znode whose time is over.
        DeleteContainer(Deleted<'a>),
        /// Sets data.
        SetData(DataSet<'a>),
        /// Sets the data of `/zookeeper/config`.
        Reconfig(DataSet<'a>),
        /// Sets an ACL.
        SetAcl(StoredAclSet<'a>),
        /// Compares a version; in a multi only.
        Check(VersionChecked<'a>),
        /// Several of them.
        Multi(StoredMulti<'a>),
        /// Nothing: a request was refused with this error.
        Error(i32),
        /// Opens the session, with this timeout in milliseconds.
        CreateSession(i32),
        /// Closes the session.
        CloseSession(ClosedSession<'a>),
    } and {}
}

/// The ephemerals that go with a session; `None`: it was not said (up to 3.5), and all go that the
/// session has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedSession<'a>(pub Option<Vec<&'a str>>);

impl<'a> Record<'a> for ClosedSession<'a> {
    const BYTES_MIN: usize = 0;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        if reader.remaining() == 0 {
            return Ok(ClosedSession(None));
        }
        let mut ahead = reader.clone();
        match Vec::read(&mut ahead, field) {
            Ok(paths) => {
                *reader = ahead;
                Ok(ClosedSession(Some(paths)))
            }
            // Nothing but the digest follows: the server was told to leave the paths out.
            Err(_) if reader.remaining() == DIGEST_BYTES => Ok(ClosedSession(None)),
            Err(error) => Err(error),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(paths) = &self.0 {
            paths.write(out);
        }
    }
}

/// A transaction in a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiItem<'a>(pub StoredTransaction<'a>);

impl<'a> Record<'a> for MultiItem<'a> {
    const BYTES_MIN: usize = 8;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        let number = i32::read(reader, field)?;
        let mut body = reader.inner(field)?;
        let is_single = !matches!(
            Opcode::from_number(number),
            Some(Opcode::Multi | Opcode::CreateSession | Opcode::CloseSession)
        );
        let item = if is_single { StoredTransaction::read_body(number, &mut body)? } else { None };
        item.map(MultiItem).ok_or(DecodeError::UnknownNumber { field, number })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.number().write(out);
        let mut body = Vec::new();
        self.0.write_body(&mut body);
        i32::try_from(body.len()).expect("limits keep transactions below 2 GiB").write(out);
        out.extend_from_slice(&body);
    }
}

impl<'a> StoredTransaction<'a> {
    /// The opcode of its header.
    #[must_use]
    pub fn opcode(&self) -> i32 {
        self.number()
    }

    /// Reads header, transaction and digest. Bytes behind them are passed over.
    pub(super) fn read_entry(
        reader: &mut Reader<'a>,
    ) -> Result<(TransactionHeader, Self, Option<TransactionDigest>), DecodeError> {
        let header = TransactionHeader::read(reader, "TransactionHeader")?;
        let (field, number) = ("TransactionHeader.opcode", header.opcode);
        let transaction = StoredTransaction::read_body(number, reader)?
            .ok_or(DecodeError::UnknownNumber { field, number })?;
        let digest = match reader.remaining() {
            DIGEST_BYTES.. => Some(TransactionDigest::read(reader, "TransactionDigest")?),
            _ => None,
        };
        Ok((header, transaction, digest))
    }

    /// Appends what [`StoredTransaction::read_entry`] reads.
    pub(super) fn write_entry(
        &self,
        header: &TransactionHeader,
        digest: Option<TransactionDigest>,
        out: &mut Vec<u8>,
    ) {
        header.write(out);
        self.write_body(out);
        if let Some(digest) = digest {
            digest.write(out);
        }
    }
}
