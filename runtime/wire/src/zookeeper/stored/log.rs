//! Logs: transactions one after the other, each under a checksum.
//!
//! Comes in: a file's bytes. Goes out: each transaction, then how the file ends. Invariant: a torn end
//! is told from damage: a crash leaves one transaction unfinished with nothing but zeros behind it, and
//! a disk that spoils bytes leaves whole transactions behind them. Must never take one for the other.

use super::transaction::{StoredTransaction, TransactionDigest, TransactionHeader};
use super::{DecodeError, FileHeader, LOG_MAGIC, Reader, Record, StoredError, StoredFault};
use alloc::vec::Vec;
use bytes::Bytes;

/// Checksum and length in front of an entry.
const FRONT_BYTES: usize = 12;
/// Bytes of a file header.
const HEADER_BYTES: usize = 16;
/// What stands behind a whole entry: `B`.
const END_MARK: u8 = 0x42;

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Bytes of the file in front of it.
    pub at: u64,
    /// Whose, when, and which.
    pub header: TransactionHeader,
    /// What it does.
    pub transaction: StoredTransaction<'a>,
    /// The digest of the tree after it, if the server computed them.
    pub digest: Option<TransactionDigest>,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// Behind a whole transaction.
    Whole,
    /// A transaction was not written out: a crash, or a cut.
    Torn {
        /// Bytes in front of it.
        at: u64,
    },
}

/// What comes next in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogStep<'a> {
    /// A transaction.
    Entry(LogEntry<'a>),
    /// Nothing more.
    End(LogEnd),
}

/// Reads a log from its front.
#[derive(Clone, Debug)]
pub struct LogReader<'a> {
    file: &'a Bytes,
    position: usize,
}

/// An entry in its frame.
enum Framed {
    /// It is whole: the bytes between these places.
    Entry(usize, usize),
    /// There is none.
    Nothing,
    /// The file ends inside it, or its end mark is missing.
    Cut,
    /// Its checksum is another.
    Damaged,
}

impl<'a> LogReader<'a> {
    /// At the first transaction. A file that is shorter than its header, or all zeros, holds none: a
    /// crash came before the header.
    ///
    /// # Errors
    /// The file does not begin as a log does.
    pub fn open(file: &'a Bytes) -> Result<LogReader<'a>, StoredError> {
        let is_blank = file.iter().all(|byte| *byte == 0);
        if file.len() < HEADER_BYTES || is_blank {
            return Ok(LogReader { file, position: 0 });
        }
        FileHeader::expect(&mut Reader::new(file), LOG_MAGIC)?;
        Ok(LogReader { file, position: HEADER_BYTES })
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The next transaction, or the end. After the end it is the end again.
    ///
    /// # Errors
    /// The transaction is damaged, or there is something behind the end.
    pub fn step(&mut self) -> Result<LogStep<'a>, StoredError> {
        let at = self.position as u64;
        let wrong = |fault| Err(StoredError { at, fault });
        if self.position == 0 {
            return Ok(LogStep::End(LogEnd::Torn { at }));
        }
        match self.frame_at(self.position) {
            Framed::Entry(start, end) => {
                let entry = self
                    .entry(start, end)
                    .map_err(|error| StoredError { at, fault: StoredFault::Record(error) })?;
                self.position = end + 1;
                Ok(LogStep::Entry(entry))
            }
            Framed::Nothing if self.is_blank_from(self.position) => Ok(LogStep::End(LogEnd::Whole)),
            Framed::Nothing => wrong(StoredFault::AfterEnd),
            Framed::Cut if self.holds_entry_behind(self.position) => wrong(StoredFault::CutInside),
            Framed::Cut => Ok(LogStep::End(LogEnd::Torn { at })),
            Framed::Damaged => wrong(StoredFault::Checksum),
        }
    }

    fn entry(&self, start: usize, end: usize) -> Result<LogEntry<'a>, DecodeError> {
        let mut reader = Reader::within(self.file, start, end);
        let (header, transaction, digest) = StoredTransaction::read_entry(&mut reader)?;
        Ok(LogEntry { at: self.position as u64, header, transaction, digest })
    }

    fn frame_at(&self, position: usize) -> Framed {
        let rest = self.file.get(position..).unwrap_or_default();
        let Some((front, body)) = rest.split_first_chunk::<FRONT_BYTES>() else {
            let is_blank = rest.iter().all(|byte| *byte == 0);
            return if is_blank { Framed::Nothing } else { Framed::Cut };
        };
        let (sum, length) = front.split_at(8);
        let sum = sum.try_into().map_or(0, i64::from_be_bytes);
        let length = length.try_into().map_or(0, i32::from_be_bytes);
        let Ok(length) = usize::try_from(length) else { return Framed::Cut };
        if length == 0 {
            return if sum == 0 { Framed::Nothing } else { Framed::Cut };
        }
        match (body.get(..length), body.get(length)) {
            (Some(entry), Some(&END_MARK)) if sum == i64::from(adler2::adler32_slice(entry)) => {
                let start = position + FRONT_BYTES;
                Framed::Entry(start, start + length)
            }
            (Some(_), Some(&END_MARK)) => Framed::Damaged,
            // The room behind it was never written to, as after a crash.
            (Some(_), Some(0)) if self.is_blank_from(position + FRONT_BYTES + length) => {
                Framed::Cut
            }
            (Some(_), Some(_)) => Framed::Damaged,
            _ => Framed::Cut,
        }
    }

    fn is_blank_from(&self, position: usize) -> bool {
        self.file.get(position..).unwrap_or_default().iter().all(|byte| *byte == 0)
    }

    /// Whether a whole transaction begins somewhere behind `position`.
    fn holds_entry_behind(&self, position: usize) -> bool {
        (position + 1..self.file.len())
            .any(|later| matches!(self.frame_at(later), Framed::Entry(..)))
    }
}

/// Appends a transaction to a log.
pub fn write_log_entry(
    file: &mut Vec<u8>,
    header: &TransactionHeader,
    transaction: &StoredTransaction<'_>,
    digest: Option<TransactionDigest>,
) {
    let mut entry = Vec::new();
    transaction.write_entry(header, digest, &mut entry);
    i64::from(adler2::adler32_slice(&entry)).write(file);
    i32::try_from(entry.len()).expect("limits keep transactions below 2 GiB").write(file);
    file.extend_from_slice(&entry);
    file.push(END_MARK);
}
