//! Components made to take the time, the memory or the stack of whoever reads or compiles them.
//!
//! Every server compiles every component, and does so again after a restart: one that ends the process
//! would end the cluster. Each is refused within a moment, in words of its own.

mod support;

use quorate_hostile_recipes::bombs::BOMBS;
use quorate_recipe_host::component_digest;
use std::time::{Duration, Instant};
use support::stage::COMPILER;

/// Stack of a thread of the standard library, less than any thread of a server has.
const STACK_BYTES: usize = 2 << 20;

#[test]
fn bombs_are_refused_in_a_moment_each_in_its_own_words() {
    let worst = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| {
        let mut worst = (Duration::ZERO, "none");
        for bomb in BOMBS {
            let (name, words, bytes) = (bomb.name, bomb.words, bomb.component());
            let started = Instant::now();
            let refused = COMPILER.compile(&component_digest(&bytes), &bytes);
            worst = worst.max((started.elapsed(), name));
            let error = refused.err().unwrap_or_else(|| panic!("{name} was accepted")).to_string();
            assert!(error.contains(words), "{name}: {words:?} is not in {error:?}");
        }
        worst
    });
    let (took, name) = worst.expect("a thread").join().expect("the thread lives");
    println!("{} bombs refused; the longest, {name}, took {took:?}", BOMBS.len());
}
