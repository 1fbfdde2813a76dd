//! The standard lock, as the component that servers run, on a machine with the real executor.

mod support;

use quorate_recipe_host::{SampleMount, component_digest};
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, Reply, SessionId};
use serde::{Deserialize, Serialize};
use support::recipes::component;
use support::stage::{COMPILER, Stage};

#[derive(Serialize)]
struct Acquire {
    wait_ms: Option<u64>,
    note: String,
}

#[derive(Serialize, Deserialize)]
struct Fence {
    fence: u64,
}

fn stage() -> (Stage, SessionId) {
    Stage::with_recipe(&component("lock"), "/locks")
}

fn acquire(stage: &mut Stage, session: SessionId, wait_ms: Option<u64>) -> Outcome {
    let arguments = Acquire { wait_ms, note: String::from("test") };
    let arguments = minicbor_serde::to_vec(&arguments).expect("CBOR");
    stage.call(session, ("/locks/orders", "acquire"), &arguments)
}

fn release(stage: &mut Stage, session: SessionId, fence: u64) -> Outcome {
    let arguments = minicbor_serde::to_vec(Fence { fence }).expect("CBOR");
    stage.call(session, ("/locks/orders", "release"), &arguments)
}

fn granted(outcome: &Outcome) -> u64 {
    match outcome {
        Ok(Reply::Called(reply)) => {
            minicbor_serde::from_slice::<Fence>(reply).expect("a grant").fence
        }
        other => panic!("{other:?} is no grant"),
    }
}

#[test]
fn the_lock_describes_itself_and_imports_only_the_contract() {
    let inspection = COMPILER.inspect(&component("lock")).expect("it is accepted");
    assert_eq!(inspection.descriptor.name, "lock");
    for operation in ["acquire", "release", "holder"] {
        assert!(inspection.descriptor.operation(operation).is_some(), "{operation}");
    }
    assert!(inspection.imports.iter().all(|import| import.starts_with("quorate:recipe/")));
    println!(
        "lock: {} bytes, {} compiled, {:?} to compile, describe {} fuel, memory {} bytes",
        inspection.component_bytes,
        inspection.compiled_bytes,
        inspection.compile_time,
        inspection.describe_fuel,
        inspection.initial_memory_bytes,
    );
}

#[test]
fn the_lock_is_granted_waited_for_and_passed_on_in_order() {
    let (mut stage, first) = stage();
    let (second, third) = (stage.open(), stage.open());
    let first_fence = granted(&acquire(&mut stage, first, None));
    for waiter in [second, third] {
        let outcome = acquire(&mut stage, waiter, None);
        assert!(matches!(outcome, Ok(Reply::Parked(_))), "{outcome:?}");
    }
    let (second_call, third_call) =
        ((second, stage.sequence(second)), (third, stage.sequence(third)));
    assert_eq!(release(&mut stage, second, first_fence).map_err(|r| r.code), {
        Err(ErrorCode::RecipeRefused)
    });
    release(&mut stage, first, first_fence).expect("it was held");
    let second_fence = granted(stage.replies[&second_call].last().expect("answered"));
    assert!(second_fence > first_fence);
    assert_eq!(stage.replies[&third_call].len(), 1, "the third still waits");
    release(&mut stage, second, second_fence).expect("it was held");
    let third_fence = granted(stage.replies[&third_call].last().expect("answered"));
    assert!(third_fence > second_fence);
}

#[test]
fn a_release_is_one_transaction_however_many_wait() {
    let (mut stage, mut holder) = stage();
    let waiters: Vec<SessionId> = (0..20).map(|_| stage.open()).collect();
    let mut fence = granted(&acquire(&mut stage, holder, None));
    for waiter in &waiters {
        let before = stage.last();
        assert!(matches!(acquire(&mut stage, *waiter, None), Ok(Reply::Parked(_))));
        assert_eq!(stage.last(), before.next(), "to stand in line is one transaction");
    }
    for waiter in waiters {
        let before = stage.last();
        release(&mut stage, holder, fence).expect("it was held");
        assert_eq!(stage.last(), before.next());
        let call = (waiter, stage.sequence(waiter));
        fence = granted(stage.replies[&call].last().expect("answered"));
        assert_eq!(fence, stage.last().0, "the grant is of the same transaction");
        holder = waiter;
    }
}

#[test]
fn the_end_of_a_session_passes_its_lock_on() {
    let (mut stage, first) = stage();
    let second = stage.open();
    let first_fence = granted(&acquire(&mut stage, first, None));
    assert!(matches!(acquire(&mut stage, second, None), Ok(Reply::Parked(_))));
    let waiting = (second, stage.sequence(second));
    stage.send(first, Operation::CloseSession).expect("it ends");
    assert!(granted(stage.replies[&waiting].last().expect("answered")) > first_fence);
}

#[test]
fn a_lock_that_nobody_holds_leaves_nothing_behind() {
    let (mut stage, session) = stage();
    for _ in 0..3 {
        let fence = granted(&acquire(&mut stage, session, None));
        release(&mut stage, session, fence).expect("it was held");
        assert_eq!(stage.children("/locks"), [] as [String; 0]);
    }
}

#[test]
fn a_try_of_a_held_lock_is_refused_at_once() {
    let (mut stage, first) = stage();
    let second = stage.open();
    granted(&acquire(&mut stage, first, None));
    let refusal = acquire(&mut stage, second, Some(0)).expect_err("it is held");
    assert_eq!(refusal.code, ErrorCode::RecipeRefused, "{refusal}");
}

fn sample_mount(config: &[u8]) -> Result<SampleMount, Refusal> {
    let bytes = component("lock");
    let compiled = COMPILER.compile(&component_digest(&bytes), &bytes).expect("it is accepted");
    SampleMount::new(&compiled, &bytes, config.to_vec().into())
}

#[test]
fn a_sample_costs_the_same_each_time_and_leaves_nothing_for_the_next() {
    let mount = sample_mount(&[]).expect("it is mounted");
    let (first, again) = (mount.sample("acquire", &[]), mount.sample("acquire", &[]));
    assert_eq!(granted(&first.outcome), granted(&again.outcome));
    assert_eq!(first.fuel, again.fuel);
    let held = mount.sample("holder", &[]);
    let Ok(Reply::Called(reply)) = held.outcome else { panic!("{held:?}") };
    assert_eq!(*reply, [0xf6], "null in CBOR: nobody holds the lock");
    assert!(0 < held.fuel && held.fuel < first.fuel, "{} and {}", held.fuel, first.fuel);
    let fence = minicbor_serde::to_vec(Fence { fence: 1 }).expect("CBOR");
    let refusal = mount.sample("release", &fence).outcome.expect_err("nobody holds the lock");
    assert_eq!(refusal.recipe_code.as_deref(), Some("not-holder"));
    let unknown = mount.sample("steal", &[]);
    assert_eq!((unknown.outcome.map_err(|r| r.code), unknown.fuel), {
        (Err(ErrorCode::UnknownOperation), 0)
    });
}

#[test]
fn a_configuration_that_the_recipe_refuses_mounts_no_sample() {
    // A text where the lock expects a map.
    let refusal = sample_mount(b"\x61x").err().expect("it is refused");
    assert_eq!(refusal.code, ErrorCode::RecipeRefused, "{refusal}");
}
