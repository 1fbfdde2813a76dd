//! Scenario tests: an in-memory cluster of replicas, text scripts that drive it step by step with
//! their expected traces, and random storms. In: `raft/*.txt` and seeds. Out: differences, or the
//! property that broke. Every step of every run is checked by `checks`. Uses no clock, thread or
//! socket, so each run can be repeated exactly.

pub mod checks;
pub mod cluster;
pub mod commands;
pub mod prng;
pub mod script;
pub mod server;
pub mod storm;
pub mod trace;
