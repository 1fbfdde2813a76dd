//! The standard recipes that this binary carries.
//!
//! Comes in: what the build embedded. Goes out: names and components. Invariant: a recipe `lock`
//! is meant to be mounted at `/locks`: the plural of its name.

/// Names and components.
pub(crate) static STANDARD_RECIPES: &[(&str, &[u8])] =
    include!(concat!(env!("OUT_DIR"), "/standard_recipes.rs"));

/// Where a standard recipe is mounted by `dev`.
pub(crate) fn usual_mount(name: &str) -> String {
    match name.strip_suffix('y') {
        Some(stem) => format!("/{stem}ies"),
        None if name.ends_with("ch") => format!("/{name}es"),
        None => format!("/{name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_the_plural_of_its_recipe() {
        assert_eq!(usual_mount("lock"), "/locks");
        assert_eq!(usual_mount("latch"), "/latches");
        assert_eq!(usual_mount("registry"), "/registries");
    }
}
