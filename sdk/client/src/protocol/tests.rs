//! The session's machine against a scripted server, without sockets or clocks.
//!
//! Comes in: frames and times that the tests make up. Goes out: nothing but assertions.

mod watches;

use super::*;
use quorate_types::request::{CreateMode, ReadLevel};
use quorate_types::{ErrorCode, Outcome, Stat, TicketId};
use quorate_wire::native::ServerFrame;
use std::collections::HashMap;

const TIMEOUT_MS: u32 = 9_000;

fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).unwrap()
}

fn create(text: &str) -> Operation {
    Operation::Create {
        path: path(text),
        data: "x".into(),
        mode: CreateMode::Persistent,
        acl: None,
    }
}

fn acquire() -> Operation {
    Operation::Call {
        object: path("/locks/a"),
        operation: "acquire".into(),
        arguments: "wait".into(),
    }
}

fn submission(call: CallId, operation: Operation) -> Submission {
    Submission {
        call,
        operation,
        level: ReadLevel::Linearizable,
        timeout_ms: Some(30_000),
        timeout_covers_parking: false,
        undo: None,
    }
}

fn refusal(code: ErrorCode) -> Outcome {
    Err(Refusal::new(code, "because"))
}

fn granted(resumed: bool) -> ServerFrame {
    ServerFrame::Connected {
        session: SessionId(7),
        password: [9; 16],
        timeout_ms: TIMEOUT_MS,
        server: ServerId(1),
        resumed,
        zxid: Zxid(100),
        read_only: false,
    }
}

fn reply(sequence: u64, outcome: Outcome) -> ServerFrame {
    ServerFrame::Reply { sequence, zxid: Zxid(100 + sequence), outcome }
}

fn frames(protocol: &mut Protocol, now_ms: u64) -> Vec<ClientFrame> {
    std::iter::from_fn(|| protocol.poll_frame(now_ms)).collect()
}

fn notices(protocol: &mut Protocol) -> Vec<Notice> {
    std::iter::from_fn(|| protocol.poll_notice()).collect()
}

fn sequences(frames: &[ClientFrame]) -> Vec<u64> {
    let sequence = |frame: &ClientFrame| match frame {
        ClientFrame::Request { sequence, .. } => Some(*sequence),
        ClientFrame::Connect { .. } | ClientFrame::Heartbeat | ClientFrame::Status => None,
    };
    frames.iter().filter_map(sequence).collect()
}

/// A session served since `now_ms`.
fn connected(now_ms: u64) -> Protocol {
    let mut protocol = Protocol::new(Settings { session_timeout_ms: TIMEOUT_MS, seed: 1 });
    protocol.transport_up(now_ms);
    assert_eq!(frames(&mut protocol, now_ms).len(), 1);
    protocol.receive(now_ms, granted(false));
    notices(&mut protocol);
    protocol
}

fn reconnect(protocol: &mut Protocol, now_ms: u64) -> Vec<ClientFrame> {
    protocol.transport_down();
    protocol.transport_up(now_ms);
    let connect = frames(protocol, now_ms);
    assert!(matches!(connect[..], [ClientFrame::Connect { resume: Some(_), .. }]), "{connect:?}");
    protocol.receive(now_ms, granted(true));
    frames(protocol, now_ms)
}

fn done(call: CallId, sequence: u64, reply: Reply) -> Notice {
    let zxid = Zxid(100 + sequence);
    Notice::Completed { call, result: Ok(Answer { reply, zxid }) }
}

#[test]
fn calls_made_before_the_session_wait_for_it_and_leave_in_order() {
    let mut protocol = Protocol::new(Settings { session_timeout_ms: TIMEOUT_MS, seed: 1 });
    protocol.submit(0, submission(1, create("/a")));
    protocol.submit(0, submission(2, create("/b")));
    assert_eq!(frames(&mut protocol, 0), []);
    protocol.transport_up(5);
    let connect = frames(&mut protocol, 5);
    assert!(matches!(connect[..], [ClientFrame::Connect { resume: None, .. }]), "{connect:?}");
    protocol.receive(10, granted(false));
    let sent = frames(&mut protocol, 10);
    assert_eq!(sequences(&sent), [1, 2]);
    protocol.receive(11, reply(1, Ok(Reply::Done)));
    let news = notices(&mut protocol);
    assert_eq!(news[1..], [done(1, 1, Reply::Done)]);
}

#[test]
fn a_reconnect_sends_everything_unanswered_again_under_its_numbers() {
    let mut protocol = connected(0);
    for call in 1..=3 {
        protocol.submit(0, submission(call, create("/a")));
    }
    frames(&mut protocol, 0);
    protocol.receive(1, reply(2, Ok(Reply::Done)));
    protocol.submit(1, submission(4, create("/b")));
    let sent = reconnect(&mut protocol, 2);
    assert_eq!(sequences(&sent), [1, 3, 4]);
    assert!(
        matches!(&sent[0], ClientFrame::Request { oldest_unreplied: 1, acknowledged, .. }
            if *acknowledged == [2]),
        "{sent:?}"
    );
    protocol.receive(3, reply(2, Ok(Reply::Done)));
    protocol.receive(3, reply(1, Ok(Reply::Done)));
    let told = |notice: &Notice| matches!(notice, Notice::Completed { .. });
    let completed: Vec<_> = notices(&mut protocol).into_iter().filter(told).collect();
    assert_eq!(completed, [done(2, 2, Reply::Done), done(1, 1, Reply::Done)]);
}

#[test]
fn the_newest_transaction_seen_is_told_to_the_next_server() {
    let mut protocol = connected(0);
    protocol.receive(1, ServerFrame::Heartbeat { zxid: Zxid(500) });
    protocol.transport_down();
    protocol.transport_up(2);
    let connect = frames(&mut protocol, 2);
    assert!(
        matches!(&connect[..], [ClientFrame::Connect { last_seen: Zxid(500), resume: Some(resume), .. }]
            if resume.session == SessionId(7) && resume.password == [9; 16])
    );
}

#[test]
fn a_parked_call_is_answered_later_also_through_another_server() {
    let mut protocol = connected(0);
    protocol.submit(0, submission(1, acquire()));
    frames(&mut protocol, 0);
    protocol.receive(1, reply(1, Ok(Reply::Parked(TicketId(3)))));
    assert_eq!(notices(&mut protocol), []);
    assert_eq!(sequences(&reconnect(&mut protocol, 2)), [1]);
    protocol.receive(3, reply(1, Ok(Reply::Parked(TicketId(3)))));
    protocol.receive(4, reply(1, Ok(Reply::Called("mine".into()))));
    let news = notices(&mut protocol);
    assert_eq!(news.last(), Some(&done(1, 1, Reply::Called("mine".into()))));
}

#[test]
fn a_transient_refusal_is_tried_again_under_the_same_number() {
    let mut protocol = connected(0);
    protocol.submit(0, submission(1, create("/a")));
    frames(&mut protocol, 0);
    let mut now_ms = 0;
    for code in [ErrorCode::NoLeader, ErrorCode::LeadershipLost, ErrorCode::Overloaded] {
        protocol.receive(now_ms, reply(1, refusal(code)));
        assert_eq!((frames(&mut protocol, now_ms), notices(&mut protocol)), (vec![], vec![]));
        let next_ms = protocol.next_deadline_ms().unwrap();
        assert!(next_ms > now_ms && next_ms <= now_ms + 40, "{now_ms} {next_ms}");
        now_ms = next_ms;
        protocol.tick(now_ms);
        assert_eq!(sequences(&frames(&mut protocol, now_ms)), [1]);
    }
    protocol.receive(now_ms, reply(1, Ok(Reply::Done)));
    assert_eq!(notices(&mut protocol), [done(1, 1, Reply::Done)]);
}

#[test]
fn a_final_refusal_is_told_once() {
    let mut protocol = connected(0);
    protocol.submit(0, submission(1, create("/a")));
    frames(&mut protocol, 0);
    protocol.receive(1, reply(1, refusal(ErrorCode::NodeExists)));
    protocol.receive(1, reply(1, refusal(ErrorCode::NodeExists)));
    let failure = CallFailure::Refused(Refusal::new(ErrorCode::NodeExists, "because"));
    let completed = Notice::Completed { call: 1, result: Err(failure) };
    assert_eq!(notices(&mut protocol), [completed]);
}

#[test]
fn a_deadline_says_whether_the_request_was_sent_and_what_it_was_told() {
    let mut protocol = connected(0);
    protocol.submit(0, Submission { timeout_ms: Some(100), ..submission(1, create("/a")) });
    frames(&mut protocol, 0);
    protocol.receive(1, reply(1, refusal(ErrorCode::NoLeader)));
    protocol.transport_down();
    protocol.submit(1, Submission { timeout_ms: Some(100), ..submission(2, create("/b")) });
    protocol.tick(101);
    let last_refusal = Some(Refusal::new(ErrorCode::NoLeader, "because"));
    let failed = |call, failure| Notice::Completed { call, result: Err(failure) };
    let expected = [
        failed(1, CallFailure::DeadlinePassed { sent: true, last_refusal }),
        failed(2, CallFailure::DeadlinePassed { sent: false, last_refusal: None }),
    ];
    assert_eq!(notices(&mut protocol), expected);
    assert_eq!(sequences(&reconnect(&mut protocol, 102)), Vec::<u64>::new());
}

#[test]
fn parking_stops_the_deadline_unless_the_caller_says_otherwise() {
    for covers in [false, true] {
        let mut protocol = connected(0);
        let hurried = Submission {
            timeout_ms: Some(50),
            timeout_covers_parking: covers,
            ..submission(1, acquire())
        };
        protocol.submit(0, hurried);
        frames(&mut protocol, 0);
        protocol.receive(1, reply(1, Ok(Reply::Parked(TicketId(1)))));
        protocol.tick(60);
        let told = notices(&mut protocol).len();
        let cancels = sequences(&frames(&mut protocol, 60)).len();
        assert_eq!((told, cancels), if covers { (1, 1) } else { (0, 0) });
    }
}

#[test]
fn an_abandoned_call_is_cancelled_once_it_is_known_to_be_parked() {
    let mut protocol = connected(0);
    protocol.submit(0, submission(1, acquire()));
    frames(&mut protocol, 0);
    protocol.abandon(1);
    assert_eq!(frames(&mut protocol, 1), []);
    protocol.receive(2, reply(1, Ok(Reply::Parked(TicketId(1)))));
    let sent = frames(&mut protocol, 2);
    assert!(
        matches!(&sent[..], [ClientFrame::Request { sequence: 2, operation, .. }]
            if *operation == Operation::CancelCall { sequence: 1 }),
        "{sent:?}"
    );
    protocol.receive(3, reply(2, Ok(Reply::Done)));
    protocol.receive(3, reply(1, refusal(ErrorCode::Cancelled)));
    assert!(notices(&mut protocol).is_empty() && protocol.is_at_rest());
}

#[test]
fn a_grant_that_comes_after_its_caller_has_gone_is_given_back() {
    let mut protocol = connected(0);
    let undone = Submission {
        undo: Some(Undo { object: path("/locks/a"), operation: "release".into() }),
        ..submission(1, acquire())
    };
    protocol.submit(0, undone);
    frames(&mut protocol, 0);
    protocol.receive(0, reply(1, refusal(ErrorCode::LeadershipLost)));
    protocol.abandon(1);
    let retry_ms = protocol.next_deadline_ms().unwrap();
    protocol.tick(retry_ms);
    assert_eq!(sequences(&frames(&mut protocol, retry_ms)), [1]);
    protocol.receive(retry_ms, reply(1, Ok(Reply::Called("fence 5".into()))));
    let sent = frames(&mut protocol, retry_ms);
    let release = Operation::Call {
        object: path("/locks/a"),
        operation: "release".into(),
        arguments: "fence 5".into(),
    };
    assert!(
        matches!(&sent[..], [ClientFrame::Request { sequence: 2, operation, .. }]
            if *operation == release),
        "{sent:?}"
    );
}

#[test]
fn a_call_dropped_before_it_was_sent_takes_no_number() {
    let mut protocol = Protocol::new(Settings { session_timeout_ms: TIMEOUT_MS, seed: 1 });
    protocol.submit(0, submission(1, create("/a")));
    protocol.submit(0, submission(2, create("/b")));
    protocol.abandon(1);
    protocol.transport_up(0);
    frames(&mut protocol, 0);
    protocol.receive(0, granted(false));
    assert_eq!(sequences(&frames(&mut protocol, 0)), [1]);
}

#[test]
fn heartbeats_go_out_every_third_of_the_timeout() {
    let mut protocol = connected(0);
    assert_eq!(protocol.next_deadline_ms(), Some(3_000));
    protocol.tick(3_000);
    assert_eq!(frames(&mut protocol, 3_000), [ClientFrame::Heartbeat]);
    protocol.receive(3_010, ServerFrame::Heartbeat { zxid: Zxid(1) });
    assert_eq!(protocol.next_deadline_ms(), Some(6_000));
}

#[test]
fn a_silent_server_is_left_while_there_is_time_to_reach_another() {
    let mut protocol = connected(0);
    protocol.tick(3_000);
    frames(&mut protocol, 3_000);
    protocol.tick(6_000);
    let silent = Notice::Disconnect(Disconnect::Silent { silent_ms: 6_000 });
    assert_eq!(notices(&mut protocol), [silent]);
    assert!(protocol.has_session());
}

#[test]
fn the_session_is_lost_its_timeout_after_the_last_frame_that_was_answered() {
    let mut protocol = connected(0);
    protocol.tick(3_000);
    frames(&mut protocol, 3_000);
    protocol.receive(3_500, ServerFrame::Heartbeat { zxid: Zxid(1) });
    protocol.submit(3_500, submission(1, create("/a")));
    protocol.transport_down();
    protocol.tick(11_999);
    assert_eq!(notices(&mut protocol), []);
    protocol.tick(12_000);
    let news = notices(&mut protocol);
    assert!(
        matches!(
            &news[..],
            [
                Notice::Completed { call: 1, result: Err(CallFailure::SessionLost(_)) },
                Notice::Lost { .. },
            ]
        ),
        "{news:?}"
    );
    protocol.submit(12_001, submission(2, create("/a")));
    let news = notices(&mut protocol);
    assert!(
        matches!(
            &news[..],
            [Notice::Completed { call: 2, result: Err(CallFailure::SessionLost(_)) }]
        ),
        "{news:?}"
    );
}

#[test]
fn a_server_that_says_that_the_session_has_expired_is_believed() {
    let mut protocol = connected(0);
    protocol.transport_down();
    protocol.transport_up(1);
    frames(&mut protocol, 1);
    protocol.receive(2, ServerFrame::Refused(Refusal::new(ErrorCode::SessionExpired, "gone")));
    let lost = Notice::Lost { reason: "session-expired: gone".into() };
    assert_eq!(notices(&mut protocol), [lost]);
}

#[test]
fn a_server_that_has_no_leader_for_a_third_of_the_timeout_is_left() {
    let mut protocol = connected(0);
    protocol.submit(0, submission(1, create("/a")));
    let mut now_ms = 0;
    let news = loop {
        if !sequences(&frames(&mut protocol, now_ms)).is_empty() {
            protocol.receive(now_ms, reply(1, refusal(ErrorCode::NoLeader)));
        }
        let news = notices(&mut protocol);
        if !news.is_empty() {
            break news;
        }
        now_ms = protocol.next_deadline_ms().unwrap();
        assert!(now_ms < 5_000, "still there after {now_ms} ms");
        protocol.tick(now_ms);
    };
    assert!(now_ms >= 3_000, "left after {now_ms} ms");
    assert!(matches!(news[..], [Notice::Disconnect(Disconnect::NoLeader { .. })]), "{news:?}");
}

#[test]
fn answers_above_a_parked_call_are_acknowledged_until_the_log_has_carried_them() {
    let mut protocol = connected(0);
    protocol.submit(0, submission(1, acquire()));
    frames(&mut protocol, 0);
    protocol.receive(1, reply(1, Ok(Reply::Parked(TicketId(1)))));
    let carried = |protocol: &mut Protocol, call| {
        protocol.submit(1, submission(call, create("/a")));
        let sent = frames(protocol, 1);
        protocol.receive(1, reply(call, Ok(Reply::Done)));
        match &sent[..] {
            [ClientFrame::Request { oldest_unreplied: 1, acknowledged, .. }] => {
                acknowledged.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(carried(&mut protocol, 2), Vec::<u64>::new());
    assert_eq!(carried(&mut protocol, 3), [2]);
    assert_eq!(carried(&mut protocol, 4), [3]);
}

#[test]
fn closing_ends_the_session_and_answers_whatever_waits() {
    let mut protocol = connected(0);
    protocol.submit(0, submission(1, acquire()));
    protocol.submit(0, submission(2, Operation::CloseSession));
    frames(&mut protocol, 0);
    protocol.receive(1, reply(1, Ok(Reply::Parked(TicketId(1)))));
    protocol.receive(2, reply(2, Ok(Reply::Done)));
    let waiting = Notice::Completed { call: 1, result: Err(CallFailure::Closed) };
    assert_eq!(notices(&mut protocol), [done(2, 2, Reply::Done), waiting, Notice::Closed]);
}

/// A server that applies each number once and keeps its answer, over a network that breaks at
/// random: every call is applied exactly once and answered exactly once.
#[test]
fn over_random_breaks_every_call_is_applied_once_and_answered_once() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut protocol = Protocol::new(Settings { session_timeout_ms: 1_000_000, seed });
        let mut applied: HashMap<u64, ZnodePath> = HashMap::new();
        let mut answered: HashMap<CallId, u64> = HashMap::new();
        let mut inbox: VecDeque<ClientFrame> = VecDeque::new();
        let mut outbox: VecDeque<ServerFrame> = VecDeque::new();
        let mut now_ms = 0;
        let mut up = false;
        let calls = 30;
        let mut submitted = 0;
        while answered.len() < calls as usize {
            now_ms += 1;
            assert!(now_ms < 100_000, "seed {seed}: {} of {calls} answered", answered.len());
            protocol.tick(now_ms);
            match random.between(0, 9) {
                0 if up => {
                    protocol.transport_down();
                    inbox.clear();
                    outbox.clear();
                    up = false;
                }
                0 | 1 if !up => {
                    protocol.transport_up(now_ms);
                    up = true;
                }
                2 if submitted < calls => {
                    submitted += 1;
                    let znode = format!("/c{submitted}");
                    let patient =
                        Submission { timeout_ms: None, ..submission(submitted, create(&znode)) };
                    protocol.submit(now_ms, patient);
                }
                3..=5 => inbox.extend(protocol.poll_frame(now_ms)),
                6 | 7 => {
                    let frame = inbox.pop_front();
                    outbox.extend(frame.and_then(|frame| serve(frame, &mut applied, &mut random)));
                }
                _ => {
                    if let Some(frame) = outbox.pop_front() {
                        protocol.receive(now_ms, frame);
                    }
                }
            }
            for notice in notices(&mut protocol) {
                if let Notice::Completed { call, result } = notice {
                    let zxid = result.unwrap().zxid.0;
                    assert_eq!(answered.insert(call, zxid), None, "seed {seed}: call {call}");
                }
            }
        }
        assert_eq!(applied.len(), calls as usize, "seed {seed}");
        for (call, sequence) in answered {
            let znode = &applied[&sequence];
            assert_eq!(znode.as_str(), format!("/c{call}"), "seed {seed}");
        }
    }
}

/// Answers one frame; sometimes refuses for a while, before or after applying.
fn serve(
    frame: ClientFrame,
    applied: &mut HashMap<u64, ZnodePath>,
    random: &mut Random,
) -> Option<ServerFrame> {
    let (sequence, operation) = match frame {
        ClientFrame::Connect { resume, .. } => return Some(granted(resume.is_some())),
        ClientFrame::Heartbeat => return Some(ServerFrame::Heartbeat { zxid: Zxid(0) }),
        ClientFrame::Status => return None,
        ClientFrame::Request { sequence, operation, .. } => (sequence, operation),
    };
    let fate = random.between(0, 5);
    if fate == 0 {
        return Some(reply(sequence, refusal(ErrorCode::NoLeader)));
    }
    let Operation::Create { path, .. } = operation else {
        panic!("only creates are asked for: {operation:?}");
    };
    let before = applied.insert(sequence, path.clone());
    assert!(before.is_none_or(|before| before == path), "number {sequence} names two requests");
    if fate == 1 {
        return Some(reply(sequence, refusal(ErrorCode::LeadershipLost)));
    }
    let outcome = Ok(Reply::Created(path, Stat::default()));
    Some(ServerFrame::Reply { sequence, zxid: Zxid(sequence), outcome })
}
