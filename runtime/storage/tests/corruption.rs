//! Spoiled files: what was durable is read back unchanged, or its loss is reported.
//!
//! Comes in: seeds, and in `QUORATE_CORRUPTIONS` how many corruptions of random places to try. Goes
//! out: counts of what became of them. Invariant: a log that differs from the one written is
//! refused, or says what is lost. The one exception is counted apart: a run of newest frames, for
//! which no later one vouches, is read as torn when every frame of it is spoiled. Must never: accept
//! that exception for any frame that was not spoiled itself.

mod history;

use history::places::{Class, Files, Frame, Place, Spoiling, newest_segment, places};
use history::{Batch, History, SETTINGS, has_snapshot, membership, perform_all};
use quorate_faulty_disk::{Choices, Crash, DiskFault, FaultyDisk, POWER_LOSSES};
use quorate_raft::{Entry, EntryKind, HardState, Index, ReplicaId, SnapshotMark, Term};
use quorate_storage::{DiskOperation, Log, MANIFEST_FILE, Recovered, RecoveryError, snapshot};
use std::collections::BTreeMap;

/// Without a wish in the environment: takes some seconds.
const CORRUPTIONS: u64 = 15_000;
const PLACES_OF_A_HISTORY: u64 = 150;

/// What became of a corruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The same log and snapshot, nothing to report: padding, zeros behind the end, spare files.
    Harmless,
    /// The same log, and the damage reported.
    Repaired,
    /// Entries lost, reported, and the server knows that it must fetch them again.
    Refetching,
    /// Refused as a whole.
    Refused,
    /// The snapshot is refused; the server knows that it must be sent one.
    SnapshotRefused,
    /// The exception: the newest frames, taken for torn.
    TakenForTorn,
}

/// A log at rest after a random history, its files, and the states that it went through.
struct AtRest {
    history: History,
    files: Files,
    newest_segment: (String, Vec<Frame>),
}

impl AtRest {
    /// With `vouched`, the newest batch is vouched for.
    fn after(seed: u64, acts: u64, vouched: bool) -> AtRest {
        let mut choices = Choices(seed);
        let mut disk = FaultyDisk::default();
        let mut history = History::create();
        perform_all(&mut history, &mut disk);
        for _ in 0..acts {
            history.act(&mut choices);
            perform_all(&mut history, &mut disk);
        }
        if vouched {
            history.log.vouch().iter().for_each(|operation| disk.perform(operation));
        }
        let files = disk.files();
        AtRest { history, newest_segment: newest_segment(&files), files }
    }

    /// Judges what is read from spoiled files. Never may an entry differ, the term or vote be older
    /// than was durable, or an entry be missing without `refetching`.
    fn judge(&self, spoiled: &Files, at: &str) -> Outcome {
        let newest = self.history.newest();
        let read = match Log::recover(SETTINGS, spoiled) {
            Err(RecoveryError::NotCreated) => panic!("{at}: a log was taken for an empty disk"),
            Err(_) => return Outcome::Refused,
            Ok(read) => read,
        };
        if read.damage.is_some() && read.refetching && !newest.refetching {
            assert!(read.damage.as_ref().is_some_and(|damage| damage.entries_lost), "{at}");
        }
        let outcome = if newest.is_log_of(&read) && read.hard_state == newest.hard_state {
            match read.damage {
                None => Outcome::Harmless,
                Some(_) => Outcome::Repaired,
            }
        } else if read.damage.is_some() {
            assert!(read.refetching, "{at}: entries are missing and nobody will fetch them");
            assert_eq!(read.hard_state, newest.hard_state, "{at}");
            assert_known_entries(&read, &self.history, at);
            Outcome::Refetching
        } else {
            self.assert_newest_frames_spoiled(&read, spoiled, at);
            Outcome::TakenForTorn
        };
        let snapshot_spoiled = !has_snapshot(spoiled, &read.snapshot);
        if snapshot_spoiled && has_snapshot(&self.files, &read.snapshot) {
            assert_refused(spoiled, &read.snapshot, at);
            return Outcome::SnapshotRefused;
        }
        outcome
    }

    /// The log read is what it was before the first of a run of frames that ends with the newest
    /// one, and every frame of that run is spoiled.
    fn assert_newest_frames_spoiled(&self, read: &Recovered, spoiled: &Files, at: &str) {
        let (file, frames) = &self.newest_segment;
        let is_spoiled = |frame: &&Frame| {
            let place = frame.bytes.clone();
            spoiled[file].get(place.clone()) != self.files[file].get(place)
        };
        let first = frames.iter().rev().take_while(is_spoiled).last();
        let first =
            first.unwrap_or_else(|| panic!("{at}: silently another log: {}", summary(read)));
        let history = &self.history;
        let left = history.sequences.iter().rposition(|sequence| *sequence < first.sequence);
        let left = left.expect("the first state is older than every frame");
        let is_left = history.states[left].is_log_of(read);
        assert!(is_left, "{at}: silently another log: {}", summary(read));
        let votes = history.states[left..].iter().map(|state| state.hard_state);
        assert!(votes.into_iter().any(|vote| vote == read.hard_state), "{at}");
    }
}

fn summary(read: &Recovered) -> String {
    let last = read.entries.last().map(|entry| (entry.index, entry.term));
    let (snapshot, vote) = (&read.snapshot.index, read.hard_state);
    format!("snapshot {snapshot:?}, last entry {last:?}, {vote:?}, damage {:?}", read.damage)
}

/// A snapshot file that differs from the one saved is refused, or is plainly another snapshot.
fn assert_refused(files: &Files, mark: &SnapshotMark, at: &str) {
    let bytes = files.get(&snapshot::file_name(mark));
    let read = bytes.and_then(|bytes| snapshot::decode(bytes).ok());
    assert!(read.is_none_or(|(found, _)| found != *mark), "{at}: another image was read");
}

/// Every entry was once written as it was read, and the snapshot was once marked.
fn assert_known_entries(read: &Recovered, history: &History, at: &str) {
    let marks = history.states.iter().map(|state| &state.snapshot);
    assert!(marks.clone().any(|mark| *mark == read.snapshot), "{at}: {:?}", read.snapshot);
    let mut next = read.snapshot.index.next();
    for entry in &read.entries {
        if entry.index > read.snapshot.index {
            assert_eq!(entry.index, next, "{at}: a gap");
            next = entry.index.next();
        }
        let known = history.states.iter().any(|state| state.entries.contains(entry));
        assert!(known, "{at}: entry {entry:?} was never written");
    }
}

/// Repairs, restarts and reads again: the report must not be forgotten, and nothing else change.
fn read_twice(files: &Files, at: &str) {
    let Ok(read) = Log::recover(SETTINGS, files) else { return };
    let mut disk = FaultyDisk::holding(files);
    let mut choices = Choices(9);
    read.operations.iter().for_each(|operation| disk.perform(operation));
    disk.crash(Crash::LoseUnsynced, &mut choices);
    let again =
        Log::recover(SETTINGS, &disk.files()).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(again.damage, None, "{at}: repaired");
    assert_eq!(again.refetching, read.refetching, "{at}: a second start forgot what was lost");
    assert_eq!(again.hard_state, read.hard_state, "{at}");
    assert_eq!(again.snapshot, read.snapshot, "{at}");
    assert_eq!(again.entries, read.entries, "{at}");
}

#[test]
fn every_changed_byte_of_a_log_that_is_vouched_for_is_harmless_or_reported() {
    let mut counts = BTreeMap::new();
    for seed in [0, 3] {
        let at_rest = AtRest::after(seed, 25, true);
        let mut files = at_rest.files.clone();
        for (name, bytes) in &at_rest.files {
            for place in 0..bytes.len() {
                let flip = 1u8 << ((seed + place as u64) % 8);
                files.get_mut(name).expect("there")[place] ^= flip;
                let at = format!("seed {seed}, byte {place} of {name} ^ {flip}");
                *counts.entry(at_rest.judge(&files, &at)).or_insert(0) += 1;
                files.get_mut(name).expect("there")[place] ^= flip;
            }
        }
    }
    println!("every byte: {counts:?}");
    assert_eq!(counts.get(&Outcome::TakenForTorn), None);
    assert!(counts[&Outcome::Refetching] > 1_000 && counts[&Outcome::Repaired] > 1_000);
}

fn pick<'a, T>(all: &'a [T], choices: &mut Choices) -> &'a T {
    &all[choices.below(all.len() as u64) as usize]
}

#[test]
fn random_corruptions_of_every_class_of_place_are_harmless_or_reported() {
    let wanted = std::env::var("QUORATE_CORRUPTIONS").map_or(CORRUPTIONS, |wanted| {
        wanted.parse().unwrap_or_else(|_| panic!("QUORATE_CORRUPTIONS: `{wanted}` is no number"))
    });
    let mut counts: BTreeMap<(Class, Spoiling), BTreeMap<Outcome, u64>> = BTreeMap::new();
    let (mut tried, mut unchanged, mut seed) = (0, 0, 0);
    while tried < wanted {
        let mut choices = Choices(seed);
        let vouched = choices.one_in(2);
        let at_rest = AtRest::after(seed, 15 + choices.below(60), vouched);
        let mut by_class: BTreeMap<Class, Vec<Place>> = BTreeMap::new();
        for place in places(&at_rest.files) {
            by_class.entry(place.class).or_default().push(place);
        }
        let classes: Vec<Vec<Place>> = by_class.into_values().collect();
        for _ in 0..PLACES_OF_A_HISTORY {
            let class: &Vec<Place> = pick(&classes, &mut choices);
            let place = pick(class, &mut choices);
            let spoiling = *pick(&Spoiling::ALL, &mut choices);
            let byte = place.bytes.start + choices.below(place.bytes.len() as u64) as usize;
            let spoiled = spoiling.apply(&at_rest.files, &place.file, byte, &mut choices);
            if spoiled == at_rest.files {
                unchanged += 1;
                continue;
            }
            let class = place.class;
            let at = format!("seed {seed}, {spoiling:?} at {byte} of {}, {class:?}", place.file);
            let outcome = at_rest.judge(&spoiled, &at);
            let is_one_byte = matches!(spoiling, Spoiling::FlippedBit | Spoiling::ChangedByte);
            let is_exception = outcome == Outcome::TakenForTorn;
            assert!(!(vouched && is_one_byte && is_exception), "{at}: it was vouched for");
            *counts.entry((class, spoiling)).or_default().entry(outcome).or_insert(0) += 1;
            tried += 1;
            if choices.one_in(7) {
                read_twice(&spoiled, &at);
            }
        }
        seed += 1;
    }
    println!("seeds 0..{seed}: {tried} corruptions, {unchanged} that changed nothing");
    let mut totals = BTreeMap::new();
    for ((class, spoiling), outcomes) in &counts {
        println!("{class:?}, {spoiling:?}: {outcomes:?}");
        outcomes.iter().for_each(|(outcome, count)| *totals.entry(*outcome).or_insert(0) += count);
    }
    println!("together: {totals:?}");
    assert!(tried < 5_000 || (counts.len() >= 59 && totals.len() == 6), "{}", counts.len());
}

/// A disk that says of one operation that it is done, and did something else or nothing. Shows at
/// the next loss of power.
#[test]
fn a_lie_of_the_disk_is_harmless_or_reported() {
    let mut counts: BTreeMap<(&str, &str), BTreeMap<Outcome, u64>> = BTreeMap::new();
    for seed in 0..1_500 {
        let mut choices = Choices(seed);
        let mut disk = FaultyDisk::default();
        let mut history = History::create();
        let mut lied = None;
        let lie_at = choices.below(250);
        let mut steps = 0;
        for _ in 0..45 {
            history.act(&mut choices);
            for step in std::mem::take(&mut history.queue) {
                let is_due = steps >= lie_at && lied.is_none();
                let lie = is_due.then(|| DiskFault::draw_lie(&disk, &step.operation, &mut choices));
                let lie = lie.flatten();
                lied = lied.or_else(|| lie.clone().map(|lie| (step.operation.clone(), lie)));
                disk.try_perform(&step.operation, lie).expect("a lie is not reported");
                history.performed(&step).into_iter().for_each(|done| history.log.durable(done));
                steps += 1;
            }
        }
        let Some((operation, lie)) = lied else { continue };
        history.log.vouch().iter().for_each(|operation| disk.perform(operation));
        let files = disk.files();
        let at_rest = AtRest { history, newest_segment: newest_segment(&files), files };
        disk.crash(Crash::LoseUnsynced, &mut choices);
        let at = format!("seed {seed}, {} of {:?}", name(&lie), subject(&operation));
        let outcome = at_rest.judge(&disk.files(), &at);
        read_twice(&disk.files(), &at);
        let kind = (name(&lie), subject(&operation));
        *counts.entry(kind).or_default().entry(outcome).or_insert(0) += 1;
    }
    counts.iter().for_each(|(kind, outcomes)| println!("{kind:?}: {outcomes:?}"));
    assert!(counts.len() >= 10, "{}", counts.len());
}

/// Nothing is acknowledged in a segment before the manifest that lists it is durable.
#[test]
fn an_older_manifest_does_not_hide_a_segment_in_use() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    let entry = |index: u64| Entry {
        index: Index(index),
        term: Term(1),
        kind: EntryKind::Command,
        payload: vec![7; 1_000].into(),
    };
    perform_all(&mut history, &mut disk);
    let mut older = None;
    for index in 1..=6 {
        let before = disk.files()[MANIFEST_FILE].clone();
        history.append(&Batch { entries: vec![entry(index)], ..Batch::default() });
        perform_all(&mut history, &mut disk);
        if disk.files()[MANIFEST_FILE] != before {
            older = Some(before);
        }
    }
    let mut files = disk.files();
    files.insert(MANIFEST_FILE.into(), older.expect("a second segment"));
    let (file, _) = newest_segment(&files);
    let read = Log::recover(SETTINGS, &files).map(|read| summary(&read));
    assert_eq!(read, Err(RecoveryError::ManifestStale { file }));
}

fn name(lie: &DiskFault) -> &'static str {
    match lie {
        DiskFault::LostWrite => "lost write",
        DiskFault::Misdirected { .. } => "misdirected write",
        DiskFault::LostDirectoryEntry => "lost directory entry",
        _ => panic!("{lie:?} is no lie"),
    }
}

/// The kind of file that the operation is about.
fn subject(operation: &DiskOperation) -> &'static str {
    let file = match operation {
        DiskOperation::CreateZeroed { file, .. } | DiskOperation::WriteAt { file, .. } => file,
        DiskOperation::Sync { file } | DiskOperation::Remove { file } => file,
        DiskOperation::Rename { to, .. } => to,
        DiskOperation::SyncDirectory => return "directory",
    };
    let kinds = ["identity", "manifest", "segment", "snapshot", "spare"];
    kinds.into_iter().find(|kind| file.starts_with(kind)).expect("a file of a log")
}

/// Term 1, then a vote in term 2, right behind the frames that the manifest vouches for.
fn voted_after_the_manifest() -> AtRest {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    for (term, vote) in [(1, None), (2, Some(ReplicaId(3)))] {
        let hard_state = Some(HardState { term: Term(term), vote });
        history.append(&Batch { hard_state, ..Batch::default() });
    }
    perform_all(&mut history, &mut disk);
    let files = disk.files();
    AtRest { history, newest_segment: newest_segment(&files), files }
}

#[test]
fn a_sector_with_all_frames_of_the_newest_segment_does_not_take_a_vote_with_it() {
    let at_rest = voted_after_the_manifest();
    let (segment, frames) = &at_rest.newest_segment;
    for (number, frame) in frames.iter().enumerate() {
        let mut spoiled = at_rest.files.clone();
        spoiled.get_mut(segment).expect("there")[frame.bytes.start..4_096].fill(0);
        let read = Log::recover(SETTINGS, &spoiled).map(|read| read.hard_state);
        if number == 0 {
            assert_eq!(read, Err(RecoveryError::HardStateLost { write_sequence: 1 }));
        } else {
            at_rest.judge(&spoiled, &format!("frame {number} and all behind it"));
        }
    }
}

/// A batch whose payload reaches into the page of the votes behind it.
#[test]
fn a_spoilt_frame_that_only_the_manifest_vouches_for_is_refused_with_what_may_have_followed() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    let entry = Entry {
        index: Index(1),
        term: Term(1),
        kind: EntryKind::Command,
        payload: vec![7; 5_000].into(),
    };
    history.append(&Batch { entries: vec![entry], ..Batch::default() });
    let hard_state = Some(HardState { term: Term(2), vote: Some(ReplicaId(3)) });
    history.append(&Batch { hard_state, ..Batch::default() });
    perform_all(&mut history, &mut disk);
    let mut files = disk.files();
    let (segment, _) = newest_segment(&files);
    files.get_mut(&segment).expect("there")[4_096..].fill(0);
    let read = Log::recover(SETTINGS, &files).map(|read| read.hard_state);
    assert_eq!(read, Err(RecoveryError::HardStateLost { write_sequence: 3 }));
}

/// A stale or misdirected sector may hold the header of a long frame of the same segment.
#[test]
fn a_misplaced_header_does_not_hide_the_frames_behind_it() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    let entry = |index: u64, bytes: usize| Entry {
        index: Index(index),
        term: Term(1),
        kind: EntryKind::Command,
        payload: vec![7; bytes].into(),
    };
    for (index, bytes) in [(1, 1_500), (2, 10), (3, 10), (4, 10)] {
        history.append(&Batch { entries: vec![entry(index, bytes)], ..Batch::default() });
        perform_all(&mut history, &mut disk);
    }
    let mut files = disk.files();
    let (segment, frames) = newest_segment(&files);
    let [_, long, second, ..] = &frames[..] else { panic!("{frames:?}") };
    let (from, to) = (long.bytes.start, second.bytes.start);
    files.get_mut(&segment).expect("there").copy_within(from..from + 88, to);
    let read = Log::recover(SETTINGS, &files).expect("readable");
    assert!(read.refetching && read.damage.is_some(), "{}", summary(&read));
}

#[test]
fn frames_left_in_a_recycled_segment_never_come_back() {
    let (mut recycled, mut attempts) = (0, 0);
    for seed in 0..300 {
        let AtRest { history, files, .. } = AtRest::after(seed, 60, true);
        let newest = files.keys().rfind(|name| name.starts_with("segment")).expect("there").clone();
        let frames =
            |bytes: &[u8]| bytes.chunks(8).filter(|chunk| chunk.starts_with(b"QFRM")).count();
        recycled += usize::from(frames(&files[&newest]) > 20);
        // Writes that the disk reported done and lost: the newest segment holds what any other
        // file of the log held at the same place, from every sector on.
        for other in files.keys().filter(|name| name.ends_with(".log") && **name != newest) {
            for start in (0..4_096).step_by(512) {
                let mut spoiled = files.clone();
                let old = files[other][start..4_096].to_vec();
                spoiled.get_mut(&newest).expect("there")[start..4_096].copy_from_slice(&old);
                let at = format!("seed {seed}, {other} from {start} on");
                if let Ok(read) = Log::recover(SETTINGS, &spoiled) {
                    assert_known_entries(&read, &history, &at);
                    let is_past = history.states.iter().any(|state| state.is_log_of(&read));
                    assert!(is_past || read.refetching, "{at}: a log that never was");
                }
                attempts += 1;
            }
        }
    }
    println!("{attempts} replays of old sectors, {recycled} newest segments were recycled");
    assert!(recycled > 10, "{recycled}");
}

#[test]
fn corruption_is_remembered_until_the_log_is_whole_again() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    let mut choices = Choices(3);
    while history.states.len() < 20 {
        history.act(&mut choices);
        perform_all(&mut history, &mut disk);
    }
    let files = disk.files();
    let name = files.keys().find(|name| name.starts_with("segment")).expect("there").clone();
    disk.spoil(&name, |bytes| bytes[300] ^= 1);
    let first = Log::recover(SETTINGS, &disk.files()).expect("readable");
    assert!(first.refetching && first.damage.is_some());
    assert!(disk.files().contains_key(&name));
    first.operations.iter().for_each(|operation| disk.perform(operation));
    assert!(disk.files().keys().any(|name| name.starts_with("damaged-")), "kept for an operator");
    let mut second = Log::recover(SETTINGS, &disk.files()).expect("readable");
    assert!(second.refetching, "a second start forgot");
    second.operations.iter().for_each(|operation| disk.perform(operation));
    let whole = quorate_storage::LogBatch {
        refetching: Some(false),
        ..quorate_storage::LogBatch::default()
    };
    second.log.append(&whole).iter().for_each(|operation| disk.perform(operation));
    let third = Log::recover(SETTINGS, &disk.files()).expect("readable");
    assert!(!third.refetching);
}

#[test]
fn a_crash_in_the_middle_of_a_repair_changes_nothing() {
    let (mut crashes, mut choices) = (0, Choices(1));
    for seed in 0..150 {
        let mut disk = FaultyDisk::holding(&AtRest::after(seed, 25, true).files);
        let names: Vec<String> = disk.files().into_keys().collect();
        let name = pick(&names, &mut choices);
        disk.spoil(name, |bytes| {
            let place = choices.below(bytes.len() as u64) as usize;
            bytes[place] ^= 0x10;
        });
        let first = Log::recover(SETTINGS, &disk.files()).expect("one flip is never refused");
        for performed in 0..=first.operations.len() {
            for crash in POWER_LOSSES {
                let mut disk = disk.clone();
                first.operations[..performed].iter().for_each(|operation| disk.perform(operation));
                disk.crash(crash, &mut choices);
                let at = format!("seed {seed}, {name}, {crash:?} after {performed} steps");
                let again = Log::recover(SETTINGS, &disk.files())
                    .unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(again.refetching, first.refetching, "{at}");
                assert_eq!(again.hard_state, first.hard_state, "{at}");
                assert_eq!(again.snapshot, first.snapshot, "{at}");
                assert_eq!(again.entries, first.entries, "{at}");
                crashes += 1;
            }
        }
    }
    println!("{crashes} crashes in the middle of repairs");
}

#[test]
fn every_flipped_bit_and_every_prefix_of_a_snapshot_is_refused() {
    let mark = SnapshotMark { index: Index(40), term: Term(3), membership: membership(5) };
    let mut flips = 0;
    let image: Vec<u8> = (0..3_000u32).map(|place| (place * 7) as u8).collect();
    let mut file = snapshot::encode(&mark, 11, &image);
    assert_eq!(snapshot::decode(&file), Ok((mark.clone(), image)));
    for bit in 0..file.len() * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(snapshot::decode(&file).is_err(), "bit {bit}");
        file[bit / 8] ^= 1 << (bit % 8);
        flips += 1;
    }
    for length in 0..file.len() {
        assert!(snapshot::decode(&file[..length]).is_err(), "prefix of {length}");
    }
    file.push(0);
    assert!(snapshot::decode(&file).is_err(), "a byte too many");

    let image: Vec<u8> = (0..200_000u32).map(|place| (place * 13) as u8).collect();
    let mut file = snapshot::encode(&mark, 11, &image);
    let mut choices = Choices(77);
    for _ in 0..2_000 {
        let place = choices.below(file.len() as u64) as usize;
        let flip = 1 + choices.below(255) as u8;
        file[place] ^= flip;
        assert!(snapshot::decode(&file).is_err(), "byte {place} ^ {flip}");
        file[place] ^= flip;
        flips += 1;
    }
    println!("{flips} flips of snapshots, all refused");
}
