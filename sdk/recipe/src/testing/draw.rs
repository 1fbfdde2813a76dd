//! What a simulation draws: numbers of a seed, and the next call.

use super::splitmix64;
use crate::codec;
use serde::Serialize;

/// A seeded generator: the same seed draws the same.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
}

impl Draw {
    pub(crate) fn of(seed: u64) -> Draw {
        Draw { state: seed }
    }

    /// A number from 0 to `count - 1`.
    ///
    /// # Panics
    /// `count` is 0.
    pub fn below(&mut self, count: u64) -> u64 {
        assert!(count > 0, "there is nothing to draw from");
        splitmix64(&mut self.state) % count
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    ///
    /// # Panics
    /// There is none.
    pub fn one_of<'from, T>(&mut self, from: &'from [T]) -> &'from T {
        let place = usize::try_from(self.below(from.len() as u64));
        &from[place.expect("a place in memory")]
    }
}

/// A call that a client is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextCall {
    pub(crate) client: usize,
    pub(crate) object: String,
    pub(crate) operation: String,
    pub(crate) arguments: Vec<u8>,
}

impl NextCall {
    /// A call by a client, counted from 0; `""` is the mount itself.
    ///
    /// # Panics
    /// The arguments have no CBOR form.
    #[must_use]
    #[track_caller]
    pub fn new(
        client: usize,
        object: &str,
        operation: &str,
        arguments: &impl Serialize,
    ) -> NextCall {
        let arguments = codec::encode(arguments).expect("the arguments have a CBOR form");
        NextCall { client, object: object.into(), operation: operation.into(), arguments }
    }
}
