//! `quorate recipe new`: a crate to begin a recipe with.
//!
//! Comes in: a name, a folder, where the SDK is. Goes out: a crate that builds, passes its tests and
//! is a recipe of that name. Invariant: the SDK is named by its folder, since it is not published,
//! and the folder was looked into first. Must never: write into a folder that holds anything.

use crate::arguments::NewRecipeArguments;
use crate::exit::Mistake;
use crate::output::Output;
use crate::standard_recipes::usual_mount;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The files of the crate, with `{{name}}`, `{{mount}}` and `{{sdk}}` to be filled in.
const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../template/lib.rs.in")),
    ("README.md", include_str!("../template/README.md.in")),
    (".gitignore", include_str!("../template/gitignore.in")),
];

/// What is taken over from the SDK's workspace as it is: the compiler and the versions of packages
/// that the SDK is tested with. Cargo drops from the lock file what the crate does not use.
const TAKEN_OVER: [&str; 2] = ["rust-toolchain.toml", "Cargo.lock"];

/// The environment variable that names the SDK.
const SDK_VARIABLE: &str = "QUORATE_SDK";

/// Bytes of a name, as the servers allow.
const NAME_BYTES_MAX: usize = 64;

/// Words that the compiler or the crate itself needs for something else.
const TAKEN_NAMES: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "quorate-recipe",
    "quorate-recipe-macros",
    "ref",
    "return",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

pub(crate) fn run(arguments: &NewRecipeArguments, output: Output) -> Result<()> {
    let name = arguments.name.as_str();
    check_name(name)?;
    let folder = arguments.folder.clone().unwrap_or_else(|| PathBuf::from(name));
    check_empty(&folder)?;
    let sdk = find_sdk(arguments.sdk.as_deref(), std::env::var_os(SDK_VARIABLE))?;
    let files = write(name, &folder, &sdk)?;
    let shown = folder.display();
    let text = format!(
        "wrote {shown}: the recipe {name}, with {} as its SDK\n  {}\nnext: cd {shown}, then \
         quorate recipe test . and quorate recipe build .; README.md has the rest",
        sdk.display(),
        files.join("  ")
    );
    let value = json!({
        "name": name,
        "folder": folder.display().to_string(),
        "sdk": sdk.display().to_string(),
        "files": files,
    });
    output.print(&text, &value);
    Ok(())
}

/// A name is that of a crate and of a recipe.
fn check_name(name: &str) -> Result<()> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let begins_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    if !begins_well || name.len() > NAME_BYTES_MAX || !name.split('-').all(is_word) {
        bail!(Mistake::bad_arguments(format!(
            "`{name}` cannot name a recipe: lower-case letters, digits and single dashes, a letter \
             first, at most {NAME_BYTES_MAX} bytes, as `high-water`"
        )));
    }
    if TAKEN_NAMES.contains(&name) {
        bail!(Mistake::bad_arguments(format!(
            "`{name}` cannot name a crate: Rust, or a crate that recipes use, has that name; try \
             `my-{name}`"
        )));
    }
    Ok(())
}

fn check_empty(folder: &Path) -> Result<()> {
    let shown = folder.display();
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!(Mistake::bad_arguments(format!(
                "{shown} is not empty: name a folder with --folder that is, or that does not exist"
            ))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            bail!(Mistake::bad_arguments(format!("{shown} cannot be the crate's folder: {error}")))
        }
    }
}

/// The folder of the crate `quorate-recipe`: what the flag says, else the environment, else the
/// sources that this program was built from, if they are still there.
fn find_sdk(flag: Option<&Path>, variable: Option<OsString>) -> Result<PathBuf> {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = match (flag, &variable) {
        (Some(path), _) => Some((path, "--sdk")),
        (None, Some(path)) => Some((path.as_path(), SDK_VARIABLE)),
        (None, None) => None,
    };
    if let Some((path, by)) = named {
        return sdk_at(path).ok_or_else(|| {
            Mistake::bad_arguments(format!(
                "{by} names `{}`, where no quorate-recipe is: pass the folder of quorate's sources, \
                 or its sdk/recipe",
                path.display()
            ))
            .into()
        });
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    sources.and_then(sdk_at).ok_or_else(|| {
        Mistake::bad_arguments(format!(
            "the SDK is not published, and the sources that this program was built from are gone: \
             pass --sdk FOLDER or set {SDK_VARIABLE}, to the folder of quorate's sources"
        ))
        .into()
    })
}

/// The SDK's crate in this folder, or in the usual place below it.
fn sdk_at(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    [folder.join("sdk/recipe"), folder.join("recipe"), folder].into_iter().find(|crate_folder| {
        let manifest = std::fs::read_to_string(crate_folder.join("Cargo.toml")).unwrap_or_default();
        let manifest: toml::Table = manifest.parse().unwrap_or_default();
        let package = manifest.get("package").and_then(|package| package.get("name"));
        package.and_then(toml::Value::as_str) == Some("quorate-recipe")
    })
}

/// Writes the crate; gives the names of its files.
fn write(name: &str, folder: &Path, sdk: &Path) -> Result<Vec<String>> {
    let Some(sdk_text) = sdk.to_str().filter(|text| !text.contains(['"', '\\', '\n'])) else {
        bail!(Mistake::bad_arguments(format!(
            "the SDK's folder `{}` cannot be written into a manifest: link to it from another one",
            sdk.display()
        )));
    };
    let mount = usual_mount(name);
    let mut written = Vec::new();
    for (file, template) in FILES {
        let filled = template.replace("{{name}}", name).replace("{{mount}}", &mount);
        save(&folder.join(file), &filled.replace("{{sdk}}", sdk_text))?;
        written.push(file.to_owned());
    }
    let workspace = sdk.ancestors().nth(2).unwrap_or(sdk);
    for file in TAKEN_OVER {
        if let Ok(text) = std::fs::read_to_string(workspace.join(file)) {
            save(&folder.join(file), &text)?;
            written.push(file.to_owned());
        }
    }
    Ok(written)
}

fn save(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{code_of, name_of};

    #[track_caller]
    fn is_wrong(outcome: Result<impl std::fmt::Debug>, words: &str) {
        let error = outcome.unwrap_err();
        assert_eq!((code_of(&error), name_of(&error)), (2, Some("bad-arguments")));
        assert!(error.to_string().contains(words), "{words:?} is not in {error}");
    }

    #[test]
    fn a_name_is_that_of_a_crate_and_of_a_recipe() {
        for name in ["a", "high-water", "v2-x9"] {
            check_name(name).unwrap();
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "High", "2x", "-a", "a-", "a--b", "a_b", "a b", "../a", "ä", &long] {
            is_wrong(check_name(name), "cannot name a recipe");
        }
        for name in ["fn", "std", "serde", "quorate-recipe"] {
            is_wrong(check_name(name), &format!("my-{name}"));
        }
        assert!(TAKEN_NAMES.is_sorted());
    }

    #[test]
    fn the_flag_comes_before_the_environment_and_that_before_the_sources() {
        let own = find_sdk(None, None).unwrap();
        assert!(own.ends_with("sdk/recipe"), "{}", own.display());
        let elsewhere = tempfile::tempdir().unwrap();
        let manifest = "[package]\nname = \"quorate-recipe\"\n";
        save(&elsewhere.path().join("sdk/recipe/Cargo.toml"), manifest).unwrap();
        let found = elsewhere.path().join("sdk/recipe").canonicalize().unwrap();
        for below in ["", "sdk", "sdk/recipe"] {
            let flag = elsewhere.path().join(below);
            assert_eq!(find_sdk(Some(&flag), Some("/nowhere".into())).unwrap(), found);
            assert_eq!(find_sdk(None, Some(flag.into())).unwrap(), found);
        }
        assert_eq!(find_sdk(None, Some("".into())).unwrap(), own);
        is_wrong(find_sdk(Some(Path::new("/nowhere")), None), "--sdk names `/nowhere`");
        is_wrong(find_sdk(None, Some("/nowhere".into())), "QUORATE_SDK names `/nowhere`");
    }

    #[test]
    fn a_folder_that_holds_anything_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        check_empty(folder.path()).unwrap();
        check_empty(&folder.path().join("new")).unwrap();
        let file = folder.path().join("kept");
        std::fs::write(&file, "").unwrap();
        is_wrong(check_empty(folder.path()), "is not empty");
        is_wrong(check_empty(&file), "cannot be the crate's folder");
    }

    #[test]
    fn every_blank_of_the_template_is_filled_in() {
        let folder = tempfile::tempdir().unwrap();
        let sdk = find_sdk(None, None).unwrap();
        let files = write("high-water", folder.path(), &sdk).unwrap();
        assert_eq!(files.len(), FILES.len() + TAKEN_OVER.len());
        for file in files {
            let text = std::fs::read_to_string(folder.path().join(&file)).unwrap();
            assert!(!text.contains("{{"), "{file}: {text}");
        }
    }
}
