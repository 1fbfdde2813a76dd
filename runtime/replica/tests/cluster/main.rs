//! Whole clusters of real replicas in one thread: virtual time, seeded delays, disks that forget.
//!
//! Comes in: a seed or a script. Goes out: a verdict. Invariant: one seed gives one run, event by
//! event. Frames cross links and connections as bytes, disk operations go to a disk that keeps what
//! was synced apart from what was not. `QUORATE_SEEDS=first..end` chooses the randomized runs.

mod churn;
mod client;
mod journal;
mod lock_recipe;
mod membership;
mod randomized;
mod scenarios;
mod server;
mod smoke;
mod watches;
mod words;
mod workload;
mod world;
