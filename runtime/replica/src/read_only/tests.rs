//! What a server without a quorum answers, and what never leaves it.

use super::*;
use crate::Input;
use crate::test_network::{Network, TIMEOUT_MS, pairs};
use alloc::collections::BTreeSet;
use alloc::vec;
use bytes::Bytes;
use quorate_types::ZnodePath;
use quorate_types::request::{CreateMode, MultiOperation, ReadLevel, WatchMode};
use quorate_wire::native::ClientFrame;

fn path() -> ZnodePath {
    ZnodePath::parse("/a").unwrap()
}

fn create() -> Operation {
    let (data, mode) = (Bytes::from_static(b"x"), CreateMode::Persistent);
    Operation::Create { path: path(), data: data.into(), mode, acl: None }
}

fn resume_of(frame: &ServerFrame) -> Resume {
    match frame {
        ServerFrame::Connected { session, password, .. } => {
            Resume { session: *session, password: *password }
        }
        other => panic!("{other:?} gives no session"),
    }
}

fn is_read_only(frame: &ServerFrame) -> bool {
    matches!(frame, ServerFrame::Connected { read_only: true, .. })
}

#[track_caller]
fn assert_refused(frame: &ServerFrame, code: ErrorCode) {
    let is_it = matches!(frame, ServerFrame::Refused(refusal) if refusal.code == code);
    assert!(is_it, "{frame:?} does not refuse with {code}");
}

/// A network whose follower is cut off and reads, with a session that it had before.
fn cut_network() -> (Network, u64, Resume) {
    let mut network = Network::new(true);
    let follower = pairs().map(|(to, _)| to).find(|to| *to != network.leader()).unwrap();
    let granted = network.connect((follower, 1), true, None);
    assert!(!is_read_only(&granted), "there is a quorum");
    let written = network.ask((follower, 1), 1, (ReadLevel::Local, create()));
    assert!(written.is_ok(), "{written:?}");
    network.cut_off(follower);
    network.pass(2_000);
    let told = network.heard(1);
    assert!(matches!(told[..], [ServerFrame::Goodbye(_)]), "{told:?}");
    (network, follower, resume_of(&granted))
}

#[test]
fn a_server_without_a_quorum_reads_what_it_has_and_lets_nothing_near_the_log() {
    let (mut network, server, session) = cut_network();
    let before = (network.disk_batches[&server], network.replicas[&server].applied());
    let granted = network.connect((server, 2), true, Some(session.clone()));
    assert!(is_read_only(&granted));
    assert_eq!(resume_of(&granted), session);
    let here = (server, 2);
    let get = || Operation::Get { path: path(), watch: true };
    let read = network.ask(here, 1, (ReadLevel::Local, get()));
    assert!(matches!(&read, Ok(Reply::Data(..))), "{read:?}");
    let watch = Operation::AddWatch {
        path: path(),
        mode: WatchMode::Persistent,
        since: None,
        values: false,
    };
    assert!(network.ask(here, 2, (ReadLevel::Local, watch)).is_ok());
    let multi = vec![MultiOperation::Check { path: path(), expected_version: None }];
    let refused = [
        (ReadLevel::Linearizable, get()),
        (ReadLevel::Linearizable, Operation::Sync),
        (ReadLevel::Local, create()),
        (ReadLevel::Local, Operation::Multi { operations: multi }),
        (ReadLevel::Local, Operation::TransferLeader { to: None }),
        // The cluster may still serve the session.
        (ReadLevel::Local, Operation::CloseSession),
    ];
    for (sequence, asked) in (3..).zip(refused) {
        let outcome = network.ask(here, sequence, asked);
        assert_eq!(outcome.unwrap_err().code, ErrorCode::ReadOnly);
    }
    let replica = &network.replicas[&server];
    assert_eq!((network.disk_batches[&server], replica.applied()), before);
    assert_eq!(replica.status().role, "read-only");
}

#[test]
fn a_new_session_there_is_that_servers_alone() {
    let (mut network, server, _) = cut_network();
    let granted = network.connect((server, 2), true, None);
    let local = resume_of(&granted);
    assert!(is_read_only(&granted) && local.session.0 & LOCAL != 0);
    let again = network.connect((server, 3), true, Some(local.clone()));
    assert_refused(&again, ErrorCode::SessionExpired);
    let close = (ReadLevel::Local, Operation::CloseSession);
    assert_eq!(network.ask((server, 2), 1, close), Ok(Reply::Done));
    let leader = network.leader();
    let elsewhere = network.connect((leader, 4), true, Some(local));
    assert_refused(&elsewhere, ErrorCode::SessionExpired);
}

#[test]
fn who_wants_more_than_reading_or_is_not_known_is_sent_on() {
    let (mut network, server, session) = cut_network();
    let writer = network.connect((server, 2), false, None);
    assert_refused(&writer, ErrorCode::ServerUnavailable);
    let unknown = Resume { session: SessionId(4_711), password: [0; 16] };
    let unknown = network.connect((server, 3), true, Some(unknown));
    assert_refused(&unknown, ErrorCode::ServerUnavailable);
    let wrong = Resume { password: [0; 16], ..session };
    let wrong = network.connect((server, 4), true, Some(wrong));
    assert_refused(&wrong, ErrorCode::SessionRefused);
}

#[test]
fn readers_are_sent_away_when_there_is_a_leader_and_their_session_goes_on() {
    let (mut network, server, session) = cut_network();
    network.connect((server, 2), true, Some(session.clone()));
    network.link_all();
    network.pass(1_000);
    let told = network.heard(2);
    let code = |frame: &ServerFrame| match frame {
        ServerFrame::Goodbye(refusal) => Some(refusal.code),
        _ => None,
    };
    assert_eq!(told.iter().map(code).collect::<Vec<_>>(), [Some(ErrorCode::ServerUnavailable)]);
    let granted = network.connect((server, 3), true, Some(session.clone()));
    assert!(!is_read_only(&granted));
    assert_eq!(resume_of(&granted).session, session.session);
}

#[test]
fn a_reader_that_is_silent_for_its_timeout_is_gone_and_a_newer_connection_takes_its_place() {
    let (mut network, server, session) = cut_network();
    network.connect((server, 2), true, Some(session.clone()));
    network.connect((server, 3), true, Some(session));
    assert!(matches!(network.heard(2)[..], [ServerFrame::Goodbye(_)]));
    let half_ms = u64::from(TIMEOUT_MS) / 2;
    for _ in 0..3 {
        network.pass(half_ms);
        let frame = ClientFrame::Heartbeat;
        network.handle(server, Input::ClientFrame { connection: 3, frame });
    }
    let told = network.heard(3);
    let beats = told.iter().filter(|frame| matches!(frame, ServerFrame::Heartbeat { .. }));
    assert_eq!((beats.count(), told.len()), (3, 3));
    network.pass(half_ms * 2 + 100);
    assert!(matches!(network.heard(3)[..], [ServerFrame::Goodbye(_)]));
}

#[test]
fn without_the_mode_a_server_without_a_quorum_serves_nobody() {
    let mut network = Network::new(false);
    let server = network.leader();
    network.cut_off(server);
    network.pass(2_000);
    let granted = network.connect((server, 1), true, None);
    assert_refused(&granted, ErrorCode::ServerUnavailable);
    assert_ne!(network.replicas[&server].status().role, "read-only");
    let opened: BTreeSet<u64> = network.replicas[&server].connections.keys().copied().collect();
    assert_eq!(opened, BTreeSet::new());
}
