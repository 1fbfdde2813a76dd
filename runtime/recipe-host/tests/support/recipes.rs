//! The standard recipes as components.

/// The bytes of one, by its name, as `cargo xtask recipes` has built it.
pub fn component(name: &str) -> Vec<u8> {
    let path = format!("{}/../../target/recipes/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}: run `cargo xtask recipes`"))
}
