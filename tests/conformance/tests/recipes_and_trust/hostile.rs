//! Recipes that do harm: each is told its own error, and nobody else notices.

use anyhow::{Context, Result, ensure};
use quorate_conformance::{Cluster, Recipes, Tool, example, on_cluster, poll, word};
use serde_json::json;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A feature of `examples/hostile`, the error that its command `harm` must end with, words of it.
const HARMFUL: [(&str, &str, &str); 5] = [
    ("loops", "recipe-out-of-fuel", "units of fuel are used"),
    ("allocates", "recipe-out-of-memory", "asks for more than"),
    ("recurses", "recipe-trapped", "recursion too deep"),
    ("traps", "recipe-trapped", "trapped on purpose"),
    ("floods", "recipe-over-limit", "changes"),
];

/// A file of `examples/hostile` and words of the refusal to install it.
const NO_RECIPES: [(&str, &str); 4] = [
    ("imports_wasi.wat", "core module"),
    ("imports_wasi_component.wat", "wasi:cli/environment"),
    ("starts_for_ever.wat", "quorate:recipe/guest"),
    ("exports_nothing.wat", "does not export"),
];

#[test]
fn a_hostile_recipe_is_told_its_own_error_and_the_cluster_serves_on() {
    let built = Built::new(&["loops", "allocates", "recurses", "traps", "floods"]).expect("builds");
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        let before = cluster.process_ids();
        for (feature, code, words) in HARMFUL {
            let mount = built.mount(&tool, feature)?;
            let refused = tool.refused(&["call", &format!("{mount}/a"), "harm"])?;
            ensure!(refused.code == code, "{feature}: {refused:?}");
            ensure!(refused.error.contains(words), "{feature}: {refused:?}");
            ensure!(refused.next.contains("nothing was changed"), "{feature}: {refused:?}");
            ensure!(refused.exit_code == 8, "{feature}: {refused:?}");
            // The same recipe still serves calls that do no harm, and the harm has left no trace.
            tool.done(&["call", &format!("{mount}/a"), "behave"])?;
            let left = tool.done(&["tree", "ls", &format!("{mount}/a")])?;
            ensure!(left["children"] == json!(["behaved"]), "{feature} left {left}");
        }
        serves_on(cluster, &tool).await?;
        ensure!(cluster.process_ids() == before, "a server was restarted");
        Ok(())
    });
}

#[test]
fn what_is_no_recipe_is_refused_before_it_reaches_the_servers() {
    let folder = tempfile::tempdir().expect("a folder");
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        for (file, words) in NO_RECIPES {
            let bytes = wat::parse_file(example("hostile").join(file))?;
            let path = folder.path().join(file);
            std::fs::write(&path, bytes)?;
            let refused = tool.refused(&["recipe", "install", word(&path)?])?;
            ensure!(refused.code == "recipe-invalid", "{file}: {refused:?}");
            ensure!(refused.error.contains(words), "{file}: {refused:?}");
            ensure!(refused.error.contains("cannot be installed"), "{file}: {refused:?}");
            ensure!(refused.exit_code == 8, "{file}: {refused:?}");
        }
        let listed = tool.done(&["recipe", "list"])?;
        let installed = listed["recipes"].as_array().context("a list")?;
        ensure!(installed.len() == 1, "only the lock should be there: {listed}");
        serves_on(cluster, &tool).await
    });
}

#[test]
fn a_recipe_that_panics_when_a_session_ends_cannot_keep_it_or_its_ephemerals() {
    let built = Built::new(&["leaves"]).expect("builds");
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        let mount = built.mount(&tool, "leaves")?;
        let object = format!("{mount}/a");
        tool.done(&["call", &object, "behave"])?;
        let before = tool.done(&["tree", "ls", &object])?;
        // The command's session ends with the command, and its ephemeral znode with the session.
        tool.done(&["call", &object, "stay"])?;
        poll("the ephemeral znode goes", async || {
            Ok((tool.done(&["tree", "ls", &object])? == before).then_some(()))
        })
        .await?;
        let leader = cluster.leader().await?;
        let log = std::fs::read_to_string(cluster.server_folder(leader).join("server.log"))?;
        ensure!(log.contains("leaves with a bang"), "the panic is not in the leader's log");
        serves_on(cluster, &tool).await
    });
}

#[test]
fn a_recipe_led_by_its_seed_agrees_on_every_server() {
    let built = Built::new(&["wanders"]).expect("builds");
    on_cluster(Recipes::Lock, async |cluster| {
        let tool = Tool::of(cluster)?;
        let mount = built.mount(&tool, "wanders")?;
        for object in 0..20 {
            tool.done(&["call", &format!("{mount}/{object}"), "harm"])?;
        }
        for server in cluster.servers() {
            let status = cluster.status(server).await?;
            ensure!(status.alarms.is_empty(), "server {server}: {:?}", status.alarms);
        }
        serves_on(cluster, &tool).await
    });
}

/// All servers are up with the same state, and a lock works.
async fn serves_on(cluster: &mut Cluster, tool: &Tool) -> Result<()> {
    tool.ran(&["lock", "/locks/after", "--wait-ms", "10000", "--", "true"])?;
    let statuses = cluster.assert_equal().await?;
    ensure!(statuses.len() == 3, "only {} servers are up", statuses.len());
    Ok(())
}

/// Components of `examples/hostile`, one for each feature.
struct Built {
    folder: TempDir,
}

impl Built {
    /// Builds them. Before any cluster runs: compiling takes the whole machine.
    fn new(features: &[&str]) -> Result<Built> {
        let built = Built { folder: tempfile::tempdir()? };
        let (tool, source) = (Tool::bare()?, example("hostile"));
        for feature in features {
            let out = built.file(feature);
            let words = ["recipe", "build", word(&source)?, "--features", feature, "--out"];
            tool.done(&[&words[..], &[word(&out)?]].concat())?;
        }
        Ok(built)
    }

    fn file(&self, feature: &str) -> PathBuf {
        self.folder.path().join(Path::new(feature).with_extension("wasm"))
    }

    /// Installs and mounts one; gives where.
    fn mount(&self, tool: &Tool, feature: &str) -> Result<String> {
        let file = self.file(feature);
        let installed = tool.done(&["recipe", "install", word(&file)?])?;
        let digest = installed["digest"].as_str().context("a digest")?;
        let mount = format!("/{feature}");
        // By digest: all of them have one name.
        tool.done(&["recipe", "mount", &mount, digest])?;
        Ok(mount)
    }
}
