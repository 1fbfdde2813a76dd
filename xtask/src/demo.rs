//! `cargo xtask demo`: a tour of a running cluster.

use anyhow::bail;

pub(crate) fn run() -> anyhow::Result<()> {
    bail!("the tour is not written yet")
}
