//! Reads and queries: answered from applied state, as fresh as asked for.
//!
//! Comes in: reads in the lines of connections. Goes out: outcomes. Invariant: a linearizable read
//! sees at least everything committed when it came: it waits for a barrier that began after it
//! came. One barrier serves all reads that wait when it begins.

use crate::Replica;
use crate::connection::SlotBody;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use quorate_machine::{RecipeCall, RecipeExecutor};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Index, ReadId, ReadRefusal};
use quorate_types::request::{HeldWatch, WatchMode};
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, Reply};

/// Who waits for a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadWaiter {
    /// A read in a connection's line.
    Slot { connection: u64, sequence: u64 },
    /// The leader, before it expires sessions.
    Expiry,
}

/// Barriers under way and who waits for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadBarriers {
    next_id: u64,
    under_way: Option<(ReadId, Vec<ReadWaiter>)>,
    waiting: Vec<ReadWaiter>,
    /// No new barrier before this, after one was refused.
    retry_at_ms: u64,
    /// Lines whose head waits until this index is applied.
    until_applied: BTreeSet<(Index, u64)>,
}

impl ReadBarriers {
    pub(crate) fn wait_until_applied(&mut self, index: Index, connection: u64) {
        self.until_applied.insert((index, connection));
    }

    fn pop_applied(&mut self, applied: Index) -> Option<u64> {
        let first = *self.until_applied.first().filter(|(index, _)| *index <= applied)?;
        self.until_applied.remove(&first);
        Some(first.1)
    }
}

impl<E: RecipeExecutor> Replica<E> {
    pub(crate) fn wait_for_barrier(&mut self, waiter: ReadWaiter) {
        self.barriers.waiting.push(waiter);
    }

    /// Begins the next barrier if one is wanted and none is under way.
    pub(crate) fn advance_reads(&mut self) -> bool {
        let idle = self.barriers.under_way.is_none() && !self.barriers.waiting.is_empty();
        let early = self.now.monotonic_ms < self.barriers.retry_at_ms;
        if !idle || early || self.raft.leader().is_none() {
            return false;
        }
        let id = ReadId(self.barriers.next_id);
        self.barriers.next_id += 1;
        let waiters = core::mem::take(&mut self.barriers.waiting);
        self.barriers.under_way = Some((id, waiters));
        self.raft.read_barrier(self.now.monotonic_ms, id);
        true
    }

    pub(crate) fn on_barrier(&mut self, id: ReadId, result: Result<Index, ReadRefusal>) {
        let Some((_, waiters)) = self.barriers.under_way.take_if(|(known, _)| *known == id) else {
            return;
        };
        match result {
            Ok(index) => {
                for waiter in waiters {
                    self.on_barrier_passed(waiter, index);
                }
            }
            Err(_) => {
                let again = self.settings.heartbeat_interval_ms;
                self.barriers.retry_at_ms = self.now.monotonic_ms + again;
                self.barriers.waiting.splice(0..0, waiters);
            }
        }
    }

    fn on_barrier_passed(&mut self, waiter: ReadWaiter, index: Index) {
        #[cfg(feature = "planted-bugs")]
        let index = if is_planted(PlantedBug::ReadIndexNotAwaited) { Index(0) } else { index };
        match waiter {
            ReadWaiter::Expiry => self.expire_sessions(),
            ReadWaiter::Slot { connection, sequence } => {
                let Some(known) = self.connections.get_mut(&connection) else { return };
                let Some(slot) = known.slot_mut(sequence) else { return };
                if let SlotBody::Read { from, .. } = &mut slot.body {
                    *from = Some(index);
                    self.advance_line(connection);
                }
            }
        }
    }

    /// Lines go on that waited for entries now applied, or for their turn to run a query.
    pub(crate) fn advance_applied_lines(&mut self) {
        while self.has_fuel() {
            let Some(connection) = self.barriers.pop_applied(self.applied) else { return };
            self.advance_line(connection);
        }
    }

    /// Answers a read from applied state and leaves its watch.
    pub(crate) fn read(&mut self, connection: u64, operation: &Operation) -> Outcome {
        let Some(known) = self.connections.get(&connection) else {
            return Err(Refusal::new(ErrorCode::SessionMoved, "the connection is gone"));
        };
        let identity = known.identity.clone();
        match operation {
            Operation::Status => Ok(Reply::Status(self.status())),
            Operation::AddWatch { path, mode, since, values } => {
                let (path, mode, values) = (path.clone(), *mode, *values);
                self.leave_watches(connection, &[HeldWatch { path, mode, values }], *since)
            }
            Operation::ResumeWatches { watches, since } => {
                self.leave_watches(connection, watches, Some(*since))
            }
            Operation::RemoveWatches { path, mode } => {
                Ok(Reply::Count(self.watches.remove(connection, path, *mode) as u64))
            }
            Operation::CountWatches { path, mode } => {
                Ok(Reply::Count(self.watches.count_on(connection, path, *mode) as u64))
            }
            Operation::RestoreWatches { watches, since } => {
                Ok(self.restore_watches(connection, &identity, watches, *since))
            }
            Operation::Ephemerals { prefix } => {
                let session = known.session().unwrap_or_default();
                Ok(Reply::Paths(self.machine.ephemerals(session, prefix)))
            }
            Operation::ListRecipes => self.list_recipes(),
            Operation::ListMounts => self.list_mounts(&identity),
            Operation::Call { object, operation, arguments } => {
                let session = known.session().unwrap_or_default();
                let identity = &identity;
                let call = RecipeCall { object, operation, arguments, session, identity };
                self.machine.query(&mut self.executor, call)
            }
            other => {
                let outcome = self.machine.read(&identity, other);
                self.leave_read_watch(connection, other, &outcome);
                outcome
            }
        }
    }

    /// ZooKeeper's rule: a read that is refused leaves no watch; `exists` is not refused when the
    /// znode is not there.
    fn leave_read_watch(&mut self, connection: u64, operation: &Operation, outcome: &Outcome) {
        let (path, mode) = match operation {
            Operation::Get { path, watch: true } | Operation::Exists { path, watch: true } => {
                (path.clone(), WatchMode::OneShotData)
            }
            Operation::Children { path, watch: true, .. } => {
                (path.clone(), WatchMode::OneShotChildren)
            }
            _ => return,
        };
        if outcome.is_ok() {
            self.watches.add(connection, &HeldWatch { path, mode, values: false });
        }
    }
}
