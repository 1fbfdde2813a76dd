//! Libraries that lock by themselves, as their registries have them.
//!
//! Comes in: a name. Goes out: a command that runs a contender with it. Invariant: what is missing is
//! installed, into the target folder where that can be. Must never be missing in silence: where a
//! library cannot be had, the reason is told.

use quorate_conformance::{install_packages, run_quietly};
use std::path::{Path, PathBuf};
use std::process::Command;

const KAZOO: &str = "kazoo==2.11.0";
const PACKAGES: [&str; 2] = ["libcurator-recipes-java", "default-jdk-headless"];
/// Of Debian; the logger is the one that is silent.
const JARS: [&str; 8] = [
    "curator-client",
    "curator-framework",
    "curator-recipes",
    "guava",
    "slf4j-api",
    "slf4j-nop",
    "zookeeper",
    "zookeeper-jute",
];

/// A library, ready to run.
pub(crate) enum Library {
    /// With the folder where it is installed.
    Kazoo(PathBuf),
    /// With the class path of the compiled contender.
    Curator(String),
}

impl Library {
    /// Makes it ready, or says why it cannot be had.
    pub(crate) fn of(name: &str) -> Result<Library, String> {
        if name == "kazoo" { kazoo() } else { curator() }
    }

    /// A contender's command, before its arguments. Of two contenders the second has the option by
    /// which kazoo counts Curator's znodes.
    pub(crate) fn command(&self, number: usize) -> Command {
        match self {
            Library::Kazoo(folder) => {
                let mut command = Command::new("python3");
                command.env("PYTHONPATH", folder).arg(source("contender.py"));
                if number % 2 == 1 {
                    command.env("EXTRA_LOCK_PATTERN", "-lock-");
                }
                command
            }
            Library::Curator(class_path) => {
                let mut command = Command::new("java");
                // Several at a time on a small machine.
                command.args([
                    "-Xmx64m",
                    "-XX:TieredStopAtLevel=1",
                    "-cp",
                    class_path,
                    "Contender",
                ]);
                command
            }
        }
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shared_locks").join(name)
}

fn kazoo() -> Result<Library, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kazoo-2.11.0");
    if !folder.join("kazoo/client.py").exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        run_quietly(pip.arg(&folder).arg(KAZOO))?;
    }
    Ok(Library::Kazoo(folder))
}

fn curator() -> Result<Library, String> {
    let jars = JARS.map(|name| format!("/usr/share/java/{name}.jar"));
    let is_there = jars.iter().all(|jar| Path::new(jar).exists())
        && run_quietly(Command::new("javac").arg("-version")).is_ok();
    if !is_there {
        install_packages(&PACKAGES)?;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("curator");
    let class_path = jars.join(":");
    let mut javac = Command::new("javac");
    let javac = javac.args(["-cp", &class_path, "-d"]).arg(&folder).arg(source("Contender.java"));
    // The library is there: that the contender compiles is the test's own matter.
    run_quietly(javac).unwrap_or_else(|error| panic!("Contender.java: {error}"));
    Ok(Library::Curator(format!("{class_path}:{}", folder.display())))
}
