//! The way of an author: from nothing to a call, and the same bytes wherever the crate lies.

use anyhow::{Context, Result, ensure};
use quorate_conformance::{Recipes, Tool, example, on_cluster, word};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that stays from run to run: the first build compiles the standard library for Wasm.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs cargo in a crate, as its author would.
fn cargo(folder: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(folder).env_remove("CARGO_TARGET_DIR");
    let output = command.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {words:?} in {}: {said}", folder.display());
    Ok(())
}

/// Writes the crate anew, and keeps what an earlier run has compiled.
fn write_new(tool: &Tool, folder: &Path) -> Result<Value> {
    let kept = scratch("high-water-target");
    if folder.join("target").is_dir() {
        std::fs::rename(folder.join("target"), &kept)?;
    }
    if folder.is_dir() {
        std::fs::remove_dir_all(folder)?;
    }
    let written = tool.done(&["recipe", "new", "high-water", "--folder", word(folder)?])?;
    // Its author's crate does not lie in this workspace, whose style would be looked for above it.
    std::fs::write(folder.with_file_name("rustfmt.toml"), "")?;
    if kept.is_dir() {
        std::fs::rename(&kept, folder.join("target"))?;
    }
    Ok(written)
}

#[test]
fn a_new_recipe_is_well_formed_tested_built_installed_and_called() {
    let folder = scratch("high-water");
    let tool = Tool::bare().expect("a folder");
    let written = write_new(&tool, &folder).expect("it is written");
    assert_eq!(written["name"], "high-water");
    let again = tool.refused(&["recipe", "new", "high-water", "--folder", word(&folder).unwrap()]);
    let again = again.expect("it is refused");
    assert_eq!((again.exit_code, again.code.as_str()), (2, "bad-arguments"));
    tool.ran(&["recipe", "test", word(&folder).unwrap()]).expect("its tests pass");
    cargo(&folder, &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]).unwrap();
    cargo(&folder, &["fmt", "--check"]).unwrap();
    let built = tool.done(&["recipe", "build", word(&folder).unwrap()]).expect("it builds");
    let file = built["file"].as_str().expect("a file").to_owned();
    let inspection = tool.done(&["recipe", "inspect", &file]).expect("it is a recipe");
    assert_eq!(inspection["operations"][0]["sample"]["outcome"], "done", "{inspection}");

    on_cluster(Recipes::None, async |cluster| {
        let tool = Tool::of(cluster)?;
        tool.done(&["recipe", "install", &file])?;
        let told = tool.done(&["recipe", "inspect", "high-water"])?;
        for field in ["name", "version", "state_version", "digest", "bytes", "config_schema"] {
            ensure!(told[field] == inspection[field], "{field} of {told} is not of {inspection}");
        }
        let report = &told["operations"][0];
        ensure!(report["arguments_schema"]["required"] == json!(["value"]), "{report}");
        tool.done(&["recipe", "mount", "/high-waters", "high-water"])?;
        let oven = "/high-waters/oven";
        let words = ["call", oven, "report", "--value", "230", "--note", "door closed"];
        let first = tool.done(&words)?;
        ensure!(first["reply"]["value"] == 230, "{first}");
        let second = tool.done(&["call", oven, "report", "--value", "200"])?;
        ensure!(second == first, "{second} is not {first}");
        let read = tool.done(&["call", oven, "record"])?;
        ensure!(read == first, "{read} is not {first}");
        let none = tool.done(&["call", "/high-waters/kiln", "record"])?;
        ensure!(none["reply"] == json!(null), "{none}");
        let refused = tool.refused(&["call", oven, "report"])?;
        ensure!(refused.error.contains("--value"), "{refused:?}");
        cluster.assert_equal().await.map(drop)
    });
}

/// The sources of a recipe and of the SDK below `to`, and what the SDK's manifests refer to.
fn copy_sources(to: &Path) -> Result<()> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("a workspace")?;
    for name in [
        "Cargo.toml",
        "sdk/recipe",
        "sdk/recipe-macros",
        "sdk/recipe-scenario",
        "sdk/wit",
        "examples/counter-recipe",
    ] {
        copy(&top.join(name), &to.join(name))?;
    }
    Ok(())
}

/// Copies a file, or a folder without what was built in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        for entry in std::fs::read_dir(from)? {
            let name = entry?.file_name();
            if name != "target" {
                copy(&from.join(&name), &to.join(&name))?;
            }
        }
        return Ok(());
    }
    std::fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    // Written, not copied: a file that looks new is compiled again.
    std::fs::write(to, std::fs::read(from)?).with_context(|| to.display().to_string())
}

#[test]
fn the_same_sources_give_the_same_bytes_again_and_in_another_folder() {
    let tool = Tool::bare().expect("a folder");
    let elsewhere = scratch("elsewhere/and-deeper/quorate");
    let outputs = tempfile::tempdir().expect("a folder");
    let mut components = Vec::new();
    for (number, folder) in [
        example("counter-recipe"),
        elsewhere.join("examples/counter-recipe"),
        elsewhere.join("examples/counter-recipe"),
    ]
    .iter()
    .enumerate()
    {
        copy_sources(&elsewhere).expect("the sources are copied");
        let out = outputs.path().join(format!("{number}.wasm"));
        let words = ["recipe", "build", word(folder).unwrap(), "--out", word(&out).unwrap()];
        let built = tool.done(&words).expect("it builds");
        components.push((built["digest"].clone(), std::fs::read(&out).expect("it is there")));
    }
    assert_eq!(components[1].0, components[2].0, "built again, the bytes differ");
    assert_eq!(components[0].0, components[1].0, "built elsewhere, the bytes differ");
    let top = example("..").canonicalize().expect("a folder");
    let mut local = vec![top, elsewhere, outputs.path().to_path_buf()];
    local.extend(["HOME", "CARGO_HOME"].iter().filter_map(std::env::var_os).map(PathBuf::from));
    for path in local.iter().filter(|path| path.components().count() > 1) {
        let text = word(path).expect("text").as_bytes();
        let found = components[0].1.windows(text.len()).any(|window| window == text);
        assert!(!found, "{} is in the component", path.display());
    }
}
