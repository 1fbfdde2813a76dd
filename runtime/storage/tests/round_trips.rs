//! What is written is read back, over many batches, segments and restarts.

mod history;

use history::{Batch, History, SETTINGS, State, identity, perform_all};
use quorate_faulty_disk::{Choices, Crash, FaultyDisk};
use quorate_raft::{Entry, EntryKind, HardState, Index, ReplicaId, SnapshotMark, Term};
use quorate_storage::{DiskOperation, Log, LogBatch, LogSettings, RecoveryError};
use std::collections::BTreeMap;
use std::sync::Arc;

fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let payload = vec![index as u8; bytes];
    Entry {
        index: Index(index),
        term: Term(term),
        kind: EntryKind::Command,
        payload: payload.into(),
    }
}

#[test]
fn a_new_log_reads_back_empty_with_its_first_membership() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    perform_all(&mut history, &mut disk);
    let read = Log::recover(SETTINGS, &disk.files()).expect("a log");
    assert!(State::new().is_log_of(&read), "{read:?}");
    assert_eq!(read.identity, identity());
    assert_eq!(read.first_membership, history::membership(3));
    assert_eq!((read.torn_bytes, read.damage), (0, None));
}

#[test]
fn an_empty_disk_and_an_unfinished_creation_are_told_from_a_log() {
    let nothing = Log::recover(SETTINGS, &BTreeMap::new()).map(|_| ());
    assert_eq!(nothing, Err(RecoveryError::NotCreated));
    let steps = History::create().queue.len();
    for performed in 0..steps - 2 {
        let mut disk = FaultyDisk::default();
        let history = History::create();
        history.queue[..performed].iter().for_each(|step| disk.perform(&step.operation));
        let read = Log::recover(SETTINGS, &disk.files()).map(|_| ());
        assert_eq!(read, Err(RecoveryError::NotCreated), "after {performed} steps");
    }
}

#[test]
fn random_histories_read_back_after_every_restart() {
    let (mut batches, mut restarts) = (0, 0);
    for seed in 0..40 {
        let mut choices = Choices(seed);
        let mut disk = FaultyDisk::default();
        let mut history = History::create();
        for _ in 0..12 {
            for _ in 0..choices.below(40) {
                history.act(&mut choices);
                if choices.one_in(2) {
                    perform_all(&mut history, &mut disk);
                }
            }
            perform_all(&mut history, &mut disk);
            batches += history.states.len();
            restarts += 1;
            disk.crash(Crash::LoseUnsynced, &mut choices);
            let read = Log::recover(SETTINGS, &disk.files()).expect("a log");
            let newest = history.newest();
            assert!(newest.is_log_of(&read), "seed {seed}: {newest:?} became {read:?}");
            assert_eq!(newest.hard_state, read.hard_state, "seed {seed}");
            assert_eq!((read.torn_bytes, &read.damage), (0, &None), "seed {seed}");
            let states = std::mem::take(&mut history.states);
            history = History::continued(&read);
            history.states = states.into_iter().rev().take(1).collect();
        }
    }
    println!("{batches} batches, {restarts} restarts read back");
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    history.append(&Batch { entries: vec![entry(1, 1, 100_000)], ..Batch::default() });
    history.append(&Batch { entries: vec![entry(2, 1, 10)], ..Batch::default() });
    perform_all(&mut history, &mut disk);
    let read = Log::recover(SETTINGS, &disk.files()).expect("a log");
    assert_eq!(read.entries, history.newest().entries);
}

#[test]
fn another_segment_size_reads_the_same_log() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    for index in 1..30 {
        history.append(&Batch { entries: vec![entry(index, 1, 400)], ..Batch::default() });
    }
    perform_all(&mut history, &mut disk);
    let larger = LogSettings { segment_bytes: 1 << 16 };
    let read = Log::recover(larger, &disk.files()).expect("a log");
    assert_eq!(read.entries.len(), 29);
    read.operations.iter().for_each(|operation| disk.perform(operation));
    let read = Log::recover(SETTINGS, &disk.files()).expect("a log");
    assert_eq!(read.entries.len(), 29);
}

#[test]
fn compaction_recycles_files_and_never_passes_the_snapshot() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    for index in 1..200 {
        history.append(&Batch { entries: vec![entry(index, 1, 400)], ..Batch::default() });
        perform_all(&mut history, &mut disk);
        assert!(history.log.compact(Index(index)).iter().all(|_| index > 50), "mark is at zero");
        if index == 50 {
            let membership = history::membership(3);
            let mark = SnapshotMark { index: Index(50), term: Term(1), membership };
            history.append(&Batch { snapshot_mark: Some(mark), ..Batch::default() });
            perform_all(&mut history, &mut disk);
            let (before, _) = history.log.file_counts();
            let operations = history.log.compact(Index(1_000));
            operations.iter().for_each(|operation| disk.perform(operation));
            let (left, spares) = history.log.file_counts();
            assert!(left < before && spares > 0, "{left} segments, {spares} spares");
        }
    }
    let read = Log::recover(SETTINGS, &disk.files()).expect("a log");
    assert!(history.newest().is_log_of(&read));
    assert!(read.entries.first().is_some_and(|first| first.index <= Index(51)));
}

#[test]
fn a_batch_costs_one_write_and_one_sync() {
    let mut history = History::create();
    let batch = LogBatch {
        hard_state: Some(HardState { term: Term(1), vote: Some(ReplicaId(1)) }),
        ..LogBatch::default()
    };
    let operations = history.log.append(&batch);
    let [DiskOperation::WriteAt { file, .. }, DiskOperation::Sync { file: synced }] =
        &operations[..]
    else {
        panic!("{operations:?}");
    };
    assert_eq!(file, synced);
}

#[test]
fn a_quiet_log_vouches_for_its_newest_batch_once() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    history.append(&Batch { entries: vec![entry(1, 1, 10)], ..Batch::default() });
    assert_eq!(history.log.vouch(), [], "not durable yet");
    perform_all(&mut history, &mut disk);
    assert_eq!(history.log.vouch().len(), 2);
    history.log.durable(history.log.newest_sequence());
    assert_eq!(history.log.vouch(), []);
}

#[test]
fn garbage_in_every_file_is_refused_without_a_panic() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    for index in 1..20 {
        history.append(&Batch { entries: vec![entry(index, 1, 300)], ..Batch::default() });
    }
    perform_all(&mut history, &mut disk);
    let mut choices = Choices(5);
    let mut readings = 0;
    for round in 0..600 {
        let mut files = disk.files();
        let count = files.len();
        let file = files.values_mut().nth(round % count).expect("in range");
        let length = choices.below(9_000) as usize;
        *file = (0..length).map(|_| choices.next() as u8).collect();
        if let Ok(read) = Log::recover(SETTINGS, &files) {
            assert!(read.refetching || read.entries == history.newest().entries, "round {round}");
        }
        readings += 1;
    }
    let odd = ["segment-ffffffffffffffff.log", "segment-.log", "spare-zzzz.log", "notes.txt"];
    let mut files = disk.files();
    odd.iter().for_each(|name| drop(files.insert((*name).into(), vec![7; 100])));
    let read = Log::recover(SETTINGS, &files).expect("other files do not matter");
    assert_eq!(read.entries, history.newest().entries);
    println!("{readings} files of garbage");
}

#[test]
fn payloads_are_shared_with_what_was_appended() {
    let payload: Arc<[u8]> = Arc::from(&b"shared"[..]);
    let entry = Entry {
        index: Index(1),
        term: Term(1),
        kind: EntryKind::Command,
        payload: Arc::clone(&payload),
    };
    let mut history = History::create();
    let _ = history.log.append(&LogBatch { entries: &[entry], ..LogBatch::default() });
    assert_eq!(Arc::strong_count(&payload), 1, "the log keeps no entries");
}
