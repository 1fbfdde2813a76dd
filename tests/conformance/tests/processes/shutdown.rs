//! A leader that is asked to go.

use anyhow::ensure;
use quorate_conformance::{Recipes, Writer, assert_all_there, on_cluster, poll};
use std::time::{Duration, Instant};

#[test]
fn a_leader_asked_to_end_hands_over_and_loses_nothing() {
    on_cluster(Recipes::None, async |cluster| {
        let leader = cluster.leader().await?;
        let follower = cluster.others(leader)[0];
        let interval = Duration::from_millis(5);
        let mut writers = Vec::new();
        for server in [leader, follower] {
            let mut config = cluster.client_config()?;
            // The one at the leader goes elsewhere when it is told goodbye.
            let stays = server == follower;
            let only = cluster.client_config_of(server)?.endpoints;
            if stays {
                config.endpoints = only;
            }
            let name = format!("at-{server}");
            writers.push(Writer::start(config, &name, interval).await?);
        }
        let begun = |writer: &Writer| writer.acknowledged() > 100;
        poll("writes", async || Ok(writers.iter().all(begun).then_some(()))).await?;

        let since = Instant::now();
        let status = cluster.take(leader)?.terminate().await?;
        let ended = since.elapsed();
        ensure!(status.success(), "the leader ended with {status}");
        for writer in &writers {
            let resumed = poll("writes go on", async || Ok(writer.resumed_after(since))).await?;
            println!("a write begun after the signal was acknowledged {resumed:?} after it");
        }
        println!("the leader ended {ended:?} after the signal");
        let next = cluster.leader().await?;
        ensure!(next != leader);

        cluster.start_server(leader)?;
        cluster.wait_until_ready(leader).await?;
        let mut written = Vec::new();
        for writer in writers {
            written.push(writer.finish().await?);
        }
        let lost = written.iter().filter(|one| one.sessions != 1).count();
        ensure!(lost == 0, "{lost} sessions were lost");
        assert_all_there(cluster, &written).await?;
        cluster.assert_equal().await.map(drop)
    });
}
