//! Records: what the payload of a frame says, in the order in which it takes effect.
//!
//! Comes in: a batch, or a payload that verified. Goes out: bytes, or records. Invariant: an
//! install comes before a truncation, that before entries, and those before a mark; reading refuses
//! a payload that is not wholly made of records.

use alloc::sync::Arc;
use alloc::vec::Vec;
use quorate_raft::{Entry, EntryKind, Index, Membership, SnapshotMark, Term};
use quorate_types::{LayoutError, LayoutReader, LayoutWriter};

/// One change of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// Entries from this index on are void.
    Truncate(Index),
    /// The log grows by this entry.
    Entry(Entry),
    /// The server's own snapshot is durable.
    SnapshotMark(SnapshotMark),
    /// A snapshot from the leader takes the place of the whole log.
    Installed(SnapshotMark),
}

const TRUNCATE: u8 = 1;
const ENTRY: u8 = 2;
const SNAPSHOT_MARK: u8 = 3;
const INSTALLED: u8 = 4;

/// Bytes of an entry record besides its payload.
const ENTRY_OVERHEAD: usize = 1 + 8 + 8 + 1 + 4;

/// Upper bound for the encoded size of these entries.
pub(crate) fn entries_bytes(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| ENTRY_OVERHEAD + entry.payload.len()).sum()
}

pub(crate) fn write_truncate(writer: &mut LayoutWriter, from: Index) {
    writer.u8(TRUNCATE);
    writer.u64(from.0);
}

pub(crate) fn write_entry(writer: &mut LayoutWriter, entry: &Entry) {
    writer.u8(ENTRY);
    writer.u64(entry.index.0);
    writer.u64(entry.term.0);
    writer.u8(match entry.kind {
        EntryKind::Empty => 0,
        EntryKind::Command => 1,
        EntryKind::Membership => 2,
    });
    writer.bytes(&entry.payload);
}

pub(crate) fn write_snapshot_mark(writer: &mut LayoutWriter, mark: &SnapshotMark) {
    writer.u8(SNAPSHOT_MARK);
    write_mark(writer, mark);
}

pub(crate) fn write_installed(writer: &mut LayoutWriter, mark: &SnapshotMark) {
    writer.u8(INSTALLED);
    write_mark(writer, mark);
}

/// Index, term, membership: also the form that snapshot files use.
pub(crate) fn write_mark(writer: &mut LayoutWriter, mark: &SnapshotMark) {
    writer.u64(mark.index.0);
    writer.u64(mark.term.0);
    writer.bytes(&mark.membership.encode());
}

pub(crate) fn read_mark(reader: &mut LayoutReader<'_>) -> Result<SnapshotMark, LayoutError> {
    let index = Index(reader.u64("mark index")?);
    let term = Term(reader.u64("mark term")?);
    let membership = Membership::decode(reader.bytes("mark membership")?)
        .map_err(|_| LayoutError::Invalid { field: "mark membership" })?;
    Ok(SnapshotMark { index, term, membership })
}

/// The records of a payload.
pub(crate) fn read_all(payload: &[u8]) -> Result<Vec<Record>, LayoutError> {
    let mut reader = LayoutReader::new(payload);
    let mut records = Vec::new();
    while !reader.rest().is_empty() {
        records.push(read_one(&mut reader)?);
    }
    Ok(records)
}

fn read_one(reader: &mut LayoutReader<'_>) -> Result<Record, LayoutError> {
    match reader.u8("record kind")? {
        TRUNCATE => Ok(Record::Truncate(Index(reader.u64("truncate from")?))),
        ENTRY => read_entry(reader).map(Record::Entry),
        SNAPSHOT_MARK => read_mark(reader).map(Record::SnapshotMark),
        INSTALLED => read_mark(reader).map(Record::Installed),
        _ => Err(LayoutError::Invalid { field: "record kind" }),
    }
}

fn read_entry(reader: &mut LayoutReader<'_>) -> Result<Entry, LayoutError> {
    Ok(Entry {
        index: Index(reader.u64("entry index")?),
        term: Term(reader.u64("entry term")?),
        kind: match reader.u8("entry kind")? {
            0 => EntryKind::Empty,
            1 => EntryKind::Command,
            2 => EntryKind::Membership,
            _ => return Err(LayoutError::Invalid { field: "entry kind" }),
        },
        payload: Arc::from(reader.bytes("entry payload")?),
    })
}
