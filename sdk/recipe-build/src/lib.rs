//! Builds recipes: finds or installs a Rust that can, runs it, makes a component of what comes out.
//!
//! Comes in: the folder of a crate that uses `quorate-recipe`. Goes out: the bytes of a component that
//! imports nothing but `quorate:recipe/…`.
//! Invariant: the same source, lock file and compiler give the same bytes in any folder.
//! Must never: install anything without saying so first.

mod build;
mod component;
mod stable_names;
mod toolchain;

pub use build::{BuildRequest, BuiltRecipe, build};
pub use component::{CONTRACT, component_from, digest_hex};
pub use toolchain::{DEBIAN_PACKAGES, TARGET, TOOLCHAIN_VARIABLE, Toolchain, find, install};

use std::path::PathBuf;

/// Hears, line by line, what is being done.
pub type Say<'a> = &'a mut dyn FnMut(&str);

/// Why there is no component. Every message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The environment asks for a toolchain that does not exist.
    #[error("{TOOLCHAIN_VARIABLE}={0}: set it to `rustup` or `debian`, or unset it")]
    UnknownToolchain(String),
    /// Nothing here compiles for Wasm.
    #[error("{0}")]
    NoToolchain(String),
    /// A program could not be started.
    #[error("cannot run {program}: {error}")]
    NotStarted {
        /// Which.
        program: String,
        /// Why.
        error: std::io::Error,
    },
    /// A program ended with an error; it has said why.
    #[error("{what} failed: see the messages above")]
    Failed {
        /// The command line.
        what: String,
    },
    /// The folder does not hold a recipe.
    #[error("{folder}: {problem}")]
    NotARecipe {
        /// The folder.
        folder: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// The bytes are no component that a server would take.
    #[error("{0}")]
    Invalid(String),
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}
