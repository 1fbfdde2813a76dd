//! The types of `sdk/wit` in Rust, generated from it when this crate is built.
//!
//! Comes in: the WIT package. Goes out: one Rust type per WIT type. The linker is filled by hand in
//! `host_functions`, because charging fuel needs the store, so the generated host traits stay unused.

#![allow(missing_docs, dead_code)]

wasmtime::component::bindgen!({
    path: "../../sdk/wit",
    world: "quorate:recipe/recipe",
    ownership: Borrowing { duplicate_if_necessary: true },
});

pub(crate) use exports::quorate::recipe::guest;
pub(crate) use quorate::recipe::{log, sessions, types};
