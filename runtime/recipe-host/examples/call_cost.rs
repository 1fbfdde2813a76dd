//! Measures what calls cost the leader: `cargo run -p quorate-recipe-host --example call_cost
//! [component [query command arguments undo]]`; without words, of an uncontended lock.
//!
//! Comes in: a component; a query; a command with its arguments as CBOR in hexadecimal; a command that
//! takes its reply and leaves the object as it was. Goes out: microseconds per call, the least and the
//! median over batches: the query from call to answer, both commands from request to applied
//! transaction, and of these the runs alone.

use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

use quorate_machine::{Identity, RecipeCall, RecipeExecutor};
use quorate_types::Reply;
use support::stage::{Stage, path};

const BATCHES: usize = 100;
const CALLS: u32 = 200;

/// The lock, and words of it.
const USUAL: [&str; 5] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/recipes/lock.wasm"),
    "holder",
    "acquire",
    "",
    "release",
];

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| given.get(at).map_or(USUAL[at], String::as_str);
    let [component, query, command, arguments, undo] = std::array::from_fn(word);
    let bytes = match std::fs::read(component) {
        Ok(bytes) => bytes,
        Err(error) => return eprintln!("{component}: {error}; run `cargo xtask recipes`"),
    };
    let Some(arguments) = from_hex(arguments) else {
        return eprintln!("`{arguments}` is not hexadecimal");
    };
    let (mut stage, session) = Stage::with_recipe(&bytes, "/mount");
    stage.verifying = false;
    let identity = Identity::named("tester");
    let object = path("/mount/object");
    let fuel_before = stage.executor.fuel_used();
    print(&format!("query {query}, from call to answer"), || {
        let call = RecipeCall {
            object: &object,
            operation: query,
            arguments: &[],
            session,
            identity: &identity,
        };
        stage.machine.query(&mut stage.executor, call).expect("it answers");
    });
    let runs = BATCHES as u64 * u64::from(CALLS);
    println!("  {} fuel", (stage.executor.fuel_used() - fuel_before) / runs);
    let fuel_before = stage.executor.fuel_used();
    print(&format!("{command} + {undo}, each prepared and applied"), || {
        let outcome = stage.call(session, ("/mount/object", command), &arguments);
        let Ok(Reply::Called(reply)) = outcome else { panic!("{outcome:?}") };
        // A lock's grant {"fence": n} is also the arguments of a release.
        stage.call(session, ("/mount/object", undo), &reply).expect("it is undone");
    });
    println!("  {} fuel a pair", (stage.executor.fuel_used() - fuel_before) / runs);
    println!("of these, the runs of the component alone:");
    for (name, times) in &stage.run_times {
        let batches = times.chunks(CALLS as usize);
        report(name, batches.map(|batch| batch.iter().sum::<Duration>() / batch.len() as u32));
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Times the work in batches.
fn print(what: &str, mut work: impl FnMut()) {
    report(
        what,
        (0..BATCHES).map(|_| {
            let started = Instant::now();
            (0..CALLS).for_each(|_| work());
            started.elapsed() / CALLS
        }),
    );
}

/// Least and median over batches, in microseconds per call.
fn report(what: &str, batches: impl Iterator<Item = Duration>) {
    let mut batches: Vec<Duration> = batches.collect();
    batches.sort();
    let microseconds = |time: Duration| time.as_nanos() as f64 / 1_000.0;
    println!(
        "{what}: min {:.1} us, median {:.1} us",
        microseconds(batches[0]),
        microseconds(batches[batches.len() / 2])
    );
}
