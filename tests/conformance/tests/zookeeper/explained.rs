//! Where quorate answers otherwise than Debian's ZooKeeper 3.8, and why.
//!
//! Invariant: a step with one of these reasons does differ; the test fails when it no longer does.

/// ZooKeeper 3.9.2 and 3.8.4 let only those who may read a znode ask whether it is there.
pub(crate) const EXISTS_READS: &str =
    "exists asks for READ since ZooKeeper 3.8.4 and 3.9.2; Debian has 3.8.0";

/// The znodes of ZooKeeper itself are not part of the comparison.
pub(crate) const SYSTEM_ZNODES: &str =
    "the znodes below /zookeeper are not there yet: deleting one is told so, not that it must stay";

/// ZooKeeper lets anybody delete any empty znode in this way, whatever its ACL says.
pub(crate) const DELETE_CONTAINER: &str = "deleteContainer is what ZooKeeper's leader asks of itself; it checks no ACL, so no client may ask";
