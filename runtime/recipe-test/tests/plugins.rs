//! The standard recipes' scenarios hold for their components, and call every operation.

use quorate_recipe_test::run_scenarios;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two levels up").to_path_buf()
}

/// Folders under `plugins/`, in order of name.
fn plugins() -> Vec<PathBuf> {
    let folder = repository().join("plugins");
    let entries = std::fs::read_dir(&folder).expect("the standard recipes");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.join("Cargo.toml").is_file());
    found.sort();
    found
}

#[test]
fn every_standard_recipe_leaves_the_same_traces_as_a_component() {
    let mut report = String::new();
    for plugin in plugins() {
        let name = plugin.file_name().expect("a name").to_string_lossy().into_owned();
        let component = repository().join("target/recipes").join(&name).with_extension("wasm");
        let bytes = std::fs::read(&component).unwrap_or_else(|error| {
            panic!("{}: {error}: run `cargo xtask recipes`", component.display())
        });
        let ran = run_scenarios(&bytes, &plugin.join("scenarios")).expect("it is a recipe");
        report.push_str(&ran.differences());
        if ran.scenarios.is_empty() {
            report.push_str(&format!("{name} has no scenario\n"));
        }
        if !ran.uncalled.is_empty() {
            let uncalled = ran.uncalled.join(", ");
            report.push_str(&format!("{name}: no scenario calls {uncalled}\n"));
        }
    }
    assert!(report.is_empty(), "{report}");
}
