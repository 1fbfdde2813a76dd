//! What is known of instances whose time runs out without anybody being told.
//!
//! Comes in: the time of every entry, and what callers saw of an instance at which transaction. Goes
//! out: what it can be at any transaction, and the first contradiction. Invariant: an instance with a
//! time to live is healthy until its time is over, and there until its end was seen and it has stayed
//! as long as it may; when exactly either ends shows only in what callers see.

use super::super::Result;
use super::words::Instance;
use quorate_types::Zxid;
use std::collections::BTreeMap;

/// Nobody may be seen healthy, or there, so long and so many entries after the time.
const OVERDUE_MS: u64 = 4_000;
const OVERDUE_ENTRIES: u64 = 40;

/// The leaders' stamps.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<(Zxid, u64)>);

impl Times {
    pub(super) fn note(&mut self, zxid: Zxid, time_ms: u64) {
        self.0.push((zxid, time_ms));
    }

    /// The stamp of the newest entry that is no later than this one.
    pub(super) fn at(&self, zxid: Zxid) -> u64 {
        let later = self.0.partition_point(|(known, _)| *known <= zxid);
        later.checked_sub(1).map_or(0, |place| self.0[place].1)
    }

    /// The first entry stamped with this time or a later one, and its stamp.
    fn first_from(&self, time_ms: u64) -> Option<(Zxid, u64)> {
        let place = self.0.partition_point(|(_, stamp_ms)| *stamp_ms < time_ms);
        self.0.get(place).copied()
    }

    /// Whether this time was over long before this entry.
    fn is_overdue(&self, time_ms: u64, zxid: Zxid) -> bool {
        self.first_from(time_ms).is_some_and(|(first, stamp_ms)| {
            let entries = zxid.0.saturating_sub(first.0);
            entries > OVERDUE_ENTRIES && self.at(zxid).saturating_sub(stamp_ms) > OVERDUE_MS
        })
    }
}

/// An instance as it was registered, and renewed last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    /// Its health is what was reported last.
    pub(super) instance: Instance,
    /// The registration or renewal.
    pub(super) renewed: Zxid,
    /// When its time is over, if it has one.
    pub(super) ends_ms: Option<u64>,
}

impl Listed {
    fn name(&self) -> (u64, Zxid) {
        (self.instance.registration, self.renewed)
    }

    /// Whether its time was over at this entry, so that its end may have been seen.
    pub(super) fn is_over(&self, times: &Times, at: Zxid) -> bool {
        self.ends_ms.is_some_and(|ends_ms| ends_ms <= times.at(at))
    }
}

/// What was seen between one renewal and the next.
#[derive(Debug, Default)]
struct Seen {
    healthy_last: Option<Zxid>,
    unhealthy_first: Option<Zxid>,
    there_last: Option<Zxid>,
    gone_first: Option<Zxid>,
}

/// What was seen of all instances of a service.
#[derive(Debug, Default)]
pub(super) struct Facts {
    seen: BTreeMap<(u64, Zxid), Seen>,
}

impl Facts {
    /// Whether it may be gone after this transaction.
    pub(super) fn may_be_gone(&self, times: &Times, listed: &Listed, at: Zxid) -> bool {
        let Some(ends_ms) = listed.ends_ms else { return false };
        let seen = self.seen.get(&listed.name());
        if seen.and_then(|seen| seen.there_last).is_some_and(|last| at <= last) {
            return false;
        }
        // Its end was seen in that entry at the earliest, and later if it was healthy later.
        let Some((first, stamp_ms)) = times.first_from(ends_ms).filter(|(first, _)| *first <= at)
        else {
            return false;
        };
        let healthy_last = seen.and_then(|seen| seen.healthy_last);
        let seen_ms = match healthy_last.filter(|last| *last > first) {
            Some(last) => times.at(last),
            None => stamp_ms,
        };
        seen_ms.saturating_add(listed.instance.remove_after_ms) <= times.at(at)
    }

    /// Whether it is known to be gone after this transaction.
    pub(super) fn is_gone(&self, times: &Times, listed: &Listed, at: Zxid) -> bool {
        let first = self.seen.get(&listed.name()).and_then(|seen| seen.gone_first);
        first.is_some_and(|first| first <= at) || self.should_be_gone(times, listed, at)
    }

    fn should_be_gone(&self, times: &Times, listed: &Listed, at: Zxid) -> bool {
        let Some(ends_ms) = listed.ends_ms else { return false };
        let Some((_, stamp_ms)) = times.first_from(ends_ms) else { return false };
        // What is seen late stays longer.
        let stays_ms = listed.instance.remove_after_ms.saturating_add(OVERDUE_MS);
        times.is_overdue(stamp_ms.saturating_add(stays_ms), at)
    }

    /// Its health before a transaction, if it is there and its health is known.
    pub(super) fn health_before(&self, times: &Times, listed: &Listed, at: Zxid) -> Option<bool> {
        let before = Zxid(at.0 - 1);
        let unhealthy = self.seen.get(&listed.name()).and_then(|seen| seen.unhealthy_first);
        if !listed.instance.healthy || unhealthy.is_some_and(|first| first <= before) {
            return Some(false);
        }
        (!listed.is_over(times, before)).then_some(true)
    }

    /// It was seen after this transaction.
    ///
    /// # Errors
    /// When it was gone before.
    pub(super) fn saw_there(&mut self, times: &Times, listed: &Listed, at: Zxid) -> Result {
        if self.is_gone(times, listed, at) {
            return Err(format!("{listed:?} is there at {at}, and was gone before"));
        }
        let seen = self.seen.entry(listed.name()).or_default();
        seen.there_last = seen.there_last.max(Some(at));
        Ok(())
    }

    /// It was seen healthy or not after this transaction.
    ///
    /// # Errors
    /// When it cannot be.
    pub(super) fn saw_health(
        &mut self,
        times: &Times,
        listed: &Listed,
        (at, healthy): (Zxid, bool),
    ) -> Result {
        self.saw_there(times, listed, at)?;
        if !listed.instance.healthy {
            return if healthy { Err(format!("unwell is {listed:?}")) } else { Ok(()) };
        }
        let seen = self.seen.entry(listed.name()).or_default();
        if healthy {
            let ends_ms = listed.ends_ms.unwrap_or(u64::MAX);
            if times.is_overdue(ends_ms, at) {
                return Err(format!("healthy at {at} is {listed:?}, long after its time"));
            }
            seen.healthy_last = seen.healthy_last.max(Some(at));
        } else {
            if !listed.is_over(times, at) {
                return Err(format!("unhealthy at {at} is {listed:?}, before its time"));
            }
            seen.unhealthy_first = Some(seen.unhealthy_first.map_or(at, |first| first.min(at)));
        }
        match (seen.healthy_last, seen.unhealthy_first) {
            (Some(last), Some(first)) if first <= last => {
                Err(format!("unhealthy at {first}, healthy at {last} is {listed:?}"))
            }
            _ => Ok(()),
        }
    }

    /// It was seen to be gone after this transaction.
    ///
    /// # Errors
    /// When it cannot be, or was there later.
    pub(super) fn saw_gone(&mut self, times: &Times, listed: &Listed, at: Zxid) -> Result {
        if !self.may_be_gone(times, listed, at) {
            let now_ms = times.at(at);
            return Err(format!("gone at {at}, {now_ms} ms, is {listed:?}"));
        }
        let seen = self.seen.entry(listed.name()).or_default();
        seen.gone_first = Some(seen.gone_first.map_or(at, |first| first.min(at)));
        Ok(())
    }
}
