//! The leader is killed again and again while clients write.

use anyhow::{Context, Result};
use quorate_client::{ClientConfig, ServerId};
use quorate_conformance::{Cluster, Recipes, Writer, Written, assert_all_there, on_cluster, poll};
use std::time::{Duration, Instant};

const KILLS: usize = 20;
/// Each of the four writers: 200 writes a second together.
const WRITE_INTERVAL: Duration = Duration::from_millis(20);
/// What is promised on a machine that has time.
const RESUME_GOAL: Duration = Duration::from_secs(2);

#[test]
fn every_acknowledged_write_survives_twenty_kills_of_the_leader() {
    on_cluster(Recipes::None, async |cluster| {
        let writers = Writers::start(cluster).await?;
        let mut rounds = Vec::new();
        for _ in 0..KILLS {
            rounds.push(kill_leader(cluster, &writers).await?);
        }
        let written = writers.finish().await?;
        print_rounds(&rounds);
        for one in &written {
            let (count, sessions) = (one.acknowledged(), one.sessions);
            println!("writer {}: {count} writes acknowledged in {sessions} session(s)", one.name);
        }
        assert_all_there(cluster, &written).await?;
        cluster.assert_equal().await.map(drop)
    });
}

/// One that goes to any server, as applications do, and one that stays at each server.
struct Writers {
    roaming: Writer,
    staying: Vec<(ServerId, Writer)>,
}

impl Writers {
    async fn start(cluster: &mut Cluster) -> Result<Writers> {
        cluster.leader().await?;
        let mut staying = Vec::new();
        for server in cluster.servers() {
            let config = patient(cluster.client_config_of(server)?);
            let writer = Writer::start(config, &format!("at-{server}"), WRITE_INTERVAL).await?;
            staying.push((server, writer));
        }
        let config = patient(cluster.client_config()?);
        let roaming = Writer::start(config, "roaming", WRITE_INTERVAL).await?;
        Ok(Writers { roaming, staying })
    }

    async fn finish(self) -> Result<Vec<Written>> {
        let mut written = vec![self.roaming.finish().await?];
        for (_, writer) in self.staying {
            written.push(writer.finish().await?);
        }
        Ok(written)
    }
}

/// The server of a client may be down for a while here.
fn patient(mut config: ClientConfig) -> ClientConfig {
    config.connect_timeout = Duration::from_secs(30);
    config
}

struct Round {
    killed: ServerId,
    /// Of a client whose own server goes on.
    cluster_resumed: Duration,
    roaming_resumed: Duration,
    roaming_was_at_killed: bool,
}

async fn kill_leader(cluster: &mut Cluster, writers: &Writers) -> Result<Round> {
    let killed = cluster.wait_until_caught_up().await?;
    let roaming_was_at_killed = writers.roaming.served_by() == Some(killed);
    let since = Instant::now();
    cluster.kill(killed)?;
    let survivors = || writers.staying.iter().filter(|(server, _)| *server != killed);
    let cluster_resumed = poll("writes resume after the kill", async || {
        Ok(survivors().filter_map(|(_, writer)| writer.resumed_after(since)).min())
    })
    .await
    .with_context(|| format!("after server {killed} was killed"))?;
    // The killed server stays down meanwhile: nobody tells its clients that it is gone.
    let roaming_resumed =
        poll("the roaming writer goes on", async || Ok(writers.roaming.resumed_after(since)))
            .await?;
    cluster.start_server(killed)?;
    cluster.wait_until_ready(killed).await?;
    Ok(Round { killed, cluster_resumed, roaming_resumed, roaming_was_at_killed })
}

fn print_rounds(rounds: &[Round]) {
    for (number, round) in (1..).zip(rounds) {
        let place =
            if round.roaming_was_at_killed { " (its server was the one killed)" } else { "" };
        println!(
            "kill {number:2} of server {}: writes resumed after {:4} ms; a client of any server \
             went on after {:4} ms{place}",
            round.killed,
            round.cluster_resumed.as_millis(),
            round.roaming_resumed.as_millis(),
        );
    }
    summarize("writes resumed", rounds.iter().map(|round| round.cluster_resumed).collect());
    summarize("a client of any server", rounds.iter().map(|round| round.roaming_resumed).collect());
}

fn summarize(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let in_time = times.iter().filter(|time| **time < RESUME_GOAL).count();
    println!(
        "{what}: min {:?}, median {:?}, max {:?}; {in_time} of {} under {RESUME_GOAL:?}",
        times[0],
        times[times.len() / 2],
        times[times.len() - 1],
        times.len()
    );
}
