//! Committed entries become state, in log order; what follows from each is handed on.
//!
//! Comes in: how far the log may be applied. Goes out: replies, notifications, components to
//! compile, snapshots due. Invariant: an entry is applied once, after every entry before it, and
//! whole; nothing here can refuse it. No recipe runs here but to be compared (`verify`).

use crate::Replica;
use crate::boundary::Action;
use crate::settings::Verify;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_machine::{Applied, RecipeExecutor, Transaction, Verdict};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Entry, EntryKind, Index};
use quorate_types::{ComponentDigest, Zxid};

impl<E: RecipeExecutor> Replica<E> {
    /// Applies everything up to `to`.
    pub(crate) fn apply_to(&mut self, to: Index) {
        while self.applied < to {
            let index = Index(self.applied.0 + 1);
            let entry = self.raft.entry(index).expect("entries to apply are in the log").clone();
            self.apply_entry(&entry);
            self.applied = index;
            self.after_entry();
        }
        self.raft.applied(self.applied);
        self.check_incarnations();
        self.advance_applied_lines();
        self.take_snapshot_if_due();
    }

    fn apply_entry(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::Empty | EntryKind::Membership => self.machine.advance(Zxid(entry.index.0)),
            EntryKind::Command => self.apply_command(entry),
        }
    }

    fn after_entry(&mut self) {
        let applied = self.applied();
        if let Some(leading) = &mut self.leading {
            leading.outstanding.applied(applied);
        }
        self.deliver_early_answers();
    }

    fn apply_command(&mut self, entry: &Entry) {
        let zxid = Zxid(entry.index.0);
        let transaction = Transaction::decode(&entry.payload)
            .unwrap_or_else(|error| panic!("committed transaction {zxid} is unreadable: {error}"));
        self.compare_call(zxid, &transaction);
        let applied = self.machine.apply(zxid, &transaction);
        self.snapshots.note_applied(entry.payload.len());
        // The floor that replies and events carry is this very transaction.
        self.applied = entry.index;
        self.hand_on(zxid, applied);
    }

    /// Hands on what follows from one transaction, in the order clients may see it.
    fn hand_on(&mut self, zxid: Zxid, applied: Applied) {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::EventAfterReply) && !applied.events.is_empty() {
            let events = applied.events.clone();
            self.hand_on(zxid, Applied { events: Vec::new(), ..applied });
            self.tell_watchers(zxid, events);
            return;
        }
        self.tell_watchers(zxid, applied.events);
        for (session, origin) in &applied.sessions_attached {
            let here = origin.server == self.settings.identity.server;
            self.session_moved(*session, (origin.connection, here));
        }
        for result in applied.connections {
            self.watch_granted(&result);
            self.deliver_connection(zxid, result);
        }
        for reply in applied.replies {
            self.deliver_applied(zxid, reply.session, reply.sequence, reply.outcome);
        }
        for session in applied.sessions_closed {
            if let Some(leading) = &mut self.leading {
                leading.sessions.forget(session);
            }
            self.session_closed(session);
        }
        for digest in applied.components_completed {
            self.compile_component(digest);
        }
        for digest in applied.components_removed {
            self.actions.push_back(Action::RemoveComponent { digest });
        }
        if applied.members_changed {
            self.tell_peers();
        }
    }

    /// The leader watches over every session that was opened or attached, wherever.
    fn watch_granted(&mut self, result: &quorate_machine::ConnectionResult) {
        if let (Some(leading), Ok(grant)) = (&mut self.leading, &result.outcome) {
            let timeout_ms = u64::from(grant.timeout_ms);
            leading.sessions.watch(grant.session, timeout_ms, self.now.monotonic_ms);
        }
    }

    fn compile_component(&mut self, digest: ComponentDigest) {
        if let Some(bytes) = self.machine.component_bytes(&digest) {
            self.actions.push_back(Action::CompileComponent { digest, bytes });
        }
    }

    /// Every component of the catalogue: after a start, or when the whole state was replaced.
    pub(crate) fn compile_all_components(&mut self) {
        for digest in self.machine.components() {
            self.compile_component(digest);
        }
    }

    /// Runs a logged call again and compares: determinism is checked, not assumed.
    fn compare_call(&mut self, zxid: Zxid, transaction: &Transaction) {
        let wanted = match self.settings.verify {
            Verify::Off => false,
            Verify::Sample => zxid.0.is_multiple_of(64),
            Verify::All => true,
        };
        if !wanted || self.leading.is_some() {
            return;
        }
        match self.machine.verify(&mut self.executor, zxid, transaction) {
            Verdict::NotACall | Verdict::Agrees | Verdict::NotReady => {}
            Verdict::Differs { logged, computed } => self.on_call_differs(zxid, &logged, &computed),
        }
    }

    fn on_call_differs(&mut self, zxid: Zxid, logged: &str, computed: &str) {
        let text = format!(
            "a recipe call gave other changes here than on the leader in transaction {zxid}: logged \
             {logged}, computed {computed}. The logged ones count; replace the recipe"
        );
        self.raise_alarm(String::from("nondeterministic recipe"), text);
    }

    /// What is wrong, for the status.
    pub(crate) fn alarm_texts(&self) -> Vec<String> {
        let suspended =
            self.machine.suspended_mounts().into_iter().map(|(mount, reason)| {
                format!("the recipe mounted at {mount} is suspended: {reason}")
            });
        self.alarms.values().cloned().chain(suspended).collect()
    }
}
