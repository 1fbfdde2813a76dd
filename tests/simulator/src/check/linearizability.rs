//! Writes, compares and linearizable reads take effect one by one, each between its asking and its
//! answer, and show what the rules of the tree say; local reads show one state of the past exactly.
//!
//! Source: etcd's `tests/robustness` (validation by replay of the persisted log) and
//! `runtime/docs/native-protocol.md`. The log is the witness: every answer carries a zxid, so the
//! order need not be searched for. Comes in: entries, askings, answers. Judged: each transaction
//! against the model at its zxid; each done write by its transaction, which lies after everything
//! acknowledged to anybody before the write was asked for; each refusal by a state that lies there
//! too; each read by the state at the very zxid that it shows. An operation whose end nobody knows
//! may be done once, or never.

use crate::history::{AskedOperation, CommittedEntry, Ending, History, OperationId};
use crate::model::{Model, When, is_tree_read, is_tree_write, same_outcome};
use crate::observation::{Checker, Observation};
use quorate_machine::{Change, Origin, Transaction};
use quorate_types::limits::Limits;
use quorate_types::request::{MultiOperation, ReadLevel};
use quorate_types::{ErrorCode, Operation, Outcome, Reply, SessionId, TicketId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

type RequestId = (SessionId, u64);

#[derive(Default)]
pub struct Linearizability {
    model: Model,
    /// The newest state that anybody was told of by a write or a linearizable read.
    acknowledged: Zxid,
    /// What was acknowledged when each operation was asked for.
    floors: Vec<Zxid>,
    /// The transaction of each request that was done.
    done: BTreeMap<RequestId, Zxid>,
    /// What each such request is answered, once that is decided.
    answers: BTreeMap<RequestId, Outcome>,
    tickets: BTreeMap<TicketId, RequestId>,
    /// Their callers were told that they were not done.
    refused: BTreeSet<RequestId>,
    judged: u64,
}

impl Linearizability {
    fn on_committed(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        self.model.follow(history, entry)?;
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        self.judged += 1;
        self.note_answers(transaction);
        let Origin::Session { session, sequence, .. } = &transaction.origin else { return Ok(()) };
        let (zxid, request) = (entry.zxid, (*session, *sequence));
        self.done.entry(request).or_insert(zxid);
        let floor = history.origin(transaction).map_or(Zxid(0), |id| self.floor(id));
        if zxid <= floor {
            return Err(format!(
                "number {sequence} of session {session} is done at {zxid}, and {floor} was \
                 acknowledged before it was asked for"
            ));
        }
        if self.refused.contains(&request) {
            return Err(format!(
                "number {sequence} of session {session} was refused, and is done at {zxid}"
            ));
        }
        Ok(())
    }

    fn note_answers(&mut self, transaction: &Transaction) {
        if let (Origin::Session { session, sequence, .. }, Some(reply)) =
            (&transaction.origin, &transaction.reply)
            && !matches!(reply, Ok(Reply::Parked(_)))
        {
            self.answers.insert((*session, *sequence), reply.clone());
        }
        for change in &transaction.changes {
            match change {
                Change::Park { ticket, session, sequence, .. } => {
                    self.tickets.insert(*ticket, (*session, *sequence));
                }
                Change::Complete { ticket, outcome } => {
                    if let Some(request) = self.tickets.remove(ticket) {
                        self.answers.insert(request, outcome.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn floor(&self, id: OperationId) -> Zxid {
        self.floors.get(id.0).copied().unwrap_or_default()
    }

    fn on_ended(&mut self, history: &History, id: OperationId) -> Result<(), String> {
        let asked = history.operation(id);
        let Some(ending) = &asked.ended else { return Ok(()) };
        let Some(outcome) = ending.outcome() else { return Ok(()) };
        self.judged += 1;
        self.judge(history, id, asked, ending, &outcome).map_err(|complaint| {
            let name = match asked.request {
                Some((session, sequence)) => format!("number {sequence} of session {session}"),
                None => "a request without a number".into(),
            };
            let operation = &asked.operation;
            format!("{name}, {operation:?}, was answered {outcome:?}: {complaint}")
        })
    }

    fn judge(
        &mut self,
        history: &History,
        id: OperationId,
        asked: &AskedOperation,
        ending: &Ending,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let zxid = ending.zxid.ok_or("the answer shows no state")?;
        if zxid > history.newest() {
            return Err(format!("it shows {zxid}, which nobody has applied"));
        }
        let request = asked.request.ok_or("it was never sent")?;
        let operation = &asked.operation;
        let floor = self.floor(id);
        if is_tree_read(operation) {
            self.judge_read(asked, zxid, outcome)?;
        } else if operation.is_write() {
            self.judge_write((floor, zxid), operation, request, outcome)?;
        }
        let limited = matches!(outcome, Err(refusal) if refusal.code == ErrorCode::QuotaExceeded);
        if !is_linearizable(asked) || limited {
            return Ok(());
        }
        if zxid < floor && !self.done.contains_key(&request) {
            return Err(format!(
                "it shows {zxid}, and {floor} was acknowledged before it was asked for"
            ));
        }
        self.acknowledged = self.acknowledged.max(zxid);
        Ok(())
    }

    fn judge_read(
        &self,
        asked: &AskedOperation,
        zxid: Zxid,
        outcome: &Outcome,
    ) -> Result<(), String> {
        // A server's limit of names in one list is one of these two.
        let expected = [Limits::PRODUCTION, Limits::TESTED]
            .map(|limits| self.model.read(&asked.operation, zxid, limits.children_reply_max));
        let agrees = expected.iter().flatten().any(|expected| same_outcome(outcome, expected));
        if agrees {
            return Ok(());
        }
        let [expected, _] = expected;
        Err(format!("at {zxid} there is {expected:?}"))
    }

    fn judge_write(
        &mut self,
        (floor, zxid): (Zxid, Zxid),
        operation: &Operation,
        request: RequestId,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let done = self.done.get(&request).copied();
        if done.is_some_and(|done| done > zxid) {
            return Err(format!("it shows {zxid} and is done at {done:?}"));
        }
        if done.is_some() {
            let decided = self.answers.get(&request);
            return match decided == Some(outcome) {
                true => Ok(()),
                false => Err(format!("it is done at {done:?}, with the answer {decided:?}")),
            };
        }
        if outcome.is_err() {
            self.refused.insert(request);
        }
        if !is_tree_write(operation) {
            return Ok(());
        }
        match outcome {
            Ok(_) => Err("no transaction has done it".into()),
            Err(refusal) if refusal.code == ErrorCode::QuotaExceeded => {
                if may_pass_a_limit(operation) { Ok(()) } else { Err("it passes no limit".into()) }
            }
            Err(_) => self.judge_refusal((floor, zxid), operation, request.0, outcome),
        }
    }

    /// A refusal shows a state no newer than its zxid: the server told it only when it had applied
    /// the state that the leader refused by.
    fn judge_refusal(
        &self,
        (floor, zxid): (Zxid, Zxid),
        operation: &Operation,
        session: SessionId,
        outcome: &Outcome,
    ) -> Result<(), String> {
        if zxid < floor {
            // The caller says so.
            return Ok(());
        }
        let expected = |at: u64| {
            let when = When { zxid: Zxid(at + 1), time_ms: 0 };
            let execution = self.model.execute(operation, session, Zxid(at), when);
            execution.map(|execution| execution.outcome)
        };
        let explains =
            |at: u64| expected(at).is_none_or(|expected| same_outcome(outcome, &expected));
        if (floor.0..=zxid.0).rev().any(explains) {
            return Ok(());
        }
        let expected = expected(zxid.0);
        Err(format!(
            "no state from {floor}, acknowledged before it was asked for, to {zxid} explains it; in \
             the last it is answered {expected:?}"
        ))
    }
}

/// Whether the answer must show everything acknowledged before. Watches are left at a server as it
/// is; a status is what one server sees; leadership is no state.
fn is_linearizable(asked: &AskedOperation) -> bool {
    match &asked.operation {
        Operation::AddWatch { .. }
        | Operation::ResumeWatches { .. }
        | Operation::RemoveWatches { .. }
        | Operation::CountWatches { .. }
        | Operation::RestoreWatches { .. }
        | Operation::Status
        | Operation::TransferLeader { .. }
        | Operation::BeginShadow { .. }
        | Operation::ShadowReport { .. } => false,
        Operation::Call { .. } => asked.level == ReadLevel::Linearizable,
        other => other.is_write() || asked.level == ReadLevel::Linearizable,
    }
}

/// Whether a server with the smallest limits may refuse it for its size.
fn may_pass_a_limit(operation: &Operation) -> bool {
    let data_max = Limits::TESTED.znode_data_bytes_max as usize;
    match operation {
        Operation::Create { data, .. } | Operation::SetData { data, .. } => data.len() > data_max,
        Operation::Multi { operations } => {
            let too_long = |one: &MultiOperation| match one {
                MultiOperation::Create { data, .. } | MultiOperation::SetData { data, .. } => {
                    data.len() > data_max
                }
                MultiOperation::Delete { .. } | MultiOperation::Check { .. } => false,
            };
            operations.len() > Limits::TESTED.multi_operations_max as usize
                || operations.iter().any(too_long)
        }
        _ => false,
    }
}

impl Checker for Linearizability {
    fn name(&self) -> &'static str {
        "linearizability"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.on_committed(history, entry),
            Observation::Asked { id } => {
                self.floors.resize(id.0 + 1, self.acknowledged);
                Ok(())
            }
            Observation::Ended { id } => self.on_ended(history, *id),
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
    use crate::check::told::{Told, requested};
    use crate::history::Moment;
    use quorate_client::protocol::CallFailure;
    use quorate_types::request::CreateMode;
    use quorate_types::{Refusal, Stat, ZnodePath};

    type Run = Told<Linearizability>;

    impl Run {
        fn request(&mut self, operation: Operation, level: ReadLevel) -> OperationId {
            let sequence = self.history.operations.len() as u64 + 1;
            let id = self.ask(sequence, operation, level);
            self.observe(&Observation::Asked { id }).unwrap();
            id
        }

        fn end(&mut self, id: OperationId, zxid: u64, outcome: Outcome) -> Result<(), String> {
            self.history.operations[id.0].ended = Some(Ending {
                moment: Moment::default(),
                zxid: Some(Zxid(zxid)),
                result: outcome.map_err(CallFailure::Refused),
            });
            self.observe(&Observation::Ended { id })
        }

        /// Does the creation of `/a`, which must be the next entry.
        fn create(&mut self, id: OperationId) -> Result<(), String> {
            let (_, sequence) = self.history.operation(id).request.unwrap();
            let change = Change::CreateZnode {
                path: path(),
                data: "".into(),
                acl: quorate_machine::AclSource::Open,
                kind: quorate_machine::ZnodeKind::Persistent,
            };
            let zxid = self.history.newest().next();
            self.commit_with_reply(requested(sequence), vec![change], Some(created(zxid)))
        }

        /// `/a` was created by entry 2, and somebody knows it.
        fn with_znode() -> Run {
            let mut run = Run::with_session();
            let id = run.request(creation(), ReadLevel::Linearizable);
            run.create(id).unwrap();
            run.end(id, 2, created(Zxid(2))).unwrap();
            run
        }
    }

    fn path() -> ZnodePath {
        ZnodePath::parse("/a").unwrap()
    }

    fn creation() -> Operation {
        let mode = CreateMode::Persistent;
        Operation::Create { path: path(), data: "".into(), mode, acl: None }
    }

    fn created(zxid: Zxid) -> Outcome {
        let stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ..Stat::default() };
        Ok(Reply::Created(path(), stat))
    }

    fn exists() -> Operation {
        Operation::Exists { path: path(), watch: false }
    }

    fn deletion() -> Operation {
        Operation::Delete { path: path(), expected_version: None }
    }

    fn refusal(code: ErrorCode) -> Outcome {
        Err(Refusal::new(code, "no"))
    }

    #[test]
    fn a_linearizable_read_must_not_be_older_than_what_was_acknowledged() {
        let absent = || Ok(Reply::Exists(None));
        let mut run = Run::with_session();
        let early = run.request(exists(), ReadLevel::Linearizable);
        let write = run.request(creation(), ReadLevel::Linearizable);
        run.create(write).unwrap();
        run.end(write, 2, created(Zxid(2))).unwrap();
        run.end(early, 1, absent()).unwrap();
        let late = run.request(exists(), ReadLevel::Linearizable);
        run.end(late, 1, absent()).unwrap_err();
        let local = run.request(exists(), ReadLevel::Local);
        run.end(local, 1, absent()).unwrap();
        let wrong = run.request(exists(), ReadLevel::Local);
        run.end(wrong, 2, absent()).unwrap_err();
        let ahead = run.request(exists(), ReadLevel::Local);
        run.end(ahead, 3, absent()).unwrap_err();
    }

    #[test]
    fn a_refusal_needs_a_state_that_explains_it_after_what_was_acknowledged() {
        let mut run = Run::with_session();
        let early = run.request(deletion(), ReadLevel::Linearizable);
        let write = run.request(creation(), ReadLevel::Linearizable);
        run.create(write).unwrap();
        run.end(write, 2, created(Zxid(2))).unwrap();
        run.end(early, 2, refusal(ErrorCode::NoNode)).unwrap();
        for (zxid, code) in
            [(1, ErrorCode::NoNode), (2, ErrorCode::NoNode), (2, ErrorCode::NotEmpty)]
        {
            let late = run.request(deletion(), ReadLevel::Linearizable);
            run.end(late, zxid, refusal(code)).unwrap_err();
        }
        let again = run.request(creation(), ReadLevel::Linearizable);
        run.end(again, 2, refusal(ErrorCode::NodeExists)).unwrap();
        let small = run.request(creation(), ReadLevel::Linearizable);
        run.end(small, 2, refusal(ErrorCode::QuotaExceeded)).unwrap_err();
    }

    #[test]
    fn a_write_is_done_as_answered_or_not_at_all() {
        let mut run = Run::with_session();
        let never = run.request(creation(), ReadLevel::Linearizable);
        run.end(never, 1, created(Zxid(1))).unwrap_err();
        let mut run = Run::with_session();
        let other = run.request(creation(), ReadLevel::Linearizable);
        run.create(other).unwrap();
        run.end(other, 2, created(Zxid(1))).unwrap_err();
        run.end(other, 1, created(Zxid(2))).unwrap_err();
        let mut run = Run::with_znode();
        let refused = run.request(creation(), ReadLevel::Linearizable);
        run.end(refused, 2, refusal(ErrorCode::NodeExists)).unwrap();
        let deleter = run.request(deletion(), ReadLevel::Linearizable);
        let (session, sequence) = run.history.operation(deleter).request.unwrap();
        let origin = Origin::Session { session, sequence, forgotten: Vec::new() };
        let delete = Change::DeleteZnode { path: path() };
        run.commit_with_reply(origin, vec![delete], Some(Ok(Reply::Done))).unwrap();
        run.create(refused).unwrap_err();
    }
}
