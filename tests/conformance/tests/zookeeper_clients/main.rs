//! Clients of ZooKeeper as they are, against three real servers: Curator with all its recipes,
//! ZooKeeper's own clients in Java and C, and kazoo.
//!
//! Invariant: not a line of a client is changed, and none of its defaults is switched off.

mod c;
mod conversation;
mod curator;
mod java;
mod kazoo;

use std::path::{Path, PathBuf};

/// Where the programs of this test are.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zookeeper_clients").join(name)
}
