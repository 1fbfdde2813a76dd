//! What callers of a registry send and get.
//!
//! Comes in: nothing. Goes out: types that are CBOR as the recipe's are. Must never: share them with
//! the recipe, whose mistakes would be theirs.

use quorate_types::SessionId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) instances_max: usize,
    pub(super) metadata_bytes_max: usize,
    pub(super) ttl_ms_min: u64,
    pub(super) ttl_ms_max: u64,
    pub(super) remove_after_ms: u64,
    pub(super) watchers_max: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Register {
    pub(super) id: String,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) tags: BTreeSet<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) ttl_ms: Option<u64>,
    pub(super) remove_after_ms: Option<u64>,
}

impl Register {
    /// The recipe's words for what is wrong with it, of what the trial gets wrong.
    pub(super) fn wrongs(&self, config: &Config) -> Vec<&'static str> {
        let mut wrongs = Vec::new();
        if self.id == ".." {
            wrongs.push("bad-id");
        }
        let metadata = self.metadata.iter().map(|(key, value)| key.len() + value.len());
        if metadata.sum::<usize>() > config.metadata_bytes_max {
            wrongs.push("too-large");
        }
        let ttl_ms = config.ttl_ms_min..=config.ttl_ms_max;
        if self.ttl_ms.is_some_and(|wanted_ms| !ttl_ms.contains(&wanted_ms)) {
            wrongs.push("out-of-range");
        }
        wrongs
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) tags: BTreeSet<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) healthy: bool,
    pub(super) registration: u64,
    pub(super) identity: String,
    pub(super) session: Option<SessionId>,
    pub(super) ttl_ms: Option<u64>,
    pub(super) remove_after_ms: u64,
    pub(super) since_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Renew {
    pub(super) id: String,
    pub(super) registration: u64,
    pub(super) healthy: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Deregister {
    pub(super) id: String,
    pub(super) registration: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Filter {
    pub(super) tags: BTreeSet<String>,
    pub(super) only_healthy: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Instances {
    pub(super) revision: u64,
    pub(super) instances: Vec<Instance>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AwaitChange {
    pub(super) after: u64,
    pub(super) wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) revision: u64,
}
