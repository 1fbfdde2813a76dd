//! Recipes in the simulation: real components in the real sandbox, compiled once for all servers.
//!
//! Comes in: component bytes. Goes out: an executor per server, whose catalogue holds only what that
//! server has compiled. Invariant: a server does not know a component before its own compilation
//! has ended in virtual time. Must never: run anything but Wasm.

use anyhow::Context;
use quorate_recipe_host::{Catalogue, CompiledRecipe, Compiler, WasmExecutor, component_digest};
use quorate_types::ComponentDigest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What runs recipes in a simulated server.
pub type SimulatedExecutor = WasmExecutor;

/// A component that the workload may install.
#[derive(Clone, Debug)]
pub struct Component {
    pub digest: ComponentDigest,
    pub bytes: Arc<[u8]>,
}

/// The components of all simulations of a process.
pub struct Recipes {
    compiled: BTreeMap<ComponentDigest, CompiledRecipe>,
    /// A fair lock.
    pub lock: Component,
    /// Standard recipes as they are, and each as another component: what an upgrade leads to.
    editions: BTreeMap<&'static str, (Component, Component)>,
    /// Traps when told to.
    pub trapping: Component,
    /// Never ends when told to.
    pub looping: Component,
}

impl Recipes {
    /// Reads and compiles the components of a folder.
    ///
    /// # Errors
    /// When one is missing or is no recipe.
    pub fn load(folder: &Path) -> anyhow::Result<Recipes> {
        Recipes::load_with(folder, [])
    }

    /// [`Recipes::load`], and these standard recipes besides.
    ///
    /// # Errors
    /// As [`Recipes::load`].
    pub fn load_with(
        folder: &Path,
        names: impl IntoIterator<Item = &'static str>,
    ) -> anyhow::Result<Recipes> {
        let compiler = Compiler::new()?;
        let mut compiled = BTreeMap::new();
        let mut take = |bytes: Vec<u8>| -> anyhow::Result<Component> {
            let digest = component_digest(&bytes);
            compiled.insert(digest, compiler.compile(&digest, &bytes)?);
            Ok(Component { digest, bytes: bytes.into() })
        };
        let read = |name: &str| {
            let path = folder.join(format!("{name}.wasm"));
            std::fs::read(&path).with_context(|| {
                let words = "`cargo xtask test` and `cargo xtask simulate` build it";
                format!("cannot read {}: {words}", path.display())
            })
        };
        let mut editions = BTreeMap::new();
        let names: BTreeSet<&str> = std::iter::once("lock").chain(names).collect();
        for name in names {
            let bytes = read(name)?;
            let upgraded = take(with_remark(&bytes, b"second edition"))?;
            editions.insert(name, (take(bytes)?, upgraded));
        }
        Ok(Recipes {
            lock: editions["lock"].0.clone(),
            editions,
            trapping: take(read("hostile-traps")?)?,
            looping: take(read("hostile-loops")?)?,
            compiled,
        })
    }

    /// A standard recipe as it is, and as another component.
    ///
    /// # Panics
    /// When it was not loaded.
    #[must_use]
    pub fn editions(&self, name: &str) -> (&Component, &Component) {
        let (usual, upgraded) = &self.editions[name];
        (usual, upgraded)
    }

    /// An executor that knows nothing yet, and its catalogue.
    #[must_use]
    pub fn executor() -> (SimulatedExecutor, Arc<Catalogue>) {
        let catalogue = Arc::new(Catalogue::new());
        (WasmExecutor::new(Arc::clone(&catalogue)), catalogue)
    }

    /// What a server's compilation of these bytes comes to.
    ///
    /// # Errors
    /// Why they are no recipe.
    pub fn compile(&self, digest: &ComponentDigest) -> Result<CompiledRecipe, String> {
        self.compiled.get(digest).cloned().ok_or_else(|| String::from("not a component"))
    }
}

/// The component with a custom section at its end: other bytes, another digest, the same recipe.
fn with_remark(component: &[u8], remark: &[u8]) -> Vec<u8> {
    let name = b"remark";
    let mut bytes = component.to_vec();
    let content_bytes = 1 + name.len() + remark.len();
    assert!(content_bytes < 128, "the remark needs a longer size field");
    bytes.extend([0, content_bytes as u8, name.len() as u8]);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(remark);
    bytes
}
