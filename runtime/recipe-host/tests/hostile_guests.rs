//! Guests that loop, trap, grow, lie and flood: each costs its own call and nothing else.
//!
//! Every guest misbehaves when called without arguments and behaves when called with one byte.

mod support;

use quorate_machine::{Identity, RecipeCall};
use quorate_recipe_test::{OneServer as Stage, path};
use quorate_types::{ErrorCode, Reply, SessionId};
use support::guests::{Guest, HOST};

/// Leaves early when there are arguments.
const BEHAVE: &str = "(if (local.get $arguments_len) (then (return (i32.const 512))))";

fn mounted(misbehaviour: &str, more: &str) -> (Stage, SessionId) {
    let guest = Guest {
        imports: HOST.into(),
        invoke: format!("{BEHAVE} {misbehaviour}"),
        more: more.into(),
        ..Guest::default()
    };
    Stage::with_recipe(&guest.build(), "/hostile")
}

/// The guest's call is refused with this code and words, changes nothing, and the next call works.
fn refused(misbehaviour: &str, more: &str, (code, words): (ErrorCode, &str)) {
    let (mut stage, session) = mounted(misbehaviour, more);
    for _ in 0..3 {
        let outcome = stage.call(session, ("/hostile/a", "run"), &[]);
        let refusal = outcome.expect_err("the guest misbehaves");
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.message.contains(words), "{words:?} is not in {:?}", refusal.message);
        assert_eq!(stage.children("/hostile"), [] as [String; 0]);
    }
    let outcome = stage.call(session, ("/hostile/a", "run"), &[0]);
    assert_eq!(outcome, Ok(Reply::Called(Vec::new().into())));
}

#[test]
fn an_endless_loop_ends_with_its_fuel() {
    let forever = "(loop $again (br $again)) unreachable";
    refused(forever, "", (ErrorCode::RecipeOutOfFuel, "10000000 units of fuel"));
}

#[test]
fn an_endless_loop_of_host_calls_ends_with_its_fuel() {
    let forever = "(loop $again
        (call $get (i32.const 640) (i32.const 1) (i32.const 2048)) (br $again)) unreachable";
    refused(forever, "", (ErrorCode::RecipeOutOfFuel, "fuel"));
}

#[test]
fn endless_recursion_traps() {
    let more = "(func $deeper (param i64) (result i64)
        (i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))";
    let misbehaviour = "(drop (call $deeper (i64.const 0))) i32.const 512";
    refused(misbehaviour, more, (ErrorCode::RecipeTrapped, "recursion too deep"));
}

#[test]
fn growing_memory_without_end_is_refused() {
    let misbehaviour = "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) unreachable";
    refused(misbehaviour, "", (ErrorCode::RecipeOutOfMemory, "more than 16777216 bytes"));
}

#[test]
fn a_panic_is_refused_with_its_own_words() {
    let misbehaviour = "(call $log (i32.const 3) (i32.const 641) (i32.const 5)) unreachable";
    refused(misbehaviour, "", (ErrorCode::RecipeTrapped, "hello (wasm trap: wasm `unreachable`"));
}

#[test]
fn a_division_by_zero_traps() {
    let misbehaviour = "(i32.div_u (i32.const 1) (local.get $arguments_len))";
    refused(misbehaviour, "", (ErrorCode::RecipeTrapped, "divide by zero"));
}

#[test]
fn a_reply_above_the_limit_is_refused() {
    // done(300 KiB from address 0)
    let misbehaviour = "(drop (memory.grow (i32.const 8)))
        (i32.store (i32.const 532) (i32.const 307200)) i32.const 512";
    refused(misbehaviour, "", (ErrorCode::RecipeOverLimit, "307200 bytes"));
}

#[test]
fn a_reply_outside_of_memory_traps() {
    let misbehaviour = "(i32.store (i32.const 532) (i32.const 307200)) i32.const 512";
    refused(misbehaviour, "", (ErrorCode::RecipeTrapped, "out of bounds"));
    let misbehaviour = "i32.const -8";
    refused(misbehaviour, "", (ErrorCode::RecipeTrapped, "out of bounds"));
}

#[test]
fn an_answer_that_is_no_case_of_its_type_traps() {
    let misbehaviour = "(i32.store8 (i32.const 512) (i32.const 9)) i32.const 512";
    refused(misbehaviour, "", (ErrorCode::RecipeTrapped, "discriminant"));
}

#[test]
fn too_many_changes_are_refused_and_none_stays() {
    let misbehaviour = "(loop $again
        (call $create_sequential (i32.const 640) (i32.const 1) (i32.const 0) (i32.const 0)
            (i32.const 0) (i64.const 0) (i32.const 2048)) (br $again)) unreachable";
    refused(misbehaviour, "", (ErrorCode::RecipeOverLimit, "at most 1000 changes"));
}

#[test]
fn a_path_that_is_no_text_traps() {
    let misbehaviour = "(i32.store8 (i32.const 640) (i32.const 0xff))
        (call $get (i32.const 640) (i32.const 1) (i32.const 2048)) i32.const 512";
    refused(misbehaviour, "", (ErrorCode::RecipeTrapped, "utf-8"));
}

#[test]
fn a_flood_of_log_lines_is_refused() {
    let misbehaviour = "(loop $again
        (call $log (i32.const 0) (i32.const 0) (i32.const 1000)) (br $again)) unreachable";
    refused(misbehaviour, "", (ErrorCode::RecipeOverLimit, "at most 65536 bytes"));
}

#[test]
fn a_ticket_that_was_not_parked_in_this_run_is_refused() {
    let misbehaviour = "(i32.store8 (i32.const 520) (i32.const 1)) i32.const 512";
    refused(misbehaviour, "", (ErrorCode::RecipeTrapped, "a ticket not its own"));
}

#[test]
fn a_ticket_parked_and_not_answered_with_is_refused() {
    let misbehaviour = "(drop (call $park (i32.const 0) (i64.const 0))) i32.const 512";
    refused(misbehaviour, "", (ErrorCode::RecipeTrapped, "a caller that it parked"));
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
