//! Several operations in one request: done together or not at all, and several reads.

use crate::explained;
use crate::step::*;
use quorate_wire::zookeeper::{Create, MultiOperation};

pub(super) fn steps() -> Vec<Step> {
    [done(), failed(), wrong(), reads()].concat()
}

fn done() -> Vec<Step> {
    vec![
        ann(create("/m", "", PERSISTENT)),
        ann(multi([])),
        ann(multi([m_create("/m/a", PERSISTENT)])),
        ann(multi([
            m_create("/m/b", PERSISTENT),
            m_create2("/m/b/x", PERSISTENT),
            m_set("/m/b", 0),
            m_check("/m/b", 1),
            m_delete("/m/b/x", ANY),
            m_delete("/m/b", 1),
        ]))
        .explained(explained::MULTI_CREATE2),
        ann(exists("/m", false)),
        ann(multi([
            m_create("/m/s-", SEQUENTIAL),
            m_create2("/m/s-", SEQUENTIAL),
            m_create("/m/s-", EPHEMERAL_SEQUENTIAL),
            m_create2("/m/e", EPHEMERAL),
            m_create("/m/", SEQUENTIAL),
        ]))
        .explained(explained::MULTI_CREATE2),
        ann(multi([
            m_ttl("/m/t", TTL, 100_000),
            m_ttl("/m/t-", TTL_SEQUENTIAL, 100_000),
            MultiOperation::CreateContainer(creation("/m/c", "m", CONTAINER, OPEN)),
            m_create("/m/c/x", PERSISTENT),
            m_create("/m/c4", CONTAINER),
            m_create2("/m/c5", CONTAINER),
        ])),
        ann(children2("/m", false)),
        ann(exists("/m/c", false)),
        ann(exists("/m/e", false)),
        ann(exists("/m/t", false)),
        ann(multi([m_set("/m/a", ANY), m_set("/m/a", ANY), m_set("/m/a", 2)])),
        ann(get("/m/a", false)),
        ann(multi([m_check("/m/a", ANY), m_check("/m/a", 3), m_check("/", ANY)])),
        ann(multi([m_delete("/m/a", ANY), m_create2("/m/a", PERSISTENT)]))
            .explained(explained::MULTI_CREATE2),
        ann(get("/m/a", false)),
        ann(multi([MultiOperation::Create(Create {
            data: None,
            ..creation("/m/null", "", PERSISTENT, OPEN)
        })])),
        ann(get("/m/null", false)),
        ann(multi([m_check("/m/a", ANY)])),
        ann(exists("/m", false)),
    ]
}

fn failed() -> Vec<Step> {
    vec![
        ann(multi([m_check("/m/a", 7)])),
        ann(multi([m_check("/nobody", ANY)])),
        ann(multi([m_delete("/nobody", ANY), m_create("/m/n", PERSISTENT)])),
        ann(multi([m_create("/m/n", PERSISTENT), m_delete("/nobody", ANY)])),
        ann(multi([
            m_create("/m/n", PERSISTENT),
            m_create2("/m/n/x", PERSISTENT),
            m_create("/m/a", PERSISTENT),
            m_set("/m/a", ANY),
            m_delete("/m/a", ANY),
        ])),
        ann(multi([m_create("/m/n", PERSISTENT), m_create("/m/n", PERSISTENT)])),
        ann(multi([m_set("/m/a", 99), m_set("/nobody", ANY)])),
        ann(multi([m_set("/m/a", ANY), m_set("/m/a", 0), m_check("/m/a", 1)])),
        ann(multi([m_delete("/m", ANY)])),
        ann(multi([m_create("/m/e/x", PERSISTENT)])),
        ann(multi([m_create("/m/f", EPHEMERAL), m_create("/m/f/x", PERSISTENT)])),
        ann(multi([m_set("/m/a", ANY), m_check("/m/a", 0)])),
        ann(multi([
            m_create("/m/n", PERSISTENT),
            m_check("/m/n", 0),
            m_create("/nobody/x", PERSISTENT),
        ])),
        ann(multi([m_ttl("/m/n", TTL, 0), m_create("/m/n", PERSISTENT)])),
        ann(multi([m_create("/m/n", PERSISTENT), m_ttl("/m/o", TTL, -5)])),
        ann(multi([m_ttl("/m/n", PERSISTENT, 5), m_create("/m/n", PERSISTENT)])),
        ann(multi([m_create("/m/n", PERSISTENT), m_create("/m/o", TTL)])),
        ann(multi([MultiOperation::CreateContainer(creation("/m/a", "", CONTAINER, OPEN))])),
        ann(exists("/m", false)),
        ann(get("/m/a", false)),
        ann(exists("/m/n", false)),
        ann(create2("/m/after-", "", SEQUENTIAL)),
    ]
}

/// Operations that are wrong in themselves, at each place.
fn wrong() -> Vec<Step> {
    vec![
        ann(multi([m_create("bad", PERSISTENT)])),
        ann(multi([m_create("bad", PERSISTENT), m_create("/m/n", PERSISTENT)])),
        ann(multi([m_create("/m/n", PERSISTENT), m_create("bad", PERSISTENT), m_set("/m/a", ANY)])),
        ann(multi([m_check("/nobody", ANY), m_create("bad", PERSISTENT)])),
        ann(multi([m_create("bad", PERSISTENT), m_check("/nobody", ANY)])),
        ann(multi([m_create("/m/n", 7)])),
        ann(multi([m_create("/m/n", PERSISTENT), m_create2("/m/o", -1)])),
        ann(multi([m_set("bad", ANY)])),
        ann(multi([m_set("/m//a", ANY)])),
        ann(multi([m_delete("bad", ANY)])),
        ann(multi([m_delete("/m//a", ANY)])),
        ann(multi([m_delete("/", ANY)])),
        ann(multi([m_check("bad", ANY)])),
        ann(multi([m_check("/m//a", ANY)])),
        ann(multi([m_check("", ANY)])),
        ann(multi([MultiOperation::Create(creation("/m/n", "", PERSISTENT, &[]))])),
        ann(multi([
            m_set("/m/a", ANY),
            MultiOperation::Create2(creation("/m/n", "", PERSISTENT, &[(ALL, "magic", "x")])),
            m_set("/m/a", ANY),
        ])),
        ann(multi([MultiOperation::Create(creation("bad", "", PERSISTENT, &[]))])),
        bob(multi([m_set("/m/a", ANY), m_set("/mine", ANY), m_set("/m/a", ANY)])),
        bob(multi([m_create("/mine/x", PERSISTENT)])),
        ann(get("/m/a", false)),
        ann(exists("/m", false)),
        // Types that cannot stand there: getData, exists, setACL, close.
        act("w1", Act::Connect(30_000)),
        act("w1", Act::Raw(14, [0, 0, 0, 4, 0, 255, 255, 255, 255].to_vec())),
        act("w2", Act::Connect(30_000)),
        act("w2", Act::Raw(14, [0, 0, 0, 7, 0, 255, 255, 255, 255].to_vec())),
        act("w3", Act::Connect(30_000)),
        act("w3", Act::Raw(14, Vec::new())),
        act("w4", Act::Connect(30_000)),
        act("w4", Act::Raw(1, vec![0, 0, 0, 9, b'/'])),
        act("w5", Act::Connect(30_000)),
        act("w5", Act::Raw(4, Vec::new())),
        act("w6", Act::Connect(30_000)),
        act("w6", Act::Raw(4, vec![255, 255, 255, 255, 0])).explained(explained::NULL_PATH),
        act("w7", Act::Connect(30_000)),
        act("w7", Act::Raw(22, [0, 0, 0, 1, 0, 255, 255, 255, 255].to_vec())),
    ]
}

fn reads() -> Vec<Step> {
    vec![
        ann(multi_read([])),
        ann(multi_read([r_get("/m/a")])),
        ann(multi_read([r_get("/m/a"), r_children("/m"), r_get("/m/e")])),
        ann(multi_read([r_get("/nobody"), r_children("/m/c")])),
        ann(multi_read([r_get("/m/a"), r_get("/nobody"), r_children("/nobody"), r_get("/m/a")])),
        ann(multi_read([r_get("bad")])),
        ann(multi_read([r_get("/m/a"), r_children("bad"), r_get("/m//a")])),
        bob(multi_read([r_get("/mine"), r_get("/m/a"), r_children("/mine")])),
    ]
}
