//! Frames: the unit that a batch is written and verified as.
//!
//! Comes in: a header's fields and a payload, or bytes of a segment. Goes out: the frame's bytes,
//! or the fields of a header that verifies. Each header says where it belongs (segment, write
//! sequence), what it vouches for (`durable_sequence`) and the server's term and vote, and its
//! checksum is chained to the frame before it. Must never: trust a length that is not covered by a
//! checksum that verified.

use crate::crc::crc32c_extend;
use crate::segment::NUMBERS_END;
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{HardState, Index, ReplicaId, Term};
use quorate_types::{LayoutError, LayoutReader, LayoutWriter};

/// First four bytes of every frame: `QFRM`.
pub(crate) const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"QFRM");
/// Bytes of a frame header.
pub(crate) const FRAME_HEADER_BYTES: usize = 88;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGNMENT: usize = 8;

/// Bytes of the header that `chain` covers, before the payload.
const CHAINED_BYTES: usize = 76;
/// Bytes of the header that its own checksum covers.
const CHECKED_BYTES: usize = 84;

const FLAG_VOTED: u8 = 1;
const FLAG_REFETCHING: u8 = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// First of a segment: restates the snapshot mark, so that older segments are not needed for
    /// it.
    Opening,
    /// A batch; an empty one only vouches for the frames before it.
    Batch,
}

/// The fields of a frame header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// Acknowledged entries were lost and not all of them are back.
    pub(crate) refetching: bool,
    pub(crate) segment: u64,
    /// Counts frames over all segments, without holes.
    pub(crate) write_sequence: u64,
    /// Every frame up to this one was on disk when this one was made.
    pub(crate) durable_sequence: u64,
    pub(crate) payload_bytes: u32,
    pub(crate) entry_count: u32,
    /// Index of the first entry in the payload; zero when there is none.
    pub(crate) first_index: Index,
    /// Last index of the log once this frame is applied.
    pub(crate) last_index: Index,
    /// Term and vote once this frame is applied.
    pub(crate) hard_state: HardState,
    /// `chain` of the frame before.
    pub(crate) chain_before: u32,
    /// Checksum of this header and its payload. Zero until sealed.
    pub(crate) chain: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame, padding included.
    pub(crate) fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes as usize)
    }
}

/// Bytes of a frame with this payload.
pub(crate) fn frame_bytes(payload_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + payload_bytes.next_multiple_of(FRAME_ALIGNMENT)
}

/// The frame's bytes; fills in lengths and checksums of `header`. `seed` is the segment's.
pub(crate) fn seal(header: &mut FrameHeader, payload: &[u8], seed: u32) -> Vec<u8> {
    assert!(header.durable_sequence < header.write_sequence, "a frame vouched for itself");
    header.payload_bytes = u32::try_from(payload.len()).expect("limits keep batches below 4 GiB");
    let mut bytes = Vec::with_capacity(frame_bytes(payload.len()));
    bytes.extend_from_slice(&encode_fields(header));
    bytes.resize(FRAME_HEADER_BYTES, 0);
    bytes.extend_from_slice(payload);
    bytes.resize(frame_bytes(payload.len()), 0);
    let (front, padded) = bytes.split_at_mut(FRAME_HEADER_BYTES);
    header.chain = crc32c_extend(crc32c_extend(seed, &front[..CHAINED_BYTES]), padded);
    front[CHAINED_BYTES..CHAINED_BYTES + 4].copy_from_slice(&header.chain.to_le_bytes());
    let check = crc32c_extend(seed, &front[..CHECKED_BYTES]);
    front[CHECKED_BYTES..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// The first `CHAINED_BYTES` of a header.
fn encode_fields(header: &FrameHeader) -> Vec<u8> {
    let mut writer = LayoutWriter::with_capacity(FRAME_HEADER_BYTES);
    writer.u32(FRAME_MAGIC);
    writer.u8(match header.kind {
        FrameKind::Opening => 1,
        FrameKind::Batch => 2,
    });
    let voted = if header.hard_state.vote.is_some() { FLAG_VOTED } else { 0 };
    writer.u8(voted | if header.refetching { FLAG_REFETCHING } else { 0 });
    writer.u16(0);
    writer.u64(header.segment);
    writer.u64(header.write_sequence);
    writer.u64(header.durable_sequence);
    writer.u32(header.payload_bytes);
    writer.u32(header.entry_count);
    writer.u64(header.first_index.0);
    writer.u64(header.last_index.0);
    writer.u64(header.hard_state.term.0);
    writer.u64(header.hard_state.vote.map_or(0, |vote| vote.0));
    writer.u32(header.chain_before);
    let bytes = writer.into_bytes();
    assert_eq!(bytes.len(), CHAINED_BYTES);
    bytes
}

/// Whether the bytes claim to be a frame of this segment; says nothing about their checksums.
pub(crate) fn looks_like_frame(bytes: &[u8], segment: u64) -> bool {
    let mut reader = LayoutReader::new(bytes);
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::StaleFrameReplayed) {
        return reader.u32("magic") == Ok(FRAME_MAGIC);
    }
    reader.u32("magic") == Ok(FRAME_MAGIC)
        && reader.u32("kind").is_ok()
        && reader.u64("segment") == Ok(segment)
}

/// The header at the start of `bytes`, if it verifies as one of this segment.
pub(crate) fn read_header(bytes: &[u8], segment: u64, seed: u32) -> Option<FrameHeader> {
    if !looks_like_frame(bytes, segment) {
        return None;
    }
    let checked = bytes.get(..CHECKED_BYTES)?;
    let check = bytes.get(CHECKED_BYTES..FRAME_HEADER_BYTES)?;
    if crc32c_extend(seed, checked).to_le_bytes() != check {
        return None;
    }
    decode_fields(checked).ok()
}

fn decode_fields(bytes: &[u8]) -> Result<FrameHeader, LayoutError> {
    let mut reader = LayoutReader::new(bytes);
    reader.u32("magic")?;
    let kind = match reader.u8("kind")? {
        1 => FrameKind::Opening,
        2 => FrameKind::Batch,
        _ => return Err(LayoutError::Invalid { field: "kind" }),
    };
    let flags = reader.u8("flags")?;
    if flags & !(FLAG_VOTED | FLAG_REFETCHING) != 0 || reader.u16("reserved")? != 0 {
        return Err(LayoutError::Invalid { field: "flags" });
    }
    let segment = reader.u64("segment")?;
    let write_sequence = reader.u64("write sequence")?;
    let durable_sequence = reader.u64("durable sequence")?;
    if durable_sequence >= write_sequence || write_sequence >= NUMBERS_END {
        return Err(LayoutError::Invalid { field: "durable sequence" });
    }
    let payload_bytes = reader.u32("payload bytes")?;
    let entry_count = reader.u32("entry count")?;
    let first_index = Index(reader.u64("first index")?);
    let last_index = Index(reader.u64("last index")?);
    if last_index.0 >= NUMBERS_END {
        return Err(LayoutError::Invalid { field: "last index" });
    }
    let term = Term(reader.u64("term")?);
    let vote = ReplicaId(reader.u64("vote")?);
    let vote = (flags & FLAG_VOTED != 0).then_some(vote);
    let chain_before = reader.u32("chain before")?;
    let chain = reader.u32("chain")?;
    Ok(FrameHeader {
        kind,
        refetching: flags & FLAG_REFETCHING != 0,
        segment,
        write_sequence,
        durable_sequence,
        payload_bytes,
        entry_count,
        first_index,
        last_index,
        hard_state: HardState { term, vote },
        chain_before,
        chain,
    })
}

/// The payload of the frame at the start of `bytes`, if it is the one that `header` was sealed
/// with. `header` must be the one that `read_header` gave for these bytes.
pub(crate) fn read_payload<'a>(
    bytes: &'a [u8],
    header: &FrameHeader,
    seed: u32,
) -> Option<&'a [u8]> {
    let chained = bytes.get(..CHAINED_BYTES)?;
    let padded = bytes.get(FRAME_HEADER_BYTES..header.frame_bytes())?;
    if crc32c_extend(crc32c_extend(seed, chained), padded) != header.chain {
        return None;
    }
    padded.get(..header.payload_bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Batch,
            refetching: false,
            segment: 7,
            write_sequence: 12,
            durable_sequence: 10,
            payload_bytes: 0,
            entry_count: 1,
            first_index: Index(5),
            last_index: Index(5),
            hard_state: HardState { term: Term(3), vote: Some(ReplicaId(2)) },
            chain_before: 99,
            chain: 0,
        }
    }

    #[test]
    fn a_frame_reads_back_as_it_was_sealed() {
        let mut header = sample();
        let bytes = seal(&mut header, b"payload of 21 bytes..", 1);
        assert_eq!(bytes.len() % FRAME_ALIGNMENT, 0);
        let read = read_header(&bytes, 7, 1).expect("verifies");
        assert_eq!(read, header);
        assert_eq!(read_payload(&bytes, &read, 1), Some(&b"payload of 21 bytes.."[..]));
    }

    #[test]
    fn a_frame_of_another_segment_or_server_does_not_verify() {
        let mut header = sample();
        let bytes = seal(&mut header, b"payload", 1);
        assert_eq!(read_header(&bytes, 8, 1), None);
        assert_eq!(read_header(&bytes, 7, 2), None);
    }

    #[test]
    fn every_flipped_bit_and_every_prefix_is_noticed() {
        let mut header = sample();
        let bytes = seal(&mut header, b"payload", 1);
        let whole = |bytes: &[u8]| {
            read_header(bytes, 7, 1).is_some_and(|header| read_payload(bytes, &header, 1).is_some())
        };
        assert!(whole(&bytes));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!whole(&flipped), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(!whole(&bytes[..length]), "prefix of {length}");
        }
    }
}
