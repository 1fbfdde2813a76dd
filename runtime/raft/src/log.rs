//! The log in RAM, and what of it the disk holds.
//!
//! Comes in: entries to append, truncations, installs, completed writes. Goes out: terms, slices,
//! the parts of the next write. Invariant: `base < first entry`, indexes contiguous, terms never
//! fall, `durable <= last`; a completed write attests only those of its entries that no truncation
//! has touched since it was handed out. Never drops an entry that is not covered by a snapshot.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::types::{Entry, Index, SnapshotMark, Term, WriteSequence};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};

#[derive(Clone, Debug)]
struct PendingWrite {
    sequence: WriteSequence,
    /// Entries up to here are durable once the write is; lowered by later truncations. This, and
    /// not a comparison of terms at completion, keeps an entry that was overwritten and then
    /// written again with its old term from being counted on the first write's completion.
    attests: Index,
    installed: Option<SnapshotMark>,
}

/// What the log contributes to the next write.
#[derive(Debug, Default)]
pub(crate) struct LogChange {
    pub(crate) installed: Option<SnapshotMark>,
    pub(crate) truncate_from: Option<Index>,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub(crate) struct Log {
    base_index: Index,
    base_term: Term,
    entries: VecDeque<Entry>,
    /// Entries up to here have been handed out in writes.
    written: Index,
    durable: Index,
    truncate_from: Option<Index>,
    install: Option<SnapshotMark>,
    pending: VecDeque<PendingWrite>,
    last_sequence: WriteSequence,
    durable_sequence: WriteSequence,
}

impl Log {
    /// A log as the disk holds it. Panics on a gap or on terms that contradict the snapshot: storage
    /// has checked what it read.
    pub(crate) fn new(snapshot: &SnapshotMark, entries: Vec<Entry>) -> Log {
        let mut entries = VecDeque::from(entries);
        let (mut base_index, mut base_term) = (snapshot.index, snapshot.term);
        if entries.back().is_some_and(|last| last.index < snapshot.index) {
            entries.clear();
        }
        if let Some(first) = entries.front() {
            assert!(first.index <= snapshot.index.next(), "gap between snapshot and log");
            if first.index <= snapshot.index {
                (base_index, base_term) = (first.index, first.term);
                entries.pop_front();
            }
        }
        let mut log = Log {
            base_index,
            base_term,
            entries: VecDeque::new(),
            written: base_index,
            durable: base_index,
            truncate_from: None,
            install: None,
            pending: VecDeque::new(),
            last_sequence: WriteSequence(0),
            durable_sequence: WriteSequence(0),
        };
        entries.into_iter().for_each(|entry| log.append(entry));
        let held = log.term_at(snapshot.index);
        assert!(held == Some(snapshot.term), "log contradicts snapshot");
        (log.written, log.durable) = (log.last_index(), log.last_index());
        log
    }

    pub(crate) fn first_index(&self) -> Index {
        self.base_index.next()
    }

    pub(crate) fn last_index(&self) -> Index {
        Index(self.base_index.0 + self.entries.len() as u64)
    }

    pub(crate) fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base_term, |entry| entry.term)
    }

    pub(crate) fn durable_index(&self) -> Index {
        self.durable
    }

    /// Whether an installed snapshot is not yet durable.
    pub(crate) fn is_installing(&self) -> bool {
        self.install.is_some() || self.pending.iter().any(|write| write.installed.is_some())
    }

    fn position(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.base_index.0 + 1)?).ok()
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.position(index)?)
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base_index {
            return Some(self.base_term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// The entries held within the range, in order.
    pub(crate) fn range(&self, range: RangeInclusive<Index>) -> impl Iterator<Item = &Entry> {
        let from = (*range.start()).max(self.first_index());
        let to = (*range.end()).min(self.last_index());
        let skip = from.0 - self.first_index().0;
        let count = (to.0 + 1).saturating_sub(from.0);
        let end = (skip + count).min(self.entries.len() as u64);
        self.entries.range((skip.min(end) as usize)..(end as usize))
    }

    /// Entries from `from` on, at most `count_max`, at most `bytes_max` payload bytes but at least one.
    pub(crate) fn slice(&self, from: Index, count_max: usize, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0usize;
        let mut slice = Vec::new();
        for entry in self.range(from..=self.last_index()).take(count_max) {
            bytes = bytes.saturating_add(entry.payload.len());
            if bytes > bytes_max && !slice.is_empty() {
                break;
            }
            slice.push(entry.clone());
        }
        slice
    }

    /// Whether a log ending so is at least as complete as this one.
    pub(crate) fn is_no_newer_than(&self, last_index: Index, last_term: Term) -> bool {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::VoteForShorterLog) {
            return true;
        }
        (last_term, last_index) >= (self.last_term(), self.last_index())
    }

    /// The last entry at or before `index` whose term is at most `term`: nothing after it can equal
    /// an entry of a log that has `term` at `index`. At worst the base, which is committed.
    pub(crate) fn last_at_most(&self, index: Index, term: Term) -> (Index, Term) {
        let count = self.entries.partition_point(|entry| entry.term <= term) as u64;
        let found = Index(self.base_index.0 + count).min(index).max(self.base_index);
        (found, self.term_at(found).unwrap_or_default())
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        assert!(entry.index == self.last_index().next(), "appended entry leaves a gap");
        assert!(entry.term >= self.last_term(), "appended entry's term falls");
        self.entries.push_back(entry);
    }

    /// Drops entries from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(from > self.base_index, "truncation below the log's base");
        let keep = from.previous();
        self.entries.truncate((keep.0 - self.base_index.0) as usize);
        self.durable = self.durable.min(keep);
        for write in &mut self.pending {
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::TruncationKeepsAttestation) {
                continue;
            }
            write.attests = write.attests.min(keep);
        }
        if keep < self.written {
            self.written = keep;
            self.truncate_from = Some(self.truncate_from.map_or(from, |other| other.min(from)));
        }
    }

    /// Replaces the whole log by a snapshot whose file is durable.
    pub(crate) fn install(&mut self, mark: &SnapshotMark) {
        #[cfg(feature = "planted-bugs")]
        let behind = self.range(mark.index.next()..=self.last_index()).cloned().collect();
        self.entries.clear();
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::InstallKeepsSuffix) {
            self.entries = behind;
        }
        (self.base_index, self.base_term) = (mark.index, mark.term);
        self.written = mark.index;
        self.durable = Index(0);
        self.truncate_from = None;
        self.install = Some(mark.clone());
        for write in &mut self.pending {
            write.attests = Index(0);
            write.installed = None;
        }
    }

    /// Forgets entries below `keep_from`; they are durable and covered by a snapshot.
    pub(crate) fn compact(&mut self, keep_from: Index) {
        assert!(keep_from <= self.durable.next(), "compaction of entries that are not durable");
        while self.entries.front().is_some_and(|entry| entry.index < keep_from) {
            if let Some(entry) = self.entries.pop_front() {
                (self.base_index, self.base_term) = (entry.index, entry.term);
            }
        }
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        self.install.is_some() || self.truncate_from.is_some() || self.written < self.last_index()
    }

    /// The number the next write will have.
    pub(crate) fn next_sequence(&self) -> WriteSequence {
        WriteSequence(self.last_sequence.0 + 1)
    }

    pub(crate) fn durable_sequence(&self) -> WriteSequence {
        self.durable_sequence
    }

    /// The write after which the entry at `index` is durable.
    pub(crate) fn sequence_covering(&self, index: Index) -> WriteSequence {
        if index <= self.durable {
            return self.durable_sequence;
        }
        let covering = self.pending.iter().find(|write| write.attests >= index);
        covering.map_or(self.next_sequence(), |write| write.sequence)
    }

    /// Hands out everything not yet written as the write `next_sequence()`.
    pub(crate) fn begin_write(&mut self) -> LogChange {
        let entries = self.range(self.written.next()..=self.last_index()).cloned().collect();
        let change = LogChange {
            installed: self.install.take(),
            truncate_from: self.truncate_from.take(),
            entries,
        };
        self.last_sequence = self.next_sequence();
        self.written = self.last_index();
        self.pending.push_back(PendingWrite {
            sequence: self.last_sequence,
            attests: self.written,
            installed: change.installed.clone(),
        });
        change
    }

    /// Everything up to `sequence` is on disk. Returns the install that thereby became durable.
    pub(crate) fn complete(&mut self, sequence: WriteSequence) -> Option<SnapshotMark> {
        assert!(sequence <= self.last_sequence, "completion of a write never handed out");
        self.durable_sequence = self.durable_sequence.max(sequence);
        let mut installed = None;
        while self.pending.front().is_some_and(|write| write.sequence <= sequence) {
            let Some(write) = self.pending.pop_front() else { break };
            if write.installed.is_some() {
                installed = write.installed;
            }
            self.durable = self.durable.max(write.attests);
        }
        assert!(self.durable <= self.last_index(), "durable beyond the log's end");
        installed
    }
}

#[cfg(test)]
mod tests;
