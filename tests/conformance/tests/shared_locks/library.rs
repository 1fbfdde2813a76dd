//! Libraries that lock by themselves, as their registries have them.
//!
//! Comes in: a name. Goes out: a command that runs a contender with it. Invariant: what is missing is
//! installed, into the target folder where that can be. Must never be missing in silence: where a
//! library cannot be had, the reason is told.

use quorate_conformance::{JavaLibrary, JavaProgram, install_kazoo};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A library, ready to run.
pub(crate) enum Library {
    /// With the folder where it is installed.
    Kazoo(PathBuf),
    /// With the compiled contender.
    Curator(JavaProgram),
}

impl Library {
    /// Makes it ready, or says why it cannot be had.
    pub(crate) fn of(name: &str) -> Result<Library, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shared_locks");
        match name {
            "kazoo" => install_kazoo(Path::new(env!("CARGO_TARGET_TMPDIR"))).map(Library::Kazoo),
            _ => JavaProgram::compile(JavaLibrary::Curator, &[&folder], "Contender")
                .map(Library::Curator),
        }
    }

    /// A contender's command, before its arguments. Of two contenders the second has the option by
    /// which kazoo counts Curator's znodes.
    pub(crate) fn command(&self, number: usize) -> Command {
        match self {
            Library::Kazoo(folder) => {
                let source =
                    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared_locks/contender.py");
                let mut command = Command::new("python3");
                command.env("PYTHONPATH", folder).arg(source);
                if number % 2 == 1 {
                    command.env("EXTRA_LOCK_PATTERN", "-lock-");
                }
                command
            }
            Library::Curator(program) => program.command(&[]),
        }
    }
}
