//! Small files kept as two equal copies, replaced as a whole.
//!
//! Comes in: a body. Goes out: the file's bytes, the operations that replace a file by it, or the
//! body read back and whether both copies were good. Invariant: one flipped byte or one lost sector
//! costs at most one copy. Must never: change such a file in place.

use crate::DiskOperation;
use crate::crc::crc32c;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use quorate_types::{LayoutReader, LayoutWriter};

/// A copy begins at a multiple of this, so that no page of a disk holds both.
const COPY_ALIGNMENT: usize = 4_096;

/// What a twin file held.
pub(crate) struct TwinBody<'a> {
    pub(crate) body: &'a [u8],
    /// One of the copies does not verify, or they differ.
    pub(crate) copy_damaged: bool,
}

/// The bytes of a file with this body. `magic` says what kind of file it is.
pub(crate) fn encode(magic: [u8; 8], body: &[u8]) -> Vec<u8> {
    let mut writer = LayoutWriter::with_capacity(body.len() + 16);
    writer.raw(&magic);
    writer.bytes(body);
    let mut copy = writer.into_bytes();
    let check = crc32c(&copy);
    copy.extend_from_slice(&check.to_le_bytes());
    let mut file = copy.clone();
    file.resize(copy.len().next_multiple_of(COPY_ALIGNMENT), 0);
    file.extend_from_slice(&copy);
    file
}

/// The body, if at least one copy verifies.
pub(crate) fn decode(magic: [u8; 8], file: &[u8]) -> Option<TwinBody<'_>> {
    let first = decode_copy(magic, file);
    // The second copy begins where the first says; without the first, at one of the few places.
    let second = (COPY_ALIGNMENT..file.len())
        .step_by(COPY_ALIGNMENT)
        .filter_map(|start| decode_copy(magic, file.get(start..)?))
        .next_back();
    match (first, second) {
        (Some(first), Some(second)) => {
            Some(TwinBody { body: first, copy_damaged: first != second })
        }
        (Some(body), None) | (None, Some(body)) => Some(TwinBody { body, copy_damaged: true }),
        (None, None) => None,
    }
}

fn decode_copy(magic: [u8; 8], bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = LayoutReader::new(bytes);
    if reader.raw("magic", magic.len()).ok()? != magic {
        return None;
    }
    let body = reader.bytes("body").ok()?;
    let covered = bytes.get(..magic.len() + 4 + body.len())?;
    (reader.u32("crc").ok()? == crc32c(covered)).then_some(body)
}

/// Puts `bytes` under `file` so that a crash leaves the old file or the new one, whole.
pub(crate) fn replace(file: &str, bytes: Vec<u8>) -> Vec<DiskOperation> {
    let temporary = temporary_name(file);
    vec![
        DiskOperation::CreateZeroed { file: temporary.clone(), bytes: bytes.len() as u64 },
        DiskOperation::WriteAt { file: temporary.clone(), offset: 0, bytes },
        DiskOperation::Sync { file: temporary.clone() },
        DiskOperation::Rename { from: temporary, to: String::from(file) },
        DiskOperation::SyncDirectory,
    ]
}

/// Where a file is written before it takes its name.
pub(crate) fn temporary_name(file: &str) -> String {
    alloc::format!("{file}.new")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_one_flipped_byte_leaves_the_body_readable() {
        for body_bytes in [0usize, 5, 4_080, 4_090, 9_000] {
            let body: Vec<u8> = (0..body_bytes).map(|place| (place % 251) as u8).collect();
            let file = encode(*b"testing\0", &body);
            for place in 0..file.len() {
                let mut flipped = file.clone();
                flipped[place] ^= 0x40;
                let read = decode(*b"testing\0", &flipped).expect("one copy is left");
                assert_eq!(read.body, body, "byte {place}");
            }
        }
    }

    #[test]
    fn garbage_and_prefixes_are_not_a_body() {
        let file = encode(*b"testing\0", b"body");
        assert!(decode(*b"another\0", &file).is_none());
        for length in 0..20 {
            assert!(decode(*b"testing\0", &file[..length]).is_none(), "prefix of {length}");
        }
        assert!(decode(*b"testing\0", &[0xff; 10_000]).is_none());
    }
}
