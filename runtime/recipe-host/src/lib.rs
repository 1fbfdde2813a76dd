//! Runs recipes: WebAssembly components, checked, compiled and called in a sandbox.
//!
//! Comes in: component bytes, signed or not, from an installer, and calls from `quorate-machine`. Goes out:
//! compiled recipes, and how each call ended. This is the only room that knows wasmtime.
//! Invariant: a guest can refuse, trap, loop or lie, and costs no more than the limits of its
//! mount; nothing of one call is left for the next. Must never: give a guest a clock, a file, a
//! socket, randomness, or WASI.

#![warn(missing_docs)]

mod cache;
mod catalogue;
mod compile_cost;
mod compiler;
mod component_form;
mod contract;
mod descriptor;
mod engine;
mod error;
mod executor;
mod figures;
mod host_functions;
mod inspect;
mod recipe_log;
mod run_state;
mod sample;
mod signing;
mod trust;
mod view_slot;

pub use catalogue::Catalogue;
pub use compiler::{CompiledRecipe, Compiler, component_digest};
pub use engine::GUEST_STACK_BYTES;
pub use error::{CacheError, RecipeError};
pub use executor::WasmExecutor;
pub use figures::RecipeFigures;
pub use inspect::{Inspection, inspect};
pub use quorate_machine::LogLevel;
pub use recipe_log::{RecipeLine, RecipeLog};
pub use sample::{Sample, SampleMount};
pub use signing::SigningKey;
pub use trust::{KeyError, SignerKey, Trust, signed_message};
