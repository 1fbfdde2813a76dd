//! Reads, changes and deletions of what is there: versions, stats, null and empty data.

use crate::step::*;
use bytes::Bytes;
use quorate_wire::zookeeper::{Multi, MultiOperation, Request, SetData};

pub(super) fn steps() -> Vec<Step> {
    [versions(), deletions(), stats(), data(), system(), large()].concat()
}

fn versions() -> Vec<Step> {
    vec![
        ann(create("/v", "0", PERSISTENT)),
        ann(set("/v", "1", 0)),
        ann(set("/v", "stale", 0)),
        ann(set("/v", "2", 1)),
        ann(set("/v", "3", ANY)),
        ann(set("/v", "x", -2)),
        ann(set("/v", "x", i32::MIN)),
        ann(set("/v", "x", i32::MAX)),
        ann(set("/v", "x", 7)),
        ann(set("/nobody", "x", 7)),
        ann(set("/nobody", "x", ANY)),
        ann(set("/nobody/below", "x", ANY)),
        ann(get("/v", false)),
        ann(set_acl("/v", OPEN, 0)),
        ann(set_acl("/v", OPEN, 0)),
        ann(set_acl("/v", OPEN, 1)),
        ann(set_acl("/v", OPEN, ANY)),
        ann(set_acl("/v", OPEN, -2)),
        ann(set_acl("/nobody", OPEN, ANY)),
        ann(set_acl("/nobody", &[], ANY)),
        ann(set_acl("/v", &[], ANY)),
        ann(set_acl("/v", &[], 99)),
        ann(get_acl("/v")),
        ann(get_acl("/nobody")),
        ann(exists("/v", false)),
        bob(delete("/v", 0)),
        bob(delete("/v", 4)),
        bob(delete("/v", -2)),
        bob(delete("/v", 3)),
        bob(delete("/v", 3)),
    ]
}

fn deletions() -> Vec<Step> {
    vec![
        ann(create("/del", "", PERSISTENT)),
        ann(create("/del/a", "", PERSISTENT)),
        ann(create("/del/a/b", "", PERSISTENT)),
        ann(delete("/del/a", ANY)),
        ann(delete("/del/a", 7)),
        ann(delete("/del/a", 0)),
        ann(delete("/del/nobody", ANY)),
        ann(delete("/del/nobody/x", ANY)),
        ann(delete("/del/a/b/nobody", 3)),
        ann(delete("/", ANY)),
        ann(delete("/", 5)),
        ann(delete("/del/a/b", ANY)),
        ann(exists("/del/a", false)),
        ann(delete("/del/a", ANY)),
        ann(exists("/del/a", false)),
        ann(exists("/del", false)),
        ann(create2("/del/a", "new", PERSISTENT)),
        ann(exists("/del", false)),
        ann(exists("/del/a", false)),
        ann(delete("/del/a", ANY)),
        ann(delete("/del", ANY)),
        ann(delete("/del", ANY)),
    ]
}

fn stats() -> Vec<Step> {
    vec![
        ann(create2("/st", "abc", PERSISTENT)),
        bob(get("/st", false)),
        ann(create("/st/x", "", PERSISTENT)),
        ann(create("/st/x/y", "", PERSISTENT)),
        ann(exists("/st", false)),
        ann(exists("/st/x", false)),
        ann(set("/st/x", "longer data", ANY)),
        ann(set_acl("/st/x", OPEN, ANY)),
        ann(exists("/st", false)),
        ann(exists("/st/x", false)),
        ann(create("/st/e", "", EPHEMERAL)),
        ann(children2("/st", false)),
        ann(delete("/st/e", ANY)),
        ann(children("/st", false)),
        ann(children2("/st/x/y", false)),
        ann(children("/st/x/y", false)),
        ann(children("/nobody", false)),
        ann(children2("/nobody", false)),
        ann(get("/nobody", false)),
        ann(exists("/nobody", false)),
        ann(exists("/nobody/below", false)),
        ann(get_acl("/st/x")),
        ann(Request::Sync("/st")),
        ann(Request::Sync("/nobody")),
        ann(Request::Sync("/")),
        ann(Request::Ping),
        ann(set("/", "the root has data", ANY)),
        ann(set("/", "x", 0)),
        ann(get("/", false)),
        ann(set_acl("/", OPEN, 0)),
        ann(set_acl("/", OPEN, 0)),
    ]
}

fn data() -> Vec<Step> {
    let null = |path| Request::SetData(SetData { path, data: None, version: ANY });
    vec![
        ann(create2("/data", "", PERSISTENT)),
        ann(get("/data", false)),
        ann(set("/data", "full", ANY)),
        ann(null("/data")),
        ann(get("/data", false)),
        ann(set("/data", "", ANY)),
        ann(get("/data", false)),
        ann(Request::Multi(Multi(vec![MultiOperation::SetData(SetData {
            path: "/data",
            data: None,
            version: ANY,
        })]))),
        ann(get("/data", false)),
        ann(multi_read([r_get("/data")])),
        ann(Request::SetData(SetData {
            path: "/data",
            data: Some(Bytes::from_static(b"\0\xff\x80")),
            version: ANY,
        })),
        ann(get("/data", false)),
    ]
}

fn system() -> Vec<Step> {
    vec![
        ann(delete("/zookeeper", ANY)),
        ann(delete("/zookeeper/quota", ANY)),
        ann(delete("/zookeeper/config", ANY)),
        ann(delete("/", ANY)),
        ann(multi([m_delete("/", ANY)])),
    ]
}

/// ZooKeeper's `jute.maxbuffer`: what the frame of a request may have.
const BUFFER_BYTES: usize = 1_048_575;

fn large() -> Vec<Step> {
    let filled = |bytes: usize| Some(Bytes::from(vec![b'x'; bytes]));
    // Header, path, length, version.
    let around = |path: &str| 8 + 4 + path.len() + 4 + 4;
    let set_bytes = |bytes| {
        let data = filled(bytes);
        ann(Request::SetData(SetData { path: "/large", data, version: ANY }))
    };
    let most = BUFFER_BYTES - around("/large");
    let too_large =
        Request::SetData(SetData { path: "/large", data: filled(most + 1), version: ANY });
    vec![
        ann(create("/large", "", PERSISTENT)),
        set_bytes(1_000_000),
        ann(get("/large", false)),
        set_bytes(most),
        ann(get("/large", false)),
        ann(exists("/large", false)),
        act("large", Act::Connect(30_000)),
        on("large", too_large),
        ann(exists("/large", false)),
        ann(delete("/large", ANY)),
    ]
}
