//! Random calls and faults: nobody passes a closed barrier, and nobody waits at an open one.

use super::*;
use quorate_recipe::testing::{Draw, NextCall, Seen, Simulation};

fn next_call(draw: &mut Draw, _seen: &Seen<'_>) -> NextCall {
    let client = usize::try_from(draw.below(4)).unwrap();
    let ttl_ms = *draw.one_of(&[None, Some(500)]);
    match draw.below(10) {
        0..2 => {
            let detached = ttl_ms.is_some() && draw.chance(50);
            let close = Close { ttl_ms, detached, note: String::new() };
            NextCall::new(client, "gate", "close", &close)
        }
        2 => NextCall::new(client, "gate", "open", &Open { generation: None }),
        3 => NextCall::new(client, "gate", "state", &()),
        _ => {
            let wait_ms = *draw.one_of(&[None, None, Some(0), Some(300)]);
            NextCall::new(client, "gate", "wait", &Wait { generation: None, wait_ms })
        }
    }
}

fn closed_in(seen: &Seen<'_>) -> Option<u64> {
    seen.get::<Closure>("gate/closure").map(|closure| closure.generation)
}

#[test]
fn random_calls_and_faults_break_no_promise() {
    let breaking = Config {
        owner_ended: Unopened::Breaks,
        ttl_ended: Unopened::Breaks,
        answered_max: 1,
        ..Config::default()
    };
    Simulation::<Barrier>::new(next_call)
        .clients(4)
        .configuration(&Config::default())
        .configuration(&breaking)
        .newer::<Barrier>()
        .invariant("nobody passes a closed barrier", |seen| {
            let passed = seen.history().calls().iter().filter(|call| call.operation == "wait");
            let passed = passed.filter_map(|call| call.reply::<Passed>());
            match closed_in(seen) {
                Some(closed) if passed.clone().any(|it| it.generation == Some(closed)) => {
                    Err(format!("generation {closed} was passed and is closed"))
                }
                _ => Ok(()),
            }
        })
        .invariant("a call that goes through finds it open", |seen| {
            let last = seen.history().calls().last();
            let at_once = last.filter(|call| call.operation == "wait" && call.is_done());
            let passed = at_once.and_then(|call| call.reply::<Passed>());
            match (passed, closed_in(seen), last) {
                (Some(Passed { generation: None }), Some(closed), Some(call))
                    if call.answered_ms == Some(seen.now_ms())
                        && call.called_ms == seen.now_ms() =>
                {
                    Err(format!("it is closed in generation {closed}"))
                }
                _ => Ok(()),
            }
        })
        .invariant("nobody waits at an open barrier", |seen| {
            // Those of an ended closure are told by a timer, a few at a time.
            let is_ending = seen.paths().contains(&"gate/ended") && seen.timer_count() > 0;
            match (seen.parked_count(), closed_in(seen)) {
                (waiting, None) if waiting > 0 && !is_ending => Err(format!("{waiting} wait")),
                _ => Ok(()),
            }
        })
        .leaves_nothing()
        .run();
}
