//! Random calls and faults: a lock has one holder, and nobody waits for a free one.

use super::*;
use quorate_recipe::testing::{CallRecord, Draw, NextCall, Seen, Simulation};

const OBJECTS: [&str; 2] = ["orders", "stock"];

fn next_call(draw: &mut Draw, seen: &Seen<'_>) -> NextCall {
    let client = usize::try_from(draw.below(4)).unwrap();
    let object = *draw.one_of(&OBJECTS);
    let grants = seen.history().calls().iter().filter(|call| call.object == object);
    let own = grants.filter(|call| call.client == client && call.operation == "acquire");
    let fences: Vec<u64> =
        own.filter_map(|call| call.reply::<Grant>()).map(|grant| grant.fence).collect();
    match draw.below(10) {
        0..4 if !fences.is_empty() => {
            // Nearly always the newest: an older one is refused.
            let newest = fences[fences.len() - 1];
            let fence = if draw.chance(80) { newest } else { *draw.one_of(&fences) };
            NextCall::new(client, object, "release", &Release { fence })
        }
        4 => NextCall::new(client, object, "holder", &()),
        5 if draw.chance(40) => NextCall::new(client, object, "break", &Break { fence: None }),
        _ => {
            let wait_ms = *draw.one_of(&[None, None, Some(0), Some(300)]);
            let hold_ms = *draw.one_of(&[None, None, None, Some(1_000)]);
            let acquire = Acquire { wait_ms, hold_ms, ..Acquire::default() };
            NextCall::new(client, object, "acquire", &acquire)
        }
    }
}

/// Grants of a lock whose holders must think that they still have it.
fn held(seen: &Seen<'_>, object: &str) -> Vec<u64> {
    let history = seen.history();
    let calls = || history.calls().iter().filter(|call| call.object == object && call.is_done());
    let is_given_back = |fence: u64| {
        calls().any(|call| match call.operation.as_str() {
            "release" => call.arguments::<Release>().is_some_and(|release| release.fence == fence),
            "break" => {
                call.reply::<Option<Holder>>().flatten().is_some_and(|held| held.fence == fence)
            }
            _ => false,
        })
    };
    let is_over = |call: &CallRecord| {
        let hold_ms = call.arguments::<Acquire>().and_then(|acquire| acquire.hold_ms);
        let ends_ms = call.answered_ms.zip(hold_ms).map(|(from_ms, hold_ms)| from_ms + hold_ms);
        ends_ms.is_some_and(|ends_ms| ends_ms <= seen.now_ms())
    };
    let granted = calls().filter(|call| call.operation == "acquire");
    let still = granted.filter(|call| history.is_open(call.session) && !is_over(call));
    let mut fences: Vec<u64> =
        still.filter_map(|call| call.reply::<Grant>()).map(|grant| grant.fence).collect();
    fences.dedup();
    fences.retain(|fence| !is_given_back(*fence));
    fences
}

fn simulation(layout: Layout) -> Simulation<Lock> {
    Simulation::<Lock>::new(next_call)
        .clients(4)
        .configuration(&Config { layout, ..Config::default() })
        .configuration(&Config { layout, waiters_max: 1, ..Config::default() })
        .newer::<Lock>()
        .invariant("a lock has one holder", |seen| {
            let of_each = OBJECTS.map(|object| held(seen, object));
            if of_each.iter().any(|held| held.len() > 1) {
                return Err(format!("held under {of_each:?}"));
            }
            Ok(())
        })
        .invariant("fences grow", |seen| {
            for object in OBJECTS {
                let granted = seen.history().answered().filter(|call| call.object == object);
                let fences = granted.filter_map(|call| call.reply::<Grant>());
                let fences: Vec<u64> = fences.map(|grant| grant.fence).collect();
                if !fences.is_sorted() {
                    return Err(format!("{object} was granted under {fences:?}"));
                }
            }
            Ok(())
        })
        .invariant("nobody waits for a free lock", |seen| {
            let paths = seen.paths();
            for object in OBJECTS {
                let waits = paths.iter().any(|path| path.starts_with(&format!("{object}/waiter-")));
                if waits && !paths.contains(&format!("{object}/holder").as_str()) {
                    return Err(format!("somebody waits for {object}"));
                }
            }
            Ok(())
        })
}

#[test]
fn random_calls_and_faults_break_no_promise() {
    simulation(Layout::Own).leaves_nothing().run();
}

#[test]
fn random_calls_and_faults_break_no_promise_of_shared_locks() {
    let places = |paths: &[&str], object: &str| {
        let of = |path: &&&str| path.starts_with(&format!("{object}/quorate-lock-"));
        paths.iter().filter(of).count()
    };
    simulation(Layout::Zookeeper)
        .invariant("whoever holds or waits has a place", move |seen| {
            let paths = seen.paths();
            for object in OBJECTS {
                let is_claim = |path: &&&str| {
                    **path == format!("{object}/holder")
                        || path.starts_with(&format!("{object}/waiter-"))
                };
                let (claims, places) =
                    (paths.iter().filter(is_claim).count(), places(&paths, object));
                if claims != places {
                    return Err(format!("{object} has {claims} claims and {places} places"));
                }
            }
            Ok(())
        })
        .run();
}
