//! What the tests of this room share: guests written as text.
#![allow(dead_code, missing_docs)]

pub mod guests;
