//! Watches, from the application's side (ZooKeeper programmer's guide, "ZooKeeper Watches";
//! runtime/docs/native-protocol.md, "Watches"): every change on a watched znode is told once, in
//! order, before any answer that is as new, over any number of connections, unless a gap is said.
//!
//! Comes in: the committed log, replayed as znode events; when which watch was left and taken back;
//! what the application was told. Invariant: for each session `reached` is how far the log was held
//! against its watches, and `due` what followed from that and was not told yet. A watch whose caller
//! had gone when its answer came may stand or not: what it alone would tell is allowed, not due.

use crate::history::{CommittedEntry, History, OperationId};
use crate::observation::{Checker, Observation, Rest};
use crate::zookeeper::zookeeper_place;
use bytes::Bytes;
use quorate_machine::Change;
use quorate_types::request::{HeldWatch, WatchEvent, WatchEventKind, WatchMode, WatchPosition};
use quorate_types::{Operation, Outcome, Reply, SessionId, ZnodeData, ZnodePath, Zxid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How surely something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Surety {
    #[default]
    No,
    Perhaps,
    Yes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    stands: Surety,
    values: Surety,
}

/// An event that the application is to be told.
#[derive(Clone, Debug)]
struct Due {
    event: WatchEvent,
    surely: bool,
    /// Whether it carries the data, which is in `event` in any case.
    values: Surety,
}

/// What one client's session watches.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    session: SessionId,
    held: BTreeMap<(ZnodePath, WatchMode), Watch>,
    reached: WatchPosition,
    due: VecDeque<Due>,
    /// The connection that has not answered yet from where on it watches, and whether it was asked.
    resuming: Option<(u64, bool)>,
    /// Answers that came meanwhile, with what they show.
    early: Vec<(OperationId, Zxid)>,
    gaps: BTreeSet<(ZnodePath, WatchMode)>,
}

/// The events of an entry, each with its place. Those of parents stand between.
fn events_of(entry: &CommittedEntry) -> impl Iterator<Item = (u32, WatchEvent)> {
    let changes = entry.transaction.iter().flat_map(|transaction| &transaction.changes);
    let events = changes.filter_map(|change| match change {
        Change::CreateZnode { path, data, .. } => Some((WatchEventKind::Created, path, Some(data))),
        Change::SetData { path, data, .. } => Some((WatchEventKind::DataChanged, path, Some(data))),
        Change::DeleteZnode { path } => Some((WatchEventKind::Deleted, path, None)),
        _ => None,
    });
    let zxid = entry.zxid;
    (0..).step_by(2).zip(events).map(move |(place, (kind, path, data))| {
        let (path, data) = (path.clone(), data.map(ZnodeData::to_bytes));
        (place, WatchEvent { kind, path, zxid, place, data })
    })
}

impl Watcher {
    pub(super) fn of(session: SessionId) -> Watcher {
        Watcher { session, ..Watcher::default() }
    }

    /// Watches stand from this transaction on.
    pub(super) fn begin_at(&mut self, zxid: Zxid) {
        self.reached = zxid.into();
    }

    /// What the path's watch of this kind is owed.
    pub(super) fn owed(&self, path: &ZnodePath, mode: WatchMode) -> Option<&WatchEvent> {
        let children = mode == WatchMode::OneShotChildren;
        let is_about = |kind| match kind {
            WatchEventKind::Deleted => true,
            WatchEventKind::ChildrenChanged => children,
            WatchEventKind::Created | WatchEventKind::DataChanged => !children,
        };
        let found = self
            .due
            .iter()
            .find(|due| due.surely && due.event.path == *path && is_about(due.event.kind));
        found.map(|due| &due.event)
    }

    pub(super) fn leave(&mut self, watch: &HeldWatch, surety: Surety) {
        let known = self.held.entry((watch.path.clone(), watch.mode)).or_default();
        known.stands = known.stands.max(surety);
        if watch.values {
            known.values = known.values.max(surety);
        }
    }

    fn surety(&self, path: &ZnodePath, mode: WatchMode) -> Watch {
        self.held.get(&(path.clone(), mode)).copied().unwrap_or_default()
    }

    /// Whether what watches on this path tell carries data: if one of the lasting ones there asked for
    /// it, as a server keeps that once for each path (runtime/machine/src/watch.rs).
    fn values(&self, path: &ZnodePath) -> Surety {
        let own = self.surety(path, WatchMode::Persistent).values;
        own.max(self.surety(path, WatchMode::PersistentRecursive).values)
    }

    /// Holds the log against the watches up to a point.
    pub(super) fn reach(&mut self, history: &History, to: WatchPosition) {
        if to <= self.reached {
            return;
        }
        let first = usize::try_from(self.reached.zxid.0).unwrap_or(usize::MAX).saturating_sub(1);
        let entries = history.entries.get(first..).unwrap_or_default();
        for entry in entries.iter().take_while(|entry| entry.zxid <= to.zxid) {
            if self.held.is_empty() {
                break;
            }
            for (_, event) in events_of(entry) {
                self.meet(event, to);
            }
        }
        self.reached = to;
    }

    /// A change, and what it means for the parent.
    fn meet(&mut self, event: WatchEvent, to: WatchPosition) {
        let within = |position: WatchPosition, reached| reached < position && position <= to;
        if within(event.position(), self.reached) {
            self.meet_own(&event);
        }
        let parent = event.path.parent().filter(|_| event.kind != WatchEventKind::DataChanged);
        let Some(path) = parent else { return };
        let kind = WatchEventKind::ChildrenChanged;
        let notice = WatchEvent { kind, path, place: event.place + 1, data: None, ..event };
        if within(notice.position(), self.reached) {
            let stands = self.fire(&notice.path, &[WatchMode::OneShotChildren]).stands;
            self.owe(notice, Watch { stands, values: Surety::No });
        }
    }

    fn meet_own(&mut self, event: &WatchEvent) {
        let one_shot: &[WatchMode] = match event.kind {
            WatchEventKind::Deleted => &[WatchMode::OneShotData, WatchMode::OneShotChildren],
            _ => &[WatchMode::OneShotData],
        };
        let mut found = self.fire(&event.path, one_shot);
        let mut above = Some(event.path.clone());
        while let Some(path) = above {
            let recursive = self.surety(&path, WatchMode::PersistentRecursive);
            if recursive.stands > Surety::No {
                found.stands = found.stands.max(recursive.stands);
                found.values = found.values.max(self.values(&path));
            }
            above = path.parent();
        }
        self.owe(event.clone(), found);
    }

    /// What the watches on the znode itself make of a change; the one-shot ones among them go.
    fn fire(&mut self, path: &ZnodePath, one_shot: &[WatchMode]) -> Watch {
        let Watch { stands, .. } = self.surety(path, WatchMode::Persistent);
        let mut found = Watch { stands, values: self.values(path) };
        for mode in one_shot {
            let gone = self.held.remove(&(path.clone(), *mode));
            found.stands = found.stands.max(gone.unwrap_or_default().stands);
        }
        found
    }

    fn owe(&mut self, event: WatchEvent, found: Watch) {
        if found.stands > Surety::No {
            let surely = found.stands == Surety::Yes;
            self.due.push_back(Due { event, surely, values: found.values });
        }
    }

    fn check_told(&self, because: &str) -> Result<(), String> {
        if let Some(due) = self.due.iter().find(|due| due.surely) {
            return Err(format!(
                "session {} was not told of {:?} at {}, before {because}",
                self.session,
                due.event,
                due.event.position()
            ));
        }
        match self.gaps.first() {
            Some((path, mode)) => Err(format!(
                "session {} was not told that its {mode:?} watch on {path} has a gap, before \
                 {because}",
                self.session
            )),
            None => Ok(()),
        }
    }

    /// The application is told of a change.
    fn hear(&mut self, history: &History, event: &WatchEvent) -> Result<(), String> {
        let position = event.position();
        if self.resuming.is_none() {
            self.reach(history, position);
        }
        while let Some(due) = self.due.pop_front() {
            if due.event.position() == position {
                return self.check_event(&due, event);
            }
            if due.surely || due.event.position() > position {
                return Err(format!(
                    "session {} was told of {event:?} at {position}, {} is due",
                    self.session,
                    due.event.position()
                ));
            }
        }
        let happened = history.entry(event.zxid).map(|entry| entry.transaction.clone());
        Err(format!(
            "session {} was told of {event:?} at {position}, and nothing is due; the log has \
             {happened:?}, it watches {:?}",
            self.session, self.held
        ))
    }

    /// As [`Watcher::hear`], of a protocol whose events name their transaction and no place in it.
    pub(super) fn hear_in(
        &mut self,
        history: &History,
        zxid: Zxid,
        told: (WatchEventKind, ZnodePath),
    ) -> Result<(), String> {
        self.reach(history, zxid.into());
        let is_told =
            |event: &WatchEvent| (event.zxid, event.kind, &event.path) == (zxid, told.0, &told.1);
        while let Some(due) = self.due.pop_front() {
            if is_told(&due.event) {
                return Ok(());
            }
            if due.surely {
                let event = due.event;
                return Err(format!("it was told {told:?} of {zxid}; {event:?} is due"));
            }
        }
        Err(format!(
            "it was told {told:?} of {zxid}; nothing is due; it watches {:?}",
            self.held.keys()
        ))
    }

    fn check_event(&self, due: &Due, told: &WatchEvent) -> Result<(), String> {
        let with_data = told.data.is_some();
        let data: Option<&Bytes> = due.event.data.as_ref().filter(|_| with_data);
        let right = match due.values {
            Surety::Yes => with_data == due.event.data.is_some(),
            Surety::Perhaps => true,
            Surety::No => !with_data,
        };
        let same = (told.kind, &told.path) == (due.event.kind, &due.event.path);
        if same && right && told.data.as_ref() == data {
            return Ok(());
        }
        Err(format!(
            "session {} was told {told:?}; by the log it is {:?}, with data: {:?}",
            self.session, due.event, due.values
        ))
    }

    /// A frame that leaves its server after every event up to this transaction.
    pub(super) fn see(&mut self, history: &History, zxid: Zxid, what: &str) -> Result<(), String> {
        if self.resuming.is_some() {
            return Ok(());
        }
        // What an earlier frame brought to light was told with it.
        self.check_told(what)?;
        self.reach(history, zxid.into());
        self.check_told(what)
    }

    /// A request leaves on a connection: the first one says what is watched.
    fn send(&mut self, operation: &Operation, connection: u64) -> Result<(), String> {
        let Some((awaited, asked)) = self.resuming.filter(|(known, _)| *known == connection) else {
            return Ok(());
        };
        let stand = |(_, watch): &(&(ZnodePath, WatchMode), &Watch)| watch.stands == Surety::Yes;
        match operation {
            Operation::ResumeWatches { watches, .. } => {
                self.resuming = Some((awaited, true));
                let named: BTreeMap<(ZnodePath, WatchMode), &HeldWatch> =
                    watches.iter().map(|watch| ((watch.path.clone(), watch.mode), watch)).collect();
                let missing =
                    self.held.iter().filter(stand).find(|(key, _)| !named.contains_key(key));
                if let Some((key, _)) = missing {
                    return Err(format!(
                        "session {} resumes its watches without {key:?}",
                        self.session
                    ));
                }
                if let Some(key) = named.keys().find(|key| !self.held.contains_key(key)) {
                    return Err(format!(
                        "session {} resumes {key:?}, which it has not",
                        self.session
                    ));
                }
                self.held.retain(|key, _| named.contains_key(key));
            }
            other if !asked => {
                if let Some((key, _)) = self.held.iter().find(stand) {
                    return Err(format!(
                        "session {} asks for {other:?} before it resumes {key:?}",
                        self.session
                    ));
                }
                self.held.clear();
                self.resuming = None;
            }
            other => {
                return Err(format!(
                    "session {} asks for {other:?} while its watches are resumed",
                    self.session
                ));
            }
        }
        Ok(())
    }

    /// The watches stand again, and what was missed is told next.
    fn resume(
        &mut self,
        history: &History,
        zxid: Zxid,
        (watches, gap): (&[HeldWatch], bool),
    ) -> Result<(), String> {
        self.resuming = None;
        let early = std::mem::take(&mut self.early);
        if gap {
            self.reached = WatchPosition::from(zxid).max(self.reached);
            self.gaps = watches.iter().map(|watch| (watch.path.clone(), watch.mode)).collect();
            return Ok(());
        }
        self.reach(history, zxid.into());
        for (id, shown) in early {
            if let Some(due) = self.due.iter().find(|due| due.surely && due.event.zxid <= shown) {
                return Err(format!(
                    "session {} was answered {:?} and then told of {:?}",
                    self.session,
                    history.operation(id),
                    due.event
                ));
            }
        }
        Ok(())
    }

    /// An answer leaves or takes back watches.
    fn answered(&mut self, operation: &Operation, surety: Surety) {
        let (path, mode, values) = match operation {
            Operation::Get { path, watch: true } | Operation::Exists { path, watch: true } => {
                (path, WatchMode::OneShotData, false)
            }
            Operation::Children { path, watch: true, .. } => {
                (path, WatchMode::OneShotChildren, false)
            }
            Operation::AddWatch { path, mode, values, .. } => {
                let one_shot = matches!(mode, WatchMode::OneShotData | WatchMode::OneShotChildren);
                (path, *mode, *values && !one_shot)
            }
            Operation::RemoveWatches { path, mode } => {
                let goes = |held: &WatchMode| mode.is_none_or(|mode| mode == *held);
                self.held.retain(|(held, mode), _| held != path || !goes(mode));
                return;
            }
            _ => return,
        };
        self.leave(&HeldWatch { path: path.clone(), mode, values }, surety);
    }
}

#[derive(Default)]
pub struct Watches {
    watchers: BTreeMap<usize, Watcher>,
    judged: u64,
}

impl Watches {
    fn connect(&mut self, client: usize, session: SessionId, connection: u64) {
        let known = self.watchers.remove(&client).filter(|known| known.session == session);
        let resuming = known.as_ref().filter(|known| !known.held.is_empty());
        let resuming = resuming.map(|_| (connection, false));
        let watcher = known.unwrap_or(Watcher { session, ..Watcher::default() });
        self.watchers.insert(client, Watcher { resuming, early: Vec::new(), ..watcher });
    }

    fn see_answer(
        &mut self,
        history: &History,
        (client, sequence): (usize, u64),
        zxid: Zxid,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let Some(watcher) = self.watchers.get_mut(&client) else { return Ok(()) };
        let id = history.by_request.get(&(watcher.session, sequence)).copied();
        let asked = id.map(|id| history.operation(id));
        if let (Some(Operation::ResumeWatches { watches, .. }), Ok(Reply::Watching { gap, .. })) =
            (asked.map(|asked| &asked.operation), outcome)
        {
            return watcher.resume(history, zxid, (watches, *gap));
        }
        watcher.see(history, zxid, &format!("the answer to request {sequence} at {zxid}"))?;
        if let Some(asked) = asked.filter(|_| outcome.is_ok()) {
            let waits = asked.ended.is_none() && !asked.abandoned;
            watcher.answered(&asked.operation, if waits { Surety::Yes } else { Surety::Perhaps });
        }
        Ok(())
    }

    /// The application sees a state: it knows of every change up to it.
    fn judge_told(&mut self, history: &History, id: OperationId) -> Result<(), String> {
        let asked = history.operation(id);
        let (Some(watcher), Some(ending)) = (self.watchers.get_mut(&asked.client), &asked.ended)
        else {
            return Ok(());
        };
        let own = asked.request.is_some_and(|(session, _)| session == watcher.session);
        let Some(zxid) = ending.zxid.filter(|_| own && ending.outcome().is_some()) else {
            return Ok(());
        };
        self.judged += 1;
        if watcher.resuming.is_some() {
            watcher.early.push((id, zxid));
            return Ok(());
        }
        match watcher.due.iter().find(|due| due.surely && due.event.zxid <= zxid) {
            None => Ok(()),
            Some(due) => Err(format!(
                "session {} was told {:?} at {zxid}, not {:?} before",
                watcher.session, ending.result, due.event
            )),
        }
    }

    fn hear_gap(&mut self, client: usize, path: &ZnodePath, mode: WatchMode) -> Result<(), String> {
        self.judged += 1;
        let watcher = self.watchers.get_mut(&client);
        if watcher.is_some_and(|watcher| watcher.gaps.remove(&(path.clone(), mode))) {
            return Ok(());
        }
        Err(format!("client {client} was told of a gap in {mode:?} on {path} that no server said"))
    }

    fn observe_watcher(
        &mut self,
        history: &History,
        client: usize,
        what: &Observation<'_>,
    ) -> Result<(), String> {
        let Some(watcher) = self.watchers.get_mut(&client) else { return Ok(()) };
        match what {
            Observation::HeartbeatSeen { zxid, .. } => {
                watcher.see(history, *zxid, &format!("a heartbeat at {zxid}"))
            }
            Observation::Sent { id, connection } => {
                watcher.send(&history.operation(*id).operation, *connection)
            }
            Observation::Notified { event, .. } => {
                self.judged += 1;
                watcher.hear(history, event)
            }
            _ => Ok(()),
        }
    }
}

impl Checker for Watches {
    fn name(&self) -> &'static str {
        "watches"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            // Another checker knows by which rules those of ZooKeeper clients stand.
            Observation::Connected { client, .. } if zookeeper_place(*client).is_some() => Ok(()),
            Observation::Connected { client, session, connection, .. } => {
                self.connect(*client, *session, *connection);
                Ok(())
            }
            Observation::AnswerSeen { client, sequence, zxid, outcome, .. } => {
                self.see_answer(history, (*client, *sequence), *zxid, outcome)
            }
            Observation::Ended { id } => self.judge_told(history, *id),
            Observation::GapSeen { client, path, mode, .. } => self.hear_gap(*client, path, *mode),
            Observation::HeartbeatSeen { client, .. } | Observation::Notified { client, .. } => {
                self.observe_watcher(history, *client, what)
            }
            Observation::Sent { id, .. } => {
                self.observe_watcher(history, history.operation(*id).client, what)
            }
            Observation::SessionLost { client, .. }
            | Observation::SessionClosed { client, .. }
            | Observation::ClientDied { client, .. } => {
                self.watchers.remove(client);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Every client was answered after everything had healed: what is still due was missed.
    fn finish(&mut self, _history: &History, _rest: &Rest<'_>) -> Result<(), String> {
        for watcher in self.watchers.values().filter(|watcher| watcher.resuming.is_none()) {
            watcher.check_told("the end")?;
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::told::committed;
    use crate::work::path;
    use quorate_machine::{Origin, Transaction};

    /// `/a` is set in each of so many entries.
    fn history(entries: u64) -> History {
        let mut history = History::default();
        for number in 1..=entries {
            let (data, version) = ("x".into(), 0);
            let changes = vec![Change::SetData { path: path("/a"), data, version }];
            let origin = Origin::Leader;
            let transaction = Transaction { time_ms: 0, origin, changes, reply: None, call: None };
            let transaction = Some(transaction);
            history.entries.push(CommittedEntry { transaction, ..committed(Zxid(number), 1) });
        }
        history
    }

    fn watcher(mode: WatchMode) -> Watcher {
        let mut watcher = Watcher::default();
        let watch = HeldWatch { path: path("/a"), mode, values: false };
        watcher.leave(&watch, Surety::Yes);
        watcher
    }

    fn told(zxid: u64) -> WatchEvent {
        let kind = WatchEventKind::DataChanged;
        WatchEvent { kind, path: path("/a"), zxid: Zxid(zxid), place: 0, data: None }
    }

    #[test]
    fn a_one_shot_watch_is_told_once() {
        let history = history(2);
        let mut watcher = watcher(WatchMode::OneShotData);
        watcher.hear(&history, &told(1)).unwrap();
        assert!(watcher.hear(&history, &told(2)).is_err());
    }

    #[test]
    fn a_lasting_watch_is_told_everything_once_in_order_before_what_shows_it() {
        let history = history(3);
        let mut whole = watcher(WatchMode::PersistentRecursive);
        whole.hear(&history, &told(1)).unwrap();
        whole.hear(&history, &told(2)).unwrap();
        assert!(whole.hear(&history, &told(2)).is_err());
        let mut skipped = watcher(WatchMode::Persistent);
        assert!(skipped.hear(&history, &told(2)).is_err());
        let mut late = watcher(WatchMode::Persistent);
        assert!(late.see(&history, Zxid(1), "an answer").is_err());
        let data = Some(Bytes::from("x"));
        let mut unwanted = watcher(WatchMode::Persistent);
        assert!(unwanted.hear(&history, &WatchEvent { data, ..told(1) }).is_err());
    }
}
