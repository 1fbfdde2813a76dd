//! Segments: the files of the log, their names and their headers.
//!
//! Comes in: a segment's place in the log. Goes out: its header, the seed that binds its frames to
//! it, and the frames found in its bytes. Invariant: a segment id is never used twice in a data
//! directory, so frames left in a recycled file verify nowhere. Must never: decide what a frame
//! that does not verify means; recovery does.

use crate::ServerIdentity;
use crate::crc::{crc32c, crc32c_extend};
use crate::frame::{self, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::LayoutWriter;

/// Bytes of a segment's header; its frames begin here.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
/// Segments are made in multiples of this.
pub(crate) const SEGMENT_ALIGNMENT: u64 = 4_096;

/// Ids, write sequences and indexes stay below this, so that counting on from one that was read
/// cannot overflow; a file name beyond it is not one of ours.
pub(crate) const NUMBERS_END: u64 = 1 << 62;

const MAGIC: [u8; 8] = *b"QSEGMT\x01\0";

/// Where a segment stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// The file was used before: what follows the newest frame need not be zeros.
    pub(crate) recycled: bool,
    /// Write sequence of its opening frame.
    pub(crate) first_sequence: u64,
    /// Chain that its opening frame continues.
    pub(crate) chain_before: u32,
    /// Set once a newer segment exists.
    pub(crate) closed: Option<Closed>,
}

/// How a segment ended. What follows `end` in the file is not part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Offset behind its last frame.
    pub(crate) end: u64,
    /// Write sequence of its last frame.
    pub(crate) last_sequence: u64,
    /// Chain of its last frame.
    pub(crate) chain: u32,
}

impl Segment {
    /// The file's name.
    pub(crate) fn file(&self) -> String {
        file_name(self.id)
    }

    /// What every checksum of this segment starts from.
    pub(crate) fn seed(&self, identity: &ServerIdentity) -> u32 {
        seed(identity, self.id)
    }

    /// The first `SEGMENT_HEADER_BYTES` of the file.
    pub(crate) fn header(&self, identity: &ServerIdentity) -> Vec<u8> {
        let mut writer = LayoutWriter::with_capacity(SEGMENT_HEADER_BYTES as usize);
        writer.raw(&MAGIC);
        identity.write(&mut writer);
        writer.u64(self.id);
        writer.u64(self.first_sequence);
        writer.u64(self.bytes);
        writer.u32(self.chain_before);
        let mut bytes = writer.into_bytes();
        let check = crc32c_extend(self.seed(identity), &bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        assert_eq!(bytes.len() as u64, SEGMENT_HEADER_BYTES);
        bytes
    }
}

/// What every checksum of the segment `id` starts from: binds it to this server's disk.
pub(crate) fn seed(identity: &ServerIdentity, id: u64) -> u32 {
    let mut writer = LayoutWriter::with_capacity(32);
    identity.write(&mut writer);
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::StaleFrameReplayed) {
        return crc32c(&writer.into_bytes());
    }
    writer.u64(id);
    crc32c(&writer.into_bytes())
}

/// Name of the segment `id`.
pub(crate) fn file_name(id: u64) -> String {
    format!("segment-{id:016x}.log")
}

/// Name of the `number`-th file waiting to become a segment.
pub(crate) fn spare_name(number: u64) -> String {
    format!("spare-{number:016x}.log")
}

/// Name under which a segment of a damaged log is kept for an operator.
pub(crate) fn damaged_name(id: u64) -> String {
    format!("damaged-{id:016x}.log")
}

/// The number in a name made of `prefix`, 16 hexadecimal digits and `.log`.
pub(crate) fn number_in(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(".log")?;
    let plain = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != 16 || !plain {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().filter(|number| *number < NUMBERS_END)
}

/// Whether a frame besides the opening one was ever written to these bytes of segment `id`: then
/// its log was in use, whatever has become of its other files.
pub(crate) fn was_used(bytes: &[u8], id: u64) -> bool {
    let places = (0..bytes.len()).step_by(FRAME_ALIGNMENT);
    let frames = places
        .filter(|place| bytes.get(*place..).is_some_and(|at| frame::looks_like_frame(at, id)));
    frames.take(2).count() == 2
}

/// A frame whose header verified.
#[derive(Clone, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) header: FrameHeader,
    /// Where it begins in its segment.
    pub(crate) offset: usize,
    /// None when the payload does not verify.
    pub(crate) payload: Option<&'a [u8]>,
}

impl Found<'_> {
    /// Offset behind the frame.
    pub(crate) fn end(&self) -> usize {
        self.offset + self.header.frame_bytes()
    }
}

/// Every frame of the segment whose header verifies, in file order. `bytes` is cut where the
/// segment was closed.
pub(crate) fn scan<'a>(bytes: &'a [u8], segment: u64, seed: u32) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    let mut offset = SEGMENT_HEADER_BYTES as usize;
    while let Some(rest) = bytes.get(offset..).filter(|rest| rest.len() >= FRAME_HEADER_BYTES) {
        let Some(header) = frame::read_header(rest, segment, seed) else {
            offset += FRAME_ALIGNMENT;
            continue;
        };
        let payload = frame::read_payload(rest, &header, seed);
        let here = Found { header, offset, payload };
        // A length is to be believed only when what it covers is whole: a header in a sector that
        // does not belong here would hide the frames behind it.
        offset = if payload.is_some() { here.end() } else { offset + FRAME_ALIGNMENT };
        found.push(here);
    }
    found
}

/// How many bytes behind `offset` were written for this segment without being part of the log:
/// what a crash left of frames that were on their way.
pub(crate) fn residue_bytes(bytes: &[u8], segment: &Segment, offset: usize) -> u64 {
    let Some(tail) = bytes.get(offset..) else { return 0 };
    if !segment.recycled {
        let last = tail.iter().rposition(|byte| *byte != 0);
        return last.map_or(0, |last| last as u64 + 1);
    }
    let last = (0..tail.len()).step_by(FRAME_ALIGNMENT).rfind(|place| {
        tail.get(*place..).is_some_and(|at| frame::looks_like_frame(at, segment.id))
    });
    last.map_or(0, |last| (last + FRAME_HEADER_BYTES).min(tail.len()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_carry_a_number() {
        assert_eq!(number_in(&file_name(0xab), "segment-"), Some(0xab));
        for name in [
            "segment-ab.log",
            "segment-00000000000000AB.log",
            "segment-+0000000000000ab.log",
            "segment-00000000000000ab.log.new",
            "spare-00000000000000ab.log",
            "",
        ] {
            assert_eq!(number_in(name, "segment-"), None, "{name}");
        }
    }
}
