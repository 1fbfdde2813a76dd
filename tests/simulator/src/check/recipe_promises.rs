//! What one standard recipe promises, in a [trial](crate::trials) of it.
//!
//! Comes in: every committed entry, and what clients were told. Goes out: to the recipe's own
//! [`Promises`], in the words of its callers. Judged here, for every recipe: none of its runs traps
//! or passes a limit, and its operations and arguments are known. That what was told is what the log
//! says is judged by `at_most_once` and `parked_calls`.

use crate::history::{CommittedEntry, History, OperationId};
use crate::observation::{Checker, Observation, Rest};
use crate::trials::{Answered, LoggedCall, Parked, Promises, RecipeEntry, Told, Trial};
use crate::world::tree::read_tree;
use quorate_machine::{CallRecord, Change, Origin, Transaction};
use quorate_types::{
    ErrorCode, Operation, Outcome, Refusal, Reply, SessionId, TicketId, ZnodePath, Zxid,
};
use std::collections::{BTreeMap, BTreeSet};

pub struct RecipePromises {
    mount: ZnodePath,
    promises: Box<dyn Promises>,
    parked: BTreeMap<TicketId, Parked>,
    /// Calls that the log has: what they come to is said there.
    logged: BTreeSet<(SessionId, u64)>,
    /// The newest entry when a call was asked for.
    asked_at: BTreeMap<OperationId, Zxid>,
}

impl RecipePromises {
    #[must_use]
    pub fn new(trial: &Trial, config: &[u8]) -> RecipePromises {
        RecipePromises {
            mount: trial.mount(),
            promises: (trial.promises)(config),
            parked: BTreeMap::new(),
            logged: BTreeSet::new(),
            asked_at: BTreeMap::new(),
        }
    }

    fn follow(&mut self, entry: &CommittedEntry) -> Result<(), String> {
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        let zxid = entry.zxid;
        let mut read = RecipeEntry {
            zxid,
            time_ms: transaction.time_ms,
            call: self.logged_call(transaction)?,
            answered: Vec::new(),
            opened: None,
            ended: Vec::new(),
            changes: &transaction.changes,
        };
        for change in &transaction.changes {
            match change {
                Change::OpenSession { .. } => read.opened = Some(SessionId(zxid.0)),
                Change::CloseSession { session } => read.ended.push(*session),
                Change::Park { ticket, mount, .. } if *mount == self.mount => {
                    self.park(zxid, *ticket, &read)?;
                }
                Change::Complete { ticket, outcome } => {
                    read.answered.extend(self.complete(*ticket, outcome)?);
                }
                _ => {}
            }
        }
        self.promises.follow(&read).map_err(|text| format!("entry {zxid}: {text}"))
    }

    fn logged_call<'a>(
        &mut self,
        transaction: &'a Transaction,
    ) -> Result<Option<LoggedCall<'a>>, String> {
        let Some(CallRecord { object, operation, arguments, .. }) = &transaction.call else {
            return Ok(None);
        };
        let Some(object) = object.relative_to(&self.mount) else { return Ok(None) };
        let Origin::Session { session, sequence, .. } = &transaction.origin else {
            return Err(format!("{operation} is called by {:?}", transaction.origin));
        };
        // A refusal that others' changes led to is in the log too, and changes nothing.
        if matches!(transaction.reply, Some(Err(_))) {
            return Ok(None);
        }
        let name = (*session, *sequence);
        self.logged.insert(name);
        let parked = transaction.changes.iter().find_map(|change| match change {
            Change::Park { ticket, session, sequence, deadline_ms, .. }
                if (*session, *sequence) == name =>
            {
                Some((*ticket, *deadline_ms))
            }
            _ => None,
        });
        let reply = match (&transaction.reply, parked) {
            (_, Some((ticket, _))) => Err(ticket),
            (Some(Ok(Reply::Called(bytes))), None) => Ok(&bytes[..]),
            (reply, None) => {
                return Err(format!("{operation} of {object} is answered {reply:?}"));
            }
        };
        let deadline_ms = parked.and_then(|(_, deadline_ms)| deadline_ms);
        Ok(Some(LoggedCall { name, object, operation, arguments, reply, deadline_ms }))
    }

    fn park(
        &mut self,
        zxid: Zxid,
        ticket: TicketId,
        entry: &RecipeEntry<'_>,
    ) -> Result<(), String> {
        let Some(call) = entry.call.as_ref().filter(|call| call.reply == Err(ticket)) else {
            return Err(format!("entry {zxid} parks {ticket:?} for no call of its own"));
        };
        let parked = Parked {
            name: call.name,
            object: call.object.into(),
            operation: call.operation.into(),
            arguments: call.arguments.into(),
            since: zxid,
            deadline_ms: call.deadline_ms,
        };
        self.parked.insert(ticket, parked);
        Ok(())
    }

    fn complete(
        &mut self,
        ticket: TicketId,
        outcome: &Outcome,
    ) -> Result<Option<Answered>, String> {
        let Some(call) = self.parked.remove(&ticket) else { return Ok(None) };
        let outcome = match outcome {
            Ok(Reply::Called(bytes)) => Ok(bytes.to_vec()),
            Err(refusal) => Err(refusal.clone()),
            Ok(other) => return Err(format!("{ticket:?} is answered {other:?}")),
        };
        Ok(Some(Answered { ticket, call, outcome }))
    }

    fn judge_told(&mut self, history: &History, id: OperationId) -> Result<(), String> {
        let asked = history.operation(id);
        let from = self.asked_at.remove(&id).unwrap_or_default();
        let (Operation::Call { object, operation, arguments }, Some(ending), Some(name)) =
            (&asked.operation, &asked.ended, asked.request)
        else {
            return Ok(());
        };
        let (Some(object), Some(outcome)) = (object.relative_to(&self.mount), ending.outcome())
        else {
            return Ok(());
        };
        if let Err(refusal) = &outcome {
            check_refusal(refusal).map_err(|text| format!("{operation} of {object}: {text}"))?;
        }
        let is_own = match &outcome {
            Ok(reply) => matches!(reply, Reply::Called(_)),
            Err(refusal) => refusal.code == ErrorCode::RecipeRefused,
        };
        let Some(zxid) = ending.zxid.filter(|_| is_own && !self.logged.contains(&name)) else {
            return Ok(());
        };
        let (client, session) = (asked.client, name.0);
        let outcome = &outcome;
        let told = Told { client, session, object, operation, arguments, outcome, from, zxid };
        self.promises.told(&told).map_err(|text| {
            format!("session {session}, request {}, {operation} of {object}: {text}", name.1)
        })
    }
}

/// Of what a server says by itself, only what a healthy recipe can meet.
fn check_refusal(refusal: &Refusal) -> Result<(), String> {
    let expected = match refusal.code {
        ErrorCode::RecipeRefused => refusal.recipe_code.as_deref() != Some("bad-arguments"),
        ErrorCode::TimedOut
        | ErrorCode::Cancelled
        | ErrorCode::SessionExpired
        | ErrorCode::SessionMoved
        | ErrorCode::QuotaExceeded => true,
        code => code.is_transient(),
    };
    if expected { Ok(()) } else { Err(format!("refused: {refusal:?}")) }
}

impl Checker for RecipePromises {
    fn name(&self) -> &'static str {
        "recipe_promises"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.follow(entry),
            Observation::Asked { id } => {
                self.asked_at.insert(*id, history.newest());
                Ok(())
            }
            Observation::Ended { id } => self.judge_told(history, *id),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &History, rest: &Rest<'_>) -> Result<(), String> {
        if let Some((ticket, parked)) = self.parked.first_key_value() {
            return Err(format!("everything is at rest, and {ticket:?} waits: {parked:?}"));
        }
        let tree = read_tree(rest.replicas[&rest.leader]);
        let below = |path: &ZnodePath| path.relative_to(&self.mount).map(str::to_owned);
        let left: Vec<String> =
            tree.keys().filter_map(below).filter(|path| !path.is_empty()).collect();
        self.promises.finish(&left)
    }

    fn judged(&self) -> u64 {
        self.promises.judged()
    }
}
