//! Spoiled files: what was durable is read back unchanged, or its loss is reported.

mod history;

use history::{History, SETTINGS, membership, perform_all};
use quorate_faulty_disk::{Choices, Crash, FaultyDisk, POWER_LOSSES};
use quorate_raft::{Index, SnapshotMark, Term};
use quorate_storage::{Log, Recovered, RecoveryError, snapshot};
use std::collections::BTreeMap;

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default, Debug)]
struct Counts {
    tried: u64,
    /// The same log, nothing to report: padding, zeros behind the end, spare files.
    harmless: u64,
    /// The same log, and the damage reported.
    repaired: u64,
    /// Entries lost, reported, and the server knows that it must fetch them again.
    refetching: u64,
    /// Refused as a whole.
    refused: u64,
    /// The newest frame, for which no other vouches, taken for torn.
    taken_for_torn: u64,
}

/// A log at rest after a random history, and the states that it went through.
fn log_at_rest(seed: u64, acts: u64, vouched: bool) -> (FaultyDisk, History) {
    let mut choices = Choices(seed);
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    perform_all(&mut history, &mut disk);
    for _ in 0..acts {
        history.act(&mut choices);
        perform_all(&mut history, &mut disk);
    }
    if vouched {
        for operation in history.log.vouch() {
            disk.perform(&operation);
        }
    }
    (disk, history)
}

/// Judges what was read from spoiled files against the history. Never may an entry differ, the term
/// or vote be older than was durable, or an entry be missing without `refetching`.
fn judge(read: Result<Recovered, RecoveryError>, history: &History, counts: &mut Counts, at: &str) {
    counts.tried += 1;
    let read = match read {
        Err(RecoveryError::NotCreated) => panic!("{at}: a log was taken for an empty disk"),
        Err(_) => {
            counts.refused += 1;
            return;
        }
        Ok(read) => read,
    };
    let newest = history.newest();
    if read.damage.is_some() && read.refetching && !newest.refetching {
        assert!(read.damage.as_ref().is_some_and(|damage| damage.entries_lost), "{at}");
    }
    if newest.is_log_of(&read) && read.hard_state == newest.hard_state {
        match read.damage {
            None => counts.harmless += 1,
            Some(_) => counts.repaired += 1,
        }
        return;
    }
    if read.damage.is_some() {
        assert!(read.refetching, "{at}: entries are missing and nobody will fetch them");
        assert_eq!(read.hard_state, newest.hard_state, "{at}");
        assert_known_entries(&read, history, at);
        counts.refetching += 1;
        return;
    }
    let before = history.states.iter().rev().nth(1).expect("a history has batches");
    assert!(before.is_log_of(&read), "{at}: silently another log: {read:?}");
    assert!([before, newest].iter().any(|state| state.hard_state == read.hard_state), "{at}");
    counts.taken_for_torn += 1;
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
fn read_twice(files: &Files, read: &Recovered, at: &str) {
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

fn sweep(
    seed: u64,
    vouched: bool,
    counts: &mut Counts,
    mut spoil: impl FnMut(&Files, &mut dyn FnMut(&Files, &str)),
) {
    let (disk, history) = log_at_rest(seed, 25, vouched);
    spoil(&disk.files(), &mut |files, what| {
        let at = format!("seed {seed}, {what}");
        let read = Log::recover(SETTINGS, files);
        if let Ok(read) = &read
            && counts.tried.is_multiple_of(7)
        {
            read_twice(files, read, &at);
        }
        judge(read, &history, counts, &at);
    });
}

#[test]
fn every_flipped_byte_of_a_log_that_is_vouched_for_is_harmless_or_reported() {
    let mut counts = Counts::default();
    for seed in 0..6 {
        let flip = 1u8 << (seed % 8);
        sweep(seed, true, &mut counts, |files, attempt| {
            for (name, bytes) in files {
                let mut files = files.clone();
                for place in 0..bytes.len() {
                    files.get_mut(name).expect("there")[place] ^= flip;
                    attempt(&files, &format!("byte {place} of {name} flipped"));
                    files.get_mut(name).expect("there")[place] ^= flip;
                }
            }
        });
    }
    println!("every byte, vouched for: {counts:?}");
    assert_eq!(counts.taken_for_torn, 0);
    assert!(counts.refetching > 1_000 && counts.repaired > 1_000, "{counts:?}");
}

#[test]
fn flipped_bytes_of_a_log_at_work_cost_at_most_its_newest_frame() {
    let mut counts = Counts::default();
    for seed in 100..400 {
        let mut choices = Choices(seed);
        sweep(seed, false, &mut counts, |files, attempt| {
            for _ in 0..60 {
                let mut files = files.clone();
                let name = pick(&files, &mut choices);
                let bytes = files.get_mut(&name).expect("there");
                let place = choices.below(bytes.len() as u64) as usize;
                let flip = 1 + choices.below(255) as u8;
                bytes[place] ^= flip;
                attempt(&files, &format!("byte {place} of {name} ^ {flip}"));
            }
        });
    }
    println!("sampled bytes, newest frame not vouched for: {counts:?}");
    assert!(counts.taken_for_torn > 0, "{counts:?}");
}

fn pick(files: &Files, choices: &mut Choices) -> String {
    let place = choices.below(files.len() as u64) as usize;
    files.keys().nth(place).expect("in range").clone()
}

#[test]
fn sectors_zeroed_misplaced_or_stale_are_reported() {
    let mut counts = Counts::default();
    for seed in 500..700 {
        let mut choices = Choices(seed);
        sweep(seed, true, &mut counts, |files, attempt| {
            for _ in 0..40 {
                let mut spoiled = files.clone();
                let name = pick(files, &mut choices);
                let from = pick(files, &mut choices);
                let source = sector(&files[&from], &mut choices);
                let target = sector(&files[&name], &mut choices);
                let bytes = spoiled.get_mut(&name).expect("there");
                let length = source.len().min(target.len());
                let target = target.start..target.start + length;
                if choices.one_in(2) {
                    bytes[target.clone()].fill(0);
                } else {
                    let source = source.start..source.start + length;
                    bytes[target.clone()].copy_from_slice(&files[&from][source]);
                }
                // Only damage that leaves a later frame can be told from a log that never grew.
                if !cuts_the_end(files, &spoiled, &name) {
                    attempt(&spoiled, &format!("sector {target:?} of {name} replaced from {from}"));
                }
            }
        });
    }
    println!("sectors: {counts:?}");
    assert_eq!(counts.taken_for_torn, 0);
}

/// Whether the newest frame of the log is among what was spoiled.
fn cuts_the_end(files: &Files, spoiled: &Files, name: &str) -> bool {
    let newest = files.keys().rfind(|file| file.starts_with("segment"));
    if newest.map(String::as_str) != Some(name) {
        return false;
    }
    let end = Log::recover(SETTINGS, files).map(|read| match read.operations.last_chunk() {
        Some([quorate_storage::DiskOperation::WriteAt { offset, .. }, _]) => *offset as usize,
        _ => 0,
    });
    let end = end.expect("an unspoiled log");
    files[name][end.saturating_sub(88)..] != spoiled[name][end.saturating_sub(88)..] || end == 0
}

fn sector(bytes: &[u8], choices: &mut Choices) -> std::ops::Range<usize> {
    let sectors = bytes.len().div_ceil(512) as u64;
    let start = choices.below(sectors) as usize * 512;
    start..(start + 512).min(bytes.len())
}

#[test]
fn missing_and_shortened_files_are_reported() {
    let mut counts = Counts::default();
    for seed in 800..900 {
        sweep(seed, true, &mut counts, |files, attempt| {
            for (name, bytes) in files {
                let mut spoiled = files.clone();
                spoiled.remove(name);
                attempt(&spoiled, &format!("{name} removed"));
                for length in [0, 1, 63, 64, 100, 512, bytes.len() / 2, bytes.len() - 1] {
                    let mut spoiled = files.clone();
                    spoiled.get_mut(name).expect("there").truncate(length);
                    attempt(&spoiled, &format!("{name} cut to {length}"));
                }
            }
        });
    }
    println!("missing and shortened: {counts:?}");
    assert_eq!(counts.taken_for_torn, 0);
}

#[test]
fn frames_left_in_a_recycled_segment_never_come_back() {
    let (mut recycled, mut attempts) = (0, 0);
    for seed in 0..300 {
        let (disk, history) = log_at_rest(seed, 60, true);
        let files = disk.files();
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
        let (mut disk, _) = log_at_rest(seed, 25, true);
        let name = pick(&disk.files(), &mut choices);
        disk.spoil(&name, |bytes| {
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
