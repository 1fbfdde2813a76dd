//! Recipes whose dearest runs grant to those in line, or step over the places of an ending session.

use crate::driven::{Driven, PARKED_MAX, name};
use crate::support::stage::path;
use quorate_types::request::CreateMode;
use quorate_types::{Operation, ZnodePath};
use serde_json::{Value, json};

#[test]
fn a_lock_passes_on_over_all_the_places_of_a_session_that_ends() {
    let mut driven = Driven::new("lock", &json!({}));
    let (first, next) = (driven.first, driven.stage.open());
    let acquire = json!({ "note": "n".repeat(1_000) });
    driven.done(first, "acquire", &acquire);
    for _ in 0..PARKED_MAX {
        driven.parked(first, "acquire", &acquire);
    }
    let waiting = driven.parked(next, "acquire", &acquire);
    driven.expire(first);
    driven.settle();
    driven.answer(next, waiting);
    driven.judge();
}

/// The place of the last client: the lock's znode has had so many children when it comes.
const LAST_PLACE: usize = 690;

/// The higher its number, the sooner its turn, so that each is before those that are looked at before it.
fn contender_path(number: usize) -> ZnodePath {
    path(&format!("/r/a/_c_{number:036}-lock-{:010}", LAST_PLACE - number))
}

/// A child by which a client of ZooKeeper contends, of the longest that are usual.
fn contender(number: usize) -> Operation {
    let path = contender_path(number);
    let data = vec![b'd'; 64].into();
    Operation::Create { path, data, mode: CreateMode::Ephemeral, acl: None }
}

#[test]
fn a_shared_lock_passes_on_among_as_many_clients_as_one_run_looks_at() {
    let mut driven = Driven::open("lock", &json!({ "layout": "zookeeper" }));
    let (first, next) = (driven.first, driven.stage.open());
    let acquire = json!({ "note": "n".repeat(1_000) });
    driven.done(first, "acquire", &acquire);
    for _ in 0..148 {
        driven.parked(first, "acquire", &acquire);
    }
    let waiting = driven.parked(next, "acquire", &acquire);
    // All are behind who waits now, and before who will.
    let client = driven.stage.open();
    for number in 0..240 {
        driven.write(client, contender(number));
    }
    driven.expire(first);
    driven.settle();
    let fence = driven.answer(next, waiting)["fence"].clone();
    driven.done(next, "release", &json!({ "fence": fence }));
    driven.done(next, "holder", &json!({}));
    let refused = driven.call(next, "acquire", &json!({ "wait_ms": 0 }));
    assert!(refused.is_err(), "{refused:?}");
    for _ in 0..300 {
        driven.parked(next, "acquire", &acquire);
    }
    let last = driven.stage.open();
    driven.parked(last, "acquire", &acquire);
    driven.expire(next);
    driven.write(client, Operation::Delete { path: contender_path(239), expected_version: None });
    driven.expire(client);
    driven.settle();
    driven.keep_below();
}

#[test]
fn several_locks_are_acquired_and_passed_on_together() {
    let mut driven = Driven::new("lock", &json!({}));
    let others: Vec<String> = (0..15).map(|number| name(number, 100)).collect();
    let all = json!({ "with": others, "note": "n".repeat(1_000) });
    let first = driven.first;
    let fence = driven.done(first, "acquire-all", &all)["fence"].clone();
    let next = driven.stage.open();
    let next_call = driven.parked(next, "acquire-all", &all);
    // Then one who waits for each lock alone.
    let alone = driven.sessions(16);
    for (session, lock) in alone.iter().zip(others.iter().cloned().chain([String::from("a")])) {
        let object = format!("/r/{lock}");
        let outcome = driven.call_at(*session, &object, "acquire", &json!({}));
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    driven.done(first, "release-all", &json!({ "fence": fence }));
    let fence = driven.answer(next, next_call)["fence"].clone();
    driven.done(next, "release-all", &json!({ "fence": fence }));
    for session in alone {
        driven.expire(session);
    }
    driven.keep_below();
}

#[test]
fn a_read_write_lock_admits_as_many_readers_as_one_run_may() {
    let mut driven = Driven::new("read-write-lock", &json!({}));
    let first = driven.first;
    let note = "n".repeat(1_024);
    let (write, read) =
        (json!({ "mode": "write", "note": note }), json!({ "mode": "read", "note": note }));
    let fence = driven.done(first, "acquire", &write)["fence"].clone();
    // Readers of their own session each, then many of one.
    for reader in driven.sessions(150) {
        driven.parked(reader, "acquire", &read);
    }
    let many = driven.stage.open();
    for _ in 0..150 {
        driven.parked(many, "acquire", &read);
    }
    driven.done(first, "release", &json!({ "fence": fence }));
    driven.settle();
    driven.done(first, "holders", &json!({}));
    // A writer behind all these, before whom a session ends with many places and holds.
    let held = driven.stage.open();
    for _ in 0..500 {
        driven.done(held, "acquire", &read);
    }
    let writer = driven.parked(first, "acquire", &write);
    for _ in 0..PARKED_MAX - 600 {
        driven.parked(held, "acquire", &read);
    }
    let last = driven.stage.open();
    let waiting = driven.parked(last, "acquire", &read);
    driven.expire(first);
    driven.expire(held);
    driven.settle();
    driven.answer(last, waiting);
    assert!(writer > 0);
    driven.judge();
}

fn semaphore(capacity: u64) -> (Driven, Value) {
    let driven = Driven::new("semaphore", &json!({ "capacity": capacity }));
    (driven, json!({ "note": "n".repeat(256), "ttl_ms": 1_000_000 }))
}

#[test]
fn a_semaphore_grants_to_as_many_as_one_run_may_who_have_as_many_leases_as_they_may() {
    let (mut driven, acquire) = semaphore(100 * 99 + 1_000);
    let holders = driven.sessions(100);
    for holder in &holders {
        for _ in 0..99 {
            driven.done(*holder, "acquire", &acquire);
        }
    }
    let first = driven.first;
    let wanted = json!({ "quantity": 1_000 });
    let fence = driven.done(first, "acquire", &wanted)["fence"].clone();
    let waiting: Vec<(_, u64)> = holders
        .iter()
        .map(|holder| (*holder, driven.parked(*holder, "acquire", &acquire)))
        .collect();
    driven.done(first, "release", &json!({ "fence": fence }));
    driven.settle();
    for (holder, sequence) in waiting {
        driven.answer(holder, sequence);
    }
    driven.done(first, "leases", &json!({}));
    driven.expire(holders[0]);
    driven.judge();
}

#[test]
fn a_semaphore_passes_over_all_the_places_of_a_session_that_ends() {
    let (mut driven, acquire) = semaphore(1);
    let first = driven.first;
    driven.done(first, "acquire", &acquire);
    for _ in 0..PARKED_MAX {
        driven.parked(first, "acquire", &acquire);
    }
    let next = driven.stage.open();
    let waiting = driven.parked(next, "acquire", &acquire);
    driven.expire(first);
    driven.settle();
    driven.answer(next, waiting);
    driven.keep_below();
}

#[test]
fn a_rate_limiter_serves_as_many_as_one_run_may_who_have_as_many_leases_as_they_may() {
    let rate = json!({ "tokens": 1, "per_ms": 86_400_000, "burst": 1_000_000 });
    let mut driven = Driven::new("rate-limiter", &json!({ "rate": rate }));
    let first = driven.first;
    let lease = json!({ "tokens": 1, "for_ms": 3_600_000 });
    let holders = driven.sessions(100);
    for holder in &holders {
        for _ in 0..99 {
            driven.done(*holder, "lease", &lease);
        }
    }
    driven.done(first, "take", &json!({ "tokens": 1_000_000 - 9_900 }));
    let waiting: Vec<(_, u64)> =
        holders.iter().map(|holder| (*holder, driven.parked(*holder, "lease", &lease))).collect();
    let more = json!({ "rate": { "tokens": 1_000_000, "per_ms": 1, "burst": 1_000_000 } });
    driven.done(first, "configure", &more);
    driven.settle();
    for (holder, sequence) in waiting {
        driven.answer(holder, sequence);
    }
    driven.expire(holders[0]);
    driven.judge();
}

#[test]
fn a_rate_limiter_passes_over_all_the_places_of_a_session_that_ends() {
    let rate = json!({ "tokens": 1, "per_ms": 1_000, "burst": 1 });
    let mut driven = Driven::new("rate-limiter", &json!({ "rate": rate }));
    let first = driven.first;
    let take = json!({ "tokens": 1 });
    driven.done(first, "take", &take);
    for _ in 0..PARKED_MAX {
        driven.parked(first, "take", &take);
    }
    let next = driven.stage.open();
    let waiting = driven.parked(next, "take", &take);
    driven.stage.time_ms += 1_000;
    driven.expire(first);
    driven.settle();
    driven.answer(next, waiting);
    driven.keep_below();
}
