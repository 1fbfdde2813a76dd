//! Recipes from outside, strangers, and wrong input, against running servers.
//!
//! Comes in: the command line's binary, recipes under `examples/`. Goes out: verdicts. Invariant:
//! whatever is thrown at the cluster, it says in words what is wrong, and serves on.

mod contention;
mod hostile;
mod new_recipe;
mod other_language;
mod second_recipe;
mod standard;
mod stranger;
mod trust;
mod trusted_recipes;
mod wrong_input;
