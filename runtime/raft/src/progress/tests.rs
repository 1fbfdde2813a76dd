//! Behaviour of flow control towards one peer.

use super::*;

fn probing(next: u64) -> Progress {
    Progress::new(1, Index(next), 0)
}

fn replicating(matched: u64) -> Progress {
    let mut peer = probing(matched + 1);
    peer.sent(0, Index(0));
    peer.accepted(Index(matched), Index(1));
    peer
}

#[test]
fn a_probe_waits_for_an_answer_or_a_heartbeat() {
    let mut peer = probing(5);
    assert!(peer.may_send(true, 4));
    peer.sent(1, Index(0));
    assert!(!peer.may_send(true, 4));
    peer.heartbeat_answered(Index(9), 4);
    assert!(peer.may_send(true, 4));
}

#[test]
fn an_accepted_probe_opens_the_window() {
    let mut peer = replicating(4);
    assert_eq!((peer.state, peer.next), (ReplicationState::Replicate, Index(5)));
    peer.sent(3, Index(2));
    peer.sent(2, Index(2));
    assert_eq!((peer.next, peer.status().inflight), (Index(10), 2));
    assert!(!peer.may_send(true, 2), "the window is full");
    assert!(peer.accepted(Index(7), Index(1)));
    assert!(peer.may_send(true, 2));
    assert!(!peer.may_send(false, 2), "there is nothing to tell");
}

#[test]
fn an_old_acknowledgement_changes_nothing() {
    let mut peer = replicating(4);
    peer.sent(2, Index(0));
    assert!(!peer.accepted(Index(3), Index(1)));
    assert_eq!((peer.matched, peer.next, peer.status().inflight), (Index(4), Index(7), 1));
}

#[test]
fn a_rejection_sends_a_replicating_peer_back_to_probing_after_what_it_has() {
    let mut peer = replicating(4);
    peer.sent(5, Index(0));
    assert!(!peer.rejected(Index(4), Index(0)), "rejects what it acknowledged: stale");
    assert!(peer.rejected(Index(9), Index(2)));
    assert_eq!((peer.state, peer.next), (ReplicationState::Probe, Index(5)));
}

#[test]
fn probing_ends_with_an_acknowledgement_of_all_that_is_known_or_more_but_not_of_less() {
    for (matched, state) in [
        (3, ReplicationState::Probe),
        (4, ReplicationState::Replicate),
        (5, ReplicationState::Replicate),
    ] {
        let mut peer = replicating(4);
        peer.sent(5, Index(0));
        assert!(peer.rejected(Index(9), Index(2)));
        peer.sent(5, Index(0));
        assert_eq!(peer.accepted(Index(matched), Index(1)), matched > 4);
        assert_eq!((peer.state, peer.next), (state, Index(matched.max(4) + 1)));
        assert_eq!(peer.may_send(true, 4), state == ReplicationState::Replicate);
    }
}

#[test]
fn a_rejected_probe_goes_on_after_the_hint_and_stale_ones_are_ignored() {
    let mut peer = probing(100);
    peer.sent(0, Index(0));
    assert!(!peer.rejected(Index(50), Index(10)));
    assert!(peer.rejected(Index(99), Index(10)));
    assert_eq!(peer.next, Index(11));
    assert!(peer.rejected(Index(10), Index(10)), "always at least one step back");
    assert_eq!(peer.next, Index(10));
}

#[test]
fn an_answered_heartbeat_pokes_a_peer_that_lacks_entries_and_frees_one_place() {
    let mut peer = replicating(4);
    peer.sent(1, Index(0));
    peer.sent(1, Index(0));
    peer.heartbeat_answered(Index(6), 2);
    assert_eq!(peer.status().inflight, 1);
    assert!(peer.may_send(false, 2));
    let mut equal = replicating(4);
    equal.heartbeat_answered(Index(4), 2);
    assert!(!equal.may_send(false, 2));
}

#[test]
fn a_snapshot_ends_by_report_or_by_an_acknowledgement_the_log_continues() {
    let mut peer = probing(3);
    peer.begin_snapshot();
    assert!(!peer.may_send(true, 4));
    assert!(!peer.rejected(Index(2), Index(0)));
    peer.accepted(Index(5), Index(20));
    assert_eq!(peer.state, ReplicationState::Snapshot, "entries 6 to 19 are gone");
    peer.accepted(Index(19), Index(20));
    assert_eq!((peer.state, peer.next), (ReplicationState::Replicate, Index(20)));

    let mut reported = probing(3);
    reported.begin_snapshot();
    reported.snapshot_ended(Ok(Index(30)));
    assert_eq!((reported.state, reported.next), (ReplicationState::Probe, Index(31)));
    assert!(!reported.may_send(true, 4), "goes on after the next answer");
}

#[test]
fn a_new_session_starts_from_nothing_but_remembers_the_peer() {
    let mut peer = replicating(4);
    (peer.life, peer.acked_round, peer.contact_ms) = (9, 3, 77);
    peer.restart(2, Index(8));
    assert_eq!((peer.session, peer.matched, peer.next), (2, Index(0), Index(8)));
    assert_eq!((peer.state, peer.life, peer.acked_round), (ReplicationState::Probe, 9, 3));
    assert_eq!(peer.contact_ms, 77);
}
