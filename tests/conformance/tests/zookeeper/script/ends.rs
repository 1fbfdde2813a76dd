//! Sessions go on, move, expire and end; requests that nobody may make.

use crate::explained;
use crate::step::*;
use quorate_wire::zookeeper::{Reconfig, Request};

pub(super) fn steps() -> Vec<Step> {
    [resumed(), expired(), closed(), unknown()].concat()
}

fn resume(of: &'static str, password: Password, seen: Seen) -> Act {
    Act::Resume { of, password, seen }
}

fn resumed() -> Vec<Step> {
    vec![
        act("s", Act::Connect(30_000)),
        on("s", create("/s", "", PERSISTENT)),
        on("s", create2("/s/e", "", EPHEMERAL)),
        on("s", get("/s", true)),
        on("s", auth("digest", "ann:one")),
        act("s", Act::Drop),
        ann(exists("/s/e", false)),
        act("s3", resume("s", Password::Wrong, Seen::Nothing)),
        act("s4", resume("s", Password::Empty, Seen::Nothing)),
        act("s6", resume("s", Password::Right, Seen::Future)),
        act("s2", resume("s", Password::Right, Seen::Nothing)),
        on("s2", Request::GetEphemerals("/")),
        on("s2", Request::WhoAmI),
        on("s2", check_watches("/s", ANY_KIND)),
        on("s2", create2("/s/f", "", EPHEMERAL)),
        // The older connection of a session goes.
        act("s5", resume("s", Password::Right, Seen::Newest)),
        on("s5", exists("/s/f", false)),
        act("s7", Act::ResumeUnknown),
        on("s5", Request::CloseSession),
        ann(children("/s", false)),
        act("t", Act::Connect(30_000)),
        act("t2", resume("t", Password::Wrong, Seen::Nothing)).explained(explained::WRONG_PASSWORD),
        act("v", Act::Connect(30_000)),
        act("v2", resume("v", Password::Right, Seen::Future)).explained(explained::FROM_ELSEWHERE),
        act("s8", resume("s", Password::Right, Seen::Nothing)),
    ]
}

fn expired() -> Vec<Step> {
    vec![
        act("x", Act::Connect(4_000)),
        on("x", create("/s/x", "", EPHEMERAL)),
        ann(exists("/s/x", true)),
        act("x", Act::Drop),
        act("ann", Act::Await),
        ann(exists("/s/x", false)),
        act("x2", resume("x", Password::Right, Seen::Nothing)),
    ]
}

fn closed() -> Vec<Step> {
    vec![
        act("y", Act::Connect(30_000)),
        on("y", create("/s/y", "", EPHEMERAL)),
        on("y", Request::CloseSession),
        ann(exists("/s/y", false)),
        act("y2", resume("y", Password::Right, Seen::Nothing)),
    ]
}

/// Requests of no client, and none at all.
fn unknown() -> Vec<Step> {
    let mut steps = Vec::new();
    let connections = ["u1", "u2", "u3", "u4", "u5", "u6"];
    for (connection, opcode) in connections.into_iter().zip([0, 10, 23, 99, -12, 4_711]) {
        steps.push(act(connection, Act::Connect(30_000)));
        steps.push(on(connection, Request::Unknown(opcode)));
    }
    let reconfig = Reconfig { joining: None, leaving: Some("1"), new_members: None, config_id: -1 };
    steps.extend([
        act("u7", Act::Connect(30_000)),
        on("u7", Request::CreateSession).explained(explained::CREATE_SESSION),
        act("u8", Act::Connect(30_000)),
        on("u8", Request::Reconfig(reconfig)),
        ann(create("/s/empty", "", PERSISTENT)),
        act("u9", Act::Connect(30_000)),
        on("u9", Request::DeleteContainer(Some(bytes::Bytes::from_static(b"/s/empty"))))
            .explained(explained::DELETE_CONTAINER),
        ann(Request::CloseSession),
        bob(Request::CloseSession),
    ]);
    steps
}

const ANY_KIND: i32 = 3;
