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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_network::{Network, TIMEOUT_MS};
    use bytes::Bytes;
    use quorate_types::Operation;
    use quorate_types::request::{CreateMode, ReadLevel};

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    #[test]
    fn lists_hold_as_many_rows_as_asked_for_and_say_how_many_there_are() {
        let mut network = Network::new(false);
        let server = network.leader();
        for connection in [1, 2] {
            network.connect((server, connection), false, None);
            let watched = ["/a", "/b", "/c"].into_iter().take(connection as usize + 1);
            for (sequence, text) in (1..).zip(watched) {
                let exists = Operation::Exists { path: path(text), watch: true };
                let outcome =
                    network.ask((server, connection), sequence, (ReadLevel::Local, exists));
                assert!(outcome.is_ok());
            }
            let mode = CreateMode::Ephemeral;
            let path = path(if connection == 1 { "/one" } else { "/two" });
            let create = Operation::Create { path, data: Bytes::new().into(), mode, acl: None };
            assert!(network.ask((server, connection), 9, (ReadLevel::Local, create)).is_ok());
        }
        let replica = &network.replicas[&server];
        let sessions = replica.list_sessions(10);
        let [one, two] = [sessions.rows[0].0, sessions.rows[1].0];
        assert_eq!((sessions.sessions, sessions.rows[0].1), (2, TIMEOUT_MS));
        assert_eq!(sessions.ephemerals, [(one, path("/one")), (two, path("/two"))]);
        let fewer = replica.list_sessions(1);
        assert_eq!((fewer.sessions, fewer.rows.len(), fewer.ephemerals.len()), (2, 1, 2));

        let by_path = replica.list_watches(WatchOrder::Path, 3);
        assert_eq!((by_path.connections, by_path.paths, by_path.watches), (2, 3, 5));
        assert_eq!(by_path.rows, [(one, path("/a")), (two, path("/a")), (one, path("/b"))]);
        let by_session = replica.list_watches(WatchOrder::Session, 3);
        assert_eq!(by_session.rows, [(one, path("/a")), (one, path("/b")), (two, path("/a"))]);
        assert_eq!(replica.list_watches(WatchOrder::Path, 0).rows, []);
    }
}
