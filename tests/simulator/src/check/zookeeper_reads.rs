//! What a ZooKeeper client reads is the tree as it was after the transaction that the reply names, and
//! after a `sync` that is not older than anything acknowledged to anybody before the `sync` was sent
//! (ZooKeeper programmer's guide, "Consistency Guarantees": single system image, timeliness; its note
//! on `sync`).
//!
//! Comes in: the log, what each client heard, what anybody was told was done. That it is not older than
//! what the session has seen, `zookeeper_replies` judges.

use crate::history::{History, OperationId};
use crate::model::{Model, is_tree_read};
use crate::observation::{Checker, Observation};
use crate::zookeeper::words::{Told, told};
use crate::zookeeper::{Awaited, zookeeper_place};
use quorate_types::limits::Limits;
use quorate_types::{Operation, Zxid};
use quorate_wire::zookeeper::{ServerMessage, ZooKeeperError};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct ZooKeeperReads {
    model: Model,
    /// The newest write that anybody was told was done.
    acknowledged: Zxid,
    /// What was acknowledged when each `sync` was sent.
    floors: BTreeMap<OperationId, Zxid>,
    /// What reads of a connection must show since its last `sync` was answered.
    synced: BTreeMap<u64, Zxid>,
    judged: u64,
}

impl ZooKeeperReads {
    fn on_heard(
        &mut self,
        history: &History,
        (connection, awaited): (u64, Awaited),
        message: &ServerMessage<'_>,
    ) -> Result<(), String> {
        let (header, heard) = match message {
            ServerMessage::Notification { .. } => return Ok(()),
            ServerMessage::Refused(header) => (*header, Told::Refused(header.error)),
            ServerMessage::Reply { header, reply } => (*header, Told::Reply(reply.clone())),
        };
        let zxid = Zxid(u64::try_from(header.zxid).unwrap_or(0));
        let operation = &history.operation(awaited.id).operation;
        let done = matches!(heard, Told::Reply(_));
        if operation.is_write() {
            self.acknowledged = self.acknowledged.max(if done { zxid } else { Zxid(0) });
            return Ok(());
        }
        self.judged += 1;
        if let Some(floor) = self.floors.remove(&awaited.id).filter(|_| done) {
            let synced = self.synced.entry(connection).or_default();
            *synced = floor.max(*synced);
        }
        let floor = self.synced.get(&connection).copied().unwrap_or_default();
        if zxid < floor {
            return Err(format!(
                "{operation:?} was answered {message:?} on connection {connection}, synced with {floor}"
            ));
        }
        if zxid > history.newest() {
            return Err(format!("{operation:?} was answered {message:?}: nobody has applied that"));
        }
        if !is_tree_read(operation) || is_limited(&heard) {
            return Ok(());
        }
        self.judge(operation, awaited, zxid, &heard)
    }

    fn judge(
        &self,
        operation: &Operation,
        awaited: Awaited,
        zxid: Zxid,
        heard: &Told<'_>,
    ) -> Result<(), String> {
        // A server's limit of names in one list is one of these two.
        for limits in [Limits::PRODUCTION, Limits::TESTED] {
            let expected = self.model.read(operation, zxid, limits.children_reply_max);
            let Some(expected) = expected else { return Ok(()) };
            let outcome = expected.as_ref().map_err(|denial| (denial.code, None));
            if *heard == told(operation, awaited.opcode, outcome) {
                return Ok(());
            }
        }
        let expected = self.model.read(operation, zxid, Limits::PRODUCTION.children_reply_max);
        Err(format!("{operation:?} was answered {heard:?} at {zxid}, where there is {expected:?}"))
    }
}

/// Watches, bytes or requests are more than the server takes: nothing was read.
fn is_limited(heard: &Told<'_>) -> bool {
    let limits = [ZooKeeperError::QuotaExceeded, ZooKeeperError::ThrottledOp];
    matches!(heard, Told::Refused(error) if limits.contains(error))
}

impl Checker for ZooKeeperReads {
    fn name(&self) -> &'static str {
        "zookeeper_reads"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.model.follow(history, entry),
            Observation::Ended { id } => {
                let asked = history.operation(*id);
                let native = zookeeper_place(asked.client).is_none();
                let ended = asked.ended.as_ref().filter(|ending| native && ending.result.is_ok());
                if let Some(zxid) = ended.and_then(|ending| ending.zxid)
                    && asked.operation.is_write()
                {
                    self.acknowledged = self.acknowledged.max(zxid);
                }
                Ok(())
            }
            Observation::ZooKeeperSent { id, .. } => {
                if history.operation(*id).operation == Operation::Sync {
                    self.floors.insert(*id, self.acknowledged);
                }
                Ok(())
            }
            Observation::ZooKeeperHeard { connection, awaited: Some(awaited), message, .. } => {
                self.on_heard(history, (*connection, *awaited), message)
            }
            Observation::Disconnected { connection, .. } => {
                self.synced.remove(connection);
                Ok(())
            }
            _ => Ok(()),
        }
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
    use quorate_wire::zookeeper::{Opcode, Reply as WireReply, ReplyHeader};

    type Reads = Run<ZooKeeperReads>;

    /// Entry 2 has created `/a`, and its writer knows.
    fn created() -> Reads {
        let mut run = Reads::with_session();
        let (path, data, mode) = (path("/a"), ZnodeData::EMPTY, CreateMode::Persistent);
        let create = Operation::Create { path: path.clone(), data: data.clone(), mode, acl: None };
        let id = run.ask(1, create, ReadLevel::Local);
        run.history.operations[id.0].client = FIRST_ZOOKEEPER_CLIENT;
        let (acl, kind) = (AclSource::Open, ZnodeKind::Persistent);
        let zxid = Zxid(2);
        let stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ..Stat::default() };
        let reply = Some(Ok(Reply::Created(path.clone(), stat)));
        let change = Change::CreateZnode { path, data, acl, kind };
        run.commit_with_reply(requested(1), vec![change], reply).unwrap();
        hear(&mut run, id, Opcode::Create, 2, WireReply::Path("/a")).unwrap();
        run
    }

    fn hear(
        run: &mut Reads,
        id: OperationId,
        opcode: Opcode,
        zxid: i64,
        reply: WireReply<'_>,
    ) -> Result<(), String> {
        let awaited = Some(Awaited { xid: 1, opcode, id });
        let header = ReplyHeader { xid: 1, zxid, error: ZooKeeperError::Ok };
        let message = &ServerMessage::Reply { header, reply };
        let (client, connection, session) = (FIRST_ZOOKEEPER_CLIENT, 1, SESSION);
        run.observe(&Observation::ZooKeeperHeard { client, connection, session, awaited, message })
    }

    #[test]
    fn a_read_shows_the_state_that_it_names() {
        let mut run = created();
        let children =
            Operation::Children { path: path("/"), after: None, limit: None, watch: false };
        let id = run.ask(2, children, ReadLevel::Local);
        let names = |names: &[&'static str]| WireReply::Children(names.to_vec());
        let mut told = |zxid, reply| hear(&mut run, id, Opcode::GetChildren, zxid, reply);
        told(2, names(&["a", "zookeeper"])).unwrap();
        told(1, names(&["zookeeper"])).unwrap();
        told(1, names(&["a", "zookeeper"])).unwrap_err();
        told(3, names(&["a", "zookeeper"])).unwrap_err();
    }

    #[test]
    fn after_a_sync_what_was_acknowledged_is_seen() {
        let mut run = created();
        let sync = run.ask(2, Operation::Sync, ReadLevel::Linearizable);
        run.observe(&Observation::ZooKeeperSent { id: sync, connection: 1 }).unwrap();
        hear(&mut run, sync, Opcode::Sync, 1, WireReply::Path("/")).unwrap_err();
        run.observe(&Observation::ZooKeeperSent { id: sync, connection: 1 }).unwrap();
        hear(&mut run, sync, Opcode::Sync, 2, WireReply::Path("/")).unwrap();
        let exists = Operation::Exists { path: path("/b"), watch: false };
        let id = run.ask(3, exists, ReadLevel::Local);
        let stat = WireReply::Stat(quorate_wire::zookeeper::Stat::default());
        hear(&mut run, id, Opcode::Exists, 1, stat).unwrap_err();
    }
}
