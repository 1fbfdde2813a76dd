//! Quotas: what is used is counted with every change, and limits are held or warned of.

use super::harness::{Client, Harness, code, create, delete, path, set};
use crate::machine::Machine;
use crate::request::Identity;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_types::limits::Limits;
use quorate_types::request::{CreateMode, MultiOperation};
use quorate_types::{ErrorCode, Operation, Reply, ZnodeData, ZnodePath};

fn make(text: &str, data: impl Into<ZnodeData>) -> Operation {
    let (mode, acl) = (CreateMode::Persistent, None);
    Operation::Create { path: path(text), data: data.into(), mode, acl }
}

/// As ZooKeeper's `setquota` does it.
pub(super) fn set_quota(
    harness: &mut Harness,
    client: &mut Client,
    of: &str,
    limits: &'static str,
) {
    let mut above = String::from("/zookeeper/quota");
    for name in of.split('/').skip(1) {
        above = alloc::format!("{above}/{name}");
        let _ = harness.ask(client, make(&above, ""));
    }
    harness.ask(client, make(&alloc::format!("{above}/zookeeper_limits"), limits)).unwrap();
    let stats = alloc::format!("{above}/zookeeper_stats");
    harness.ask(client, make(&stats, "count=0,bytes=0")).unwrap();
}

pub(super) fn stats(machine: &Machine, of: &str) -> String {
    let path = path(&alloc::format!("/zookeeper/quota{of}/zookeeper_stats"));
    match machine.read(&Identity::named("a"), &Operation::Get { path, watch: false }) {
        Ok(Reply::Data(data, _)) => String::from_utf8(data.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn stats_begin_with_what_is_there_and_follow_every_change() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    for operation in [make("/a", "12"), make("/a/b", "345"), make("/a/b/c", ""), make("/ab", "9")] {
        harness.ask(&mut client, operation).unwrap();
    }
    set_quota(&mut harness, &mut client, "/a", "count=100,bytes=100");
    let stat = harness.stat("/zookeeper/quota/a/zookeeper_stats").unwrap();
    assert_eq!(stats(&harness.machine, "/a"), "count=3,bytes=5");
    for (operation, expected) in [
        (make("/a/d", "6789"), "count=4,bytes=9"),
        (make("/ab/x", "6789"), "count=4,bytes=9"),
        (set("/a/d", b"1", None), "count=4,bytes=6"),
        (make("/a/n", ZnodeData::NULL), "count=5,bytes=6"),
        (set("/a", b"", None), "count=5,bytes=4"),
        (delete("/a/d"), "count=4,bytes=3"),
        (create("/a/e", CreateMode::Ephemeral), "count=5,bytes=4"),
    ] {
        harness.ask(&mut client, operation.clone()).unwrap();
        assert_eq!(stats(&harness.machine, "/a"), expected, "{operation:?}");
        assert_eq!(stats(&harness.follower, "/a"), expected, "{operation:?}");
    }
    harness.close(&mut client);
    assert_eq!(stats(&harness.machine, "/a"), "count=4,bytes=3", "ephemerals go with a session");
    let after = harness.stat("/zookeeper/quota/a/zookeeper_stats").unwrap();
    assert_eq!((after.version, after.mzxid), (stat.version, stat.mzxid));
    let image = Machine::decode_image(&harness.machine.encode_image()).unwrap();
    assert!(image.tables.has_same_items(&harness.machine.tables), "limits are found in an image");
}

#[test]
fn the_nearest_quota_counts_while_its_limits_stand() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, make("/a", "")).unwrap();
    harness.ask(&mut client, make("/a/b", "")).unwrap();
    set_quota(&mut harness, &mut client, "/a", "count=100,bytes=100");
    set_quota(&mut harness, &mut client, "/a/b", "count=100,bytes=100");
    harness.ask(&mut client, make("/a/b/c", "")).unwrap();
    assert_eq!(stats(&harness.machine, "/a"), "count=2,bytes=0");
    assert_eq!(stats(&harness.machine, "/a/b"), "count=2,bytes=0");
    harness.ask(&mut client, delete("/zookeeper/quota/a/b/zookeeper_limits")).unwrap();
    harness.ask(&mut client, make("/a/b/d", "")).unwrap();
    assert_eq!(stats(&harness.machine, "/a"), "count=3,bytes=0");
    assert_eq!(stats(&harness.machine, "/a/b"), "count=2,bytes=0");
}

#[test]
fn hard_limits_refuse_before_the_version_is_looked_at_and_a_multi_counts_within_itself() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, make("/a", "")).unwrap();
    let limits = "count=-1,bytes=-1=;countHardLimit=3;byteHardLimit=4";
    set_quota(&mut harness, &mut client, "/a", limits);
    let many = |names: &[&str]| Operation::Multi {
        operations: names
            .iter()
            .map(|name| MultiOperation::Create {
                path: path(name),
                data: "1".into(),
                mode: CreateMode::Persistent,
                acl: None,
            })
            .collect(),
    };
    let outcome = harness.ask(&mut client, many(&["/a/b", "/a/c", "/a/d"]));
    assert_eq!(code(&outcome), Some(ErrorCode::QuotaExceeded));
    assert_eq!(outcome.unwrap_err().failed_operation, Some(2));
    assert_eq!(stats(&harness.machine, "/a"), "count=1,bytes=0", "nothing of it was done");
    harness.ask(&mut client, many(&["/a/b", "/a/c"])).unwrap();
    let outcome = harness.ask(&mut client, make("/a/d", ""));
    assert_eq!(code(&outcome), Some(ErrorCode::QuotaExceeded));
    let outcome = harness.ask(&mut client, set("/a/b", b"12345", Some(77)));
    assert_eq!(code(&outcome), Some(ErrorCode::QuotaExceeded));
    let outcome = harness.ask(&mut client, set("/a/b", b"123", Some(77)));
    assert_eq!(code(&outcome), Some(ErrorCode::BadVersion));
    harness.ask(&mut client, set("/a/b", b"123", None)).unwrap();
    assert_eq!(stats(&harness.machine, "/a"), "count=3,bytes=4");
    harness.machine.set_limits(Limits { enforces_quotas: false, ..Limits::TESTED });
    harness.ask(&mut client, make("/a/d", "more")).unwrap();
    assert_eq!(stats(&harness.machine, "/a"), "count=4,bytes=8", "counted, and not refused");
}

#[test]
fn soft_limits_are_warned_of_when_they_are_passed() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, make("/a", "")).unwrap();
    set_quota(&mut harness, &mut client, "/a", "count=2,bytes=-1");
    let mut warned = |operation| {
        let outcome = harness.ask(&mut client, operation);
        (outcome.is_ok(), harness.outstanding.take_warnings())
    };
    assert_eq!(warned(make("/a/b", "")), (true, Vec::new()));
    let (done, warnings) = warned(make("/a/c", ""));
    assert!(done && warnings.len() == 1 && warnings[0].contains("3 znodes"), "{warnings:?}");
    assert_eq!(warned(make("/a/d", "")), (true, Vec::new()), "once is enough");
    assert_eq!(warned(make("/a/d", "")), (false, Vec::new()));
}

#[test]
fn what_is_no_quota_changes_nothing() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.ask(&mut client, make("/a", "")).unwrap();
    // Stats without limits, limits without stats, limits of the root.
    for text in ["/zookeeper/quota/a", "/zookeeper/quota/b", "/zookeeper/quota/b/zookeeper_limits"]
    {
        harness.ask(&mut client, make(text, "count=0,bytes=0")).unwrap();
    }
    harness.ask(&mut client, make("/zookeeper/quota/zookeeper_limits", "count=0")).unwrap();
    harness.ask(&mut client, make("/zookeeper/quota/a/zookeeper_stats", "?")).unwrap();
    assert_eq!(stats(&harness.machine, "/a"), "count=1,bytes=0", "as ZooKeeper counts them");
    harness.ask(&mut client, make("/a/b", "1")).unwrap();
    harness.ask(&mut client, make("/b", "1")).unwrap();
    assert_eq!(stats(&harness.machine, "/a"), "count=1,bytes=0");
    let of = ZnodePath::parse("/b").unwrap();
    assert!(
        harness.machine.read(&Identity::named("a"), &Operation::CountBelow { path: of }).is_ok()
    );
}
