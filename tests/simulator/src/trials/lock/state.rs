//! Locks as their callers know them after a transaction.
//!
//! Comes in: grants, releases, ends of sessions. Goes out: what can be true of a lock at a time. A
//! hold or a delay whose time is over ends by a timer, which leaves no answer: until something is
//! heard of it, it may be there still.

use super::super::Result;
use super::Holder;
use quorate_types::SessionId;
use std::collections::BTreeMap;

impl Holder {
    /// When it passes on by itself.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.ends_at_ms.into_iter().chain(self.revoke_at_ms).min()
    }

    pub(super) fn is(&self, session: SessionId, fence: u64) -> bool {
        (self.session, self.fence) == (session.0, fence)
    }
}

/// One lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) holder: Option<Holder>,
    /// Until when it is kept from others; whether that is sure: the hold before may have been over
    /// when the session ended.
    pub(super) delay: Option<(u64, bool)>,
    pub(super) waiters: usize,
}

impl Lock {
    /// The holder, if it cannot be over.
    pub(super) fn sure_holder(&self, now_ms: u64) -> Option<&Holder> {
        self.holder
            .as_ref()
            .filter(|holder| holder.deadline_ms().is_none_or(|at_ms| at_ms > now_ms))
    }

    /// Whether somebody surely holds it under this fence.
    pub(super) fn is_surely(&self, session: SessionId, fence: u64, now_ms: u64) -> bool {
        self.sure_holder(now_ms).is_some_and(|holder| holder.is(session, fence))
    }

    pub(super) fn is_surely_delayed(&self, now_ms: u64) -> bool {
        self.delay.is_some_and(|(until_ms, is_sure)| is_sure && until_ms > now_ms)
    }

    /// Neither held nor in a delay, or that may be over.
    pub(super) fn may_be_free(&self, now_ms: u64) -> bool {
        self.sure_holder(now_ms).is_none() && !self.is_surely_delayed(now_ms)
    }

    pub(super) fn is_surely_free(&self) -> bool {
        self.holder.is_none() && self.delay.is_none()
    }

    /// Whether the lock passes on by a timer that is due.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        !self.is_surely_free() && self.may_be_free(now_ms)
    }

    /// A hold begins: what may have been there before was over.
    pub(super) fn grant(&mut self, holder: Holder, now_ms: u64) -> Result {
        if !self.may_be_free(now_ms) {
            return Err(format!("it is granted to session {}: {self:?}", holder.session));
        }
        (self.holder, self.delay) = (Some(holder), None);
        Ok(())
    }

    /// The hold of this session under this fence, which must be there.
    pub(super) fn own(&mut self, session: SessionId, fence: u64) -> Result<&mut Holder> {
        let text = format!("session {session} has fence {fence} there: {:?}", self.holder);
        self.holder.as_mut().filter(|holder| holder.is(session, fence)).ok_or(text)
    }

    /// A session ends, and its hold with it.
    pub(super) fn end_session(&mut self, session: SessionId, now_ms: u64, delay_ms: u64) {
        let Some(holder) = self.holder.take_if(|holder| holder.session == session.0) else {
            return;
        };
        let is_sure = holder.deadline_ms().is_none_or(|at_ms| at_ms > now_ms);
        let delay_ms = holder.delay_ms.unwrap_or(delay_ms);
        self.delay = (delay_ms > 0).then(|| (now_ms.saturating_add(delay_ms), is_sure));
    }
}

/// All locks of the mount.
pub(super) type Locks = BTreeMap<String, Lock>;
