//! Names of symbols that do not depend on where a package lies.
//!
//! Comes in: the folders of the packages that come from a path. Goes out: a script that stands before
//! the compiler. Cargo hashes such a folder into the crate's metadata, hence into the names of its
//! symbols, hence into the order in which the linker lays them out; the script puts the package's name
//! and version in place of that hash. Invariant: crates from registries keep what cargo gave them.

use crate::BuildError;
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Behind the first line and the table of folders.
const REST: &str = r#") ;;
*) exec "$program" "$@" ;;
esac
for argument do
  shift
  case "$argument" in
  metadata=*) argument="metadata=$CARGO_PKG_NAME@$CARGO_PKG_VERSION" ;;
  esac
  set -- "$@" "$argument"
done
exec "$program" "$@"
"#;

/// Writes the script into cargo's folder; gives its path, for `RUSTC_WRAPPER`.
///
/// # Errors
/// [`BuildError::File`].
pub(crate) fn stable_names<'a>(
    target_folder: &Path,
    local_folders: impl Iterator<Item = &'a Path>,
) -> Result<PathBuf, BuildError> {
    let path = target_folder.join("rustc-with-stable-names");
    let text = script(local_folders);
    let written = std::path::absolute(&path).and_then(|absolute| {
        write_program(&absolute, &text)?;
        Ok(absolute)
    });
    written.map_err(|error| BuildError::File { path, error })
}

fn script<'a>(local_folders: impl Iterator<Item = &'a Path>) -> String {
    let quoted = |folder: &Path| format!("'{}'", folder.to_string_lossy().replace('\'', r"'\''"));
    let folders: Vec<String> = local_folders.map(quoted).collect();
    let mut text =
        String::from("#!/bin/sh\nprogram=\"$1\"\nshift\ncase \"$CARGO_MANIFEST_DIR\" in\n");
    // A package that is built here comes from a path, so there is one at least.
    let _ = write!(text, "{}{REST}", folders.join("|"));
    text
}

/// Renamed into place: a script that is being run is not written into.
fn write_program(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&fresh, text)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What the compiler would be told for a package in this folder.
    fn told(script: &Path, folder: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(script);
        command.arg("echo").args(arguments).env("CARGO_MANIFEST_DIR", folder);
        command.env("CARGO_PKG_NAME", "tally").env("CARGO_PKG_VERSION", "1.2.3");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn only_packages_from_a_path_are_named_by_name_and_version() {
        let target = tempfile::tempdir().unwrap();
        let folders = [Path::new("/home/a b/it's"), Path::new("/sdk")];
        let script = stable_names(target.path(), folders.into_iter()).unwrap();
        let arguments = ["--crate-name", "x", "-C", "metadata=0123", "-C", "extra-filename=-0123"];
        let changed = "--crate-name x -C metadata=tally@1.2.3 -C extra-filename=-0123\n";
        for folder in ["/home/a b/it's", "/sdk"] {
            assert_eq!(told(&script, folder, &arguments), changed);
        }
        let unchanged = format!("{}\n", arguments.join(" "));
        for folder in ["", "/sdk/below", "/home/.cargo/registry/src/serde"] {
            assert_eq!(told(&script, folder, &arguments), unchanged);
        }
        assert_eq!(told(&script, "/sdk", &["a  b", "*", ""]), "a  b * \n");
    }
}
