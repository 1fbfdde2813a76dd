//! The script: chapters, each about one thing, in the order they are played.
//!
//! Invariant: chapters name znodes of their own, so that a step can be added without a look at the
//! others.

mod access;
mod creation;
mod ends;
mod quota;
mod several;
mod tree;
mod watches;

use crate::step::Step;

/// Every step.
pub(crate) fn all() -> Vec<Step> {
    [
        creation::steps(),
        tree::steps(),
        access::steps(),
        several::steps(),
        watches::steps(),
        quota::steps(),
        ends::steps(),
    ]
    .concat()
}
