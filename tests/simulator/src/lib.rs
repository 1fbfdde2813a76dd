//! Whole clusters in one thread: real servers, real clients, virtual time, and every fault.
//!
//! Comes in: a seed. Goes out: a verdict, by checkers that each hold one promise. Invariant: one seed
//! gives one run, event by event. Everything under test is what production runs: `Replica` with its
//! machine, consensus, storage and recipes in Wasm, and the client's protocol. Sockets, files,
//! clocks and entropy are the simulation's, and so are their faults.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a tool of this workspace; its names speak")]

pub mod check;
pub mod churn;
pub mod client;
pub mod executor;
pub mod fault;
pub mod history;
pub mod model;
#[cfg(feature = "planted-bugs")]
pub mod mutants;
pub mod observation;
pub mod plan;
pub mod repair;
pub mod run;
pub mod shrink;
pub mod sum;
pub mod totals;
pub mod trials;
pub mod trouble;
pub mod work;
pub mod world;
pub mod zookeeper;
