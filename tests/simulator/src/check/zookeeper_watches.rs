//! Watches of ZooKeeper clients (ZooKeeper programmer's guide, "ZooKeeper Watches"; `DataTree.setWatches`):
//! each change of what is watched is told before any reply that is as new, with the right event, once
//! by a one-shot watch and in order, always, by a persistent one; a one-shot watch set again after a
//! lost connection tells at once what it has missed.
//!
//! Comes in: the log, what each client sent and heard. Invariant: what a connection watches is known
//! from the replies that its client heard. Missed and nobody's fault, by ZooKeeper's own rules: events
//! of persistent watches while there was no connection, and a znode that came and went meanwhile.

use super::watches::{Surety, Watcher};
use crate::history::{History, OperationId};
use crate::model::Model;
use crate::observation::{Checker, Observation, Rest};
use crate::zookeeper::Awaited;
use quorate_types::request::{
    HeldWatch, RestoredKind, RestoredWatch, WatchEventKind, WatchMode, WatchPosition,
};
use quorate_types::{Operation, SessionId, ZnodePath, Zxid};
use quorate_wire::zookeeper::{EventKind, ServerMessage, WatcherEvent, ZooKeeperError};
use std::collections::BTreeMap;

type Told = (WatchEventKind, ZnodePath);

#[derive(Default)]
pub struct ZooKeeperWatches {
    model: Model,
    clients: BTreeMap<usize, Client>,
    judged: u64,
}

/// A client that is connected, or was.
#[derive(Default)]
struct Client {
    session: SessionId,
    watcher: Watcher,
    /// What it watched on the connection before, and was not told.
    before: Option<Watcher>,
    /// The request that sets its watches again, and what was told since it was sent.
    restoring: Option<(OperationId, Vec<Told>)>,
}

/// The kind of watch that a restored one is.
fn mode_of(kind: RestoredKind) -> WatchMode {
    match kind {
        RestoredKind::Data | RestoredKind::Absence => WatchMode::OneShotData,
        RestoredKind::Children => WatchMode::OneShotChildren,
        RestoredKind::Persistent => WatchMode::Persistent,
        RestoredKind::PersistentRecursive => WatchMode::PersistentRecursive,
    }
}

fn kind_of(event: &WatcherEvent<'_>) -> Option<WatchEventKind> {
    match event.kind {
        EventKind::Created => Some(WatchEventKind::Created),
        EventKind::Deleted => Some(WatchEventKind::Deleted),
        EventKind::DataChanged => Some(WatchEventKind::DataChanged),
        EventKind::ChildrenChanged => Some(WatchEventKind::ChildrenChanged),
        _ => None,
    }
}

/// The watch that a reply leaves, as the programmer's guide has it: a znode that is not there can be
/// watched by `exists` alone. Of children that are more than a server lists, for which ZooKeeper has no
/// limit, the client is told an error, and their watch may stand.
fn left_by(
    operation: &Operation,
    message: &ServerMessage<'_>,
) -> Option<(ZnodePath, WatchMode, Surety)> {
    let error = match message {
        ServerMessage::Reply { .. } => ZooKeeperError::Ok,
        ServerMessage::Refused(header) => header.error,
        ServerMessage::Notification { .. } => return None,
    };
    match (operation, error) {
        (Operation::Get { path, watch: true }, ZooKeeperError::Ok)
        | (Operation::Exists { path, watch: true }, ZooKeeperError::Ok | ZooKeeperError::NoNode) => {
            Some((path.clone(), WatchMode::OneShotData, Surety::Yes))
        }
        (Operation::Children { path, watch: true, .. }, ZooKeeperError::Ok) => {
            Some((path.clone(), WatchMode::OneShotChildren, Surety::Yes))
        }
        (Operation::Children { path, watch: true, .. }, ZooKeeperError::SystemError) => {
            Some((path.clone(), WatchMode::OneShotChildren, Surety::Perhaps))
        }
        (Operation::AddWatch { path, mode, .. }, ZooKeeperError::Ok) => {
            Some((path.clone(), *mode, Surety::Yes))
        }
        _ => None,
    }
}

impl Client {
    /// The same client over another connection, where nothing is watched yet.
    fn reconnect(self, session: SessionId) -> Client {
        if self.session != session {
            return Client { session, watcher: Watcher::of(session), ..Client::default() };
        }
        // Watches that were never set again are still those of the connection before.
        let before = match self.restoring {
            Some(_) => self.before,
            None => Some(self.watcher),
        };
        let watcher = Watcher::of(session);
        Client { session, watcher, before, restoring: None }
    }

    fn leave(&mut self, path: ZnodePath, mode: WatchMode, surety: Surety) {
        self.watcher.leave(&HeldWatch { path, mode, values: false }, surety);
    }

    fn on_notified(&mut self, history: &History, zxid: Zxid, told: Told) -> Result<(), String> {
        match &mut self.restoring {
            Some((_, restored)) => {
                restored.push(told);
                Ok(())
            }
            None => self.watcher.hear_in(history, zxid, told),
        }
    }

    /// The watches stand again: what had happened to them was told just before.
    fn on_restored(
        &mut self,
        history: &History,
        (model, zxid): (&Model, Zxid),
        (watches, since): (&[RestoredWatch], Zxid),
    ) -> Result<(), String> {
        let Some((_, told)) = self.restoring.take() else {
            return Err(String::from("nothing was to be restored"));
        };
        let mut expected = Vec::new();
        for watch in watches {
            match missed(model, watch, (since, zxid)) {
                Some(kind) => expected.push((kind, watch.path.clone())),
                None => self.leave(watch.path.clone(), mode_of(watch.kind), Surety::Yes),
            }
        }
        self.watcher.begin_at(zxid);
        if told != expected {
            return Err(format!(
                "watches set again since {since} told {told:?}; by the tree of {zxid} it is {expected:?}"
            ));
        }
        let Some(mut before) = self.before.take() else { return Ok(()) };
        before.reach(history, WatchPosition::from(zxid));
        let is_missed = |watch: &&RestoredWatch| {
            let lasting = [RestoredKind::Persistent, RestoredKind::PersistentRecursive];
            let may_be = watch.kind == RestoredKind::Absence || lasting.contains(&watch.kind);
            !may_be
                && before.owed(&watch.path, mode_of(watch.kind)).is_some()
                && !tells(&told, &watch.path)
        };
        match watches.iter().find(is_missed) {
            None => Ok(()),
            Some(watch) => Err(format!(
                "{watch:?}, set again since {since}, was told nothing of {:?}",
                before.owed(&watch.path, mode_of(watch.kind))
            )),
        }
    }
}

fn tells(told: &[Told], path: &ZnodePath) -> bool {
    told.iter().any(|(_, changed)| changed == path)
}

/// What `setWatches` tells of a watch by the tree of `zxid`, if anything has happened since.
fn missed(
    model: &Model,
    watch: &RestoredWatch,
    (since, zxid): (Zxid, Zxid),
) -> Option<WatchEventKind> {
    let znode = model.znode(&watch.path, zxid);
    match (watch.kind, znode) {
        (RestoredKind::Data | RestoredKind::Children, None) => Some(WatchEventKind::Deleted),
        (RestoredKind::Data, Some(znode)) => {
            (znode.set.zxid > since).then_some(WatchEventKind::DataChanged)
        }
        (RestoredKind::Children, Some(znode)) => {
            (znode.children_changed > since).then_some(WatchEventKind::ChildrenChanged)
        }
        (RestoredKind::Absence, found) => found.map(|_| WatchEventKind::Created),
        (RestoredKind::Persistent | RestoredKind::PersistentRecursive, _) => None,
    }
}

impl ZooKeeperWatches {
    fn on_connected(&mut self, client: usize, session: SessionId) {
        let known = self.clients.remove(&client).unwrap_or_default();
        self.clients.insert(client, known.reconnect(session));
    }

    fn on_sent(&mut self, history: &History, id: OperationId) {
        let asked = history.operation(id);
        let restores = matches!(asked.operation, Operation::RestoreWatches { .. });
        if let Some(client) = self.clients.get_mut(&asked.client).filter(|_| restores) {
            client.restoring = Some((id, Vec::new()));
        }
    }

    fn on_heard(
        &mut self,
        history: &History,
        client: usize,
        awaited: Option<Awaited>,
        message: &ServerMessage<'_>,
    ) -> Result<(), String> {
        let Some(known) = self.clients.get_mut(&client) else { return Ok(()) };
        let zxid_of = |zxid: i64| Zxid(u64::try_from(zxid).unwrap_or(0));
        let zxid = match message {
            ServerMessage::Notification { header, event } => {
                self.judged += 1;
                let path = ZnodePath::parse(event.path).ok();
                let Some(told) = kind_of(event).zip(path) else {
                    return Err(format!("a watch told {event:?}"));
                };
                return known.on_notified(history, zxid_of(header.zxid), told);
            }
            ServerMessage::Refused(header) | ServerMessage::Reply { header, .. } => header.zxid,
        };
        // The answer to a ping shows nothing.
        let Some(awaited) = awaited else { return Ok(()) };
        let zxid = zxid_of(zxid);
        let operation = &history.operation(awaited.id).operation;
        match (operation, message) {
            (Operation::RestoreWatches { watches, since }, ServerMessage::Reply { .. }) => {
                self.judged += 1;
                known.on_restored(history, (&self.model, zxid), (watches, *since))
            }
            _ => {
                known.watcher.see(history, zxid, &format!("{message:?}"))?;
                if let Some((path, mode, surety)) = left_by(operation, message) {
                    known.leave(path, mode, surety);
                }
                Ok(())
            }
        }
    }
}

impl Checker for ZooKeeperWatches {
    fn name(&self) -> &'static str {
        "zookeeper_watches"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.model.follow(history, entry),
            Observation::ZooKeeperConnected { client, session, .. } => {
                self.on_connected(*client, *session);
                Ok(())
            }
            Observation::ZooKeeperSent { id, .. } => {
                self.on_sent(history, *id);
                Ok(())
            }
            Observation::ZooKeeperHeard { client, awaited, message, session, .. } => self
                .on_heard(history, *client, *awaited, message)
                .map_err(|complaint| format!("client {client}, session {session}: {complaint}")),
            Observation::SessionLost { client, .. }
            | Observation::SessionClosed { client, .. }
            | Observation::ClientDied { client, .. } => {
                self.clients.remove(client);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Long after the last change: what is still due was missed.
    fn finish(&mut self, history: &History, _rest: &Rest<'_>) -> Result<(), String> {
        for client in self.clients.values_mut().filter(|client| client.restoring.is_none()) {
            client.watcher.see(history, history.newest(), "the end")?;
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
    use crate::check::told::{SESSION, Told as Run, requested};
    use crate::work::path;
    use crate::zookeeper::FIRST_ZOOKEEPER_CLIENT;
    use quorate_machine::{AclSource, Change, ZnodeKind};
    use quorate_types::request::{CreateMode, ReadLevel};
    use quorate_types::{Reply, Stat, ZnodeData};
    use quorate_wire::zookeeper::{Opcode, Reply as WireReply, ReplyHeader, WatcherState, xid};

    const CLIENT: usize = FIRST_ZOOKEEPER_CLIENT;

    type Watched = Run<ZooKeeperWatches>;

    fn connect(run: &mut Watched) {
        let (client, connection, session) = (CLIENT, 1, SESSION);
        let connected = Observation::ZooKeeperConnected { client, connection, session };
        run.observe(&connected).unwrap();
    }

    /// Entry 2 creates `/a`, and the client has left a watch of its data there.
    fn watching() -> Watched {
        let mut run = Watched::with_session();
        connect(&mut run);
        let (data, mode) = (ZnodeData::EMPTY, CreateMode::Persistent);
        let create = Operation::Create { path: path("/a"), data: data.clone(), mode, acl: None };
        run.ask(1, create, ReadLevel::Local);
        let (acl, kind) = (AclSource::Open, ZnodeKind::Persistent);
        let zxid = Zxid(2);
        let stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ..Stat::default() };
        let change = Change::CreateZnode { path: path("/a"), data, acl, kind };
        let reply = Some(Ok(Reply::Created(path("/a"), stat)));
        run.commit_with_reply(requested(1), vec![change], reply).unwrap();
        let get = Operation::Get { path: path("/a"), watch: true };
        answer(&mut run, 2, get, 2).unwrap();
        run
    }

    /// The next entry sets `/a`.
    fn set(run: &mut Watched, sequence: u64, version: i32) {
        let (at, data, expected_version) = (path("/a"), ZnodeData::from("x"), None);
        let set = Operation::SetData { path: at.clone(), data: data.clone(), expected_version };
        run.ask(sequence, set, ReadLevel::Local);
        let (zxid, created) = (run.history.newest().next(), Zxid(2));
        let stat = Stat {
            czxid: created,
            mzxid: zxid,
            pzxid: created,
            version,
            data_length: 1,
            ..Stat::default()
        };
        let change = Change::SetData { path: at, data, version };
        run.commit_with_reply(requested(sequence), vec![change], Some(Ok(Reply::Stat(stat))))
            .unwrap();
    }

    fn hear(
        run: &mut Watched,
        awaited: Option<Awaited>,
        message: &ServerMessage<'_>,
    ) -> Result<(), String> {
        let (client, connection, session) = (CLIENT, 1, SESSION);
        run.observe(&Observation::ZooKeeperHeard { client, connection, session, awaited, message })
    }

    fn answer(
        run: &mut Watched,
        sequence: u64,
        operation: Operation,
        zxid: i64,
    ) -> Result<(), String> {
        let id = run.ask(sequence, operation, ReadLevel::Local);
        run.history.operations[id.0].client = CLIENT;
        run.observe(&Observation::ZooKeeperSent { id, connection: 1 }).unwrap();
        reply(run, id, zxid)
    }

    fn reply(run: &mut Watched, id: OperationId, zxid: i64) -> Result<(), String> {
        let header = ReplyHeader { xid: 1, zxid, error: ZooKeeperError::Ok };
        let awaited = Some(Awaited { xid: 1, opcode: Opcode::GetData, id });
        hear(run, awaited, &ServerMessage::Reply { header, reply: WireReply::Empty })
    }

    fn notify(run: &mut Watched, zxid: i64, kind: EventKind) -> Result<(), String> {
        let header = ReplyHeader { xid: xid::NOTIFICATION, zxid, error: ZooKeeperError::Ok };
        let event = WatcherEvent { kind, state: WatcherState::SyncConnected, path: "/a" };
        hear(run, None, &ServerMessage::Notification { header, event })
    }

    #[test]
    fn a_change_is_told_once_and_before_a_reply_that_is_as_new() {
        let mut run = watching();
        set(&mut run, 3, 1);
        set(&mut run, 4, 2);
        notify(&mut run, 3, EventKind::DataChanged).unwrap();
        notify(&mut run, 4, EventKind::DataChanged).unwrap_err();
        let mut run = watching();
        set(&mut run, 3, 1);
        answer(&mut run, 5, Operation::Sync, 2).unwrap();
        answer(&mut run, 6, Operation::Sync, 3).unwrap_err();
        let mut run = watching();
        set(&mut run, 3, 1);
        notify(&mut run, 3, EventKind::Deleted).unwrap_err();
    }

    fn restore(run: &mut Watched, since: u64) -> OperationId {
        let watches = vec![RestoredWatch { path: path("/a"), kind: RestoredKind::Data }];
        let restoration = Operation::RestoreWatches { watches, since: Zxid(since) };
        let id = run.ask(9, restoration, ReadLevel::Local);
        run.history.operations[id.0].client = CLIENT;
        connect(run);
        run.observe(&Observation::ZooKeeperSent { id, connection: 1 }).unwrap();
        id
    }

    #[test]
    fn watches_set_again_tell_what_they_missed_and_then_what_comes() {
        let mut run = watching();
        set(&mut run, 3, 1);
        let id = restore(&mut run, 2);
        reply(&mut run, id, 3).unwrap_err();
        let mut run = watching();
        set(&mut run, 3, 1);
        let id = restore(&mut run, 2);
        notify(&mut run, 3, EventKind::DataChanged).unwrap();
        reply(&mut run, id, 3).unwrap();
        set(&mut run, 4, 2);
        notify(&mut run, 4, EventKind::DataChanged).unwrap_err();
        // The client believes that it has seen what it was not told.
        let mut run = watching();
        set(&mut run, 3, 1);
        let id = restore(&mut run, 3);
        reply(&mut run, id, 3).unwrap_err();
    }
}
