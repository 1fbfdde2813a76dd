//! The watches of one server's connections, by ZooKeeper's rules.
//!
//! Comes in: registrations, and the znode events of applied transactions. Goes out: notifications
//! per watcher, in order: a child's own event before its parent's. Invariant: a one-shot watch
//! fires once; a watcher gets one event per change and znode however many watches it holds there.
//! Not replicated.

use crate::applied::ZnodeEvent;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::request::{WatchEvent, WatchEventKind, WatchMode};
use quorate_types::{ZnodePath, Zxid};

/// The kinds of watch that one watcher holds on one path, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modes(u8);

impl Modes {
    const DATA: Modes = Modes(1);
    const CHILDREN: Modes = Modes(2);
    const PERSISTENT: Modes = Modes(4);
    const RECURSIVE: Modes = Modes(8);

    fn of(mode: WatchMode) -> Modes {
        match mode {
            WatchMode::OneShotData => Modes::DATA,
            WatchMode::OneShotChildren => Modes::CHILDREN,
            WatchMode::Persistent => Modes::PERSISTENT,
            WatchMode::PersistentRecursive => Modes::RECURSIVE,
        }
    }

    fn has_any(self, other: Modes) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Modes) -> Modes {
        Modes(self.0 | other.0)
    }

    fn without(self, other: Modes) -> Modes {
        Modes(self.0 & !other.0)
    }
}

/// The watches of one server's connections.
#[derive(Clone, Debug, Default)]
pub struct WatchTable {
    by_path: BTreeMap<ZnodePath, BTreeMap<u64, Modes>>,
    by_watcher: BTreeMap<u64, BTreeSet<ZnodePath>>,
    recursive_count: usize,
    count: usize,
}

impl WatchTable {
    /// No watches.
    #[must_use]
    pub fn new() -> WatchTable {
        WatchTable::default()
    }

    /// Leaves a watch. The same watch twice is one.
    pub fn add(&mut self, watcher: u64, path: ZnodePath, mode: WatchMode) {
        let added = Modes::of(mode);
        let modes = self.by_path.entry(path.clone()).or_default().entry(watcher).or_default();
        if modes.has_any(added) {
            return;
        }
        *modes = modes.with(added);
        self.count += 1;
        self.recursive_count += usize::from(mode == WatchMode::PersistentRecursive);
        self.by_watcher.entry(watcher).or_default().insert(path);
    }

    /// Takes back every watch of a watcher on a path; whether there was one.
    pub fn remove(&mut self, watcher: u64, path: &ZnodePath) -> bool {
        self.take(watcher, path, Modes(u8::MAX)).0 != 0
    }

    /// Takes back every watch of a watcher.
    pub fn remove_watcher(&mut self, watcher: u64) {
        for path in self.by_watcher.get(&watcher).cloned().unwrap_or_default() {
            self.take(watcher, &path, Modes(u8::MAX));
        }
    }

    /// Watches left, each kind on each path counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Watches of one watcher: paths, not kinds.
    #[must_use]
    pub fn count_of(&self, watcher: u64) -> usize {
        self.by_watcher.get(&watcher).map_or(0, BTreeSet::len)
    }

    /// The notifications that a transaction's events give, in the order they must be delivered.
    pub fn on_applied(&mut self, zxid: Zxid, events: &[ZnodeEvent]) -> Vec<(u64, WatchEvent)> {
        let mut notices = Vec::new();
        if self.count == 0 {
            return notices;
        }
        for event in events {
            self.own_event(zxid, event, &mut notices);
            if event.kind != WatchEventKind::DataChanged {
                self.parent_event(zxid, event, &mut notices);
            }
        }
        notices
    }

    /// What watchers of the znode itself, and recursive watchers above it, are told.
    fn own_event(&mut self, zxid: Zxid, event: &ZnodeEvent, out: &mut Vec<(u64, WatchEvent)>) {
        let fired = match event.kind {
            WatchEventKind::Deleted => Modes::DATA.with(Modes::CHILDREN),
            _ => Modes::DATA,
        };
        let mut watchers = self.fire(&event.path, fired);
        if self.recursive_count > 0 {
            let mut above = Some(event.path.clone());
            while let Some(path) = above {
                watchers.extend(self.holders(&path, Modes::RECURSIVE));
                above = path.parent();
            }
        }
        let notice = WatchEvent { kind: event.kind, path: event.path.clone(), zxid };
        out.extend(watchers.into_iter().map(|watcher| (watcher, notice.clone())));
    }

    /// What watchers of the parent's children are told.
    fn parent_event(&mut self, zxid: Zxid, event: &ZnodeEvent, out: &mut Vec<(u64, WatchEvent)>) {
        let Some(parent) = event.path.parent() else { return };
        let watchers = self.fire(&parent, Modes::CHILDREN);
        let notice = WatchEvent { kind: WatchEventKind::ChildrenChanged, path: parent, zxid };
        out.extend(watchers.into_iter().map(|watcher| (watcher, notice.clone())));
    }

    /// The watchers on a path that hold one of the one-shot kinds, which go, or a persistent watch.
    fn fire(&mut self, path: &ZnodePath, one_shot: Modes) -> BTreeSet<u64> {
        let watchers = self.holders(path, one_shot.with(Modes::PERSISTENT));
        for watcher in &watchers {
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::OneShotWatchStays) {
                continue;
            }
            self.take(*watcher, path, one_shot);
        }
        watchers
    }

    fn holders(&self, path: &ZnodePath, modes: Modes) -> BTreeSet<u64> {
        let held = self.by_path.get(path).into_iter().flatten();
        held.filter(|(_, held)| held.has_any(modes)).map(|(watcher, _)| *watcher).collect()
    }

    fn take(&mut self, watcher: u64, path: &ZnodePath, taken: Modes) -> Modes {
        let Some(watchers) = self.by_path.get_mut(path) else { return Modes::default() };
        let Some(modes) = watchers.get_mut(&watcher) else { return Modes::default() };
        let gone = Modes(modes.0 & taken.0);
        *modes = modes.without(taken);
        self.count -= gone.0.count_ones() as usize;
        self.recursive_count -= usize::from(gone.has_any(Modes::RECURSIVE));
        if modes.0 == 0 {
            watchers.remove(&watcher);
            if watchers.is_empty() {
                self.by_path.remove(path);
            }
            if let Some(paths) = self.by_watcher.get_mut(&watcher) {
                paths.remove(path);
                if paths.is_empty() {
                    self.by_watcher.remove(&watcher);
                }
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn event(kind: WatchEventKind, text: &str) -> ZnodeEvent {
        ZnodeEvent { path: path(text), kind }
    }

    fn told(
        table: &mut WatchTable,
        events: &[ZnodeEvent],
    ) -> Vec<(u64, WatchEventKind, ZnodePath)> {
        let notices = table.on_applied(Zxid(9), events);
        notices.into_iter().map(|(watcher, event)| (watcher, event.kind, event.path)).collect()
    }

    #[test]
    fn a_one_shot_watch_fires_once_even_when_left_twice() {
        let mut table = WatchTable::new();
        table.add(1, path("/a"), WatchMode::OneShotData);
        table.add(1, path("/a"), WatchMode::OneShotData);
        let changed = event(WatchEventKind::DataChanged, "/a");
        let first = told(&mut table, &[changed.clone(), changed.clone()]);
        assert_eq!(first, [(1, WatchEventKind::DataChanged, path("/a"))]);
        assert_eq!((table.count(), table.count_of(1)), (0, 0));
    }

    #[test]
    fn the_childs_own_event_comes_before_the_parents() {
        let mut table = WatchTable::new();
        table.add(1, path("/a"), WatchMode::OneShotChildren);
        table.add(1, path("/a/b"), WatchMode::OneShotData);
        let created = told(&mut table, &[event(WatchEventKind::Created, "/a/b")]);
        assert_eq!(
            created,
            [
                (1, WatchEventKind::Created, path("/a/b")),
                (1, WatchEventKind::ChildrenChanged, path("/a")),
            ]
        );
    }

    #[test]
    fn a_watcher_of_data_and_children_hears_of_a_deletion_once() {
        let mut table = WatchTable::new();
        table.add(1, path("/a"), WatchMode::OneShotChildren);
        table.add(1, path("/a"), WatchMode::OneShotData);
        let deleted = told(&mut table, &[event(WatchEventKind::Deleted, "/a")]);
        assert_eq!(deleted, [(1, WatchEventKind::Deleted, path("/a"))]);
        assert_eq!(table.count(), 0);
    }

    #[test]
    fn persistent_watches_stay_and_recursive_ones_hear_no_children_changed() {
        let mut table = WatchTable::new();
        table.add(1, path("/a"), WatchMode::Persistent);
        table.add(2, path("/a"), WatchMode::PersistentRecursive);
        for _ in 0..2 {
            let created = told(&mut table, &[event(WatchEventKind::Created, "/a/b")]);
            assert_eq!(
                created,
                [
                    (2, WatchEventKind::Created, path("/a/b")),
                    (1, WatchEventKind::ChildrenChanged, path("/a")),
                ]
            );
        }
        let set = told(&mut table, &[event(WatchEventKind::DataChanged, "/a/b/c")]);
        assert_eq!(set, [(2, WatchEventKind::DataChanged, path("/a/b/c"))]);
        assert!(table.remove(2, &path("/a")));
        assert!(!table.remove(2, &path("/a")));
        table.remove_watcher(1);
        assert_eq!(table.count(), 0);
    }

    #[test]
    fn a_recursive_watch_on_the_root_hears_of_everything() {
        let mut table = WatchTable::new();
        table.add(3, ZnodePath::root(), WatchMode::PersistentRecursive);
        let created = told(&mut table, &[event(WatchEventKind::Created, "/x")]);
        assert_eq!(created, [(3, WatchEventKind::Created, path("/x"))]);
    }
}
