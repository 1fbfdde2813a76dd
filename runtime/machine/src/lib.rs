//! The replicated state machine: tree, sessions, tickets, timers, mounts, catalogue.
//!
//! Comes in: on the leader, requests ([`Outstanding::prepare`]); on every server, committed
//! transactions ([`Machine::apply`]). Goes out: transactions, replies, events. Invariant: applying
//! the same transactions in the same order gives the same state and digest everywhere; applying
//! never fails and never runs a recipe. Must never: read a clock, keep a random map order, touch
//! anything outside.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod acl;
mod applied;
mod apply;
mod change;
mod codec;
mod cow_map;
mod digest;
mod executor;
mod history;
mod image;
mod items;
mod machine;
mod outstanding;
mod prepare;
mod quota;
#[cfg(test)]
mod random;
mod read;
mod request;
mod shadow;
mod system;
mod tables;
#[cfg(test)]
mod tests;
mod transaction;
mod view;
mod watch;
mod whole;
mod znode;

pub use applied::{Applied, AppliedReply, ConnectionResult, SessionGrant, ZnodeEvent};
pub use change::{AclSource, Change};
pub use executor::{
    ComponentStatus, NoRecipes, RecipeEnd, RecipeEvent, RecipeExecutor, RecipeFailure, RecipeFault,
    RecipeFaultKind, RecipeRun,
};
pub use history::{Replay, WatchHistory};
pub use items::{Member, MemberStanding, MemberStep, MembershipChange, MembershipStep};
pub use machine::{Machine, SessionStatus, Verdict};
pub use outstanding::Outstanding;
pub use request::{ConnectionOrigin, Identity, Prepared, RecipeCall, Request, Stamp};
pub use transaction::{CallRecord, Origin, Transaction};
pub use view::{
    LogLevel, LogLine, NamedZnode, RecipeView, SessionFacts, TreeError, ViewError, ViewStat,
    ViewZnode,
};
pub use watch::WatchTable;
pub use whole::{NoTree, WholeZnode};
pub use znode::{CONTAINER_EMPTY_MS, TTL_MS_MAX, ZnodeKind};
