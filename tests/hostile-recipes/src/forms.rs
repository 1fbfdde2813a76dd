//! Components that are no recipe, and recipes that lie about themselves.
//!
//! Comes in: nothing. Goes out: tables, one component a row, each with words of its refusal.

use crate::guest::{Described, Guest, HOST, contract};
use crate::{Attack, refused};
use std::path::Path;

/// A file of `examples/hostile`.
fn example(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hostile");
    wat::parse_file(folder.join(file)).expect("it is WebAssembly text")
}

/// A guest whose contract has one interface more, which no server offers.
fn asking_for_wasi() -> Vec<u8> {
    let wasi = "package wasi:cli@0.2.0 { interface environment {
        get-arguments: func() -> list<string>; } }";
    let contract = contract()
        .replace("import types;", "import types; import wasi:cli/environment@0.2.0;")
        + wasi;
    let imports =
        r#"(import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))"#;
    let invoke = "(call $arguments (i32.const 0)) i32.const 512";
    Guest { contract, imports: imports.into(), invoke: invoke.into(), ..Guest::default() }.build()
}

/// A guest of a contract with one function more.
fn asking_for_tomorrow() -> Vec<u8> {
    let contract = contract()
        .replace("now: func() -> instant;", "now: func() -> instant;\n  tomorrow: func() -> u64;");
    let imports =
        r#"(import "quorate:recipe/clock@1.0.0" "tomorrow" (func $tomorrow (result i64)))"#;
    let invoke = "(drop (call $tomorrow)) i32.const 512";
    Guest { contract, imports: imports.into(), invoke: invoke.into(), ..Guest::default() }.build()
}

fn signed_state_version() -> Vec<u8> {
    let contract = contract().replace("state-version: u32,", "state-version: s32,");
    Guest { contract, ..Guest::default() }.build()
}

/// Whole but for its end.
fn cut() -> Vec<u8> {
    let mut bytes = Guest::default().build();
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// They have the wrong form, imports or exports.
pub const FORMS: &[Attack] = &[
    refused("text", || b"(module)".to_vec(), "not WebAssembly"),
    refused("a core module", || Guest::default().module(), "`quorate recipe build`"),
    refused("a core module for WASI", || example("imports_wasi.wat"), "core module"),
    refused("half a component", cut, "unexpected end"),
    refused("an import of a process", || example("imports_wasi_component.wat"), "environment"),
    refused(
        "an import of WASI",
        asking_for_wasi,
        "imports wasi:cli/environment@0.2.0: build for wasm32-unknown-unknown",
    ),
    refused("an import of a newer contract", asking_for_tomorrow, "quorate-recipe of this release"),
    refused(
        "no exports at all",
        || example("exports_nothing.wat"),
        "does not export quorate:recipe/guest@1.0.0",
    ),
    refused(
        "an export of the wrong type",
        signed_state_version,
        "the export describe has the wrong type",
    ),
    refused(
        "an empty export, and a start without end",
        || example("starts_for_ever.wat"),
        "quorate:recipe/guest",
    ),
    refused(
        "a start without end",
        || {
            let more = "(func $forever (loop $again (br $again))) (start $forever)".into();
            Guest { more, ..Guest::default() }.build()
        },
        "units of fuel",
    ),
    refused(
        "more memory than any mount allows",
        || {
            let more = "(func $grow (drop (memory.grow (i32.const 300)))) (start $grow)".into();
            Guest { more, ..Guest::default() }.build()
        },
        "more than 16777216 bytes",
    ),
];

fn described(change: fn(&mut Described)) -> Vec<u8> {
    let mut described = Described::default();
    change(&mut described);
    Guest { described, memory_pages: 8, ..Guest::default() }.build()
}

fn describing(describe: &str) -> Vec<u8> {
    Guest { describe: describe.into(), imports: HOST.into(), ..Guest::default() }.build()
}

/// Their `describe` does harm, or answers with what cannot be.
pub const DESCRIPTIONS: &[Attack] = &[
    refused(
        "a description without end",
        || describing("(loop $again (br $again)) unreachable"),
        "units of fuel",
    ),
    refused(
        "a description that touches the tree",
        || describing("(call $get (i32.const 640) (i32.const 1) (i32.const 0)) i32.const 1024"),
        "may only log",
    ),
    refused(
        "a panic in the description",
        || describing("(call $log (i32.const 3) (i32.const 641) (i32.const 5)) unreachable"),
        "hello (wasm trap: wasm `unreachable` instruction executed)",
    ),
    refused(
        "a description before its memory",
        || describing("i32.const -64"),
        "the trial run of describe() failed",
    ),
    refused(
        "a description at an odd address",
        || describing("i32.const 1025"),
        "the trial run of describe() failed",
    ),
    refused(
        "a description past its memory",
        || describing("i32.const 131064"),
        "the trial run of describe() failed",
    ),
    refused("a name", || described(|d| d.name = b"Hostile".to_vec()), "the name \"Hostile\""),
    refused(
        "a name that clears the screen",
        || described(|d| d.name = b"\x1b[2J".to_vec()),
        "the name \"\\u{1b}[2J\"",
    ),
    refused("a name that is no text", || described(|d| d.name = vec![0xff, 0xfe]), "utf-8"),
    refused("an empty name", || described(|d| d.name = Vec::new()), "the name \"\""),
    refused("a long name", || described(|d| d.name = vec![b'a'; 65]), "at most 64 bytes"),
    refused(
        "a version in words",
        || described(|d| d.version = String::from("one")),
        "the version \"one\"",
    ),
    refused(
        "a version that turns the text around",
        || described(|d| d.version = String::from("1.0.0-\u{202e}")),
        "the version \"1.0.0-\\u{202e}\"",
    ),
    refused("no operations", || described(|d| d.operations.clear()), "no operation at all"),
    refused(
        "an operation twice",
        || described(|d| d.operations[1].0 = String::from("run")),
        "the operation \"run\" twice",
    ),
    refused(
        "an operation of two words",
        || described(|d| d.operations[1].0 = String::from("Run it")),
        "the operation name \"Run it\"",
    ),
    refused(
        "an operation that is a path",
        || described(|d| d.operations[0].0 = String::from("run/../run")),
        "the operation name \"run/../run\"",
    ),
    refused(
        "operations without end",
        || described(|d| d.operations = vec![(String::from("a"), true); 257]),
        "257 operations",
    ),
    refused(
        "words without end",
        || described(|d| d.doc = "x".repeat(300_000)),
        "300000 bytes of text, 262144 are allowed",
    ),
    refused(
        "words that clear the screen",
        || described(|d| d.doc = String::from("\u{1b}[2J")),
        "the character '\\u{1b}' in the words about the recipe",
    ),
    refused(
        "a schema cut short",
        || described(|d| d.schema = String::from("{\"type\": ")),
        "the arguments of run that is no JSON",
    ),
    refused(
        "a schema within schemas",
        || described(|d| d.schema = "[".repeat(80_000)),
        "EOF while parsing a list",
    ),
];
