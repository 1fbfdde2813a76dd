//! Bytes to typed messages and back, for native and ZooKeeper clients and between servers; nothing
//! else.
//!
//! Comes in: bytes of a stream in pieces of any size, or typed frames. Goes out: typed frames, or
//! bytes. Invariant: whatever the bytes are, the answer is a valid frame, a wish for more bytes or
//! an error that names what is wrong. Must never: decide anything about a frame's meaning, panic on
//! bytes, or set memory aside for a length that is only claimed.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod cbor;
mod frame;
pub mod native;
pub mod peer;
#[cfg(test)]
mod tests;
pub mod zookeeper;

pub use cbor::{operation_from_bytes, operation_to_bytes, outcome_from_bytes, outcome_to_bytes};
pub use frame::{FrameBuffer, FrameError};
