//! The standard lock, as the component that servers run, on a machine with the real executor.

use quorate_recipe_test::{COMPILER, OneServer as Stage};
use quorate_types::{ErrorCode, Operation, Outcome, Reply, SessionId};
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Acquire {
    wait_ms: Option<u64>,
    note: String,
}

#[derive(Serialize, Deserialize)]
struct Fence {
    fence: u64,
}

fn lock_component() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/recipes/lock.wasm");
    std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}: run `cargo xtask recipes`"))
}

fn stage() -> (Stage, SessionId) {
    Stage::with_recipe(&lock_component(), "/locks")
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
    let inspection = COMPILER.inspect(&lock_component()).expect("it is accepted");
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
    let (second, third) = (stage.open("tester", 30_000), stage.open("tester", 30_000));
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
fn the_end_of_a_session_passes_its_lock_on() {
    let (mut stage, first) = stage();
    let second = stage.open("tester", 30_000);
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
    let second = stage.open("tester", 30_000);
    granted(&acquire(&mut stage, first, None));
    let refusal = acquire(&mut stage, second, Some(0)).expect_err("it is held");
    assert_eq!(refusal.code, ErrorCode::RecipeRefused, "{refusal}");
}
