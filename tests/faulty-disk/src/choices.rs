//! A seeded source of choices (splitmix64).
//!
//! Comes in: a seed. Goes out: numbers. Invariant: the same seed gives the same numbers on every
//! machine. Must never: ask the machine for randomness.

/// The state is the seed.
#[derive(Clone, Debug)]
pub struct Choices(pub u64);

impl Choices {
    #[expect(clippy::should_implement_trait, reason = "an endless source needs no adapters")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
