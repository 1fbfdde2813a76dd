//! What the tests of this room share: the standard recipes, a stage to run
//! them on, and values for them.
#![allow(dead_code, missing_docs)]

pub mod recipes;
pub mod stage;
pub mod values;
