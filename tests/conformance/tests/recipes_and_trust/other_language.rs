//! A recipe written in C, built by its own script and used like any other.

use anyhow::{Context, Result, bail, ensure};
use quorate_client::Client;
use quorate_conformance::{Recipes, Tool, binary, example, on_cluster, poll, word};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tokio::task::JoinHandle;

/// What the script ends with when the compiler cannot be had here.
const UNAVAILABLE: i32 = 69;

/// Builds the component; `None` where its compiler cannot be had.
fn build() -> Result<Option<PathBuf>> {
    let folder = example("two-phase-commit");
    let mut script = Command::new(folder.join("build.sh"));
    let output = script.env("QUORATE", binary()?).output().context("cannot run build.sh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(Some(folder.join("target/two-phase-commit.wasm"))),
        Some(UNAVAILABLE) => {
            println!("skipped: no C compiler for Wasm here: {said}");
            Ok(None)
        }
        _ => bail!("build.sh ended with {}: {said}", output.status),
    }
}

/// A yes of one of `of`, by a client of its own, which waits in a task.
fn vote_yes(client: &Client, object: &str, of: u32) -> JoinHandle<Result<Value>> {
    let (client, object) = (client.clone(), object.to_owned());
    tokio::spawn(async move {
        let ballot = json!({ "of": of, "yes": true });
        Ok(client.call::<Value, Value>(&object, "vote", &ballot).await?)
    })
}

async fn wait_for_votes(tool: &Tool, object: &str, wanted: u32) -> Result<()> {
    poll("votes are waiting", async || {
        let outcome = tool.done(&["call", object, "outcome"])?;
        Ok((outcome["reply"]["yes"] == wanted).then_some(()))
    })
    .await
}

#[test]
fn a_recipe_in_c_is_built_installed_mounted_and_called() {
    let Some(component) = build().expect("it builds") else { return };
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        let file = word(&component)?;
        check_inspection(&tool.done(&["recipe", "inspect", file])?)?;
        tool.done(&["recipe", "install", file])?;
        let config = r#"{"keep_secs": 1}"#;
        let words = ["recipe", "mount", "/commits", "two-phase-commit", "--config", config];
        let refused = tool.refused(&words)?;
        ensure!(refused.recipe_code == "bad-config", "{refused:?}");
        tool.done(&["recipe", "mount", "/commits", "two-phase-commit"])?;
        let told = tool.done(&["call", "/commits/a", "vote", "--help"])?;
        ensure!(told["operation"]["name"] == "vote", "{told}");
        check_wrong_votes(&tool)?;

        let (one, two) = (cluster.connect().await?, cluster.connect().await?);
        // All vote yes: every one of them gets the same outcome.
        let waiting = [vote_yes(&one, "/commits/a", 3), vote_yes(&two, "/commits/a", 3)];
        wait_for_votes(&tool, "/commits/a", 2).await?;
        let refused = tool.refused(&["call", "/commits/a", "forget"])?;
        ensure!(refused.recipe_code == "undecided", "{refused:?}");
        let last = tool.done(&["call", "/commits/a", "vote", "--of", "3", "--yes"])?;
        ensure!(last["reply"]["outcome"] == "commit", "{last}");
        for vote in waiting {
            let reply = vote.await??;
            ensure!(reply == last["reply"], "{reply} is not {last}");
        }
        let late = tool.done(&["call", "/commits/a", "vote", "--of", "3", "--yes", "false"])?;
        ensure!(late["reply"] == last["reply"], "a decided outcome has changed: {late}");

        // A participant that is lost aborts for those who wait.
        let waiting = vote_yes(&one, "/commits/b", 3);
        wait_for_votes(&tool, "/commits/b", 1).await?;
        let lost = vote_yes(&two, "/commits/b", 3);
        wait_for_votes(&tool, "/commits/b", 2).await?;
        two.close().await?;
        let reply = waiting.await??;
        ensure!(reply["outcome"] == "abort", "{reply}");
        ensure!(reply["why"] == "a participant's session ended", "{reply}");
        ensure!(lost.await?.is_err(), "its session has ended");
        check_expiry_and_forgetting(&tool).await?;
        one.close().await?;
        cluster.assert_equal().await.map(drop)
    });
}

fn check_inspection(inspection: &Value) -> Result<()> {
    let imports = inspection["imports"].as_array().context("imports")?;
    let of_contract =
        |import: &Value| import.as_str().is_some_and(|name| name.starts_with("quorate:recipe/"));
    ensure!(!imports.is_empty() && imports.iter().all(of_contract), "{imports:?}");
    for operation in inspection["operations"].as_array().context("operations")? {
        ensure!(operation["sample"]["outcome"] == "done", "{operation}");
        ensure!(operation["arguments_schema"]["type"].is_string(), "{operation}");
    }
    Ok(())
}

/// Wrong arguments get words and leave nothing, whoever sends them.
fn check_wrong_votes(tool: &Tool) -> Result<()> {
    let vote = ["call", "/commits/a", "vote"];
    let refused = tool.refused(&[&vote[..], &["--of", "none", "--yes"]].concat())?;
    ensure!(refused.error.contains("a whole number from 1 to 400"), "{refused:?}");
    for (arguments, words) in [
        (r#"{"of": "two", "yes": true}"#, "not a map of"),
        (r#"{"of": 2, "yes": 1}"#, "not a map of"),
        (r#"{"of": 2, "maybe": true}"#, "unknown field"),
        (r#"{"of": 2}"#, "missing field `yes`"),
        ("null", "missing field `of`"),
        ("[2, true]", "not a map of"),
    ] {
        let refused = tool.refused(&[&vote[..], &["--args", arguments]].concat())?;
        ensure!(refused.recipe_code == "bad-arguments", "{arguments}: {refused:?}");
        ensure!(refused.error.contains(words), "{arguments}: {refused:?}");
    }
    let refused =
        tool.refused(&[&vote[..], &["--args", r#"{"of": 401, "yes": true}"#]].concat())?;
    ensure!(refused.recipe_code == "out-of-range", "{refused:?}");
    Ok(())
}

async fn check_expiry_and_forgetting(tool: &Tool) -> Result<()> {
    let words = ["call", "/commits/c", "vote", "--of", "2", "--yes", "--wait-ms", "50"];
    let refused = tool.refused(&words)?;
    ensure!(refused.code == "timed-out", "{refused:?}");
    let outcome = tool.done(&["call", "/commits/c", "outcome"])?;
    ensure!(outcome["reply"]["why"] == "a participant waited no longer", "{outcome}");
    for object in ["a", "b", "c"] {
        tool.done(&["call", &format!("/commits/{object}"), "forget"])?;
    }
    poll("objects that hold nothing go", async || {
        let left = tool.done(&["tree", "ls", "/commits"])?;
        Ok((left["children"] == json!([])).then_some(()))
    })
    .await
}
