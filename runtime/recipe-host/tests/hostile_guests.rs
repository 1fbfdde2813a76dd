//! What a run leaves behind: nothing but its log lines. Attacks proper are in `attacks.rs`.

mod support;

use quorate_hostile_recipes::guest::{Guest, HOST};
use quorate_machine::{Identity, RecipeCall};
use quorate_types::{Reply, SessionId};
use support::stage::{Stage, path};

fn mounted(invoke: &str, more: &str) -> (Stage, SessionId) {
    let guest = Guest {
        imports: HOST.into(),
        invoke: invoke.into(),
        more: more.into(),
        ..Guest::default()
    };
    Stage::with_recipe(&guest.build(), "/hostile")
}

#[test]
fn nothing_of_one_call_is_left_for_the_next() {
    // Replies with one byte: how often this instance was called.
    let more = "(global $calls (mut i32) (i32.const 0))";
    let counting = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.store8 (i32.const 700)
            (i32.add (i32.load8_u (i32.const 700)) (global.get $calls)))
        (i32.store (i32.const 528) (i32.const 700)) (i32.store (i32.const 532) (i32.const 1))
        i32.const 512";
    let (mut stage, session) = mounted(counting, more);
    for _ in 0..100 {
        let outcome = stage.call(session, ("/hostile/a", "run"), &[]);
        assert_eq!(outcome, Ok(Reply::Called(vec![1].into())));
    }
}

#[test]
fn lines_of_guests_can_be_read_afterwards() {
    let logging = "(call $log (i32.const 2) (i32.const 641) (i32.const 5)) i32.const 512";
    let (mut stage, session) = mounted(logging, "");
    stage.verifying = false;
    stage.call(session, ("/hostile/a", "run"), &[]).expect("it only logs");
    let lines = stage.executor.log().lines();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((line.mount.as_str(), line.message.as_str()), ("/hostile", "hello"));
    assert_eq!(line.level, quorate_recipe_host::LogLevel::Warn);
}

#[test]
fn a_query_that_writes_is_told_that_it_may_not() {
    // Traps unless create-sequential answers err(read-only).
    let writing = "(call $create_sequential (i32.const 640) (i32.const 1) (i32.const 0)
            (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 2048))
        (if (i32.ne (i32.load8_u (i32.const 2048)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 2052)) (i32.const 7)) (then unreachable))
        i32.const 512";
    let (mut stage, session) = mounted(writing, "");
    let (object, identity) = (path("/hostile/a"), Identity::named("tester"));
    let call = RecipeCall {
        object: &object,
        operation: "look",
        arguments: &[],
        session,
        identity: &identity,
    };
    let outcome = stage.machine.query(&mut stage.executor, call);
    assert_eq!(outcome, Ok(Reply::Called(Vec::new().into())));
}
