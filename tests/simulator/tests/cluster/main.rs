//! Whole clusters that are told what to do, step by step.
//!
//! Comes in: a script. Goes out: a verdict, of the script and of every checker of the simulator, which
//! look on. Invariant: nothing fails unless a script says so. The lock is the component that
//! `cargo xtask test` and `cargo xtask simulate` build.

mod cluster;
mod membership;
mod recipes;
mod scenarios;
mod smoke;
mod watches;
mod words;
