//! Who may do what: identities, ACLs as given and as shown, refusals of each operation.

use crate::explained;
use crate::step::*;
use quorate_wire::zookeeper::Request;

const ANN: &str = "ann:grDcJ7OS1jCu/cG2TyJHw/I9L8o=";
const BOB: &str = "bob:yqVrLFrvoaI9z9fohteaNPJvRu8=";

pub(super) fn steps() -> Vec<Step> {
    [shapes(), identities(), refusals(), order(), masked(), administrators(), proofs()].concat()
}

/// What an ACL may be.
fn shapes() -> Vec<Step> {
    let mut steps = vec![act("carl", Act::Connect(30_000)), ann(create("/acl", "", PERSISTENT))];
    let entries: [Entry; 29] = [
        (ALL, "world", "anyone"),
        (ALL, "world", "someone"),
        (ALL, "world", ""),
        (ALL, "digest", ANN),
        (ALL, "digest", "nocolon"),
        (ALL, "digest", "a:b:c"),
        (ALL, "digest", ":"),
        (ALL, "digest", ""),
        (ALL, "digest", "a:"),
        (ALL, "digest", ":b"),
        (ALL, "ip", "127.0.0.1"),
        (ALL, "ip", "127.0.0.0/8"),
        (ALL, "ip", "127.0.0.0/33"),
        (ALL, "ip", "127.0.0.0/-1"),
        (ALL, "ip", "127.0.0.0/x"),
        (ALL, "ip", "127.0.0.0/"),
        (ALL, "ip", "127.0.0"),
        (ALL, "ip", "::1"),
        (ALL, "ip", "host"),
        (ALL, "ip", ""),
        (ALL, "auth", ""),
        (ALL, "auth", "ignored"),
        (ALL, "magic", "x"),
        (ALL, "", ""),
        (ALL, "super", "x"),
        (0, "world", "anyone"),
        (32, "world", "anyone"),
        (63, "world", "anyone"),
        (0x8000_0000, "world", "anyone"),
    ];
    for entry in entries {
        let tried = [
            on("carl", create_with("/acl/s-", &[entry])),
            on("carl", get_acl("/acl/s-")),
            ann(delete("/acl/s-", ANY)),
        ];
        let reason = match entry {
            (permissions, ..) if permissions > ALL => Some(explained::UNKNOWN_PERMISSIONS),
            (_, "ip", "::1") => Some(explained::IPV6),
            _ => None,
        };
        steps.extend(tried.map(|step| Step { explained: reason, ..step }));
    }
    steps.extend([
        ann(create_with("/acl/two", &[(READ, "world", "anyone"), (ALL, "digest", ANN)])),
        ann(get_acl("/acl/two")),
        ann(create_with("/acl/same", &[(ALL, "world", "anyone"), (ALL, "world", "anyone")])),
        ann(get_acl("/acl/same")),
        ann(create_with("/acl/both", &[(READ, "world", "anyone"), (ALL, "world", "anyone")])),
        ann(get_acl("/acl/both")),
        ann(create_with("/acl/mixed", &[(ALL, "world", "anyone"), (ALL, "magic", "x")])),
        ann(set_acl("/acl/same", &[(ALL, "magic", "x")], ANY)),
        ann(set_acl("/acl/same", &[(ALL, "magic", "x")], 99)),
        ann(set_acl("/acl/nobody", &[(ALL, "magic", "x")], ANY)),
        ann(set_acl("/acl//", &[(ALL, "magic", "x")], ANY)),
    ]);
    steps
}

fn identities() -> Vec<Step> {
    vec![
        ann(auth("digest", "ann:one")),
        ann(Request::WhoAmI),
        ann(auth("digest", "ann:one")),
        ann(Request::WhoAmI),
        bob(auth("digest", "bob:two")),
        bob(auth("digest", "robert:three")),
        bob(Request::WhoAmI),
        bob(auth("ip", "")),
        bob(Request::WhoAmI),
        ann(create_with("/acl/auth", &[(ALL, "auth", "")])),
        ann(get_acl("/acl/auth")),
        bob(create_with("/acl/auths", &[(ALL, "auth", "")])),
        bob(get_acl("/acl/auths")),
        ann(create_with("/acl/auth2", &[(READ, "auth", ""), (ALL, "digest", ANN)])),
        ann(get_acl("/acl/auth2")),
        on("carl", create_with("/acl/auth3", &[(ALL, "auth", "")])),
        on("carl", set_acl("/acl/auth", &[(ALL, "auth", "")], ANY)),
        on("carl", set_acl("/acl/nobody", &[(ALL, "auth", "")], ANY)),
        ann(create_with("/acl/local", &[(ALL, "ip", "127.0.0.1")])),
        bob(get("/acl/local", false)),
        ann(create_with("/acl/net", &[(ALL, "ip", "127.0.0.0/8")])),
        bob(get("/acl/net", false)),
        ann(create_with("/acl/away", &[(ALL, "ip", "10.0.0.0/8")])),
        bob(get("/acl/away", false)),
    ]
}

/// Every operation on a znode of somebody else.
fn refusals() -> Vec<Step> {
    let tried = |path: &'static str, child: &'static str| {
        let mut steps = vec![
            bob(exists(path, false)).explained(explained::EXISTS_READS),
            bob(get(path, false)),
            bob(children(path, false)),
            bob(children2(path, false)),
            bob(Request::GetAllChildrenNumber(path)),
            bob(get_acl(path)),
            bob(set(path, "x", ANY)),
            bob(set(path, "x", 99)),
            bob(set_acl(path, OPEN, ANY)),
            bob(set_acl(path, OPEN, 99)),
            bob(create(child, "", PERSISTENT)),
            bob(create2(child, "", SEQUENTIAL)),
            bob(container(child, CONTAINER)),
            bob(create_ttl(child, TTL, 100_000)),
            bob(delete(child, ANY)),
            bob(multi([m_check(path, ANY)])),
            bob(multi([m_set(path, ANY)])),
            bob(multi([m_create(child, PERSISTENT)])),
            bob(multi([m_delete(child, ANY)])),
            bob(multi_read([r_get(path), r_children(path)])),
        ];
        steps.push(bob(Request::Sync(path)));
        steps
    };
    [
        vec![
            ann(create_with("/mine", &[(ALL, "auth", "")])),
            ann(create("/mine/child", "", PERSISTENT)),
        ],
        tried("/mine", "/mine/child"),
        vec![
            bob(get("/mine/child", false)),
            bob(delete("/mine/nobody", ANY)),
            bob(delete("/mine/nobody/x", ANY)),
            bob(create("/mine/nobody/x", "", PERSISTENT)),
            bob(create("/mine/child/x", "", PERSISTENT)),
            bob(delete("/mine/child/x", ANY)),
        ],
    ]
    .concat()
}

/// One permission at a time, and which error comes first.
fn order() -> Vec<Step> {
    let mut steps = vec![ann(create("/one", "", PERSISTENT))];
    let znodes: [(&'static str, &'static str, u32); 5] = [
        ("/one/r", "/one/r/c", READ),
        ("/one/w", "/one/w/c", WRITE),
        ("/one/c", "/one/c/c", CREATE),
        ("/one/d", "/one/d/c", DELETE),
        ("/one/a", "/one/a/c", ADMIN),
    ];
    for (path, child, permission) in znodes {
        let stranger = (permission, "world", "anyone");
        let exists_step = bob(exists(path, false));
        let exists_step = if permission == READ {
            exists_step
        } else {
            exists_step.explained(explained::EXISTS_READS)
        };
        steps.extend([
            ann(create_with(path, &[stranger, (ALL, "digest", ANN)])),
            ann(create(child, "", PERSISTENT)),
            exists_step,
            bob(get(path, false)),
            bob(children(path, false)),
            bob(get_acl(path)),
            bob(set(path, "x", 0)),
            bob(create(child, "", PERSISTENT)),
            bob(create_with(child, &[])),
            bob(create("/one/nobody/x", "", PERSISTENT)),
            bob(delete(child, 99)),
            bob(delete(child, 0)),
            bob(set_acl(path, &[stranger, (ALL, "digest", ANN)], 0)),
            bob(set_acl(path, &[], 0)),
            bob(multi([m_check(path, ANY), m_set(path, 5)])),
        ]);
    }
    steps
}

/// Hashes of passwords are shown to administrators of the znode alone.
fn masked() -> Vec<Step> {
    vec![
        ann(create_with(
            "/mask",
            &[(ALL, "digest", ANN), (READ, "digest", BOB), (READ, "ip", "127.0.0.1")],
        )),
        ann(get_acl("/mask")),
        bob(get_acl("/mask")),
        on("carl", get_acl("/mask")),
        ann(create_with("/mask2", &[(ADMIN, "digest", BOB), (READ, "digest", ANN)])),
        ann(get_acl("/mask2")),
        bob(get_acl("/mask2")),
        on("carl", get_acl("/mask2")),
        bob(set_acl("/mask2", &[(WRITE, "digest", BOB)], ANY)),
        bob(get_acl("/mask2")),
        bob(set_acl("/mask2", OPEN, ANY)),
        bob(set("/mask2", "x", ANY)),
        ann(create_with("/mask3", &[(READ, "digest", "odd:id"), (READ, "world", "anyone")])),
        on("carl", get_acl("/mask3")),
    ]
}

fn administrators() -> Vec<Step> {
    vec![
        act("root", Act::Connect(30_000)),
        on("root", get("/mine", false)),
        on("root", auth("digest", "super:wrong")),
        on("root", get("/mine", false)),
        on("root", auth("digest", "super:test")),
        on("root", Request::WhoAmI),
        on("root", get("/mine", false)),
        on("root", get_acl("/mine")),
        on("root", get_acl("/mask2")),
        on("root", set_acl("/mask2", OPEN, ANY)),
        on("root", create_with("/mine/root", &[(ALL, "auth", "")])),
        on("root", get_acl("/mine/root")),
        on("root", delete("/mine/root", ANY)),
        on("root", delete("/mine/child", ANY)),
        on("root", create_with("/supers", &[(ALL, "super", "")])),
        on("root", get_acl("/supers")),
        on("root", delete("/", ANY)),
        on("root", Request::CloseSession),
    ]
}

/// Proofs that prove nothing.
fn proofs() -> Vec<Step> {
    vec![
        act("p1", Act::Connect(30_000)),
        on("p1", auth("magic", "x")),
        act("p2", Act::Connect(30_000)),
        on("p2", auth("", "")),
        act("p3", Act::Connect(30_000)),
        on("p3", auth("world", "anyone")),
        act("p4", Act::Connect(30_000)),
        on("p4", auth("digest", "nocolon")),
        on("p4", Request::WhoAmI),
        on("p4", create_with("/p4", &[(ALL, "auth", "")])),
        on("p4", get_acl("/p4")),
        act("p5", Act::Connect(30_000)),
        on("p5", auth("digest", "")),
        on("p5", Request::WhoAmI),
        on("p5", create_with("/p5", &[(ALL, "auth", "")])),
        on("p5", get_acl("/p5")),
        act("p6", Act::Connect(30_000)),
        on("p6", auth("digest", "a:b:c")),
        on("p6", Request::WhoAmI),
        on("p6", create_with("/p6", &[(ALL, "auth", "")])),
        on("p6", get_acl("/p6")),
        act("p7", Act::Connect(30_000)),
        on("p7", auth("auth", "x")),
        act("p8", Act::Connect(30_000)),
        on("p8", auth("x509", "x")),
        act("p9", Act::Connect(30_000)),
        on("p9", auth("super", "x")),
        act("p10", Act::Connect(30_000)),
        on("p10", auth("sasl", "x")),
        act("p11", Act::Connect(30_000)),
        on("p11", auth("ip", "10.0.0.1")),
        on("p11", Request::WhoAmI),
    ]
}
