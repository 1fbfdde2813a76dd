//! What the compiler accepts and refuses, with which words, and what it keeps on disk.

mod support;

use quorate_recipe_host::{Compiler, RecipeError, component_digest};
use quorate_types::recipe::OperationKind;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::guests::{Described, Guest, HOST, contract};
use support::stage::COMPILER;

fn refusal(bytes: &[u8]) -> String {
    match COMPILER.compile(&component_digest(bytes), bytes) {
        Ok(compiled) => panic!("{compiled:?} was accepted"),
        Err(error) => error.to_string(),
    }
}

fn refusal_of(guest: Guest) -> String {
    refusal(&guest.build())
}

#[test]
fn a_component_of_the_contract_is_accepted_and_described() {
    let bytes = Guest { imports: String::from(HOST), ..Guest::default() }.build();
    let inspection = COMPILER.inspect(&bytes).expect("it is accepted");
    assert_eq!(inspection.digest, component_digest(&bytes));
    assert_eq!(inspection.component_bytes, bytes.len());
    assert!(inspection.compiled_bytes > 0);
    assert_eq!(inspection.exports, ["quorate:recipe/guest@1.0.0"]);
    assert!(inspection.imports.contains(&String::from("quorate:recipe/tree@1.0.0")));
    assert_eq!((inspection.memories, inspection.initial_memory_bytes), (1, 2 << 16));
    assert!((1..1_000).contains(&inspection.describe_fuel), "{}", inspection.describe_fuel);
    assert_eq!(inspection.fuel_wanted, None);
    let descriptor = inspection.descriptor;
    assert_eq!((descriptor.name.as_str(), descriptor.version.as_str()), ("hostile", "1.0.0"));
    assert_eq!(descriptor.state_version, 1);
    let kinds: Vec<_> = descriptor.operations.iter().map(|o| (o.name.as_str(), o.kind)).collect();
    assert_eq!(kinds, [("run", OperationKind::Command), ("look", OperationKind::Query)]);
}

#[test]
fn bytes_of_another_digest_are_refused() {
    let bytes = Guest::default().build();
    let error = COMPILER.compile(&component_digest(b"other"), &bytes).expect_err("it is refused");
    assert!(matches!(error, RecipeError::Digest { .. }), "{error}");
}

#[test]
fn what_is_no_component_is_refused_with_the_cure() {
    assert!(refusal(b"(module)").contains("not WebAssembly"));
    assert!(refusal(b"").contains("not WebAssembly"));
    let core_module = Guest::default().module();
    assert!(refusal(&core_module).contains("`quorate recipe build`"));
    let too_large = vec![0; 5 << 20];
    assert!(refusal(&too_large).contains("4194304 are allowed"));
}

#[test]
fn a_damaged_component_is_refused_wherever_the_damage_is() {
    let intact = Guest::default().build();
    let mut accepted = 0;
    for at in (8..intact.len()).step_by(7) {
        let mut damaged = intact.clone();
        damaged[at] ^= 0xff;
        // Some bytes are names or data where anything goes; none may do harm.
        accepted += usize::from(COMPILER.compile(&component_digest(&damaged), &damaged).is_ok());
        let cut = &intact[..at];
        // Without the custom sections at its end it is still whole.
        let is_whole = intact[at] == 0;
        let refused = COMPILER.compile(&component_digest(cut), cut).is_err();
        assert!(refused || is_whole, "cut at {at}");
    }
    assert!(accepted < intact.len() / 7, "every damage was accepted");
}

#[test]
fn an_import_from_outside_the_contract_is_named_with_the_cure() {
    let wasi = "package wasi:cli@0.2.0 { interface environment {
        get-arguments: func() -> list<string>; } }";
    let contract = contract()
        .replace("import types;", "import types; import wasi:cli/environment@0.2.0;")
        + wasi;
    let imports =
        r#"(import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))"#;
    let invoke = "(call $arguments (i32.const 0)) i32.const 512";
    let guest =
        Guest { contract, imports: imports.into(), invoke: invoke.into(), ..Guest::default() };
    let refusal = refusal_of(guest);
    assert_eq!(refusal, "imports wasi:cli/environment@0.2.0: build for wasm32-unknown-unknown");
}

#[test]
fn a_function_the_server_does_not_have_is_named() {
    let contract = contract()
        .replace("now: func() -> instant;", "now: func() -> instant;\n  tomorrow: func() -> u64;");
    let imports =
        r#"(import "quorate:recipe/clock@1.0.0" "tomorrow" (func $tomorrow (result i64)))"#;
    let invoke = "(drop (call $tomorrow)) i32.const 512";
    let guest =
        Guest { contract, imports: imports.into(), invoke: invoke.into(), ..Guest::default() };
    let refusal = refusal_of(guest);
    assert!(refusal.contains("tomorrow"), "{refusal}");
    assert!(refusal.contains("quorate-recipe of this release"), "{refusal}");
}

#[test]
fn an_export_of_the_wrong_type_is_named() {
    let contract = contract().replace("state-version: u32,", "state-version: s32,");
    let refusal = refusal_of(Guest { contract, ..Guest::default() });
    assert!(refusal.starts_with("the export describe has the wrong type"), "{refusal}");
    assert!(refusal.contains("state-version"), "{refusal}");
}

#[test]
fn a_component_without_the_guest_interface_is_refused() {
    let empty = wat::parse_str("(component)").expect("text");
    assert!(refusal(&empty).contains("does not export quorate:recipe/guest@1.0.0"));
}

#[test]
fn a_describe_that_never_ends_is_refused() {
    let describe = "(loop $again (br $again)) unreachable".into();
    let refusal = refusal_of(Guest { describe, ..Guest::default() });
    assert!(refusal.contains("fuel"), "{refusal}");
}

#[test]
fn a_start_function_that_never_ends_is_refused() {
    let more = "(func $forever (loop $again (br $again))) (start $forever)".into();
    let refusal = refusal_of(Guest { more, ..Guest::default() });
    assert!(refusal.contains("fuel"), "{refusal}");
}

#[test]
fn a_describe_that_touches_the_tree_is_refused() {
    let describe = "(call $get (i32.const 640) (i32.const 1) (i32.const 0)) i32.const 1024".into();
    let refusal = refusal_of(Guest { describe, imports: HOST.into(), ..Guest::default() });
    assert!(refusal.contains("may only log"), "{refusal}");
}

#[test]
fn a_panic_in_describe_is_told_in_its_own_words() {
    let describe = "(call $log (i32.const 3) (i32.const 641) (i32.const 5)) unreachable".into();
    let refusal = refusal_of(Guest { describe, imports: HOST.into(), ..Guest::default() });
    assert!(
        refusal.contains("hello (wasm trap: wasm `unreachable` instruction executed)"),
        "{refusal}"
    );
}

#[test]
fn a_descriptor_that_cannot_be_is_refused_by_the_rule_it_breaks() {
    let described = |change: &dyn Fn(&mut Described)| {
        let mut described = Described::default();
        change(&mut described);
        refusal_of(Guest { described, memory_pages: 8, ..Guest::default() })
    };
    type Change<'a> = &'a dyn Fn(&mut Described);
    let cases: [(Change<'_>, &str); 16] = [
        (&|d| d.name = b"Hostile".to_vec(), "the name \"Hostile\""),
        (&|d| d.name = b"\x1b[2J".to_vec(), "the name \"\\u{1b}[2J\""),
        (&|d| d.name = vec![0xff, 0xfe], "utf-8"),
        (&|d| d.version = String::from("one"), "the version \"one\""),
        (&|d| d.operations.clear(), "no operation at all"),
        (&|d| d.operations[1].0 = String::from("run"), "the operation \"run\" twice"),
        (&|d| d.operations[1].0 = String::from("Run it"), "kebab-case"),
        (&|d| d.operations = vec![(String::from("a"), true); 257], "257 operations"),
        (&|d| d.name = Vec::new(), "the name \"\""),
        (&|d| d.name = vec![b'a'; 65], "at most 64 bytes"),
        (&|d| d.version = String::from("1.0.0-\u{202e}"), "the version"),
        (&|d| d.operations[0].0 = String::from("run/../run"), "kebab-case"),
        (&|d| d.doc = "x".repeat(300_000), "300000 bytes of text, 262144 are allowed"),
        (
            &|d| d.doc = String::from("\u{1b}[2J"),
            "the character '\\u{1b}' in the words about the recipe",
        ),
        (&|d| d.schema = String::from("{\"type\": "), "the arguments of run that is no JSON"),
        (&|d| d.schema = "[".repeat(100_000), "EOF while parsing a list"),
    ];
    for (change, words) in cases {
        let refusal = described(change);
        assert!(refusal.contains(words), "{words:?} is not in {refusal:?}");
    }
}

#[test]
fn a_describe_that_points_outside_its_memory_is_refused() {
    for describe in ["i32.const -64", "i32.const 1025", "i32.const 131064"] {
        let refusal = refusal_of(Guest { describe: describe.into(), ..Guest::default() });
        assert!(refusal.starts_with("the trial run of describe() failed"), "{refusal}");
    }
}

#[test]
fn more_memory_than_any_mount_allows_is_refused() {
    let more = "(func $grow (drop (memory.grow (i32.const 300)))) (start $grow)".into();
    let refusal = refusal_of(Guest { more, ..Guest::default() });
    assert!(refusal.contains("more than 16777216 bytes"), "{refusal}");
}

fn cached_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    files
}

#[test]
fn compiled_code_is_found_again_and_damaged_code_is_compiled_anew() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("compiled");
    let open =
        || Compiler::new().expect("an engine").with_cache(&folder).expect("the folder is private");
    let bytes = Guest::default().build();
    let digest = component_digest(&bytes);
    assert!(!open().compile(&digest, &bytes).expect("accepted").from_cache());
    assert!(open().compile(&digest, &bytes).expect("accepted").from_cache());
    let files = cached_files(&folder);
    let [code, sum] = files.as_slice() else { panic!("{files:?}") };
    for file in [code, sum] {
        let mut damaged = fs::read(file).expect("readable");
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(file, damaged).expect("writable");
        assert!(!open().compile(&digest, &bytes).expect("accepted").from_cache());
        assert!(open().compile(&digest, &bytes).expect("accepted").from_cache());
    }
    assert_eq!(fs::metadata(&folder).expect("there").permissions().mode() & 0o777, 0o700);
    open().forget(&digest);
    assert_eq!(cached_files(&folder), [] as [PathBuf; 0]);
}

#[test]
fn code_of_one_component_cannot_stand_in_for_another() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("compiled");
    let compiler = Compiler::new().expect("an engine").with_cache(&folder).expect("private");
    let first = Guest::default().build();
    let described = Described { doc: String::from("another"), ..Described::default() };
    let second = Guest { described, ..Guest::default() }.build();
    compiler.compile(&component_digest(&first), &first).expect("accepted");
    let digest = component_digest(&second);
    for file in cached_files(&folder) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let other = name.replace(&component_digest(&first).to_string(), &digest.to_string());
        fs::rename(&file, folder.join(other)).expect("renamed");
    }
    let compiled = compiler.compile(&digest, &second).expect("accepted");
    assert!(!compiled.from_cache());
    assert_eq!(compiled.descriptor().doc, "another");
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("compiled");
    fs::create_dir(&folder).expect("made");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("opened");
    let refused = Compiler::new().expect("an engine").with_cache(&folder).err().expect("refused");
    assert!(refused.to_string().contains("mode 777"), "{refused}");
}
