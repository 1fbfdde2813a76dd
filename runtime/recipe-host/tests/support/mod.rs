//! What the tests of this room share: guests written as text, and a stage to run them on.
#![allow(dead_code, missing_docs)]

pub mod guests;
pub mod stage;
