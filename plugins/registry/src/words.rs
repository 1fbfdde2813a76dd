//! What callers of a registry send and get, and what a mount is given.
//!
//! Comes in: nothing. Goes out: types with their schemas. Invariant: what a configuration of the
//! mount that was [checked](Config::check) allows in one call fits into one run of a recipe.

use quorate_recipe::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of an id, a tag or an address. The longest name of a host has 253.
const NAME_BYTES_MAX: usize = 255;
/// Tags of one instance.
const TAGS_MAX: usize = 32;
/// What an instance counts besides its texts, and each of its tags and each entry of its metadata: to
/// read and write one costs as much as so many bytes.
const INSTANCE_FIXED_BYTES: usize = 800;
const ENTRY_FIXED_BYTES: usize = 100;
/// Bytes of all instances of a service together, so that the list fits one reply.
pub(crate) const SERVICE_BYTES_MAX: u64 = 192 << 10;

/// What a mount may be given. It holds for every service of the mount.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Instances of one service. Their bytes are bounded besides: 196608, 800 for each included and 100
    /// for each tag and each entry of metadata.
    pub instances_max: u32,
    /// Bytes of the names and values of one instance's metadata.
    pub metadata_bytes_max: u32,
    /// The shortest time to live.
    pub ttl_ms_min: u64,
    /// The longest time to live.
    pub ttl_ms_max: u64,
    /// How long an instance that is not renewed stays, unhealthy, unless it says otherwise.
    pub remove_after_ms: u64,
    /// Callers that may wait for one service to change.
    pub watchers_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            instances_max: 200,
            metadata_bytes_max: 1_024,
            ttl_ms_min: 1_000,
            ttl_ms_max: 86_400_000,
            remove_after_ms: 600_000,
            watchers_max: 10_000,
        }
    }
}

impl Config {
    /// Refuses what makes no sense.
    pub(crate) fn check(&self) -> Result<()> {
        if self.ttl_ms_min == 0 || self.ttl_ms_min > self.ttl_ms_max {
            let words = "ttl_ms_min is from 1 to ttl_ms_max";
            return Err(Failure::new("bad-config", words));
        }
        Ok(())
    }
}

/// An instance to register.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Its name within the service: at most 255 bytes, no slash.
    pub id: String,
    /// The host.
    pub address: String,
    /// The port.
    pub port: u16,
    /// What to find it by, at most 32.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Whatever else is to be known.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// It must be renewed so often, by whoever. None: it lives as long as the caller's session.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// How long it stays, unhealthy, when it is not renewed; none: as the mount says.
    #[serde(default)]
    pub remove_after_ms: Option<u64>,
}

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Instance {
    /// Its name within the service.
    pub id: String,
    /// The host.
    pub address: String,
    /// The port.
    pub port: u16,
    /// What to find it by.
    pub tags: BTreeSet<String>,
    /// Whatever else is to be known.
    pub metadata: BTreeMap<String, String>,
    /// Whether it was renewed in time and did not report itself unwell.
    pub healthy: bool,
    /// The zxid at which it was registered: a fence between those that had its id.
    pub registration: u64,
    /// Who registered it.
    pub identity: String,
    /// The session with whose end it goes; none: it has a time to live.
    pub session: Option<SessionId>,
    /// How often it must be renewed.
    pub ttl_ms: Option<u64>,
    /// How long it stays when it is not renewed.
    pub remove_after_ms: u64,
    /// When it was registered: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
}

/// A sign of life.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// Which instance.
    pub id: String,
    /// What `register` gave.
    pub registration: u64,
    /// False: it lives and is unwell; not given: true.
    #[serde(default = "yes")]
    pub healthy: bool,
}

fn yes() -> bool {
    true
}

/// Which instance to take out.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Deregister {
    /// Which instance.
    pub id: String,
    /// What `register` gave.
    pub registration: u64,
}

/// Which instances to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only those with all of these.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Only those that are healthy.
    #[serde(default)]
    pub only_healthy: bool,
}

/// Instances of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Instances {
    /// Of this list; 0: there are none, whatever the filter.
    pub revision: u64,
    /// In order of id.
    pub instances: Vec<Instance>,
}

/// What to wait for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct AwaitChange {
    /// The revision of the list that the caller has; 0: none, or an empty one.
    #[serde(default)]
    pub after: u64,
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// There is another list. It is told without the list, so that telling ten thousand callers costs
/// little: `instances` reads it, from the nearest server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Change {
    /// Of the list; 0: there are no instances any more.
    pub revision: u64,
}

impl Register {
    /// Refuses what is no instance, or too large for one.
    pub(crate) fn check(&self, config: &Config) -> Result<()> {
        let is_bad = |letter: char| letter == '/' || letter.is_control();
        let id = self.id.as_str();
        let is_dots = matches!(id, "." | "..");
        if id.is_empty() || id.len() > NAME_BYTES_MAX || id.contains(is_bad) || is_dots {
            let words = format!(
                "an id has 1 to {NAME_BYTES_MAX} bytes, none of them a slash, and is not dots alone"
            );
            return Err(Failure::new("bad-id", words));
        }
        let is_long = |text: &String| text.len() > NAME_BYTES_MAX;
        if is_long(&self.address) || self.tags.len() > TAGS_MAX || self.tags.iter().any(is_long) {
            let words = format!(
                "an address and a tag have at most {NAME_BYTES_MAX} bytes, \
                 and an instance at most {TAGS_MAX} tags"
            );
            return Err(Failure::new("too-large", words));
        }
        let metadata: usize =
            self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if metadata > config.metadata_bytes_max as usize {
            let words = format!("metadata has at most {} bytes", config.metadata_bytes_max);
            return Err(Failure::new("too-large", words));
        }
        let ttl_ms = config.ttl_ms_min..=config.ttl_ms_max;
        if self.ttl_ms.is_some_and(|wanted_ms| !ttl_ms.contains(&wanted_ms)) {
            let words = format!("ttl_ms is from {} to {}", config.ttl_ms_min, config.ttl_ms_max);
            return Err(Failure::new("out-of-range", words));
        }
        Ok(())
    }
}

impl Instance {
    /// What it counts.
    pub(crate) fn bytes(&self) -> u64 {
        let tags: usize = self.tags.iter().map(String::len).sum();
        let metadata: usize =
            self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        let texts = self.id.len() + self.address.len() + self.identity.len() + tags + metadata;
        let entries = self.tags.len() + self.metadata.len();
        (texts + INSTANCE_FIXED_BYTES + ENTRY_FIXED_BYTES * entries) as u64
    }

    pub(crate) fn fits(&self, filter: &Filter) -> bool {
        filter.tags.is_subset(&self.tags) && (self.healthy || !filter.only_healthy)
    }
}
