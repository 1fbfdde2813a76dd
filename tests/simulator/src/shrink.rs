//! Makes a failing run smaller: fewer faults, fewer clients, less time, and it still fails so.
//!
//! Comes in: a seed that fails. Goes out: the smallest plan found that fails in the same way.
//! Invariant: what is reported was run and did fail.

use crate::executor::Recipes;
use crate::fault::Fault;
use crate::plan::{Plan, Wishes};
use crate::run::{FailureKind, Report, run};
use std::sync::Arc;

/// Attempts at most.
const ATTEMPTS_MAX: u32 = 60;

/// A smaller failure.
pub struct Shrunk {
    pub wishes: Wishes,
    pub report: Report,
}

impl Shrunk {
    /// What repeats it.
    #[must_use]
    pub fn command(&self, seed: u64) -> String {
        let mut text = format!("cargo xtask simulate --seed {seed}");
        let wishes = &self.wishes;
        if let Some(trial) = wishes.trial {
            text += &format!(" --recipe {}", trial.name);
        }
        if let Some(servers) = wishes.servers {
            text += &format!(" --replicas {servers}");
        }
        if let Some(clients) = wishes.clients {
            text += &format!(" --clients {clients}");
        }
        if let Some(clients) = wishes.zookeeper_clients {
            text += &format!(" --zookeeper-clients {clients}");
        }
        if let Some(busy_ms) = wishes.busy_ms {
            text += &format!(" --busy-ms {busy_ms}");
        }
        for (option, faults) in [("--without", &wishes.without), ("--only", &wishes.only)] {
            if !faults.is_empty() {
                let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
                text += &format!(" {option} {}", names.join(","));
            }
        }
        text
    }
}

struct Search<'a> {
    seed: u64,
    kind: FailureKind,
    recipes: &'a Arc<Recipes>,
    best: Shrunk,
    attempts: u32,
}

impl Search<'_> {
    /// Keeps the wishes if the run under them fails in the same way.
    fn try_with(&mut self, wishes: Wishes) -> bool {
        if self.attempts == 0 {
            return false;
        }
        self.attempts -= 1;
        let report = run(&Plan::draw(self.seed, &wishes), self.recipes);
        let same = report.failure.as_ref().is_some_and(|failure| failure.kind == self.kind);
        if same {
            self.best = Shrunk { wishes, report };
        }
        same
    }

    fn end_early(&mut self) {
        let failed_ms = self.best.report.failure.as_ref().map(|failure| failure.violation.at_ms);
        if let Some(busy_ms) = failed_ms {
            self.try_with(Wishes { busy_ms: Some(busy_ms), ..self.best.wishes.clone() });
        }
    }

    fn drop_faults(&mut self) {
        let drawn = Plan::draw(self.seed, &self.best.wishes).faults;
        for fault in drawn.into_keys().collect::<Vec<Fault>>() {
            let mut wishes = self.best.wishes.clone();
            wishes.without.insert(fault);
            self.try_with(wishes);
        }
    }

    fn drop_clients(&mut self) {
        let clients = Plan::draw(self.seed, &self.best.wishes).clients;
        for fewer in 1..clients {
            if self.try_with(Wishes { clients: Some(fewer), ..self.best.wishes.clone() }) {
                return;
            }
        }
    }

    fn drop_zookeeper_clients(&mut self) {
        let clients = Plan::draw(self.seed, &self.best.wishes).zookeeper_clients;
        for fewer in 0..clients {
            let zookeeper_clients = Some(fewer);
            if self.try_with(Wishes { zookeeper_clients, ..self.best.wishes.clone() }) {
                return;
            }
        }
    }
}

/// Looks for a smaller run of this seed that fails in the same way.
#[must_use]
pub fn shrink(seed: u64, wishes: &Wishes, kind: FailureKind, recipes: &Arc<Recipes>) -> Shrunk {
    let report = run(&Plan::draw(seed, wishes), recipes);
    let best = Shrunk { wishes: wishes.clone(), report };
    let mut search = Search { seed, kind, recipes, best, attempts: ATTEMPTS_MAX };
    search.end_early();
    search.drop_faults();
    search.drop_clients();
    search.drop_zookeeper_clients();
    search.end_early();
    search.best
}
