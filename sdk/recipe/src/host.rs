//! The host's functions under one set of names: the server's on wasm32, an in-memory world elsewhere.
//!
//! Comes in: paths relative to the mount, bytes. Goes out: what the host says.
//! Must never: know the recipe's types.

#[cfg(target_arch = "wasm32")]
mod arena;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native;
#[cfg(target_arch = "wasm32")]
pub mod wasm;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{
    complete, count, create, create_sequential, delete, exists, find_session, get, log,
    mount_config, mount_path, now_ms, park, scan, seed, set, timer_cancel, timer_set, zxid,
};
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::{
    complete, count, create, create_sequential, delete, exists, find_session, get, log,
    mount_config, mount_path, now_ms, park, scan, seed, set, timer_cancel, timer_set, zxid,
};
