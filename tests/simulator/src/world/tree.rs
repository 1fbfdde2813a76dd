//! A server's whole tree, read as anybody can read it.

use crate::observation::SimulatedReplica;
use quorate_machine::Identity;
use quorate_types::{Operation, Reply, Stat, ZnodeData, ZnodePath};
use std::collections::BTreeMap;

/// Every znode with its data and stat.
///
/// # Panics
/// When the replica's own answers contradict each other: a listed znode is not there.
#[must_use]
pub fn read_tree(replica: &SimulatedReplica) -> BTreeMap<ZnodePath, (ZnodeData, Stat)> {
    let machine = replica.machine();
    let everyone = Identity::named("checker");
    let mut found = BTreeMap::new();
    let mut open = vec![ZnodePath::root()];
    while let Some(path) = open.pop() {
        let get = Operation::Get { path: path.clone(), watch: false };
        let Ok(Reply::Data(data, stat)) = machine.read(&everyone, &get) else {
            panic!("{path} is listed and cannot be read");
        };
        let mut after: Option<String> = None;
        loop {
            let list = Operation::Children {
                path: path.clone(),
                after: after.clone(),
                limit: None,
                watch: false,
            };
            let Ok(Reply::Children(names, more, _)) = machine.read(&everyone, &list) else {
                panic!("{path} has no list of children");
            };
            open.extend(names.iter().map(|name| path.join(name).expect("names are proper")));
            if !more {
                break;
            }
            after = names.last().cloned();
        }
        found.insert(path, (data, stat));
    }
    found
}
