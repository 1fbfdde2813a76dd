//! Where the binary under test is.
//!
//! Comes in: `QUORATE_BINARY`, or the place of the running test. Goes out: a path. Invariant: what
//! is tested is built from the sources at hand, into the folder that the test was built into.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary `quorate`: the one in `QUORATE_BINARY`, or else built now.
///
/// # Errors
/// It cannot be built.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BUILT.get_or_init(|| match std::env::var_os("QUORATE_BINARY") {
        Some(path) => Ok(PathBuf::from(path)),
        None => build().map_err(|error| format!("{error:#}")),
    });
    found.clone().map_err(anyhow::Error::msg)
}

/// The folder with this build's binaries, such as `target/debug`.
pub(crate) fn profile_folder() -> Result<PathBuf> {
    let test = std::env::current_exe().context("where is this test?")?;
    // A test lies in `<target>/<profile>/deps`.
    let folder = test.ancestors().nth(2).context("a test lies in a target folder")?;
    Ok(folder.to_path_buf())
}

fn build() -> Result<PathBuf> {
    let folder = profile_folder()?;
    let target = folder.parent().context("a profile lies in a target folder")?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(target);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "-p", "quorate", "--target-dir"]).arg(target);
    if folder.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let status = command.current_dir(workspace).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo build -p quorate` failed: {status}");
    }
    Ok(folder.join("quorate"))
}
