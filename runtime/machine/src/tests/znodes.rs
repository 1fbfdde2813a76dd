//! Plain writes and reads as ZooKeeper does them: stats, names, refusals, multi, ACLs, reaping.

use super::harness::{Harness, code, create, delete, path, set};
use crate::request::{Identity, Prepared};
use crate::znode::CONTAINER_EMPTY_MS;
use alloc::string::ToString;
use alloc::vec::Vec;
use quorate_types::request::{CreateMode, MultiOperation, MultiReply, WatchEventKind};
use quorate_types::{AclEntry, ErrorCode, Operation, Permissions, Reply, ZnodeData, Zxid};

#[test]
fn stats_count_as_zookeepers_do() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    for operation in [
        create("/a", CreateMode::Persistent),
        create("/a/b", CreateMode::Persistent),
        create("/a/c", CreateMode::Persistent),
        delete("/a/b"),
        set("/a", b"new", Some(0)),
    ] {
        harness.ask(&mut client, operation).unwrap();
    }
    let stat = harness.stat("/a").unwrap();
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (Zxid(2), Zxid(6), Zxid(5)));
    assert_eq!((stat.version, stat.cversion, stat.aversion), (1, 3, 0));
    assert_eq!((stat.data_length, stat.children_count), (3, 1));
    let child = harness.stat("/a/c").unwrap();
    assert_eq!((child.czxid, child.mzxid, child.pzxid), (Zxid(4), Zxid(4), Zxid(4)));
}

#[test]
fn sequential_names_count_the_children_ever_created() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, create("/q", CreateMode::Persistent)).unwrap();
    let mut names = Vec::new();
    for _ in 0..3 {
        let created = harness.ask(&mut client, create("/q/n-", CreateMode::EphemeralSequential));
        let Ok(Reply::Created(path, stat)) = created else { unreachable!("{created:?}") };
        assert_eq!(stat.ephemeral_owner, Some(client.session));
        names.push(path.name().to_string());
        harness.ask(&mut client, delete(path.as_str())).unwrap();
    }
    assert_eq!(names, ["n-0000000000", "n-0000000001", "n-0000000002"]);
}

#[test]
fn refusals_come_in_zookeepers_order() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, create("/e", CreateMode::Ephemeral)).unwrap();
    harness.ask(&mut client, create("/p", CreateMode::Persistent)).unwrap();
    harness.ask(&mut client, create("/p/c", CreateMode::Persistent)).unwrap();
    let cases = [
        (create("/x/y", CreateMode::Persistent), ErrorCode::NoNode),
        (create("/p", CreateMode::Persistent), ErrorCode::NodeExists),
        (create("/", CreateMode::Persistent), ErrorCode::NodeExists),
        (create("/e/c", CreateMode::Persistent), ErrorCode::NoChildrenForEphemerals),
        (create("/x/y", CreateMode::Ttl(0)), ErrorCode::BadArguments),
        (delete("/nowhere"), ErrorCode::NoNode),
        (delete("/p"), ErrorCode::NotEmpty),
        (delete("/"), ErrorCode::BadArguments),
        (set("/p", b"", Some(5)), ErrorCode::BadVersion),
        (set("/nowhere", b"", None), ErrorCode::NoNode),
        (set("/p", &[0; 513], Some(5)), ErrorCode::QuotaExceeded),
        (Operation::Sync, ErrorCode::Unimplemented),
    ];
    for (operation, expected) in cases {
        let outcome = harness.ask_refused(&mut client, operation.clone());
        assert_eq!(code(&outcome), Some(expected), "{operation:?}");
    }
}

#[test]
fn a_multi_is_done_as_a_whole_or_names_what_failed() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    let make = |text: &str| MultiOperation::Create {
        path: path(text),
        data: ZnodeData::EMPTY,
        mode: CreateMode::Persistent,
        acl: None,
    };
    let check = |text: &str, version| MultiOperation::Check {
        path: path(text),
        expected_version: Some(version),
    };
    let operations = alloc::vec![make("/m"), make("/m/n"), check("/m/n", 1)];
    let refused = harness.ask(&mut client, Operation::Multi { operations }).unwrap_err();
    assert_eq!((refused.code, refused.failed_operation), (ErrorCode::BadVersion, Some(2)));
    assert_eq!(harness.stat("/m"), None);
    let gone = MultiOperation::Delete { path: path("/m/n"), expected_version: Some(0) };
    let operations = alloc::vec![make("/m"), make("/m/n"), check("/m/n", 0), gone];
    let done = harness.ask(&mut client, Operation::Multi { operations });
    let Ok(Reply::Multi(replies)) = done else { unreachable!("{done:?}") };
    assert_eq!(replies[2..], [MultiReply::Checked, MultiReply::Deleted]);
    assert_eq!(harness.children("/m"), [""; 0]);
    let many = Operation::Multi { operations: alloc::vec![make("/z"); 5] };
    let refused = harness.ask(&mut client, many);
    assert_eq!(code(&refused), Some(ErrorCode::QuotaExceeded));
}

#[test]
fn children_come_in_order_a_part_at_a_time() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    for name in ["/d", "/d/b", "/d/a", "/d/b-1", "/d/b/x", "/da"] {
        harness.ask(&mut client, create(name, CreateMode::Persistent)).unwrap();
    }
    assert_eq!(harness.children("/d"), ["a", "b", "b-1"]);
    assert_eq!(harness.children("/"), ["d", "da", "zookeeper"]);
    let part = |after: Option<&str>, limit| Operation::Children {
        path: path("/d"),
        after: after.map(Into::into),
        limit: Some(limit),
        watch: false,
    };
    let reader = Identity::default();
    let read = harness.machine.read(&reader, &part(Some("a"), 1));
    let Ok(Reply::Children(names, more, stat)) = read else { unreachable!("{read:?}") };
    assert_eq!((names, more, stat.children_count), (alloc::vec!["b".to_string()], true, 3));
    let read = harness.machine.read(&reader, &part(Some("b/x"), 1));
    assert_eq!(code(&read), Some(ErrorCode::BadArguments));
}

#[test]
fn an_acl_binds_everyone_it_does_not_name() {
    let mut harness = Harness::new();
    let mut alice = harness.open("alice");
    let mut bob = harness.open("bob");
    let acl = alloc::vec![
        AclEntry { permissions: Permissions::ALL, scheme: "auth".into(), id: "".into() },
        AclEntry { permissions: Permissions::READ, scheme: "world".into(), id: "anyone".into() },
    ];
    let (data, mode) = (ZnodeData::EMPTY, CreateMode::Persistent);
    let private = Operation::Create { path: path("/own"), data, mode, acl: Some(acl) };
    harness.ask(&mut alice, private).unwrap();
    for operation in [set("/own", b"", None), create("/own/c", CreateMode::Persistent)] {
        let refused = harness.ask(&mut bob, operation.clone());
        assert_eq!(code(&refused), Some(ErrorCode::NotAllowed), "{operation:?}");
        harness.ask(&mut alice, operation).unwrap();
    }
    assert_eq!(code(&harness.ask(&mut bob, delete("/own/c"))), Some(ErrorCode::NotAllowed));
    let read = Operation::GetAcl { path: path("/own") };
    let Ok(Reply::Acl(acl, _)) = harness.machine.read(&Identity::default(), &read) else {
        unreachable!("everyone may read");
    };
    assert_eq!(acl[0].scheme, "x509");
    let close =
        Operation::SetAcl { path: path("/own"), acl: acl[..1].to_vec(), expected_version: Some(0) };
    assert_eq!(code(&harness.ask(&mut bob, close.clone())), Some(ErrorCode::NotAllowed));
    harness.ask(&mut alice, close).unwrap();
    let exists = Operation::Exists { path: path("/own"), watch: false };
    let refused = harness.machine.read(&Identity::named("bob"), &exists);
    assert_eq!(code(&refused), Some(ErrorCode::NotAllowed));
}

#[test]
fn empty_containers_and_old_ttl_znodes_are_reaped() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    for operation in [
        create("/box", CreateMode::Container),
        create("/box/c", CreateMode::Persistent),
        create("/old", CreateMode::Ttl(50)),
        create("/unused", CreateMode::Container),
    ] {
        harness.ask(&mut client, operation).unwrap();
    }
    assert_eq!(harness.machine.next_deadline_ms(), Some(1_050));
    assert_eq!(harness.fire_due().0, Prepared::Nothing);
    harness.time_ms = 1_050;
    let (_, applied) = harness.fire_due();
    assert_eq!(applied.events.len(), 1);
    assert_eq!((harness.stat("/old"), harness.machine.next_deadline_ms()), (None, None));
    harness.ask(&mut client, delete("/box/c")).unwrap();
    harness.time_ms += CONTAINER_EMPTY_MS;
    let (_, applied) = harness.fire_due();
    assert_eq!(applied.events[0].path, path("/box"));
    assert_eq!(applied.events[0].kind, WatchEventKind::Deleted);
    assert_eq!(harness.children("/"), ["unused", "zookeeper"]);
}

#[test]
fn zookeepers_own_znodes_are_there_from_the_start_and_stay() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    assert_eq!(harness.children("/zookeeper"), ["config", "quota"]);
    for name in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        let refused = harness.ask(&mut client, delete(name)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadArguments, "{name}");
    }
    let write = Operation::SetData {
        path: path("/zookeeper/config"),
        data: "x".into(),
        expected_version: None,
    };
    assert_eq!(harness.ask(&mut client, write).unwrap_err().code, ErrorCode::NotAllowed);
    let first = harness.ask(&mut client, create("/n-", CreateMode::PersistentSequential));
    assert!(matches!(first, Ok(Reply::Created(made, _)) if made == path("/n-0000000000")));
}
