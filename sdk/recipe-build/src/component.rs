//! From a core module to a component, and the check that a server will take it.
//!
//! Comes in: bytes of a core module or a component. Goes out: bytes of a component.
//! Invariant: what goes out is valid and imports nothing but the contract.

use crate::BuildError;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use wasmparser::{ComponentExternalKind, Parser, Payload, Validator, WasmFeatures};

/// The package whose interfaces a recipe may import.
pub const CONTRACT: &str = "quorate:recipe/";

/// The component in these bytes, made from a core module if need be.
///
/// # Errors
/// [`BuildError::Invalid`]: neither, or one that imports what no server offers, or that does not
/// export the contract.
pub fn component_from(bytes: &[u8]) -> Result<Vec<u8>, BuildError> {
    let component = if Parser::is_component(bytes) {
        bytes.to_vec()
    } else if Parser::is_core_wasm(bytes) {
        encode(bytes)?
    } else {
        let message = "this is no WebAssembly binary: give the .wasm file that \
                       `quorate recipe build` wrote";
        return Err(BuildError::Invalid(message.into()));
    };
    check(&component)?;
    Ok(component)
}

fn invalid(what: &str, error: impl std::fmt::Display) -> BuildError {
    BuildError::Invalid(format!("{what}: {error}"))
}

fn encode(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| invalid("the module cannot be read", error))?;
        let Payload::ImportSection(imports) = payload else { continue };
        for import in imports.into_imports() {
            let import = import.map_err(|error| invalid("the module cannot be read", error))?;
            if !import.module.starts_with(CONTRACT) {
                return Err(foreign(&format!("{} of {}", import.name, import.module)));
            }
        }
    }
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            invalid("the module does not fit the recipe contract", format!("{error:#}"))
        })
}

fn foreign(import: &str) -> BuildError {
    BuildError::Invalid(format!(
        "the recipe imports {import}; a recipe has only {CONTRACT}…: build it for {} (not for \
         WASI) and leave out what needs an operating system, a clock or entropy",
        crate::TARGET
    ))
}

fn check(component: &[u8]) -> Result<(), BuildError> {
    Validator::new_with_features(WasmFeatures::default())
        .validate_all(component)
        .map_err(|error| invalid("the component is not valid", error))?;
    let mut depth = 0u32;
    let mut exports_guest = false;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| invalid("the component cannot be read", error))? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    let name = import.map_err(|error| invalid("an import", error))?.name.name;
                    if !name.starts_with(CONTRACT) {
                        return Err(foreign(name));
                    }
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    let export = export.map_err(|error| invalid("an export", error))?;
                    exports_guest |= export.kind == ComponentExternalKind::Instance
                        && export.name.name.starts_with("quorate:recipe/guest@1.");
                }
            }
            _ => {}
        }
    }
    if exports_guest {
        return Ok(());
    }
    let message = "the component does not export quorate:recipe/guest@1: mark an `impl` with \
                   #[recipe], or build against sdk/wit";
    Err(BuildError::Invalid(message.into()))
}

/// The sha-256 under which the servers know a component, in hexadecimal.
#[must_use]
pub fn digest_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
