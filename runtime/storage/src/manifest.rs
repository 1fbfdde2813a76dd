//! The manifest: which segments make up the log, and how far it was durable when that was written.
//!
//! Comes in: the list of segments. Goes out: the file's bytes, or the list. Invariant: a segment is
//! in the manifest before a frame in it is acknowledged, and leaves it before its file is reused;
//! so a listed file that is missing is a loss, and one that is not listed is rubbish.

use crate::segment::{Closed, NUMBERS_END, Segment};
use crate::{ServerIdentity, twin};
use alloc::vec::Vec;
use quorate_raft::{HardState, ReplicaId, Term};
use quorate_types::{LayoutError, LayoutReader, LayoutWriter};

/// Name of the manifest.
pub const MANIFEST_FILE: &str = "manifest";

const MAGIC: [u8; 8] = *b"QMANIF\x01\0";

/// What the manifest holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) identity: ServerIdentity,
    /// Ids from here on were never used.
    pub(crate) next_segment: u64,
    /// Every frame up to this one was on disk when the manifest was made.
    pub(crate) durable_sequence: u64,
    /// Term and vote as of that frame.
    pub(crate) hard_state: HardState,
    /// Oldest first; all but the last are closed.
    pub(crate) segments: Vec<Segment>,
}

/// The file's bytes.
pub(crate) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut writer = LayoutWriter::new();
    manifest.identity.write(&mut writer);
    writer.u64(manifest.next_segment);
    writer.u64(manifest.durable_sequence);
    writer.u64(manifest.hard_state.term.0);
    writer.option(manifest.hard_state.vote, |writer, vote| writer.u64(vote.0));
    writer.list(manifest.segments.iter(), |writer, segment| {
        writer.u64(segment.id);
        writer.u64(segment.bytes);
        writer.bool(segment.recycled);
        writer.u64(segment.first_sequence);
        writer.u32(segment.chain_before);
        writer.option(segment.closed.as_ref(), |writer, closed| {
            writer.u64(closed.end);
            writer.u64(closed.last_sequence);
            writer.u32(closed.chain);
        });
    });
    twin::encode(MAGIC, &writer.into_bytes())
}

/// The manifest and whether one of its copies is damaged; None if neither verifies.
pub(crate) fn decode(file: &[u8]) -> Option<(Manifest, bool)> {
    let twin = twin::decode(MAGIC, file)?;
    let mut reader = LayoutReader::new(twin.body);
    let manifest = Manifest {
        identity: ServerIdentity::read(&mut reader).ok()?,
        next_segment: reader.u64("next segment").ok()?,
        durable_sequence: reader.u64("durable sequence").ok()?,
        hard_state: HardState {
            term: Term(reader.u64("term").ok()?),
            vote: reader.option("vote", |reader| reader.u64("vote").map(ReplicaId)).ok()?,
        },
        segments: reader.list("segments", read_segment).ok()?,
    };
    reader.finish().ok()?;
    is_consistent(&manifest).then_some((manifest, twin.copy_damaged))
}

fn read_segment(reader: &mut LayoutReader<'_>) -> Result<Segment, LayoutError> {
    Ok(Segment {
        id: reader.u64("segment id")?,
        bytes: reader.u64("segment bytes")?,
        recycled: reader.bool("recycled")?,
        first_sequence: reader.u64("first sequence")?,
        chain_before: reader.u32("chain before")?,
        closed: reader.option("closed", |reader| {
            Ok(Closed {
                end: reader.u64("end")?,
                last_sequence: reader.u64("last sequence")?,
                chain: reader.u32("chain")?,
            })
        })?,
    })
}

/// Whether the segments follow one another and exactly the last one is open.
fn is_consistent(manifest: &Manifest) -> bool {
    let Some(active) = manifest.segments.last() else { return false };
    let follow = manifest.segments.windows(2).all(|pair| match pair {
        [older, newer] => older.closed.as_ref().is_some_and(|closed| {
            older.id < newer.id
                && closed.end <= older.bytes
                && closed.last_sequence.checked_add(1) == Some(newer.first_sequence)
                && closed.chain == newer.chain_before
        }),
        _ => false,
    });
    follow
        && active.closed.is_none()
        && active.id < manifest.next_segment
        && manifest.next_segment < NUMBERS_END
        && manifest.durable_sequence < NUMBERS_END
        && active.first_sequence > 0
        && active.first_sequence <= manifest.durable_sequence
}
