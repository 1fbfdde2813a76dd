//! Random calls and faults: never more is leased than there is.

use super::*;
use quorate_recipe::testing::{CallRecord, Draw, NextCall, Seen, Simulation};

const CAPACITY: u64 = 4;

fn next_call(draw: &mut Draw, seen: &Seen<'_>) -> NextCall {
    let client = usize::try_from(draw.below(4)).unwrap();
    let own = seen.history().calls().iter().filter(|call| call.client == client);
    let fences: Vec<u64> =
        own.filter_map(|call| call.reply::<Grant>()).map(|grant| grant.fence).collect();
    if !fences.is_empty() && draw.chance(45) {
        let recent = &fences[fences.len().saturating_sub(2)..];
        let fence = *draw.one_of(recent);
        return NextCall::new(client, "pool", "release", &Release { fence });
    }
    let acquire = Acquire {
        quantity: draw.below(CAPACITY + 1) + 1,
        wait_ms: *draw.one_of(&[None, None, Some(0), Some(300)]),
        capacity: None,
        ttl_ms: *draw.one_of(&[None, None, Some(1_000)]),
        note: String::new(),
    };
    NextCall::new(client, "pool", "acquire", &acquire)
}

/// What clients have that must think that they still have it.
fn leased(seen: &Seen<'_>) -> u64 {
    let calls = || seen.history().calls().iter().filter(|call| call.is_done());
    let is_back = |fence: u64, of: &CallRecord| {
        let releases = calls().filter(|call| call.operation == "release");
        releases
            .filter(|call| call.session == of.session)
            .any(|call| call.arguments::<Release>().is_some_and(|release| release.fence == fence))
    };
    let quantity = |call: &CallRecord| {
        let grant = call.reply::<Grant>()?;
        let lasts = grant.ends_at_ms.is_none_or(|ends_at_ms| seen.now_ms() < ends_at_ms);
        let has = seen.history().is_open(call.session) && !is_back(grant.fence, call);
        // Without arguments one is meant.
        let quantity = call.arguments::<Acquire>().map_or(1, |acquire| acquire.quantity);
        (lasts && has).then_some(quantity)
    };
    calls().filter(|call| call.operation == "acquire").filter_map(quantity).sum()
}

#[test]
fn random_calls_and_faults_break_no_promise() {
    let config = Config { capacity: Some(CAPACITY), ..Config::default() };
    Simulation::<Semaphore>::new(next_call)
        .clients(4)
        .configuration(&config)
        .configuration(&Config { leases_max: 2, grants_max: 1, ..config })
        .newer::<Semaphore>()
        .invariant("no more is leased than there is", |seen| match leased(seen) {
            leased if leased > CAPACITY => Err(format!("{leased} of {CAPACITY}")),
            _ => Ok(()),
        })
        .invariant("the pool counts what its holders have", |seen| {
            let taken = seen.get::<Pool>("pool/pool").map_or(0, |pool| pool.taken);
            let holders = seen.paths().into_iter().filter(|path| path.starts_with("pool/session-"));
            let holders = holders.filter_map(|path| seen.get::<Holder>(path));
            let leases: u64 =
                holders.flat_map(|holder| holder.leases).map(|lease| lease.quantity).sum();
            if taken == leases { Ok(()) } else { Err(format!("{taken} taken, {leases} leased")) }
        })
        .leaves_nothing()
        .run();
}
