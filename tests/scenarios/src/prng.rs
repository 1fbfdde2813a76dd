//! A seeded generator of random numbers (splitmix64), so that a seed is a whole run.
//! In: a seed. Out: numbers. Small and not for secrets; two generators with neighbouring seeds give
//! unrelated numbers because the seed itself goes through the finalizer.

use std::ops::Range;

use crate::server::mix;

/// The generator.
#[derive(Clone, Debug)]
pub struct Prng {
    state: u64,
}

impl Prng {
    /// A generator whose numbers follow from `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed, 0x5eed) }
    }

    /// The next 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state, 1)
    }

    /// A number of a range that is not empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "an empty range has no number: {range:?}");
        range.start + self.draw() % (range.end - range.start)
    }

    /// True in `permille` of 1000 cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.draw() % 1000 < permille
    }

    /// One of the values.
    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        let position = self.within(0..values.len() as u64);
        values[usize::try_from(position).expect("an index of a slice")]
    }
}
