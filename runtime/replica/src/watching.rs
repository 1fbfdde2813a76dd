//! Watches of this server's connections: left, resumed, told.
//!
//! Comes in: requests for watches at their turn in the line, the events of applied transactions.
//! Goes out: notifications. Invariant: a watch that goes on from a point is told everything after
//! it exactly once: what has happened already in the reply, the rest live; what cannot be told any
//! more is said to be a gap.

use crate::Replica;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;
use quorate_machine::{Identity, RecipeExecutor, Replay, ZnodeEvent};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::request::{HeldWatch, RestoredKind, RestoredWatch, WatchMode, WatchPosition};
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, Reply, ZnodePath, Zxid};
use quorate_wire::native::ServerFrame;

impl<E: RecipeExecutor> Replica<E> {
    /// Tells the watchers of a transaction, and remembers it for those who come back.
    pub(crate) fn tell_watchers(&mut self, zxid: Zxid, events: Vec<ZnodeEvent>) {
        let connections = &self.connections;
        let identity_of = |watcher| connections.get(&watcher).map(|known| &known.identity);
        for (watcher, event) in self.watches.on_applied(zxid, &events, &identity_of) {
            self.send_client(watcher, ServerFrame::Watch(event));
        }
        self.watch_history.record(zxid, events, &self.settings.limits);
    }

    /// Sets watches from now on, or from a point in what was applied.
    pub(crate) fn leave_watches(
        &mut self,
        connection: u64,
        watches: &[HeldWatch],
        since: Option<WatchPosition>,
    ) -> Outcome {
        let Some(since) = since else {
            self.add_watches(connection, watches);
            return Ok(Reply::Done);
        };
        let applied = self.applied();
        if since.zxid > applied {
            let text = format!("nothing has happened at {since} yet: the newest is {applied}");
            return Err(Refusal::new(ErrorCode::BadArguments, text));
        }
        let Some(known) = self.connections.get(&connection) else {
            return Err(Refusal::new(ErrorCode::SessionMoved, "the connection is gone"));
        };
        match self.watch_history.replay(watches, since, &known.identity) {
            Some(Replay { events: replayed, left }) => {
                self.add_watches(connection, &left);
                Ok(Reply::Watching { replayed, gap: false })
            }
            None => {
                self.add_watches(connection, watches);
                Ok(Reply::Watching { replayed: Vec::new(), gap: true })
            }
        }
    }

    /// Sets watches of a lost connection again, or tells what they missed, by how the znodes are.
    pub(crate) fn restore_watches(
        &mut self,
        connection: u64,
        identity: &Identity,
        watches: &[RestoredWatch],
        since: Zxid,
    ) -> Reply {
        #[cfg(feature = "planted-bugs")]
        let since = match is_planted(PlantedBug::WatchesRestoredFromNow) {
            true => self.applied(),
            false => since,
        };
        let mut replayed = Vec::new();
        for watch in watches {
            let mode = match watch.kind {
                RestoredKind::Data | RestoredKind::Absence => WatchMode::OneShotData,
                RestoredKind::Children => WatchMode::OneShotChildren,
                RestoredKind::Persistent => WatchMode::Persistent,
                RestoredKind::PersistentRecursive => WatchMode::PersistentRecursive,
            };
            match self.machine.missed(identity, watch, since) {
                Some(event) => replayed.push(event),
                None => {
                    let path = watch.path.clone();
                    self.watches.add(connection, &HeldWatch { path, mode, values: false });
                }
            }
        }
        Reply::Watching { replayed, gap: false }
    }

    fn add_watches(&mut self, connection: u64, watches: &[HeldWatch]) {
        for watch in watches {
            self.watches.add(connection, watch);
        }
    }

    /// On how many znodes the connection has watches once the operation is done; 0 if the operation
    /// leaves none.
    pub(crate) fn watches_with(&self, connection: u64, operation: &Operation) -> usize {
        let added: BTreeSet<&ZnodePath> = match operation {
            Operation::ResumeWatches { watches, .. } => {
                watches.iter().map(|watch| &watch.path).collect()
            }
            Operation::RestoreWatches { watches, .. } => {
                watches.iter().map(|watch| &watch.path).collect()
            }
            Operation::AddWatch { path, .. }
            | Operation::Get { path, watch: true }
            | Operation::Exists { path, watch: true }
            | Operation::Children { path, watch: true, .. } => [path].into(),
            _ => return 0,
        };
        let unknown = |path: &&ZnodePath| !self.watches.watches(connection, path);
        self.watches.count_of(connection) + added.into_iter().filter(unknown).count()
    }
}
