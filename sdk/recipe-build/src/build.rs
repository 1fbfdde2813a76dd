//! Runs cargo on a recipe's crate.
//!
//! Comes in: where the crate is and how to compile it. Goes out: a component.
//! Invariant: no path of this machine gets into the bytes or decides their order, so that two folders
//! give one digest.

use crate::component::{component_from, digest_hex};
use crate::stable_names::stable_names;
use crate::toolchain::{TARGET, Toolchain};
use crate::{BuildError, Say};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Stack of a guest. With the arena it fits the first three pages of memory, which the server keeps
/// warm; the default of 1 MiB made a call four times as dear.
const STACK_LINK_ARGUMENT: &str = "-Clink-arg=-zstack-size=65536";

/// Small code compiles sooner on every server; speed differs by less than a microsecond a call.
const PROFILE: [(&str, &str); 8] = [
    ("OPT_LEVEL", "s"),
    ("LTO", "true"),
    ("CODEGEN_UNITS", "1"),
    ("PANIC", "abort"),
    ("STRIP", "true"),
    ("DEBUG", "false"),
    ("INCREMENTAL", "false"),
    ("OVERFLOW_CHECKS", "true"),
];

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Folder of the crate's or workspace's manifest.
    pub folder: PathBuf,
    /// The package; `None`: the one in the folder.
    pub package: Option<String>,
    /// Features to turn on.
    pub features: Vec<String>,
    /// Where cargo keeps its files; `None`: `wasm` in the usual target folder.
    pub target_folder: Option<PathBuf>,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct BuiltRecipe {
    /// Name of the package.
    pub package: String,
    /// The component.
    pub component: Vec<u8>,
    /// Its sha-256, in hexadecimal.
    pub digest: String,
    /// Bytes of the core module within it.
    pub core_bytes: usize,
}

/// Builds the component of a recipe's crate.
///
/// # Errors
/// The crate does not compile, or is no recipe.
pub fn build(
    request: &BuildRequest,
    toolchain: &Toolchain,
    say: Say<'_>,
) -> Result<BuiltRecipe, BuildError> {
    let project = Project::read(request, toolchain)?;
    let target_folder =
        request.target_folder.clone().unwrap_or_else(|| project.target_folder.join("wasm"));
    say(&format!("compiling {} for {TARGET} ({toolchain})", project.package));
    let module_path = compile(request, toolchain, &project, &target_folder)?;
    let module = std::fs::read(&module_path)
        .map_err(|error| BuildError::File { path: module_path.clone(), error })?;
    let component = component_from(&module)?;
    warn_of_paths(&component, &project, say);
    Ok(BuiltRecipe {
        package: project.package,
        digest: digest_hex(&component),
        core_bytes: module.len(),
        component,
    })
}

/// What cargo says of the crate.
struct Project {
    package: String,
    workspace_folder: PathBuf,
    target_folder: PathBuf,
    /// Name and folder of each package that comes from a path.
    local_packages: Vec<(String, PathBuf)>,
}

impl Project {
    fn read(request: &BuildRequest, toolchain: &Toolchain) -> Result<Project, BuildError> {
        let manifest = request.folder.join("Cargo.toml");
        let not_a_recipe =
            |problem: String| BuildError::NotARecipe { folder: request.folder.clone(), problem };
        if !manifest.is_file() {
            let problem = "there is no Cargo.toml here; `quorate recipe new NAME` makes a crate";
            return Err(not_a_recipe(problem.into()));
        }
        let mut command = toolchain.cargo();
        command.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(&manifest);
        command.args(["--filter-platform", TARGET]);
        let metadata: Value = serde_json::from_slice(&output_of(command)?)
            .map_err(|error| not_a_recipe(format!("cargo metadata: {error}")))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let manifest = manifest.canonicalize().unwrap_or(manifest);
        let mut local_packages = Vec::new();
        let mut package = request.package.clone();
        for entry in metadata["packages"].as_array().into_iter().flatten() {
            let path = PathBuf::from(text(&entry["manifest_path"]));
            if package.is_none() && path.canonicalize().is_ok_and(|path| path == manifest) {
                package = Some(text(&entry["name"]));
            }
            if let (true, Some(folder)) = (entry["source"].is_null(), path.parent()) {
                local_packages.push((text(&entry["name"]), folder.to_path_buf()));
            }
        }
        let package = package.ok_or_else(|| {
            not_a_recipe("this manifest is of a workspace: say which package to build".into())
        })?;
        if !local_packages.iter().any(|(name, _)| *name == package) {
            return Err(not_a_recipe(format!("there is no package {package:?} in this workspace")));
        }
        Ok(Project {
            package,
            workspace_folder: PathBuf::from(text(&metadata["workspace_root"])),
            target_folder: PathBuf::from(text(&metadata["target_directory"])),
            local_packages,
        })
    }

    /// Compiler flags that replace every path of this machine. The last match wins, so the more
    /// particular ones come later.
    fn remapping(&self, toolchain: &Toolchain, target_folder: &Path) -> String {
        let mut pairs = vec![(self.workspace_folder.clone(), "/workspace".to_owned())];
        for (name, folder) in &self.local_packages {
            pairs.push((folder.clone(), format!("/local/{name}")));
        }
        pairs.push((target_folder.to_path_buf(), "/target".into()));
        if let Some(folder) = cargo_home() {
            pairs.push((folder, "/cargo".into()));
        }
        if let Some(folder) = toolchain.source_folder() {
            pairs.push((folder, "/rust".into()));
        }
        let flag =
            |(from, to): &(PathBuf, String)| format!("--remap-path-prefix={}={to}", from.display());
        pairs.iter().map(flag).collect::<Vec<_>>().join("\x1f")
    }
}

fn cargo_home() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

/// Compiles and gives the path of the core module.
fn compile(
    request: &BuildRequest,
    toolchain: &Toolchain,
    project: &Project,
    target_folder: &Path,
) -> Result<PathBuf, BuildError> {
    let local_folders = project.local_packages.iter().map(|(_, folder)| folder.as_path());
    let wrapper = stable_names(target_folder, local_folders)?;
    let mut command = toolchain.cargo();
    command
        .args(["rustc", "--lib", "--release", "--crate-type", "cdylib", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics", "--package", &project.package])
        .args(toolchain.arguments())
        .arg("--manifest-path")
        .arg(request.folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_folder)
        .env("RUSTC_WRAPPER", wrapper)
        .env("CARGO_ENCODED_RUSTFLAGS", project.remapping(toolchain, target_folder));
    if !request.features.is_empty() {
        command.arg("--features").arg(request.features.join(","));
    }
    for (setting, value) in PROFILE {
        command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    command.args(["--", STACK_LINK_ARGUMENT]);
    let messages = output_of(command)?;
    let name = project.package.as_str();
    for line in messages.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
        let names = message["filenames"].as_array().into_iter().flatten();
        let module = names.filter_map(Value::as_str).find(|name| name.ends_with(".wasm"));
        if let (Some("compiler-artifact"), Some(module)) = (message["reason"].as_str(), module) {
            return Ok(PathBuf::from(module));
        }
    }
    Err(BuildError::NotARecipe {
        folder: request.folder.clone(),
        problem: format!("{name} gave no .wasm file; it needs a library target (src/lib.rs)"),
    })
}

/// What a command prints; its messages go on to the standard error.
fn output_of(mut command: Command) -> Result<Vec<u8>, BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let verb = command.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| BuildError::NotStarted { program: program.clone(), error })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(BuildError::Failed { what: format!("{program} {verb}") })
}

/// A path in the bytes would make the digest depend on the folder.
fn warn_of_paths(component: &[u8], project: &Project, say: Say<'_>) {
    let folder = project.workspace_folder.to_string_lossy();
    let folder = folder.as_bytes();
    if !folder.is_empty() && component.windows(folder.len()).any(|window| window == folder) {
        say("warning: the component names this folder, so its digest depends on it; \
             look for file!() or env!(\"CARGO_MANIFEST_DIR\") in the recipe");
    }
}
