//! When everything has come to rest, every server has the tree that the log makes by the rules, znode
//! by znode, and every ephemeral belongs to a session that lives.
//!
//! Source: ZooKeeper's Programmer's Guide on znodes, stats and ephemerals. Comes in: committed
//! entries; at the end, what each server answers when it is read from root to leaves.

use crate::history::History;
use crate::model::Model;
use crate::observation::{Checker, Observation, Rest, SimulatedReplica};
use crate::world::tree::read_tree;
use quorate_types::{Stat, ZnodeData, ZnodePath};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct SameTree {
    model: Model,
    judged: u64,
}

type Tree = BTreeMap<ZnodePath, (ZnodeData, Stat)>;

impl SameTree {
    fn judge(&mut self, server: u64, replica: &SimulatedReplica) -> Result<(), String> {
        let expected: Tree = self
            .model
            .tree()
            .map(|(path, znode)| (path.clone(), (znode.data.clone(), znode.stat())))
            .collect();
        let tree = read_tree(replica);
        self.judged += tree.len() as u64;
        let zxid = replica.applied();
        compare(&expected, &tree)
            .map_err(|difference| format!("at {zxid} server {server} {difference}"))?;
        let live = replica.machine().sessions();
        let live: BTreeSet<_> = live.into_iter().map(|status| status.session).collect();
        for (path, (_, stat)) in &tree {
            if let Some(owner) = stat.ephemeral_owner.filter(|owner| !live.contains(owner)) {
                return Err(format!(
                    "at {zxid} server {server} keeps {path}, whose session {owner} has ended"
                ));
            }
        }
        match live.into_iter().find(|session| !self.model.is_live(*session)) {
            None => Ok(()),
            Some(ended) => {
                Err(format!("at {zxid} server {server} keeps session {ended}, which has ended"))
            }
        }
    }
}

fn compare(expected: &Tree, tree: &Tree) -> Result<(), String> {
    for path in expected.keys().chain(tree.keys()) {
        let (expected, found) = (expected.get(path), tree.get(path));
        if expected != found {
            return Err(format!("has {found:?} at {path}, and must have {expected:?}"));
        }
    }
    Ok(())
}

impl Checker for SameTree {
    fn name(&self) -> &'static str {
        "same_tree"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.model.follow(history, entry),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &History, rest: &Rest<'_>) -> Result<(), String> {
        rest.replicas.iter().try_for_each(|(server, replica)| self.judge(*server, replica))
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_znode_too_many_or_too_few_or_another_stat_is_a_difference() {
        let tree = |version| {
            let stat = Stat { version, ..Stat::default() };
            Tree::from([(ZnodePath::root(), (ZnodeData::EMPTY, stat))])
        };
        compare(&tree(1), &tree(1)).unwrap();
        compare(&tree(1), &tree(2)).unwrap_err();
        compare(&tree(1), &Tree::new()).unwrap_err();
        compare(&Tree::new(), &tree(1)).unwrap_err();
    }
}
