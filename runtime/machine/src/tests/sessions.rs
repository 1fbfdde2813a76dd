//! Sessions: exactly once, takeover, end; snapshots and images.

use super::harness::{Client, Harness, ORIGIN, PASSWORD, code, create, delete, path};
use crate::machine::Machine;
use crate::request::{Identity, Prepared, Request};
use bytes::Bytes;
use quorate_types::request::CreateMode;
use quorate_types::{ErrorCode, Incarnation, Operation, Reply, ServerId, SessionId, Zxid};

fn attach(client: &Client, password: [u8; 16], name: &str) -> Request {
    let identity = Identity::named(name);
    Request::AttachSession { origin: ORIGIN, session: client.session, password, identity }
}

#[test]
fn a_repeated_request_gets_the_kept_reply_and_is_not_done_twice() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    let operation = create("/q-", CreateMode::PersistentSequential);
    let first = harness.ask(&mut client, operation.clone());
    let again = harness.submit(client.repeat(operation.clone()));
    assert_eq!(again, Prepared::Answer(first.clone()));
    assert_eq!(harness.children("/"), ["q-0000000000", "zookeeper"]);
    let mut acknowledging = client.request(delete("/q-0000000000"));
    if let Request::Client { acknowledged, .. } = &mut acknowledging {
        acknowledged.push(1);
    }
    harness.perform(acknowledging);
    assert_eq!(harness.machine.tables.count::<crate::tables::KeptReplies>(), 1);
    let mut acknowledging = client.request(create("/z", CreateMode::Persistent));
    if let Request::Client { oldest_unreplied, .. } = &mut acknowledging {
        *oldest_unreplied = 3;
    }
    harness.perform(acknowledging);
    assert_eq!(harness.machine.tables.count::<crate::tables::KeptReplies>(), 1);
}

#[test]
fn a_repeat_is_recognised_before_the_first_is_applied() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    let operation = create("/a", CreateMode::Persistent);
    let Prepared::Transaction(first) = harness.submit(client.request(operation.clone())) else {
        unreachable!("a create is a transaction");
    };
    assert_eq!(harness.outstanding.tip(), Some(Zxid(2)));
    let again = harness.submit(client.repeat(operation));
    assert_eq!(Prepared::Answer(first.reply.unwrap()), again);
    harness.apply_one();
    assert_eq!(harness.outstanding.tip(), None);
}

#[test]
fn an_attach_moves_the_session_and_outdates_its_old_connection() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    for (password, name) in [([8; 16], "a"), (PASSWORD, "b")] {
        let (prepared, _) = harness.perform(attach(&client, password, name));
        let Prepared::Answer(refused) = prepared else { unreachable!("{prepared:?}") };
        assert_eq!(code(&refused), Some(ErrorCode::SessionRefused));
    }
    let (_, applied) = harness.perform(attach(&client, PASSWORD, "a"));
    let grant = applied.connections[0].outcome.clone().unwrap();
    assert_eq!((grant.session, grant.epoch), (client.session, Zxid(2)));
    assert_eq!(applied.sessions_attached, [(client.session, ORIGIN)]);
    let moved = harness.ask(&mut client, create("/a", CreateMode::Persistent));
    assert_eq!(code(&moved), Some(ErrorCode::SessionMoved));
    client.epoch = grant.epoch;
    harness.ask(&mut client, create("/a", CreateMode::Persistent)).unwrap();
    let stranger = Client { session: SessionId(99), ..client };
    let (prepared, _) = harness.perform(attach(&stranger, PASSWORD, "a"));
    let Prepared::Answer(refused) = prepared else { unreachable!("{prepared:?}") };
    assert_eq!(code(&refused), Some(ErrorCode::SessionExpired));
}

#[test]
fn the_end_of_a_session_takes_its_ephemerals_in_one_transaction() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    let mut other = harness.open("b");
    for name in ["/e2", "/e1"] {
        harness.ask(&mut client, create(name, CreateMode::Ephemeral)).unwrap();
    }
    harness.ask(&mut other, create("/mine", CreateMode::Ephemeral)).unwrap();
    let (_, applied) = harness.perform(Request::ExpireSession { session: client.session });
    let gone: alloc::vec::Vec<_> = applied.events.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(gone, ["/e1", "/e2"]);
    assert_eq!(applied.sessions_closed, [client.session]);
    assert_eq!(harness.children("/"), ["mine", "zookeeper"]);
    let late = harness.ask(&mut client, create("/x", CreateMode::Persistent));
    assert_eq!(code(&late), Some(ErrorCode::SessionExpired));
    let again = harness.submit(Request::ExpireSession { session: client.session });
    assert_eq!(again, Prepared::Nothing);
    assert_eq!(harness.close(&mut other).replies.len(), 1);
    assert_eq!(harness.machine.tables.count::<crate::tables::KeptReplies>(), 0);
    assert_eq!(harness.machine.session_count(), 0);
}

#[test]
fn an_ephemeral_cannot_come_after_its_session_ended_outstanding() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.submit(client.request(create("/e", CreateMode::Ephemeral)));
    harness.submit(client.request(Operation::CloseSession));
    let late = harness.submit(client.request(create("/f", CreateMode::Ephemeral)));
    let Prepared::Answer(refused) = late else { unreachable!("{late:?}") };
    assert_eq!(code(&refused), Some(ErrorCode::SessionExpired));
    harness.apply_one();
    harness.apply_one();
    assert_eq!(harness.children("/"), ["zookeeper"]);
}

#[test]
fn a_timeout_is_clamped_and_sessions_are_limited() {
    let mut harness = Harness::new();
    let open = |timeout_ms| Request::OpenSession {
        origin: ORIGIN,
        password: PASSWORD,
        timeout_ms,
        identity: Identity::named("a"),
    };
    let (_, applied) = harness.perform(open(1));
    assert_eq!(applied.connections[0].outcome.as_ref().unwrap().timeout_ms, 100);
    for _ in 1..1_000 {
        harness.perform(open(u32::MAX));
    }
    let prepared = harness.submit(open(1));
    let Prepared::Answer(refused) = prepared else { unreachable!("{prepared:?}") };
    assert_eq!(code(&refused), Some(ErrorCode::Overloaded));
    assert_eq!(harness.machine.sessions().len(), 1_000);
}

#[test]
fn a_snapshot_does_not_change_and_an_image_reads_back() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, create("/a", CreateMode::Ttl(1_000))).unwrap();
    let (server, incarnation) = (ServerId(2), Incarnation(9));
    harness.perform(Request::RecordMember { server, incarnation });
    let again = harness.submit(Request::RecordMember { server, incarnation });
    assert_eq!(again, Prepared::Nothing);
    let snapshot = harness.machine.clone();
    let image = snapshot.encode_image();
    harness.ask(&mut client, delete("/a")).unwrap();
    assert_eq!(snapshot.encode_image(), image);
    let read = Machine::decode_image(&image).unwrap();
    assert_eq!(read.digest(), snapshot.digest());
    assert!(read.tables.has_same_items(&snapshot.tables));
    assert_eq!(read.member(server).unwrap().incarnation, Some(incarnation));
    assert_eq!(read.next_deadline_ms(), Some(2_000));
    for length in 0..image.len() {
        assert!(Machine::decode_image(&image[..length]).is_err(), "{length}");
    }
    for at in 25..image.len() {
        let mut flipped = image.clone();
        flipped[at] ^= 1;
        assert!(Machine::decode_image(&flipped).is_err(), "{at}");
    }
}

#[test]
fn data_does_not_keep_the_frame_it_came_in() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    let frame = Bytes::from(alloc::vec![b'x'; 400]);
    let (mode, acl) = (CreateMode::Persistent, None);
    let data = frame.slice(10..12).into();
    let operation = Operation::Create { path: path("/a"), data, mode, acl };
    let Prepared::Transaction(made) = harness.submit(client.request(operation.clone())) else {
        unreachable!("a create is a transaction");
    };
    drop(operation);
    assert!(frame.is_unique(), "{made:?}");
}

#[test]
fn a_close_answers_its_caller() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    let applied = harness.close(&mut client);
    assert_eq!(applied.replies[0].outcome, Ok(Reply::Done));
}
