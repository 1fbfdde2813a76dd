//! `cargo xtask recipes`: the standard recipes as components.
//!
//! Comes in: the crates under `plugins/`. Goes out: `target/recipes/<folder>.wasm`, and a line for
//! each with its size and digest.
//! Invariant: a file is replaced only when its bytes differ, so that what depends on it is not built
//! again for nothing.

use crate::{say, workspace_folder};
use anyhow::{Context, bail};
use quorate_recipe_build::{BuildRequest, Toolchain};
use std::path::Path;

pub(crate) fn run(names: &[String]) -> anyhow::Result<()> {
    let all = standard_recipes()?;
    let unknown = names.iter().find(|name| !all.contains(name));
    if let Some(name) = unknown {
        bail!("there is no plugins/{name}; there are: {}", all.join(", "));
    }
    let wanted = if names.is_empty() { &all } else { names };
    let toolchain = quorate_recipe_build::install(&mut say)?;
    for name in wanted {
        build(name, &toolchain).with_context(|| format!("recipe {name}"))?;
    }
    Ok(())
}

/// Folders under `plugins/` that hold a crate, in order of name.
fn standard_recipes() -> anyhow::Result<Vec<String>> {
    let folder = workspace_folder().join("plugins");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.join("Cargo.toml").is_file(), path.file_name()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn build(name: &str, toolchain: &Toolchain) -> anyhow::Result<()> {
    let workspace = workspace_folder();
    let request = BuildRequest {
        folder: workspace.join("plugins").join(name),
        package: None,
        features: Vec::new(),
        target_folder: None,
    };
    let built = quorate_recipe_build::build(&request, toolchain, &mut say)?;
    let path = workspace.join("target/recipes").join(format!("{name}.wasm"));
    write_if_changed(&path, &built.component)?;
    println!(
        "{}  {} bytes (core module {})  sha256:{}",
        path.display(),
        built.component.len(),
        built.core_bytes,
        built.digest
    );
    Ok(())
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().context("a file has a folder")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    // Renamed into place: whoever reads the file meanwhile sees the old or the new one, whole.
    let fresh = path.with_extension("wasm.new");
    std::fs::write(&fresh, bytes).with_context(|| fresh.display().to_string())?;
    std::fs::rename(&fresh, path).with_context(|| path.display().to_string())
}
