//! Maps and sets that are read as a whole, then made.
//!
//! Comes in: entries, in order as a rule. Goes out: the same map or set as serde makes by inserting one
//! after the other, for less fuel: entries that are in order are not compared with all others. Must
//! never: refuse what serde takes.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Entries that room is made for before the first is read.
const ROOM_MAX: usize = 1_024;

struct MapVisitor;

impl<'de> Visitor<'de> for MapVisitor {
    type Value = BTreeMap<String, u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut read = Vec::with_capacity(entries.size_hint().unwrap_or(0).min(ROOM_MAX));
        while let Some(entry) = entries.next_entry()? {
            read.push(entry);
        }
        Ok(read.into_iter().collect())
    }
}

pub(crate) fn map<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, u64>, D::Error> {
    from.deserialize_map(MapVisitor)
}

pub(crate) fn set<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    Ok(Vec::<String>::deserialize(from)?.into_iter().collect())
}
