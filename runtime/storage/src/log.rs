//! The log while the server runs: batches in, disk operations out.
//!
//! Comes in: batches of consensus, and word of what became durable. Goes out: operations whose last
//! one makes the batch durable. Invariant: frames are numbered without holes and chained, and the
//! manifest lists a segment before a frame in it counts. Must never: reuse a segment id, or let go
//! of a segment that holds an entry beyond the newest snapshot mark.

use crate::frame::{self, FrameHeader, FrameKind};
use crate::manifest::{self, MANIFEST_FILE, Manifest};
use crate::segment::{self, Closed, SEGMENT_ALIGNMENT, SEGMENT_HEADER_BYTES, Segment};
use crate::{DiskOperation, IDENTITY_FILE, ServerIdentity, identity, record, twin};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Entry, HardState, Index, Membership, SnapshotMark, Term};
use quorate_types::LayoutWriter;

/// Files kept ready to become segments.
const SPARES_MAX: usize = 2;

/// The log's constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Length of a segment file, rounded up to 4 KiB. A batch that does not fit gets a segment of
    /// its own size. Production: 64 MiB.
    pub segment_bytes: u32,
}

impl LogSettings {
    pub(crate) fn aligned_bytes(self) -> u64 {
        u64::from(self.segment_bytes.max(1)).next_multiple_of(SEGMENT_ALIGNMENT)
    }
}

/// What becomes durable together, or not at all. Takes effect in the order of: `installed`,
/// `truncate_from`, `entries`, `snapshot_mark`.
#[derive(Clone, Debug, Default)]
pub struct LogBatch<'a> {
    /// New term and vote.
    pub hard_state: Option<HardState>,
    /// Entries from here on are void.
    pub truncate_from: Option<Index>,
    /// Follow the last entry that is left.
    pub entries: &'a [Entry],
    /// The server's own snapshot up to this mark is durable.
    pub snapshot_mark: Option<&'a SnapshotMark>,
    /// A durable snapshot from the leader takes the place of every entry.
    pub installed: Option<&'a SnapshotMark>,
    /// Whether acknowledged entries are missing from here on.
    pub refetching: Option<bool>,
}

impl LogBatch<'_> {
    fn is_empty(&self) -> bool {
        self.hard_state.is_none()
            && self.truncate_from.is_none()
            && self.entries.is_empty()
            && self.snapshot_mark.is_none()
            && self.installed.is_none()
            && self.refetching.is_none()
    }

    fn payload(&self) -> Vec<u8> {
        let mut writer = LayoutWriter::with_capacity(record::entries_bytes(self.entries) + 64);
        if let Some(mark) = self.installed {
            record::write_installed(&mut writer, mark);
        }
        if let Some(from) = self.truncate_from {
            record::write_truncate(&mut writer, from);
        }
        for entry in self.entries {
            record::write_entry(&mut writer, entry);
        }
        if let Some(mark) = self.snapshot_mark {
            record::write_snapshot_mark(&mut writer, mark);
        }
        writer.into_bytes()
    }
}

/// What every frame header and every opening frame restate.
#[derive(Clone, Debug)]
pub(crate) struct LogState {
    pub(crate) hard_state: HardState,
    pub(crate) refetching: bool,
    /// The newest durable snapshot.
    pub(crate) snapshot: SnapshotMark,
    pub(crate) last_index: Index,
}

/// A live segment and the newest entry that may still be needed from it.
#[derive(Clone, Debug)]
pub(crate) struct LiveSegment {
    pub(crate) segment: Segment,
    /// Zero: none.
    pub(crate) newest_entry: Index,
    /// The file still has the length that it was made with.
    pub(crate) is_recyclable: bool,
}

/// A file waiting to become a segment.
#[derive(Clone, Debug)]
struct Spare {
    file: String,
    recycled: bool,
}

/// The log of one server.
#[derive(Clone, Debug)]
pub struct Log {
    settings: LogSettings,
    identity: ServerIdentity,
    /// Oldest first; the last one is written to. Never empty.
    segments: Vec<LiveSegment>,
    spares: Vec<Spare>,
    next_segment: u64,
    next_spare: u64,
    /// Where the next frame goes in the active segment.
    offset: u64,
    /// Of the newest frame.
    sequence: u64,
    /// Of the newest frame.
    chain: u32,
    durable_sequence: u64,
    /// The newest frame that is more than a voucher.
    content_sequence: u64,
    /// The newest `durable_sequence` in a frame.
    vouched_sequence: u64,
    state: LogState,
}

/// What recovery knows when it makes a log again.
pub(crate) struct Resume {
    pub(crate) settings: LogSettings,
    pub(crate) identity: ServerIdentity,
    pub(crate) segments: Vec<LiveSegment>,
    pub(crate) next_segment: u64,
    pub(crate) next_spare: u64,
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
    pub(crate) chain: u32,
    pub(crate) state: LogState,
}

impl Log {
    /// A new log on an empty disk, and the operations that make it. The identity file comes last:
    /// as long as it is not there, nothing was created.
    #[must_use]
    pub fn create(
        settings: LogSettings,
        identity: ServerIdentity,
        first_membership: &Membership,
    ) -> (Log, Vec<DiskOperation>) {
        let state = LogState {
            hard_state: HardState::default(),
            refetching: false,
            snapshot: SnapshotMark {
                index: Index(0),
                term: Term(0),
                membership: first_membership.clone(),
            },
            last_index: Index(0),
        };
        let mut log = Log::resume(Resume {
            settings,
            identity,
            segments: Vec::new(),
            next_segment: 1,
            next_spare: 1,
            offset: 0,
            sequence: 0,
            chain: 0,
            state,
        });
        let mut operations = log.begin_segment(&[]);
        operations.extend(log.prepare_spare());
        let file = identity::encode(&identity, first_membership);
        operations.extend(twin::replace(IDENTITY_FILE, file));
        log.durable(log.sequence);
        (log, operations)
    }

    /// A log that continues behind what recovery read; everything read counts as durable.
    pub(crate) fn resume(resume: Resume) -> Log {
        Log {
            settings: resume.settings,
            identity: resume.identity,
            segments: resume.segments,
            spares: Vec::new(),
            next_segment: resume.next_segment,
            next_spare: resume.next_spare,
            offset: resume.offset,
            sequence: resume.sequence,
            chain: resume.chain,
            durable_sequence: resume.sequence,
            content_sequence: resume.sequence,
            vouched_sequence: resume.sequence,
            state: resume.state,
        }
    }

    /// Operations that make the batch durable, `Sync` of its segment last, or `SyncDirectory` when
    /// a segment was begun. They come after those of every earlier call.
    ///
    /// # Panics
    /// When the batch does not continue the log: its entries leave a gap or follow nothing, the
    /// term goes back, or a mark lies beyond the last entry.
    #[must_use = "the batch is durable only once the operations are performed"]
    pub fn append(&mut self, batch: &LogBatch<'_>) -> Vec<DiskOperation> {
        let payload = batch.payload();
        let fits = self.offset + frame::frame_bytes(payload.len()) as u64 <= self.active().bytes;
        let mut operations = Vec::new();
        if !fits {
            operations = self.begin_segment_with(batch, &payload);
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::DirectoryNotSynced) {
                operations.retain(|operation| *operation != DiskOperation::SyncDirectory);
            }
        } else {
            self.take_effect(batch);
            let bytes = self.seal_frame(FrameKind::Batch, batch.entries, &payload);
            let file = self.active().file();
            let offset = self.offset - bytes.len() as u64;
            operations.push(DiskOperation::WriteAt { file: file.clone(), offset, bytes });
            operations.push(DiskOperation::Sync { file });
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::SegmentNotSynced) {
                operations.pop();
            }
        }
        if !batch.is_empty() {
            self.content_sequence = self.sequence;
        }
        operations
    }

    /// Number of the newest batch appended; give it to `durable` once its operations are performed.
    #[must_use]
    pub fn newest_sequence(&self) -> u64 {
        self.sequence
    }

    /// The operations of every batch up to this number have been performed. Frames written from
    /// here on vouch for those batches: their loss will be recognised as corruption.
    ///
    /// # Panics
    /// When that batch was never appended.
    pub fn durable(&mut self, sequence: u64) {
        assert!(sequence <= self.sequence, "batch {sequence} was never appended");
        self.durable_sequence = self.durable_sequence.max(sequence);
    }

    /// An empty batch that vouches for the newest durable one, if no frame does yet; otherwise
    /// nothing. The newest frame cannot be told from a torn one if the disk spoils it later, so
    /// call this when the log falls idle and at a clean end.
    pub fn vouch(&mut self) -> Vec<DiskOperation> {
        let content = self.content_sequence;
        if self.vouched_sequence >= content || self.durable_sequence < content {
            return Vec::new();
        }
        self.append(&LogBatch::default())
    }

    /// Makes a zero-filled file ready for the next change of segment, if there is none. Writes a
    /// whole segment: call it when the log falls idle. Without it `append` does so when it must.
    pub fn prepare_spare(&mut self) -> Vec<DiskOperation> {
        if !self.spares.is_empty() {
            return Vec::new();
        }
        let file = self.name_spare();
        self.spares.push(Spare { file: file.clone(), recycled: false });
        vec![
            DiskOperation::CreateZeroed {
                file: file.clone(),
                bytes: self.settings.aligned_bytes(),
            },
            DiskOperation::Sync { file },
            DiskOperation::SyncDirectory,
        ]
    }

    /// Lets go of segments that hold only entries below `keep_from`; entries beyond the newest
    /// snapshot mark are kept whatever is asked. Their files are recycled.
    pub fn compact(&mut self, keep_from: Index) -> Vec<DiskOperation> {
        let keep_from = keep_from.min(self.state.snapshot.index.next());
        let closed = self.segments.len() - 1;
        let count = self
            .segments
            .iter()
            .take(closed)
            .take_while(|live| live.newest_entry < keep_from)
            .count();
        if count == 0 {
            return Vec::new();
        }
        let dropped: Vec<LiveSegment> = self.segments.drain(..count).collect();
        // The mark that allows this must be durable first, even if its own sync was put off.
        let mut operations = vec![DiskOperation::Sync { file: self.active().file() }];
        operations.extend(self.write_manifest());
        for live in dropped {
            operations.push(self.recycle(&live));
        }
        operations.push(DiskOperation::SyncDirectory);
        operations
    }

    /// Whose log this is.
    #[must_use]
    pub fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// The newest snapshot mark appended.
    #[must_use]
    pub fn snapshot(&self) -> &SnapshotMark {
        &self.state.snapshot
    }

    /// Index of the last entry appended.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.state.last_index
    }

    /// Segments in use and files waiting to become segments, for status pages.
    #[must_use]
    pub fn file_counts(&self) -> (usize, usize) {
        (self.segments.len(), self.spares.len())
    }

    pub(crate) fn active(&self) -> &Segment {
        &self.segments.last().expect("a log has an active segment").segment
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            identity: self.identity,
            next_segment: self.next_segment,
            durable_sequence: self.sequence,
            hard_state: self.state.hard_state,
            segments: self.segments.iter().map(|live| live.segment.clone()).collect(),
        }
    }

    /// Replaces the manifest. Every frame made so far must be durable by the operations before.
    pub(crate) fn write_manifest(&self) -> Vec<DiskOperation> {
        let bytes = manifest::encode(&self.manifest());
        twin::replace(MANIFEST_FILE, bytes)
    }

    /// Begins a segment with its opening frame; nothing else in it.
    pub(crate) fn begin_segment(&mut self, entries: &[Entry]) -> Vec<DiskOperation> {
        let batch = LogBatch { entries, ..LogBatch::default() };
        self.begin_segment_with(&batch, &batch.payload())
    }

    /// Closes the active segment and begins the next one with its opening frame and, unless the
    /// batch is empty, the batch. Everything up to there is durable before the manifest says so.
    fn begin_segment_with(&mut self, batch: &LogBatch<'_>, payload: &[u8]) -> Vec<DiskOperation> {
        let mut operations = Vec::new();
        if !self.segments.is_empty() {
            operations.push(DiskOperation::Sync { file: self.active().file() });
            // Performed before the opening frame is written, so that frame may vouch for it.
            self.durable_sequence = self.sequence;
            self.close_active();
        }
        let mut mark = LayoutWriter::new();
        record::write_snapshot_mark(&mut mark, &self.state.snapshot);
        let mark = mark.into_bytes();
        let needed = SEGMENT_HEADER_BYTES as usize
            + frame::frame_bytes(mark.len())
            + frame::frame_bytes(payload.len());
        operations.push(self.open_file(needed as u64));
        self.offset = SEGMENT_HEADER_BYTES;
        let mut bytes = self.active().header(&self.identity);
        bytes.extend(self.seal_frame(FrameKind::Opening, &[], &mark));
        if !batch.is_empty() {
            self.take_effect(batch);
            bytes.extend(self.seal_frame(FrameKind::Batch, batch.entries, payload));
        }
        let file = self.active().file();
        operations.push(DiskOperation::WriteAt { file: file.clone(), offset: 0, bytes });
        operations.push(DiskOperation::Sync { file });
        operations.push(DiskOperation::SyncDirectory);
        operations.extend(self.write_manifest());
        operations
    }

    fn close_active(&mut self) {
        let closed = Closed { end: self.offset, last_sequence: self.sequence, chain: self.chain };
        let live = self.segments.last_mut().expect("a log has an active segment");
        live.segment.closed = Some(closed);
    }

    /// Puts a new active segment of at least `needed` bytes at the end of the list.
    fn open_file(&mut self, needed: u64) -> DiskOperation {
        let usual = self.settings.aligned_bytes();
        let spare = if needed <= usual && !self.spares.is_empty() {
            Some(self.spares.remove(0))
        } else {
            None
        };
        let segment = Segment {
            id: self.next_segment,
            bytes: usual.max(needed.next_multiple_of(SEGMENT_ALIGNMENT)),
            recycled: spare.as_ref().is_some_and(|spare| spare.recycled),
            first_sequence: self.sequence + 1,
            chain_before: self.chain,
            closed: None,
        };
        self.next_segment += 1;
        let (file, bytes) = (segment.file(), segment.bytes);
        self.segments.push(LiveSegment { segment, newest_entry: Index(0), is_recyclable: true });
        match spare {
            Some(spare) => DiskOperation::Rename { from: spare.file, to: file },
            None => DiskOperation::CreateZeroed { file, bytes },
        }
    }

    /// The next frame's bytes; moves the end of the log behind it.
    fn seal_frame(&mut self, kind: FrameKind, entries: &[Entry], payload: &[u8]) -> Vec<u8> {
        let mut header = FrameHeader {
            kind,
            refetching: self.state.refetching,
            segment: self.active().id,
            write_sequence: self.sequence + 1,
            durable_sequence: self.durable_sequence,
            payload_bytes: 0,
            entry_count: u32::try_from(entries.len()).expect("limits keep batches small"),
            first_index: entries.first().map_or(Index(0), |entry| entry.index),
            last_index: self.state.last_index,
            hard_state: self.state.hard_state,
            chain_before: self.chain,
            chain: 0,
        };
        let bytes = frame::seal(&mut header, payload, self.active().seed(&self.identity));
        self.sequence = header.write_sequence;
        self.chain = header.chain;
        self.vouched_sequence = header.durable_sequence;
        self.offset += bytes.len() as u64;
        assert!(self.offset <= self.active().bytes, "a frame left its segment");
        bytes
    }

    /// Applies the batch to what headers restate.
    fn take_effect(&mut self, batch: &LogBatch<'_>) {
        if let Some(hard_state) = batch.hard_state {
            assert!(hard_state.term >= self.state.hard_state.term, "the term went back");
            self.state.hard_state = hard_state;
        }
        if let Some(mark) = batch.installed {
            self.state.snapshot = mark.clone();
            self.state.last_index = mark.index;
            self.segments.iter_mut().for_each(|live| live.newest_entry = Index(0));
        }
        if let Some(from) = batch.truncate_from {
            assert!(from > self.state.snapshot.index, "truncation below a snapshot");
            assert!(from <= self.state.last_index.next(), "truncation beyond the log");
            self.state.last_index = from.previous();
            for live in &mut self.segments {
                live.newest_entry = live.newest_entry.min(from.previous());
            }
        }
        for entry in batch.entries {
            assert_eq!(entry.index, self.state.last_index.next(), "the log would have a gap");
            self.state.last_index = entry.index;
        }
        if let Some(last) = batch.entries.last() {
            let active = self.segments.last_mut().expect("a log has an active segment");
            active.newest_entry = last.index;
        }
        if let Some(mark) = batch.snapshot_mark {
            assert!(mark.index <= self.state.last_index, "a snapshot beyond the log");
            assert!(mark.index >= self.state.snapshot.index, "an older snapshot");
            self.state.snapshot = mark.clone();
        }
        self.state.refetching = batch.refetching.unwrap_or(self.state.refetching);
    }

    fn recycle(&mut self, live: &LiveSegment) -> DiskOperation {
        let from = live.segment.file();
        let has_usual_length =
            live.is_recyclable && live.segment.bytes == self.settings.aligned_bytes();
        if !has_usual_length || self.spares.len() >= SPARES_MAX {
            return DiskOperation::Remove { file: from };
        }
        let to = self.name_spare();
        self.spares.push(Spare { file: to.clone(), recycled: true });
        DiskOperation::Rename { from, to }
    }

    fn name_spare(&mut self) -> String {
        let name = segment::spare_name(self.next_spare);
        self.next_spare += 1;
        name
    }
}
