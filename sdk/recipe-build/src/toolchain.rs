//! Which Rust here compiles for Wasm, and how to get one.
//!
//! Comes in: the environment, what is installed. Goes out: a [`Toolchain`], or words about what to
//! install.
//! Invariant: finding changes nothing; installing says each command before it runs.

use crate::{BuildError, Say};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target recipes are compiled for: no operating system, no WASI.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// The environment variable that decides between the two ways.
pub const TOOLCHAIN_VARIABLE: &str = "QUORATE_WASM_TOOLCHAIN";
/// Debian's compiler with the sources of std, from which std is built for the target.
pub const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"];

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// A way to compile for Wasm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The active toolchain has the target's std.
    Rustup,
    /// Debian's compiler builds std from its sources; linked by this program.
    Debian {
        /// An lld that links Wasm.
        linker: PathBuf,
    },
}

impl std::fmt::Display for Toolchain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Toolchain::Rustup => write!(f, "rustup: the active toolchain has {TARGET}"),
            Toolchain::Debian { linker } => {
                write!(f, "debian: {DEBIAN_RUSTC}, std from source, linker {}", linker.display())
            }
        }
    }
}

impl Toolchain {
    /// Its cargo, with an environment that names its compiler and no other.
    pub(crate) fn cargo(&self) -> Command {
        let program = match self {
            Toolchain::Rustup => std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            Toolchain::Debian { .. } => DEBIAN_CARGO.into(),
        };
        let mut command = Command::new(program);
        // What a cargo that runs us says of itself and of us is not meant for the guest's build.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let of_package = text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_BIN_");
            if of_package || INHERITED.contains(&text.as_ref()) {
                command.env_remove(&name);
            }
        }
        if let Toolchain::Debian { linker } = self {
            let path = std::env::var("PATH").unwrap_or_default();
            command
                .env_remove("RUSTUP_TOOLCHAIN")
                .env("PATH", format!("/usr/bin:{path}"))
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command
    }

    /// What its cargo needs to hear besides the ordinary arguments.
    pub(crate) fn arguments(&self) -> &'static [&'static str] {
        match self {
            Toolchain::Rustup => &[],
            // Without std's features: unwinding and backtraces, which no recipe has, are a tenth of
            // what would be compiled.
            Toolchain::Debian { .. } => &["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="],
        }
    }

    /// Where its std's sources are.
    pub(crate) fn source_folder(&self) -> Option<PathBuf> {
        let rustc = match self {
            Toolchain::Rustup => "rustc",
            Toolchain::Debian { .. } => DEBIAN_RUSTC,
        };
        Some(sysroot(rustc)?.join("lib/rustlib/src/rust"))
    }
}

const INHERITED: [&str; 9] = [
    "CARGO",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "LD_LIBRARY_PATH",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    Rustup,
    Debian,
}

fn wanted() -> Result<Wanted, BuildError> {
    match std::env::var(TOOLCHAIN_VARIABLE).as_deref() {
        Err(_) | Ok("") => Ok(Wanted::Any),
        Ok("rustup") => Ok(Wanted::Rustup),
        Ok("debian") => Ok(Wanted::Debian),
        Ok(other) => Err(BuildError::UnknownToolchain(other.into())),
    }
}

/// The toolchain that would be used, without installing anything.
///
/// # Errors
/// There is none; the message says how to get one.
pub fn find() -> Result<Toolchain, BuildError> {
    let wanted = wanted()?;
    let found = match wanted {
        Wanted::Rustup => find_rustup(),
        Wanted::Debian => find_debian(),
        Wanted::Any => find_rustup().or_else(find_debian),
    };
    found.ok_or_else(|| {
        BuildError::NoToolchain(format!(
            "no Rust here compiles for {TARGET}; run `cargo xtask wasm-toolchain install`, or \
             yourself `rustup target add {TARGET}`, or on Debian \
             `apt-get install --no-install-recommends {}`",
            DEBIAN_PACKAGES.join(" ")
        ))
    })
}

/// The toolchain to use, installed if need be: the target by rustup, else Debian's packages.
///
/// # Errors
/// Nothing could be installed; the message says what was tried.
pub fn install(say: Say<'_>) -> Result<Toolchain, BuildError> {
    let wanted = wanted()?;
    if let Ok(toolchain) = find() {
        return Ok(toolchain);
    }
    let mut tried = Vec::new();
    if wanted != Wanted::Debian {
        tried.push(format!("rustup target add {TARGET}"));
        if run(say, "rustup", &["target", "add", TARGET])
            && let Some(toolchain) = find_rustup()
        {
            return Ok(toolchain);
        }
    }
    if wanted != Wanted::Rustup {
        tried.push(format!("apt-get install {}", DEBIAN_PACKAGES.join(" ")));
        if let Some(toolchain) = install_debian(say) {
            return Ok(toolchain);
        }
    }
    Err(BuildError::NoToolchain(format!(
        "could not install a Rust for {TARGET}; tried: {}. The first needs rustup and a network, \
         the second Debian, root and a network",
        tried.join("; ")
    )))
}

fn install_debian(say: Say<'_>) -> Option<Toolchain> {
    if !is_root() {
        say("not root: Debian's packages are left alone");
        return None;
    }
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    if !debian_has_compiler() {
        arguments.extend(DEBIAN_PACKAGES);
        if !run(say, "apt-get", &["update"]) || !run(say, "apt-get", &arguments) {
            return None;
        }
    }
    if find_linker().is_none() {
        let linker_package = format!("lld-{}", llvm_major()?);
        run(say, "apt-get", &["install", "-y", "--no-install-recommends", &linker_package]);
    }
    find_debian()
}

fn find_rustup() -> Option<Toolchain> {
    let library = sysroot("rustc")?.join("lib/rustlib").join(TARGET).join("lib");
    library.is_dir().then_some(Toolchain::Rustup)
}

fn find_debian() -> Option<Toolchain> {
    if !debian_has_compiler() {
        return None;
    }
    Some(Toolchain::Debian { linker: find_linker()? })
}

fn debian_has_compiler() -> bool {
    let has_source = || {
        let source = Toolchain::source_folder(&Toolchain::Debian { linker: PathBuf::new() });
        source.is_some_and(|source| source.join("library/std/Cargo.toml").is_file())
    };
    Path::new(DEBIAN_CARGO).is_file() && Path::new(DEBIAN_RUSTC).is_file() && has_source()
}

/// An lld that answers as a Wasm linker: that of a Rust toolchain, else the distribution's.
fn find_linker() -> Option<PathBuf> {
    let mut candidates = Vec::new();
    if let (Some(sysroot), Some(host)) = (sysroot("rustc"), version_field("rustc", "host: ")) {
        candidates.push(sysroot.join("lib/rustlib").join(host).join("bin/rust-lld"));
    }
    candidates.push("/usr/bin/rust-lld".into());
    if let Some(major) = llvm_major() {
        candidates.push(format!("/usr/bin/lld-{major}").into());
    }
    candidates.into_iter().find(|candidate| {
        let mut command = Command::new(candidate);
        command.args(["-flavor", "wasm", "--version"]);
        output_of(&mut command).is_some()
    })
}

fn llvm_major() -> Option<String> {
    let version = version_field(DEBIAN_RUSTC, "LLVM version: ")?;
    version.split('.').next().map(str::to_owned)
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    let output = output_of(Command::new(rustc).args(["--print", "sysroot"]))?;
    Some(PathBuf::from(output.trim()))
}

fn version_field(rustc: &str, field: &str) -> Option<String> {
    let output = output_of(Command::new(rustc).arg("-vV"))?;
    output.lines().find_map(|line| line.strip_prefix(field)).map(str::to_owned)
}

/// What a program prints, if it can be run and succeeds.
fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_root() -> bool {
    output_of(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

/// Says a command, then runs it. Its own output goes to the standard error.
fn run(say: Say<'_>, program: &str, arguments: &[&str]) -> bool {
    say(&format!("running {program} {}", arguments.join(" ")));
    let mut command = Command::new(program);
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            say(&format!("cannot run {program}: {error}"));
            false
        }
    }
}
