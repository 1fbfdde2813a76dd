//! Conversations, frame by frame, with the codec's other side as the client.

use super::*;
use alloc::string::ToString;
use alloc::vec;
use quorate_types::request::{
    CreateMode, MembersWanted, MultiOperation, RestoredKind, WatchEvent, WatchEventKind,
};
use quorate_types::{Operation, Stat, ZnodePath};
use quorate_wire::zookeeper::{
    self as wire, Create, EventKind, Frames, Multi, MultiResult, Opcode, PathVersion, Read,
    Received, ServerMessage, SetData, SetWatches, decode_connect_response, decode_reply,
    encode_connect_request, encode_request,
};

const EPOCH: Zxid = Zxid(7);
/// The session was opened by transaction 5 and attached by 7.
const FIRST_WRITE: u64 = (2 << WRITE_BITS) + 1;

/// Frames without their lengths.
fn frames(bytes: &[u8]) -> Vec<Bytes> {
    let mut buffer = Frames::after_handshake();
    buffer.received().extend_from_slice(bytes);
    let mut cut = Vec::new();
    while let Some(Received::Frame(frame)) = buffer.next(1 << 20).unwrap() {
        cut.push(frame);
    }
    assert!(buffer.received().is_empty(), "a part of a frame was written");
    cut
}

fn hello(session: i64, seen: i64, read_only: Option<bool>) -> Bytes {
    let mut out = Vec::new();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: seen,
        timeout_ms: 4_000,
        session_id: session,
        password: Secret(Some(Bytes::from_static(&[3; 16]))),
        read_only,
    };
    encode_connect_request(&mut out, &request);
    frames(&out).remove(0)
}

fn request(xid: i32, request: &Request<'_>) -> Bytes {
    let mut out = Vec::new();
    encode_request(&mut out, xid, request);
    frames(&out).remove(0)
}

fn connected() -> ServerFrame {
    connected_as(5, EPOCH, false)
}

fn connected_as(session: u64, zxid: Zxid, read_only: bool) -> ServerFrame {
    ServerFrame::Connected {
        session: SessionId(session),
        password: [9; 16],
        timeout_ms: 6_000,
        server: quorate_types::ServerId(1),
        resumed: false,
        zxid,
        read_only,
    }
}

/// A conversation whose session is attached.
fn attached() -> Conversation {
    let mut conversation = Conversation::new(vec![Proved::address("10.0.0.9")], true);
    let mut out = Vec::new();
    let step = conversation.on_frame(&hello(0, 0, Some(true)), &mut out).unwrap();
    assert!(matches!(step, Some(Step::Frame(ClientFrame::Connect { resume: None, .. }))));
    conversation.on_server(connected(), &mut out).unwrap();
    let response = decode_connect_response(&frames(&out)[0]).unwrap();
    assert_eq!((response.session_id, response.timeout_ms), (5, 6_000));
    assert_eq!(response.read_only, Some(false));
    conversation
}

fn proved(scheme: &str, name: &str) -> Proved {
    Proved { scheme: scheme.to_string(), id: name.to_string(), name: name.to_string() }
}

/// What is asked of the replica: number, oldest number without a reply, operation.
fn ask(conversation: &mut Conversation, frame: &Bytes) -> (u64, u64, Operation) {
    let mut out = Vec::new();
    let step = conversation.on_frame(frame, &mut out).unwrap();
    assert_eq!(out, [], "nothing is answered yet");
    match step {
        Some(Step::Frame(ClientFrame::Request {
            sequence, oldest_unreplied, operation, ..
        })) => (sequence, oldest_unreplied, operation),
        other => panic!("{other:?} is no request"),
    }
}

fn answer(
    conversation: &mut Conversation,
    sequence: u64,
    zxid: u64,
    outcome: Outcome,
) -> (Vec<u8>, Result<(), End>) {
    let mut out = Vec::new();
    let reply = ServerFrame::Reply { sequence, zxid: Zxid(zxid), outcome };
    let over = conversation.on_server(reply, &mut out);
    (out, over)
}

/// Xid, zxid and error of each reply.
fn headers(out: &[u8], opcode: Opcode) -> Vec<(i32, i64, ZooKeeperError)> {
    let header = |frame: &Bytes| match decode_reply(frame, |_| Some(opcode)).unwrap() {
        ServerMessage::Notification { header, .. }
        | ServerMessage::Refused(header)
        | ServerMessage::Reply { header, .. } => (header.xid, header.zxid, header.error),
    };
    frames(out).iter().map(header).collect()
}

fn create(path: &str, mode: i32) -> Create<'_> {
    Create { path, data: None, acl: vec![], mode }
}

fn write(path: &str) -> Request<'_> {
    Request::SetData(SetData { path, data: Some(Bytes::from_static(b"x")), version: -1 })
}

fn refused(code: ErrorCode) -> Outcome {
    Err(Refusal::new(code, ""))
}

#[test]
fn writes_of_two_connections_have_numbers_of_their_own_however_high_zxids_are() {
    let opened = 30_000 << 32;
    let first_write = |zxid| {
        let mut conversation = Conversation::new(Vec::new(), false);
        let mut out = Vec::new();
        conversation.on_frame(&hello(0, 0, Some(true)), &mut out).unwrap();
        conversation.on_server(connected_as(opened, Zxid(zxid), false), &mut out).unwrap();
        ask(&mut conversation, &request(1, &write("/a"))).0
    };
    let (first, second) = (first_write(opened), first_write(opened + 1));
    assert_eq!(second - first, 1 << WRITE_BITS);
    assert!(second < FIRST_READ, "a write counts as a read");
}

#[test]
fn replies_leave_in_the_order_of_requests_whoever_answers() {
    let mut conversation = attached();
    let (first, oldest, _) = ask(&mut conversation, &request(1, &write("/a")));
    assert_eq!((first, oldest), (FIRST_WRITE, FIRST_WRITE));
    // Answered here, but not before its turn.
    let mut out = Vec::new();
    conversation.on_frame(&request(2, &write("no-path")), &mut out).unwrap();
    assert_eq!((out.len(), conversation.pending()), (0, 2));
    let read = Request::Exists(Read { path: "/a", watch: false });
    let (third, oldest, _) = ask(&mut conversation, &request(3, &read));
    assert_eq!((third, oldest), (FIRST_READ, FIRST_WRITE));
    let (out, over) = answer(&mut conversation, third, 8, Ok(Reply::Exists(None)));
    assert_eq!((out.len(), over), (0, Ok(())));
    let (out, _) = answer(&mut conversation, first, 8, Ok(Reply::Stat(Stat::default())));
    assert_eq!(
        headers(&out, Opcode::SetData),
        [
            (1, 8, ZooKeeperError::Ok),
            (2, 8, ZooKeeperError::BadArguments),
            (3, 8, ZooKeeperError::NoNode)
        ]
    );
    let (_, oldest, _) = ask(&mut conversation, &request(4, &write("/b")));
    assert_eq!(oldest, FIRST_WRITE + 1);
}

#[test]
fn frames_wait_for_the_answer_to_the_handshake_and_while_many_are_under_way() {
    let mut conversation = Conversation::new(vec![Proved::address("::1")], false);
    let mut out = Vec::new();
    assert!(conversation.takes_frames(2, 1_000));
    conversation.on_frame(&hello(0, 0, None), &mut out).unwrap();
    assert!(!conversation.takes_frames(2, 1_000));
    conversation.on_server(connected(), &mut out).unwrap();
    assert_eq!(decode_connect_response(&frames(&out)[0]).unwrap().read_only, None);
    let frame = request(1, &write("/a"));
    let (first, ..) = ask(&mut conversation, &frame);
    assert!(conversation.takes_frames(2, 1_000) && !conversation.takes_frames(2, frame.len()));
    ask(&mut conversation, &frame);
    assert!(!conversation.takes_frames(2, 1_000));
    answer(&mut conversation, first, 8, Ok(Reply::Stat(Stat::default()))).1.unwrap();
    assert!(conversation.takes_frames(2, 1_000));
}

#[test]
fn nothing_overtakes_a_sync() {
    let mut conversation = attached();
    ask(&mut conversation, &request(1, &write("/a")));
    assert!(conversation.takes_frames(9, 1_000));
    let (sync, ..) = ask(&mut conversation, &request(2, &Request::Sync("/a")));
    assert!(!conversation.takes_frames(9, 1_000), "a write could be done before it");
    answer(&mut conversation, sync, 8, Ok(Reply::Done)).1.unwrap();
    assert!(!conversation.takes_frames(9, 1_000), "it waits for its turn");
    answer(&mut conversation, FIRST_WRITE, 9, Ok(Reply::Stat(Stat::default()))).1.unwrap();
    assert!(conversation.takes_frames(9, 1_000));
}

#[test]
fn a_session_that_is_gone_is_said_to_be_gone_and_other_trouble_closes_without_a_word() {
    for (code, is_told) in [
        (ErrorCode::SessionExpired, true),
        (ErrorCode::SessionRefused, true),
        (ErrorCode::NoLeader, false),
        (ErrorCode::Overloaded, false),
    ] {
        let mut conversation = Conversation::new(vec![Proved::address("::1")], false);
        let mut out = Vec::new();
        let step = conversation.on_frame(&hello(77, 3, Some(false)), &mut out).unwrap();
        let Some(Step::Frame(ClientFrame::Connect { resume: Some(resume), .. })) = step else {
            panic!("{step:?} resumes nothing")
        };
        assert_eq!((resume.session, resume.password), (SessionId(77), [3; 16]));
        let over = conversation.on_server(ServerFrame::Refused(Refusal::new(code, "")), &mut out);
        assert!(matches!(over, Err(End::NoSession(_))), "{code}");
        let told = frames(&out);
        assert_eq!(!told.is_empty(), is_told, "{code}");
        if let Some(frame) = told.first() {
            let response = decode_connect_response(frame).unwrap();
            assert_eq!((response.session_id, response.timeout_ms), (0, 0));
        }
    }
}

#[test]
fn a_client_that_has_seen_more_than_there_is_gets_no_answer() {
    let mut conversation = Conversation::new(vec![Proved::address("::1")], false);
    let mut out = Vec::new();
    conversation.on_frame(&hello(0, 8, Some(false)), &mut out).unwrap();
    let over = conversation.on_server(connected(), &mut out);
    assert_eq!(over, Err(End::FromElsewhere { seen: Zxid(8), newest: EPOCH }));
    assert_eq!(out, []);
}

#[test]
fn what_is_not_for_clients_is_refused_and_ends_the_conversation() {
    let check = Request::Check(PathVersion { path: "/a", version: 0 });
    let container = Request::DeleteContainer(Some(Bytes::from_static(b"/a")));
    for improper in [check, container, Request::CreateSession, Request::Unknown(4_711)] {
        let mut conversation = attached();
        let mut out = Vec::new();
        let over = conversation.on_frame(&request(1, &improper), &mut out);
        assert_eq!(over, Err(End::Improper), "{improper:?}");
        assert_eq!(headers(&out, Opcode::Check), [(1, 7, ZooKeeperError::Unimplemented)]);
        assert!(conversation.on_frame(&request(2, &write("/a")), &mut out).is_err());
    }
    // No header at all.
    let mut out = Vec::new();
    let over = attached().on_frame(&Bytes::from_static(b"\0\0\0\x01\0"), &mut out);
    assert!(matches!(over, Err(End::Undecodable(_))), "{over:?}");
}

#[test]
fn a_request_that_cannot_be_read_is_told_so_and_others_go_on() {
    let mut conversation = attached();
    let mut out = Vec::new();
    let unreadable = Bytes::from_static(b"\0\0\0\x01\0\0\0\x01\0");
    assert_eq!(conversation.on_frame(&unreadable, &mut out), Ok(None));
    assert_eq!(headers(&out, Opcode::Create), [(1, 7, ZooKeeperError::MarshallingError)]);
    ask(&mut conversation, &request(2, &write("/a")));
}

#[test]
fn a_failed_multi_tells_which_of_its_items_failed() {
    let items = || {
        vec![
            wire::MultiOperation::Check(PathVersion { path: "/a", version: 1 }),
            wire::MultiOperation::Create(create("no-path", 0)),
            wire::MultiOperation::Delete(PathVersion { path: "/b", version: -1 }),
        ]
    };
    // The item that is wrong in itself fails in its turn, or one before it does.
    let told = |failed: u32, code| {
        let mut conversation = attached();
        let frame = request(1, &Request::Multi(Multi(items())));
        let (sequence, _, operation) = ask(&mut conversation, &frame);
        let Operation::Multi { operations } = operation else { panic!("{operation:?}") };
        let fails =
            MultiOperation::Check { path: ZnodePath::root(), expected_version: Some(i32::MIN) };
        assert_eq!((operations.len(), &operations[1]), (2, &fails));
        let mut refusal = Refusal::new(code, "");
        refusal.failed_operation = Some(failed);
        let (out, _) = answer(&mut conversation, sequence, 9, Err(refusal));
        let frame = frames(&out).remove(0);
        match decode_reply(&frame, |_| Some(Opcode::Multi)).unwrap() {
            ServerMessage::Reply { reply: wire::Reply::Multi(Multi(results)), .. } => {
                let error = |result: &MultiResult<'_>| match result {
                    MultiResult::Error(error) => *error,
                    other => panic!("{other:?} was done"),
                };
                results.iter().map(error).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    use ZooKeeperError::{BadArguments, BadVersion, Ok, RuntimeInconsistency};
    assert_eq!(told(1, ErrorCode::BadVersion), [Ok, BadArguments, RuntimeInconsistency]);
    let early = [BadVersion, RuntimeInconsistency, RuntimeInconsistency];
    assert_eq!(told(0, ErrorCode::BadVersion), early);
}

#[test]
fn a_sequential_znode_may_have_a_number_for_its_name() {
    let mut conversation = attached();
    for (path, mode, made) in [
        ("/q/", 2, ("/q", CreateMode::PersistentNumber)),
        ("/", 3, ("/", CreateMode::EphemeralNumber)),
        ("/q/n-", 2, ("/q/n-", CreateMode::PersistentSequential)),
    ] {
        let (_, _, operation) =
            ask(&mut conversation, &request(1, &Request::Create2(create(path, mode))));
        let Operation::Create { path, mode, .. } = operation else { panic!("{operation:?}") };
        assert_eq!((path.as_str(), mode), made);
    }
}

#[test]
fn null_data_goes_to_the_replica_and_comes_back_as_null() {
    let mut conversation = attached();
    let set = |data| SetData { path: "/a", data, version: -1 };
    for data in [None, Some(Bytes::new()), Some(Bytes::from_static(b"x"))] {
        let frame = request(1, &Request::SetData(set(data.clone())));
        let (_, _, operation) = ask(&mut conversation, &frame);
        let Operation::SetData { data: told, .. } = operation else { panic!("{operation:?}") };
        assert_eq!(told.into_option(), data);
        let made = Create { data: data.clone(), ..create("/a", 0) };
        let items = [
            wire::MultiOperation::SetData(set(data.clone())),
            wire::MultiOperation::Create(made.clone()),
        ];
        let (_, _, operation) =
            ask(&mut conversation, &request(2, &Request::Multi(Multi(items.into()))));
        let Operation::Multi { operations } = operation else { panic!("{operation:?}") };
        for operation in operations {
            let (MultiOperation::SetData { data: told, .. }
            | MultiOperation::Create { data: told, .. }) = operation
            else {
                panic!("{operation:?}")
            };
            assert_eq!(told.into_option(), data);
        }
        let (_, _, operation) = ask(&mut conversation, &request(3, &Request::Create(made)));
        let Operation::Create { data: told, .. } = operation else { panic!("{operation:?}") };
        assert_eq!(told.into_option(), data);
    }
    for data in [None, Some(Bytes::new())] {
        let mut conversation = attached();
        let get = Request::GetData(Read { path: "/a", watch: false });
        let (sequence, ..) = ask(&mut conversation, &request(1, &get));
        let reply = Reply::Data(data.clone().into(), Stat::default());
        let (out, _) = answer(&mut conversation, sequence, 9, Ok(reply));
        match decode_reply(&frames(&out)[0], |_| Some(Opcode::GetData)).unwrap() {
            ServerMessage::Reply { reply: wire::Reply::DataStat(told), .. } => {
                assert_eq!(told.data, data);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_reconfiguration_is_asked_for_if_that_is_allowed_and_answered_with_the_configuration() {
    let line = Some("server.4=db4:1:2:observer;2181");
    let asked = || {
        let (joining, leaving, new_members) = (line, None, None);
        request(
            1,
            &Request::Reconfig(wire::Reconfig { joining, leaving, new_members, config_id: 9 }),
        )
    };
    let mut conversation = attached();
    let (sequence, _, operation) = ask(&mut conversation, &asked());
    let Operation::Reconfigure { wanted, expected_version: Some(9) } = operation else {
        panic!("{operation:?}")
    };
    assert!(matches!(wanted, MembersWanted::Changed { joining, .. } if joining.len() == 1));
    let config = Reply::Data("version=a".into(), Stat::default());
    let (out, _) = answer(&mut conversation, sequence, 10, Ok(config));
    match decode_reply(&frames(&out)[0], |_| Some(Opcode::Reconfig)).unwrap() {
        ServerMessage::Reply { reply: wire::Reply::DataStat(told), .. } => {
            assert_eq!(told.data.as_deref(), Some(&b"version=a"[..]));
        }
        other => panic!("{other:?}"),
    }
    for (code, error) in [
        (ErrorCode::MembershipRefused, ZooKeeperError::ReconfigInProgress),
        (ErrorCode::MembersNotReady, ZooKeeperError::NewConfigNoQuorum),
        (ErrorCode::NotAllowed, ZooKeeperError::NoAuth),
    ] {
        let (sequence, ..) = ask(&mut conversation, &asked());
        let (out, _) = answer(&mut conversation, sequence, 10, refused(code));
        assert_eq!(headers(&out, Opcode::Reconfig), [(1, 10, error)]);
    }
    let mut conversation = Conversation { reconfigures: false, ..attached() };
    let mut out = Vec::new();
    assert_eq!(conversation.on_frame(&asked(), &mut out), Ok(None));
    assert_eq!(headers(&out, Opcode::Reconfig), [(1, 7, ZooKeeperError::ReconfigDisabled)]);
}

#[test]
fn restored_watches_are_told_what_they_missed_before_the_reply() {
    let mut conversation = attached();
    let lost = SetWatches {
        relative_zxid: 4,
        data: vec!["/a", "no-path"],
        exist: vec!["/b"],
        child: vec![],
    };
    let frame = request(xid::SET_WATCHES, &Request::SetWatches(lost));
    let (sequence, _, operation) = ask(&mut conversation, &frame);
    let Operation::RestoreWatches { watches, since } = operation else { panic!("{operation:?}") };
    let kinds: Vec<_> = watches.iter().map(|watch| (watch.path.as_str(), watch.kind)).collect();
    assert_eq!(kinds, [("/a", RestoredKind::Data), ("/b", RestoredKind::Absence)]);
    assert_eq!(since, Zxid(4));
    let (kind, path) = (WatchEventKind::Created, ZnodePath::parse("/b").unwrap());
    let missed = WatchEvent { kind, path, zxid: Zxid(9), place: 0, data: None };
    let told = Reply::Watching { replayed: vec![missed], gap: false };
    let (out, _) = answer(&mut conversation, sequence, 9, Ok(told));
    let told = frames(&out);
    match decode_reply(&told[0], |_| None).unwrap() {
        ServerMessage::Notification { header, event } => {
            assert_eq!((header.zxid, event.kind, event.path), (9, EventKind::Created, "/b"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(headers(&out, Opcode::SetWatches)[1].0, xid::SET_WATCHES);
}

#[test]
fn signs_of_life_and_proofs_are_answered_at_once() {
    let mut conversation = attached();
    ask(&mut conversation, &request(1, &write("/a")));
    let mut out = Vec::new();
    let step = conversation.on_frame(&request(xid::PING, &Request::Ping), &mut out).unwrap();
    assert_eq!(step, Some(Step::Frame(ClientFrame::Heartbeat)));
    conversation.on_server(ServerFrame::Heartbeat { zxid: Zxid(8) }, &mut out).unwrap();
    assert_eq!(headers(&out, Opcode::Ping), [(xid::PING, 8, ZooKeeperError::Ok)]);
    let proof = || {
        let auth = Secret(Some(Bytes::from_static(b"ann:secret")));
        request(xid::AUTH, &Request::Auth(wire::Auth { kind: 0, scheme: "digest", auth }))
    };
    out.clear();
    let step = conversation.on_frame(&proof(), &mut out).unwrap();
    assert!(matches!(step, Some(Step::Prove { scheme, .. }) if scheme == "digest"));
    conversation.proved(&[proved("digest", "ann")], &mut out);
    assert_eq!(headers(&out, Opcode::Auth), [(xid::AUTH, 0, ZooKeeperError::Ok)]);
    out.clear();
    conversation.on_frame(&proof(), &mut out).unwrap();
    assert_eq!(conversation.unproved(&mut out), End::Unproved);
    assert_eq!(headers(&out, Opcode::Auth), [(xid::AUTH, 0, ZooKeeperError::AuthFailed)]);
}

#[test]
fn a_step_of_sasl_is_answered_under_its_own_number() {
    let mut conversation = attached();
    let mut out = Vec::new();
    let token = Secret(Some(Bytes::from_static(b"token")));
    let step = conversation.on_frame(&request(1, &Request::Sasl(token)), &mut out).unwrap();
    assert_eq!(step, Some(Step::Sasl { xid: 1, token: Bytes::from_static(b"token") }));
    let user = proved("sasl", "ann");
    conversation.challenge(1, Bytes::from_static(b"proof"), core::slice::from_ref(&user), &mut out);
    assert_eq!(headers(&out, Opcode::Sasl), [(1, 0, ZooKeeperError::Ok)]);
    out.clear();
    conversation.on_frame(&request(2, &Request::WhoAmI), &mut out).unwrap();
    match decode_reply(&frames(&out)[0], |_| Some(Opcode::WhoAmI)).unwrap() {
        ServerMessage::Reply { reply: wire::Reply::WhoAmI(proved), .. } => {
            let proved: Vec<_> = proved.iter().map(|info| (info.scheme, info.user)).collect();
            assert_eq!(proved, [("ip", "10.0.0.9"), ("sasl", "ann")]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_step_of_sasl_is_refused_with_an_empty_token() {
    let mut conversation = attached();
    let mut out = Vec::new();
    let token = Secret(Some(Bytes::from_static(b"token")));
    conversation.on_frame(&request(7, &Request::Sasl(token)), &mut out).unwrap();
    assert_eq!(conversation.unproved_by_sasl(7, &mut out), End::Unproved);
    assert_eq!(headers(&out, Opcode::Sasl), [(7, 0, ZooKeeperError::AuthFailed)]);
    // ZooKeeper's Java client reads a token in any case; without one it would connect for ever.
    assert_eq!(frames(&out)[0][16..], (-1i32).to_be_bytes());
}

#[test]
fn a_closed_session_is_answered_and_then_over() {
    let mut conversation = attached();
    let (sequence, _, operation) = ask(&mut conversation, &request(1, &Request::CloseSession));
    assert_eq!(operation, Operation::CloseSession);
    let (out, over) = answer(&mut conversation, sequence, 9, Ok(Reply::Done));
    assert_eq!(headers(&out, Opcode::CloseSession), [(1, 9, ZooKeeperError::Ok)]);
    assert_eq!(over, Err(End::Closed));
}

#[test]
fn a_write_that_may_have_been_done_ends_the_conversation() {
    let mut conversation = attached();
    let (sequence, ..) = ask(&mut conversation, &request(1, &write("/a")));
    let (out, over) = answer(&mut conversation, sequence, 9, refused(ErrorCode::LeadershipLost));
    assert!(matches!(over, Err(End::NoSession(_))), "{over:?}");
    assert_eq!(out, []);
}

#[test]
fn a_server_that_only_reads_says_so_and_refuses_what_would_write() {
    let mut conversation = Conversation::new(Vec::new(), false);
    let mut out = Vec::new();
    let step = conversation.on_frame(&hello(0, 0, Some(true)), &mut out).unwrap();
    assert!(matches!(step, Some(Step::Frame(ClientFrame::Connect { read_only: true, .. }))));
    conversation.on_server(connected_as(5, EPOCH, true), &mut out).unwrap();
    assert_eq!(decode_connect_response(&frames(&out)[0]).unwrap().read_only, Some(true));
    let path = "no-path";
    for request_of_writer in [
        Request::Create(create(path, 0)),
        Request::Delete(PathVersion { path, version: 0 }),
        Request::Check(PathVersion { path: "/a", version: 0 }),
        Request::DeleteContainer(None),
        Request::Multi(Multi(vec![])),
        Request::Sync("/a"),
        write("/a"),
    ] {
        out.clear();
        let step = conversation.on_frame(&request(1, &request_of_writer), &mut out);
        assert_eq!(step, Ok(None), "{request_of_writer:?}");
        assert_eq!(headers(&out, Opcode::Check), [(1, 7, ZooKeeperError::NotReadOnly)]);
    }
    let read = Request::Exists(Read { path: "/a", watch: true });
    assert_eq!(ask(&mut conversation, &request(2, &read)).0, FIRST_READ);
    ask(&mut conversation, &request(3, &Request::CloseSession));
}

#[test]
fn a_client_that_never_asked_for_it_is_not_told_of_reading_only() {
    let mut conversation = Conversation::new(Vec::new(), false);
    let mut out = Vec::new();
    let step = conversation.on_frame(&hello(0, 0, None), &mut out).unwrap();
    assert!(matches!(step, Some(Step::Frame(ClientFrame::Connect { read_only: false, .. }))));
    conversation.on_server(connected(), &mut out).unwrap();
    assert_eq!(decode_connect_response(&frames(&out)[0]).unwrap().read_only, None);
}
