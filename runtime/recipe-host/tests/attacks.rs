//! Attacks on a running server, one row each: what the guest does, and the error it must end with.
//!
//! The guests are those of `quorate-hostile-recipes`. Each attack costs its own call and nothing else:
//! no change stays, replicas agree, and the next call is served. The tests print how many attacks there are and the longest any of them took.

mod support;

use quorate_hostile_recipes::guest::{Guest, HOST};
use quorate_hostile_recipes::handlers::{
    GROWS, LOOPS, MIGRATIONS, ON_MOUNTED, ON_OBJECT_CREATED, ON_SESSION_CLOSED, SESSION_CLOSED,
    STAY, TIMER, TRAPS, keeper, on_event,
};
use quorate_hostile_recipes::{Attack, calls};
use quorate_machine::RecipeExecutor;
use quorate_types::ErrorCode::{self, RecipeTrapped};
use quorate_types::limits::Limits;
use quorate_types::{Operation, Reply};
use std::time::{Duration, Instant};
use support::stage::Stage;

/// Gives the longest that one call took.
fn outlive(attack: &Attack) -> Duration {
    let Attack { name, code, words, .. } = attack;
    let (mut stage, session) = Stage::with_recipe(&attack.component(), "/hostile");
    let mut longest = Duration::ZERO;
    for _ in 0..2 {
        let started = Instant::now();
        let outcome = stage.call(session, ("/hostile/a", "run"), &[]);
        longest = longest.max(started.elapsed());
        let refusal = outcome.expect_err("the guest attacks");
        assert_eq!(refusal.code, *code, "{name}: {refusal}");
        assert!(refusal.message.contains(words), "{name}: {words:?} is not in {refusal:?}");
        assert!(refusal.message.len() <= 1_024, "{name}: {} bytes", refusal.message.len());
        assert_eq!(stage.children("/hostile"), [] as [String; 0], "{name}");
    }
    let outcome = stage.call(session, ("/hostile/b", "behave"), &[]);
    assert_eq!(outcome, Ok(Reply::Called(Vec::new().into())), "{name}");
    longest
}

fn outlive_all(attacks: &[Attack]) {
    let timed = attacks.iter().map(|attack| (outlive(attack), attack.name));
    let (longest, name) = timed.max().expect("there are attacks");
    println!("{} attacks outlived; the longest, {name}, took {longest:?}", attacks.len());
}

#[test]
fn attacks_on_time_end_with_their_fuel() {
    outlive_all(calls::TIME);
}

#[test]
fn attacks_on_space_end_at_a_limit_of_their_own() {
    outlive_all(calls::SPACE);
}

#[test]
fn floods_end_at_a_limit_of_their_own() {
    outlive_all(calls::FLOODS);
}

#[test]
fn lies_are_told_from_one_another() {
    outlive_all(calls::LIES);
}

#[test]
fn paths_out_of_the_mount_are_none() {
    outlive_all(calls::ESCAPES);
    let names = [".", "/", "//", "a/", "\\00", "../hostile2/x"];
    for name in names {
        let (call, data) = calls::create_at(name);
        told(&call, calls::BAD_PATH, &data);
    }
}

/// The guest's host call is answered with this case of `tree-error`; it traps if not.
fn told(call: &str, case: u8, more: &str) {
    let invoke = format!("{call} {} i32.const 512", calls::demand(case));
    let guest = Guest { imports: HOST.into(), invoke, more: more.into(), ..Guest::default() };
    let (mut stage, session) = Stage::with_recipe(&guest.build(), "/hostile");
    let outcome = stage.call(session, ("/hostile/a", "run"), &[]);
    assert_eq!(outcome, Ok(Reply::Called(Vec::new().into())), "{call} {more}");
    assert_eq!(stage.children("/hostile"), [] as [String; 0], "{call} {more}");
}

#[test]
fn the_mount_itself_can_be_neither_created_nor_deleted() {
    const NODE_EXISTS: u8 = 1;
    let create =
        "(call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i64.const 0) (i32.const 2048))";
    told(create, NODE_EXISTS, "");
    let delete = "(call $delete (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 2048))";
    told(delete, calls::BAD_PATH, "");
}

#[test]
fn nothing_is_owned_by_a_session_that_is_not_open() {
    const NO_SESSION: u8 = 5;
    for session in ["0", "77", "-1"] {
        let call = format!(
            "(call $create (i32.const 640) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 1)
                (i64.const {session}) (i32.const 2048))"
        );
        told(&call, NO_SESSION, "");
    }
}

#[test]
fn numbers_that_are_none_have_the_same_bits_everywhere() {
    // Three ways to make one: 0/0, the root of -1, and a payload put through an addition.
    let body = "(f64.store (i32.const 2048) (f64.div (global.get $zero) (global.get $zero)))
        (f64.store (i32.const 2056) (f64.sqrt (f64.sub (global.get $zero) (f64.const 1))))
        (f64.store (i32.const 2064) (f64.add (global.get $zero)
            (f64.reinterpret_i64 (i64.const 0xfff4deadbeef0000))))
        (i32.store (i32.const 528) (i32.const 2048)) (i32.store (i32.const 532) (i32.const 24))
        i32.const 512";
    let more = "(global $zero (mut f64) (f64.const 0))".into();
    let guest = Guest { invoke: body.into(), more, ..Guest::default() };
    let (mut stage, session) = Stage::with_recipe(&guest.build(), "/hostile");
    let outcome = stage.call(session, ("/hostile/a", "run"), &[]);
    let canonical = 0x7ff8_0000_0000_0000_u64.to_le_bytes().repeat(3);
    assert_eq!(outcome, Ok(Reply::Called(canonical.into())));
}

#[test]
fn a_handler_of_mounted_that_does_harm_refuses_the_mount() {
    for attack in ON_MOUNTED {
        let name = attack.name;
        let mut stage = Stage::new();
        let session = stage.open();
        let digest = stage.upload(session, &attack.component());
        let refusal = stage.mount(session, digest, "/hostile").expect_err(name);
        assert_eq!(refusal.code, attack.code, "{name}: {refusal}");
        assert!(refusal.message.contains(attack.words), "{name}: {refusal}");
        assert_eq!(stage.children("/"), ["zookeeper"], "{name}");
    }
}

#[test]
fn a_handler_of_created_objects_that_does_harm_refuses_the_call() {
    outlive_all(ON_OBJECT_CREATED);
}

#[test]
fn a_handler_of_ended_sessions_that_does_harm_ends_them_all_the_same() {
    for attack in ON_SESSION_CLOSED {
        let name = attack.name;
        let (mut stage, _) = Stage::with_recipe(&attack.component(), "/hostile");
        let session = stage.open();
        stage.call(session, ("/hostile/a", "run"), &[]).expect("it stays");
        assert_eq!(stage.children("/hostile/a"), ["e"], "{name}");
        assert_eq!(stage.send(session, Operation::CloseSession), Ok(Reply::Done), "{name}");
        assert_eq!(stage.children("/hostile"), [] as [String; 0], "{name}");
        let faults: Vec<_> = stage.run_costs.iter().filter_map(|run| run.fault.as_ref()).collect();
        let [fault] = faults.as_slice() else { panic!("{name}: {faults:?}") };
        assert!(fault.contains(attack.words), "{name}: {fault}");
    }
}

#[test]
fn the_end_of_a_session_with_much_to_tell_a_slow_recipe_takes_a_bounded_time() {
    // Burns nearly all fuel of a run and succeeds, so that it is never found at fault.
    let body = "(local.set $object (i32.const 0)) (loop $l
        (local.set $object (i32.add (local.get $object) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $object) (i32.const 1000000))))";
    let guest = on_event(SESSION_CLOSED, body, STAY);
    let (mut stage, _) = Stage::with_recipe(&guest.build(), "/hostile");
    let session = stage.open();
    for object in 'A'..='z' {
        if object.is_ascii_alphabetic() {
            let object = format!("/hostile/{object}");
            stage.call(session, (&object, "run"), &[]).expect("it stays");
        }
    }
    assert_eq!(stage.children("/hostile").len(), 52);
    let fuel_before = stage.executor.fuel_used();
    let started = Instant::now();
    assert_eq!(stage.send(session, Operation::CloseSession), Ok(Reply::Done));
    println!("a session with 52 slow objects ended in {:?}", started.elapsed());
    let fuel_used = stage.executor.fuel_used() - fuel_before;
    let bound = Limits::PRODUCTION.recipe_event_fuel_max;
    assert!((bound / 2..=bound).contains(&fuel_used), "{fuel_used} of at most {bound}");
    assert_eq!(stage.children("/hostile"), [] as [String; 0]);
}

#[test]
fn timers_that_do_harm_are_gone_once_fired() {
    let set = "(call $timer (i32.const 640) (i32.const 1) (i64.const 0)) i32.const 512";
    for (name, body) in [("loops", LOOPS), ("traps", TRAPS), ("grows", GROWS)] {
        let guest = on_event(TIMER, body, set);
        let (mut stage, session) = Stage::with_recipe(&guest.build(), "/hostile");
        stage.call(session, ("/hostile/a", "run"), &[]).expect("it sets a timer");
        assert_eq!(stage.advance(1), 1, "{name}");
        assert_eq!(stage.advance(1_000_000), 0, "{name}");
    }
}

#[test]
fn timers_that_set_themselves_again_wait_a_millisecond() {
    let set = "(call $timer (i32.const 640) (i32.const 1) (i64.const 0))";
    let guest = on_event(TIMER, set, &format!("{set} i32.const 512"));
    let (mut stage, session) = Stage::with_recipe(&guest.build(), "/hostile");
    stage.call(session, ("/hostile/a", "run"), &[]).expect("it sets a timer");
    for _ in 0..10 {
        assert_eq!(stage.advance(1), 1);
    }
}

#[test]
fn timers_that_double_come_to_the_limit_of_their_object() {
    // Sets 900 timers with names made of the clock's seed, whenever one fires.
    let sow = "(local.set $object (i32.const 0)) (loop $l
        (call $seed (i32.const 704))
        (i32.store (i32.const 700) (i32.add (i32.const 0x30303030) (i32.or
            (i32.and (local.get $object) (i32.const 0x3f))
            (i32.shl (i32.and (local.get $object) (i32.const 0xfc0)) (i32.const 2)))))
        (i32.store (i32.const 704) (i32.or (i32.const 0x20202020)
            (i32.and (i32.load (i32.const 704)) (i32.const 0x1f1f1f1f))))
        (call $timer (i32.const 700) (i32.const 8) (i64.const 0))
        (local.set $object (i32.add (local.get $object) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $object) (i32.const 900))))";
    let guest = on_event(TIMER, sow, &format!("{sow} i32.const 512"));
    let (mut stage, session) = Stage::with_recipe(&guest.build(), "/hostile");
    stage.verifying = false;
    stage.call(session, ("/hostile/a", "run"), &[]).expect("it sets timers");
    for _ in 0..3 {
        stage.advance(1);
    }
    let timers = stage.machine.timer_count() as usize;
    let bound = Limits::PRODUCTION.object_timers_max as usize;
    println!("{timers} timers of at most {bound}");
    assert!(timers <= bound, "{timers} timers");
}

#[test]
fn a_migration_that_does_harm_leaves_the_old_version_serving() {
    for attack in MIGRATIONS {
        let name = attack.name;
        let (mut stage, session) = Stage::with_recipe(&keeper(), "/hostile");
        stage.call(session, ("/hostile/a", "run"), &[]).expect("it keeps something");
        let digest = stage.upload(session, &attack.component());
        let refusal = stage.mount(session, digest, "/hostile").expect_err(name);
        assert_eq!(refusal.code, attack.code, "{name}: {refusal}");
        assert!(refusal.message.contains(attack.words), "{name}: {refusal}");
        assert_eq!(stage.children("/hostile"), ["q"], "{name}");
        stage.call(session, ("/hostile/a", "run"), &[]).expect("the old version serves");
    }
}

#[test]
fn a_query_that_parks_answers_tickets_or_sets_timers_is_refused() {
    let cases = [
        ("(drop (call $park (i32.const 0) (i64.const 0)))", "only a command parks its caller"),
        (
            "(drop (call $complete (i64.const 1) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))",
            "a query cannot complete tickets",
        ),
        ("(call $timer (i32.const 640) (i32.const 1) (i64.const 0))", "a query cannot set timers"),
        ("(loop $l (br $l))", "all 10000000 units of fuel"),
    ];
    for (body, words) in cases {
        let invoke = format!("{body} i32.const 512");
        let guest = Guest { imports: HOST.into(), invoke, ..Guest::default() };
        let (mut stage, session) = Stage::with_recipe(&guest.build(), "/hostile");
        let refusal = stage.call(session, ("/hostile/a", "look"), &[]).expect_err(body);
        assert!(refusal.message.contains(words), "{words:?} is not in {refusal:?}");
    }
}

#[test]
fn a_mount_that_keeps_trapping_is_suspended_in_sight_of_all_and_can_be_resumed() {
    let attack = calls::LIES.iter().find(|attack| attack.name == "a panic").expect("a row");
    let mut stage = Stage::new();
    let session = stage.open();
    let digest = stage.upload(session, &attack.component());
    stage.mount(session, digest, "/hostile").expect("it is mounted");
    for _ in 0..Limits::PRODUCTION.mount_faults_max {
        let refusal = stage.call(session, ("/hostile/a", "run"), &[]).expect_err("it traps");
        assert_eq!(refusal.code, RecipeTrapped, "{refusal}");
    }
    let refusal = stage.call(session, ("/hostile/a", "behave"), &[]).expect_err("it is suspended");
    assert_eq!(refusal.code, ErrorCode::MountSuspended, "{refusal}");
    assert!(refusal.message.contains("100 faults in a row, the last: "), "{refusal}");
    let suspended = stage.machine.suspended_mounts();
    let [(mount, reason)] = suspended.as_slice() else { panic!("{suspended:?}") };
    assert_eq!(mount.as_str(), "/hostile");
    assert!(reason.contains("unreachable"), "{reason}");
    stage.mount(session, digest, "/hostile").expect("it is resumed");
    assert_eq!(stage.machine.suspended_mounts(), []);
    let outcome = stage.call(session, ("/hostile/a", "behave"), &[]);
    assert_eq!(outcome, Ok(Reply::Called(Vec::new().into())));
}
