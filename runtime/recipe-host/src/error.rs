//! Why bytes cannot be a recipe, in words for the person who built or installs them.
//!
//! Invariant: every message names what was found and, where one is known, the cure. Errors of a
//! running recipe are not here: they are `quorate_machine::RecipeFault`.

use std::io;
use std::path::PathBuf;

/// Why a component was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// More bytes than a component may have.
    #[error("the component has {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes do not begin as Wasm does.
    #[error("this is not WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    /// A core module, as compilers write it, not yet a component.
    #[error("this is a core module, not a component: `quorate recipe build` makes one of it")]
    CoreModule,
    /// The validator or the compiler refused it.
    #[error("the component is malformed or asks for more than recipes get: {0}")]
    Malformed(String),
    /// Compiling it would take too long or too much memory.
    #[error("the component has more than {bound} {what}: every server would be busy compiling it")]
    TooCostly {
        /// What was counted.
        what: &'static str,
        /// How many are allowed.
        bound: u64,
    },
    /// Components within it do more than name types and functions.
    #[error(
        "the component is composed of others ({what}): a recipe is one module in one component, as \
         `quorate recipe build` makes it"
    )]
    Composed {
        /// What they do.
        what: &'static str,
    },
    /// The compiler itself failed on it.
    #[error("the compiler failed on this component: {0}")]
    CompilerFault(String),
    /// An import from outside the contract.
    #[error("imports {import}: {cure}")]
    ForeignImport {
        /// Name of the import.
        import: String,
        /// What to do about it.
        cure: &'static str,
    },
    /// An import of the contract that this server does not have, or with other types.
    #[error(
        "an import does not fit this server's quorate:recipe interfaces: {0}; \
         build with the quorate-recipe of this release"
    )]
    ImportMismatch(String),
    /// The guest interface, or a function of it, is not exported.
    #[error("does not export {0}: every recipe exports the interface quorate:recipe/guest@1.0.0")]
    MissingExport(String),
    /// An exported function has other parameters or results than the contract.
    #[error(
        "the export {function} has the wrong type: {detail}; \
         build with the quorate-recipe of this release"
    )]
    ExportMismatch {
        /// Which function.
        function: &'static str,
        /// Where the types part.
        detail: String,
    },
    /// The trial run failed before or in `describe`.
    #[error("the trial run of describe() failed: {0}")]
    TrialRun(String),
    /// What `describe` answered cannot be.
    #[error("describe() answered with {0}")]
    Descriptor(String),
    /// The bytes are not those that were asked for.
    #[error("the bytes have the digest {found}, expected was {expected}")]
    Digest {
        /// Digest expected.
        expected: quorate_types::ComponentDigest,
        /// Digest of the bytes given.
        found: quorate_types::ComponentDigest,
    },
    /// The engine could not be made; no fault of the component.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
}

/// Why the folder of compiled components cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Compiled code in the folder could have been written by somebody else.
    #[error(
        "{} can be changed by other users (mode {mode:o}, owner {owner}): compiled components are \
         run as they are, so remove the folder or give it mode 700",
        path.display()
    )]
    Shared {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
}
