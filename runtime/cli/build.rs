//! Embeds the standard recipes that `cargo xtask recipes` has built.
//!
//! Comes in: `target/recipes/<name>.wasm` of each `plugins/<name>`. Goes out: a table of names and
//! bytes for the crate. Without them the table is empty and `quorate dev` says what to run; a build
//! never fails for it. Must never: embed what else lies in that folder, harmful recipes among it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let workspace = manifest.ancestors().nth(2).map_or(manifest.clone(), Path::to_path_buf);
    let folder = workspace.join("target/recipes");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut components: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    components.retain(|path| {
        let plugin = path.file_stem().map(|name| workspace.join("plugins").join(name));
        path.extension().is_some_and(|extension| extension == "wasm")
            && plugin.is_some_and(|plugin| plugin.join("Cargo.toml").is_file())
    });
    components.sort();
    let mut table = String::from("&[\n");
    for path in &components {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", path.display().to_string())
            .expect("writing to a string");
    }
    table.push_str("]\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo"));
    std::fs::write(out.join("standard_recipes.rs"), table).expect("the output folder is writable");
}
