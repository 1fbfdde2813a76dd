//! What the leader has proposed and not yet applied.
//!
//! Comes in: requests, and the news that transactions were applied. Goes out: transactions and
//! answers. Invariant: over the applied state it shows the state after everything prepared, so
//! that requests need not wait for one another; dropped on step-down, it leaves no trace. Must
//! never: outlive the term it was made in.

use crate::executor::RecipeExecutor;
use crate::items::MembershipChange;
use crate::machine::Machine;
use crate::prepare::{self, Work};
use crate::request::{Identity, Prepared, Request, Stamp};
use crate::shadow::{self, Shadow};
use crate::tables::{Deadlines, MembershipChanges, Overlay, scan_merged};
use crate::transaction::Transaction;
use crate::view::LogLine;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;
use quorate_types::{ComponentDigest, Outcome, Refusal, Reply, SessionId, ZnodePath, Zxid};

/// Log lines kept until they are taken.
const LOG_LINES_MAX: usize = 1_024;

/// What the leader has proposed and not yet applied.
pub struct Outstanding {
    overlay: Box<Overlay>,
    tip: Option<Zxid>,
    time_ms: u64,
    faults: BTreeMap<ZnodePath, u32>,
    replied_below: BTreeMap<SessionId, u64>,
    log: Vec<LogLine>,
    warnings: Vec<String>,
    record_calls: bool,
    objection: Option<Refusal>,
    shadows: BTreeMap<ZnodePath, Shadow>,
}

impl Default for Outstanding {
    fn default() -> Outstanding {
        Outstanding::new()
    }
}

impl Outstanding {
    /// Nothing outstanding.
    #[must_use]
    pub fn new() -> Outstanding {
        Outstanding {
            overlay: Box::default(),
            tip: None,
            time_ms: 0,
            faults: BTreeMap::new(),
            replied_below: BTreeMap::new(),
            log: Vec::new(),
            warnings: Vec::new(),
            record_calls: true,
            objection: None,
            shadows: BTreeMap::new(),
        }
    }

    /// Lets another version of a mount's recipe run beside it on the next calls.
    ///
    /// # Errors
    /// No such mount or component, or the identity may not change the mount.
    pub fn begin_shadow(
        &mut self,
        (machine, executor): (&Machine, &dyn RecipeExecutor),
        identity: &Identity,
        path: &ZnodePath,
        (digest, calls): (ComponentDigest, u32),
    ) -> Outcome {
        let shadow = Shadow::begin((machine, executor), identity, path, (digest, calls))?;
        if calls == 0 {
            self.shadows.remove(path);
        } else {
            self.shadows.insert(path.clone(), shadow);
        }
        Ok(Reply::Done)
    }

    /// What the shadow of a mount has seen so far.
    ///
    /// # Errors
    /// No such mount, or the identity may not change it.
    pub fn shadow_report(
        &self,
        machine: &Machine,
        identity: &Identity,
        path: &ZnodePath,
    ) -> Outcome {
        shadow::report(machine, identity, path, self.shadows.get(path))
    }

    /// Why the component that the next request would mount must not take over now. A request that
    /// was done before is answered as before, whatever has become objectionable since.
    pub fn object(&mut self, objection: Option<Refusal>) {
        self.objection = objection;
    }

    /// Whether transactions carry the call they came from, for `verify`. They do at first.
    pub fn set_record_calls(&mut self, record: bool) {
        self.record_calls = record;
    }

    /// Turns a request into a transaction or an answer. A transaction must be proposed under
    /// exactly `stamp.zxid`, or this value dropped.
    ///
    /// # Panics
    /// When `stamp.zxid` is not above everything prepared and applied.
    pub fn prepare(
        &mut self,
        machine: &Machine,
        executor: &mut dyn RecipeExecutor,
        stamp: Stamp,
        request: Request,
    ) -> Prepared {
        let floor = self.tip.unwrap_or_default().max(machine.applied());
        assert!(stamp.zxid > floor, "zxid {} is not above {floor}", stamp.zxid);
        let time_ms = stamp.time_ms.max(self.time_ms).max(machine.time_ms());
        let stamp = Stamp { zxid: stamp.zxid, time_ms };
        let overlay = core::mem::take(&mut self.overlay);
        let mut work = Work::new(machine.tables.clone(), overlay, stamp, *machine.limits());
        #[cfg(feature = "planted-bugs")]
        {
            work.applied = machine.applied();
        }
        work.objection = self.objection.take();
        work.shadows = core::mem::take(&mut self.shadows);
        work.faults = core::mem::take(&mut self.faults);
        work.replied_below = core::mem::take(&mut self.replied_below);
        let prepared = prepare::prepare(&mut work, executor, request, self.record_calls);
        self.overlay = work.state.overlay;
        self.faults = work.faults;
        self.shadows = work.shadows;
        self.replied_below = work.replied_below;
        let room = LOG_LINES_MAX.saturating_sub(self.log.len());
        self.log.extend(work.log.into_iter().take(room));
        if let Prepared::Transaction(Transaction { reply: Some(Ok(_)), .. }) = &prepared {
            self.warnings.extend(work.warnings);
        }
        if let Prepared::Transaction(_) = prepared {
            self.tip = Some(stamp.zxid);
            self.time_ms = time_ms;
        }
        prepared
    }

    /// Everything up to `zxid` is applied: what it wrote last is no longer needed here.
    pub fn applied(&mut self, zxid: Zxid) {
        self.overlay.forget(zxid);
        self.tip = self.tip.filter(|tip| *tip > zxid);
    }

    /// The newest transaction prepared and not yet applied.
    #[must_use]
    pub fn tip(&self) -> Option<Zxid> {
        self.tip
    }

    /// As [`Machine::next_deadline_ms`], after everything prepared.
    #[must_use]
    pub fn next_deadline_ms(&self, machine: &Machine) -> Option<u64> {
        let mut next = None;
        let first = Bound::Unbounded;
        scan_merged::<Deadlines>(&machine.tables, &self.overlay, first, &mut |(at_ms, _), ()| {
            next = Some(*at_ms);
            false
        });
        next
    }

    /// As [`Machine::membership_change`], after everything prepared.
    #[must_use]
    pub fn membership_change(&self, machine: &Machine) -> Option<Arc<MembershipChange>> {
        let mut found = None;
        let (tables, first) = (&machine.tables, Bound::Unbounded);
        scan_merged::<MembershipChanges>(tables, &self.overlay, first, &mut |_, change| {
            found = Some(change.clone());
            false
        });
        found
    }

    /// Faults of a mount in a row.
    #[must_use]
    pub fn faults(&self, mount: &ZnodePath) -> u32 {
        self.faults.get(mount).copied().unwrap_or(0)
    }

    /// What the operator is to be warned of, since the last call.
    pub fn take_warnings(&mut self) -> Vec<String> {
        core::mem::take(&mut self.warnings)
    }

    /// What recipes logged since the last call; beyond a bound, lines are dropped.
    pub fn take_log(&mut self) -> Vec<LogLine> {
        core::mem::take(&mut self.log)
    }

    #[cfg(test)]
    pub(crate) fn entry_count(&self) -> usize {
        self.overlay.entry_count()
    }
}
