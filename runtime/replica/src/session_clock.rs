//! The leader's watch over sessions: when each was last heard of, which are due to expire.
//!
//! Comes in: touches and the leader's monotonic time. Goes out: sessions that were silent for
//! their whole timeout. Invariant: a session is never due before its timeout has passed since its
//! last touch, or since this leader began. Not replicated; dropped with leadership.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use quorate_types::SessionId;

#[derive(Clone, Copy, Debug)]
struct Watched {
    touched_ms: u64,
    timeout_ms: u64,
    /// Not due before this, however long silent.
    put_off_ms: u64,
    /// Where `queue` holds this session; at most its real deadline, so touching costs no queue work.
    queued_ms: u64,
}

/// Last touches of all sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionClock {
    watched: BTreeMap<SessionId, Watched>,
    queue: BTreeSet<(u64, SessionId)>,
}

impl SessionClock {
    /// Begins to watch a session, or touches it.
    pub(crate) fn watch(&mut self, session: SessionId, timeout_ms: u64, now_ms: u64) {
        let queued_ms = now_ms.saturating_add(timeout_ms);
        let watched = Watched { touched_ms: now_ms, timeout_ms, put_off_ms: 0, queued_ms };
        if let Some(before) = self.watched.insert(session, watched) {
            self.queue.remove(&(before.queued_ms, session));
        }
        self.queue.insert((queued_ms, session));
    }

    /// Notes a sign of life; of a session not watched: nothing.
    pub(crate) fn touch(&mut self, session: SessionId, now_ms: u64) {
        if let Some(watched) = self.watched.get_mut(&session) {
            watched.touched_ms = watched.touched_ms.max(now_ms);
        }
    }

    /// Gives every session its full timeout again: after a stall of this very server nobody can
    /// tell who was silent.
    pub(crate) fn touch_all(&mut self, now_ms: u64) {
        for watched in self.watched.values_mut() {
            watched.touched_ms = watched.touched_ms.max(now_ms);
        }
    }

    /// Does not call a session due before `until_ms`; its timeout stays what it is.
    pub(crate) fn put_off(&mut self, session: SessionId, until_ms: u64) {
        if let Some(watched) = self.watched.get_mut(&session) {
            watched.put_off_ms = until_ms;
        }
    }

    /// Stops watching.
    pub(crate) fn forget(&mut self, session: SessionId) {
        if let Some(watched) = self.watched.remove(&session) {
            self.queue.remove(&(watched.queued_ms, session));
        }
    }

    /// Sessions silent for their whole timeout; they stay due until touched or forgotten.
    pub(crate) fn due(&mut self, now_ms: u64) -> Vec<SessionId> {
        let mut due = Vec::new();
        let passed: Vec<(u64, SessionId)> =
            self.queue.range(..=(now_ms, SessionId(u64::MAX))).copied().collect();
        for (queued_ms, session) in passed {
            let watched = self.watched.get_mut(&session).expect("queued sessions are watched");
            let silent_ms = watched.touched_ms.saturating_add(watched.timeout_ms);
            let deadline_ms = silent_ms.max(watched.put_off_ms);
            if deadline_ms <= now_ms {
                due.push(session);
            } else {
                watched.queued_ms = deadline_ms;
                self.queue.remove(&(queued_ms, session));
                self.queue.insert((deadline_ms, session));
            }
        }
        due
    }

    /// When [`SessionClock::due`] may have something to say; never later than the truth.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.queue.first().map(|(deadline_ms, _)| *deadline_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_session_is_due_only_after_its_whole_timeout_of_silence() {
        let mut clock = SessionClock::default();
        clock.watch(SessionId(1), 100, 0);
        clock.watch(SessionId(2), 100, 0);
        clock.touch(SessionId(2), 60);
        assert_eq!(clock.due(99), vec![]);
        assert_eq!(clock.due(100), vec![SessionId(1)]);
        assert_eq!(clock.due(159), vec![SessionId(1)]);
        assert_eq!(clock.due(160), vec![SessionId(1), SessionId(2)]);
        clock.forget(SessionId(1));
        clock.touch(SessionId(2), 160);
        assert_eq!(clock.due(259), vec![]);
        assert_eq!(clock.next_deadline_ms(), Some(260));
    }

    #[test]
    fn a_stall_gives_everyone_their_timeout_again() {
        let mut clock = SessionClock::default();
        clock.watch(SessionId(1), 100, 0);
        clock.touch_all(1_000);
        assert_eq!(clock.due(1_099), vec![]);
        assert_eq!(clock.due(1_100), vec![SessionId(1)]);
    }

    #[test]
    fn a_session_put_off_keeps_its_timeout() {
        let mut clock = SessionClock::default();
        clock.watch(SessionId(1), 1_000, 0);
        clock.put_off(SessionId(1), 1_200);
        assert_eq!(clock.due(1_199), vec![]);
        assert_eq!(clock.due(1_200), vec![SessionId(1)]);
        clock.touch(SessionId(1), 1_200);
        assert_eq!(clock.due(2_199), vec![]);
        assert_eq!(clock.due(2_200), vec![SessionId(1)]);
    }

    #[test]
    fn touching_the_unknown_watches_nothing() {
        let mut clock = SessionClock::default();
        clock.touch(SessionId(9), 5);
        assert_eq!(clock.next_deadline_ms(), None);
    }
}
