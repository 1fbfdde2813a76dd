//! `quorate bench zk`: that it measures what it says, and leaves nothing.

use anyhow::{Context, ensure};
use quorate_conformance::{Recipes, Tool, on_cluster};
use quorate_types::ServerId;

#[test]
fn a_bench_of_two_ensembles_measures_both_and_leaves_nothing() {
    on_cluster(Recipes::None, async |cluster| {
        let tool = Tool::bare()?;
        let before = cluster.assert_equal().await?[0].znodes;
        let all = cluster.zookeeper_addresses()?;
        let one = cluster.zookeeper_address(ServerId(1))?.to_string();
        let words = ["bench", "zk", "--servers", &all, "--beside", &one, "--seconds", "1"];
        let few = ["--outstanding", "1,48", "--rounds", "1", "--warm-up-seconds", "0"];
        let figures = tool.done(&[&words[..], &few].concat())?;
        let rows = figures["rows"].as_array().context("rows")?;
        let seen: Vec<_> =
            rows.iter().map(|row| (row["load"].as_str(), row["outstanding"].as_u64())).collect();
        let wanted =
            ["set", "get", "create"].map(|load| [1, 48].map(|most| (Some(load), Some(most))));
        ensure!(seen == wanted.concat(), "{figures}");
        for (row, of) in rows.iter().flat_map(|row| [(row, "servers"), (row, "beside")]) {
            let outstanding = row["outstanding"].as_u64();
            ensure!(row[of]["count"].as_u64() >= outstanding, "too few requests: {row}");
            let (p50, p99) = (row[of]["p50_ms"].as_f64(), row[of]["p99_ms"].as_f64());
            ensure!(p50 > Some(0.0) && p50 <= p99, "{row}");
        }
        let after = cluster.assert_equal().await?[0].znodes;
        ensure!(after == before, "{} znodes are left", after - before);
        Ok(())
    });
}

#[test]
fn a_bench_says_which_server_it_does_not_reach() {
    on_cluster(Recipes::None, async |_| {
        let tool = Tool::bare()?;
        let nobody = "127.0.0.1:1";
        let refused = tool.refused(&["bench", "zk", "--servers", nobody, "--seconds", "1"])?;
        ensure!(refused.error.contains(nobody), "{refused:?}");
        for wrong in [["--outstanding", "0"], ["--loads", "sets"], ["--seconds", "0"]] {
            let words = [&["bench", "zk", "--servers", nobody], &wrong[..]].concat();
            ensure!(tool.ran(&words).is_err(), "{words:?} was taken");
        }
        Ok(())
    });
}
