//! Another version runs beside the one that governs: it is compared and leaves no trace.

use super::harness::{Client, Harness, call, code, mount, path};
use crate::request::Identity;
use alloc::vec::Vec;
use quorate_types::recipe::ShadowReport;
use quorate_types::{ComponentDigest, ErrorCode, Operation, Outcome, Reply};

/// A lock at `/locks`, another component of the same recipe, and who asks.
fn start() -> (Harness, Client, ComponentDigest, ComponentDigest) {
    let mut harness = Harness::new();
    let mut client = harness.open("operator");
    let governing = harness.mount(&mut client, "/locks", false);
    let other = harness.install(&mut client, 2);
    (harness, client, governing, other)
}

fn begin(harness: &mut Harness, digest: ComponentDigest, calls: u32) -> Outcome {
    let (machine, executor) = (&harness.machine, &harness.executor);
    let identity = Identity::named("operator");
    harness.outstanding.begin_shadow(
        (machine, executor),
        &identity,
        &path("/locks"),
        (digest, calls),
    )
}

fn report(harness: &Harness) -> Option<ShadowReport> {
    let identity = Identity::named("operator");
    match harness.outstanding.shadow_report(&harness.machine, &identity, &path("/locks")) {
        Ok(Reply::Shadow(report)) => report,
        other => unreachable!("{other:?}"),
    }
}

/// Calls of every kind of outcome, by two clients; what they are told.
fn busy(harness: &mut Harness, client: &mut Client) -> Vec<Outcome> {
    let mut waiter = harness.open("waiter");
    let mut told = Vec::new();
    for operation in ["acquire", "touch", "refuse", "touch", "both"] {
        told.push(harness.call(client, "/locks/a", operation));
    }
    told.push(harness.call(&mut waiter, "/locks/a", "acquire"));
    told.push(harness.call(client, "/locks/a", "release"));
    told.push(harness.ask(client, call("/locks/b", "lease", &9_000u64.to_be_bytes())));
    told.push(harness.query("/locks/a", "holder"));
    told
}

#[test]
fn a_shadow_of_the_same_code_agrees_and_changes_nothing() {
    let (mut alone, mut client, _, _) = start();
    let expected = busy(&mut alone, &mut client);
    let (mut harness, mut client, governing, other) = start();
    assert_eq!(begin(&mut harness, other, 100), Ok(Reply::Done));
    // The harness verifies every call on a follower that has no shadow.
    assert_eq!(busy(&mut harness, &mut client), expected);
    assert_eq!(harness.machine.digest(), alone.machine.digest());
    let report = report(&harness).unwrap();
    assert_eq!((report.before, report.after, report.wanted), (governing, other, 100));
    assert_eq!((report.compared, report.equal), (8, 8), "queries are not compared");
    assert_eq!(report.differences, []);
}

#[test]
fn what_differs_is_told_and_not_done() {
    let (mut harness, mut client, _, other) = start();
    harness.executor.altered.insert(other);
    begin(&mut harness, other, 2).unwrap();
    for operation in ["touch", "acquire", "touch"] {
        harness.call(&mut client, "/locks/a", operation).unwrap();
    }
    let report = report(&harness).unwrap();
    assert_eq!((report.compared, report.equal), (2, 0), "the third is not compared any more");
    let difference = &report.differences[1];
    let which = (difference.object.as_str(), difference.operation.as_str());
    assert_eq!(which, ("a", "acquire"));
    assert_eq!(difference.before.outcome, difference.after.outcome);
    assert_eq!(difference.before.changes.len() + 1, difference.after.changes.len());
    let altered = difference.after.changes.iter().filter(|line| line.contains("altered-"));
    assert_eq!(altered.count(), 1, "{difference:?}");
    assert!(!harness.children("/locks/a").iter().any(|name| name.starts_with("altered")));
}

#[test]
fn a_shadow_that_traps_refuses_nobody_and_suspends_nothing() {
    let (mut harness, mut client, _, other) = start();
    harness.executor.broken.insert(other);
    begin(&mut harness, other, 100).unwrap();
    for _ in 0..20 {
        harness.call(&mut client, "/locks/a", "touch").unwrap();
    }
    assert_eq!(harness.outstanding.faults(&path("/locks")), 0);
    assert!(harness.machine.suspended_mounts().is_empty());
    let report = report(&harness).unwrap();
    assert_eq!((report.compared, report.equal), (20, 0));
    assert_eq!(code(&report.differences[0].after.outcome), Some(ErrorCode::RecipeTrapped));
}

#[test]
fn a_version_with_another_state_is_judged_by_what_callers_are_told() {
    let (mut harness, mut client, _, _) = start();
    let next = harness.install(&mut client, 1);
    begin(&mut harness, next, 100).unwrap();
    harness.call(&mut client, "/locks/a", "touch").unwrap();
    harness.call(&mut client, "/locks/a", "acquire").unwrap();
    let report = report(&harness).unwrap();
    assert_eq!((report.compared, report.equal), (2, 2), "{report:?}");
    assert!(harness.stat("/locks/migrated").is_none());
}

#[test]
fn a_shadow_ends_with_what_it_was_compared_to() {
    let (mut harness, mut client, governing, other) = start();
    begin(&mut harness, other, 100).unwrap();
    harness.call(&mut client, "/locks/a", "touch").unwrap();
    harness.ask(&mut client, mount("/locks", other, false)).unwrap();
    assert_eq!(report(&harness), None);
    harness.call(&mut client, "/locks/a", "touch").unwrap();
    harness.ask(&mut client, mount("/locks", governing, false)).unwrap();
    assert_eq!(report(&harness).map(|report| report.compared), Some(1));
    begin(&mut harness, other, 0).unwrap();
    assert_eq!(report(&harness), None);
}

#[test]
fn a_shadow_that_cannot_be_is_refused() {
    let (mut harness, mut client, _, other) = start();
    let unknown = super::harness::component(4).0;
    assert_eq!(code(&begin(&mut harness, unknown, 1)), Some(ErrorCode::NoRecipe));
    assert_eq!(code(&begin(&mut harness, other, u32::MAX)), Some(ErrorCode::BadArguments));
    harness.executor.loading.insert(other);
    assert_eq!(code(&begin(&mut harness, other, 1)), Some(ErrorCode::RecipeLoading));
    harness.executor.loading.clear();
    harness.ask(&mut client, Operation::Unmount { path: path("/locks") }).unwrap();
    assert_eq!(code(&begin(&mut harness, other, 1)), Some(ErrorCode::NoMount));
}
