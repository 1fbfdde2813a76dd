//! Attacks on a running server, one row each: what the guest does, and the error it must end with.
//!
//! Every guest attacks when called without arguments and behaves when called with one byte. Each
//! attack costs its own call and nothing else: no change stays, replicas agree, and the next call is
//! served. The tests print how many attacks there are and the longest any of them took.

mod support;

use quorate_machine::RecipeExecutor;
use quorate_types::ErrorCode::{
    self, RecipeOutOfFuel, RecipeOutOfMemory, RecipeOverLimit, RecipeTrapped,
};
use quorate_types::limits::Limits;
use quorate_types::{Operation, Reply, SessionId};
use std::time::{Duration, Instant};
use support::guests::{Described, Guest, HOST};
use support::stage::Stage;

/// Leaves early when there are arguments.
const BEHAVE: &str = "(if (local.get $arguments_len) (then (return (i32.const 512))))";

/// What a guest does, and what its caller is told.
struct Attack {
    name: &'static str,
    /// The body of `invoke`.
    body: &'static str,
    /// Functions, tables and data of the guest.
    more: &'static str,
    code: ErrorCode,
    words: &'static str,
}

const fn attack(
    name: &'static str,
    (body, more): (&'static str, &'static str),
    (code, words): (ErrorCode, &'static str),
) -> Attack {
    Attack { name, body, more, code, words }
}

const FUEL: (ErrorCode, &str) = (RecipeOutOfFuel, "all 10000000 units of fuel are used");

const TIME: [Attack; 11] = [
    attack("an endless loop", ("(loop $l (br $l)) unreachable", ""), FUEL),
    attack(
        "a loop of divisions",
        (
            "(loop $l (global.set $x (f64.sqrt (f64.div (global.get $x) (f64.const 3)))) (br $l))
             unreachable",
            "(global $x (mut f64) (f64.const 7))",
        ),
        FUEL,
    ),
    attack(
        "a loop of references to functions",
        ("(loop $l (drop (ref.func $f)) (br $l)) unreachable", "(func $f) (elem declare func $f)"),
        FUEL,
    ),
    attack(
        "a loop that asks for no memory",
        ("(loop $l (drop (memory.grow (i32.const 0))) (br $l)) unreachable", ""),
        FUEL,
    ),
    attack(
        "a loop that fills memory",
        (
            "(loop $l (memory.fill (i32.const 2048) (i32.const 0) (i32.const 60000)) (br $l))
             unreachable",
            "",
        ),
        FUEL,
    ),
    attack(
        "a loop that sets table entries",
        (
            "(loop $l (table.set $t (i32.const 0) (ref.func $f)) (br $l)) unreachable",
            "(table $t 10 funcref) (func $f) (elem declare func $f)",
        ),
        FUEL,
    ),
    attack(
        "calls through a table without end",
        (
            "(loop $l (call_indirect $t (i32.const 0)) (br $l)) unreachable",
            "(func $f) (table $t funcref (elem $f))",
        ),
        FUEL,
    ),
    attack(
        "reads of nothing without end",
        (
            "(loop $l (call $get (i32.const 640) (i32.const 1) (i32.const 2048)) (br $l))
             unreachable",
            "",
        ),
        FUEL,
    ),
    attack(
        "the seed without end",
        ("(loop $l (call $seed (i32.const 2048)) (br $l)) unreachable", ""),
        FUEL,
    ),
    attack(
        "answers to tickets that nobody has",
        (
            "(loop $l (drop (call $complete (i64.const 77) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) (br $l)) unreachable",
            "",
        ),
        FUEL,
    ),
    attack(
        "scans over what it deleted, without end",
        (
            "(local $n i32)
             (loop $fill
                (i32.store (i32.const 700) (i32.add (i32.const 0x61616161) (i32.or
                    (i32.and (local.get $n) (i32.const 0xf))
                    (i32.shl (i32.and (local.get $n) (i32.const 0x1f0)) (i32.const 4)))))
                (call $create (i32.const 700) (i32.const 4) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i64.const 0) (i32.const 2048))
                (call $delete (i32.const 700) (i32.const 4) (i32.const 0) (i32.const 0)
                    (i32.const 2048))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $fill (i32.lt_u (local.get $n) (i32.const 480))))
             (loop $l
                (call $scan (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 660) (i32.const 1)
                    (i32.const -1) (i32.const 2048)) (br $l)) unreachable",
            "(data (i32.const 660) \"a\")",
        ),
        (RecipeOverLimit, "a run reads at most 4194304 bytes"),
    ),
];

const SPACE: [Attack; 9] = [
    attack(
        "recursion without end",
        (
            "(drop (call $f (i64.const 0))) i32.const 512",
            "(func $f (param i64) (result i64)
                (i64.add (call $f (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))",
        ),
        (RecipeTrapped, "call stack exhausted: recursion too deep"),
    ),
    attack(
        "memory without end",
        ("(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable", ""),
        (RecipeOutOfMemory, "the recipe asks for more than 16777216 bytes"),
    ),
    attack(
        "memory without end, whatever the answer",
        (
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))) (br $l))
             unreachable",
            "",
        ),
        (RecipeOutOfMemory, "the recipe asks for more than 16777216 bytes"),
    ),
    attack(
        "table entries without end",
        (
            "(loop $l (drop (table.grow $t (ref.null func) (i32.const 900))) (br $l)) unreachable",
            "(table $t 10 funcref)",
        ),
        FUEL,
    ),
    attack(
        "a reply above the limit",
        (
            "(drop (memory.grow (i32.const 8))) (i32.store (i32.const 532) (i32.const 307200))
             i32.const 512",
            "",
        ),
        (RecipeOverLimit, "the recipe replies with 307200 bytes, 262144 are allowed"),
    ),
    attack(
        "a reply outside of memory",
        ("(i32.store (i32.const 532) (i32.const 307200)) i32.const 512", ""),
        (RecipeTrapped, "out of bounds"),
    ),
    attack(
        "an answer at an address that no answer can have",
        ("i32.const 513", ""),
        (RecipeTrapped, "pointer not aligned"),
    ),
    attack(
        "a refusal with a code as long as a book",
        // err(failure): the code at 0, 65 bytes.
        (
            "(i32.store8 (i32.const 512) (i32.const 1)) (i32.store (i32.const 520) (i32.const 2048))
             (i32.store (i32.const 524) (i32.const 65)) (i32.store (i32.const 528) (i32.const 0))
             i32.const 512",
            "",
        ),
        (RecipeOverLimit, "the recipe refuses with a code of 65 bytes, 64 are allowed"),
    ),
    attack(
        "a refusal in more words than a reply may have",
        (
            "(drop (memory.grow (i32.const 8)))
             (i32.store8 (i32.const 512) (i32.const 1)) (i32.store (i32.const 520) (i32.const 2048))
             (i32.store (i32.const 524) (i32.const 1)) (i32.store (i32.const 528) (i32.const 65536))
             (i32.store (i32.const 532) (i32.const 300000)) i32.const 512",
            "",
        ),
        (RecipeOverLimit, "the recipe replies with 300001 bytes, 262144 are allowed"),
    ),
];

const FLOODS: [Attack; 8] = [
    attack(
        "changes without end",
        (
            "(loop $l (call $create_sequential (i32.const 640) (i32.const 1) (i32.const 0)
                (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 2048)) (br $l)) unreachable",
            "",
        ),
        (RecipeOverLimit, "a run makes at most 1000 changes"),
    ),
    attack(
        "data without end",
        (
            "(loop $l (call $create_sequential (i32.const 640) (i32.const 1) (i32.const 0)
                (i32.const 65536) (i32.const 0) (i64.const 0) (i32.const 2048)) (br $l))
             unreachable",
            "",
        ),
        (RecipeOverLimit, "a run writes at most 1048576 bytes"),
    ),
    attack(
        "a znode above the limit",
        (
            "(drop (memory.grow (i32.const 20)))
             (call $create_sequential (i32.const 640) (i32.const 1) (i32.const 0)
                (i32.const 1100000) (i32.const 0) (i64.const 0) (i32.const 2048)) i32.const 512",
            "",
        ),
        (RecipeOverLimit, "a znode holds at most 1048575 bytes"),
    ),
    attack(
        "lines without end",
        (
            "(loop $l (call $log (i32.const 0) (i32.const 0) (i32.const 1000)) (br $l)) unreachable",
            "",
        ),
        (RecipeOverLimit, "a run logs at most 65536 bytes"),
    ),
    attack(
        "empty lines without end",
        ("(loop $l (call $log (i32.const 1) (i32.const 0) (i32.const 0)) (br $l)) unreachable", ""),
        (RecipeOverLimit, "a run logs at most 65536 bytes"),
    ),
    attack(
        "timers without end",
        (
            "(loop $l (call $timer (i32.const 640) (i32.const 1) (i64.const -1)) (br $l))
             unreachable",
            "",
        ),
        (RecipeOverLimit, "a run makes at most 1000 changes"),
    ),
    attack(
        "timers with names as long as memory",
        (
            "(loop $l (call $timer (i32.const 4096) (i32.const 61440) (i64.const 0)) (br $l))
             unreachable",
            "",
        ),
        (RecipeOverLimit, "a run writes at most 1048576 bytes"),
    ),
    attack(
        "a path as long as memory",
        (
            "(drop (memory.grow (i32.const 254)))
             (loop $l (call $get (i32.const 65536) (i32.const 16000000) (i32.const 2048)) (br $l))
             unreachable",
            "",
        ),
        FUEL,
    ),
];

const LIES: [Attack; 12] = [
    attack(
        "a panic",
        ("(call $log (i32.const 3) (i32.const 641) (i32.const 5)) unreachable", ""),
        (RecipeTrapped, "hello (wasm trap: wasm `unreachable`"),
    ),
    attack(
        "a division by zero",
        ("(i32.div_u (i32.const 1) (local.get $arguments_len))", ""),
        (RecipeTrapped, "divide by zero"),
    ),
    attack(
        "an answer that is no case of its type",
        ("(i32.store8 (i32.const 512) (i32.const 9)) i32.const 512", ""),
        (RecipeTrapped, "discriminant"),
    ),
    attack(
        "a path that is no text",
        (
            "(i32.store8 (i32.const 640) (i32.const 0xff))
             (call $get (i32.const 640) (i32.const 1) (i32.const 2048)) i32.const 512",
            "",
        ),
        (RecipeTrapped, "utf-8"),
    ),
    attack(
        "a refusal that is no text",
        (
            "(i32.store8 (i32.const 700) (i32.const 0xff))
             (i32.store8 (i32.const 512) (i32.const 1)) (i32.store (i32.const 520) (i32.const 700))
             (i32.store (i32.const 524) (i32.const 1)) (i32.store (i32.const 528) (i32.const 0))
             i32.const 512",
            "",
        ),
        (RecipeTrapped, "utf-8"),
    ),
    attack(
        "a path outside of memory",
        ("(call $get (i32.const -8) (i32.const 100) (i32.const 2048)) i32.const 512", ""),
        (RecipeTrapped, "out of bounds"),
    ),
    attack(
        "an answer wanted outside of memory",
        ("(call $seed (i32.const -8)) i32.const 512", ""),
        (RecipeTrapped, "out of bounds"),
    ),
    attack(
        "a ticket of somebody else",
        ("(i32.store8 (i32.const 520) (i32.const 1)) i32.const 512", ""),
        (RecipeTrapped, "answered with a ticket not its own"),
    ),
    attack(
        "a caller parked and answered",
        ("(drop (call $park (i32.const 0) (i64.const 0))) i32.const 512", ""),
        (RecipeTrapped, "answered a caller that it parked"),
    ),
    attack(
        "a caller parked twice",
        (
            "(drop (call $park (i32.const 1) (i64.const 0)))
             (drop (call $park (i32.const 1) (i64.const -1))) i32.const 512",
            "",
        ),
        (RecipeTrapped, "a caller is parked once"),
    ),
    attack(
        "an answer with a code as long as a book",
        (
            "(drop (call $complete (i64.const 1) (i32.const 1) (i32.const 2048) (i32.const 65)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) i32.const 512",
            "",
        ),
        (RecipeOverLimit, "a code of 65 bytes, 64 are allowed"),
    ),
    attack(
        "one piece of memory as three arguments",
        (
            "(drop (memory.grow (i32.const 200)))
             (drop (call $complete (i64.const 1) (i32.const 1) (i32.const 65536)
                (i32.const 13000000) (i32.const 65536) (i32.const 13000000) (i32.const 65536)
                (i32.const 13000000))) i32.const 512",
            "",
        ),
        (RecipeTrapped, "fuel allocated for hostcalls has been exhausted"),
    ),
];

fn mounted(attack: &Attack) -> (Stage, SessionId) {
    let guest = Guest {
        imports: HOST.into(),
        invoke: body_with_locals_first(attack.body),
        more: attack.more.into(),
        ..Guest::default()
    };
    Stage::with_recipe(&guest.build(), "/hostile")
}

/// Locals stand before instructions.
fn body_with_locals_first(body: &str) -> String {
    match body.strip_prefix("(local $n i32)") {
        Some(rest) => format!("(local $n i32) {BEHAVE} {rest}"),
        None => format!("{BEHAVE} {body}"),
    }
}

/// Gives the longest that one call took.
fn outlive(attack: &Attack) -> Duration {
    let Attack { name, code, words, .. } = attack;
    let (mut stage, session) = mounted(attack);
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
    let outcome = stage.call(session, ("/hostile/a", "run"), &[0]);
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
    outlive_all(&TIME);
}

#[test]
fn attacks_on_space_end_at_a_limit_of_their_own() {
    outlive_all(&SPACE);
}

#[test]
fn floods_end_at_a_limit_of_their_own() {
    outlive_all(&FLOODS);
}

#[test]
fn lies_are_told_from_one_another() {
    outlive_all(&LIES);
}

/// Whether the guest's host call was answered with this case of `tree-error`; it traps if not.
fn told(call: &str, case: u8, more: &str) {
    let body = format!(
        "{BEHAVE} {call}
         (if (i32.ne (i32.load8_u (i32.const 2048)) (i32.const 1)) (then unreachable))
         (if (i32.ne (i32.load8_u offset=2048 (i32.const 4)) (i32.const {case})) (then unreachable))
         i32.const 512"
    );
    let guest = Guest { imports: HOST.into(), invoke: body, more: more.into(), ..Guest::default() };
    let (mut stage, session) = Stage::with_recipe(&guest.build(), "/hostile");
    let outcome = stage.call(session, ("/hostile/a", "run"), &[]);
    assert_eq!(outcome, Ok(Reply::Called(Vec::new().into())), "{call} {more}");
    assert_eq!(stage.children("/hostile"), [] as [String; 0], "{call} {more}");
}

#[test]
fn paths_out_of_the_mount_are_none() {
    const BAD_PATH: u8 = 4;
    let beside = "../hostile2/x";
    let long = "x".repeat(5_000);
    let names = ["..", ".", "/", "//", "/x", "a/../../x", beside, "a//b", "a/", "\\00", "a\\00b"];
    for name in names.into_iter().chain([long.as_str()]) {
        let bytes = name.len() - name.matches("\\00").count() * 2;
        let call = format!(
            "(call $create (i32.const 9000) (i32.const {bytes}) (i32.const 0) (i32.const 0)
                (i32.const 0) (i64.const 0) (i32.const 2048))"
        );
        told(&call, BAD_PATH, &format!("(data (i32.const 9000) \"{name}\")"));
    }
    println!("{} paths out of the mount refused", names.len() + 1);
}

#[test]
fn the_mount_itself_can_be_neither_created_nor_deleted() {
    const NODE_EXISTS: u8 = 1;
    const BAD_PATH: u8 = 4;
    let create =
        "(call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i64.const 0) (i32.const 2048))";
    told(create, NODE_EXISTS, "");
    let delete = "(call $delete (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 2048))";
    told(delete, BAD_PATH, "");
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

/// Events as their numbers in the contract's variant.
const MOUNTED: u32 = 0;
const OBJECT_CREATED: u32 = 1;
const SESSION_CLOSED: u32 = 3;
const TIMER: u32 = 4;

/// Handlers that do harm when told of an event, and what becomes of it.
const HANDLERS: [(&str, &str, ErrorCode); 3] = [
    ("loops", "(loop $l (br $l)) unreachable", RecipeOutOfFuel),
    ("traps", "unreachable", RecipeTrapped),
    (
        "grows",
        "(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable",
        RecipeOutOfMemory,
    ),
];

fn on_event(event: u32, body: &str, invoke: &str) -> Guest {
    let on_event =
        format!("(if (i32.eq (local.get $event) (i32.const {event})) (then {body})) i32.const 576");
    Guest { imports: HOST.into(), on_event, invoke: invoke.into(), ..Guest::default() }
}

const DONE: &str = "i32.const 512";

#[test]
fn a_handler_of_mounted_that_does_harm_refuses_the_mount() {
    for (name, body, code) in HANDLERS {
        let mut stage = Stage::new();
        let session = stage.open();
        let digest = stage.upload(session, &on_event(MOUNTED, body, DONE).build());
        let refusal = stage.mount(session, digest, "/hostile").expect_err(name);
        assert_eq!(refusal.code, code, "{name}: {refusal}");
        assert_eq!(stage.children("/"), [] as [String; 0], "{name}");
    }
}

#[test]
fn a_handler_of_created_objects_that_does_harm_refuses_the_call() {
    for (name, body, code) in HANDLERS {
        let guest = on_event(OBJECT_CREATED, body, DONE);
        let (mut stage, session) = Stage::with_recipe(&guest.build(), "/hostile");
        let refusal = stage.call(session, ("/hostile/a", "run"), &[]).expect_err(name);
        assert_eq!(refusal.code, code, "{name}: {refusal}");
        assert_eq!(stage.children("/hostile"), [] as [String; 0], "{name}");
    }
}

/// Creates an ephemeral znode of the caller below the object.
const STAY: &str = "(i32.store8 (i32.const 701) (i32.const 0x2f)) (i32.store8 (i32.const 702)
    (i32.const 0x65)) (i32.store8 (i32.const 700) (i32.load8_u (local.get $object)))
    (call $create (i32.const 700) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
        (local.get $session) (i32.const 2048)) i32.const 512";

#[test]
fn a_handler_of_ended_sessions_that_does_harm_ends_them_all_the_same() {
    for (name, body, _) in HANDLERS {
        let guest = on_event(SESSION_CLOSED, body, STAY);
        let (mut stage, _) = Stage::with_recipe(&guest.build(), "/hostile");
        let session = stage.open();
        stage.call(session, ("/hostile/a", "run"), &[]).expect("it stays");
        assert_eq!(stage.children("/hostile/a"), ["e"], "{name}");
        assert_eq!(stage.send(session, Operation::CloseSession), Ok(Reply::Done), "{name}");
        assert_eq!(stage.children("/hostile"), [] as [String; 0], "{name}");
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
    for (name, body, _) in HANDLERS {
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

/// Migrations that do harm, after they have deleted what was there.
const MIGRATIONS: [(&str, &str, ErrorCode); 3] = [
    ("traps", "unreachable", RecipeTrapped),
    ("loops", "(loop $l (br $l)) unreachable", RecipeOutOfFuel),
    (
        "refuses",
        "(i32.store8 (i32.const 576) (i32.const 1)) i32.const 576",
        ErrorCode::RecipeRefused,
    ),
];

#[test]
fn a_migration_that_does_harm_leaves_the_old_version_serving() {
    let keep = "(call $create (i32.const 640) (i32.const 1) (i32.const 0) (i32.const 0)
        (i32.const 0) (i64.const 0) (i32.const 2048)) i32.const 512";
    for (name, harm, code) in MIGRATIONS {
        let old = Guest { imports: HOST.into(), invoke: keep.into(), ..Guest::default() };
        let (mut stage, session) = Stage::with_recipe(&old.build(), "/hostile");
        stage.call(session, ("/hostile/q", "run"), &[]).expect("it keeps something");
        let delete_all = "(call $delete (i32.const 640) (i32.const 1) (i32.const 0) (i32.const 0)
            (i32.const 2048))";
        let described = Described { state_version: 2, ..Described::default() };
        let migrate = format!("{delete_all} {harm}");
        let new = Guest { described, imports: HOST.into(), migrate, ..Guest::default() };
        let digest = stage.upload(session, &new.build());
        let kept = stage.children("/hostile");
        let refusal = stage.mount(session, digest, "/hostile").expect_err(name);
        assert_eq!(refusal.code, code, "{name}: {refusal}");
        assert_eq!(stage.children("/hostile"), kept, "{name}");
        stage.call(session, ("/hostile/q", "run"), &[]).expect("the old version serves");
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
    let invoke = format!("{BEHAVE} unreachable");
    let guest = Guest { imports: HOST.into(), invoke, ..Guest::default() };
    let mut stage = Stage::new();
    let session = stage.open();
    let digest = stage.upload(session, &guest.build());
    stage.mount(session, digest, "/hostile").expect("it is mounted");
    for _ in 0..Limits::PRODUCTION.mount_faults_max {
        let refusal = stage.call(session, ("/hostile/a", "run"), &[]).expect_err("it traps");
        assert_eq!(refusal.code, RecipeTrapped, "{refusal}");
    }
    let refusal = stage.call(session, ("/hostile/a", "run"), &[0]).expect_err("it is suspended");
    assert_eq!(refusal.code, ErrorCode::MountSuspended, "{refusal}");
    assert!(refusal.message.contains("100 faults in a row, the last: "), "{refusal}");
    let suspended = stage.machine.suspended_mounts();
    let [(mount, reason)] = suspended.as_slice() else { panic!("{suspended:?}") };
    assert_eq!(mount.as_str(), "/hostile");
    assert!(reason.contains("unreachable"), "{reason}");
    stage.mount(session, digest, "/hostile").expect("it is resumed");
    assert_eq!(stage.machine.suspended_mounts(), []);
    let outcome = stage.call(session, ("/hostile/a", "run"), &[0]);
    assert_eq!(outcome, Ok(Reply::Called(Vec::new().into())));
}
