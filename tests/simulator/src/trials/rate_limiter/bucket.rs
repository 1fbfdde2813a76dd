//! A bucket by the book: tokens come in evenly, up to the burst, and nothing is rounded away.
//!
//! Comes in: a rate, the time, tokens taken and given back. Goes out: how many there are. Counted in
//! parts of a token as many as the period has milliseconds; a part that is less than one of another
//! rate's is lost when the rate changes. Written from the promises, not from the recipe.

use super::Rate;

/// A bucket at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) rate: Rate,
    parts: u128,
    at_ms: u64,
}

impl Bucket {
    pub(super) fn full(rate: Rate) -> Bucket {
        Bucket { rate, parts: u128::from(rate.burst) * u128::from(rate.per_ms), at_ms: 0 }
    }

    fn parts_max(&self) -> u128 {
        u128::from(self.rate.burst) * u128::from(self.rate.per_ms)
    }

    /// The bucket at this time, or as it was if that is earlier.
    pub(super) fn at(mut self, now_ms: u64) -> Bucket {
        let passed_ms = u128::from(now_ms.saturating_sub(self.at_ms));
        let parts = self.parts + passed_ms * u128::from(self.rate.tokens);
        (self.parts, self.at_ms) = (parts.min(self.parts_max()), self.at_ms.max(now_ms));
        self
    }

    /// Whole tokens.
    pub(super) fn left(&self) -> u64 {
        u64::try_from(self.parts / u128::from(self.rate.per_ms)).unwrap_or(u64::MAX)
    }

    pub(super) fn is_full(&self) -> bool {
        self.parts == self.parts_max()
    }

    /// Milliseconds until so many are there, if it could hold them; 0: they are.
    pub(super) fn ready_in_ms(&self, tokens: u64) -> u64 {
        let wanted = u128::from(tokens) * u128::from(self.rate.per_ms);
        let missing = wanted.saturating_sub(self.parts);
        u64::try_from(missing.div_ceil(u128::from(self.rate.tokens))).unwrap_or(u64::MAX)
    }

    /// Takes tokens; `false`: they are not there.
    pub(super) fn take(&mut self, tokens: u64) -> bool {
        let wanted = u128::from(tokens) * u128::from(self.rate.per_ms);
        let is_there = wanted <= self.parts;
        self.parts = self.parts.saturating_sub(wanted);
        is_there
    }

    pub(super) fn put_back(&mut self, tokens: u64) {
        let parts = self.parts + u128::from(tokens) * u128::from(self.rate.per_ms);
        self.parts = parts.min(self.parts_max());
    }

    /// The same tokens at another rate; a full one stays full.
    pub(super) fn changed_to(self, rate: Rate) -> Bucket {
        let mut changed = Bucket { at_ms: self.at_ms, ..Bucket::full(rate) };
        if !self.is_full() {
            let parts = self.parts * u128::from(rate.per_ms) / u128::from(self.rate.per_ms);
            changed.parts = parts.min(changed.parts_max());
        }
        changed
    }
}
