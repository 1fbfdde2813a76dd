//! Servers join and leave while clients write.

use anyhow::{Context, ensure};
use quorate_conformance::{Recipes, Tool, Writer, assert_all_there, on_cluster, poll};
use std::time::{Duration, Instant};

#[test]
fn a_fourth_server_takes_the_place_of_the_leader_while_clients_write() {
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        let mut config = cluster.client_config()?;
        config.connect_timeout = Duration::from_secs(30);
        let writer = Writer::start(config, "roaming", Duration::from_millis(5)).await?;
        let joined = cluster.start_joining(&tool)?;
        let id = joined.to_string();
        let refused = tool.refused(&["member", "promote", &id])?;
        ensure!(refused.code == "no-member" && refused.exit_code == 3, "{refused:?}");
        let native = cluster.client_config_of(joined)?.endpoints[0].clone();
        tool.done(&["member", "add", &id, &native])?;
        cluster.wait_until_ready(joined).await.context("the joining server")?;
        tool.done(&["member", "promote", &id, "--wait"])?;
        let listed = tool.done(&["member", "list"])?;
        let voters = listed["members"].as_array().context("members are listed")?;
        ensure!(voters.len() == 4 && voters.iter().all(|one| one["voter"] == true), "{listed}");

        let leader = cluster.wait_until_caught_up().await?;
        let since = Instant::now();
        tool.done(&["member", "remove", &leader.to_string()])?;
        cluster.dismiss(leader)?;
        let resumed = poll("writes go on", async || Ok(writer.resumed_after(since))).await?;
        println!(
            "a write begun after the removal was asked for was acknowledged {resumed:?} later"
        );
        let next = cluster.leader().await?;
        ensure!(next != leader);
        let refused = tool.refused(&["member", "add", &leader.to_string(), "127.0.0.1:9"])?;
        ensure!(refused.code == "membership-refused", "{refused:?}");
        let written = writer.finish().await?;
        ensure!(written.sessions == 1, "the session was lost");
        assert_all_there(cluster, &[written]).await?;
        cluster.assert_equal().await.map(drop)
    });
}
