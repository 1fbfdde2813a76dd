//! Programs in Java that use ZooKeeper's own client, or Curator, as Debian has them.
//!
//! Comes in: sources in a folder. Goes out: a command that runs them. Invariant: what is missing is
//! installed; what is compiled goes with this value. Must never be missing in silence: where a library
//! cannot be had, the reason is told.

use crate::{install_packages, run_quietly};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The logger is the one that is silent.
const ZOOKEEPER_JARS: [&str; 4] = ["slf4j-api", "slf4j-nop", "zookeeper", "zookeeper-jute"];
const CURATOR_JARS: [&str; 4] = ["curator-client", "curator-framework", "curator-recipes", "guava"];

/// A library that talks to ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JavaLibrary {
    /// ZooKeeper's own client.
    ZooKeeper,
    /// Curator, with its recipes.
    Curator,
}

/// A compiled program.
pub struct JavaProgram {
    class_path: String,
    main_class: String,
    _classes: TempDir,
}

impl JavaLibrary {
    fn packages(self) -> [&'static str; 2] {
        match self {
            JavaLibrary::ZooKeeper => ["libzookeeper-java", "default-jdk-headless"],
            JavaLibrary::Curator => ["libcurator-recipes-java", "default-jdk-headless"],
        }
    }

    fn jars(self) -> Vec<String> {
        let more: &[&str] = match self {
            JavaLibrary::ZooKeeper => &[],
            JavaLibrary::Curator => &CURATOR_JARS,
        };
        let names = ZOOKEEPER_JARS.iter().chain(more);
        names.map(|name| format!("/usr/share/java/{name}.jar")).collect()
    }
}

impl JavaProgram {
    /// Compiles every Java source in these folders.
    ///
    /// # Errors
    /// The library or the compiler cannot be had.
    ///
    /// # Panics
    /// The library is there and the sources do not compile: that is the test's own matter.
    pub fn compile(
        library: JavaLibrary,
        folders: &[&Path],
        main_class: &str,
    ) -> Result<JavaProgram, String> {
        let jars = library.jars();
        let is_there = jars.iter().all(|jar| Path::new(jar).exists())
            && run_quietly(Command::new("javac").arg("-version")).is_ok();
        if !is_there {
            install_packages(&library.packages())?;
        }
        let classes = tempfile::tempdir().map_err(|error| error.to_string())?;
        let class_path = jars.join(":");
        let mut javac = Command::new("javac");
        javac.args(["-cp", &class_path, "-d"]).arg(classes.path()).args(sources(folders));
        run_quietly(&mut javac).unwrap_or_else(|error| panic!("{main_class}: {error}"));
        let class_path = format!("{class_path}:{}", classes.path().display());
        Ok(JavaProgram { class_path, main_class: main_class.to_owned(), _classes: classes })
    }

    /// A command that runs it, before its arguments. `properties`: such as `-Dname=value`.
    #[must_use]
    pub fn command(&self, properties: &[&str]) -> Command {
        let mut command = Command::new("java");
        // Several at a time on a small machine.
        command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1"]).args(properties);
        command.args(["-cp", &self.class_path, &self.main_class]);
        command
    }
}

fn sources(folders: &[&Path]) -> Vec<PathBuf> {
    let entries = folders.iter().flat_map(|folder| folder.read_dir().expect("a folder of sources"));
    let paths = entries.map(|entry| entry.expect("a source").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "java")).collect()
}
