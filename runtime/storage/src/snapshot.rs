//! Snapshot files: one per snapshot, checked in chunks and as a whole.
//!
//! Comes in: a mark and the image of a state machine, or a file's bytes. Goes out: the file's
//! bytes, the operations that store it, or mark and image. Invariant: a file that differs from the
//! one encoded in any byte is refused. Must never: be trusted before the log holds its mark.

use crate::crc::{crc32c, crc32c_extend, crc64};
use crate::{DiskOperation, record, twin};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Index, SnapshotMark, Term};
use quorate_types::{LayoutError, LayoutReader, LayoutWriter};

/// Image bytes in each chunk but the last.
const CHUNK_BYTES: usize = 64 * 1_024;
/// Chunk number and checksum.
const CHUNK_OVERHEAD: usize = 8;
/// Magic, number of chunks, length of the image, digest.
const TRAILER_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"QSNAPS\x01\0";
const TRAILER_MAGIC: [u8; 8] = *b"QSNEND\x01\0";

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// A field is short, impossible, or followed by more than there should be.
    Layout(LayoutError),
    /// The header does not match its checksum.
    HeaderDamaged,
    /// This chunk, counted from zero, does not match its checksum.
    ChunkDamaged(u32),
    /// The trailer is missing or contradicts the header.
    TrailerDamaged,
    /// The file as a whole does not match its digest.
    DigestDiffers,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Layout(error) => write!(f, "not a snapshot: {error}"),
            SnapshotError::HeaderDamaged => write!(f, "the snapshot's header is damaged"),
            SnapshotError::ChunkDamaged(chunk) => write!(f, "chunk {chunk} is damaged"),
            SnapshotError::TrailerDamaged => write!(f, "the snapshot's trailer is damaged"),
            SnapshotError::DigestDiffers => write!(f, "the snapshot's digest differs"),
        }
    }
}

impl core::error::Error for SnapshotError {}

impl From<LayoutError> for SnapshotError {
    fn from(error: LayoutError) -> SnapshotError {
        SnapshotError::Layout(error)
    }
}

/// What a snapshot's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The cluster that it was taken in.
    pub cluster: u64,
    /// Where it stands in that cluster's log.
    pub mark: SnapshotMark,
    /// Length of the image.
    pub image_bytes: u64,
}

/// Name of the file for this mark.
#[must_use]
pub fn file_name(mark: &SnapshotMark) -> String {
    format!("snapshot-{:016x}-{:016x}.qsnap", mark.term.0, mark.index.0)
}

/// Term and index in a name that `file_name` makes.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<(Term, Index)> {
    let numbers = name.strip_prefix("snapshot-")?.strip_suffix(".qsnap")?;
    let (term, index) = numbers.split_once('-')?;
    Some((Term(parse_number(term)?), Index(parse_number(index)?)))
}

fn parse_number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() == 16 && plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// The file for this mark of `cluster`'s log.
///
/// # Panics
/// When the image is longer than 256 TiB.
#[must_use]
pub fn encode(mark: &SnapshotMark, cluster: u64, image: &[u8]) -> Vec<u8> {
    let chunks = u32::try_from(image.len().div_ceil(CHUNK_BYTES)).expect("below 256 TiB");
    let overhead = 128 + CHUNK_OVERHEAD * chunks as usize + TRAILER_BYTES;
    let mut writer = LayoutWriter::with_capacity(image.len() + overhead);
    writer.raw(&MAGIC);
    writer.u64(cluster);
    writer.u64(image.len() as u64);
    record::write_mark(&mut writer, mark);
    let mut file = writer.into_bytes();
    let header_check = crc32c(&file);
    file.extend_from_slice(&header_check.to_le_bytes());
    for (number, chunk) in (0u32..).zip(image.chunks(CHUNK_BYTES)) {
        file.extend_from_slice(&number.to_le_bytes());
        file.extend_from_slice(chunk);
        let check = chunk_check(header_check, number, chunk);
        file.extend_from_slice(&check.to_le_bytes());
    }
    let mut trailer = LayoutWriter::with_capacity(TRAILER_BYTES);
    trailer.raw(&TRAILER_MAGIC);
    trailer.u64(u64::from(chunks));
    trailer.u64(image.len() as u64);
    file.extend_from_slice(&trailer.into_bytes());
    let digest = crc64(&file);
    file.extend_from_slice(&digest.to_le_bytes());
    file
}

/// Binds a chunk to its file and its place.
fn chunk_check(header_check: u32, number: u32, chunk: &[u8]) -> u32 {
    crc32c_extend(crc32c_extend(header_check, &number.to_le_bytes()), chunk)
}

/// What the header says, after checking the header alone.
///
/// # Errors
/// When it does not verify.
pub fn read_header(bytes: &[u8]) -> Result<SnapshotHeader, SnapshotError> {
    read_header_from(&mut LayoutReader::new(bytes), bytes).map(|(header, _)| header)
}

fn read_header_from(
    reader: &mut LayoutReader<'_>,
    bytes: &[u8],
) -> Result<(SnapshotHeader, u32), SnapshotError> {
    if reader.raw("magic", MAGIC.len())? != MAGIC {
        return Err(LayoutError::Invalid { field: "magic" }.into());
    }
    let cluster = reader.u64("cluster")?;
    let image_bytes = reader.u64("image bytes")?;
    let mark = record::read_mark(reader)?;
    let covered = bytes.len() - reader.rest().len();
    let check = reader.u32("header crc")?;
    if bytes.get(..covered).map(crc32c) != Some(check) {
        return Err(SnapshotError::HeaderDamaged);
    }
    Ok((SnapshotHeader { cluster, mark, image_bytes }, check))
}

/// Mark and image of a file whose every byte was checked.
///
/// # Errors
/// When anything does not verify.
pub fn decode(bytes: &[u8]) -> Result<(SnapshotMark, Vec<u8>), SnapshotError> {
    let mut reader = LayoutReader::new(bytes);
    let (header, header_check) = read_header_from(&mut reader, bytes)?;
    let short = LayoutError::Short { field: "image" };
    let image_bytes = usize::try_from(header.image_bytes).map_err(|_| short)?;
    if image_bytes > reader.rest().len() {
        return Err(short.into());
    }
    let mut image = Vec::with_capacity(image_bytes);
    let mut chunks = 0u32;
    while image.len() < image_bytes {
        let number = reader.u32("chunk number")?;
        let chunk = reader.raw("chunk", CHUNK_BYTES.min(image_bytes - image.len()))?;
        let check = reader.u32("chunk crc")?;
        if number != chunks || check != chunk_check(header_check, number, chunk) {
            return Err(SnapshotError::ChunkDamaged(chunks));
        }
        image.extend_from_slice(chunk);
        chunks = chunks.saturating_add(1);
    }
    let is_trailer = reader.raw("trailer magic", TRAILER_MAGIC.len())? == TRAILER_MAGIC
        && reader.u64("chunks")? == u64::from(chunks)
        && reader.u64("image bytes")? == header.image_bytes;
    if !is_trailer {
        return Err(SnapshotError::TrailerDamaged);
    }
    let covered = bytes.len() - reader.rest().len();
    if bytes.get(..covered).map(crc64) != Some(reader.u64("digest")?) {
        return Err(SnapshotError::DigestDiffers);
    }
    reader.finish()?;
    Ok((header.mark, image))
}

/// Stores the file durably: after a crash it is there whole, or not at all.
#[must_use]
pub fn save(name: &str, bytes: Vec<u8>) -> Vec<DiskOperation> {
    let operations = twin::replace(name, bytes);
    #[cfg(feature = "planted-bugs")]
    let operations = operations
        .into_iter()
        .filter(|operation| {
            let syncs = matches!(operation, DiskOperation::Sync { .. });
            !(syncs && is_planted(PlantedBug::SnapshotFileNotSynced))
        })
        .collect();
    operations
}

/// Removes snapshot files other than those of the marks in `keep`, and unfinished ones. Perform it
/// only when the log's newest mark is durable and in `keep`.
#[must_use]
pub fn remove_others(
    files: &BTreeMap<String, Vec<u8>>,
    keep: &[&SnapshotMark],
) -> Vec<DiskOperation> {
    let is_kept = |name: &str| keep.iter().any(|mark| file_name(mark) == name);
    let is_ours = |name: &str| {
        let finished = name.strip_suffix(".new").unwrap_or(name);
        parse_file_name(finished).is_some()
    };
    let others = files.keys().filter(|name| is_ours(name) && !is_kept(name));
    let mut operations: Vec<DiskOperation> =
        others.map(|name| DiskOperation::Remove { file: name.clone() }).collect();
    if !operations.is_empty() {
        operations.push(DiskOperation::SyncDirectory);
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_raft::{Membership, ReplicaId};

    fn mark() -> SnapshotMark {
        let membership = Membership::of_voters([1, 2, 3].map(ReplicaId));
        SnapshotMark { index: Index(77), term: Term(5), membership }
    }

    fn image(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|place| (place * 31 % 253) as u8).collect()
    }

    #[test]
    fn a_snapshot_reads_back_at_every_size_around_a_chunk() {
        for bytes in [0, 1, 7, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let file = encode(&mark(), 9, &image(bytes));
            assert_eq!(decode(&file), Ok((mark(), image(bytes))), "{bytes} bytes");
            let header = read_header(&file).expect("header verifies");
            assert_eq!((header.cluster, header.image_bytes), (9, bytes as u64));
        }
    }

    #[test]
    fn a_name_gives_back_term_and_index() {
        assert_eq!(parse_file_name(&file_name(&mark())), Some((Term(5), Index(77))));
        for name in ["snapshot-5-77.qsnap", "snapshot-.qsnap", "manifest", ""] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn only_snapshots_that_no_mark_names_are_removed() {
        let other = SnapshotMark { index: Index(50), ..mark() };
        let unfinished = format!("{}.new", file_name(&mark()));
        let names = [file_name(&mark()), file_name(&other), unfinished.clone(), "manifest".into()];
        let files = names.into_iter().map(|name| (name, Vec::new())).collect();
        let removed: Vec<_> = remove_others(&files, &[&mark()]);
        assert_eq!(
            removed,
            [
                DiskOperation::Remove { file: file_name(&other) },
                DiskOperation::Remove { file: unfinished },
                DiskOperation::SyncDirectory,
            ]
        );
    }
}
