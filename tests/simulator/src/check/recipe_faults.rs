//! Recipes that do harm, and upgrades (the design, section 8; examples/hostile): a fault refuses one
//! call and changes nothing; a mount is suspended only after so many faults in a row; nobody else's
//! calls are refused because of it, nor because a mount changes its recipe.
//!
//! Comes in: what clients were told of calls, the committed log, alarms. Invariant: the mounts
//! followed here are suspended exactly where every replica at rest has them suspended.

use crate::history::{AskedOperation, CommittedEntry, History, OperationId};
use crate::observation::{Checker, Observation, Rest};
use crate::work::{LOCKS, LOOPING, TRAPPING, path};
use quorate_machine::{Change, Transaction};
use quorate_types::limits::Limits;
use quorate_types::{ComponentDigest, ErrorCode, Operation, Refusal, Reply, SessionId, ZnodePath};
use std::collections::{BTreeMap, BTreeSet};

/// A call of `harm` that may still fault.
#[derive(Debug, Default)]
struct Harm {
    /// By call, until its caller is told the end: how often it was sent.
    sent: BTreeMap<OperationId, u64>,
    /// Those of calls that ended since the mount's last call that went well.
    ended: u64,
}

#[derive(Default)]
pub struct RecipeFaults {
    /// Components that some server could not compile.
    cannot_run: BTreeSet<ComponentDigest>,
    mounts: BTreeSet<ZnodePath>,
    suspended: BTreeSet<ZnodePath>,
    /// Every mount that was suspended at some time.
    ever_suspended: BTreeSet<ZnodePath>,
    harms: BTreeMap<&'static str, Harm>,
    judged: u64,
}

/// The mount of a recipe that does harm, and what its harm is refused as.
fn hostile(object: &ZnodePath) -> Option<(&'static str, ErrorCode)> {
    [(TRAPPING, ErrorCode::RecipeTrapped), (LOOPING, ErrorCode::RecipeOutOfFuel)]
        .into_iter()
        .find(|(mount, _)| object.is_within(&path(mount)))
}

fn call_of(asked: &AskedOperation) -> Option<(&ZnodePath, &str)> {
    match &asked.operation {
        Operation::Call { object, operation, .. } => Some((object, operation)),
        _ => None,
    }
}

impl RecipeFaults {
    fn follow(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        let asked = history.origin(transaction).map(|id| history.operation(id));
        if let Some((object, operation)) = asked.and_then(call_of)
            && let Some((mount, code)) = hostile(object)
        {
            self.judged += 1;
            self.judge_entry(transaction, (mount, code), (object, operation)).map_err(|text| {
                format!("entry {} of {operation} on {object}: {text}", entry.zxid)
            })?;
        }
        for change in &transaction.changes {
            match change {
                Change::SuspendMount { path, reason } => self.suspend(path, reason)?,
                Change::PutMount { path, .. } => {
                    self.check_upgrade(transaction, path)?;
                    self.suspended.remove(path);
                }
                Change::CreateZnode { path, .. } if path.name() == "harmed" => {
                    return Err(format!("entry {} keeps {path}, which a fault undid", entry.zxid));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An entry that a call of such a recipe made.
    fn judge_entry(
        &mut self,
        transaction: &Transaction,
        (mount, code): (&'static str, ErrorCode),
        (object, operation): (&ZnodePath, &str),
    ) -> Result<(), String> {
        let reply = transaction.reply.as_ref();
        if transaction.changes.is_empty()
            && let Some(Err(refusal)) = reply
        {
            return match refusal.code {
                ErrorCode::MountSuspended => Ok(()),
                known if known == code && operation == "harm" => Ok(()),
                // The caller stays already.
                ErrorCode::RecipeRefused if operation == "stay" => Ok(()),
                _ => Err(format!("it is refused: {refusal}")),
            };
        }
        if operation == "harm" {
            let only_suspends = matches!(&transaction.changes[..], [Change::SuspendMount { path, .. }]
                if path.as_str() == mount);
            let refused = reply.and_then(|outcome| outcome.as_ref().err()).map(|known| known.code);
            if only_suspends && refused == Some(code) {
                return Ok(());
            }
            return Err(format!("harm has effects: {:?}, {reply:?}", transaction.changes));
        }
        // A call that went well: the faults before it do not count any more.
        self.harms.entry(mount).or_default().ended = 0;
        let leaf = |path: &ZnodePath, wanted: &str| {
            path.relative_to(object).is_some_and(|leaf| leaf.starts_with(wanted))
        };
        let written = transaction.changes.iter().any(|change| match change {
            Change::CreateZnode { path, .. } | Change::SetData { path, .. } => {
                leaf(path, if operation == "behave" { "behaved" } else { "guest-" })
            }
            _ => false,
        });
        let outside = transaction.changes.iter().any(|change| match change {
            Change::CreateZnode { path, .. }
            | Change::SetData { path, .. }
            | Change::DeleteZnode { path } => !path.is_within(object),
            _ => true,
        });
        if written && !outside && matches!(reply, Some(Ok(Reply::Called(_)))) {
            return Ok(());
        }
        Err(format!("it changes {:?} and is answered {reply:?}", transaction.changes))
    }

    /// Only after as many faults as the limit says could have happened.
    fn suspend(&mut self, mount: &ZnodePath, reason: &str) -> Result<(), String> {
        self.judged += 1;
        let counted: Option<u64> = reason.split(' ').next().and_then(|word| word.parse().ok());
        let limits = [Limits::PRODUCTION, Limits::TESTED].map(|limits| limits.mount_faults_max);
        if !counted.is_some_and(|counted| limits.iter().any(|max| u64::from(*max) == counted)) {
            return Err(format!("{mount} is suspended for {reason:?}, the limits are {limits:?}"));
        }
        let Some(harm) = hostile(mount).and_then(|(mount, _)| self.harms.get(mount)) else {
            return Err(format!("{mount} is suspended, which does no harm: {reason}"));
        };
        // A request sent once may be given to a leader again whose link broke, and fault again.
        let sent = harm.ended + harm.sent.values().sum::<u64>();
        if sent * 4 < counted.unwrap_or(u64::MAX) {
            return Err(format!("{mount} is suspended for {reason:?}, harm was sent {sent} times"));
        }
        self.suspended.insert(mount.clone());
        self.ever_suspended.insert(mount.clone());
        Ok(())
    }

    /// A mount gets another recipe: its state and those who wait are left as they are.
    fn check_upgrade(
        &mut self,
        transaction: &Transaction,
        mount: &ZnodePath,
    ) -> Result<(), String> {
        if self.mounts.insert(mount.clone()) {
            return Ok(());
        }
        self.judged += 1;
        match &transaction.changes[..] {
            [Change::PutMount { .. }] => Ok(()),
            changes => Err(format!("the recipe of {mount} is exchanged, and besides: {changes:?}")),
        }
    }

    fn count_sent(&mut self, history: &History, id: OperationId) {
        let harm = call_of(history.operation(id)).filter(|(_, operation)| *operation == "harm");
        if let Some((mount, _)) = harm.and_then(|(object, _)| hostile(object)) {
            *self.harms.entry(mount).or_default().sent.entry(id).or_default() += 1;
        }
    }

    fn judge_told(&mut self, history: &History, id: OperationId) -> Result<(), String> {
        let asked = history.operation(id);
        let Some(outcome) = asked.ended.as_ref().and_then(|ending| ending.outcome()) else {
            return Ok(());
        };
        let right = match (&asked.operation, &outcome) {
            (Operation::Call { object, operation, .. }, told) => {
                let hostile = hostile(object);
                if let Some(harm) = hostile.and_then(|(mount, _)| self.harms.get_mut(mount)) {
                    harm.ended += harm.sent.remove(&id).unwrap_or(0);
                }
                match hostile {
                    Some(hostile) => self.is_right(hostile, operation, told.as_ref()),
                    None => told.as_ref().err().is_none_or(is_a_locks),
                }
            }
            (Operation::Mount { path, digest, .. }, told) if path.as_str() == LOCKS => {
                let invalid = told.as_ref().err().map(|refusal| refusal.code);
                let objected = invalid == Some(ErrorCode::RecipeInvalid);
                told.is_ok() || (objected && self.cannot_run.contains(digest))
            }
            _ => return Ok(()),
        };
        self.judged += 1;
        if right {
            return Ok(());
        }
        let (session, sequence) = asked.request.unwrap_or((SessionId(0), 0));
        Err(format!(
            "request {sequence} of session {session}, {:?}, was told {outcome:?}; suspended are {:?}",
            asked.operation, self.suspended
        ))
    }

    fn is_right(
        &self,
        (mount, code): (&str, ErrorCode),
        operation: &str,
        told: Result<&Reply, &Refusal>,
    ) -> bool {
        match told {
            Ok(reply) => operation != "harm" && matches!(reply, Reply::Called(_)),
            Err(refusal) => match refusal.code {
                ErrorCode::MountSuspended => self.ever_suspended.contains(&path(mount)),
                // A session stays once.
                ErrorCode::RecipeRefused => {
                    operation == "stay" && refusal.recipe_code.as_deref() == Some("node-exists")
                }
                known => operation == "harm" && known == code,
            },
        }
    }
}

/// What a lock's caller may be refused as.
fn is_a_locks(refusal: &Refusal) -> bool {
    match refusal.code {
        ErrorCode::RecipeRefused => {
            matches!(refusal.recipe_code.as_deref(), Some("held" | "not-holder"))
        }
        code => matches!(code, ErrorCode::TimedOut | ErrorCode::Cancelled),
    }
}

impl Checker for RecipeFaults {
    fn name(&self) -> &'static str {
        "recipe_faults"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.follow(history, entry),
            Observation::Sent { id, .. } => {
                self.count_sent(history, *id);
                Ok(())
            }
            Observation::Ended { id } => self.judge_told(history, *id),
            Observation::CannotCompile { digest, .. } => {
                self.cannot_run.insert(*digest);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _history: &History, rest: &Rest<'_>) -> Result<(), String> {
        for (server, replica) in &rest.replicas {
            let suspended: BTreeSet<ZnodePath> =
                replica.machine().suspended_mounts().into_iter().map(|(mount, _)| mount).collect();
            if suspended != self.suspended {
                return Err(format!(
                    "server {server} has {suspended:?} suspended, by the log it is {:?}",
                    self.suspended
                ));
            }
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

    #[test]
    fn a_mount_is_suspended_only_for_harm_and_after_enough_of_it() {
        let max = u64::from(Limits::TESTED.mount_faults_max);
        let reason = format!("{max} faults in a row, the last: trapped");
        let mut faults = RecipeFaults::default();
        assert!(faults.suspend(&path(TRAPPING), &reason).is_err());
        faults.harms.entry(TRAPPING).or_default().ended = max;
        assert!(faults.suspend(&path(TRAPPING), "1 faults in a row").is_err());
        assert!(faults.suspend(&path(LOCKS), &reason).is_err());
        faults.suspend(&path(TRAPPING), &reason).unwrap();
        assert!(faults.is_right(
            (TRAPPING, ErrorCode::RecipeTrapped),
            "behave",
            Ok(&Reply::Called(Default::default()))
        ));
        assert!(!faults.is_right(
            (TRAPPING, ErrorCode::RecipeTrapped),
            "harm",
            Ok(&Reply::Called(Default::default()))
        ));
    }
}
