//! Calls of the scripted lock: parking, session ends, deadlines, timers, faults, verification.

use super::harness::{Client, Harness, call, code};
use super::scripted::descriptor;
use crate::applied::Applied;
use crate::change::Change;
use crate::machine::Verdict;
use crate::request::{Prepared, Request};
use crate::transaction::Transaction;
use crate::view::LogLevel;
use crate::znode::ZnodeKind;
use bytes::Bytes;
use quorate_types::recipe::OperationKind;
use quorate_types::{ErrorCode, Operation, Outcome, Reply, TicketId, Zxid};

fn token(zxid: u64) -> Outcome {
    Ok(Reply::Called(Bytes::copy_from_slice(&zxid.to_be_bytes())))
}

fn locks() -> (Harness, Client, Client) {
    let mut harness = Harness::new();
    let mut holder = harness.open("holder");
    harness.mount(&mut holder, "/locks", false);
    let waiter = harness.open("waiter");
    (harness, holder, waiter)
}

/// What a session's request was told in these applied transactions.
fn told(applied: &Applied, client: &Client) -> Option<Outcome> {
    let mut own = applied.replies.iter().filter(|reply| reply.session == client.session);
    own.next().map(|reply| reply.outcome.clone())
}

#[test]
fn a_lock_is_granted_parked_and_passed_on() {
    let (mut harness, mut holder, mut waiter) = locks();
    let granted = harness.call(&mut holder, "/locks/a", "acquire");
    assert_eq!(granted, token(harness.zxid.0));
    assert_eq!(harness.children("/locks"), ["a"]);
    let parked = harness.call(&mut waiter, "/locks/a", "acquire");
    let ticket = TicketId::of(harness.zxid, 0);
    assert_eq!(parked, Ok(Reply::Parked(ticket)));
    assert_eq!(harness.machine.ticket_count(), 1);
    let again = harness.submit(waiter.repeat(call("/locks/a", "acquire", &[])));
    assert_eq!(again, Prepared::AlreadyParked(ticket));
    let (released, applied) = harness.ask_all(&mut holder, call("/locks/a", "release", &[]));
    assert_eq!(released, Ok(Reply::Called(Bytes::new())));
    assert_eq!(told(&applied, &waiter), Some(token(harness.zxid.0)));
    let again = harness.submit(waiter.repeat(call("/locks/a", "acquire", &[])));
    assert_eq!(again, Prepared::Answer(token(harness.zxid.0)));
    assert_eq!(harness.query("/locks/a", "holder"), token(harness.zxid.0));
    harness.call(&mut waiter, "/locks/a", "release").unwrap();
    assert_eq!(harness.children("/locks"), [""; 0], "an empty object is reaped");
}

#[test]
fn a_release_with_waiters_is_one_transaction_with_the_grant_and_the_waiters_answer() {
    let (mut harness, mut holder, mut waiter) = locks();
    let mut next = harness.open("next");
    for client in [&mut holder, &mut waiter, &mut next] {
        harness.call(client, "/locks/a", "acquire").unwrap();
    }
    let before = harness.zxid;
    let prepared = harness.submit(holder.request(call("/locks/a", "release", &[])));
    let Prepared::Transaction(transaction) = prepared else { unreachable!("{prepared:?}") };
    assert_eq!((harness.zxid, harness.queue.len()), (before.next(), 1));
    let holder_path = super::harness::path("/locks/a/holder");
    let granted = transaction.changes.iter().filter(|change| {
        matches!(change, Change::CreateZnode { path, kind: ZnodeKind::Ephemeral(owner), .. }
            if *path == holder_path && *owner == waiter.session)
    });
    assert_eq!(granted.count(), 1);
    let completed = transaction.changes.iter().filter_map(|change| match change {
        Change::Complete { ticket, outcome } => Some((*ticket, outcome.clone())),
        _ => None,
    });
    let first_ticket = TicketId::of(Zxid(before.0 - 1), 0);
    assert!(completed.eq([(first_ticket, token(harness.zxid.0))]));
    let applied = harness.apply_one();
    assert_eq!(told(&applied, &waiter), Some(token(harness.zxid.0)));
    assert_eq!(told(&applied, &next), None, "nobody else is woken");
}

#[test]
fn the_end_of_the_holder_passes_the_lock_on_in_the_same_transaction() {
    let (mut harness, mut holder, mut waiter) = locks();
    harness.call(&mut holder, "/locks/a", "acquire").unwrap();
    harness.call(&mut waiter, "/locks/a", "acquire").unwrap();
    let (_, applied) = harness.perform(Request::ExpireSession { session: holder.session });
    assert_eq!(told(&applied, &waiter), Some(token(harness.zxid.0)));
    assert_eq!(applied.sessions_closed, [holder.session]);
    let closed = harness.close(&mut waiter);
    assert_eq!(closed.sessions_closed, [waiter.session]);
    assert_eq!(harness.children("/locks"), [""; 0]);
}

#[test]
fn the_end_of_a_waiter_answers_it_and_leaves_the_queue_in_order() {
    let (mut harness, mut holder, mut waiter) = locks();
    let mut next = harness.open("next");
    for client in [&mut holder, &mut waiter, &mut next] {
        harness.call(client, "/locks/a", "acquire").unwrap();
    }
    let (_, applied) = harness.perform(Request::ExpireSession { session: waiter.session });
    let answer = told(&applied, &waiter).unwrap();
    assert_eq!(code(&answer), Some(ErrorCode::SessionExpired));
    let (_, applied) = harness.ask_all(&mut holder, call("/locks/a", "release", &[]));
    assert_eq!(told(&applied, &next), Some(token(harness.zxid.0)));
}

#[test]
fn a_handler_that_traps_cannot_keep_a_session_alive() {
    let (mut harness, mut holder, mut waiter) = locks();
    harness.call(&mut holder, "/locks/a", "acquire").unwrap();
    harness.call(&mut waiter, "/locks/b", "acquire").unwrap();
    harness.executor.handlers_trap = true;
    let applied = harness.close(&mut holder);
    assert_eq!(applied.sessions_closed, [holder.session]);
    assert_eq!(harness.children("/locks"), ["b"], "the trapped handler left nothing");
    assert_eq!(harness.outstanding.faults(&super::harness::path("/locks")), 1);
}

#[test]
fn the_end_of_a_session_waits_for_a_component_that_is_being_compiled() {
    let (mut harness, mut holder, _) = locks();
    harness.call(&mut holder, "/locks/a", "acquire").unwrap();
    let digest = super::harness::component(0).0;
    harness.executor.loading.insert(digest);
    let (prepared, _) = harness.perform(Request::ExpireSession { session: holder.session });
    let Prepared::Answer(refused) = prepared else { unreachable!("{prepared:?}") };
    assert_eq!(code(&refused), Some(ErrorCode::RecipeLoading));
    let refused = harness.call(&mut holder, "/locks/a", "release");
    assert_eq!(code(&refused), Some(ErrorCode::RecipeLoading));
    assert_eq!(code(&harness.query("/locks/a", "holder")), Some(ErrorCode::RecipeLoading));
    assert_eq!(harness.outstanding.faults(&super::harness::path("/locks")), 0);
    harness.executor.loading.clear();
    harness.close(&mut holder);
}

#[test]
fn a_deadline_answers_the_caller_and_tells_the_recipe() {
    let (mut harness, mut holder, mut waiter) = locks();
    harness.call(&mut holder, "/locks/a", "acquire").unwrap();
    let deadline = 2_000u64.to_be_bytes();
    harness.ask(&mut waiter, call("/locks/a", "acquire", &deadline)).unwrap();
    assert_eq!(harness.machine.next_deadline_ms(), Some(2_000));
    harness.time_ms = 1_999;
    assert_eq!(harness.fire_due().0, Prepared::Nothing);
    harness.time_ms = 2_000;
    let (_, applied) = harness.fire_due();
    let answer = told(&applied, &waiter).unwrap();
    assert_eq!(code(&answer), Some(ErrorCode::TimedOut));
    assert_eq!(harness.children("/locks/a"), ["holder"]);
    assert_eq!(harness.machine.next_deadline_ms(), None);
    let again = harness.submit(waiter.repeat(call("/locks/a", "acquire", &deadline)));
    assert_eq!(again, Prepared::Answer(answer));
}

#[test]
fn what_is_due_at_a_component_being_compiled_waits_and_lets_others_pass() {
    let (mut harness, mut holder, mut waiter) = locks();
    harness.call(&mut holder, "/locks/a", "acquire").unwrap();
    let deadline = 2_000u64.to_be_bytes();
    harness.ask(&mut waiter, call("/locks/a", "acquire", &deadline)).unwrap();
    let ttl = quorate_types::request::CreateMode::Ttl(2_000);
    harness.ask(&mut holder, super::harness::create("/old", ttl)).unwrap();
    harness.time_ms = 3_000;
    let digest = super::harness::component(0).0;
    harness.executor.loading.insert(digest);
    let (_, applied) = harness.fire_due();
    assert_eq!((applied.replies.len(), harness.stat("/old")), (0, None));
    assert_eq!(harness.fire_due().0, Prepared::Nothing);
    harness.executor.loading.clear();
    assert_eq!(harness.fire_due().1.replies.len(), 1);
}

#[test]
fn a_caller_that_gives_up_is_answered_and_leaves_the_queue() {
    let (mut harness, mut holder, mut waiter) = locks();
    harness.call(&mut holder, "/locks/a", "acquire").unwrap();
    harness.call(&mut waiter, "/locks/a", "acquire").unwrap();
    let parked = waiter.sequence;
    let cancel = Operation::CancelCall { sequence: parked };
    let (done, applied) = harness.ask_all(&mut waiter, cancel.clone());
    assert_eq!(done, Ok(Reply::Done));
    assert_eq!(applied.replies[0].sequence, parked);
    assert_eq!(code(&applied.replies[0].outcome), Some(ErrorCode::Cancelled));
    assert_eq!(harness.children("/locks/a"), ["holder"]);
    assert_eq!(harness.ask(&mut waiter, cancel), Ok(Reply::Done), "answered already");
}

#[test]
fn a_timer_fires_once_when_it_is_due() {
    let (mut harness, mut holder, mut waiter) = locks();
    harness.call(&mut holder, "/locks/a", "acquire").unwrap();
    harness.call(&mut waiter, "/locks/a", "acquire").unwrap();
    for at_ms in [9_000u64, 5_000] {
        let lease = call("/locks/a", "lease", &at_ms.to_be_bytes());
        harness.ask(&mut holder, lease).unwrap();
    }
    assert_eq!(harness.machine.next_deadline_ms(), Some(5_000), "a later set moves it");
    harness.time_ms = 5_000;
    assert_eq!(harness.outstanding.next_deadline_ms(&harness.machine), Some(5_000));
    let (_, applied) = harness.fire_due();
    assert_eq!(told(&applied, &waiter), Some(token(harness.zxid.0)));
    assert_eq!(harness.machine.next_deadline_ms(), None);
}

#[test]
fn a_run_that_fails_changes_nothing_and_says_how() {
    let (mut harness, mut client, _) = locks();
    let cases = [
        ("trap", ErrorCode::RecipeTrapped),
        ("spin", ErrorCode::RecipeOutOfFuel),
        ("flood", ErrorCode::RecipeOverLimit),
        ("leak", ErrorCode::RecipeTrapped),
        ("refuse", ErrorCode::RecipeRefused),
        ("nonsense", ErrorCode::UnknownOperation),
    ];
    for (operation, expected) in cases {
        let refused = harness.ask_refused(&mut client, call("/locks/a", operation, &[]));
        assert_eq!(code(&refused), Some(expected), "{operation}");
    }
    let refused = harness.call(&mut client, "/locks/a", "refuse").unwrap_err();
    assert_eq!(refused.recipe_code.as_deref(), Some("no-way"));
    assert_eq!(&refused.detail[..], b"\xf6");
    let lines = harness.outstanding.take_log();
    assert_eq!((lines.len(), lines[0].level), (1, LogLevel::Error));
    let refused = harness.call(&mut client, "/nowhere", "acquire");
    assert_eq!(code(&refused), Some(ErrorCode::NoMount));
    let refused = harness.call(&mut client, "/locks/a/b", "acquire");
    assert_eq!(code(&refused), Some(ErrorCode::BadArguments));
}

#[test]
fn a_mount_that_keeps_trapping_is_suspended_until_it_is_mounted_again() {
    let (mut harness, mut client, _) = locks();
    for _ in 0..4 {
        harness.call(&mut client, "/locks/a", "trap").unwrap_err();
    }
    harness.call(&mut client, "/locks/b", "touch").unwrap();
    let mut last = None;
    for _ in 0..5 {
        assert_eq!(harness.machine.suspended_mounts(), []);
        last = Some(harness.call(&mut client, "/locks/a", "trap"));
    }
    assert_eq!(last.and_then(|last| code(&last)), Some(ErrorCode::RecipeTrapped));
    assert_eq!(harness.machine.suspended_mounts().len(), 1);
    let refused = harness.call(&mut client, "/locks/a", "touch");
    assert_eq!(code(&refused), Some(ErrorCode::MountSuspended));
    let digest = super::harness::component(0).0;
    harness.ask(&mut client, super::harness::mount("/locks", digest, false)).unwrap();
    harness.call(&mut client, "/locks/a", "touch").unwrap();
}

#[test]
fn a_query_changes_nothing_wherever_it_runs() {
    let (mut harness, mut client, _) = locks();
    harness.call(&mut client, "/locks/a", "touch").unwrap();
    let digest = harness.machine.digest();
    let read_only = Ok(Reply::Called(Bytes::from_static(b"Err(Tree(ReadOnly))")));
    assert_eq!(harness.query("/locks/a", "cheat"), read_only);
    assert_eq!(harness.call(&mut client, "/locks/a", "cheat"), read_only);
    assert_eq!(harness.machine.digest(), digest);
    assert_eq!(code(&harness.query("/locks/a", "touch")), Some(ErrorCode::BadArguments));
    let object = super::harness::path("/locks/a");
    for operation in descriptor("1.0.0", 1).operations {
        let kind = harness.machine.operation_kind(&object, &operation.name);
        assert_eq!(kind, Ok(operation.kind), "{}", operation.name);
    }
    assert_eq!(harness.machine.operation_kind(&object, "holder"), Ok(OperationKind::Query));
}

#[test]
fn a_ticket_completed_by_the_run_that_parked_it_is_answered_at_once() {
    let (mut harness, mut client, _) = locks();
    let answered = harness.call(&mut client, "/locks/a", "both");
    assert_eq!(answered, Ok(Reply::Called(Bytes::from_static(b"at once"))));
    assert_eq!(harness.machine.ticket_count(), 0);
    assert_eq!(harness.children("/locks"), [""; 0]);
}

#[test]
fn an_object_with_a_parked_call_is_not_reaped() {
    let (mut harness, mut client, _) = locks();
    harness.call(&mut client, "/locks/a", "park-only").unwrap();
    assert_eq!(harness.children("/locks"), ["a"]);
    harness.close(&mut client);
    assert_eq!(harness.children("/locks"), [""; 0]);
}

#[test]
fn a_call_that_only_looks_leaves_no_trace_of_its_object() {
    let (mut harness, mut client, _) = locks();
    harness.executor.is_nondeterministic = false;
    let released = harness.call(&mut client, "/locks/never", "release");
    assert_eq!(code(&released), Some(ErrorCode::RecipeRefused));
    let before = harness.stat("/locks").unwrap();
    let (_, applied) = harness.ask_all(&mut client, call("/locks/never", "both", &[]));
    assert_eq!(applied.replies.len(), 1);
    assert_eq!(harness.stat("/locks").unwrap().children_count, before.children_count);
}

#[test]
fn a_run_that_gives_other_changes_is_reported() {
    let (mut harness, mut client, _) = locks();
    harness.executor.is_nondeterministic = true;
    harness.submit(client.request(call("/locks/a", "wobble", &[])));
    let (zxid, transaction) = harness.queue.pop_front().unwrap();
    let verdict = harness.follower.verify(&mut harness.executor, zxid, &transaction);
    assert!(matches!(verdict, Verdict::Differs { .. }), "{verdict:?}");
    let digest = super::harness::component(0).0;
    harness.executor.loading.insert(digest);
    let verdict = harness.follower.verify(&mut harness.executor, zxid, &transaction);
    assert_eq!(verdict, Verdict::NotReady);
    let plain = Transaction { call: None, ..transaction };
    let verdict = harness.follower.verify(&mut harness.executor, Zxid(zxid.0), &plain);
    assert_eq!(verdict, Verdict::NotACall);
}
