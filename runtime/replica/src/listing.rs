//! Lists of what this server holds, for people: watches, sessions, ephemerals.
//!
//! Comes in: an order and how many rows at most. Goes out: so many rows, and how many there would be.
//! Invariant: the work is bounded by the rows asked for and the number of connections, however many
//! watches and sessions there are. Must never change anything.

use crate::Replica;
use alloc::vec::Vec;
use quorate_machine::RecipeExecutor;
use quorate_types::{SessionId, ZnodePath};

/// By what a list of watches is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchOrder {
    /// By the connections that watch.
    Session,
    /// By the paths that are watched.
    Path,
}

/// The watches of a server's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchList {
    /// Connections that watch anything.
    pub connections: usize,
    /// Paths that anybody watches.
    pub paths: usize,
    /// Paths of each connection, summed up.
    pub watches: usize,
    /// As many of `watches` as were asked for, in order.
    pub rows: Vec<(SessionId, ZnodePath)>,
}

/// The sessions of the cluster, as applied here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionList {
    /// How many there are.
    pub sessions: u64,
    /// As many as were asked for, in order, with their timeouts in milliseconds.
    pub rows: Vec<(SessionId, u32)>,
    /// Ephemeral znodes with their owners, in order, as many as were asked for and one.
    pub ephemerals: Vec<(SessionId, ZnodePath)>,
}

impl<E: RecipeExecutor> Replica<E> {
    /// The watches here, at most so many of them.
    #[must_use]
    pub fn list_watches(&self, order: WatchOrder, rows_max: usize) -> WatchList {
        let session_of = |watcher| {
            self.connections.get(&watcher).and_then(|known| known.session()).unwrap_or_default()
        };
        let row = |(watcher, path): (u64, &ZnodePath)| (session_of(watcher), path.clone());
        let rows = match order {
            WatchOrder::Session => self.watches.by_watcher().take(rows_max).map(row).collect(),
            WatchOrder::Path => self.watches.by_path().take(rows_max).map(row).collect(),
        };
        WatchList {
            connections: self.watches.watcher_count(),
            paths: self.watches.path_count(),
            watches: self.watches.pair_count(),
            rows,
        }
    }

    /// The sessions, at most so many of them, and of their ephemerals.
    #[must_use]
    pub fn list_sessions(&self, rows_max: usize) -> SessionList {
        let first = self.machine.first_sessions(rows_max).into_iter();
        SessionList {
            sessions: self.machine.session_count(),
            rows: first.map(|status| (status.session, status.timeout_ms)).collect(),
            ephemerals: self.machine.first_ephemerals(rows_max + 1),
        }
    }
}
