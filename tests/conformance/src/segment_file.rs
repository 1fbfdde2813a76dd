//! Finds frames in a segment of a server's log, to damage them.
//!
//! Comes in: a data directory of a server that is down. Goes out: where each frame of the newest
//! segment lies. Written from `runtime/docs/log-format.md`, not with the server's own code; trusts
//! lengths and checks no checksum, which is fine before the damage.

use anyhow::{Context, Result};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SEGMENT_HEADER_BYTES: usize = 64;
const FRAME_HEADER_BYTES: usize = 88;
const FRAME_ALIGNMENT: usize = 8;

/// Where a frame lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The whole frame in the file.
    pub bytes: Range<usize>,
    /// Its payload in the file.
    pub payload: Range<usize>,
    /// Entries in it.
    pub entry_count: u32,
    /// The first of them; zero when there is none.
    pub first_index: u64,
}

/// The segment that a server wrote to last.
#[derive(Debug)]
pub struct SegmentFile {
    path: PathBuf,
    /// Oldest first.
    pub frames: Vec<Frame>,
}

impl SegmentFile {
    /// Reads the newest segment in a data directory.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn newest(data_folder: &Path) -> Result<SegmentFile> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(data_folder.join("state"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("segment-") {
                paths.push(path);
            }
        }
        // Ids have a fixed number of digits and grow.
        let path = paths.into_iter().max().context("no segment")?;
        let bytes = fs::read(&path)?;
        Ok(SegmentFile { frames: frames(&bytes), path })
    }

    /// The newest frame that holds entries, and how many frames follow it.
    ///
    /// # Errors
    /// There is none.
    pub fn newest_with_entries(&self) -> Result<(&Frame, usize)> {
        let mut newest_first = self.frames.iter().rev().enumerate();
        let found = newest_first.find(|(_, frame)| frame.entry_count > 0);
        found.map(|(behind, frame)| (frame, behind)).context("no frame holds entries")
    }

    /// Puts zeros over part of the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn zero(&self, range: Range<usize>) -> Result<()> {
        self.write(range.start, &vec![0; range.len()])
    }

    /// Turns one bit over.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flip(&self, offset: usize) -> Result<()> {
        let byte = fs::read(&self.path)?[offset];
        self.write(offset, &[byte ^ 0x10])
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let file = fs::OpenOptions::new().write(true).open(&self.path)?;
        Ok(file.write_all_at(bytes, u64::try_from(offset)?)?)
    }
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let segment = number(bytes, 32, 8);
    let mut frames = Vec::new();
    let mut offset = SEGMENT_HEADER_BYTES;
    while bytes.get(offset..offset + 4) == Some(b"QFRM") && number(bytes, offset + 8, 8) == segment
    {
        let payload_bytes = usize::try_from(number(bytes, offset + 32, 4)).unwrap_or(usize::MAX);
        let payload = offset + FRAME_HEADER_BYTES..offset + FRAME_HEADER_BYTES + payload_bytes;
        let end = payload.end.next_multiple_of(FRAME_ALIGNMENT);
        frames.push(Frame {
            bytes: offset..end,
            payload,
            entry_count: u32::try_from(number(bytes, offset + 36, 4)).unwrap_or(0),
            first_index: number(bytes, offset + 40, 8),
        });
        offset = end;
    }
    frames
}

/// A little-endian number; zero behind the end.
fn number(bytes: &[u8], offset: usize, length: usize) -> u64 {
    let found = bytes.get(offset..offset + length).unwrap_or_default();
    found.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
