//! `cargo xtask wasm-toolchain`: is there a Rust that compiles recipes, and if not, get one.
//!
//! Comes in: check or install. Goes out: the toolchain's name on the standard output.

use crate::say;
use clap::ValueEnum;

/// What to do about the toolchain.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Action {
    /// Say which would be used.
    Check,
    /// Install one if there is none.
    Install,
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    let toolchain = match action {
        Action::Check => quorate_recipe_build::find()?,
        Action::Install => quorate_recipe_build::install(&mut say)?,
    };
    println!("{toolchain}");
    Ok(())
}
