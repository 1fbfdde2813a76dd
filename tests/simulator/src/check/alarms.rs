//! What replicas tell the operator (runtime/replica: `Action::Alarm`): never that a recipe gave other
//! changes on another server, and of damage only where a disk was damaged.
//!
//! Comes in: alarms, and which disks went wrong.

use crate::history::History;
use crate::observation::{Checker, Observation};
use std::collections::BTreeSet;

#[derive(Default)]
pub struct Alarms {
    /// Servers whose disks lied, rotted or lost what they held.
    damaged: BTreeSet<u64>,
    judged: u64,
}

impl Alarms {
    fn judge(&mut self, server: u64, text: &str) -> Result<(), String> {
        self.judged += 1;
        if text.starts_with("a recipe call gave other changes") {
            return Err(format!("server {server}: {text}"));
        }
        // Of another server's lost disk, or that this one has left: members come and go.
        let of_members = text.contains("another data directory") || text.contains("removed");
        if of_members || self.damaged.contains(&server) {
            return Ok(());
        }
        Err(format!("server {server}, whose disk was never damaged: {text}"))
    }
}

impl Checker for Alarms {
    fn name(&self) -> &'static str {
        "alarms"
    }

    fn observe(&mut self, _history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::DiskDamaged { server } => {
                self.damaged.insert(*server);
                Ok(())
            }
            Observation::Alarmed { server, text } => self.judge(*server, text),
            _ => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_of_where_there_is_some_and_difference_nowhere() {
        let mut alarms = Alarms::default();
        let history = History::default();
        let damage = Observation::Alarmed { server: 1, text: "the log is damaged" };
        assert!(alarms.observe(&history, &damage).is_err());
        alarms.observe(&history, &Observation::DiskDamaged { server: 1 }).unwrap();
        alarms.observe(&history, &damage).unwrap();
        let other = Observation::Alarmed { server: 2, text: "the log is damaged" };
        assert!(alarms.observe(&history, &other).is_err());
        let text = "a recipe call gave other changes here than on the leader";
        assert!(alarms.observe(&history, &Observation::Alarmed { server: 1, text }).is_err());
    }
}
