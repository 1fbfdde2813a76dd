//! Spoilt bytes for decoders: what they may never do, whatever comes.
//!
//! Comes in: a target and a seed. Goes out: figures, or the first input that a decoder did wrong
//! with, and what repeats it. Invariant: what an execution does depends on nothing but the seed and
//! its number. Runs on the stable compiler, without a network.

pub mod allocation;
pub mod random;
pub mod run;
pub mod spoil;
pub mod target;
pub mod zookeeper;
