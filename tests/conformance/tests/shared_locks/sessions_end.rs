//! Holders die, and the lock passes on to the other kind.

use crate::LOCK;
use crate::contender::{Contender, SESSION_TIMEOUT};
use crate::library::Library;
use anyhow::{Result, ensure};
use quorate_conformance::{Cluster, Tool, lock, poll};
use serde_json::Value;
use std::time::Instant;

/// So many of the lock's znodes are places of clients and callers.
async fn wait_for_places(tool: &Tool, count: usize) -> Result<()> {
    poll("the next one stands in line", async || {
        let listed = tool.done(&["tree", "ls", LOCK])?;
        let names = listed["children"].as_array().cloned().unwrap_or_default();
        let is_place = |name: &&Value| {
            name.as_str().is_some_and(|name| {
                name.contains("-lock-") || (!name.contains("quorate") && name.contains("__lock__"))
            })
        };
        Ok((names.iter().filter(is_place).count() == count).then_some(()))
    })
    .await
}

pub(crate) async fn dead_holders_pass_it_on(
    cluster: &mut Cluster,
    library: &Library,
) -> Result<()> {
    let tool = Tool::of(cluster)?;
    let mut dying = Contender::start(cluster, library, (0, "a", 0)).await?;
    dying.begin()?;
    dying.wait_for("held").await?;
    let held = tool.done(&["call", LOCK, "holder"])?;
    ensure!(held["reply"]["fence"] == 0 && held["reply"]["places"][0].is_string(), "{held}");
    let refused = tool.refused(&["call", LOCK, "break"])?;
    ensure!(refused.recipe_code == "foreign-holder", "{refused:?}");

    // A client's session ends, and a caller has the lock.
    let caller = lock(cluster, LOCK, SESSION_TIMEOUT)?;
    wait_for_places(&tool, 2).await?;
    ensure!(caller.token_now()?.is_none(), "two hold the lock");
    let killed = Instant::now();
    dying.kill()?;
    let token = caller.token().await?;
    let to_caller = killed.elapsed();

    // The caller's session ends, and a client has the lock.
    let mut client = Contender::start(cluster, library, (1, "b", 0)).await?;
    client.begin()?;
    wait_for_places(&tool, 2).await?;
    ensure!(!client.has_said("held")?, "two hold the lock");
    let killed = Instant::now();
    caller.kill()?;
    client.wait_for("held").await?;
    let to_client = killed.elapsed();
    println!("passed on to the caller after {to_caller:?}, to the client after {to_client:?}");
    // A session ends at the earliest its timeout after its last sign of life, a third of that ago.
    let earliest = SESSION_TIMEOUT / 2;
    ensure!(to_caller.min(to_client) >= earliest, "a live session was ended");

    // A client releases at once, and so does a caller.
    let next = lock(cluster, LOCK, SESSION_TIMEOUT)?;
    wait_for_places(&tool, 2).await?;
    client.finish().await?;
    ensure!(next.token().await? > token, "the fencing token went back");
    ensure!(next.finish().await?.success());
    wait_for_places(&tool, 0).await
}
