//! What passes as a recipe's component, and what is refused with which words.

use quorate_recipe_build::{BuildError, component_from, digest_hex};
use std::path::Path;

fn hostile(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hostile");
    wat::parse_file(folder.join(name)).unwrap()
}

#[track_caller]
fn refused(bytes: &[u8]) -> String {
    match component_from(bytes) {
        Err(BuildError::Invalid(message)) => message,
        other => panic!("not refused as invalid: {other:?}"),
    }
}

#[test]
fn a_module_for_wasi_is_refused_by_the_name_of_its_import() {
    let message = refused(&hostile("imports_wasi.wat"));
    assert!(message.contains("random_get of wasi_snapshot_preview1"), "{message}");
    assert!(message.contains("wasm32-unknown-unknown"), "{message}");
}

#[test]
fn a_component_for_wasi_is_refused_by_the_name_of_its_import() {
    let message = refused(&hostile("imports_wasi_component.wat"));
    assert!(message.contains("wasi:cli/environment@0.2.0"), "{message}");
}

#[test]
fn a_component_that_is_no_recipe_is_refused() {
    let message = refused(&hostile("exports_nothing.wat"));
    assert!(message.contains("does not export quorate:recipe/guest@1"), "{message}");
}

#[test]
fn a_module_without_the_contract_is_refused() {
    let module = wat::parse_str("(module (func (export \"run\")))").unwrap();
    assert!(component_from(&module).is_err());
}

#[test]
fn what_is_no_wasm_is_refused() {
    for bytes in
        [&b""[..], b"#!/bin/sh", b"\0asm", b"\0asm\x01\0\0\0\xff", b"\0asm\x0d\0\x01\0\xff"]
    {
        let message = refused(bytes);
        assert!(!message.is_empty());
    }
}

#[test]
fn only_names_are_looked_at_here_running_is_for_the_servers() {
    assert!(component_from(&hostile("starts_for_ever.wat")).is_ok());
}

#[test]
fn a_component_cut_short_is_refused_unless_only_names_for_debugging_are_lost() {
    let whole = hostile("starts_for_ever.wat");
    let position = |needle: &[u8]| whole.windows(needle.len()).rposition(|part| part == needle);
    let names_begin = position(b"component-name").expect("wat writes names");
    for end in 0..names_begin - 3 {
        assert!(component_from(&whole[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_digest_is_sha_256_in_hexadecimal() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(digest_hex(b""), empty);
}
