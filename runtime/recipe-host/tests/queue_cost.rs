//! What a call of the queue costs does not grow with the queue: in fuel and host calls, both exact.
//!
//! Comes in: the component as servers run it, a queue of a thousand items and of a hundred thousand,
//! of mixed priorities, one in eight delayed. Time is only told.

mod support;

use quorate_machine::{Identity, RecipeCall};
use quorate_types::{Reply, SessionId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::recipes::component;
use support::stage::{Stage, path};
use support::values;

const OBJECT: &str = "/queues/mails";
const BATCH: u64 = 100;
/// Calls of each kind at each length.
const ROUNDS: u64 = 64;

struct Queue {
    stage: Stage,
    session: SessionId,
    put: u64,
}

/// The dearest run of an operation, and the time of all.
#[derive(Clone, Copy, Default)]
struct Cost {
    fuel: u64,
    host_calls: u64,
    runs: u32,
    time: Duration,
}

impl Queue {
    fn new() -> Queue {
        let (mut stage, session) = Stage::with_recipe(&component("queue"), "/queues");
        stage.verifying = false;
        Queue { stage, session, put: 0 }
    }

    fn call(&mut self, operation: &str, arguments: &Value) -> Value {
        let outcome = self.stage.call(self.session, (OBJECT, operation), &values::cbor(arguments));
        match outcome {
            Ok(Reply::Called(reply)) => values::json(&reply),
            other => panic!("{operation} was answered {other:?}"),
        }
    }

    fn put(&mut self, count: u64) {
        let item = |number: u64| {
            // Neighbours in time lie apart in the queue.
            let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let delay_ms = if number % 8 == 7 { 3_600_000 + (mixed >> 44) } else { 0 };
            json!({ "payload": { "bytes": 16 }, "priority": mixed >> 54, "delay_ms": delay_ms })
        };
        let items: Vec<Value> = (self.put..self.put + count).map(item).collect();
        self.put += count;
        self.call("put", &json!({ "items": items }));
    }

    fn fill(&mut self, length: u64) {
        while self.put < length {
            self.put(BATCH.min(length - self.put));
        }
    }

    fn take(&mut self) -> Value {
        let taken = self.call("take", &json!({ "count": 1, "wait_ms": 0 }));
        taken[0]["receipt"].clone()
    }

    /// Every call that goes with the first items, the timer among them; gives what each costs. As
    /// many items are there afterwards as before.
    fn measure(&mut self) -> Vec<(&'static str, Cost)> {
        self.stage.run_costs.clear();
        self.stage.run_times.clear();
        for _ in 0..ROUNDS {
            let receipt = self.take();
            self.call("extend", &json!({ "receipts": [receipt.clone()] }));
            self.call("negative-acknowledge", &json!({ "receipts": [receipt], "delay_ms": 1 }));
            self.stage.advance(1);
            let receipt = self.take();
            self.call("acknowledge", &json!({ "receipts": [receipt] }));
            self.put(1);
        }
        let operations =
            ["put", "take", "acknowledge", "negative-acknowledge", "extend", "(timer)"];
        operations.map(|operation| (operation, self.cost(operation))).to_vec()
    }

    fn cost(&self, operation: &str) -> Cost {
        let mut cost = Cost::default();
        for run in self.stage.run_costs.iter().filter(|run| run.name == operation) {
            assert_eq!(run.fault, None, "{operation}");
            cost.fuel = cost.fuel.max(run.fuel);
            cost.host_calls = cost.host_calls.max(run.host_calls);
            cost.runs += 1;
        }
        cost.time = self.stage.run_times.get(operation).into_iter().flatten().sum();
        cost
    }

    fn length(&mut self) -> u64 {
        let object = path(OBJECT);
        let identity = Identity::named("tester");
        let call = RecipeCall {
            object: &object,
            operation: "length",
            arguments: &[],
            session: self.session,
            identity: &identity,
        };
        let lengths = self.stage.machine.query(&mut self.stage.executor, call);
        let Ok(Reply::Called(lengths)) = lengths else { panic!("{lengths:?}") };
        let lengths = values::json(&lengths);
        ["ready", "delayed", "taken"].iter().filter_map(|kind| lengths[kind].as_u64()).sum()
    }
}

#[test]
fn a_call_costs_the_same_in_a_queue_a_hundred_times_as_long() {
    let mut queue = Queue::new();
    queue.fill(1_000);
    let short = queue.measure();
    let begun = Instant::now();
    queue.fill(100_000);
    println!("filled in {:?}", begun.elapsed());
    assert!((99_000..=100_000).contains(&queue.length()), "{} items", queue.length());
    let long = queue.measure();
    for ((operation, short), (_, long)) in short.into_iter().zip(long) {
        println!(
            "{operation}: fuel {} and {}, host calls {} and {}, {:?} and {:?} a run",
            short.fuel,
            long.fuel,
            short.host_calls,
            long.host_calls,
            short.time / short.runs.max(1),
            long.time / long.runs.max(1),
        );
        assert!(short.runs >= ROUNDS as u32 && long.runs >= ROUNDS as u32, "{operation} ran");
        assert!(long.fuel <= 2 * short.fuel, "{operation}: {} to {} fuel", short.fuel, long.fuel);
        assert!(long.host_calls <= short.host_calls, "{operation} asks more of the host");
    }
}
