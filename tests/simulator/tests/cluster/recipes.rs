//! Recipes come, go and are exchanged while servers are away or cannot run them.

use crate::cluster::Cluster;
use crate::words::{acquire, code, fence, holder, installation, release};
use bytes::Bytes;
use quorate_faulty_disk::Crash;
use quorate_simulator::work::{LOCKS, grant_of, path};
use quorate_types::{ComponentDigest, ErrorCode, Operation, Reply};

/// A cluster whose lock is held, with the other edition of it.
fn with_held_lock(seed: u64) -> (Cluster, usize, u64, ComponentDigest) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.await_leader();
    let client = cluster.add_served_client(None, 60_000);
    cluster.mount_lock(client);
    let held = fence(&cluster.ask_until_settled(client, acquire("/locks/a")));
    let next = cluster.recipes.editions("lock").1.digest;
    (cluster, client, held, next)
}

/// Uploads and installs the other edition; gives the request that lets it take over.
fn install_next(cluster: &mut Cluster, client: usize) -> Operation {
    let next = cluster.recipes.editions("lock").1.clone();
    let chunk_bytes = cluster.plan.limits.component_chunk_bytes_max as usize;
    let mut requests = installation(&next, chunk_bytes, LOCKS);
    let mount = requests.pop().expect("it ends with the mount");
    for request in requests {
        cluster.ask_until_settled(client, request).unwrap();
    }
    mount
}

fn governing(cluster: &mut Cluster, client: usize) -> ComponentDigest {
    match cluster.ask_until_settled(client, Operation::ListMounts) {
        Ok(Reply::Mounts(mounts)) => {
            let locks = mounts.into_iter().find(|mount| mount.path == path(LOCKS));
            locks.expect("the lock is mounted").digest
        }
        other => panic!("no mounts: {other:?}"),
    }
}

#[test]
fn an_upgrade_that_a_voter_cannot_run_leaves_the_old_version_serving() {
    let (mut cluster, client, held, next) = with_held_lock(71);
    let follower = cluster.follower();
    cluster.cannot_compile.insert((follower, next));
    let mount = install_next(&mut cluster, client);
    let before = governing(&mut cluster, client);
    let refused = cluster.ask_until_settled(client, mount.clone());
    assert_eq!(code(&refused), Some(ErrorCode::RecipeInvalid), "{refused:?}");
    let message = refused.expect_err("it has a code").message;
    assert!(message.contains(&format!("server {follower} cannot run it")), "{message}");
    assert_eq!(governing(&mut cluster, client), before);
    let shown = cluster.ask_until_settled(client, holder("/locks/a"));
    assert_eq!(shown.as_ref().ok().and_then(grant_of).map(|grant| grant.fence), Some(held));

    // The server is replaced by a version that can.
    cluster.cannot_compile.clear();
    cluster.restart(follower);
    let mut upgraded = cluster.ask_until_settled(client, mount.clone());
    while code(&upgraded) == Some(ErrorCode::RecipeInvalid) {
        cluster.run_for(50);
        upgraded = cluster.ask_until_settled(client, mount.clone());
    }
    upgraded.unwrap();
    assert_eq!(governing(&mut cluster, client), next);
    cluster.ask_until_settled(client, release("/locks/a", held)).unwrap();
}

#[test]
fn a_voter_that_is_away_keeps_no_recipe_from_being_mended() {
    let (mut cluster, client, held, next) = with_held_lock(72);
    let follower = cluster.follower();
    cluster.crash(follower, Crash::Kill);
    cluster.run_for(3_000);
    let mount = install_next(&mut cluster, client);
    cluster.ask_until_settled(client, mount).unwrap();
    assert_eq!(governing(&mut cluster, client), next);
    cluster.ask_until_settled(client, release("/locks/a", held)).unwrap();
}

#[test]
fn an_upgrade_waits_for_a_voter_that_still_compiles() {
    let (mut cluster, client, _, next) = with_held_lock(73);
    cluster.plan.delays.background_ms = 2_000;
    let mount = install_next(&mut cluster, client);
    let begun_ms = cluster.now_ms;
    cluster.ask_until_settled(client, mount).unwrap();
    assert_eq!(governing(&mut cluster, client), next);
    let ready = |cluster: &Cluster, id: &u64| {
        let executor = cluster.replica(*id).executor();
        let status = quorate_machine::RecipeExecutor::status(executor, &next);
        matches!(status, quorate_machine::ComponentStatus::Ready(_))
    };
    let ids: Vec<u64> = cluster.servers.keys().copied().collect();
    assert!(
        ids.iter().all(|id| ready(&cluster, id)),
        "mounted after {} ms",
        cluster.now_ms - begun_ms
    );
}

#[test]
fn what_was_mounted_is_answered_as_before_whoever_objects_since() {
    let (mut cluster, client, _, _) = with_held_lock(74);
    let mount = Operation::Mount {
        path: path(LOCKS),
        digest: governing(&mut cluster, client),
        config: Bytes::new(),
        open: false,
        fuel: None,
    };
    // No component takes over: nobody is asked.
    let follower = cluster.follower();
    let digest = governing(&mut cluster, client);
    cluster.cannot_compile.insert((follower, digest));
    cluster.restart(follower);
    cluster.run_for(3_000);
    cluster.ask_until_settled(client, mount).unwrap();
}
