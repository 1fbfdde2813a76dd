//! What transactions leave behind, from a snapshot before them, after them, or taken meanwhile.

use super::written::{
    OPEN, OldServer, SESSION, close_session, create, create_ephemeral, delete, log, set, snapshot,
    system, znode,
};
use crate::reading::{self, Choice, DigestCheck, Origin};
use crate::source::Source;
use crate::source_tree::{Life, SourceAcl, SourceTree};
use bytes::Bytes;
use quorate_types::Permissions;
use quorate_wire::zookeeper::Acl;
use quorate_wire::zookeeper::stored::{
    CreatedContainer, CreatedTtl, MultiItem, StoredAclSet, StoredMulti, StoredStat,
    StoredTransaction, StoredZnode,
};

fn read(server: &OldServer) -> (SourceTree, Origin) {
    let source = Source::open(server.path(), None).unwrap();
    reading::read(&source, &Choice::default(), &mut |_| {}).unwrap()
}

fn multi<'a>(items: Vec<StoredTransaction<'a>>) -> StoredTransaction<'a> {
    let items = items.into_iter().map(MultiItem).collect();
    StoredTransaction::Multi(StoredMulti { items })
}

fn history() -> Vec<(i64, StoredTransaction<'static>)> {
    let reader = Acl { permissions: Permissions::READ, scheme: "digest", id: "b:hash" };
    let ttl = CreatedTtl {
        path: "/a/ttl",
        data: None,
        acl: vec![OPEN],
        parent_cversion: 2,
        ttl_ms: 5_000,
    };
    let (path, data, acl) = ("/container", None, vec![OPEN]);
    let container = CreatedContainer { path, data, acl, parent_cversion: 2 };
    let all = [
        StoredTransaction::CreateSession(30_000),
        create("/a", 1),
        create_ephemeral("/a/e", 1),
        StoredTransaction::CreateTtl(ttl),
        StoredTransaction::CreateContainer(container),
        set("/a", "one", 1),
        set("/a", "two", 2),
        StoredTransaction::SetAcl(StoredAclSet { path: "/a", acl: vec![reader], version: 1 }),
        multi(vec![create("/a/m", 3), delete("/a/m"), create("/a/n-0000000003", 4)]),
        multi(vec![StoredTransaction::Error(0), StoredTransaction::Error(-101)]),
        StoredTransaction::Error(-110),
        delete("/a/n-0000000003"),
        create("/b", 3),
        delete("/b"),
        create("/b", 4),
        close_session(),
        set("/", "root", 1),
    ];
    (1..).zip(all).collect()
}

#[test]
fn transactions_make_the_tree_that_they_state() {
    let server = OldServer::begun();
    server.put("log.1", &log(&history()));
    let (tree, origin) = read(&server);
    assert_eq!((origin.transactions, origin.last_zxid), (17, 17));
    assert_eq!((origin.last_time_ms, origin.digest), (1_170, DigestCheck::NotKept));
    let paths: Vec<&str> = tree.znodes.keys().map(|path| &**path).collect();
    assert_eq!(paths, ["", "/a", "/a/ttl", "/b", "/container", "/zookeeper", "/zookeeper/quota"]);
    let a = &tree.znodes["/a"];
    let expected = StoredStat {
        czxid: 2,
        mzxid: 7,
        ctime_ms: 1_020,
        mtime_ms: 1_070,
        version: 2,
        cversion: 4,
        aversion: 1,
        ephemeral_owner: 0,
        pzxid: 16,
    };
    assert_eq!((a.stat, a.data.as_deref()), (expected, Some(&b"two"[..])));
    let SourceAcl::Listed(acl) = &a.acl else { panic!("{:?}", a.acl) };
    assert_eq!((acl.len(), acl[0].id.as_str()), (1, "b:hash"));
    assert_eq!(tree.life_of(&tree.znodes["/a/ttl"]), Life::Ttl(5_000));
    assert_eq!(tree.znodes["/a/ttl"].data, None, "null stays null here");
    assert_eq!(tree.life_of(&tree.znodes["/container"]), Life::Container);
    assert_eq!(tree.znodes["/b"].stat.czxid, 15);
    let root = tree.znodes[""].stat;
    assert_eq!((root.cversion, root.pzxid, root.version), (4, 15, 1));
    assert!(tree.sessions.is_empty());
}

/// A snapshot of what a server had in memory.
fn snapshot_of(tree: &SourceTree) -> Vec<u8> {
    let mut znodes: Vec<(&str, StoredZnode)> = Vec::new();
    for (path, znode) in &tree.znodes {
        let acl = match &znode.acl {
            SourceAcl::Open => -1,
            SourceAcl::Listed(_) | SourceAcl::Unexplained(_) => 77,
        };
        znodes.push((path, StoredZnode { data: znode.data.clone(), acl, stat: znode.stat }));
    }
    let sessions: Vec<i64> = tree.sessions.keys().copied().collect();
    snapshot(&sessions, &znodes)
}

#[test]
fn a_snapshot_that_holds_later_effects_leads_to_the_same_tree() {
    let whole = OldServer::begun();
    whole.put("log.1", &log(&history()));
    let (expected, _) = read(&whole);
    let history = history();
    for begun in 0..=history.len() {
        for done in begun..=history.len() {
            let early = OldServer::begun();
            early.put("log.1", &log(&history[..done]));
            let (held, _) = read(&early);
            let server = OldServer::new();
            server.put(&format!("snapshot.{begun:x}"), &snapshot_of(&held));
            server.put("log.1", &log(&history));
            let (mut tree, _) = read(&server);
            // The hand-made snapshots explain no ACL but by the log, which has those of later znodes.
            for (path, znode) in &mut tree.znodes {
                if let SourceAcl::Unexplained(77) = znode.acl {
                    znode.acl = expected.znodes[path].acl.clone();
                }
            }
            assert_eq!(tree.znodes, expected.znodes, "taken from {begun} to {done}");
            assert_eq!(tree.sessions, expected.sessions, "taken from {begun} to {done}");
        }
    }
}

#[test]
fn an_acl_that_a_fuzzy_snapshot_does_not_explain_is_that_of_the_log() {
    let mut znodes = system();
    znodes[0].1.stat.cversion = 1;
    let stat = StoredStat { czxid: 1, mzxid: 1, pzxid: 1, ..StoredStat::default() };
    znodes.push(("/a", StoredZnode { acl: 9, ..znode(stat) }));
    let server = OldServer::new();
    server.put("snapshot.0", &snapshot(&[], &znodes)).put("log.1", &log(&[(1, create("/a", 1))]));
    let (tree, _) = read(&server);
    let SourceAcl::Listed(acl) = &tree.znodes["/a"].acl else { panic!("not explained") };
    assert_eq!(acl[0].scheme, "world");

    let server = OldServer::new();
    server.put("snapshot.1", &snapshot(&[], &znodes));
    let (tree, _) = read(&server);
    assert_eq!(tree.znodes["/a"].acl, SourceAcl::Unexplained(9));
}

#[test]
fn a_session_of_server_255_is_no_time_to_live() {
    let owner = 0xff00_0000_0000_0001_u64.cast_signed();
    let stat = StoredStat { ephemeral_owner: owner, ..StoredStat::default() };
    let mut znodes = system();
    znodes.push(("/a", znode(stat)));
    for (sessions, life) in [(vec![], Life::Ttl(1)), (vec![owner], Life::Ephemeral(owner))] {
        let server = OldServer::new();
        server.put("snapshot.0", &snapshot(&sessions, &znodes));
        let (tree, _) = read(&server);
        assert_eq!(tree.life_of(&tree.znodes["/a"]), life);
    }
    let owned = StoredStat { ephemeral_owner: SESSION, ..StoredStat::default() };
    let znode = crate::source_tree::SourceZnode { data: None, acl: SourceAcl::Open, stat: owned };
    assert_eq!(SourceTree::new().life_of(&znode), Life::Ephemeral(SESSION));
}

#[test]
fn zookeepers_digest_is_a_sum_of_crcs() {
    // Path, data and 60 bytes of stat of each znode outside /zookeeper/.
    let mut tree = SourceTree::new();
    let crc = |parts: &[&[u8]]| {
        let mut bits = !0_u32;
        for byte in parts.concat() {
            bits ^= u32::from(byte);
            for _ in 0..8 {
                bits = if bits & 1 == 1 { bits >> 1 ^ 0xedb8_8320 } else { bits >> 1 };
            }
        }
        i64::from(!bits)
    };
    let blank = [0; 60];
    let expected = crc(&[b"", &blank]) + crc(&[b"/zookeeper", &blank]);
    assert_eq!(tree.digest(), expected);
    if let Some(root) = tree.znodes.get_mut("") {
        root.data = Some(Bytes::from_static(b"x"));
    }
    assert_eq!(tree.digest(), crc(&[b"", b"x", &blank]) + crc(&[b"/zookeeper", &blank]));
}
