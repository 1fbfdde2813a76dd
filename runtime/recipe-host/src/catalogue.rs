//! The components that this server knows, shared by the threads that compile and the one that runs.
//!
//! Comes in: results of compilation. Goes out: what is ready, and why the rest is not.
//! Invariant: a digest without an entry is loading; an entry changes only by insert and remove.

use crate::compiler::CompiledRecipe;
use quorate_machine::ComponentStatus;
use quorate_types::ComponentDigest;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// A table of components by digest.
#[derive(Debug, Default)]
pub struct Catalogue {
    components: RwLock<BTreeMap<ComponentDigest, Result<CompiledRecipe, String>>>,
}

impl Catalogue {
    /// An empty one.
    #[must_use]
    pub fn new() -> Catalogue {
        Catalogue::default()
    }

    /// Records what came of a compilation; the text says why a component is no recipe.
    pub fn insert(&self, digest: ComponentDigest, outcome: Result<CompiledRecipe, String>) {
        self.components.write().unwrap_or_else(PoisonError::into_inner).insert(digest, outcome);
    }

    /// Forgets a component. Runs of it that are under way end as they would have.
    pub fn remove(&self, digest: &ComponentDigest) {
        self.components.write().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// Whether calls of the component can run here.
    #[must_use]
    pub fn status(&self, digest: &ComponentDigest) -> ComponentStatus {
        match self.components.read().unwrap_or_else(PoisonError::into_inner).get(digest) {
            None => ComponentStatus::Loading,
            Some(Ok(compiled)) => ComponentStatus::Ready(compiled.descriptor().clone()),
            Some(Err(reason)) => ComponentStatus::Invalid(reason.clone()),
        }
    }

    /// The component, if it is ready.
    #[must_use]
    pub fn get(&self, digest: &ComponentDigest) -> Option<CompiledRecipe> {
        let components = self.components.read().unwrap_or_else(PoisonError::into_inner);
        components.get(digest).and_then(|outcome| outcome.as_ref().ok()).cloned()
    }

    /// Components that are ready.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        let components = self.components.read().unwrap_or_else(PoisonError::into_inner);
        components.values().filter(|outcome| outcome.is_ok()).count()
    }
}
