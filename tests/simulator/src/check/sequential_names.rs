//! The numbers in sequential names below one parent strictly grow with the zxid, whatever prefix they
//! follow: over leader changes, snapshots, and the deletion of every child.
//!
//! Source: ZooKeeper's Programmer's Guide, "Sequence Nodes": the counter belongs to the parent, and
//! has ten digits. Comes in: transactions of clients with the operations that they come from. A
//! parent that goes takes its counter along.

use crate::history::History;
use crate::observation::{Checker, Observation};
use quorate_machine::{Change, Transaction};
use quorate_types::request::{CreateMode, MultiOperation, MultiReply};
use quorate_types::{Operation, Reply, ZnodePath, Zxid};
use std::collections::BTreeMap;

const DIGITS: usize = 10;

#[derive(Default)]
pub struct SequentialNames {
    /// The newest number below each parent, and who got it.
    newest: BTreeMap<ZnodePath, (u64, Zxid)>,
    judged: u64,
}

impl SequentialNames {
    fn on_committed(
        &mut self,
        zxid: Zxid,
        transaction: &Transaction,
        operation: Option<&Operation>,
    ) -> Result<(), String> {
        if let (Some(operation), Some(Ok(reply))) = (operation, &transaction.reply) {
            for (asked, mode, given) in creations(operation, reply) {
                if mode.is_sequential() {
                    self.take(zxid, asked, given)?;
                }
            }
        }
        for change in &transaction.changes {
            if let Change::DeleteZnode { path } = change {
                self.newest.remove(path);
            }
        }
        Ok(())
    }

    fn take(&mut self, zxid: Zxid, asked: &ZnodePath, given: &ZnodePath) -> Result<(), String> {
        self.judged += 1;
        let digits = given.as_str().strip_prefix(asked.as_str()).filter(|digits| {
            digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        let number = digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or_else(|| {
            format!("{asked} became {given} at {zxid}: that is not {DIGITS} digits more")
        })?;
        let parent = asked.parent().ok_or("the root is not sequential")?;
        match self.newest.insert(parent, (number, zxid)) {
            Some((before, earlier)) if before >= number => Err(format!(
                "{given} was made at {zxid}, and number {before} below the same parent at {earlier}"
            )),
            _ => Ok(()),
        }
    }
}

/// What was asked for, how, and the name given, of every creation.
fn creations<'a>(
    operation: &'a Operation,
    reply: &'a Reply,
) -> Vec<(&'a ZnodePath, CreateMode, &'a ZnodePath)> {
    match (operation, reply) {
        (Operation::Create { path, mode, .. }, Reply::Created(given, _)) => {
            vec![(path, *mode, given)]
        }
        (Operation::Multi { operations }, Reply::Multi(replies)) => {
            let both = operations.iter().zip(replies);
            both.filter_map(|(operation, reply)| match (operation, reply) {
                (MultiOperation::Create { path, mode, .. }, MultiReply::Created(given, _)) => {
                    Some((path, *mode, given))
                }
                _ => None,
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

impl Checker for SequentialNames {
    fn name(&self) -> &'static str {
        "sequential_names"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Committed { entry } = what else { return Ok(()) };
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        let operation = history.origin(transaction).map(|id| &history.operation(id).operation);
        self.on_committed(entry.zxid, transaction, operation)
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_machine::Origin;
    use quorate_types::Stat;

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn create(
        checker: &mut SequentialNames,
        zxid: u64,
        (prefix, given): (&str, &str),
        changes: Vec<Change>,
    ) -> Result<(), String> {
        let mode = CreateMode::PersistentSequential;
        let operation = Operation::Create { path: path(prefix), data: "".into(), mode, acl: None };
        let reply = Some(Ok(Reply::Created(path(given), Stat::default())));
        let origin = Origin::Leader;
        let transaction = Transaction { time_ms: 0, origin, changes, reply, call: None };
        checker.on_committed(Zxid(zxid), &transaction, Some(&operation))
    }

    #[test]
    fn numbers_below_one_parent_grow_whatever_their_prefix() {
        let mut checker = SequentialNames::default();
        create(&mut checker, 1, ("/q/a-", "/q/a-0000000004"), Vec::new()).unwrap();
        create(&mut checker, 2, ("/p/a-", "/p/a-0000000004"), Vec::new()).unwrap();
        create(&mut checker, 3, ("/q/b-", "/q/b-0000000005"), Vec::new()).unwrap();
        create(&mut checker, 4, ("/q/a-", "/q/a-0000000005"), Vec::new()).unwrap_err();
    }

    #[test]
    fn a_parent_takes_its_counter_along() {
        let mut checker = SequentialNames::default();
        let gone = vec![Change::DeleteZnode { path: path("/q") }];
        create(&mut checker, 1, ("/q/a-", "/q/a-0000000004"), gone).unwrap();
        create(&mut checker, 2, ("/q/a-", "/q/a-0000000000"), Vec::new()).unwrap();
    }

    #[test]
    fn a_number_has_ten_digits_after_the_name_asked_for() {
        let mut checker = SequentialNames::default();
        create(&mut checker, 1, ("/q/a-", "/q/b-0000000004"), Vec::new()).unwrap_err();
        create(&mut checker, 2, ("/q/a-", "/q/a-4"), Vec::new()).unwrap_err();
    }
}
