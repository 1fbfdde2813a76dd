//! The command line as scripts use it: `--json`, exit codes.
//!
//! Comes in: words. Goes out: the JSON that was printed, or the refusal. Invariant: nothing of the
//! user's own configuration is read or written; nothing was printed that a terminal would obey.

use crate::{Cluster, binary};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The binary with a profile or without one.
pub struct Tool {
    profile: Option<PathBuf>,
    /// Where it would look for a default profile: there is none.
    config_home: TempDir,
}

/// What a command said that did not work.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The exit code.
    pub exit_code: i32,
    /// The words for people.
    pub error: String,
    /// The name of the error, or empty.
    pub code: String,
    /// The recipe's own name for it, or empty.
    pub recipe_code: String,
    /// What to do about it, or empty.
    pub next: String,
}

impl Tool {
    /// As the cluster's administrator.
    pub fn of(cluster: &Cluster) -> Result<Tool> {
        Ok(Tool { profile: Some(cluster.profile()), config_home: tempfile::tempdir()? })
    }

    /// Without a profile: flags must say everything.
    pub fn bare() -> Result<Tool> {
        Ok(Tool { profile: None, config_home: tempfile::tempdir()? })
    }

    /// Runs a command that must work; gives what it printed.
    #[track_caller]
    pub fn done(&self, words: &[&str]) -> Result<Value> {
        let (exit_code, printed, said) = self.run(words)?;
        ensure!(exit_code == 0, "quorate {words:?} ended with {exit_code}: {said}");
        let line = printed.lines().last().unwrap_or("null");
        serde_json::from_str(line).with_context(|| format!("quorate {words:?} printed {printed:?}"))
    }

    /// Runs a command that prints nothing of its own, such as one that runs another.
    pub fn ran(&self, words: &[&str]) -> Result<()> {
        let (exit_code, _, said) = self.run(words)?;
        ensure!(exit_code == 0, "quorate {words:?} ended with {exit_code}: {said}");
        Ok(())
    }

    /// Runs a command that must not work; gives what it said.
    pub fn refused(&self, words: &[&str]) -> Result<Refused> {
        let (exit_code, printed, said) = self.run(words)?;
        if exit_code == 0 {
            bail!("quorate {words:?} worked: {printed}");
        }
        let line = said.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(line)
            .with_context(|| format!("quorate {words:?} ended with {exit_code} and said {said}"))?;
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        ensure!(value["exit_code"] == exit_code, "the exit code was {exit_code}, not as in {line}");
        Ok(Refused {
            exit_code,
            error: text("error"),
            code: text("code"),
            recipe_code: text("recipe_code"),
            next: text("next"),
        })
    }

    /// Runs a command for a person, whatever comes of it; gives what the person sees.
    pub fn shown(&self, words: &[&str]) -> Result<String> {
        let (_, printed, said) = self.run_as(&[], words)?;
        Ok(printed + &said)
    }

    fn run(&self, words: &[&str]) -> Result<(i32, String, String)> {
        self.run_as(&["--json"], words)
    }

    fn run_as(&self, form: &[&str], words: &[&str]) -> Result<(i32, String, String)> {
        let mut command = Command::new(binary()?);
        command.args(form).env("XDG_CONFIG_HOME", self.config_home.path());
        for name in ["PROFILE", "ENDPOINTS", "CA", "CERTIFICATE", "KEY"] {
            command.env_remove(format!("QUORATE_{name}"));
        }
        if let Some(profile) = &self.profile {
            command.arg("--profile").arg(profile);
        }
        let output = command.args(words).stdin(Stdio::null()).output().context("cannot run it")?;
        let exit_code = output.status.code().context("it was ended by a signal")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        if let Some(obeyed) = printed.chars().chain(said.chars()).find(is_obeyed) {
            bail!("quorate {words:?} printed {obeyed:?}: {printed:?} {said:?}");
        }
        Ok((exit_code, printed, said))
    }
}

/// Whether a terminal does something else than to show it, line ends and tabs left out.
fn is_obeyed(character: &char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && !matches!(character, '\n' | '\t'))
}

/// A folder under `examples/`.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// A path as a word.
pub fn word(path: &Path) -> Result<&str> {
    path.to_str().context("a path is text")
}
