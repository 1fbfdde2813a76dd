//! A component looked at from outside, for authors and operators: `quorate recipe inspect`.
//!
//! Comes in: bytes. Goes out: what they import, export, say of themselves and cost, or the same
//! refusal that an install would give.

use crate::compiler::{CompiledRecipe, Compiler, component_digest};
use crate::error::RecipeError;
use quorate_types::ComponentDigest;
use quorate_types::recipe::RecipeDescriptor;
use std::time::Duration;

/// What is known of a component.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// Its sha-256.
    pub digest: ComponentDigest,
    /// Its size in bytes.
    pub component_bytes: usize,
    /// Size of the machine code made of it, in bytes.
    pub compiled_bytes: usize,
    /// How long validation and compilation took here.
    pub compile_time: Duration,
    /// Interfaces it imports, with versions.
    pub imports: Vec<String>,
    /// Interfaces it exports, with versions.
    pub exports: Vec<String>,
    /// Linear memories of one instance.
    pub memories: u32,
    /// Bytes of its largest memory at the start.
    pub initial_memory_bytes: u64,
    /// What it says of itself.
    pub descriptor: RecipeDescriptor,
    /// Fuel that `describe` took.
    pub describe_fuel: u64,
    /// Fuel one run may need by its author's words, if they said.
    pub fuel_wanted: Option<u64>,
}

/// Checks, compiles and describes a component with an engine of its own.
///
/// # Errors
/// As [`Compiler::compile`].
pub fn inspect(bytes: &[u8]) -> Result<Inspection, RecipeError> {
    Compiler::new()?.inspect(bytes)
}

impl Compiler {
    /// As [`inspect`], with this engine.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn inspect(&self, bytes: &[u8]) -> Result<Inspection, RecipeError> {
        let digest = component_digest(bytes);
        let compiled = self.compile(&digest, bytes)?;
        Ok(self.inspection(&compiled, bytes.len()))
    }

    /// What is known of a component that this compiler has compiled.
    #[must_use]
    pub fn inspection(&self, compiled: &CompiledRecipe, component_bytes: usize) -> Inspection {
        let component = compiled.component();
        let component_type = component.component_type();
        let resources = component.resources_required();
        const WASM_PAGE_BYTES: u64 = 64 << 10;
        Inspection {
            digest: compiled.digest(),
            component_bytes,
            compiled_bytes: component.serialize().map_or(0, |code| code.len()),
            compile_time: compiled.compile_time(),
            imports: component_type.imports(self.engine()).map(|(n, _)| n.to_owned()).collect(),
            exports: component_type.exports(self.engine()).map(|(n, _)| n.to_owned()).collect(),
            memories: resources.as_ref().map_or(0, |required| required.num_memories),
            initial_memory_bytes: resources
                .and_then(|required| required.max_initial_memory_size)
                .map_or(0, |pages| pages * WASM_PAGE_BYTES),
            descriptor: compiled.descriptor().clone(),
            describe_fuel: compiled.describe_fuel(),
            fuel_wanted: compiled.fuel_wanted(),
        }
    }
}
