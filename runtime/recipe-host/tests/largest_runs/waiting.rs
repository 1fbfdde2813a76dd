//! Recipes whose dearest runs answer many who wait at once.

use crate::driven::Driven;
use serde_json::json;

#[test]
fn a_barrier_opens_breaks_and_times_out_with_as_many_waiters_as_one_run_answers() {
    let mut driven = Driven::new("barrier", &json!({ "answered_max": 400, "ttl_ended": "breaks" }));
    let first = driven.first;
    for ends_by_itself in [false, true] {
        driven.done(first, "close", &json!({ "ttl_ms": 1_000, "note": "n".repeat(1_000) }));
        driven.park_all(900, "wait", &json!({}));
        driven.done(first, "state", &json!({}));
        if !ends_by_itself {
            driven.done(first, "open", &json!({}));
        }
        driven.advance(1_000);
    }
    driven.done(first, "close", &json!({}));
    driven.park_all(401, "wait", &json!({}));
    driven.expire(first);
    driven.settle();
    driven.judge();
}

#[test]
fn a_latch_reaches_zero_with_as_many_waiters_and_keys_as_one_run_handles() {
    let mut driven = Driven::new("latch", &json!({ "answered_max": 300 }));
    let first = driven.first;
    driven.done(first, "start", &json!({ "count": 1_000 }));
    driven.park_all(700, "wait", &json!({}));
    for number in 0..600 {
        let key = crate::driven::name(number, 200);
        driven.done(first, "count-down", &json!({ "key": key }));
    }
    driven.done(first, "count-down", &json!({ "by": 400 }));
    driven.settle();
    driven.done(first, "reset", &json!({ "count": 3 }));
    driven.judge();
}

#[test]
fn a_counter_moves_past_as_many_waiters_as_one_run_answers() {
    let mut driven = Driven::new("counter", &json!({ "answered_max": 300 }));
    let first = driven.first;
    driven.park_all(700, "await", &json!({ "at_least": 9_000_000_000_000_000_000_i64 }));
    driven.done(first, "set", &json!({ "number": i64::MAX }));
    driven.settle();
    driven.judge();
}

#[test]
fn a_value_changes_under_as_many_waiters_as_one_run_answers() {
    for bytes in [16, 1_000, 131_072] {
        let config = json!({ "answered_max": 400, "value_bytes_max": 131_072 });
        let mut driven = Driven::new("value", &config);
        let first = driven.first;
        let set = json!({ "value": { "bytes": bytes } });
        let version = driven.done(first, "set", &set)["version"].clone();
        driven.park_all(900, "await-change", &json!({ "after": version }));
        driven.done(first, "set", &set);
        driven.settle();
        driven.done(first, "get", &json!({}));
        if bytes == 16 {
            driven.judge();
        }
        driven.keep_below();
    }
}

#[test]
fn an_election_changes_hands_before_as_many_observers_as_one_run_answers() {
    for bytes in [16, 131_072] {
        let config = json!({ "answered_max": 400, "value_bytes_max": 131_072 });
        let mut driven = Driven::new("election", &config);
        let first = driven.first;
        let value = json!({ "bytes": bytes });
        let campaign = json!({ "name": "first", "value": value });
        let term = driven.done(first, "campaign", &campaign)["term"].clone();
        let next = driven.stage.open();
        for number in 0..20 {
            let name = crate::driven::name(number, 200);
            driven.parked(next, "campaign", &json!({ "name": name, "value": value }));
        }
        for number in 20..40 {
            let name = crate::driven::name(number, 200);
            driven.parked(first, "campaign", &json!({ "name": name, "value": value }));
        }
        driven.park_all(900, "observe", &json!({ "after": term }));
        driven.done(first, "proclaim", &json!({ "term": term, "value": value }));
        driven.settle();
        let revision = driven.done(first, "leader", &json!({}))["revision"].clone();
        driven.park_all(900, "observe", &json!({ "after": revision }));
        let to = crate::driven::name(19, 200);
        driven.done(first, "transfer", &json!({ "term": term, "to": to }));
        driven.settle();
        driven.done(first, "candidates", &json!({}));
        let revision = driven.done(first, "leader", &json!({}))["revision"].clone();
        driven.park_all(900, "observe", &json!({ "after": revision }));
        driven.expire(next);
        driven.settle();
        if bytes == 16 {
            driven.judge();
        }
        driven.keep_below();
    }
}

#[test]
fn a_double_barrier_is_entered_left_and_broken_by_as_many_as_it_may_have() {
    let mut driven = Driven::new("double-barrier", &json!({}));
    for is_broken in [false, true] {
        let members = driven.sessions(256);
        let mut entered = Vec::new();
        for member in &members[..255] {
            entered.push(driven.parked(*member, "enter", &json!({ "parties": 256 })));
        }
        let last = members[255];
        let number = driven.done(last, "enter", &json!({ "parties": 256 }))["member"].clone();
        driven.done(last, "state", &json!({}));
        for (member, sequence) in members[..255].iter().zip(entered) {
            let number = driven.answer(*member, sequence)["member"].clone();
            driven.parked(*member, "leave", &json!({ "member": number }));
        }
        if is_broken {
            driven.expire(last);
        } else {
            driven.done(last, "leave", &json!({ "member": number }));
        }
    }
    driven.done(driven.first, "reset", &json!({}));
    driven.judge();
}
