//! Loads of `quorate bench` as counts: what contention and a queue's length cost, and what is left.

use anyhow::{Context, Result, ensure};
use quorate_conformance::{Cluster, Recipes, Tool, on_cluster};
use serde_json::Value;

const CLIENTS: u64 = 16;

fn number(figures: &Value, name: &str) -> Result<u64> {
    figures[name].as_u64().with_context(|| format!("no {name} in {figures}"))
}

async fn znodes(cluster: &mut Cluster) -> Result<u64> {
    Ok(cluster.assert_equal().await?[0].znodes)
}

#[test]
fn a_turn_of_a_contended_lock_is_two_entries_and_its_hand_over_is_one() {
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        let before = znodes(cluster).await?;
        for objects in ["1", "3"] {
            let words = ["bench", "lock", "--clients", "16", "--objects", objects];
            let figures = tool.done(&[&words[..], &["--seconds", "2"]].concat())?;
            println!("{figures}");
            let (turns, entries) = (number(&figures, "count")?, number(&figures, "entries")?);
            // One entry for each acquire, which parks, and one for each release, which grants and
            // answers the next in line: no more, and no fewer, since each call is on record.
            ensure!(entries == 2 * turns, "{entries} entries for {turns} turns");
            let least = number(&figures, "client_turns_min")?;
            ensure!(turns >= CLIENTS && least >= 1, "a client got nothing: {figures}");
            // In order of arrival, shares of one lock are equal but for who came first and last.
            let is_fair = objects != "1" || least * CLIENTS * 2 >= turns;
            ensure!(is_fair, "a client got less than half of its share: {figures}");
            ensure!(znodes(cluster).await? == before, "something is left in the tree");
        }
        Ok(())
    });
}

#[test]
fn a_bench_of_a_queue_takes_at_both_lengths_and_leaves_nothing() {
    on_cluster(Recipes::All, async |cluster| {
        let tool = Tool::of(cluster)?;
        let before = znodes(cluster).await?;
        let words = ["bench", "queue", "--short", "50", "--items", "350", "--outstanding", "8"];
        let figures = tool.done(&[&words[..], &["--seconds", "1"]].concat())?;
        let lengths = figures["lengths"].as_array().context("lengths")?;
        let seen: Vec<u64> =
            lengths.iter().map(|row| number(row, "length")).collect::<Result<_>>()?;
        ensure!(seen == [50, 350], "{figures}");
        for row in lengths {
            ensure!(number(row, "count")? >= 8, "a taker got nothing: {figures}");
        }
        ensure!(znodes(cluster).await? == before, "something is left in the tree");
        Ok(())
    });
}
