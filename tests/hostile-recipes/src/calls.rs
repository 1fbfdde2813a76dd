//! Guests that attack when they are called.
//!
//! Comes in: nothing. Goes out: tables, one attack a row. Invariant: each guest attacks in the command
//! `run` and does nothing in the command `behave`.

use crate::guest::{Guest, HOST};
use crate::{Attack, Made, Step};
use quorate_types::ErrorCode::{
    self, RecipeOutOfFuel, RecipeOutOfMemory, RecipeOverLimit, RecipeRefused, RecipeTrapped,
};

/// Leaves early in the only operation whose name has six letters.
const BEHAVE: &str =
    "(if (i32.eq (local.get $operation_len) (i32.const 6)) (then (return (i32.const 512))))";

const fn attack(
    name: &'static str,
    (body, more): (&'static str, &'static str),
    (code, words): (ErrorCode, &'static str),
) -> Attack {
    Attack { name, made: Made::Invoke { body, more }, stopped_at: Step::Call, code, words }
}

/// A guest with this body of `invoke`, these functions, tables and data.
pub(crate) fn guest(body: &str, more: &str) -> Guest {
    let invoke = body_with_locals_first(body);
    Guest { imports: HOST.into(), invoke, more: more.into(), ..Guest::default() }
}

/// Locals stand before instructions.
fn body_with_locals_first(body: &str) -> String {
    match body.strip_prefix("(local $n i32)") {
        Some(rest) => format!("(local $n i32) {BEHAVE} {rest}"),
        None => format!("{BEHAVE} {body}"),
    }
}

const FUEL: (ErrorCode, &str) = (RecipeOutOfFuel, "all 10000000 units of fuel are used");

/// They take time.
pub const TIME: &[Attack] = &[
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

/// They take memory, stack, or the room of a reply.
pub const SPACE: &[Attack] = &[
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
             (i32.store (i32.const 524) (i32.const 1)) (i32.store (i32.const 528) (i32.const 131072))
             (i32.store (i32.const 532) (i32.const 300000)) i32.const 512",
            "",
        ),
        (RecipeOverLimit, "the recipe replies with 300001 bytes, 262144 are allowed"),
    ),
];

/// They change, write or log without end.
pub const FLOODS: &[Attack] = &[
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
             (loop $l (call $get (i32.const 131072) (i32.const 16000000) (i32.const 2048)) (br $l))
             unreachable",
            "",
        ),
        FUEL,
    ),
];

/// They break the rules of the contract.
pub const LIES: &[Attack] = &[
    attack(
        "a panic",
        ("(call $log (i32.const 3) (i32.const 641) (i32.const 5)) unreachable", ""),
        (RecipeTrapped, "hello (wasm trap: wasm `unreachable`"),
    ),
    attack(
        "a panic that clears the screen and forges a line",
        (
            "(call $log (i32.const 3) (i32.const 9000) (i32.const 62)) unreachable",
            r#"(data (i32.const 9000)
                "gone\1b[2J\c2\9b2J\e2\80\ae\0a/locks  lock@1.0.0  serving\0anext: all is well\0a")"#,
        ),
        (RecipeTrapped, "gone"),
    ),
    attack(
        "a division by zero",
        ("(i32.div_u (i32.const 1) (global.get $zero))", "(global $zero (mut i32) (i32.const 0))"),
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
             (drop (call $complete (i64.const 1) (i32.const 1) (i32.const 131072)
                (i32.const 13000000) (i32.const 131072) (i32.const 13000000) (i32.const 131072)
                (i32.const 13000000))) i32.const 512",
            "",
        ),
        (RecipeTrapped, "fuel allocated for hostcalls has been exhausted"),
    ),
];

/// The case `bad-path` of the contract's `tree-error`.
pub const BAD_PATH: u8 = 4;

/// A call of the host that creates a znode at a path which stands at 9000.
#[must_use]
pub fn create_at(name: &str) -> (String, String) {
    let bytes = name.len() - name.matches("\\00").count() * 2;
    let call = format!(
        "(call $create (i32.const 9000) (i32.const {bytes}) (i32.const 0) (i32.const 0)
            (i32.const 0) (i64.const 0) (i32.const 2048))"
    );
    (call, format!("(data (i32.const 9000) \"{name}\")"))
}

/// Traps unless the host's last answer, at 2048, is this case of `tree-error`.
#[must_use]
pub fn demand(case: u8) -> String {
    format!(
        "(if (i32.ne (i32.load8_u (i32.const 2048)) (i32.const 1)) (then unreachable))
         (if (i32.ne (i32.load8_u offset=2048 (i32.const 4)) (i32.const {case}))
            (then unreachable))"
    )
}

/// Creates a znode at a path that leaves the mount, and refuses in words of its own when the host has
/// told it that there is no such path; traps if the host did anything else.
fn escape(name: &str) -> Vec<u8> {
    const WORDS: &str = "the host knows no such path";
    let (call, data) = create_at(name);
    let demand = demand(BAD_PATH);
    let body = format!(
        "{call} {demand}
         (i32.store8 (i32.const 512) (i32.const 1))
         (i32.store (i32.const 520) (i32.const 720)) (i32.store (i32.const 524) (i32.const 8))
         (i32.store (i32.const 528) (i32.const 728))
         (i32.store (i32.const 532) (i32.const {})) i32.const 512",
        WORDS.len()
    );
    guest(&body, &format!("{data} (data (i32.const 720) \"bad-path{WORDS}\")")).build()
}

const fn escaping(name: &'static str, made: fn() -> Vec<u8>) -> Attack {
    let words = "the host knows no such path";
    let (made, stopped_at) = (Made::Component(made), Step::Call);
    Attack { name, made, stopped_at, code: RecipeRefused, words }
}

/// They reach for what is outside of their mount. None of them gets an answer but that there is no
/// such path.
pub const ESCAPES: &[Attack] = &[
    escaping("a path to the parent", || escape("..")),
    escaping("a path to another mount", || escape("../locks/x")),
    escaping("a path by way of an object", || escape("a/../../locks/x")),
    escaping("a path from the root", || escape("/locks/x")),
    escaping("a path of dots", || escape("./a")),
    escaping("a path with an empty name", || escape("a//b")),
    escaping("a path with a null", || escape("a\\00b")),
    escaping("a path of 5000 bytes", || escape(&"x".repeat(5_000))),
];
