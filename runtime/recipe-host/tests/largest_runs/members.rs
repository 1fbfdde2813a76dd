//! Recipes whose dearest runs tell whoever waits of many members.

use crate::driven::{Driven, name, text};
use serde_json::{Value, json};

#[test]
fn a_group_loses_as_many_members_as_a_session_may_have() {
    let mut driven = Driven::new("group", &json!({ "metadata_bytes_max": 2_000 }));
    let first = driven.first;
    let mut generation = json!(0);
    let watch = |driven: &mut Driven, after: &Value| {
        driven.park_all(40, "await-change", &json!({ "after": after }));
    };
    // As many members as fit the list, as many of each session as it may have.
    let sessions = driven.sessions(8);
    let mut joined = 0;
    for session in &sessions {
        for _ in 0..60 {
            let wanted = json!({ "name": name(joined, 110), "metadata": text(1) });
            let Ok(_) = driven.call(*session, "join", &wanted) else { break };
            joined += 1;
        }
    }
    println!("{joined} members");
    for number in 0..200 {
        let wanted = json!({ "name": name(number % 60, 110), "metadata": text(1) });
        generation = driven.done(sessions[0], "update", &wanted);
        if number >= 196 {
            watch(&mut driven, &generation);
        }
    }
    driven.done(first, "members", &json!({}));
    driven.done(first, "await-change", &json!({ "after": 1 }));
    for session in sessions {
        driven.expire(session);
        driven.settle();
    }
    assert!(generation.is_u64());
    driven.judge();
}

#[test]
fn a_group_of_a_few_large_members_tells_all_who_wait() {
    let mut driven = Driven::new("group", &json!({ "metadata_bytes_max": 19_000 }));
    let session = driven.stage.open();
    let mut generation = json!(0);
    for number in 0..10 {
        let wanted = json!({ "name": name(number, 128), "metadata": text(19_000) });
        generation = driven.done(session, "join", &wanted);
    }
    driven.park_all(300, "await-change", &json!({ "after": generation }));
    driven.expire(session);
    driven.settle();
    driven.keep_below();
}

#[test]
fn a_registry_loses_as_many_instances_as_go_with_a_session_or_are_due_at_once() {
    let mut driven = Driven::new("registry", &json!({}));
    let first = driven.first;
    let tags: Vec<String> = (0..4).map(|number| name(number, 16)).collect();
    let instance = |number: usize, ttl_ms: Option<u64>| {
        json!({
            "id": name(number, 255), "address": "h".repeat(255), "port": 80, "tags": tags,
            "metadata": { "zone": "z".repeat(60) }, "ttl_ms": ttl_ms, "remove_after_ms": 1_000,
        })
    };
    for ttl_ms in [None, Some(1_000)] {
        let session = driven.stage.open();
        for number in 0..60 {
            driven.done(session, "register", &instance(number, ttl_ms));
        }
        for number in 60..1_000 {
            let Ok(_) = driven.call(first, "register", &instance(number, Some(80_000_000))) else {
                break;
            };
        }
        let revision =
            driven.done(first, "instances", &json!({ "tags": tags }))["revision"].clone();
        driven.park_all(450, "await-change", &json!({ "after": revision }));
        if ttl_ms.is_some() {
            driven.advance(1_000);
            let revision = driven.done(first, "instances", &json!({}))["revision"].clone();
            driven.park_all(450, "await-change", &json!({ "after": revision }));
            driven.advance(1_000);
        } else {
            driven.expire(session);
        }
        driven.settle();
    }
    driven.judge();
}

#[test]
fn a_registry_of_many_small_instances_is_listed() {
    let mut driven = Driven::new("registry", &json!({}));
    let sessions = driven.sessions(10);
    for number in 0..200 {
        let wanted = json!({ "id": name(number, 6), "address": "h", "port": 80 });
        driven.done(sessions[number / 20], "register", &wanted);
    }
    driven.done(driven.first, "instances", &json!({}));
    for session in sessions {
        driven.expire(session);
    }
    driven.keep_below();
}

fn partitions(count: usize, from: usize) -> Value {
    let names: Vec<String> = (from..from + count).map(|number| name(number, 64)).collect();
    json!({ "partitions": { "names": names } })
}

#[test]
fn an_assignment_of_the_most_partitions_among_the_most_members_changes_hands() {
    let config = json!({ "members_max": 64, "partitions_max": 160 });
    let mut driven = Driven::new("assignment", &config);
    let first = driven.first;
    driven.done(first, "define", &partitions(160, 0));
    // Half of the members of one session, half of their own each.
    let mut sessions = vec![driven.stage.open(); 32];
    sessions.extend(driven.sessions(32));
    let join = |number: usize| json!({ "name": name(number, 64) });
    for (number, session) in sessions.iter().enumerate() {
        driven.done(*session, "join", &join(number));
    }
    settle_shares(&mut driven, &sessions);
    wait_all(&mut driven, &sessions);
    driven.done(first, "assignments", &json!({}));
    // Everything is another partition now, for all who wait.
    driven.done(first, "define", &partitions(160, 1_000));
    settle_shares(&mut driven, &sessions);
    wait_all(&mut driven, &sessions);
    driven.expire(sessions[0]);
    driven.judge();
}

/// Every member gives up what it is asked to.
fn settle_shares(driven: &mut Driven, sessions: &[quorate_types::SessionId]) {
    for (number, session) in sessions.iter().enumerate() {
        let name = name(number, 64);
        let share = driven.done(*session, "assignment", &json!({ "name": name }));
        let (generation, revoking) = (&share["generation"], &share["revoking"]);
        if revoking.as_array().is_some_and(|revoking| !revoking.is_empty()) {
            let given_up =
                json!({ "name": name, "generation": generation, "partitions": revoking });
            driven.done(*session, "acknowledge", &given_up);
        }
    }
}

fn wait_all(driven: &mut Driven, sessions: &[quorate_types::SessionId]) {
    for (number, session) in sessions.iter().enumerate() {
        let name = name(number, 64);
        let share = driven.done(*session, "assignment", &json!({ "name": name }));
        let after = &share["generation"];
        driven.parked(*session, "await-assignment", &json!({ "name": name, "after": after }));
    }
}
