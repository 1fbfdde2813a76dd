//! Measures what one uncontended lock acquire costs the leader: `cargo run -p quorate-recipe-host
//! --example call_cost [component]`.
//!
//! Prints microseconds per call, the least and the median over batches: a query from call to answer,
//! an acquire and its release from request to applied transaction, and of these the runs alone.

use quorate_machine::{Identity, RecipeCall};
use quorate_recipe_test::{OneServer as Stage, path};
use quorate_types::Reply;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const BATCHES: usize = 100;
const CALLS: u32 = 200;

fn main() {
    let component = std::env::args().nth(1).unwrap_or_else(|| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/recipes/lock.wasm").to_owned()
    });
    let bytes = match std::fs::read(&component) {
        Ok(bytes) => bytes,
        Err(error) => return eprintln!("{component}: {error}; run `cargo xtask recipes`"),
    };
    let (mut stage, session) = Stage::with_recipe(&bytes, "/locks");
    stage.verifying = false;
    let identity = Identity::named("tester");
    let object = path("/locks/orders");
    let fuel_before = stage.executor.fuel_used();
    print("query holder, from call to answer", || {
        let call = RecipeCall {
            object: &object,
            operation: "holder",
            arguments: &[],
            session,
            identity: &identity,
        };
        stage.machine.query(&mut stage.executor, call).expect("it answers");
    });
    let runs = BATCHES as u64 * u64::from(CALLS);
    println!("  {} fuel", (stage.executor.fuel_used() - fuel_before) / runs);
    let fuel_before = stage.executor.fuel_used();
    print("acquire + release, each prepared and applied", || {
        let outcome = stage.call(session, ("/locks/orders", "acquire"), &[]);
        let Ok(Reply::Called(grant)) = outcome else { panic!("{outcome:?}") };
        // A grant {"fence": n} is also the arguments of a release.
        stage.call(session, ("/locks/orders", "release"), &grant).expect("it was held");
    });
    println!("  {} fuel a pair", (stage.executor.fuel_used() - fuel_before) / runs);
    println!("of these, the runs of the component alone:");
    let mut run_times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for run in &stage.runs {
        run_times.entry(&run.name).or_default().push(run.time);
    }
    for (name, times) in run_times {
        let batches = times.chunks(CALLS as usize);
        report(name, batches.map(|batch| batch.iter().sum::<Duration>() / batch.len() as u32));
    }
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
