//! Sessions begin; znodes of every kind are created: paths, modes, sequential names, TTLs.

use crate::explained;
use crate::step::*;
use quorate_wire::zookeeper::{Create, Request};

pub(super) fn steps() -> Vec<Step> {
    [sessions(), plain(), bad_paths(), sequential(), unnamed(), ephemeral(), timed()].concat()
}

fn sessions() -> Vec<Step> {
    vec![
        act("ann", Act::Connect(30_000)),
        act("bob", Act::Connect(30_000)),
        act("brief", Act::Connect(1)),
        on("brief", Request::CloseSession),
        act("long", Act::Connect(100_000_000)),
        on("long", Request::CloseSession),
        ann(Request::Ping),
        ann(Request::WhoAmI),
        ann(children("/", false)),
        ann(get("/", false)),
        ann(exists("/", false)),
        ann(get_acl("/")),
    ]
}

fn plain() -> Vec<Step> {
    vec![
        ann(create("/c", "top", PERSISTENT)),
        ann(create("/c", "again", PERSISTENT)),
        ann(create2("/c/a", "one", PERSISTENT)),
        ann(create2("/c/a", "one", PERSISTENT)),
        ann(create("/c/a/b", "", PERSISTENT)),
        ann(Request::Create2(Create { data: None, ..creation("/c/null", "", PERSISTENT, OPEN) })),
        ann(get("/c/null", false)),
        ann(create("/c/nobody/x", "", PERSISTENT)),
        ann(create("/c/nobody/x/y", "", EPHEMERAL)),
        ann(create("/", "", PERSISTENT)),
        ann(create2("/", "", EPHEMERAL)),
        ann(create("/c/é ü", "unicode", PERSISTENT)),
        ann(create("/c/...", "dots", PERSISTENT)),
        ann(create("/c/.x", "dot", PERSISTENT)),
        ann(create("/c/x.", "dot", PERSISTENT)),
        ann(create("/c/\u{d7ff}", "last before surrogates", PERSISTENT)),
        ann(get("/c", false)),
        ann(get("/c/a", false)),
        ann(children("/c", false)),
        ann(create("/c/m7", "", 7)),
        ann(create("/c/m-1", "", -1)),
        ann(create("/c/m99", "", 99)),
        ann(create2("/c/m7", "", 7)),
        ann(create("/c/bad/m7", "", 7)),
        ann(create("no/slash", "", 7)),
        ann(create_with("/c/noacl", &[])),
        ann(create_with("/c/a", &[])),
        ann(create_with("/c/nobody/x", &[])),
        ann(create_with("/c//x", &[])),
        ann(create_with("/c/", &[])),
        ann(Request::Create2(creation("/c/noacl", "", PERSISTENT, &[]))),
    ]
}

fn bad_paths() -> Vec<Step> {
    let mut steps = Vec::new();
    for path in [
        "",
        "c",
        "c/x",
        "x",
        "//",
        "//x",
        "/c/",
        "/c//x",
        "/c/./x",
        "/c/.",
        "/c/..",
        "/c/../x",
        "/./x",
        "/..",
        "/c/a/../b",
        "/c/\u{0}",
        "/c/\u{1}x",
        "/c/\u{1f}",
        "/c/\u{7f}",
        "/c/\u{9f}",
        "/c/\u{e000}",
        "/c/\u{f8ff}",
        "/c/\u{f900}",
        "/c/\u{fff0}",
        "/c/\u{ffff}",
        "/c/\u{1f600}",
        "/nobody/./x",
        "/c/\u{0}/x",
        "/c/\u{1}/x",
        "/c/ ",
    ] {
        steps.push(ann(create(path, "", PERSISTENT)));
        steps.push(ann(set(path, "", ANY)));
        steps.push(ann(delete(path, ANY)));
    }
    for path in ["", "c", "/c/", "/c//x", "/c/../c", "/c/\u{0}", "/c/\u{1f600}"] {
        steps.extend([
            ann(exists(path, false)),
            ann(get(path, false)),
            ann(children(path, false)),
            ann(children2(path, false)),
            ann(get_acl(path)),
            ann(set_acl(path, OPEN, ANY)),
            ann(set_acl(path, &[], ANY)),
            Step {
                explained: path.contains('\u{1f600}').then_some(explained::HALVES),
                ..ann(Request::Sync(path))
            },
            ann(create(path, "", SEQUENTIAL)),
            ann(create(path, "", EPHEMERAL_SEQUENTIAL)),
            ann(container(path, CONTAINER)),
            ann(create_ttl(path, TTL, 100_000)),
        ]);
    }
    steps.push(ann(Request::GetAllChildrenNumber("/c/")));
    steps.push(ann(Request::GetAllChildrenNumber("c")));
    steps.push(ann(children2("/c", false)));
    steps
}

fn sequential() -> Vec<Step> {
    vec![
        ann(create("/seq", "", PERSISTENT)),
        ann(create("/seq/a-", "", SEQUENTIAL)),
        ann(create2("/seq/a-", "", SEQUENTIAL)),
        ann(create("/seq/b", "", PERSISTENT)),
        ann(create("/seq/a-", "", EPHEMERAL_SEQUENTIAL)),
        ann(delete("/seq/b", ANY)),
        ann(delete("/seq/a-0000000001", ANY)),
        ann(exists("/seq", false)),
        ann(create("/seq/a-", "", SEQUENTIAL)),
        ann(create("/seq/a-0000000006", "", PERSISTENT)),
        ann(create("/seq/a-", "", SEQUENTIAL)),
        ann(create("/seq/a-0000000007", "", PERSISTENT)),
        ann(create("/seq/a-", "", SEQUENTIAL)),
        ann(create("/seq/a-", "", SEQUENTIAL)),
        ann(create("/seq/nobody/x-", "", SEQUENTIAL)),
        ann(create("/seq-", "top", SEQUENTIAL)),
        ann(children2("/seq", false)),
    ]
}

fn unnamed() -> Vec<Step> {
    vec![
        ann(create("/num", "", PERSISTENT)),
        ann(create("/num/", "", SEQUENTIAL)),
        ann(create2("/num/", "", SEQUENTIAL)),
        ann(create("/num/", "", EPHEMERAL_SEQUENTIAL)),
        ann(create_ttl("/num/", TTL_SEQUENTIAL, 100_000)),
        ann(create("/num/", "", PERSISTENT)),
        ann(create("/num/", "", EPHEMERAL)),
        ann(container("/num/", CONTAINER)),
        ann(create("/num//", "", SEQUENTIAL)),
        ann(create("/num/./x", "", SEQUENTIAL)),
        ann(create("/nobody/", "", SEQUENTIAL)),
        ann(children2("/num", false)),
        ann(create("/num/.", "", SEQUENTIAL)).explained(explained::DOTS_WITH_NUMBER),
        ann(create("/num/..", "", SEQUENTIAL)).explained(explained::DOTS_WITH_NUMBER),
    ]
}

fn ephemeral() -> Vec<Step> {
    vec![
        ann(create2("/eph", "", PERSISTENT)),
        ann(create2("/eph/a", "mine", EPHEMERAL)),
        bob(create2("/eph/b", "his", EPHEMERAL)),
        bob(exists("/eph/a", false)),
        ann(create("/eph/a/x", "", PERSISTENT)),
        ann(create("/eph/a/x", "", EPHEMERAL)),
        ann(create("/eph/a/x-", "", SEQUENTIAL)),
        ann(create("/eph/a/", "", SEQUENTIAL)),
        ann(container("/eph/a/x", CONTAINER)),
        ann(create_ttl("/eph/a/x", TTL, 5)),
        ann(create_with("/eph/a/x", &[])),
        bob(delete("/eph/a", ANY)),
        ann(exists("/eph/a", false)),
        ann(create("/eph/a", "mine", EPHEMERAL)),
        bob(set("/eph/a", "changed", ANY)),
        ann(Request::GetEphemerals("/eph")),
        bob(Request::GetEphemerals("/eph")),
        ann(Request::GetEphemerals("/")),
        ann(Request::GetEphemerals("/e")),
        ann(Request::GetEphemerals("/eph/a")),
        ann(Request::GetEphemerals("/eph/a/")),
        ann(Request::GetEphemerals("/nobody")),
        ann(Request::GetEphemerals("")),
        ann(Request::GetEphemerals("eph")),
        ann(Request::GetAllChildrenNumber("/eph")),
        ann(Request::GetAllChildrenNumber("/c")),
        ann(Request::GetAllChildrenNumber("/c/a/b")),
        ann(Request::GetAllChildrenNumber("/nobody")),
        ann(children2("/eph", false)),
    ]
}

fn timed() -> Vec<Step> {
    let mut steps = vec![
        ann(create("/ttl", "", PERSISTENT)),
        ann(container("/ttl/c", CONTAINER)),
        ann(container("/ttl/c", CONTAINER)),
        ann(create2("/ttl/c/x", "", PERSISTENT)),
        ann(exists("/ttl/c", false)),
        ann(delete("/ttl/c", ANY)),
        ann(create("/ttl/c4", "", CONTAINER)),
        ann(create2("/ttl/c42", "", CONTAINER)),
        ann(get("/ttl/c42", false)),
        ann(container("/ttl/c0", PERSISTENT)),
        ann(container("/ttl/c7", 7)),
        ann(container("/ttl/c5", TTL)),
        ann(container("/nobody/c", CONTAINER)),
        ann(create_ttl("/ttl/t", TTL, 600_000)),
        ann(create_ttl("/ttl/t", TTL, 600_000)),
        ann(create_ttl("/ttl/t-", TTL_SEQUENTIAL, 600_000)),
        ann(create_ttl("/nobody/t-", TTL_SEQUENTIAL, 600_000)),
        ann(create("/ttl/t/child", "", PERSISTENT)),
        ann(create("/ttl/t/eph", "", EPHEMERAL)),
        ann(set("/ttl/t", "changed", 0)),
        ann(get("/ttl/t", false)),
        ann(create("/ttl/f5", "", TTL)),
        ann(create("/ttl/f6", "", TTL_SEQUENTIAL)),
        ann(create2("/ttl/f5", "", TTL)),
        ann(create2("/ttl/f6", "", TTL_SEQUENTIAL)),
        ann(create_ttl("/ttl/m0", PERSISTENT, 5_000)),
        ann(create_ttl("/ttl/m1", EPHEMERAL, 5_000)),
        ann(create_ttl("/ttl/m2", SEQUENTIAL, 0)),
        ann(create_ttl("/ttl/m4", CONTAINER, 5_000)),
        ann(create_ttl("/ttl/m7", 7, 5_000)),
        ann(create_ttl("bad", TTL, 0)),
    ];
    for ttl_ms in [0, -1, -2, i64::MIN, i64::MAX, 0xff_ffff_ffff, 0x100_0000_0000] {
        steps.push(ann(create_ttl("/ttl/edge-", TTL_SEQUENTIAL, ttl_ms)));
        steps.push(ann(create_ttl("/ttl/t", TTL, ttl_ms)));
    }
    steps.push(ann(children2("/ttl", false)));
    steps
}
