//! Recovery: from the files of a data directory to a log that may be continued.
//!
//! Comes in: every file there, as read after a crash or a clean end. Goes out: what the log holds,
//! what was lost, and operations to perform before anything else. Invariant: a frame that any frame
//! or the manifest vouches for is read, or its loss is reported and `refetching` set; term and vote
//! are never older than what was durable. Must never: shorten the log silently, or panic on bytes.

mod replay;

use crate::frame::FrameKind;
use crate::identity::{self, IdentityFile};
use crate::log::{LiveSegment, Log, LogSettings, LogState, Resume};
use crate::manifest::{self, MANIFEST_FILE, Manifest};
use crate::segment::{self, Found, SEGMENT_HEADER_BYTES, Segment};
use crate::{DiskOperation, IDENTITY_FILE, LogBatch, ServerIdentity, twin};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Entry, HardState, Index, Membership, SnapshotMark};
use replay::Replayed;

/// What a data directory held.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The log, to be continued once `operations` are performed.
    pub log: Log,
    /// Whose it is.
    pub identity: ServerIdentity,
    /// The membership that the cluster began with.
    pub first_membership: Membership,
    /// Newest durable term and vote, or newer ones that were on their way.
    pub hard_state: HardState,
    /// The newest durable snapshot; index zero and the first membership before there is one.
    pub snapshot: SnapshotMark,
    /// Without gaps; may begin before `snapshot.index`, at the latest right after it.
    pub entries: Vec<Entry>,
    /// Acknowledged entries were lost, now or earlier, and are not all back.
    pub refetching: bool,
    /// Bytes of frames that were on their way when the server stopped, and were dropped.
    pub torn_bytes: u64,
    /// What was found spoiled, whether or not it cost anything.
    pub damage: Option<Damage>,
    /// To be performed before anything else.
    pub operations: Vec<DiskOperation>,
}

/// Something that was durable does not read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file; of a damaged log, kept as `damaged-….log`.
    pub file: String,
    /// What is wrong with it.
    pub cause: DamageCause,
    /// Entries are lost by it; otherwise it was repaired from what else is there.
    pub entries_lost: bool,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageCause {
    /// One of the two copies in the file does not verify.
    CopyUnreadable,
    /// The segment's header does not verify.
    SegmentHeaderUnreadable,
    /// The segment's file is missing.
    SegmentMissing,
    /// This frame, which was durable, does not verify.
    FrameUnreadable {
        /// Its write sequence.
        write_sequence: u64,
    },
}

/// Why a data directory cannot be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// Nothing was created here, or creation did not finish: create a log.
    NotCreated,
    /// A log was in use here and its identity file is gone.
    IdentityMissing,
    /// Neither copy in the identity file verifies.
    IdentityDamaged,
    /// The manifest is gone.
    ManifestMissing,
    /// Neither copy in the manifest verifies.
    ManifestDamaged,
    /// The manifest belongs to another server or an earlier data directory.
    ManifestForeign,
    /// The manifest is older than a segment that was in use: the disk lost a newer one.
    ManifestStale {
        /// The segment's file.
        file: String,
    },
    /// The newest segment, which holds the newest term and vote, is missing or too short.
    NewestSegmentMissing {
        /// Its file.
        file: String,
    },
    /// Frames are spoiled and no newer one is readable, so the newest term and vote are lost.
    HardStateLost {
        /// The newest frame known to have been durable.
        write_sequence: u64,
    },
    /// A frame verifies and does not make sense: written by a defect or by a newer version.
    Inconsistent {
        /// The frame's write sequence.
        write_sequence: u64,
    },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REPLACE: &str = "restore the file, or remove this server and add it under a new id";
        match self {
            RecoveryError::NotCreated => write!(f, "there is no log here"),
            RecoveryError::IdentityMissing => write!(f, "`{IDENTITY_FILE}` is missing; {REPLACE}"),
            RecoveryError::IdentityDamaged => write!(f, "`{IDENTITY_FILE}` is damaged; {REPLACE}"),
            RecoveryError::ManifestMissing => write!(f, "`{MANIFEST_FILE}` is missing; {REPLACE}"),
            RecoveryError::ManifestDamaged => write!(f, "`{MANIFEST_FILE}` is damaged; {REPLACE}"),
            RecoveryError::ManifestForeign => {
                write!(f, "`{MANIFEST_FILE}` belongs to another data directory; {REPLACE}")
            }
            RecoveryError::ManifestStale { file } => {
                write!(f, "`{MANIFEST_FILE}` is older than `{file}`; {REPLACE}")
            }
            RecoveryError::NewestSegmentMissing { file } => {
                write!(f, "`{file}` is missing or too short; {REPLACE}")
            }
            RecoveryError::HardStateLost { write_sequence } => {
                write!(f, "the log is damaged up to its end, frame {write_sequence}; {REPLACE}")
            }
            RecoveryError::Inconsistent { write_sequence } => {
                write!(f, "frame {write_sequence} cannot follow those before it; {REPLACE}")
            }
        }
    }
}

impl core::error::Error for RecoveryError {}

/// One segment of the manifest, as found.
struct Survey<'a> {
    segment: &'a Segment,
    /// Up to where the log goes in it, as far as it is there; None when the file is missing.
    bytes: Option<&'a [u8]>,
    header_damaged: bool,
    frames: Vec<Found<'a>>,
}

/// How the frames fit together.
struct Verdict {
    /// Frames in order, from the oldest, that verify and follow one another.
    intact: usize,
    /// The frame that should come next.
    next_sequence: u64,
    chain: u32,
    /// Everything up to here was durable once.
    vouched_sequence: u64,
    newest: Newest,
}

/// What the newest header says of the log's end, whether or not the frames up to there are whole.
struct Newest {
    sequence: u64,
    hard_state: HardState,
    last_index: Index,
}

impl Verdict {
    fn is_damaged(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::CorruptionTakenForTornTail) {
            return false;
        }
        self.next_sequence <= self.vouched_sequence
    }
}

type Files = BTreeMap<String, Vec<u8>>;

impl Log {
    /// Reads a log back. `files` are all files of the data directory; others than the log's own are
    /// left alone.
    ///
    /// # Errors
    /// When there is no log, or it is damaged so far that the server may have forgotten a vote.
    pub fn recover(settings: LogSettings, files: &Files) -> Result<Recovered, RecoveryError> {
        let (identity_file, manifest, mut damage) = read_heads(files)?;
        check_newest(&manifest, files)?;
        let surveys = survey(&manifest, files)?;
        let verdict = judge(&manifest, &surveys)?;
        let frames: Vec<&Found<'_>> = surveys.iter().flat_map(|survey| &survey.frames).collect();
        let replayed = if verdict.is_damaged() {
            replay::around_holes(&frames, &verdict, &identity_file.first_membership)?
        } else {
            replay::intact(&frames[..verdict.intact], &identity_file.first_membership)?
        };
        damage = log_damage(&surveys, &verdict, replayed.complete).or(damage);
        let mut repair = Repair { settings, files, manifest: &manifest, surveys: &surveys };
        let (log, mut operations, torn_bytes) = if verdict.is_damaged() {
            repair.rewrite(&verdict, &replayed)
        } else {
            repair.resume(&verdict, &replayed, damage.is_some())
        };
        if identity_file.copy_damaged {
            let membership = &identity_file.first_membership;
            let bytes = identity::encode(&identity_file.identity, membership);
            operations.extend(twin::replace(IDENTITY_FILE, bytes));
        }
        Ok(Recovered {
            log,
            identity: identity_file.identity,
            first_membership: identity_file.first_membership,
            hard_state: verdict.newest.hard_state,
            snapshot: replayed.snapshot,
            entries: replayed.entries,
            refetching: replayed.refetching,
            torn_bytes,
            damage,
            operations,
        })
    }
}

/// Identity, manifest, and a damaged copy of either.
fn read_heads(files: &Files) -> Result<(IdentityFile, Manifest, Option<Damage>), RecoveryError> {
    let copy_damage = |file: &str| Damage {
        file: String::from(file),
        cause: DamageCause::CopyUnreadable,
        entries_lost: false,
    };
    let Some(bytes) = files.get(IDENTITY_FILE) else {
        let in_use = files.iter().any(|(name, bytes)| {
            segment::number_in(name, "segment-").is_some_and(|id| segment::was_used(bytes, id))
        });
        let missing = RecoveryError::IdentityMissing;
        return Err(if in_use { missing } else { RecoveryError::NotCreated });
    };
    let identity_file = identity::decode(bytes).ok_or(RecoveryError::IdentityDamaged)?;
    let bytes = files.get(MANIFEST_FILE).ok_or(RecoveryError::ManifestMissing)?;
    let (manifest, copy_damaged) = manifest::decode(bytes).ok_or(RecoveryError::ManifestDamaged)?;
    if manifest.identity != identity_file.identity {
        return Err(RecoveryError::ManifestForeign);
    }
    let damage = if copy_damaged {
        Some(copy_damage(MANIFEST_FILE))
    } else if identity_file.copy_damaged {
        Some(copy_damage(IDENTITY_FILE))
    } else {
        None
    };
    Ok((identity_file, manifest, damage))
}

/// Whether a newer manifest must have been durable. A segment begins with two frames at most, in one
/// write; a third one is written only once the manifest that lists the segment is durable.
fn check_newest(manifest: &Manifest, files: &Files) -> Result<(), RecoveryError> {
    for (file, bytes) in files {
        let id = segment::number_in(file, "segment-");
        let Some(id) = id.filter(|id| *id >= manifest.next_segment) else { continue };
        let seed = segment::seed(&manifest.identity, id);
        if segment::scan(bytes, id, seed).len() > 2 {
            return Err(RecoveryError::ManifestStale { file: file.clone() });
        }
    }
    Ok(())
}

/// Finds the frames of every segment in the manifest.
fn survey<'a>(manifest: &'a Manifest, files: &'a Files) -> Result<Vec<Survey<'a>>, RecoveryError> {
    let mut surveys = Vec::new();
    for segment in &manifest.segments {
        let file = segment.file();
        let whole = files.get(&file).map(Vec::as_slice);
        let is_short = whole.is_none_or(|bytes| (bytes.len() as u64) < segment.bytes);
        if segment.closed.is_none() && is_short {
            return Err(RecoveryError::NewestSegmentMissing { file });
        }
        let limit = segment.closed.as_ref().map_or(segment.bytes, |closed| closed.end);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = whole.map(|bytes| bytes.get(..limit).unwrap_or(bytes));
        let header = segment.header(&manifest.identity);
        let seed = segment.seed(&manifest.identity);
        surveys.push(Survey {
            segment,
            bytes,
            header_damaged: bytes.is_some_and(|bytes| !bytes.starts_with(&header)),
            frames: bytes.map_or(Vec::new(), |bytes| segment::scan(bytes, segment.id, seed)),
        });
    }
    Ok(surveys)
}

/// Follows the chain as far as it goes, and finds out how far it once went.
fn judge(manifest: &Manifest, surveys: &[Survey<'_>]) -> Result<Verdict, RecoveryError> {
    let first = surveys.first().map(|survey| survey.segment);
    let (mut next_sequence, mut chain) =
        first.map_or((0, 0), |segment| (segment.first_sequence, segment.chain_before));
    let mut intact = 0;
    'segments: for survey in surveys {
        let mut end = SEGMENT_HEADER_BYTES as usize;
        for found in &survey.frames {
            let is_first = found.header.write_sequence == survey.segment.first_sequence;
            let follows = found.payload.is_some()
                && found.offset == end
                && found.header.write_sequence == next_sequence
                && found.header.chain_before == chain
                && (found.header.kind == FrameKind::Opening) == is_first;
            #[cfg(feature = "planted-bugs")]
            let follows = planted_follows(found, survey, manifest, follows);
            if !follows {
                break 'segments;
            }
            intact += 1;
            next_sequence = found.header.write_sequence + 1;
            chain = found.header.chain;
            end = found.end();
        }
        let is_whole = survey.segment.closed.as_ref().is_none_or(|closed| {
            closed.last_sequence + 1 == next_sequence && closed.chain == chain
        });
        if !is_whole {
            break;
        }
    }
    let frames = || surveys.iter().flat_map(|survey| &survey.frames);
    let vouched_sequence = frames()
        .map(|found| found.header.durable_sequence)
        .fold(manifest.durable_sequence, u64::max);
    let lost = RecoveryError::HardStateLost { write_sequence: vouched_sequence };
    let newest = newest(frames()).ok_or(lost.clone())?;
    #[cfg(feature = "planted-bugs")]
    let newest = if is_planted(PlantedBug::TermFromManifest) {
        Newest { hard_state: manifest.hard_state, ..newest }
    } else {
        newest
    };
    // If what only the manifest vouches for is spoiled, all behind it may have gone with it.
    let is_end_known = frames().any(|found| {
        let sequence = found.header.write_sequence;
        let is_whole = found.payload.is_some();
        sequence > manifest.durable_sequence || sequence == manifest.durable_sequence && is_whole
    });
    let is_cut_off = next_sequence <= vouched_sequence && !is_end_known;
    if newest.sequence < vouched_sequence || is_cut_off {
        return Err(lost);
    }
    if newest.hard_state.term < manifest.hard_state.term {
        return Err(RecoveryError::Inconsistent { write_sequence: newest.sequence });
    }
    Ok(Verdict { intact, next_sequence, chain, vouched_sequence, newest })
}

/// Whether a frame follows under the bugs that misjudge it.
#[cfg(feature = "planted-bugs")]
fn planted_follows(
    found: &Found<'_>,
    survey: &Survey<'_>,
    manifest: &Manifest,
    follows: bool,
) -> bool {
    if is_planted(PlantedBug::StaleFrameReplayed) {
        return found.payload.is_some();
    }
    let is_last = survey.frames.last().is_some_and(|last| last.offset == found.offset);
    let is_newest_batch = is_last
        && found.header.entry_count > 0
        && found.header.write_sequence > manifest.durable_sequence;
    follows && !(is_newest_batch && is_planted(PlantedBug::NewestFrameDropped))
}

/// What the newest header says.
fn newest<'a>(frames: impl Iterator<Item = &'a Found<'a>>) -> Option<Newest> {
    let newest = frames.map(|found| &found.header).max_by_key(|header| header.write_sequence)?;
    Some(Newest {
        sequence: newest.write_sequence,
        hard_state: newest.hard_state,
        last_index: newest.last_index,
    })
}

/// The worst that is wrong with the log itself.
fn log_damage(surveys: &[Survey<'_>], verdict: &Verdict, complete: bool) -> Option<Damage> {
    if verdict.is_damaged() {
        let sequence = verdict.next_sequence;
        let survey = surveys.iter().rfind(|survey| survey.segment.first_sequence <= sequence)?;
        let cause = match survey.bytes {
            Some(_) => DamageCause::FrameUnreadable { write_sequence: sequence },
            None => DamageCause::SegmentMissing,
        };
        return Some(Damage { file: survey.segment.file(), cause, entries_lost: !complete });
    }
    let survey = surveys.iter().find(|survey| survey.header_damaged)?;
    let cause = DamageCause::SegmentHeaderUnreadable;
    Some(Damage { file: survey.segment.file(), cause, entries_lost: false })
}

/// Makes the disk agree with what was recovered.
struct Repair<'a> {
    settings: LogSettings,
    files: &'a Files,
    manifest: &'a Manifest,
    surveys: &'a [Survey<'a>],
}

impl Repair<'_> {
    /// The log is whole up to its end: continue it. In the same segment if nothing is left behind
    /// that end, otherwise in a fresh one, so that what is left can never be read again.
    fn resume(
        &mut self,
        verdict: &Verdict,
        replayed: &Replayed,
        rewrite_manifest: bool,
    ) -> (Log, Vec<DiskOperation>, u64) {
        let (active, bytes) = self.active();
        let end = self.end_of_intact(verdict.intact);
        let segments = self.live_segments(replayed);
        let mut operations = self.clear_rubbish();
        operations.extend(self.repair_headers());
        operations.extend(self.write_again(verdict.vouched_sequence, end));
        // What was read may so far be only in the memory of the operating system.
        operations.push(DiskOperation::Sync { file: active.file() });
        operations.push(DiskOperation::SyncDirectory);
        let last_sequence = verdict.next_sequence - 1;
        let mut log = self.log(verdict, replayed, segments, (last_sequence, end as u64));
        let torn_bytes = segment::residue_bytes(bytes, active, end);
        if torn_bytes > 0 {
            operations.extend(log.begin_segment(&[]));
        } else {
            if rewrite_manifest {
                operations.extend(log.write_manifest());
            }
            operations.extend(log.append(&LogBatch::default()));
        }
        (log, operations, torn_bytes)
    }

    /// Acknowledged frames are lost: what is left goes into a fresh log, together with the newest
    /// term and vote. The old files are kept under another name.
    fn rewrite(
        &mut self,
        verdict: &Verdict,
        replayed: &Replayed,
    ) -> (Log, Vec<DiskOperation>, u64) {
        let mut operations = self.clear_rubbish();
        operations.push(DiskOperation::SyncDirectory);
        let mut log = self.log(verdict, replayed, Vec::new(), (verdict.newest.sequence, 0));
        operations.extend(log.begin_segment(&replayed.entries));
        for survey in self.surveys.iter().filter(|survey| survey.bytes.is_some()) {
            operations.push(DiskOperation::Rename {
                from: survey.segment.file(),
                to: segment::damaged_name(survey.segment.id),
            });
        }
        operations.push(DiskOperation::SyncDirectory);
        (log, operations, 0)
    }

    /// `position`: number of the newest frame, and the offset behind it.
    fn log(
        &self,
        verdict: &Verdict,
        replayed: &Replayed,
        segments: Vec<LiveSegment>,
        position: (u64, u64),
    ) -> Log {
        let is_fresh = segments.is_empty();
        let numbers = |prefix: &str| {
            let highest = self.files.keys().filter_map(|name| segment::number_in(name, prefix));
            highest.max().map_or(0, |highest| highest.saturating_add(1))
        };
        let next_segment = self.manifest.next_segment;
        let next_segment = next_segment.max(numbers("segment-")).max(numbers("damaged-"));
        let last_index = if is_fresh { replayed.snapshot.index } else { replayed.last_index };
        Log::resume(Resume {
            settings: self.settings,
            identity: self.manifest.identity,
            segments,
            next_segment,
            next_spare: numbers("spare-").max(1),
            offset: position.1,
            sequence: position.0,
            chain: if is_fresh { 0 } else { verdict.chain },
            state: LogState {
                hard_state: verdict.newest.hard_state,
                refetching: replayed.refetching,
                snapshot: replayed.snapshot.clone(),
                last_index,
            },
        })
    }

    /// Offset in the active segment behind the last frame of the log.
    fn end_of_intact(&self, intact: usize) -> usize {
        let Some((active, older)) = self.surveys.split_last() else { return 0 };
        let in_older: usize = older.iter().map(|survey| survey.frames.len()).sum();
        let last = intact.checked_sub(in_older + 1).and_then(|last| active.frames.get(last));
        last.map_or(SEGMENT_HEADER_BYTES as usize, Found::end)
    }

    fn live_segments(&self, replayed: &Replayed) -> Vec<LiveSegment> {
        let live = self.surveys.iter().map(|survey| {
            let segment = survey.segment.clone();
            let length = self.files.get(&segment.file()).map_or(0, Vec::len) as u64;
            LiveSegment {
                newest_entry: replayed.newest_entry_of(segment.id),
                is_recyclable: length == segment.bytes,
                segment,
            }
        });
        live.collect()
    }

    fn active(&self) -> (&Segment, &[u8]) {
        let survey = self.surveys.last().expect("a manifest lists a segment");
        (survey.segment, survey.bytes.unwrap_or_default())
    }

    /// Removes what a crash left unfinished: segments that no manifest lists, files that never took
    /// their name, and every spare. A spare may hold frames under the id that comes next, because a
    /// crash can undo the rename that began a segment and keep what was written to it; and zeros
    /// that read back may be in the page cache only, if the sync that was to keep them failed.
    fn clear_rubbish(&self) -> Vec<DiskOperation> {
        let listed = |id: u64| self.manifest.segments.iter().any(|segment| segment.id == id);
        let is_rubbish = |name: &str| {
            let unlisted = segment::number_in(name, "segment-").is_some_and(|id| !listed(id));
            let spare = segment::number_in(name, "spare-").is_some();
            let temporary = [IDENTITY_FILE, MANIFEST_FILE].map(twin::temporary_name);
            unlisted || spare || temporary.iter().any(|temporary| temporary == name)
        };
        let rubbish = self.files.keys().filter(|name| is_rubbish(name));
        let removals = rubbish.map(|name| DiskOperation::Remove { file: name.clone() });
        // The names found may not be durable, least of all that of the manifest that condemns the
        // rubbish; they must be before any of it goes.
        core::iter::once(DiskOperation::SyncDirectory).chain(removals).collect()
    }

    /// Segment headers say nothing that the manifest does not: write spoiled ones again.
    fn repair_headers(&self) -> Vec<DiskOperation> {
        let mut operations = Vec::new();
        for survey in self.surveys.iter().filter(|survey| survey.header_damaged) {
            let file = survey.segment.file();
            let bytes = survey.segment.header(&self.manifest.identity);
            operations.push(DiskOperation::WriteAt { file: file.clone(), offset: 0, bytes });
            operations.push(DiskOperation::Sync { file });
        }
        operations
    }

    /// Frames that nothing vouches for are written again as they are: after a sync that failed, the
    /// operating system may hold them as written although the disk does not.
    fn write_again(&self, vouched_sequence: u64, end: usize) -> Option<DiskOperation> {
        let (active, bytes) = self.active();
        let frames = &self.surveys.last()?.frames;
        let first = frames.iter().find(|found| found.header.write_sequence > vouched_sequence)?;
        let again = bytes.get(first.offset..end).filter(|again| !again.is_empty())?;
        let offset = first.offset as u64;
        Some(DiskOperation::WriteAt { file: active.file(), offset, bytes: again.to_vec() })
    }
}
