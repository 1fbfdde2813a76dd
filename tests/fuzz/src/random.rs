//! Numbers that a seed decides.

use quorate_faulty_disk::Choices;

/// What executions draw from.
#[derive(Clone, Debug)]
pub struct Random(Choices);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(Choices(seed))
    }

    /// That of one execution, which does not depend on those before it.
    #[must_use]
    pub fn of_execution(seed: u64, number: u64) -> Random {
        let mut random = Random::new(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Random::new(random.next())
    }

    /// Any number.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A number of any width, so that small and large ones come alike.
    pub fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    /// One of `choices`, of which there are some.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Up to 3 of what `make` makes.
    pub fn list<T>(&mut self, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    /// What `make` makes, or nothing.
    pub fn option<T>(&mut self, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
        if self.once_in(3) { None } else { Some(make(self)) }
    }
}
