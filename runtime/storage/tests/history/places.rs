//! Where things lie in the files of a log at rest, and how they are spoiled.
//!
//! Comes in: the files of a data directory that nothing has happened to. Goes out: every stretch of
//! bytes with what it is for, and spoiled copies. Invariant: read from the format's description, not
//! with the code that it judges. Must never: be given files that are spoiled already.

use quorate_faulty_disk::Choices;
use std::collections::BTreeMap;
use std::ops::Range;

pub type Files = BTreeMap<String, Vec<u8>>;

const SEGMENT_HEADER_BYTES: usize = 64;
const FRAME_HEADER_BYTES: usize = 88;

/// What bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Identity,
    Manifest,
    Snapshot,
    Spare,
    SegmentHeader,
    FrameHeader,
    TermAndVote,
    Payload,
    Padding,
    BehindTheEnd,
}

#[derive(Clone, Debug)]
pub struct Place {
    pub class: Class,
    pub file: String,
    pub bytes: Range<usize>,
}

/// A frame of the newest segment.
#[derive(Clone, Debug)]
pub struct Frame {
    pub sequence: u64,
    pub bytes: Range<usize>,
}

fn number(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn payload_bytes(bytes: &[u8], frame: usize) -> usize {
    let field = bytes[frame + 32..frame + 36].try_into().expect("four bytes");
    u32::from_le_bytes(field) as usize
}

/// The frames of a segment from its header on, as long as they follow one another.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (segment, mut sequence) = (number(bytes, 32), number(bytes, 40));
    let (mut frames, mut offset) = (Vec::new(), SEGMENT_HEADER_BYTES);
    while offset + FRAME_HEADER_BYTES <= bytes.len()
        && bytes[offset..].starts_with(b"QFRM")
        && number(bytes, offset + 8) == segment
        && number(bytes, offset + 16) == sequence
    {
        let payload = payload_bytes(bytes, offset).next_multiple_of(8);
        let end = offset + FRAME_HEADER_BYTES + payload;
        frames.push(Frame { sequence, bytes: offset..end });
        (offset, sequence) = (end, sequence + 1);
    }
    frames
}

/// The newest segment and its frames.
pub fn newest_segment(files: &Files) -> (String, Vec<Frame>) {
    let newest = files.iter().rfind(|(name, _)| name.starts_with("segment"));
    let (name, bytes) = newest.expect("a log has a segment");
    (name.clone(), frames(bytes))
}

/// Every stretch of every file.
pub fn places(files: &Files) -> Vec<Place> {
    let mut places = Vec::new();
    for (file, bytes) in files {
        let mut push = |class, bytes: Range<usize>| {
            if !bytes.is_empty() {
                places.push(Place { class, file: file.clone(), bytes });
            }
        };
        match file.split(['-', '.']).next() {
            Some("identity") => push(Class::Identity, 0..bytes.len()),
            Some("manifest") => push(Class::Manifest, 0..bytes.len()),
            Some("snapshot") => push(Class::Snapshot, 0..bytes.len()),
            Some("spare") => push(Class::Spare, 0..bytes.len()),
            Some("segment") => segment_places(bytes, &mut push),
            _ => panic!("{file} is no file of a log"),
        }
    }
    places
}

fn segment_places(bytes: &[u8], push: &mut dyn FnMut(Class, Range<usize>)) {
    push(Class::SegmentHeader, 0..SEGMENT_HEADER_BYTES);
    let mut end = SEGMENT_HEADER_BYTES;
    for frame in frames(bytes) {
        let start = frame.bytes.start;
        push(Class::FrameHeader, start..start + 56);
        push(Class::TermAndVote, start + 56..start + 72);
        push(Class::FrameHeader, start + 72..start + FRAME_HEADER_BYTES);
        let padding = start + FRAME_HEADER_BYTES + payload_bytes(bytes, start);
        push(Class::Payload, start + FRAME_HEADER_BYTES..padding);
        push(Class::Padding, padding..frame.bytes.end);
        end = frame.bytes.end;
    }
    push(Class::BehindTheEnd, end..bytes.len());
}

/// A way to spoil a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spoiling {
    FlippedBit,
    ChangedByte,
    ZeroedSector,
    /// A sector holds what belongs into another one, of any file.
    MisdirectedSector,
    Truncated,
    Missing,
}

impl Spoiling {
    pub const ALL: [Spoiling; 6] = [
        Spoiling::FlippedBit,
        Spoiling::ChangedByte,
        Spoiling::ZeroedSector,
        Spoiling::MisdirectedSector,
        Spoiling::Truncated,
        Spoiling::Missing,
    ];

    /// A copy of the files with this byte spoiled, or the sector or file that it is in.
    pub fn apply(self, files: &Files, file: &str, at: usize, choices: &mut Choices) -> Files {
        let mut spoiled = files.clone();
        if self == Spoiling::Missing {
            spoiled.remove(file);
            return spoiled;
        }
        let bytes = spoiled.get_mut(file).expect("a place is in a file");
        let sector_bytes = if choices.one_in(2) { 512 } else { 4_096 };
        let sector = |at: usize, length: usize| {
            let start = at / sector_bytes * sector_bytes;
            start..(start + sector_bytes).min(length)
        };
        match self {
            Spoiling::FlippedBit => bytes[at] ^= 1 << choices.below(8),
            Spoiling::ChangedByte => bytes[at] ^= 1 + choices.below(255) as u8,
            Spoiling::ZeroedSector => bytes[sector(at, files[file].len())].fill(0),
            Spoiling::MisdirectedSector => {
                let source = files.values().nth(choices.below(files.len() as u64) as usize);
                let source = source.filter(|source| !source.is_empty()).expect("no empty files");
                let from = choices.below(source.len() as u64) as usize;
                let (from, to) = (sector(from, source.len()), sector(at, bytes.len()));
                let length = from.len().min(to.len());
                bytes[to][..length].copy_from_slice(&source[from][..length]);
            }
            Spoiling::Truncated => bytes.truncate(at),
            Spoiling::Missing => {}
        }
        spoiled
    }
}
