//! A recipe that the servers were not built with, brought to them while they work.

use anyhow::ensure;
use quorate_conformance::{
    Recipes, Tool, Writer, assert_all_there, example, on_cluster, poll, word,
};
use serde_json::json;
use std::time::Duration;

#[test]
fn a_recipe_from_outside_is_built_tested_installed_and_called_while_the_cluster_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let component = folder.path().join("counter.wasm");
    let source = example("counter-recipe");
    let tool = Tool::bare().expect("a folder");
    let source = word(&source).expect("a path");
    tool.ran(&["recipe", "test", source]).expect("its tests pass");
    let out = word(&component).expect("a path");
    let built = tool.done(&["recipe", "build", source, "--out", out]).expect("builds");

    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        let before = cluster.process_ids();
        let interval = Duration::from_millis(5);
        let writer = Writer::start(cluster.client_config()?, "background", interval).await?;
        let begun = writer.acknowledged();

        let installed = tool.done(&["recipe", "install", word(&component)?])?;
        ensure!(installed["digest"] == built["digest"], "{installed} was not {built}");
        let config = r#"{"first": 1000}"#;
        tool.done(&["recipe", "mount", "/tallies", "tally@1.0.0", "--config", config])?;
        let visits = "/tallies/visits";
        let block = tool.done(&["call", visits, "reserve", "--args", r#"{"count": 10}"#])?;
        ensure!(block["reply"] == json!({ "first": 1000, "count": 10 }), "{block}");
        let sum = tool.done(&["call", visits, "add", "--by", "5"])?;
        ensure!(sum["reply"] == json!(1015), "{sum}");
        let read = tool.done(&["call", visits, "read"])?;
        ensure!(read["reply"] == json!(1015), "{read}");
        // The recipe's own refusal is its own words and its own code.
        let refused = tool.refused(&["call", visits, "add", "--by", "0"])?;
        ensure!(refused.recipe_code == "out-of-range", "{refused:?}");
        ensure!(refused.exit_code == 4, "{refused:?}");

        poll(
            "the writer goes on",
            async || Ok((writer.acknowledged() > begun + 100).then_some(())),
        )
        .await?;
        let written = writer.finish().await?;
        assert_all_there(cluster, &[written]).await?;
        cluster.assert_equal().await?;
        ensure!(cluster.process_ids() == before, "a server was restarted");
        Ok(())
    });
}
