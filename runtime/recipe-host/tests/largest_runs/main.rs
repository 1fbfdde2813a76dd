//! The dearest runs that each standard recipe allows stay below half of a run's fuel.
//!
//! Comes in: the components as servers run them, with the limits servers have, each driven to the
//! maxima that its README names. Goes out: fuel by operation, exact and the same on every machine; a
//! README that says otherwise than what is measured fails too.

#[path = "../support/mod.rs"]
mod support;

mod claims;
mod driven;
mod members;
mod stores;
mod waiting;
