//! Reads the repository for the tests of its own rules.
//!
//! Comes in: the work tree and `cargo metadata`. Goes out: source files with what the rules look
//! at, and the edges between our crates. Must never change a file.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's top folder.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Every file under version control or new in the work tree, relative to the top, in order.
///
/// # Errors
/// When git cannot be run.
pub fn files() -> Result<Vec<PathBuf>> {
    let listed = Command::new("git")
        .current_dir(repository())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("git ls-files")?;
    let text = String::from_utf8(listed.stdout).context("file names are UTF-8")?;
    let present = |path: &PathBuf| repository().join(path).is_file();
    let mut all: Vec<PathBuf> = text.lines().map(PathBuf::from).filter(present).collect();
    all.sort();
    Ok(all)
}

/// The Rust sources among them, with their text.
///
/// # Errors
/// When one cannot be read.
pub fn rust_sources() -> Result<Vec<(PathBuf, String)>> {
    let mut sources = Vec::new();
    for path in files()?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(repository().join(&path))
            .with_context(|| path.display().to_string())?;
        sources.push((path, text));
    }
    Ok(sources)
}

/// Lines before the first inline test module.
#[must_use]
pub fn production_lines(text: &str) -> usize {
    let tests_at = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text.get(..tests_at).unwrap_or(text).lines().count()
}

/// Each of our crates with those of our crates that it uses, test and build dependencies left out.
///
/// # Errors
/// When cargo cannot be run.
pub fn dependency_edges() -> Result<BTreeMap<String, Vec<String>>> {
    let output = Command::new(env!("CARGO"))
        .current_dir(repository())
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut edges = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().context("name")?;
        let mut uses: Vec<String> = package["dependencies"]
            .as_array()
            .context("dependencies")?
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|used| ours.contains(used))
            .map(str::to_owned)
            .collect();
        uses.sort();
        edges.insert(name.to_owned(), uses);
    }
    Ok(edges)
}
