//! One recipe, driven to its limits.
//!
//! Comes in: a recipe's name, a configuration, calls. Goes out: what the dearest run of each operation
//! and event cost. Invariant: a run that breaks fails the test, also one that servers undo in silence.

use crate::support::recipes::component;
use crate::support::stage::{Stage, path};
use crate::support::values;
use quorate_recipe_host::component_digest;
use quorate_types::limits::Limits;
use quorate_types::{Operation, Outcome, Reply, SessionId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Parked calls of one session: a little below the limit of requests without a reply.
pub const PARKED_MAX: usize = 4_000;
/// How far a README's figure may be from what is measured: compilers differ a little.
const README_TOLERANCE: f64 = 0.2;

pub struct Driven {
    pub stage: Stage,
    name: &'static str,
    /// The session that mounted it.
    pub first: SessionId,
    /// Fuel and host calls of the dearest run by its name.
    dearest: BTreeMap<String, (u64, u64)>,
}

impl Driven {
    /// The recipe mounted at `/r` with this configuration.
    pub fn new(name: &'static str, config: &Value) -> Driven {
        // More fuel than servers give, so that a run that is too dear says how dear it is.
        let recipe_fuel_max = 20 * Limits::PRODUCTION.recipe_fuel_max;
        let mut stage = Stage::with_limits(Limits { recipe_fuel_max, ..Limits::PRODUCTION });
        stage.verifying = false;
        let first = stage.open();
        stage.install_with(first, &component(name), ("/r", &values::cbor(config)));
        Driven { stage, name, first, dearest: BTreeMap::new() }
    }

    /// As [`Driven::new`], but clients may write below the mount.
    pub fn open(name: &'static str, config: &Value) -> Driven {
        let mut driven = Driven::new(name, config);
        let digest = component_digest(&component(name));
        let (path, config) = (path("/r"), values::cbor(config).into());
        let mounting = Operation::Mount { path, digest, config, open: true, fuel: None };
        driven.stage.send(driven.first, mounting).expect("the mount is opened");
        driven
    }

    /// A client writes below the mount itself.
    pub fn write(&mut self, session: SessionId, operation: Operation) {
        self.stage.send(session, operation).expect("it may");
        self.account();
    }

    pub fn call(&mut self, session: SessionId, operation: &str, arguments: &Value) -> Outcome {
        self.call_at(session, "/r/a", operation, arguments)
    }

    pub fn call_at(
        &mut self,
        session: SessionId,
        object: &str,
        operation: &str,
        arguments: &Value,
    ) -> Outcome {
        let outcome = self.stage.call(session, (object, operation), &values::cbor(arguments));
        self.account();
        outcome
    }

    /// A call that is answered at once.
    pub fn done(&mut self, session: SessionId, operation: &str, arguments: &Value) -> Value {
        match self.call(session, operation, arguments) {
            Ok(Reply::Called(reply)) => values::json(&reply),
            other => panic!("{} {operation} was answered {other:?}", self.name),
        }
    }

    /// A call that waits; gives its number.
    pub fn parked(&mut self, session: SessionId, operation: &str, arguments: &Value) -> u64 {
        let outcome = self.call(session, operation, arguments);
        assert!(matches!(outcome, Ok(Reply::Parked(_))), "{} {operation}: {outcome:?}", self.name);
        self.stage.sequence(session)
    }

    /// So many calls that wait, each session's to its limit.
    pub fn park_all(&mut self, count: usize, operation: &str, arguments: &Value) {
        let mut session = self.stage.open();
        for number in 0..count {
            if number % PARKED_MAX == PARKED_MAX - 1 {
                session = self.stage.open();
            }
            self.parked(session, operation, arguments);
        }
    }

    pub fn sessions(&mut self, count: usize) -> Vec<SessionId> {
        (0..count).map(|_| self.stage.open()).collect()
    }

    /// The last answer to a session's call of this number.
    pub fn answer(&self, session: SessionId, sequence: u64) -> Value {
        match self.stage.replies[&(session, sequence)].last() {
            Some(Ok(Reply::Called(reply))) => values::json(reply),
            other => panic!("{}: call {sequence} of {session} has {other:?}", self.name),
        }
    }

    pub fn expire(&mut self, session: SessionId) {
        self.stage.expire(session);
        self.account();
    }

    pub fn advance(&mut self, ms: u64) {
        self.stage.advance(ms);
        self.account();
    }

    /// Lets time pass by steps, so that whatever goes on a moment later comes to its end.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            self.advance(1);
        }
    }

    fn account(&mut self) {
        for run in std::mem::take(&mut self.stage.run_costs) {
            assert_eq!(run.fault, None, "{} {}", self.name, run.name);
            let dearest = self.dearest.entry(run.name).or_default();
            *dearest = (dearest.0.max(run.fuel), dearest.1.max(run.host_calls));
        }
        self.stage.run_times.clear();
    }

    /// Holds all that ran against the limit; gives the dearest run and its fuel.
    pub fn keep_below(&self) -> (&str, u64) {
        let limit = Limits::PRODUCTION.recipe_fuel_max;
        let mut runs: Vec<(&String, &(u64, u64))> = self.dearest.iter().collect();
        runs.sort_by_key(|(_, (fuel, _))| std::cmp::Reverse(*fuel));
        for (run, (fuel, host_calls)) in &runs {
            println!("{} {run}: {fuel} fuel, {host_calls} host calls", self.name);
        }
        let (run, (fuel, _)) = runs.first().expect("something ran");
        assert!(*fuel < limit / 2, "{} {run} costs {fuel} of {limit}", self.name);
        (run, *fuel)
    }

    /// Holds all that ran against the limit, and the dearest run against the README.
    pub fn judge(&self) {
        let (run, fuel) = self.keep_below();
        let stated = stated_fuel(self.name);
        let measured = fuel as f64 / 1e6;
        assert!(
            (stated - measured).abs() <= measured * README_TOLERANCE + 0.05,
            "plugins/{}/README.md says {stated} million of fuel, {run} costs {measured:.2}",
            self.name
        );
    }
}

/// What the recipe's README says of its dearest run: `… costs 2.1 million of the 10 million …`.
fn stated_fuel(name: &str) -> f64 {
    let path = format!("{}/../../plugins/{name}/README.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let place = words
        .windows(6)
        .position(|words| words[0] == "costs" && words[2..6] == ["million", "of", "the", "10"]);
    let place = place.unwrap_or_else(|| panic!("{path} does not say what its dearest run costs"));
    words[place + 1]
        .parse()
        .unwrap_or_else(|_| panic!("{path}: {:?} is no number", words[place + 1]))
}

/// A name of so many bytes, another for each number; names sort as their numbers do.
pub fn name(number: usize, bytes: usize) -> String {
    format!("{number:06}{}", "n".repeat(bytes - 6))
}

/// Text of so many bytes.
pub fn text(bytes: usize) -> Value {
    json!("t".repeat(bytes))
}
