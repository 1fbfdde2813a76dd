//! What happened to znodes lately, so that a watch can go on where it broke off.
//!
//! Comes in: the events of applied transactions, in order. Goes out: what watches would have
//! reported since a point. Invariant: everything after the floor is here; what does not fit any
//! more goes oldest first and raises the floor. Not replicated: empty after a start from a
//! snapshot, whose zxid is then the floor.

use crate::applied::ZnodeEvent;
use crate::request::Identity;
use crate::watch::WatchTable;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use quorate_types::Zxid;
use quorate_types::limits::Limits;
use quorate_types::request::{HeldWatch, WatchEvent, WatchPosition};

/// What an event takes beside its path and data, in bytes.
const EVENT_BYTES: usize = 128;
/// The one watcher of a replay.
const WATCHER: u64 = 0;

/// What watches would have reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// In order.
    pub events: Vec<WatchEvent>,
    /// The watches that are still there after it.
    pub left: Vec<HeldWatch>,
}

/// The newest znode events of one server.
#[derive(Clone, Debug)]
pub struct WatchHistory {
    floor: Zxid,
    transactions: VecDeque<(Zxid, Vec<ZnodeEvent>)>,
    events: usize,
    bytes: usize,
}

impl WatchHistory {
    /// Nothing is known of what happened up to `floor`, and nothing has happened since.
    #[must_use]
    pub fn standing_on(floor: Zxid) -> WatchHistory {
        WatchHistory { floor, transactions: VecDeque::new(), events: 0, bytes: 0 }
    }

    /// The newest transaction whose events are not here.
    #[must_use]
    pub fn floor(&self) -> Zxid {
        self.floor
    }

    /// Remembers what a transaction did.
    ///
    /// # Panics
    /// When it does not come after everything remembered.
    pub fn record(&mut self, zxid: Zxid, events: Vec<ZnodeEvent>, limits: &Limits) {
        let newest = self.transactions.back().map_or(self.floor, |(newest, _)| *newest);
        assert!(zxid > newest, "transaction {zxid} comes after {newest}");
        if events.is_empty() {
            return;
        }
        self.events += events.len();
        self.bytes += bytes_of(&events);
        self.transactions.push_back((zxid, events));
        while self.events > limits.history_events_max as usize
            || self.bytes > limits.history_bytes_max as usize
        {
            let (oldest, events) = self.transactions.pop_front().expect("something is remembered");
            self.events -= events.len();
            self.bytes -= bytes_of(&events);
            self.floor = oldest;
        }
    }

    /// What these watches of one watcher would have reported after `since`; `None`: the history does
    /// not reach back that far.
    #[must_use]
    pub fn replay(
        &self,
        watches: &[HeldWatch],
        since: WatchPosition,
        identity: &Identity,
    ) -> Option<Replay> {
        if since < WatchPosition::from(self.floor) {
            return None;
        }
        let mut table = WatchTable::new();
        for watch in watches {
            table.add(WATCHER, watch);
        }
        let identity_of = |_| Some(identity);
        let first = self.transactions.partition_point(|(zxid, _)| *zxid < since.zxid);
        let mut events = Vec::new();
        for (zxid, happened) in self.transactions.range(first..) {
            let told = table.on_applied_after(since, *zxid, happened, &identity_of);
            events.extend(told.into_iter().map(|(_, event)| event));
        }
        let still = |watch: &&HeldWatch| table.holds(WATCHER, &watch.path, watch.mode);
        Some(Replay { events, left: watches.iter().filter(still).cloned().collect() })
    }
}

fn bytes_of(events: &[ZnodeEvent]) -> usize {
    let bytes = |event: &ZnodeEvent| {
        let data = event.data.as_ref().map_or(0, |data| data.len());
        event.path.as_str().len() + data + EVENT_BYTES
    };
    events.iter().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::ZnodePath;
    use quorate_types::request::{WatchEventKind, WatchMode};

    const LIMITS: Limits = Limits { history_events_max: 4, ..Limits::PRODUCTION };

    fn event(kind: WatchEventKind, path: &str) -> ZnodeEvent {
        let path = ZnodePath::parse(path).unwrap();
        ZnodeEvent { path, kind, data: None, acl: None, parent_acl: None }
    }

    fn watch(path: &str, mode: WatchMode) -> HeldWatch {
        HeldWatch { path: ZnodePath::parse(path).unwrap(), mode, values: false }
    }

    fn history() -> WatchHistory {
        let mut history = WatchHistory::standing_on(Zxid(10));
        history.record(Zxid(11), alloc::vec![event(WatchEventKind::Created, "/a")], &LIMITS);
        let both = [event(WatchEventKind::DataChanged, "/a"), event(WatchEventKind::Created, "/b")];
        history.record(Zxid(13), both.to_vec(), &LIMITS);
        history.record(Zxid(14), alloc::vec![event(WatchEventKind::Deleted, "/a")], &LIMITS);
        history
    }

    fn positions(replay: &Replay) -> Vec<(u64, u32)> {
        replay.events.iter().map(|event| (event.zxid.0, event.place)).collect()
    }

    #[test]
    fn everything_after_a_point_is_replayed_once_in_order() {
        let watches =
            [watch("/", WatchMode::PersistentRecursive), watch("/a", WatchMode::Persistent)];
        let identity = Identity::default();
        let replay = history().replay(&watches, Zxid(11).into(), &identity).unwrap();
        assert_eq!(positions(&replay), [(13, 0), (13, 2), (14, 0)]);
        assert_eq!(replay.left, watches);
        let within = WatchPosition { zxid: Zxid(13), place: 0 };
        let replay = history().replay(&watches, within, &identity).unwrap();
        assert_eq!(positions(&replay), [(13, 2), (14, 0)]);
    }

    #[test]
    fn a_one_shot_watch_fires_once_in_a_replay_and_is_gone() {
        let watches = [
            watch("/a", WatchMode::OneShotData),
            watch("/", WatchMode::OneShotChildren),
            watch("/c", WatchMode::OneShotData),
        ];
        let replay = history().replay(&watches, Zxid(10).into(), &Identity::default()).unwrap();
        assert_eq!(positions(&replay), [(11, 0), (11, 1)]);
        assert_eq!(replay.left, watches[2..]);
    }

    #[test]
    fn what_does_not_fit_any_more_is_a_gap() {
        let mut history = history();
        let watches = [watch("/", WatchMode::PersistentRecursive)];
        let identity = Identity::default();
        assert_eq!(history.replay(&watches, Zxid(9).into(), &identity), None);
        assert!(history.replay(&watches, Zxid(10).into(), &identity).is_some());
        history.record(Zxid(15), alloc::vec![event(WatchEventKind::Created, "/c")], &LIMITS);
        assert_eq!(history.floor(), Zxid(11));
        assert_eq!(history.replay(&watches, Zxid(10).into(), &identity), None);
        let within = WatchPosition { zxid: Zxid(11), place: 0 };
        assert_eq!(history.replay(&watches, within, &identity), None);
        let replay = history.replay(&watches, Zxid(11).into(), &identity).unwrap();
        assert_eq!(positions(&replay), [(13, 0), (13, 2), (14, 0), (15, 0)]);
    }

    #[test]
    fn a_transaction_larger_than_the_history_leaves_it_empty() {
        let limits = Limits { history_bytes_max: 10, ..LIMITS };
        let mut history = WatchHistory::standing_on(Zxid(0));
        history.record(Zxid(1), alloc::vec![event(WatchEventKind::Created, "/a")], &limits);
        assert_eq!(history.floor(), Zxid(1));
        let replay = history.replay(&[], Zxid(1).into(), &Identity::default()).unwrap();
        assert_eq!(replay.events, []);
    }
}
