//! Behaviour of the log in RAM and of what it believes durable.

use alloc::vec::Vec;

use super::*;
use crate::membership::Membership;
use crate::types::EntryKind;

fn entry(index: u64, term: u64) -> Entry {
    let (index, term) = (Index(index), Term(term));
    Entry { index, term, kind: EntryKind::Command, payload: alloc::vec![7u8; 10].into() }
}

fn mark(index: u64, term: u64) -> SnapshotMark {
    SnapshotMark { index: Index(index), term: Term(term), membership: Membership::default() }
}

/// A durable log from index 1 with these terms.
fn log(terms: &[u64]) -> Log {
    let entries = (1..).zip(terms).map(|(index, term)| entry(index, *term)).collect();
    Log::new(&mark(0, 0), entries)
}

fn terms(log: &Log) -> Vec<u64> {
    log.range(Index(0)..=Index(u64::MAX - 1)).map(|entry| entry.term.0).collect()
}

#[test]
fn appended_entries_become_durable_with_their_write() {
    let mut log = log(&[1, 1]);
    log.append(entry(3, 2));
    assert!(log.has_unwritten());
    assert_eq!(log.sequence_covering(Index(3)), WriteSequence(1));
    let change = log.begin_write();
    assert_eq!(change.entries, [entry(3, 2)]);
    assert_eq!(log.durable_index(), Index(2));
    log.complete(WriteSequence(1));
    assert_eq!(log.durable_index(), Index(3));
    assert!(!log.has_unwritten());
}

#[test]
fn a_write_overtaken_by_a_truncation_does_not_attest_what_was_cut() {
    let mut log = log(&[1]);
    log.append(entry(2, 1));
    log.append(entry(3, 1));
    log.begin_write();
    log.truncate(Index(3));
    log.append(entry(3, 2));
    let change = log.begin_write();
    assert_eq!(change.truncate_from, Some(Index(3)));
    log.complete(WriteSequence(1));
    assert_eq!(log.durable_index(), Index(2));
    log.complete(WriteSequence(2));
    assert_eq!(log.durable_index(), Index(3));
}

#[test]
fn an_entry_cut_and_written_again_with_its_old_term_is_durable_only_with_the_later_write() {
    let mut log = log(&[1]);
    log.append(entry(2, 2));
    log.begin_write();
    log.truncate(Index(2));
    log.append(entry(2, 3));
    log.begin_write();
    log.truncate(Index(2));
    // A leader of term 4 that holds the entry of term 2.
    log.append(entry(2, 2));
    log.begin_write();
    log.complete(WriteSequence(1));
    assert_eq!(log.durable_index(), Index(1), "the second write is still to come");
    log.complete(WriteSequence(2));
    assert_eq!(log.durable_index(), Index(1));
    log.complete(WriteSequence(3));
    assert_eq!(log.durable_index(), Index(2));
}

#[test]
fn entries_cut_before_they_were_handed_out_leave_no_trace() {
    let mut log = log(&[1]);
    log.append(entry(2, 1));
    log.truncate(Index(2));
    assert!(!log.has_unwritten());
    log.append(entry(2, 2));
    let change = log.begin_write();
    assert_eq!((change.truncate_from, change.entries), (None, Vec::from([entry(2, 2)])));
}

#[test]
fn an_install_replaces_the_log_and_counts_only_once_durable() {
    let mut log = log(&[1, 1]);
    log.append(entry(3, 1));
    log.begin_write();
    log.install(&mark(10, 4));
    log.append(entry(11, 5));
    assert!(log.is_installing());
    let change = log.begin_write();
    assert_eq!(change.installed, Some(mark(10, 4)));
    assert_eq!(change.entries, [entry(11, 5)]);
    assert_eq!(log.complete(WriteSequence(1)), None);
    assert_eq!(log.durable_index(), Index(0));
    assert_eq!(log.complete(WriteSequence(2)), Some(mark(10, 4)));
    assert_eq!(log.durable_index(), Index(11));
    assert_eq!((log.term_at(Index(9)), log.term_at(Index(10))), (None, Some(Term(4))));
}

#[test]
fn an_install_overtaken_by_another_is_not_reported() {
    let mut log = log(&[1]);
    log.install(&mark(5, 2));
    log.begin_write();
    log.install(&mark(9, 2));
    log.begin_write();
    assert_eq!(log.complete(WriteSequence(1)), None);
    assert_eq!(log.complete(WriteSequence(2)), Some(mark(9, 2)));
}

#[test]
fn compaction_keeps_the_term_of_the_last_entry_dropped() {
    let mut log = log(&[1, 2, 3, 4]);
    log.compact(Index(3));
    assert_eq!(log.first_index(), Index(3));
    assert_eq!((log.term_at(Index(2)), log.term_at(Index(1))), (Some(Term(2)), None));
    assert_eq!(terms(&log), [3, 4]);
    log.compact(Index(5));
    assert_eq!((log.first_index(), log.last_index()), (Index(5), Index(4)));
    assert_eq!(log.last_term(), Term(4));
}

#[test]
fn a_tail_kept_behind_the_snapshot_is_used_after_a_restart() {
    let entries = Vec::from([entry(3, 1), entry(4, 2), entry(5, 2), entry(6, 3)]);
    let log = Log::new(&mark(5, 2), entries);
    assert_eq!((log.first_index(), log.last_index()), (Index(4), Index(6)));
    assert_eq!((log.term_at(Index(3)), log.durable_index()), (Some(Term(1)), Index(6)));
}

#[test]
fn a_log_that_ends_before_its_snapshot_starts_anew_after_it() {
    let log = Log::new(&mark(5, 2), Vec::from([entry(1, 1), entry(2, 1)]));
    assert_eq!((log.first_index(), log.last_index()), (Index(6), Index(5)));
    assert_eq!(log.last_term(), Term(2));
}

#[test]
fn a_slice_is_bounded_in_entries_and_bytes_but_never_empty() {
    let log = log(&[1, 1, 1, 1, 1]);
    assert_eq!(log.slice(Index(2), 2, 1_000).len(), 2);
    assert_eq!(log.slice(Index(2), 100, 25).len(), 2);
    assert_eq!(log.slice(Index(2), 100, 1).len(), 1);
    assert_eq!(log.slice(Index(6), 100, 100).len(), 0);
}

#[test]
fn the_place_to_probe_next_is_the_last_entry_that_can_be_equal() {
    let log = log(&[1, 1, 3, 3, 5]);
    let place = |index, term| log.last_at_most(Index(index), Term(term)).0.0;
    assert_eq!(place(5, 4), 4);
    assert_eq!(place(5, 2), 2);
    assert_eq!(place(9, 9), 5);
    assert_eq!(place(1, 9), 1);
    assert_eq!(place(4, 0), 0);
}

#[test]
fn completeness_compares_terms_first() {
    let log = log(&[1, 3]);
    assert!(log.is_no_newer_than(Index(2), Term(3)));
    assert!(log.is_no_newer_than(Index(1), Term(4)));
    assert!(!log.is_no_newer_than(Index(9), Term(2)));
    assert!(!log.is_no_newer_than(Index(1), Term(3)));
}
