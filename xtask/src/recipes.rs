//! `cargo xtask recipes`: the standard recipes as components.
//!
//! Comes in: the crates under `plugins/`, or the folders named. Goes out: `target/recipes/<folder>.wasm`, and a line for
//! each with its size and digest; `cargo xtask recipe-tables`: their READMEs.
//! Invariant: a file is replaced only when its bytes differ, so that what depends on it is not built
//! again for nothing.

use crate::{checks, say, target_folder, workspace_folder};
use anyhow::{Context, bail};
use quorate_recipe_build::{BuildRequest, Toolchain};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn run(names: &[String]) -> anyhow::Result<()> {
    let all = standard_recipes()?;
    let wanted = if names.is_empty() { &all } else { names };
    let mut folders = Vec::new();
    for name in wanted {
        match (all.contains(name), name.contains('/')) {
            (true, _) => folders.push(workspace_folder().join("plugins").join(name)),
            (false, true) => folders.push(PathBuf::from(name)),
            _ => bail!("there is no plugins/{name}; there are: {}", all.join(", ")),
        }
    }
    let toolchain = quorate_recipe_build::install(&mut say)?;
    for folder in folders {
        build(&folder, &toolchain).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// Renews the READMEs of the standard recipes from what the components say, or checks them.
pub(crate) fn tables(check: bool) -> anyhow::Result<()> {
    run(&[])?;
    checks::cargo(&["build", "--quiet", "--package", "quorate"], &[])?;
    for name in standard_recipes()? {
        let component = workspace_folder().join("target/recipes").join(format!("{name}.wasm"));
        let mut command = Command::new(target_folder().join("debug/quorate"));
        command.args(["recipe", "readme"]).arg(component);
        command.arg(workspace_folder().join("plugins").join(&name).join("README.md"));
        if check {
            command.arg("--check");
        }
        if !command.status().context("cannot run quorate")?.success() {
            bail!("plugins/{name}/README.md: run `cargo xtask recipe-tables`");
        }
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

/// Builds a crate under one of its features into `target/recipes/<folder>-<feature>.wasm`.
pub(crate) fn build_with_feature(folder: &str, feature: &str) -> anyhow::Result<()> {
    let toolchain = quorate_recipe_build::install(&mut say)?;
    let folder = workspace_folder().join(folder);
    build_as(&folder, Some(feature), &toolchain)
        .with_context(|| format!("{} with {feature}", folder.display()))
}

fn build(folder: &Path, toolchain: &Toolchain) -> anyhow::Result<()> {
    build_as(folder, None, toolchain)
}

fn build_as(folder: &Path, feature: Option<&str>, toolchain: &Toolchain) -> anyhow::Result<()> {
    let name = folder.file_name().context("a folder has a name")?.to_string_lossy();
    let name = feature.map_or(name.to_string(), |feature| format!("{name}-{feature}"));
    let request = BuildRequest {
        folder: folder.to_path_buf(),
        package: None,
        features: feature.into_iter().map(String::from).collect(),
        target_folder: None,
    };
    let built = quorate_recipe_build::build(&request, toolchain, &mut say)?;
    let path = workspace_folder().join("target/recipes").join(format!("{name}.wasm"));
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
