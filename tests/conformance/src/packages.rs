//! Programs that tests compare or contend with, from their registries.
//!
//! Comes in: names of Debian's packages, or a command. Goes out: that it is done, or why it cannot be.
//! Invariant: of all tests one installs at a time, whichever process it is in. Must never hide the reason:
//! a test that is left out says it.

use crate::binary::profile_folder;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const KAZOO: &str = "kazoo==2.11.0";

/// Installs packages of Debian.
///
/// # Errors
/// The registry is out of reach, or this is no Debian: what the tool said.
pub fn install_packages(names: &[&str]) -> Result<(), String> {
    let _alone = installing()?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // An old list of packages will mostly do.
    let updated = run_quietly(apt().arg("update"));
    let options = ["install", "-y", "--no-install-recommends"];
    run_quietly(apt().args(options).args(names))
        .map_err(|error| format!("{error}{}", updated.err().unwrap_or_default()))
}

/// Installs kazoo into a folder of its own below this one; gives what `PYTHONPATH` must name.
///
/// # Errors
/// The registry is out of reach, or there is no Python: what the tool said.
pub fn install_kazoo(folder: &Path) -> Result<PathBuf, String> {
    let _alone = installing()?;
    let folder = folder.join(KAZOO.replace("==", "-"));
    if !folder.join("kazoo/client.py").exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        run_quietly(pip.arg(&folder).arg(KAZOO))?;
    }
    Ok(folder)
}

/// Waits until nobody else installs; nobody does while the file is held.
fn installing() -> Result<File, String> {
    let lock = || -> anyhow::Result<File> {
        let file = File::create(profile_folder()?.join("packages.lock"))?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|error| format!("{error:#}"))
}

/// Runs a command that asks nothing.
///
/// # Errors
/// It cannot be run or fails; with what it said.
pub fn run_quietly(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
