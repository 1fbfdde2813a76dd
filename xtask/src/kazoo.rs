//! `cargo xtask kazoo`: kazoo's own test suite against three quorate servers.
//!
//! Comes in: arguments for pytest; `tests/conformance/kazoo/known.txt`, the tests known to fail, each with
//! its reason. Goes out: counts, and every test that did not end as it was known to. Invariant: it works
//! only while exactly the known ones fail. What it installs is in a virtualenv below the target folder.

use crate::{build, say, target_folder, workspace_folder};
use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The suite comes with the library; the rest is what the suite asks for.
const PACKAGES: [&str; 9] = [
    "kazoo==2.11.0",
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "pyOpenSSL==26.4.0",
    "pure-sasl==0.6.2",
    "gevent==26.9.0",
    "eventlet==0.41.3",
    "objgraph==3.7.0",
    "pyjks==20.0.0",
];
/// Seconds after which a test that waits for something has failed.
const TEST_SECONDS_MAX: &str = "45";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    build()?;
    let folder = target_folder().join("kazoo");
    let python = virtualenv(&folder.join("virtualenv"))?;
    let scratch = folder.join("run");
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    std::fs::create_dir_all(&scratch)?;
    // Its status tells what the outcomes tell, and no more.
    pytest(&python, &scratch, arguments)?;
    let outcomes = read(&scratch.join("outcomes.txt"))
        .context("pytest did not come to its end: see the messages above")?;
    let known = read(&plugin_folder().join("known.txt"))?;
    judge(&outcomes, &known, arguments.is_empty())
}

fn plugin_folder() -> PathBuf {
    workspace_folder().join("tests/conformance/kazoo")
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Makes the virtualenv, unless it is there; gives its Python.
fn virtualenv(folder: &Path) -> anyhow::Result<PathBuf> {
    let python = folder.join("bin/python");
    // Written last: what is installed only in part is installed again.
    let mark = folder.join("installed.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|packages| packages == PACKAGES.join("\n")) {
        return Ok(python);
    }
    say(&format!("making a virtualenv in {}", folder.display()));
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))
        .context("it needs Python with its module venv (on Debian: python3-venv)")?;
    let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    succeed(Command::new(&python).args(options).args(PACKAGES))
        .context("the registry of Python packages must be within reach")?;
    std::fs::write(mark, PACKAGES.join("\n"))?;
    Ok(python)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

fn pytest(python: &Path, scratch: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new(python);
    command.args(["-m", "pytest", "-p", "quorate_cluster", "-p", "no:cacheprovider", "--quiet"]);
    command.args(["--tb=short", "--timeout", TEST_SECONDS_MAX, "--pyargs", "kazoo.tests"]);
    command.args(arguments).current_dir(scratch);
    command.env("PYTHONPATH", plugin_folder()).env("PYTHONDONTWRITEBYTECODE", "1");
    // Clients that the suite leaves behind go on about their lost servers.
    command.stderr(File::create(scratch.join("errors.txt"))?);
    command.env("QUORATE", target_folder().join("debug/quorate")).env("QUORATE_FOLDER", scratch);
    say("kazoo's suite takes about three minutes");
    command.status().context("cannot run pytest")?;
    Ok(())
}

/// Compares how tests ended with what is known of them. `is_whole`: the whole suite ran.
fn judge(outcomes: &str, known: &str, is_whole: bool) -> anyhow::Result<()> {
    let outcomes: BTreeMap<&str, &str> = outcomes
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(how, test)| (test, how))
        .collect();
    let known: BTreeSet<&str> =
        known.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let with = |wanted: &str| -> BTreeSet<&str> {
        outcomes.iter().filter(|(_, how)| **how == wanted).map(|(test, _)| *test).collect()
    };
    let (passed, failed, skipped) = (with("passed"), with("failed"), with("skipped"));
    let gone = |test: &&&str| is_whole && !outcomes.contains_key(**test);
    let mut wrong = Vec::new();
    wrong.extend(failed.difference(&known).map(|test| format!("{test} failed")));
    wrong.extend(
        known.intersection(&passed).map(|test| format!("{test} passed: take it out of known.txt")),
    );
    wrong.extend(
        known
            .intersection(&skipped)
            .map(|test| format!("{test} was skipped: take it out of known.txt")),
    );
    wrong.extend(known.iter().filter(gone).map(|test| format!("{test} of known.txt is no test")));
    let (passes, skips) = (passed.len(), skipped.len());
    say(&format!(
        "kazoo: {passes} passed, {} failed as known, {skips} skipped",
        failed.intersection(&known).count()
    ));
    if is_whole && passed.is_empty() {
        bail!("no test of kazoo's suite passed");
    }
    if !wrong.is_empty() {
        bail!("kazoo's suite did not end as known:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "a.py::A::one  reason\na.py::A::two   as above\n";

    fn words(outcomes: &str, is_whole: bool) -> String {
        judge(outcomes, KNOWN, is_whole).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn exactly_the_known_tests_may_fail() {
        let as_known = "failed a.py::A::one\nfailed a.py::A::two\npassed a.py::A::three\n";
        assert_eq!(words(as_known, true), "");
        let new = as_known.replace("passed", "failed");
        assert!(words(&new, false).contains("a.py::A::three failed"));
        let better = as_known.replace("failed a.py::A::one", "passed a.py::A::one");
        assert!(words(&better, true).contains("a.py::A::one passed: take it out"));
        let fewer = as_known.replace("failed a.py::A::two\n", "");
        assert!(words(&fewer, true).contains("a.py::A::two of known.txt is no test"));
        assert_eq!(words(&fewer, false), "");
        assert!(!words("", true).is_empty());
    }
}
