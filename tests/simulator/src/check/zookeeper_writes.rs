//! A write of a ZooKeeper client that is answered with a zxid is the transaction of that zxid, with the
//! effect that was asked for; one that is refused is none; one lost with its connection is done once or
//! never; those of a session are done in the order they were asked (ZooKeeper programmer's guide,
//! "Consistency Guarantees": sequential consistency, atomicity, reliability).
//!
//! Comes in: the log, what the replica answered, what the client heard. Invariant used: a request has
//! one place in the history from its sending on, whatever number a server gives it.

use crate::history::{CommittedEntry, History, OperationId};
use crate::observation::{Checker, Observation};
use crate::zookeeper::words::{Told, is_failed_multi, told};
use crate::zookeeper::{Awaited, zookeeper_place};
use quorate_machine::{Change, Origin, Transaction};
use quorate_types::request::{MultiOperation, MultiReply};
use quorate_types::{Operation, Outcome, Reply, SessionId, ZnodeData, ZnodePath, Zxid};
use quorate_wire::zookeeper::{ReplyHeader, ServerMessage};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct ZooKeeperWrites {
    done: BTreeMap<OperationId, Zxid>,
    /// The request of each session that was done last.
    last: BTreeMap<SessionId, OperationId>,
    /// Their clients were told that they were not done.
    refused: BTreeSet<OperationId>,
    /// What replicas have answered.
    answered: BTreeMap<OperationId, Outcome>,
    judged: u64,
}

/// What a write does to one znode.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Create(ZnodePath, ZnodeData),
    Set(ZnodePath, ZnodeData),
    Delete(ZnodePath),
}

/// What the transaction did to znodes.
fn effects_of(transaction: &Transaction) -> Vec<Effect> {
    let effect = |change: &Change| match change {
        Change::CreateZnode { path, data, .. } => Some(Effect::Create(path.clone(), data.clone())),
        Change::SetData { path, data, .. } => Some(Effect::Set(path.clone(), data.clone())),
        Change::DeleteZnode { path } => Some(Effect::Delete(path.clone())),
        _ => None,
    };
    transaction.changes.iter().filter_map(effect).collect()
}

/// What the request asks for, under the names that the answer gives; `None`: it does not say what.
fn effects_asked(operation: &Operation, reply: &Reply) -> Option<Vec<Effect>> {
    Some(match (operation, reply) {
        (Operation::Create { path, data, mode, .. }, Reply::Created(given, _)) => {
            vec![Effect::Create(named(path, mode.is_sequential(), given)?, data.clone())]
        }
        (Operation::SetData { path, data, .. }, _) => vec![Effect::Set(path.clone(), data.clone())],
        (Operation::Delete { path, .. }, _) => vec![Effect::Delete(path.clone())],
        (Operation::Multi { operations }, Reply::Multi(replies)) => {
            let parts = operations.iter().zip(replies);
            parts.filter_map(|(part, reply)| part_asked(part, reply)).collect()
        }
        _ => return None,
    })
}

fn part_asked(part: &MultiOperation, reply: &MultiReply) -> Option<Effect> {
    match (part, reply) {
        (MultiOperation::Create { path, data, mode, .. }, MultiReply::Created(given, _)) => {
            Some(Effect::Create(named(path, mode.is_sequential(), given)?, data.clone()))
        }
        (MultiOperation::SetData { path, data, .. }, _) => {
            Some(Effect::Set(path.clone(), data.clone()))
        }
        (MultiOperation::Delete { path, .. }, _) => Some(Effect::Delete(path.clone())),
        _ => None,
    }
}

/// The name given, if it may be given for the one asked for.
fn named(asked: &ZnodePath, is_sequential: bool, given: &ZnodePath) -> Option<ZnodePath> {
    let may_be = match is_sequential {
        true => {
            given.as_str().len() > asked.as_str().len()
                && given.as_str().starts_with(asked.as_str())
        }
        false => given == asked,
    };
    may_be.then(|| given.clone())
}

impl ZooKeeperWrites {
    fn on_committed(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        let Some(id) = history.origin(transaction) else { return Ok(()) };
        let asked = history.operation(id);
        let Origin::Session { session, .. } = transaction.origin else { return Ok(()) };
        if zookeeper_place(asked.client).is_none() {
            return Ok(());
        }
        self.judged += 1;
        let (zxid, operation) = (entry.zxid, &asked.operation);
        if let Some(first) = self.done.insert(id, zxid) {
            return Err(format!(
                "{operation:?} of session {session} is done at {first} and again at {zxid}"
            ));
        }
        let before = self.last.insert(session, id);
        if let Some(before) = before.filter(|before| *before > id) {
            return Err(format!(
                "{operation:?} of session {session} is done at {zxid}, after {:?}, which was asked later",
                history.operation(before).operation
            ));
        }
        if self.refused.contains(&id) && !matches!(transaction.reply, Some(Err(_))) {
            return Err(format!(
                "{operation:?} of session {session} was refused, and is done at {zxid}"
            ));
        }
        Ok(())
    }

    fn on_heard(
        &mut self,
        history: &History,
        awaited: Awaited,
        message: &ServerMessage<'_>,
    ) -> Result<(), String> {
        let operation = &history.operation(awaited.id).operation;
        if !operation.is_write() {
            return Ok(());
        }
        self.judged += 1;
        let judged = match message {
            ServerMessage::Reply { header, reply } if !is_failed_multi(reply) => {
                self.judge_done(history, awaited, *header, &Told::Reply(reply.clone()))
            }
            ServerMessage::Reply { reply, .. } => {
                self.judge_refused(history, awaited, &Told::Reply(reply.clone()))
            }
            ServerMessage::Refused(header) => {
                self.judge_refused(history, awaited, &Told::Refused(header.error))
            }
            ServerMessage::Notification { .. } => Ok(()),
        };
        judged.map_err(|complaint| format!("{operation:?} was answered {message:?}: {complaint}"))
    }

    fn judge_done(
        &self,
        history: &History,
        Awaited { id, opcode, .. }: Awaited,
        header: ReplyHeader,
        heard: &Told<'_>,
    ) -> Result<(), String> {
        let done = self.done.get(&id).copied();
        let zxid = Zxid(u64::try_from(header.zxid).unwrap_or(0));
        if done != Some(zxid) {
            return Err(format!("it is done at {done:?}"));
        }
        let entry = history.entry(zxid).and_then(|entry| entry.transaction.as_ref());
        let transaction = entry.ok_or("there is no such transaction")?;
        let Some(Ok(reply)) = &transaction.reply else {
            return Err(format!("the transaction refuses it: {:?}", transaction.reply));
        };
        let operation = &history.operation(id).operation;
        let expected = told(operation, opcode, Ok(reply));
        if *heard != expected {
            return Err(format!("it must be answered {expected:?}"));
        }
        let effects = effects_of(transaction);
        match effects_asked(operation, reply) {
            Some(asked) if asked != effects => Err(format!("it did {effects:?}")),
            Some(_) => Ok(()),
            None => self.judge_other(operation, transaction),
        }
    }

    /// The end of a session.
    fn judge_other(&self, operation: &Operation, transaction: &Transaction) -> Result<(), String> {
        let Origin::Session { session, .. } = transaction.origin else {
            return Err(String::from("it is nobody's"));
        };
        let closes = transaction.changes.contains(&Change::CloseSession { session });
        if closes && *operation == Operation::CloseSession {
            return Ok(());
        }
        Err(format!("it did {:?}", transaction.changes))
    }

    fn judge_refused(
        &mut self,
        history: &History,
        Awaited { id, opcode, .. }: Awaited,
        heard: &Told<'_>,
    ) -> Result<(), String> {
        self.refused.insert(id);
        if let Some(done) = self.done.get(&id) {
            let entry = history.entry(*done).and_then(|entry| entry.transaction.as_ref());
            if !entry.is_some_and(|transaction| matches!(transaction.reply, Some(Err(_)))) {
                return Err(format!("it is done at {done}"));
            }
        }
        // Why it is refused is judged where the replica says so.
        let Some(Err(refusal)) = self.answered.get(&id) else {
            return Err(format!("the replica answered {:?}", self.answered.get(&id)));
        };
        let denied = Err((refusal.code, refusal.failed_operation));
        let expected = told(&history.operation(id).operation, opcode, denied);
        if *heard == expected { Ok(()) } else { Err(format!("it must be answered {expected:?}")) }
    }
}

impl Checker for ZooKeeperWrites {
    fn name(&self) -> &'static str {
        "zookeeper_writes"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.on_committed(history, entry),
            Observation::ZooKeeperAnswered { id, outcome, .. } => {
                self.answered.insert(*id, (*outcome).clone());
                Ok(())
            }
            Observation::ZooKeeperHeard { awaited: Some(awaited), message, .. } => {
                self.on_heard(history, *awaited, message)
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
    use quorate_types::request::ReadLevel;
    use quorate_types::{ErrorCode, Refusal, Stat};
    use quorate_wire::zookeeper::{Opcode, Reply as WireReply, ZooKeeperError};

    type Writes = Run<ZooKeeperWrites>;

    fn ask(run: &mut Writes, sequence: u64) -> OperationId {
        let (path, data, expected_version) = (path("/a"), "x".into(), Some(-1));
        let set = Operation::SetData { path, data, expected_version };
        let id = run.ask(sequence, set, ReadLevel::Local);
        run.history.operations[id.0].client = FIRST_ZOOKEEPER_CLIENT;
        id
    }

    fn commit(run: &mut Writes, sequence: u64, data: &'static str) -> Result<(), String> {
        let change = Change::SetData { path: path("/a"), data: data.into(), version: 1 };
        let reply = Some(Ok(Reply::Stat(Stat::default())));
        run.commit_with_reply(requested(sequence), vec![change], reply)
    }

    fn hear(run: &mut Writes, id: OperationId, message: &ServerMessage<'_>) -> Result<(), String> {
        let awaited = Some(Awaited { xid: 1, opcode: Opcode::SetData, id });
        let (client, connection, session) = (FIRST_ZOOKEEPER_CLIENT, 1, SESSION);
        run.observe(&Observation::ZooKeeperHeard { client, connection, session, awaited, message })
    }

    fn stat(zxid: i64, version: i32) -> ServerMessage<'static> {
        let header = ReplyHeader { xid: 1, zxid, error: ZooKeeperError::Ok };
        let stat = quorate_wire::zookeeper::Stat { version, ..Default::default() };
        ServerMessage::Reply { header, reply: WireReply::Stat(stat) }
    }

    fn refused(error: ZooKeeperError) -> ServerMessage<'static> {
        ServerMessage::Refused(ReplyHeader { xid: 1, zxid: 2, error })
    }

    fn answer(run: &mut Writes, id: OperationId) {
        let outcome = &Err(Refusal::new(ErrorCode::NoNode, ""));
        run.observe(&Observation::ZooKeeperAnswered { id, zxid: Zxid(2), outcome }).unwrap();
    }

    #[test]
    fn an_answer_names_the_transaction_and_what_it_did() {
        for (zxid, version, data, is_right) in
            [(2, 0, "x", true), (1, 0, "x", false), (2, 7, "x", false), (2, 0, "y", false)]
        {
            let mut run = Writes::with_session();
            let id = ask(&mut run, 1);
            commit(&mut run, 1, data).unwrap();
            assert_eq!(hear(&mut run, id, &stat(zxid, version)).is_ok(), is_right, "{zxid} {data}");
        }
        let mut run = Writes::with_session();
        let id = ask(&mut run, 1);
        hear(&mut run, id, &stat(2, 0)).unwrap_err();
    }

    #[test]
    fn what_was_refused_is_not_done_before_or_after() {
        let mut run = Writes::with_session();
        let id = ask(&mut run, 1);
        answer(&mut run, id);
        hear(&mut run, id, &refused(ZooKeeperError::BadVersion)).unwrap_err();
        hear(&mut run, id, &refused(ZooKeeperError::NoNode)).unwrap();
        commit(&mut run, 1, "x").unwrap_err();
        let mut run = Writes::with_session();
        let id = ask(&mut run, 1);
        commit(&mut run, 1, "x").unwrap();
        answer(&mut run, id);
        hear(&mut run, id, &refused(ZooKeeperError::NoNode)).unwrap_err();
    }

    #[test]
    fn a_lost_write_is_done_once_and_in_its_order() {
        let mut run = Writes::with_session();
        let first = ask(&mut run, 1);
        ask(&mut run, 2);
        commit(&mut run, 2, "x").unwrap();
        commit(&mut run, 1, "x").unwrap_err();
        let mut run = Writes::with_session();
        assert_eq!(ask(&mut run, 1), first);
        run.history.by_request.insert((SESSION, 9), first);
        commit(&mut run, 1, "x").unwrap();
        commit(&mut run, 9, "x").unwrap_err();
    }
}
