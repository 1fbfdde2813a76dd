//! The simulation finds what is broken, says the seed and shortens the trace; and passes what is not.

use quorate_recipe::Recipe;
use quorate_recipe::prelude::*;
use quorate_recipe::testing::{Draw, NextCall, Seen, Simulation};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a lock may get wrong.
trait Mistakes: 'static {
    /// A holder's end is not noticed.
    const FORGETS: bool = false;
    /// Anybody's release counts.
    const TRUSTS: bool = false;
    /// Somebody else's release is taken for impossible.
    const PANICS: bool = false;
}

#[derive(Serialize, Deserialize)]
struct Holder {
    session: SessionId,
    fence: u64,
}

#[derive(Serialize, Deserialize)]
struct Waiter {
    session: SessionId,
    ticket: Ticket<u64>,
}

#[derive(Default, Serialize, Deserialize, Schema)]
struct Config {
    waiters_max: Option<u32>,
}

fn grant(run: &Run, session: SessionId) -> Result<u64> {
    run.create_owned("holder", &Holder { session, fence: run.zxid() }, session)?;
    Ok(run.zxid())
}

fn acquire(call: &Call) -> Result<Reply<u64>> {
    if !call.exists("holder") {
        return grant(call, call.session()).map(Reply::Done);
    }
    let waiters_max = call.config::<Config>()?.waiters_max.unwrap_or(u32::MAX);
    if call.count("")? > waiters_max {
        return Err(Failure::new("full", "too many wait"));
    }
    let ticket = call.park(Some(500));
    let waiter = Waiter { session: call.session(), ticket };
    call.create_owned(&format!("waiter-{}", ticket.key()), &waiter, call.session())?;
    Ok(Reply::Parked(ticket))
}

fn release<M: Mistakes>(call: &Call, fence: u64) -> Result<()> {
    let holder = call.get::<Holder>("holder")?;
    let is_holder =
        holder.is_some_and(|held| held.session == call.session() && held.fence == fence);
    assert!(is_holder || !M::PANICS, "nobody releases what he does not hold");
    if !is_holder && !M::TRUSTS {
        return Err(Failure::new("not-holder", "it is not yours"));
    }
    pass_on(call)
}

fn pass_on(run: &Run) -> Result<()> {
    run.delete("holder")?;
    let mut after = String::from("waiter-");
    while let Some((name, waiter)) = run.first_after::<Waiter>("", &after)? {
        run.delete(&name)?;
        if run.complete(waiter.ticket, &run.zxid())? {
            return grant(run, waiter.session).map(drop);
        }
        after = name;
    }
    Ok(())
}

fn closed<M: Mistakes>(run: &Run, session: SessionId) -> Result<()> {
    match run.get::<Holder>("holder")? {
        Some(holder) if holder.session == session && !M::FORGETS => pass_on(run),
        _ => Ok(()),
    }
}

macro_rules! locks {
    ($($name:ident ($version:tt, $state:tt): { $($mistake:ident)* })*) => {$(
        struct $name;

        impl Mistakes for $name {
            $(const $mistake: bool = true;)*
        }

        /// A lock, more or less.
        #[recipe(name = "lock", version = $version, state = $state, config = Config)]
        impl $name {
            #[command]
            fn acquire(call: &Call) -> Result<Reply<u64>> {
                acquire(call)
            }

            #[command]
            fn release(call: &Call, fence: u64) -> Result<()> {
                release::<Self>(call, fence)
            }

            #[on(session_closed)]
            fn closed(run: &Run, session: SessionId) -> Result<()> {
                closed::<Self>(run, session)
            }

            #[on(ticket_expired, ticket_cancelled)]
            fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
                run.delete(&format!("waiter-{}", ended.ticket.key())).map(drop)
            }

            #[migrate]
            fn migrate(_run: &Run, _from_state_version: u32) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

locks! {
    Right("1.0.0", 1): {}
    Newer("1.1.0", 1): {}
    NewState("2.0.0", 2): {}
    Forgetful("1.0.0", 1): { FORGETS }
    Trusting("1.0.0", 1): { TRUSTS }
    Panicking("1.0.0", 1): { PANICS }
}

/// Acquires, or releases with a fence that the client got some time.
fn next_call(draw: &mut Draw, seen: &Seen<'_>) -> NextCall {
    let client = usize::try_from(draw.below(3)).unwrap();
    let own = seen.history().calls().iter().filter(|call| call.client == client);
    let fences: Vec<u64> = own.filter_map(|call| call.reply::<u64>()).collect();
    if fences.is_empty() || draw.chance(50) {
        return NextCall::new(client, "door", "acquire", &());
    }
    NextCall::new(client, "door", "release", draw.one_of(&fences))
}

/// Grants that were neither released nor ended with their session.
fn held(seen: &Seen<'_>) -> Vec<u64> {
    let calls = seen.history().calls();
    let granted = calls.iter().filter(|call| seen.history().is_open(call.session));
    let fences = granted.filter_map(|call| call.reply::<u64>());
    let released = |fence: &u64| {
        let mut releases =
            calls.iter().filter(|call| call.operation == "release" && call.is_done());
        releases.any(|call| call.arguments::<u64>() == Some(*fence))
    };
    fences.filter(|fence| !released(fence)).collect()
}

fn simulation<R: Recipe>() -> Simulation<R> {
    Simulation::<R>::new(next_call)
        .invariant("one holds it", |seen| match held(seen) {
            held if held.len() > 1 => Err(format!("held under {held:?}")),
            _ => Ok(()),
        })
        .invariant("nobody waits for what nobody holds", |seen| {
            match held(seen).is_empty() && seen.parked_count() > 0 {
                true => Err(format!("{} wait", seen.parked_count())),
                false => Ok(()),
            }
        })
        .leaves_nothing()
}

fn report_of<R: Recipe>() -> String {
    let found = catch_unwind(AssertUnwindSafe(|| simulation::<R>().run()));
    *found.expect_err("it is broken").downcast::<String>().expect("words")
}

#[test]
fn what_is_right_passes_with_other_configurations_and_versions() {
    simulation::<Right>().run();
    let config = |waiters_max| Config { waiters_max };
    simulation::<Right>()
        .configuration(&config(None))
        .configuration(&config(Some(1)))
        .newer::<Newer>()
        .clients(4)
        .steps(300)
        .run();
    simulation::<Right>().newer::<NewState>().run();
}

#[test]
fn a_forgotten_hand_over_is_found_with_seed_and_trace() {
    let report = report_of::<Forgetful>();
    assert!(report.starts_with("seed "), "{report}");
    assert!(report.contains("nobody waits for what nobody holds: "), "{report}");
    assert!(report.contains("the shortest trace found that shows it, 3 steps:"), "{report}");
    assert!(report.contains("loses its session"), "{report}");
    assert!(report.contains("QUORATE_SEED="), "{report}");
}

#[test]
fn a_release_of_what_somebody_else_holds_is_found() {
    let report = report_of::<Trusting>();
    assert!(report.contains("one holds it: held under ["), "{report}");
}

#[test]
fn a_panic_is_found_and_told_in_its_own_words() {
    let report = report_of::<Panicking>();
    assert!(report.contains("no panic: nobody releases what he does not hold"), "{report}");
}

#[test]
fn the_same_seed_finds_the_same() {
    assert_eq!(report_of::<Trusting>(), report_of::<Trusting>());
}

#[test]
fn what_stays_behind_is_found() {
    struct Keeps;

    /// Never tidies up.
    #[recipe(name = "keeps", version = "1.0.0", state = 1)]
    impl Keeps {
        #[command]
        fn note(call: &Call) -> Result<()> {
            call.put("note", &())
        }
    }

    let noting = || Simulation::<Keeps>::new(|_, _| NextCall::new(0, "book", "note", &()));
    noting().run();
    let found = catch_unwind(AssertUnwindSafe(|| noting().leaves_nothing().run()));
    let report = *found.unwrap_err().downcast::<String>().unwrap();
    assert!(report.contains("nothing is left: [\"book\", \"book/note\"]"), "{report}");
}
