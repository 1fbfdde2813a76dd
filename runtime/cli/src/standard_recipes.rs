//! The standard recipes that this binary carries.
//!
//! Comes in: what the build embedded. Goes out: names and components. Invariant: a recipe `lock`
//! is meant to be mounted at `/locks`: the plural of its name.

/// Names and components.
pub(crate) static STANDARD_RECIPES: &[(&str, &[u8])] =
    include!(concat!(env!("OUT_DIR"), "/standard_recipes.rs"));

/// Where a standard recipe is mounted by `dev`.
pub(crate) fn usual_mount(name: &str) -> String {
    format!("/{name}s")
}
