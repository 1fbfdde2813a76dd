//! What is fuzzed: one row for each room that reads bytes from outside.

use crate::random::Random;
use crate::zookeeper;
use bytes::Bytes;

/// A decoder, good bytes for it, and what it must keep.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Good inputs, at least one.
    pub corpus: fn(&mut Random) -> Vec<Vec<u8>>,
    /// Has an input decoded. `Ok`: whether it is a message. `Err`: a promise is broken.
    pub execute: fn(&Bytes) -> Result<bool, String>,
    /// The memory that an execution may have at one moment, in bytes for each byte of input.
    pub memory_factor: usize,
    /// The memory that it may have besides, in bytes.
    pub memory_base: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[zookeeper::TARGET, zookeeper::stored::TARGET];

/// The one with this name.
#[must_use]
pub fn named(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
