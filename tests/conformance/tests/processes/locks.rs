//! Locks held by real processes.

use anyhow::ensure;
use quorate_conformance::{Recipes, lock, on_cluster, poll};
use std::time::{Duration, Instant};

const LOCK: &str = "/locks/orders";
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn locks_pass_on_when_the_holder_dies() {
    on_cluster(Recipes::Lock, async |cluster| {
        let holder = lock(cluster, LOCK, SESSION_TIMEOUT)?;
        let first = holder.token().await?;
        let waiter = lock(cluster, LOCK, SESSION_TIMEOUT)?;
        poll("the waiter stands in line", async || {
            let statuses = cluster.statuses().await;
            Ok(statuses.iter().any(|status| status.tickets == 1).then_some(()))
        })
        .await?;
        ensure!(waiter.token_now()?.is_none(), "two hold the lock");
        let killed = Instant::now();
        holder.kill()?;
        let second = waiter.token().await?;
        let waited = killed.elapsed();
        println!("token {first} passed on as {second} {waited:?} after the holder was killed");
        ensure!(second > first, "the fencing token went from {first} to {second}");
        // The session ends at the earliest its timeout after the holder's last heartbeat.
        ensure!(waited >= SESSION_TIMEOUT / 2, "a live session was ended: {waited:?}");
        let status = waiter.finish().await?;
        ensure!(status.success(), "the waiter ended with {status}");
        let third = lock(cluster, LOCK, SESSION_TIMEOUT)?;
        let token = third.token().await?;
        ensure!(token > second, "the fencing token went from {second} to {token}");
        ensure!(third.finish().await?.success());
        Ok(())
    });
}
