//! Figures of the ZooKeeper door, as its four-letter words tell them.
//!
//! Comes in: requests asked and answered. Goes out: counts and times. Invariant: sums since the start
//! or since they were set back; bounded. Must never be waited for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Sums of the door.
#[derive(Debug)]
pub(super) struct Figures {
    received: AtomicU64,
    sent: AtomicU64,
    answered: AtomicU64,
    latency_ms: AtomicU64,
    latency_ms_min: AtomicU64,
    latency_ms_max: AtomicU64,
    outstanding: AtomicU64,
}

impl Default for Figures {
    fn default() -> Figures {
        Figures {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            latency_ms: AtomicU64::new(0),
            latency_ms_min: AtomicU64::new(u64::MAX),
            latency_ms_max: AtomicU64::new(0),
            outstanding: AtomicU64::new(0),
        }
    }
}

/// How they stand at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) outstanding: u64,
    /// Milliseconds: least, mean, most.
    pub(super) latency_ms: (u64, f64, u64),
}

impl Figures {
    pub(super) fn received(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    fn answered(&self, took_ms: u64) {
        self.answered.fetch_add(1, Relaxed);
        self.latency_ms.fetch_add(took_ms, Relaxed);
        self.latency_ms_min.fetch_min(took_ms, Relaxed);
        self.latency_ms_max.fetch_max(took_ms, Relaxed);
    }

    pub(super) fn standing(&self) -> Standing {
        let answered = self.answered.load(Relaxed);
        let mean = self.latency_ms.load(Relaxed) as f64 / answered.max(1) as f64;
        let least = if answered == 0 { 0 } else { self.latency_ms_min.load(Relaxed) };
        Standing {
            received: self.received.load(Relaxed),
            sent: self.sent.load(Relaxed),
            outstanding: self.outstanding.load(Relaxed),
            latency_ms: (least, mean, self.latency_ms_max.load(Relaxed)),
        }
    }

    /// Sets all but what is under way back.
    pub(super) fn set_back(&self) {
        for sum in [&self.received, &self.sent, &self.answered, &self.latency_ms] {
            sum.store(0, Relaxed);
        }
        self.latency_ms_min.store(u64::MAX, Relaxed);
        self.latency_ms_max.store(0, Relaxed);
    }
}

/// When the requests of one connection that are under way were asked; replies come in their order.
#[derive(Debug)]
pub(super) struct Timing<'f> {
    figures: &'f Figures,
    asked: VecDeque<Instant>,
}

impl<'f> Timing<'f> {
    pub(super) fn new(figures: &'f Figures) -> Timing<'f> {
        Timing { figures, asked: VecDeque::new() }
    }

    /// So many requests are under way now.
    pub(super) fn under_way(&mut self, count: usize) {
        let now = Instant::now();
        while self.asked.len() < count {
            self.asked.push_back(now);
            self.figures.outstanding.fetch_add(1, Relaxed);
        }
        while self.asked.len() > count
            && let Some(asked) = self.asked.pop_front()
        {
            let took = now.saturating_duration_since(asked);
            self.figures.answered(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            self.figures.outstanding.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        self.figures.outstanding.fetch_sub(self.asked.len() as u64, Relaxed);
    }
}
