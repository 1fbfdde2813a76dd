//! Quotas of subtrees, as ZooKeeper has them: what is used is kept in a znode, and so are the limits.
//!
//! `/zookeeper/quota/<path>/zookeeper_limits` sets the limits of `<path>` and everything below it;
//! `zookeeper_stats` beside it is kept up with how many znodes there are and how many bytes of data.
//! Comes in: what happens to a znode. Goes out: the stats after it; on the leader, whether a limit
//! is passed. Invariant: the stats follow from the changes alone, in the transaction that makes them,
//! so they are the same on every server; of several limits above a znode the nearest counts. Where
//! nobody set limits, nothing is looked up. Must never tell watches of stats or move their version:
//! ZooKeeper does not.

use crate::apply;
use crate::tables::{Quotas, State, Znodes};
use crate::znode::{self, TreeKey, Znode};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;
use quorate_types::{ZnodeData, ZnodePath};

/// Above the znodes of a quota.
const QUOTA: &str = "/zookeeper/quota";
const LIMITS: &str = "/zookeeper_limits";
const STATS: &str = "/zookeeper_stats";

/// What a change adds to a subtree, or takes from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) bytes: i64,
    pub(crate) count: i64,
}

impl Difference {
    /// A znode comes, with so much data.
    pub(crate) fn created(data: &[u8]) -> Difference {
        Difference { bytes: length(data), count: 1 }
    }

    /// A znode goes, with its data.
    pub(crate) fn deleted(data: &[u8]) -> Difference {
        Difference { bytes: -length(data), count: -1 }
    }

    /// Data takes the place of other data.
    pub(crate) fn set(before: &[u8], after: &[u8]) -> Difference {
        Difference { bytes: length(after) - length(before), count: 0 }
    }
}

fn length(data: &[u8]) -> i64 {
    i64::try_from(data.len()).unwrap_or(i64::MAX)
}

/// Limits or stats, as ZooKeeper's `StatsTrack` reads them; -1: not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Track {
    count: i64,
    bytes: i64,
    count_hard: i64,
    bytes_hard: i64,
}

impl Track {
    /// Words like `count=4,bytes=5=;countHardLimit=10;byteHardLimit=10`; the `=` behind the bytes is
    /// there for readers from before hard limits.
    fn read(data: &[u8]) -> Track {
        let mut track = Track { count: -1, bytes: -1, count_hard: -1, bytes_hard: -1 };
        for word in core::str::from_utf8(data).unwrap_or("").split([',', ';']) {
            let mut parts = word.split('=');
            let (key, number) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let number = number.parse().unwrap_or(-1);
            match key {
                "count" => track.count = number,
                "bytes" => track.bytes = number,
                "countHardLimit" => track.count_hard = number,
                "byteHardLimit" => track.bytes_hard = number,
                _ => {}
            }
        }
        track
    }
}

/// The path whose limits a znode sets. Limits of the root count for nothing in ZooKeeper.
pub(crate) fn limited_by(path: &ZnodePath) -> Option<ZnodePath> {
    owner(path, LIMITS)
}

fn owner(path: &ZnodePath, name: &str) -> Option<ZnodePath> {
    let of = path.as_str().strip_prefix(QUOTA)?.strip_suffix(name)?;
    ZnodePath::parse(of).ok().filter(|of| !of.is_root())
}

fn beside(of: &ZnodePath, name: &str) -> Option<ZnodePath> {
    ZnodePath::parse(&format!("{QUOTA}{of}{name}")).ok()
}

/// The path whose limits count for a znode.
fn nearest(state: &impl State, path: &ZnodePath) -> Option<ZnodePath> {
    if state.is_empty::<Quotas>() {
        return None;
    }
    let mut at = Some(path.clone());
    while let Some(path) = at {
        if state.has::<Quotas>(&path) {
            return Some(path);
        }
        at = path.parent();
    }
    None
}

/// Brings the stats up to what has just become of a znode.
pub(crate) fn account(state: &mut impl State, path: &ZnodePath, difference: Difference) {
    if difference == Difference::default() {
        return;
    }
    let Some(stats) = nearest(state, path).and_then(|of| beside(&of, STATS)) else { return };
    let Some(before) = state.znode(&stats) else { return };
    let track = Track::read(&before.data);
    let count = track.count.saturating_add(difference.count);
    put_stats(state, &stats, &before, (count, track.bytes.saturating_add(difference.bytes)));
}

/// New stats begin with what is there, whatever was written into them.
pub(crate) fn begin_stats(state: &mut impl State, path: &ZnodePath) {
    let Some(of) = owner(path, STATS) else { return };
    let Some(before) = state.znode(path) else { return };
    let counted = count(state, &of);
    put_stats(state, path, &before, counted);
}

fn put_stats(state: &mut impl State, path: &ZnodePath, before: &Znode, counted: (i64, i64)) {
    let data = ZnodeData::from(words(counted));
    let after = Znode { data_hash: znode::hash_data(&data), data, ..before.clone() };
    apply::put_znode(state, path, Some(before), Some(after));
}

fn words((count, bytes): (i64, i64)) -> String {
    format!("count={count},bytes={bytes}")
}

/// What the stats of a path must say.
#[cfg(test)]
pub(crate) fn recounted(state: &impl State, of: &ZnodePath) -> String {
    words(count(state, of))
}

/// Znodes and bytes of a subtree, its top included, by walking all of it, as ZooKeeper does.
fn count(state: &impl State, top: &ZnodePath) -> (i64, i64) {
    let Some(znode) = state.znode(top) else { return (0, 0) };
    let (mut count, mut bytes) = (1, length(&znode.data));
    let mut parents: Vec<ZnodePath> = [top.clone()].into();
    while let Some(parent) = parents.pop() {
        let from = TreeKey::before_children(&parent);
        state.scan::<Znodes>(Bound::Excluded(&from), &mut |key, znode| {
            if key.is_child_of(&parent) {
                count += 1;
                bytes += length(&znode.data);
                if znode.children_count > 0 {
                    parents.push(key.path().clone());
                }
            }
            key.may_be_beside(&from)
        });
    }
    (count, bytes)
}

/// A limit that a change would pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Whether the change may be refused for it; else it is worth a warning.
    pub(crate) is_hard: bool,
    /// For a person.
    pub(crate) text: String,
}

/// The limits that a change would pass. A soft one is told once, when it is passed, and counts only
/// where there is no hard one; both are ZooKeeper's rules but for the once.
pub(crate) fn passed(state: &impl State, path: &ZnodePath, difference: Difference) -> Vec<Passed> {
    let Some(of) = nearest(state, path) else { return Vec::new() };
    let at = |name| beside(&of, name).and_then(|path| state.znode(&path));
    let (Some(limits), Some(stats)) = (at(LIMITS), at(STATS)) else { return Vec::new() };
    let (limits, stats) = (Track::read(&limits.data), Track::read(&stats.data));
    let judge = |what: &str, used: i64, more: i64, (soft, hard): (i64, i64)| {
        let is_hard = hard > -1;
        let (limit, after) = (if is_hard { hard } else { soft }, used.saturating_add(more));
        let is_passed = limit > -1 && after > limit && more != 0;
        let is_new = used <= limit;
        (is_passed && (is_hard || is_new)).then(|| Passed {
            is_hard,
            text: format!("{of} would have {after} {what}, and its quota is {limit}"),
        })
    };
    let count = judge("znodes", stats.count, difference.count, (limits.count, limits.count_hard));
    let bytes = judge("bytes", stats.bytes, difference.bytes, (limits.bytes, limits.bytes_hard));
    count.into_iter().chain(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    #[test]
    fn tracks_are_read_as_zookeeper_writes_them() {
        let track =
            |count, bytes, count_hard, bytes_hard| Track { count, bytes, count_hard, bytes_hard };
        for (text, expected) in [
            ("count=4,bytes=5", track(4, 5, -1, -1)),
            ("count=4,bytes=5=;countHardLimit=10;byteHardLimit=20", track(4, 5, 10, 20)),
            ("count=-1,bytes=-1=;byteHardLimit=20", track(-1, -1, -1, 20)),
            ("", track(-1, -1, -1, -1)),
            ("count=,bytes=many;other=1", track(-1, -1, -1, -1)),
        ] {
            assert_eq!(Track::read(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(Track::read(b"\xff"), track(-1, -1, -1, -1));
    }

    #[test]
    fn the_znodes_of_a_quota_name_their_subtree() {
        assert_eq!(limited_by(&path("/zookeeper/quota/a/b/zookeeper_limits")), Some(path("/a/b")));
        for other in [
            "/zookeeper/quota/zookeeper_limits",
            "/zookeeper/quota/a/zookeeper_stats",
            "/zookeeper/quotas/a/zookeeper_limits",
            "/a/zookeeper_limits",
        ] {
            assert_eq!(limited_by(&path(other)), None, "{other}");
        }
        assert_eq!(beside(&path("/a"), STATS), Some(path("/zookeeper/quota/a/zookeeper_stats")));
    }
}
