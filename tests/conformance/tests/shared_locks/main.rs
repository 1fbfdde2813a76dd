//! One lock for callers of the recipe and for clients that lock by themselves: kazoo and Curator as
//! they are, against three real servers whose mount is open and has the layout of ZooKeeper.
//!
//! Invariant: whoever enters what the lock guards finds nobody there, whichever way it came.

mod contender;
mod contention;
mod library;
mod sessions_end;

use anyhow::{Result, ensure};
use library::Library;
use quorate_conformance::{Cluster, Recipes, Tool, on_cluster};

const LOCK: &str = "/locks/orders";
const GUARDED: &str = "/guarded";

/// Runs a body on a cluster whose locks are shared, unless the library cannot be had.
fn on_shared_locks(name: &str, body: impl AsyncFnOnce(&mut Cluster, &Library) -> Result<()>) {
    let library = match Library::of(name) {
        Ok(library) => library,
        Err(reason) => {
            println!("skipped: {name} cannot be had here: {reason}");
            return;
        }
    };
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        let layout = r#"{"layout":"zookeeper"}"#;
        tool.done(&["recipe", "mount", "/locks", "lock", "--open", "--config", layout])?;
        tool.done(&["tree", "create", GUARDED, ""])?;
        body(cluster, &library).await?;
        let left = tool.done(&["tree", "ls", LOCK])?;
        ensure!(left["children"] == serde_json::json!(["quorate"]), "znodes are left: {left}");
        cluster.assert_equal().await.map(drop)
    });
}

#[test]
fn kazoo_and_callers_of_the_recipe_exclude_one_another() {
    on_shared_locks("kazoo", contention::everybody_contends);
}

#[test]
fn curator_and_callers_of_the_recipe_exclude_one_another() {
    on_shared_locks("curator", contention::everybody_contends);
}

#[test]
fn a_lock_passes_from_dead_holders_to_and_from_kazoo() {
    on_shared_locks("kazoo", sessions_end::dead_holders_pass_it_on);
}

#[test]
fn a_lock_passes_from_dead_holders_to_and_from_curator() {
    on_shared_locks("curator", sessions_end::dead_holders_pass_it_on);
}
