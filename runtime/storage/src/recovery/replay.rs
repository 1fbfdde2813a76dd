//! Replay: what the frames of a log add up to, with or without holes between them.
//!
//! Comes in: frames in order. Goes out: snapshot mark, entries, and whether any are missing.
//! Invariant: entries come out without gaps, and every one of them is in a frame that verified.
//! Must never: join entries from before a hole to entries from behind it.

use super::{RecoveryError, Verdict};
use crate::record::{self, Record};
use crate::segment::Found;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use quorate_raft::{Entry, Index, Membership, SnapshotMark, Term};

/// What the frames add up to.
pub(super) struct Replayed {
    pub(super) snapshot: SnapshotMark,
    pub(super) entries: Vec<Entry>,
    pub(super) last_index: Index,
    pub(super) refetching: bool,
    /// No entry that the log held is missing.
    pub(super) complete: bool,
    /// Newest entry still needed from each segment.
    newest_entries: BTreeMap<u64, Index>,
}

impl Replayed {
    /// The newest entry that may still be needed from this segment; zero: none.
    pub(super) fn newest_entry_of(&self, segment: u64) -> Index {
        self.newest_entries.get(&segment).copied().unwrap_or(Index(0))
    }

    fn new(first_membership: &Membership) -> Replayed {
        Replayed {
            snapshot: SnapshotMark {
                index: Index(0),
                term: Term(0),
                membership: first_membership.clone(),
            },
            entries: Vec::new(),
            last_index: Index(0),
            refetching: false,
            complete: true,
            newest_entries: BTreeMap::new(),
        }
    }

    /// The first frame of a run of frames: what comes before it is known only by its last index.
    fn begin_at(&mut self, found: &Found<'_>) {
        let header = &found.header;
        let entries = u64::from(header.entry_count);
        self.last_index = Index(header.last_index.0.saturating_sub(entries));
        self.entries.clear();
    }

    /// Applies one frame; false when it does not fit what came before.
    fn apply(&mut self, found: &Found<'_>) -> bool {
        let Some(records) = found.payload.and_then(|payload| record::read_all(payload).ok()) else {
            return false;
        };
        for record in records {
            let fits = match record {
                Record::Truncate(from) => self.truncate(from),
                Record::Entry(entry) => self.push(entry, found.header.segment),
                Record::SnapshotMark(mark) => self.mark(mark),
                Record::Installed(mark) => self.install(mark),
            };
            if !fits {
                return false;
            }
        }
        self.refetching = found.header.refetching;
        self.last_index == found.header.last_index
    }

    fn truncate(&mut self, from: Index) -> bool {
        let keep = self.entries.partition_point(|entry| entry.index < from);
        self.entries.truncate(keep);
        let fits = from.0 > 0 && from.0 <= self.last_index.0.saturating_add(1);
        self.last_index = from.previous();
        self.newest_entries
            .values_mut()
            .for_each(|newest| *newest = (*newest).min(from.previous()));
        fits
    }

    fn push(&mut self, entry: Entry, segment: u64) -> bool {
        let fits = Some(entry.index.0) == self.last_index.0.checked_add(1);
        self.last_index = entry.index;
        self.newest_entries.insert(segment, entry.index);
        self.entries.push(entry);
        fits
    }

    fn mark(&mut self, mark: SnapshotMark) -> bool {
        let fits = mark.index >= self.snapshot.index && mark.index <= self.last_index;
        self.snapshot = mark;
        fits
    }

    fn install(&mut self, mark: SnapshotMark) -> bool {
        self.entries.clear();
        self.newest_entries.clear();
        self.last_index = mark.index;
        self.snapshot = mark;
        true
    }

    /// Whether the entries lead from the snapshot to `last` without a gap.
    fn reaches(&self, last: Index) -> bool {
        if self.snapshot.index >= last {
            return true;
        }
        let first = self.entries.first().map(|entry| entry.index);
        first.is_some_and(|first| first <= self.snapshot.index.next()) && self.last_index == last
    }
}

/// A log whose every frame is there.
pub(super) fn intact(
    frames: &[&Found<'_>],
    first_membership: &Membership,
) -> Result<Replayed, RecoveryError> {
    let mut replayed = Replayed::new(first_membership);
    let mut newest_sequence = 0;
    for (position, found) in frames.iter().enumerate() {
        newest_sequence = found.header.write_sequence;
        if position == 0 {
            replayed.begin_at(found);
        }
        if !replayed.apply(found) {
            return Err(RecoveryError::Inconsistent { write_sequence: newest_sequence });
        }
    }
    if !replayed.reaches(replayed.last_index) {
        return Err(RecoveryError::Inconsistent { write_sequence: newest_sequence });
    }
    Ok(replayed)
}

/// A log with at least one hole, the first one behind `intact` frames. Nothing is missing if the
/// entries behind the last hole lead on from a snapshot that is durable; otherwise the log is what
/// it was at the first hole, or that snapshot alone if it is newer or contradicts that.
pub(super) fn around_holes(
    frames: &[&Found<'_>],
    verdict: &Verdict,
    first_membership: &Membership,
) -> Result<Replayed, RecoveryError> {
    let intact = verdict.intact;
    let mut before = Replayed::new(first_membership);
    let mut behind = Replayed::new(first_membership);
    let mut expected = None;
    let mut cut_from = Index(u64::MAX);
    for (position, found) in frames.iter().enumerate() {
        let header = &found.header;
        let current = if position < intact { &mut before } else { &mut behind };
        if expected != Some((header.write_sequence, header.chain_before)) || position == intact {
            current.begin_at(found);
        }
        expected = None;
        if found.payload.is_none() {
            continue;
        }
        if position >= intact {
            cut_from = cut_from.min(first_change(found));
        }
        if !current.apply(found) {
            return Err(RecoveryError::Inconsistent { write_sequence: header.write_sequence });
        }
        expected = header.write_sequence.checked_add(1).map(|next| (next, header.chain));
    }
    let is_complete = expected.is_some() && behind.reaches(verdict.newest.last_index);
    if is_complete && behind.snapshot.index >= before.snapshot.index {
        behind.entries.retain(|entry| entry.index > behind.snapshot.index);
        return Ok(behind);
    }
    let snapshot = if behind.snapshot.index > before.snapshot.index {
        behind.snapshot
    } else {
        before.snapshot.clone()
    };
    let agrees = snapshot == before.snapshot
        || before
            .entries
            .iter()
            .any(|entry| entry.index == snapshot.index && entry.term == snapshot.term);
    let mut entries = before.entries;
    entries.retain(|entry| agrees && entry.index > snapshot.index && entry.index < cut_from);
    // A compacted log leads on from a mark that may itself be in the hole.
    if entries.first().is_some_and(|first| first.index != snapshot.index.next()) {
        entries.clear();
    }
    let last_index = entries.last().map_or(snapshot.index, |entry| entry.index);
    let newest_entries = BTreeMap::new();
    Ok(Replayed {
        snapshot,
        entries,
        last_index,
        refetching: true,
        complete: false,
        newest_entries,
    })
}

/// The lowest index that a frame behind a hole changes: from there on, entries from before the hole
/// are known to be replaced.
fn first_change(found: &Found<'_>) -> Index {
    let records = found.payload.and_then(|payload| record::read_all(payload).ok());
    let changes = records.unwrap_or_default().into_iter().filter_map(|record| match record {
        Record::Truncate(from) => Some(from),
        Record::Entry(entry) => Some(entry.index),
        Record::Installed(_) => Some(Index(0)),
        Record::SnapshotMark(_) => None,
    });
    changes.min().unwrap_or(Index(u64::MAX))
}
