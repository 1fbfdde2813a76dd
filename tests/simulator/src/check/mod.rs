//! Every checker, and the one place that shows them what happens.
//!
//! Comes in: observations, in order. Goes out: the first broken promise. To add a checker, write its
//! file and give it a row in [`Checks::all`].

mod alarms;
mod at_most_once;
mod black_box;
mod durability;
mod ephemerals;
mod linearizability;
mod locks;
mod parked_calls;
mod raft_properties;
mod recipe_faults;
mod recipe_promises;
mod same_tree;
mod sequential_names;
mod session_expiry;
mod session_grants;
mod session_order;
#[cfg(test)]
mod told;
mod watches;
mod zookeeper_reads;
mod zookeeper_replies;
mod zookeeper_watches;
mod zookeeper_writes;

use crate::history::History;
use crate::observation::{Checker, Observation, Rest};
use crate::plan::Plan;
use crate::world::Violation;

/// The checkers that look at a run.
#[derive(Default)]
pub struct Checks {
    checkers: Vec<Box<dyn Checker>>,
}

impl Checks {
    /// Those that look at a run of this plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Checks {
        let mut checks = Checks::whatever_runs();
        match &plan.trial {
            None => checks.checkers.extend(work_of_every_day()),
            Some((trial, config)) => {
                checks.checkers.push(Box::new(recipe_promises::RecipePromises::new(trial, config)));
            }
        }
        if plan.zookeeper_clients > 0 {
            checks.checkers.extend(zookeeper_door());
        }
        checks
    }

    /// Every checker there is for [the work of every day](crate::work).
    #[must_use]
    pub fn all() -> Checks {
        let mut checks = Checks::whatever_runs();
        checks.checkers.extend(work_of_every_day());
        checks.checkers.extend(zookeeper_door());
        checks
    }

    fn whatever_runs() -> Checks {
        Checks {
            checkers: vec![
                Box::<session_order::SessionOrder>::default(),
                Box::<ephemerals::Ephemerals>::default(),
                Box::<session_expiry::SessionExpiry>::default(),
                Box::<session_grants::SessionGrants>::default(),
                Box::<black_box::BlackBox>::default(),
                Box::<raft_properties::RaftProperties>::default(),
                Box::<at_most_once::AtMostOnce>::default(),
                Box::<linearizability::Linearizability>::default(),
                Box::<sequential_names::SequentialNames>::default(),
                Box::<same_tree::SameTree>::default(),
                Box::<durability::Durability>::default(),
                Box::<parked_calls::ParkedCalls>::default(),
                Box::<watches::Watches>::default(),
                Box::<alarms::Alarms>::default(),
            ],
        }
    }

    /// Shows every checker what happened; the first complaint.
    pub fn observe(
        &mut self,
        history: &History,
        what: &Observation<'_>,
        at_ms: u64,
    ) -> Option<Violation> {
        for checker in &mut self.checkers {
            if let Err(text) = checker.observe(history, what) {
                return Some(Violation { checker: checker.name(), text, at_ms });
            }
        }
        None
    }

    /// Shows every checker the end; the first complaint.
    pub fn finish(&mut self, history: &History, rest: &Rest<'_>) -> Option<Violation> {
        let at_ms = history.now.at_ms;
        for checker in &mut self.checkers {
            if let Err(text) = checker.finish(history, rest) {
                return Some(Violation { checker: checker.name(), text, at_ms });
            }
        }
        None
    }

    /// Operations, events and entries judged, by checker.
    #[must_use]
    pub fn judged(&self) -> Vec<(&'static str, u64)> {
        self.checkers.iter().map(|checker| (checker.name(), checker.judged())).collect()
    }
}

/// The checkers of what clients of the ZooKeeper protocol are promised.
fn zookeeper_door() -> [Box<dyn Checker>; 4] {
    [
        Box::<zookeeper_replies::ZooKeeperReplies>::default(),
        Box::<zookeeper_writes::ZooKeeperWrites>::default(),
        Box::<zookeeper_reads::ZooKeeperReads>::default(),
        Box::<zookeeper_watches::ZooKeeperWatches>::default(),
    ]
}

/// The checkers of what is mounted beside the tree.
fn work_of_every_day() -> [Box<dyn Checker>; 2] {
    [Box::<locks::Locks>::default(), Box::<recipe_faults::RecipeFaults>::default()]
}
