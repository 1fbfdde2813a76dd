//! Disks that lost or changed what was on them.

use anyhow::{Context, Result, ensure};
use quorate_client::{Client, CreateMode, ServerId};
use quorate_conformance::{
    Cluster, Recipes, SegmentFile, Writer, assert_all_there, on_cluster, poll,
};
use std::time::{Duration, Instant};

/// So many writes fill a few hundred kilobytes: within one segment of a `dev` cluster.
const WRITES: usize = 60;
const DATA_BYTES: usize = 4_000;
/// Several times the longest wait before an election.
const SEVERAL_ELECTIONS: Duration = Duration::from_secs(4);

async fn write(client: &Client, top: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for number in 0..WRITES {
        let path = format!("{top}-{number:04}");
        client.create(&path, vec![b'd'; DATA_BYTES], CreateMode::Persistent).await?;
        paths.push(path);
    }
    Ok(paths)
}

async fn assert_paths(client: &Client, paths: &[String]) -> Result<()> {
    for path in paths {
        let znode = client.get(path).await.with_context(|| path.clone())?;
        ensure!(znode.data.len() == DATA_BYTES, "{path} has {} bytes", znode.data.len());
    }
    Ok(())
}

#[test]
fn a_server_whose_log_lost_its_last_frame_half_way_starts() {
    on_cluster(Recipes::None, async |cluster| {
        let (follower, _, _) = cluster.roles().await?;
        for keeps_front in [true, false] {
            let config = cluster.client_config()?;
            let name = if keeps_front { "first" } else { "second" };
            let writer = Writer::start(config, name, Duration::from_millis(5)).await?;
            poll("some writes", async || Ok((writer.acknowledged() > 100).then_some(()))).await?;
            cluster.kill(follower)?;
            tear(&SegmentFile::newest(&cluster.data_folder(follower))?, keeps_front)?;
            cluster.start_server(follower)?;
            cluster.wait_until_ready(follower).await?;
            cluster.wait_until_caught_up().await?;
            let written = writer.finish().await?;
            assert_all_there(cluster, &[written]).await?;
            let statuses = cluster.assert_equal().await?;
            ensure!(statuses.iter().all(|status| status.alarms.is_empty()), "{statuses:?}");
        }
        Ok(())
    });
}

/// Leaves the newest entries as a power cut in the middle of their write could: one half is on the
/// disk, and nothing that was written later is.
fn tear(segment: &SegmentFile, keeps_front: bool) -> Result<()> {
    let (frame, _) = segment.newest_with_entries()?;
    let end = segment.frames.last().context("no frame")?.bytes.end;
    let middle = frame.payload.start + frame.payload.len() / 2;
    segment.zero(frame.bytes.end..end)?;
    let lost = if keeps_front { middle..frame.bytes.end } else { frame.bytes.start..middle };
    segment.zero(lost)
}

#[test]
fn a_flipped_byte_in_acknowledged_entries_is_refetched_before_the_server_serves() {
    on_cluster(Recipes::None, async |cluster| {
        // The one that lags never saw the second half of the writes; the leader and the one to be
        // damaged have acknowledged them.
        let (damaged, lagging, leader) = cluster.roles().await?;
        let client = cluster.connect_to(leader).await?;
        let mut paths = write(&client, "/before").await?;
        cluster.kill(lagging)?;
        paths.extend(write(&client, "/after").await?);
        cluster.kill(damaged)?;
        cluster.kill(leader)?;
        flip_in_the_middle(&SegmentFile::newest(&cluster.data_folder(damaged))?)?;

        cluster.start_server(damaged)?;
        let refused = refusal(cluster, damaged).await?;
        ensure!(refused.contains("refetch"), "alone it says: {refused}");

        // With the lagging one it is a majority, and it once acknowledged what the lagging one has
        // never seen: if its vote counted, that one would win and the writes would be lost.
        cluster.start_server(lagging)?;
        let begin = Instant::now();
        while begin.elapsed() < SEVERAL_ELECTIONS {
            let refused = refusal(cluster, lagging).await?;
            ensure!(!cluster.process(damaged)?.is_ready()?, "a leader came of the damaged server");
            ensure!(!cluster.process(lagging)?.is_ready()?, "a leader came of the lagging server");
            println!("the lagging server says: {refused}");
        }

        cluster.start_server(leader)?;
        for server in cluster.servers() {
            cluster.wait_until_ready(server).await?;
        }
        let client = cluster.connect().await?;
        assert_paths(&client, &paths).await?;
        let own = cluster.connect_to(damaged).await?;
        assert_paths(&own, &paths).await?;
        let status = cluster.status(damaged).await?;
        let told = status.alarms.iter().any(|alarm| alarm.contains("damaged"));
        ensure!(told, "no alarm tells of the damage: {status:?}");
        println!("alarm: {:?}", status.alarms);
        cluster.assert_equal().await.map(drop)
    });
}

/// Damages entries with many newer ones behind them.
fn flip_in_the_middle(segment: &SegmentFile) -> Result<()> {
    let full: Vec<_> = segment.frames.iter().filter(|frame| frame.entry_count > 0).collect();
    // In the second half of the writes, and not near the end.
    let frame = full[full.len() - WRITES / 3];
    println!("flipped a byte of entry {}", frame.first_index);
    segment.flip(frame.payload.start + frame.payload.len() / 2)
}

/// Why a server does not serve.
async fn refusal(cluster: &Cluster, server: ServerId) -> Result<String> {
    let mut config = cluster.client_config_of(server)?;
    config.connect_timeout = Duration::from_secs(2);
    match Client::connect(config).await {
        Ok(_) => anyhow::bail!("server {server} serves"),
        Err(error) => Ok(error.to_string()),
    }
}

#[test]
fn a_wiped_disk_under_an_old_id_is_refused() {
    on_cluster(Recipes::None, async |cluster| {
        let (wiped, other, leader) = cluster.roles().await?;
        let client = cluster.connect_to(leader).await?;
        let mut paths = write(&client, "/before").await?;
        cluster.wait_until_caught_up().await?;
        cluster.kill(wiped)?;
        std::fs::remove_dir_all(cluster.data_folder(wiped))?;
        std::fs::create_dir(cluster.data_folder(wiped))?;
        cluster.start_server(wiped)?;
        for server in [leader, other] {
            let alarm = poll("the wiped server is refused", async || {
                let alarms = cluster.status(server).await?.alarms;
                Ok(alarms.into_iter().find(|alarm| alarm.contains("another data directory")))
            })
            .await?;
            println!("server {server}: {alarm}");
        }
        paths.extend(write(&client, "/after").await?);
        assert_paths(&client, &paths).await?;
        let refused = refusal(cluster, wiped).await?;
        ensure!(!cluster.process(wiped)?.is_ready()?, "the wiped server found a leader");
        println!("the wiped server says: {refused}");
        Ok(())
    });
}
