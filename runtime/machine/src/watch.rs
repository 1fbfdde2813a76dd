//! The watches of one server's connections, by ZooKeeper's rules.
//!
//! Comes in: registrations, and the znode events of applied transactions. Goes out: notifications
//! per watcher, in order: a child's own event before its parent's. Invariant: a one-shot watch
//! fires once; a watcher gets one event per change and znode however many watches it holds there;
//! who may not read a znode hears nothing of it (CVE-2024-23944). Not replicated.

use crate::acl;
use crate::applied::ZnodeEvent;
use crate::request::Identity;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::request::{HeldWatch, WatchEvent, WatchEventKind, WatchMode, WatchPosition};
use quorate_types::{AclEntry, ZnodePath, Zxid};

/// The kinds of watch that one watcher holds on one path, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modes(u8);

impl Modes {
    const DATA: Modes = Modes(1);
    const CHILDREN: Modes = Modes(2);
    const PERSISTENT: Modes = Modes(4);
    const RECURSIVE: Modes = Modes(8);
    /// No kind of its own: the persistent ones carry data.
    const VALUES: Modes = Modes(16);
    const KINDS: Modes = Modes(15);

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

    fn kinds(self) -> usize {
        (self.0 & Modes::KINDS.0).count_ones() as usize
    }
}

/// Who each watcher is; `None`: it is gone and is told nothing.
pub(crate) type IdentityOf<'a> = &'a dyn Fn(u64) -> Option<&'a Identity>;

/// One transaction's events on their way to the watchers.
struct Telling<'a> {
    zxid: Zxid,
    /// Only events after this.
    since: WatchPosition,
    identity_of: IdentityOf<'a>,
    notices: Vec<(u64, WatchEvent)>,
}

impl Telling<'_> {
    fn may_read(&self, watcher: u64, acl: Option<&[AclEntry]>) -> bool {
        (self.identity_of)(watcher).is_some_and(|identity| acl::may_read(acl, identity))
    }

    /// Watchers with whether they want the data.
    fn tell(&mut self, watchers: &BTreeMap<u64, bool>, notice: &WatchEvent) {
        for (watcher, values) in watchers {
            let data = notice.data.clone().filter(|_| *values);
            self.notices.push((*watcher, WatchEvent { data, ..notice.clone() }));
        }
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

    /// Leaves a watch. The same watch twice is one, with values if one of them has.
    pub fn add(&mut self, watcher: u64, watch: &HeldWatch) {
        let added = Modes::of(watch.mode);
        let modes = self.by_path.entry(watch.path.clone()).or_default();
        let modes = modes.entry(watcher).or_default();
        let persistent = added.has_any(Modes::PERSISTENT.with(Modes::RECURSIVE));
        if watch.values && persistent {
            *modes = modes.with(Modes::VALUES);
        }
        if modes.has_any(added) {
            return;
        }
        *modes = modes.with(added);
        self.count += 1;
        self.recursive_count += usize::from(watch.mode == WatchMode::PersistentRecursive);
        self.by_watcher.entry(watcher).or_default().insert(watch.path.clone());
    }

    /// Whether the watcher holds this watch.
    #[must_use]
    pub fn holds(&self, watcher: u64, path: &ZnodePath, mode: WatchMode) -> bool {
        self.count_on(watcher, path, Some(mode)) > 0
    }

    /// Whether the watcher holds any watch on a path.
    #[must_use]
    pub fn watches(&self, watcher: u64, path: &ZnodePath) -> bool {
        self.by_watcher.get(&watcher).is_some_and(|paths| paths.contains(path))
    }

    /// Takes back a watcher's watches on a path, of one kind or of all; how many there were.
    pub fn remove(&mut self, watcher: u64, path: &ZnodePath, mode: Option<WatchMode>) -> usize {
        self.take(watcher, path, mode.map_or(Modes(u8::MAX), Modes::of)).kinds()
    }

    /// How many watches a watcher holds on a path, of one kind or of all.
    #[must_use]
    pub fn count_on(&self, watcher: u64, path: &ZnodePath, mode: Option<WatchMode>) -> usize {
        let modes = self.by_path.get(path).and_then(|watchers| watchers.get(&watcher));
        let wanted = mode.map_or(Modes::KINDS, Modes::of);
        modes.map_or(0, |modes| Modes(modes.0 & wanted.0).kinds())
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

    /// Every watcher with each path that it watches, in the order of the watchers.
    pub fn by_watcher(&self) -> impl Iterator<Item = (u64, &ZnodePath)> {
        let all = self.by_watcher.iter();
        all.flat_map(|(watcher, paths)| paths.iter().map(|path| (*watcher, path)))
    }

    /// The same, in the order of the paths.
    pub fn by_path(&self) -> impl Iterator<Item = (u64, &ZnodePath)> {
        let all = self.by_path.iter();
        all.flat_map(|(path, watchers)| watchers.keys().map(move |watcher| (*watcher, path)))
    }

    /// Watchers that watch anything.
    #[must_use]
    pub fn watcher_count(&self) -> usize {
        self.by_watcher.len()
    }

    /// Paths that anybody watches.
    #[must_use]
    pub fn path_count(&self) -> usize {
        self.by_path.len()
    }

    /// Paths of each watcher, summed up.
    #[must_use]
    pub fn pair_count(&self) -> usize {
        self.by_watcher.values().map(BTreeSet::len).sum()
    }

    /// Watches of one watcher: paths, not kinds.
    #[must_use]
    pub fn count_of(&self, watcher: u64) -> usize {
        self.by_watcher.get(&watcher).map_or(0, BTreeSet::len)
    }

    /// The notifications that a transaction's events give, in the order they must be delivered.
    pub fn on_applied<'a>(
        &mut self,
        zxid: Zxid,
        events: &[ZnodeEvent],
        identity_of: &'a dyn Fn(u64) -> Option<&'a Identity>,
    ) -> Vec<(u64, WatchEvent)> {
        self.on_applied_after(WatchPosition::default(), zxid, events, identity_of)
    }

    /// As [`WatchTable::on_applied`], but events up to `since` fire nothing.
    pub(crate) fn on_applied_after<'a>(
        &mut self,
        since: WatchPosition,
        zxid: Zxid,
        events: &[ZnodeEvent],
        identity_of: IdentityOf<'a>,
    ) -> Vec<(u64, WatchEvent)> {
        let mut telling = Telling { zxid, since, identity_of, notices: Vec::new() };
        if self.count == 0 {
            return telling.notices;
        }
        for (place, event) in (0..).step_by(2).zip(events) {
            self.own_event(place, event, &mut telling);
            if event.kind != WatchEventKind::DataChanged {
                self.parent_event(place + 1, event, &mut telling);
            }
        }
        telling.notices
    }

    /// What watchers of the znode itself, and recursive watchers above it, are told.
    fn own_event(&mut self, place: u32, event: &ZnodeEvent, telling: &mut Telling<'_>) {
        let fired = match event.kind {
            WatchEventKind::Deleted => Modes::DATA.with(Modes::CHILDREN),
            _ => Modes::DATA,
        };
        let zxid = telling.zxid;
        if (WatchPosition { zxid, place }) <= telling.since {
            return;
        }
        let acl = event.acl.as_deref().map(Vec::as_slice);
        let mut watchers = self.fire(&event.path, fired, acl, telling);
        if self.recursive_count > 0 {
            let mut above = Some(event.path.clone());
            while let Some(path) = above {
                for (watcher, values) in self.holders(&path, Modes::RECURSIVE, acl, telling) {
                    *watchers.entry(watcher).or_default() |= values;
                }
                above = path.parent();
            }
        }
        let (kind, path, data) = (event.kind, event.path.clone(), event.data.clone());
        telling.tell(&watchers, &WatchEvent { kind, path, zxid, place, data });
    }

    /// What watchers of the parent's children are told.
    fn parent_event(&mut self, place: u32, event: &ZnodeEvent, telling: &mut Telling<'_>) {
        let Some(path) = event.path.parent() else { return };
        let zxid = telling.zxid;
        if (WatchPosition { zxid, place }) <= telling.since {
            return;
        }
        let acl = event.parent_acl.as_deref().map(Vec::as_slice);
        let watchers = self.fire(&path, Modes::CHILDREN, acl, telling);
        let kind = WatchEventKind::ChildrenChanged;
        telling.tell(&watchers, &WatchEvent { kind, path, zxid, place, data: None });
    }

    /// The watchers on a path that hold one of the one-shot kinds, which go, or a persistent watch.
    /// A watch of a watcher that may not read what has this ACL does not fire.
    fn fire(
        &mut self,
        path: &ZnodePath,
        one_shot: Modes,
        acl: Option<&[AclEntry]>,
        telling: &Telling<'_>,
    ) -> BTreeMap<u64, bool> {
        let watchers = self.holders(path, one_shot.with(Modes::PERSISTENT), acl, telling);
        for watcher in watchers.keys() {
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::OneShotWatchStays) {
                continue;
            }
            self.take(*watcher, path, one_shot);
        }
        watchers
    }

    /// Who holds one of these kinds on a path and may read it, and whether they want its data.
    fn holders(
        &self,
        path: &ZnodePath,
        modes: Modes,
        acl: Option<&[AclEntry]>,
        telling: &Telling<'_>,
    ) -> BTreeMap<u64, bool> {
        let held = self.by_path.get(path).into_iter().flatten();
        held.filter(|(watcher, held)| held.has_any(modes) && telling.may_read(**watcher, acl))
            .map(|(watcher, held)| (*watcher, held.has_any(Modes::VALUES)))
            .collect()
    }

    fn take(&mut self, watcher: u64, path: &ZnodePath, taken: Modes) -> Modes {
        let Some(watchers) = self.by_path.get_mut(path) else { return Modes::default() };
        let Some(modes) = watchers.get_mut(&watcher) else { return Modes::default() };
        let gone = Modes(modes.0 & taken.0);
        *modes = modes.without(taken);
        if !modes.has_any(Modes::PERSISTENT.with(Modes::RECURSIVE)) {
            *modes = modes.without(Modes::VALUES);
        }
        self.count -= gone.kinds();
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
        let data =
            (kind != WatchEventKind::Deleted).then(|| alloc::string::String::from(text).into());
        ZnodeEvent { path: path(text), kind, data, acl: None, parent_acl: None }
    }

    fn watch(text: &str, mode: WatchMode) -> HeldWatch {
        HeldWatch { path: path(text), mode, values: false }
    }

    fn told(
        table: &mut WatchTable,
        events: &[ZnodeEvent],
    ) -> Vec<(u64, WatchEventKind, ZnodePath)> {
        let anyone = Identity::default();
        let identity_of = |_| Some(&anyone);
        let notices = table.on_applied(Zxid(9), events, &identity_of);
        notices.into_iter().map(|(watcher, event)| (watcher, event.kind, event.path)).collect()
    }

    #[test]
    fn a_one_shot_watch_fires_once_even_when_left_twice() {
        let mut table = WatchTable::new();
        table.add(1, &watch("/a", WatchMode::OneShotData));
        table.add(1, &watch("/a", WatchMode::OneShotData));
        let changed = event(WatchEventKind::DataChanged, "/a");
        let first = told(&mut table, &[changed.clone(), changed.clone()]);
        assert_eq!(first, [(1, WatchEventKind::DataChanged, path("/a"))]);
        assert_eq!((table.count(), table.count_of(1)), (0, 0));
    }

    #[test]
    fn the_childs_own_event_comes_before_the_parents() {
        let mut table = WatchTable::new();
        table.add(1, &watch("/a", WatchMode::OneShotChildren));
        table.add(1, &watch("/a/b", WatchMode::OneShotData));
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
        table.add(1, &watch("/a", WatchMode::OneShotChildren));
        table.add(1, &watch("/a", WatchMode::OneShotData));
        let deleted = told(&mut table, &[event(WatchEventKind::Deleted, "/a")]);
        assert_eq!(deleted, [(1, WatchEventKind::Deleted, path("/a"))]);
        assert_eq!(table.count(), 0);
    }

    #[test]
    fn persistent_watches_stay_and_recursive_ones_hear_no_children_changed() {
        let mut table = WatchTable::new();
        table.add(1, &watch("/a", WatchMode::Persistent));
        table.add(2, &watch("/a", WatchMode::PersistentRecursive));
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
        assert_eq!(table.remove(2, &path("/a"), None), 1);
        assert_eq!(table.remove(2, &path("/a"), None), 0);
        table.remove_watcher(1);
        assert_eq!(table.count(), 0);
    }

    #[test]
    fn a_recursive_watch_on_the_root_hears_of_everything() {
        let mut table = WatchTable::new();
        table.add(3, &watch("/", WatchMode::PersistentRecursive));
        let created = told(&mut table, &[event(WatchEventKind::Created, "/x")]);
        assert_eq!(created, [(3, WatchEventKind::Created, path("/x"))]);
    }

    #[test]
    fn who_may_not_read_a_znode_hears_nothing_of_it_and_keeps_the_watch() {
        let reader = |name: &str| AclEntry {
            permissions: quorate_types::Permissions::READ,
            scheme: "x509".into(),
            id: name.into(),
        };
        let mut table = WatchTable::new();
        for watcher in [1, 2] {
            table.add(watcher, &watch("/", WatchMode::PersistentRecursive));
            table.add(watcher, &watch("/a", WatchMode::OneShotData));
            table.add(watcher, &watch("/a", WatchMode::OneShotChildren));
        }
        let (alice, bob) = (Identity::named("alice"), Identity::named("bob"));
        let identity_of = |watcher| Some(if watcher == 1 { &alice } else { &bob });
        let closed = ZnodeEvent {
            acl: Some(alloc::sync::Arc::new(alloc::vec![reader("alice")])),
            ..event(WatchEventKind::Created, "/a")
        };
        let child =
            ZnodeEvent { parent_acl: closed.acl.clone(), ..event(WatchEventKind::Created, "/a/b") };
        let notices = table.on_applied(Zxid(9), &[closed, child], &identity_of);
        let told: Vec<_> =
            notices.iter().map(|(watcher, event)| (*watcher, event.path.as_str())).collect();
        assert_eq!(told, [(1, "/a"), (1, "/a/b"), (2, "/a/b"), (1, "/a")]);
        assert!(table.holds(2, &path("/a"), WatchMode::OneShotData));
        assert!(table.holds(2, &path("/a"), WatchMode::OneShotChildren));
        assert!(!table.holds(1, &path("/a"), WatchMode::OneShotChildren));
    }

    #[test]
    fn data_goes_to_persistent_watches_that_asked_for_it() {
        let mut table = WatchTable::new();
        table.add(1, &HeldWatch { values: true, ..watch("/a", WatchMode::OneShotData) });
        table.add(2, &HeldWatch { values: true, ..watch("/", WatchMode::PersistentRecursive) });
        table.add(2, &watch("/a", WatchMode::Persistent));
        let anyone = Identity::default();
        let identity_of = |_| Some(&anyone);
        let created = event(WatchEventKind::Created, "/a");
        let notices = table.on_applied(Zxid(9), &[created], &identity_of);
        let data: Vec<_> =
            notices.into_iter().map(|(watcher, event)| (watcher, event.data)).collect();
        assert_eq!(data, [(1, None), (2, Some("/a".into()))]);
        table.remove_watcher(2);
        assert_eq!(table.count(), 0);
    }
}
