//! Trials: whole runs about one standard recipe, each with its workload and its promises.
//!
//! Comes in: a client's turns and answers, and what the log says of the recipe's mount. Goes out: the
//! next calls, and the first broken promise. To add a recipe, write its file and give it a row in
//! [`ALL`]. Invariant: promises are judged by what callers asked for and were told, in the order of
//! the log, never by how the recipe keeps its znodes. Every other checker looks on as in any run.

mod assignment;
mod barrier;
mod configuration;
mod counter;
mod double_barrier;
mod election;
mod group;
mod latch;
mod lock;
mod queue;
mod rate_limiter;
mod read_write_lock;
mod record;
mod registry;
#[cfg(test)]
mod said;
mod semaphore;
mod turn;
mod value;
mod waits;

pub use record::{
    Answered, CallName, Identities, LoggedCall, Overdue, Parked, RecipeEntry, Result, Timeline,
    Told,
};
pub use turn::{EndedCall, Turn};

use crate::plan::Plan;
use anyhow::bail;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use quorate_types::ZnodePath;
use std::fmt;

/// One client's part.
pub trait Work {
    /// It is the client's turn to ask for something.
    fn ask(&mut self, turn: &mut Turn<'_>);

    /// A call of the session that the client has now has ended.
    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>);

    /// Does what is due, such as giving back what was held long enough. Not `eager`: the run draws to
    /// its end; nothing is begun, everything is given back, and calls that nobody will answer are
    /// abandoned ([`Turn::abandon_all`]).
    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool);

    /// The session is gone, and with it what it held and waited for.
    fn forget(&mut self);

    /// Whether nothing is held that must be given back.
    fn is_at_rest(&self) -> bool;
}

/// What a recipe promises.
pub trait Promises {
    /// Every committed transaction, in order, whatever it is about.
    ///
    /// # Errors
    /// What promise was broken, for a person.
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result;

    /// What a caller was told that left nothing in the log: the answer of a query, or a refusal.
    ///
    /// # Errors
    /// What promise was broken, for a person.
    fn told(&mut self, told: &Told<'_>) -> Result {
        let _ = told;
        Ok(())
    }

    /// Everything has come to rest; `left` are the paths below the mount, relative to it, in order.
    ///
    /// # Errors
    /// What promise was broken, for a person.
    fn finish(&mut self, left: &[String]) -> Result;

    /// Calls and entries that were judged.
    fn judged(&self) -> u64;
}

/// A recipe and how it is tried.
pub struct Trial {
    /// Of the component, and of the mount.
    pub name: &'static str,
    /// Draws the mount's configuration, as CBOR; empty: none.
    pub config: fn(&mut Choices, &Plan) -> Bytes,
    /// One client's part.
    pub work: fn(config: &[u8]) -> Box<dyn Work>,
    pub promises: fn(config: &[u8]) -> Box<dyn Promises>,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trial({})", self.name)
    }
}

impl Trial {
    /// Where the recipe is mounted.
    ///
    /// # Panics
    /// When the name is no name.
    #[must_use]
    pub fn mount(&self) -> ZnodePath {
        ZnodePath::parse(&format!("/{}", self.name)).expect("names of recipes are names")
    }
}

/// Every trial there is.
pub const ALL: &[&Trial] = &[
    &assignment::TRIAL,
    &barrier::TRIAL,
    &configuration::TRIAL,
    &counter::TRIAL,
    &double_barrier::TRIAL,
    &election::TRIAL,
    &group::TRIAL,
    &latch::TRIAL,
    &lock::TRIAL,
    &queue::TRIAL,
    &rate_limiter::TRIAL,
    &read_write_lock::TRIAL,
    &registry::TRIAL,
    &semaphore::TRIAL,
    &value::TRIAL,
];

/// The trial of a recipe.
///
/// # Errors
/// When there is none of the name.
pub fn named(name: &str) -> anyhow::Result<&'static Trial> {
    match ALL.iter().find(|trial| trial.name == name) {
        Some(trial) => Ok(trial),
        None => {
            let names: Vec<&str> = ALL.iter().map(|trial| trial.name).collect();
            bail!("there is no trial of a recipe {name}; there are: {}", names.join(", "))
        }
    }
}
