//! Components made to take the time, the memory or the stack of whoever reads or compiles them.
//!
//! Comes in: nothing. Goes out: a table, one component a row, each with words of its refusal.

use crate::guest::Guest;
use crate::{Attack, refused};

fn more(more: String) -> Vec<u8> {
    Guest { more, ..Guest::default() }.build()
}

fn function(body: &str, times: usize) -> Vec<u8> {
    more(format!("(func (param i32 i32) (local f64) {})", body.repeat(times)))
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("text of a component")
}

const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

fn unsigned(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&COMPONENT[..], &[id], &unsigned(body.len()), body].concat()
}

/// Types of components (0x41) or of instances (0x42) within one another: three bytes a level.
fn nested_types(kind: u8, depth: usize) -> Vec<u8> {
    let mut body = vec![1];
    for _ in 0..depth {
        body.extend([kind, 1, 1]);
    }
    body.extend([kind, 0]);
    section(7, &body)
}

fn nested_components(depth: usize) -> Vec<u8> {
    let mut sizes = vec![COMPONENT.len()];
    for level in 1..depth {
        let inner = sizes[level - 1];
        sizes.push(COMPONENT.len() + 1 + unsigned(inner).len() + inner);
    }
    let mut bytes = COMPONENT.to_vec();
    for size in sizes.iter().rev() {
        bytes.push(4);
        bytes.extend(unsigned(*size));
        bytes.extend(COMPONENT);
    }
    bytes
}

/// Each component holds two instances of the one before: 2^depth instances.
fn doubled_instances(depth: usize) -> Vec<u8> {
    let mut text = String::from("(component (component $c0)");
    for level in 1..=depth {
        let before = level - 1;
        text += &format!(
            "(component $c{level} (alias outer 1 $c{before} (component $x))
                (instance (instantiate $x)) (instance (instantiate $x)))"
        );
    }
    component(&(text + ")"))
}

/// Each type is a pair of the one before: 2^depth values.
fn doubled_types(depth: usize) -> Vec<u8> {
    let mut text = String::from("(component (type $t0 (tuple u8 u8))");
    for level in 1..=depth {
        let before = level - 1;
        text += &format!("(type $t{level} (tuple $t{before} $t{before}))");
    }
    component(&(text + ")"))
}

fn many(what: &str, times: usize) -> Vec<u8> {
    component(&format!("(component (core module $m) {})", what.repeat(times)))
}

fn busy_function() -> Vec<u8> {
    const LOCALS: usize = 4_000;
    let locals = " i32".repeat(LOCALS);
    let looping: String = (0..500)
        .map(|n| {
            let tested = n * 7 % LOCALS;
            format!("(loop (local.set {n} (local.get {tested})) (br_if 0 (local.get {tested})))")
        })
        .collect();
    more(format!("(func (local {locals}) {looping})"))
}

/// They are refused before any of their code runs.
pub const BOMBS: &[Attack] = &[
    refused(
        "types of components within one another",
        || nested_types(0x41, 1_000_000),
        "than 16 types",
    ),
    refused(
        "types of instances within one another",
        || nested_types(0x42, 1_000_000),
        "than 16 types",
    ),
    refused(
        "components within one another",
        || nested_components(100_000),
        "has components of its own",
    ),
    refused("instances that double", || doubled_instances(40), "makes instances of others"),
    refused("types that double", || doubled_types(60), "type size exceeds the limit"),
    refused(
        "code in an inner component",
        || component("(component (component (core module)))"),
        "has code of its own",
    ),
    refused(
        "inner components",
        || many("(component)", 17),
        "more than 16 components within one another",
    ),
    refused("modules", || many("(core module)", 1_001), "modules count exceeds limit"),
    refused(
        "instances",
        || many("(core instance (instantiate $m))", 17),
        "17 core module instances",
    ),
    refused("functions", || more("(func)".repeat(20_001)), "more than 20000 functions"),
    refused("locals and branches", busy_function, "more than 2000000 locals times branches in one"),
    refused(
        "blocks within one another",
        || function("block ", 9_000),
        "2000000 locals times branches",
    ),
    refused(
        "loops in a row",
        || function("(loop)", 9_000),
        "more than 2000000 locals times branches",
    ),
    refused(
        "targets of a branch",
        || {
            let targets = "0 ".repeat(500_000);
            more(format!("(func (block (br_table {targets} (i32.const 0))))"))
        },
        "more than 2000000 locals times branches",
    ),
    refused(
        "a function as large as the component",
        || function("(drop (i32.load (local.get 0)))", 150_000),
        "more than 1000000 weighed operators in one function",
    ),
    refused(
        "roots in a row",
        || function("(local.set 2 (f64.sqrt (local.get 2)))", 70_000),
        "more than 1000000 weighed operators in one function",
    ),
    refused(
        "large functions",
        || {
            let roots = "(local.set 0 (f64.sqrt (local.get 0)))".repeat(30_000);
            more(format!("(func (local f64) {roots})").repeat(20))
        },
        "more than 8000000 weighed operators",
    ),
    refused(
        "types of functions",
        || {
            let types = (0..70_000).map(|n| {
                let kinds = (0..17).map(|b| if n >> b & 1 == 1 { " i64" } else { " i32" });
                format!("(type (func (param{})))", kinds.collect::<String>())
            });
            more(types.collect())
        },
        "more than 8000000 weighed operators, types and table entries",
    ),
    refused(
        "parameters",
        || more(format!("(func (param {}))", "i32 ".repeat(200))),
        "more than 100 parameters and results of one function",
    ),
    refused(
        "table entries",
        || more(format!("(func $f) (elem func {})", "$f ".repeat(700_000))),
        "more than 8000000 weighed operators, types and table entries",
    ),
    refused(
        "a table",
        || more(String::from("(table 4000000000 funcref)")),
        "table index 0 has a minimum",
    ),
    refused(
        "tables",
        || more("(table 1 funcref)".repeat(20)),
        "defined tables count of 20 exceeds",
    ),
    refused(
        "a memory",
        || more(String::from("(memory 65536)")),
        "defined memories count of 2 exceeds",
    ),
    refused("memories", || more("(memory 1)".repeat(20)), "defined memories count of 21 exceeds"),
    refused(
        "globals",
        || more("(global i64 (i64.const 0))".repeat(100_000)),
        "instance size does not fit",
    ),
    refused(
        "a component above the limit",
        || vec![0; 5 << 20],
        "5242880 bytes, 4194304 are allowed",
    ),
];
