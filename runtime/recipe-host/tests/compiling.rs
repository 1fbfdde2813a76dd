//! What the compiler accepts and refuses, with which words, and what it keeps on disk.

mod support;

use quorate_hostile_recipes::forms::{DESCRIPTIONS, FORMS};
use quorate_hostile_recipes::guest::{Described, Guest, HOST};
use quorate_recipe_host::{Compiler, RecipeError, component_digest};
use quorate_types::recipe::OperationKind;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::stage::COMPILER;

fn refusal(bytes: &[u8]) -> String {
    match COMPILER.compile(&component_digest(bytes), bytes) {
        Ok(compiled) => panic!("{compiled:?} was accepted"),
        Err(error) => error.to_string(),
    }
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
    let (command, query) = (OperationKind::Command, OperationKind::Query);
    assert_eq!(kinds, [("run", command), ("look", query), ("behave", command)]);
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
fn what_has_a_wrong_form_or_lies_about_itself_is_refused_by_the_rule_it_breaks() {
    for attack in FORMS.iter().chain(DESCRIPTIONS) {
        let (name, words, refusal) = (attack.name, attack.words, refusal(&attack.component()));
        assert!(refusal.contains(words), "{name}: {words:?} is not in {refusal:?}");
    }
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
