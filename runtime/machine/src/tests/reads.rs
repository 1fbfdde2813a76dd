//! Reads that ZooKeeper clients ask for: several at once, counts, own ephemerals, what a lost watch
//! has missed.

use super::harness::{Harness, code, create, delete, path, set};
use crate::machine::Machine;
use crate::request::Identity;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_types::limits::Limits;
use quorate_types::request::{
    CreateMode, MultiOperation, ReadOperation, ReadReply, RestoredKind, RestoredWatch,
    WatchEventKind,
};
use quorate_types::{ErrorCode, Operation, Reply, ZnodeData, Zxid};

fn read(harness: &Harness, operation: &Operation) -> quorate_types::Outcome {
    harness.machine.read(&Identity::named("a"), operation)
}

fn get(text: &str) -> ReadOperation {
    ReadOperation::Get { path: path(text) }
}

#[test]
fn several_reads_are_of_one_state_and_fail_one_by_one() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, create("/a", CreateMode::Persistent)).unwrap();
    let children = ReadOperation::Children { path: path("/zookeeper") };
    let operations = [get("/a"), get("/none"), children].into();
    let Ok(Reply::MultiRead(replies)) = read(&harness, &Operation::MultiRead { operations }) else {
        panic!("they are answered")
    };
    assert!(matches!(&replies[0], ReadReply::Data(_, stat) if stat.version == 0));
    assert!(
        matches!(&replies[1], ReadReply::Refused(refused) if refused.code == ErrorCode::NoNode)
    );
    assert_eq!(replies[2], ReadReply::Children(["config".into(), "quota".into()].into()));
}

#[test]
fn null_data_is_kept_apart_from_empty_data_on_every_server_and_in_images() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    let data_of = |machine: &Machine, text| {
        let get = Operation::Get { path: path(text), watch: false };
        match machine.read(&Identity::named("a"), &get) {
            Ok(Reply::Data(data, stat)) => (data, stat.data_length),
            other => panic!("{other:?}"),
        }
    };
    let (mode, acl, expected_version) = (CreateMode::Persistent, None, None);
    let null = || ZnodeData::NULL;
    let make = Operation::Create { path: path("/null"), data: null(), mode, acl };
    harness.ask(&mut client, make).unwrap();
    for text in ["/set", "/multi", "/empty"] {
        harness.ask(&mut client, create(text, mode)).unwrap();
    }
    let set = Operation::SetData { path: path("/set"), data: null(), expected_version };
    harness.ask(&mut client, set).unwrap();
    let set = MultiOperation::SetData { path: path("/multi"), data: null(), expected_version };
    harness.ask(&mut client, Operation::Multi { operations: [set].into() }).unwrap();
    let before = harness.machine.digest();
    let image = Machine::decode_image(&harness.machine.encode_image()).unwrap();
    for machine in [&harness.machine, &harness.follower, &image] {
        for text in ["/null", "/set", "/multi"] {
            assert_eq!(data_of(machine, text), (ZnodeData::NULL, 0), "{text}");
        }
        assert_eq!(machine.digest(), before);
    }
    let operations = [get("/null"), get("/empty")].into();
    let several = read(&harness, &Operation::MultiRead { operations });
    let Ok(Reply::MultiRead(replies)) = several else { panic!("{several:?}") };
    assert!(matches!(&replies[0], ReadReply::Data(data, _) if data.is_null()));
    assert!(matches!(&replies[1], ReadReply::Data(data, _) if !data.is_null()));
}

#[test]
fn the_digest_tells_null_data_from_empty_data() {
    let digest = |data: ZnodeData| {
        let mut harness = Harness::new();
        let mut client = harness.open("a");
        let make =
            Operation::Create { path: path("/a"), data, mode: CreateMode::Persistent, acl: None };
        harness.ask(&mut client, make).unwrap();
        harness.machine.digest()
    };
    assert_eq!(digest(ZnodeData::EMPTY), digest("".into()));
    assert_ne!(digest(ZnodeData::EMPTY), digest(ZnodeData::NULL));
}

#[test]
fn several_reads_tell_no_more_than_fits_a_frame() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, create("/a", CreateMode::Persistent)).unwrap();
    let data = &[7; Limits::TESTED.znode_data_bytes_max as usize];
    harness.ask(&mut client, set("/a", data, None)).unwrap();
    let fitting = (Limits::TESTED.client_frame_bytes_max / 512) as usize;
    let ask = |count| Operation::MultiRead { operations: (0..count).map(|_| get("/a")).collect() };
    assert!(read(&harness, &ask(fitting)).is_ok());
    assert_eq!(code(&read(&harness, &ask(fitting + 1))), Some(ErrorCode::QuotaExceeded));
}

#[test]
fn znodes_below_are_counted_at_any_depth_and_not_for_ever() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    let count =
        |harness: &Harness, text| read(harness, &Operation::CountBelow { path: path(text) });
    for name in ["/a", "/a/b", "/a/b/c", "/a/b/d", "/ab"] {
        harness.ask(&mut client, create(name, CreateMode::Persistent)).unwrap();
    }
    assert_eq!(count(&harness, "/a"), Ok(Reply::Count(4 - 1)));
    assert_eq!(count(&harness, "/ab"), Ok(Reply::Count(0)));
    assert_eq!(count(&harness, "/"), Ok(Reply::Count(5 + 3)));
    assert_eq!(code(&count(&harness, "/none")), Some(ErrorCode::NoNode));
    for _ in 0..=Limits::TESTED.children_reply_max {
        let made = create("/ab/n-", CreateMode::PersistentSequential);
        harness.ask(&mut client, made).unwrap();
    }
    assert_eq!(code(&count(&harness, "/ab")), Some(ErrorCode::Overloaded));
}

#[test]
fn a_session_sees_its_own_ephemerals_by_prefix() {
    let mut harness = Harness::new();
    let (mut client, mut other) = (harness.open("a"), harness.open("b"));
    for name in ["/b", "/a", "/ab"] {
        harness.ask(&mut client, create(name, CreateMode::Ephemeral)).unwrap();
    }
    harness.ask(&mut other, create("/ac", CreateMode::Ephemeral)).unwrap();
    let own = |prefix| {
        let found = harness.machine.ephemerals(client.session, prefix);
        found.iter().map(|path| String::from(path.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(own("/a"), ["/a", "/ab"]);
    assert_eq!(own("/"), ["/a", "/ab", "/b"]);
}

#[test]
fn a_lost_watch_is_told_what_it_missed_by_how_its_znode_is() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    for name in ["/gone", "/same", "/set", "/parent"] {
        harness.ask(&mut client, create(name, CreateMode::Persistent)).unwrap();
    }
    let since = harness.machine.applied();
    harness.ask(&mut client, delete("/gone")).unwrap();
    harness.ask(&mut client, set("/set", b"new", None)).unwrap();
    harness.ask(&mut client, create("/parent/child", CreateMode::Persistent)).unwrap();
    harness.ask(&mut client, create("/came", CreateMode::Persistent)).unwrap();
    let missed = |text: &str, kind| {
        let watch = RestoredWatch { path: path(text), kind };
        let event = harness.machine.missed(&Identity::named("a"), &watch, since);
        event.map(|event| event.kind)
    };
    use RestoredKind::{Absence, Children, Data, Persistent};
    assert_eq!(missed("/gone", Data), Some(WatchEventKind::Deleted));
    assert_eq!(missed("/gone", Children), Some(WatchEventKind::Deleted));
    assert_eq!(missed("/set", Data), Some(WatchEventKind::DataChanged));
    assert_eq!(missed("/parent", Children), Some(WatchEventKind::ChildrenChanged));
    assert_eq!(missed("/came", Absence), Some(WatchEventKind::Created));
    for (text, kind) in
        [("/same", Data), ("/same", Children), ("/none", Absence), ("/set", Persistent)]
    {
        assert_eq!(missed(text, kind), None, "{text} {kind:?}");
    }
    assert!(since > Zxid(0));
}
