//! Frames that wait for one connection: the replica's task puts them in, the connection's task
//! takes them out.
//!
//! Invariant: frames leave in the order they came. Putting in never waits; a connection that falls
//! too far behind, in frames or in bytes, is marked as too slow and closed by its task, because the
//! replica must not stand still for one reader.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes taken for one write.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes of waiting frames below which a connection's requests are read.
const READING_BYTES_MAX: usize = 4 << 20;
/// Bytes of waiting frames above which a connection is too slow.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What the connection's task does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<F> {
    /// Write these; then say [`Outbox::written`] with the number.
    Write(Vec<F>, usize),
    /// Everything was taken and nothing will follow: flush and close.
    Finish,
    /// Close at once, with what is said to the other side.
    Abandon(String),
}

struct State<F> {
    waiting: VecDeque<(F, usize)>,
    /// Bytes of frames not yet written, those being written among them.
    bytes: usize,
    finished: bool,
    abandoned: Option<String>,
}

/// The frames of one connection or stream.
pub(crate) struct Outbox<F> {
    state: Mutex<State<F>>,
    filled: Notify,
    drained: Notify,
    frames_max: usize,
}

impl<F> Outbox<F> {
    /// An empty one for at most so many waiting frames.
    pub(crate) fn new(frames_max: usize) -> Outbox<F> {
        let state = State { waiting: VecDeque::new(), bytes: 0, finished: false, abandoned: None };
        Outbox {
            state: Mutex::new(state),
            filled: Notify::new(),
            drained: Notify::new(),
            frames_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in a frame of about so many bytes.
    pub(crate) fn push(&self, frame: F, bytes: usize) {
        let mut state = self.state();
        if state.finished || state.abandoned.is_some() {
            return;
        }
        let idle = state.waiting.is_empty();
        state.waiting.push_back((frame, bytes));
        state.bytes += bytes;
        let full = state.waiting.len() > self.frames_max || state.bytes > WAITING_BYTES_MAX;
        if full {
            let text = format!(
                "too slow: {} frames of about {} bytes were waiting to be read",
                state.waiting.len(),
                state.bytes
            );
            abandon(&mut state, text);
        }
        drop(state);
        if idle || full {
            self.filled.notify_one();
        }
    }

    /// Nothing will follow: the connection closes when everything is written.
    pub(crate) fn finish(&self) {
        self.state().finished = true;
        self.filled.notify_one();
    }

    /// The connection closes at once.
    pub(crate) fn abandon(&self, reason: String) {
        abandon(&mut self.state(), reason);
        self.filled.notify_one();
    }

    /// Waits for something to do.
    pub(crate) async fn next(&self) -> Next<F> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.filled.notified().await;
        }
    }

    fn try_next(&self) -> Option<Next<F>> {
        let mut state = self.state();
        if let Some(reason) = &state.abandoned {
            return Some(Next::Abandon(reason.clone()));
        }
        if state.waiting.is_empty() {
            return state.finished.then_some(Next::Finish);
        }
        let mut frames = Vec::new();
        let mut total = 0;
        while total < BATCH_BYTES {
            let Some((frame, bytes)) = state.waiting.pop_front() else { break };
            frames.push(frame);
            total += bytes;
        }
        Some(Next::Write(frames, total))
    }

    /// So many bytes of taken frames are written.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        if state.bytes < READING_BYTES_MAX {
            drop(state);
            self.drained.notify_waiters();
        }
    }

    /// Waits while so much is waiting that the other side's requests should not be read.
    pub(crate) async fn readable(&self) {
        loop {
            let drained = self.drained.notified();
            if self.state().bytes < READING_BYTES_MAX {
                return;
            }
            drained.await;
        }
    }
}

fn abandon<F>(state: &mut State<F>, reason: String) {
    state.waiting.clear();
    state.abandoned.get_or_insert(reason);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn frames_leave_in_order_and_the_end_comes_after_them() {
        let outbox = Outbox::new(9);
        outbox.push('a', 10);
        outbox.push('b', 20);
        outbox.finish();
        outbox.push('c', 1);
        assert_eq!(outbox.next().await, Next::Write(vec!['a', 'b'], 30));
        assert_eq!(outbox.next().await, Next::Finish);
    }

    #[tokio::test]
    async fn large_frames_are_written_a_few_at_a_time() {
        let outbox = Outbox::new(9);
        for frame in 0..3 {
            outbox.push(frame, BATCH_BYTES / 2);
        }
        assert_eq!(outbox.next().await, Next::Write(vec![0, 1], BATCH_BYTES));
        assert_eq!(outbox.next().await, Next::Write(vec![2], BATCH_BYTES / 2));
    }

    #[tokio::test]
    async fn one_frame_too_many_closes_the_connection_with_the_reason() {
        let outbox = Outbox::new(2);
        for frame in 0..3 {
            outbox.push(frame, 1);
        }
        let next = outbox.next().await;
        let Next::Abandon(reason) = next else { panic!("{next:?} is no end") };
        assert!(reason.contains("too slow: 3 frames"), "{reason}");
    }

    #[tokio::test]
    async fn requests_are_not_read_while_replies_pile_up() {
        let outbox = Outbox::new(9);
        outbox.push((), READING_BYTES_MAX);
        let mut readable = Box::pin(outbox.readable());
        let waited = tokio::time::timeout(Duration::ZERO, &mut readable).await;
        assert!(waited.is_err(), "too much is waiting");
        assert!(matches!(outbox.next().await, Next::Write(..)));
        outbox.written(READING_BYTES_MAX);
        readable.await;
    }
}
