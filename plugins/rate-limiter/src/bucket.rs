//! A token bucket in whole numbers.
//!
//! Comes in: a rate, the time, tokens taken and given back. Goes out: how many there are, when there
//! will be enough. A token is counted as `per_ms` parts, and every millisecond brings `tokens` parts,
//! so that nothing is rounded and nothing drifts. Invariant: never more than the burst.
//! Must never: overflow; the bounds of a rate see to it.

use crate::messages::Rate;
use quorate_recipe::prelude::*;

/// Largest burst, and most tokens in a period.
const TOKENS_MAX: u64 = 1_000_000_000;
/// Longest period.
const PER_MS_MAX: u64 = 86_400_000;

impl Rate {
    /// Refuses rates that a bucket cannot count by.
    pub(crate) fn check(self) -> Result<Rate> {
        let is_right = (1..=TOKENS_MAX).contains(&self.tokens)
            && (1..=PER_MS_MAX).contains(&self.per_ms)
            && (1..=TOKENS_MAX).contains(&self.burst);
        if is_right {
            return Ok(self);
        }
        let message = format!(
            "a rate has 1 to {TOKENS_MAX} tokens, a period of 1 to {PER_MS_MAX} ms and a burst of 1 to \
             {TOKENS_MAX}"
        );
        Err(Failure::new("out-of-range", message))
    }
}

/// What the znode holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) struct Level {
    /// In parts of a token.
    parts: u64,
    /// So many are a token.
    per_ms: u64,
    /// At this time.
    at_ms: u64,
}

/// A bucket at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    parts: u64,
    now_ms: u64,
}

impl Bucket {
    /// The bucket now; one that is not on record is full.
    pub(crate) fn at(rate: Rate, level: Option<Level>, now_ms: u64) -> Bucket {
        let full = rate.burst * rate.per_ms;
        let parts = level.map_or(full, |level| {
            let parts = u128::from(level.parts) * u128::from(rate.per_ms);
            let parts = u64::try_from(parts / u128::from(level.per_ms.max(1))).unwrap_or(full);
            let come_in = now_ms.saturating_sub(level.at_ms).saturating_mul(rate.tokens);
            parts.saturating_add(come_in).min(full)
        });
        Bucket { rate, parts, now_ms }
    }

    pub(crate) fn level(&self) -> Level {
        Level { parts: self.parts, per_ms: self.rate.per_ms, at_ms: self.now_ms }
    }

    /// Whole tokens.
    pub(crate) fn left(&self) -> u64 {
        self.parts / self.rate.per_ms
    }

    pub(crate) fn burst(&self) -> u64 {
        self.rate.burst
    }

    pub(crate) fn is_full(&self) -> bool {
        self.parts >= self.rate.burst * self.rate.per_ms
    }

    /// When it will be full if nobody takes.
    pub(crate) fn full_at_ms(&self) -> u64 {
        self.now_ms.saturating_add(self.ready_in_ms(self.rate.burst))
    }

    /// Milliseconds until so many have come in beyond what is there; 0: they are there.
    pub(crate) fn ready_in_ms(&self, tokens: u64) -> u64 {
        let missing = tokens.saturating_mul(self.rate.per_ms).saturating_sub(self.parts);
        missing.div_ceil(self.rate.tokens)
    }

    /// Takes tokens that are there.
    pub(crate) fn take(&mut self, tokens: u64) {
        self.parts = self.parts.saturating_sub(tokens.saturating_mul(self.rate.per_ms));
    }

    /// Puts tokens back, as many as it holds.
    pub(crate) fn put_back(&mut self, tokens: u64) {
        let parts = tokens.saturating_mul(self.rate.per_ms);
        self.parts = self.parts.saturating_add(parts).min(self.rate.burst * self.rate.per_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN_A_SECOND: Rate = Rate { tokens: 7, per_ms: 1_000, burst: 21 };

    #[test]
    fn what_comes_in_is_not_rounded() {
        let mut bucket = Bucket::at(SEVEN_A_SECOND, None, 0);
        bucket.take(21);
        let mut taken = 0;
        for now_ms in 1..=100_000 {
            bucket = Bucket::at(SEVEN_A_SECOND, Some(bucket.level()), now_ms);
            taken += bucket.left();
            bucket.take(bucket.left());
        }
        assert_eq!(taken, 700);
    }

    #[test]
    fn it_is_ready_at_the_millisecond_it_says() {
        for tokens in 1..=21 {
            let mut bucket = Bucket::at(SEVEN_A_SECOND, None, 0);
            bucket.take(21);
            let ready_ms = bucket.ready_in_ms(tokens);
            let at = |now_ms| Bucket::at(SEVEN_A_SECOND, Some(bucket.level()), now_ms).left();
            assert_eq!((at(ready_ms - 1), at(ready_ms)), (tokens - 1, tokens));
        }
    }

    #[test]
    fn it_never_holds_more_than_the_burst() {
        let mut bucket = Bucket::at(SEVEN_A_SECOND, None, 0);
        bucket.put_back(5);
        assert_eq!((bucket.left(), bucket.is_full()), (21, true));
        bucket.take(1);
        assert!(!bucket.is_full());
        assert_eq!(bucket.full_at_ms(), 143);
        let later = Bucket::at(SEVEN_A_SECOND, Some(bucket.level()), u64::MAX);
        assert_eq!(later.left(), 21);
    }

    #[test]
    fn a_level_is_carried_over_to_another_rate() {
        let mut bucket = Bucket::at(SEVEN_A_SECOND, None, 0);
        bucket.take(11);
        let daily = Rate { tokens: 1, per_ms: PER_MS_MAX, burst: TOKENS_MAX };
        assert_eq!(Bucket::at(daily, Some(bucket.level()), 0).left(), 10);
        let small = Rate { tokens: 1, per_ms: 1, burst: 4 };
        assert_eq!(Bucket::at(small, Some(bucket.level()), 0).left(), 4);
    }

    #[test]
    fn rates_have_bounds() {
        assert!(SEVEN_A_SECOND.check().is_ok());
        for wrong in [
            Rate { tokens: 0, ..SEVEN_A_SECOND },
            Rate { tokens: TOKENS_MAX + 1, ..SEVEN_A_SECOND },
            Rate { per_ms: 0, ..SEVEN_A_SECOND },
            Rate { per_ms: PER_MS_MAX + 1, ..SEVEN_A_SECOND },
            Rate { burst: 0, ..SEVEN_A_SECOND },
            Rate { burst: TOKENS_MAX + 1, ..SEVEN_A_SECOND },
        ] {
            assert_eq!(wrong.check().unwrap_err().code, "out-of-range", "{wrong:?}");
        }
        let most = Rate { tokens: TOKENS_MAX, per_ms: PER_MS_MAX, burst: TOKENS_MAX };
        assert_eq!(Bucket::at(most, None, u64::MAX).left(), TOKENS_MAX);
    }
}
