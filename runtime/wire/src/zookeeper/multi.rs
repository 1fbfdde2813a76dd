//! Several operations in one request, and their results: pairs of a header and a record, then a
//! header that says that it is done.
//!
//! Comes in: the body of a multi or of its reply, or typed items. Goes out: the other. Invariant: an
//! item that cannot stand there is an error, since where the next one begins is not known.

use super::number::{Opcode, ZooKeeperError};
use super::record::{DecodeError, Reader, Record, Tagged, records, tagged};
use super::reply::{DataStat, PathStat, Stat};
use super::request::{Create, CreateTtl, PathVersion, Read, SetData};
use alloc::vec::Vec;

/// Stands in a header where there is no error to tell.
const NO_ERROR: i32 = -1;
/// The opcode of the last header.
const LAST: i32 = -1;

records! {
    /// What stands before each item, and after the last one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MultiHeader {
        /// The opcode of the item.
        opcode: i32,
        /// Nothing follows.
        done: bool,
        /// The error of a result; else -1.
        error: i32,
    }
}

tagged! {
    /// A write in a multi.
    pub enum MultiOperation<'a> {
        /// Create a znode.
        Create(Create<'a>),
        /// Delete one.
        Delete(PathVersion<'a>),
        /// Set its data.
        SetData(SetData<'a>),
        /// Compare its version.
        Check(PathVersion<'a>),
        /// Create a znode and tell its stat.
        Create2(Create<'a>),
        /// Create a container.
        CreateContainer(Create<'a>),
        /// Create a znode that goes by itself.
        CreateTtl(CreateTtl<'a>),
    } and {}
}

tagged! {
    /// A read in a multi.
    pub enum MultiReadOperation<'a> {
        /// Data and stat. Its watch is never left.
        GetData(Read<'a>),
        /// The names of the children. Its watch is never left.
        GetChildren(Read<'a>),
    } and {}
}

tagged! {
    /// What came of a write in a multi. Where one of them fails, all results are `Error`: `Ok`
    /// before it, `RuntimeInconsistency` after it.
    pub enum MultiResult<'a> {
        /// The path created.
        Create(&'a str),
        /// The path created, for `CreateContainer` and `CreateTtl` too.
        Create2(PathStat<'a>),
        /// The stat after it.
        SetData(Stat),
        /// It was not done, nor was any other.
        Error(ZooKeeperError),
    } and {
        /// Deleted.
        Delete,
        /// The version is the one expected.
        Check,
    }
}

tagged! {
    /// What came of a read in a multi.
    pub enum MultiReadResult<'a> {
        /// Data and stat.
        GetData(DataStat),
        /// The names of the children.
        GetChildren(Vec<&'a str>),
        /// It cannot be read.
        Error(ZooKeeperError),
    } and {}
}

/// What can stand in a multi or in its reply.
pub(super) trait MultiItem<'a>: Tagged<'a> {
    /// What its header tells as error.
    fn error(&self) -> i32;
}

impl<'a> MultiItem<'a> for MultiOperation<'a> {
    fn error(&self) -> i32 {
        NO_ERROR
    }
}

impl<'a> MultiItem<'a> for MultiReadOperation<'a> {
    fn error(&self) -> i32 {
        NO_ERROR
    }
}

impl<'a> MultiItem<'a> for MultiResult<'a> {
    fn error(&self) -> i32 {
        if let MultiResult::Error(error) = self { error.number() } else { 0 }
    }
}

impl<'a> MultiItem<'a> for MultiReadResult<'a> {
    fn error(&self) -> i32 {
        if let MultiReadResult::Error(error) = self { error.number() } else { 0 }
    }
}

/// The items of a multi or of its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multi<T>(pub Vec<T>);

#[allow(private_bounds, reason = "what can be an item is listed above")]
impl<'a, T: MultiItem<'a>> Record<'a> for Multi<T> {
    const BYTES_MIN: usize = MultiHeader::BYTES_MIN;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Multi<T>, DecodeError> {
        let mut items = Vec::new();
        loop {
            let header = MultiHeader::read(reader, field)?;
            if header.done {
                return Ok(Multi(items));
            }
            let number = header.opcode;
            let item = T::read_body(number, reader)?;
            items.push(item.ok_or(DecodeError::UnknownNumber { field, number })?);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for item in &self.0 {
            MultiHeader { opcode: item.number(), done: false, error: item.error() }.write(out);
            item.write_body(out);
        }
        MultiHeader { opcode: LAST, done: true, error: NO_ERROR }.write(out);
    }
}
