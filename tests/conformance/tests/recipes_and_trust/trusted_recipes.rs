//! Which recipes a cluster lets in: signed ones, and those whose digest is allowed.

use anyhow::{Context, Result, ensure};
use quorate_conformance::{Cluster, Recipes, Refused, Tool, on_cluster, word};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[test]
fn a_cluster_with_signers_lets_in_what_one_of_them_has_signed_and_nothing_else() {
    let files = Files::new().expect("components and keys");
    on_cluster(Recipes::None, async |cluster| {
        let signers = json!([files.key("other.pem"), files.key("release.pem")]);
        configure(cluster, &format!("[recipes]\nsigners = {signers}")).await?;
        let tool = Tool::of(cluster)?;
        let (lock, barrier) = (files.component("lock"), files.component("barrier"));
        let unsigned = tool.refused(&["recipe", "install", word(&lock)?])?;
        check_refused(&unsigned, "carries no signature")?;
        files.sign("lock", "stranger-key.pem")?;
        let foreign = tool.refused(&["recipe", "install", word(&lock)?])?;
        check_refused(&foreign, "by none of the signers")?;
        ensure!(recipes(&tool)?.is_empty(), "something was installed: {:?}", recipes(&tool)?);

        let signature = files.sign("lock", "release-key.pem")?;
        // A signature is of one component.
        let moved = ["recipe", "install", word(&barrier)?, "--signature", word(&signature)?];
        check_refused(&tool.refused(&moved)?, "by none of the signers")?;
        tool.done(&["recipe", "install", word(&lock)?])?;
        tool.done(&["recipe", "mount", "/locks", "lock"])?;
        tool.ran(&["lock", "/locks/a", "--wait-ms", "10000", "--", "true"])?;

        // Whoever leads decides alike.
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        let unsigned = tool.refused(&["recipe", "install", word(&barrier)?])?;
        check_refused(&unsigned, "carries no signature")?;
        files.sign("barrier", "release-key.pem")?;
        tool.done(&["recipe", "install", word(&barrier)?])?;
        tool.ran(&["lock", "/locks/a", "--wait-ms", "10000", "--", "true"])?;
        cluster.start_server(leader)?;
        cluster.wait_until_ready(leader).await?;
        cluster.assert_equal().await?;
        Ok(())
    });
}

#[test]
fn a_cluster_with_allowed_digests_lets_these_in_unsigned() {
    let files = Files::new().expect("components and keys");
    on_cluster(Recipes::None, async |cluster| {
        let (lock, barrier) = (files.component("lock"), files.component("barrier"));
        let inspected = Tool::bare()?.done(&["recipe", "inspect", word(&lock)?])?;
        let allowed = json!([inspected["digest"]]);
        configure(cluster, &format!("[recipes]\nallowed = {allowed}")).await?;
        let tool = Tool::of(cluster)?;
        files.sign("barrier", "release-key.pem")?;
        let refused = tool.refused(&["recipe", "install", word(&barrier)?])?;
        check_refused(&refused, "not among those allowed")?;
        tool.done(&["recipe", "install", word(&lock)?])?;
        tool.done(&["recipe", "mount", "/locks", "lock"])?;
        tool.ran(&["lock", "/locks/a", "--wait-ms", "10000", "--", "true"])?;
        ensure!(recipes(&tool)?.len() == 1, "{:?}", recipes(&tool)?);

        // Both lists: either lets in. What was installed stays although nothing allows it now.
        let signers = json!([files.key("release.pem")]);
        let text = format!("[recipes]\nallowed = [\"{}\"]\nsigners = {signers}", "0".repeat(64));
        configure(cluster, &text).await?;
        tool.done(&["recipe", "install", word(&barrier)?])?;
        tool.done(&["recipe", "install", word(&lock)?])?;
        tool.ran(&["lock", "/locks/a", "--wait-ms", "10000", "--", "true"])?;
        tool.done(&["recipe", "unmount", "/locks"])?;
        tool.done(&["recipe", "remove", "lock"])?;
        let refused = tool.refused(&["recipe", "install", word(&lock)?])?;
        check_refused(&refused, "carries no signature")?;
        cluster.assert_equal().await?;
        Ok(())
    });
}

fn check_refused(refused: &Refused, words: &str) -> Result<()> {
    ensure!(refused.code == "recipe-not-trusted", "{refused:?}");
    ensure!(refused.exit_code == 6, "{refused:?}");
    ensure!(refused.error.contains(words), "{refused:?}");
    ensure!(refused.next.contains("quorate recipe sign"), "{refused:?}");
    Ok(())
}

fn recipes(tool: &Tool) -> Result<Vec<Value>> {
    let listed = tool.done(&["recipe", "list"])?;
    Ok(listed["recipes"].as_array().context("a list")?.clone())
}

/// Restarts every server with a section `[recipes]` in place of the one it has.
async fn configure(cluster: &mut Cluster, section: &str) -> Result<()> {
    for server in cluster.servers() {
        cluster.take(server)?.terminate().await?;
        let path = cluster.server_folder(server).join("quorate.toml");
        let text = std::fs::read_to_string(&path)?;
        let before = text.split("\n[recipes]").next().unwrap_or_default();
        std::fs::write(&path, format!("{before}\n{section}\n"))?;
        cluster.start_server(server)?;
        cluster.wait_until_ready(server).await?;
    }
    Ok(())
}

/// Components, and the keys of three signers.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Result<Files> {
        let files = Files { folder: tempfile::tempdir()? };
        for name in ["lock", "barrier"] {
            let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/recipes");
            let built = built.join(name).with_extension("wasm");
            std::fs::copy(&built, files.component(name))
                .with_context(|| format!("{}: `cargo xtask recipes` makes it", built.display()))?;
        }
        for name in ["release", "other", "stranger"] {
            Tool::bare()?.done(&["recipe", "keygen", name, "--out", word(files.folder.path())?])?;
        }
        Ok(files)
    }

    fn component(&self, name: &str) -> PathBuf {
        self.key(name).with_extension("wasm")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a component; gives where `recipe install` finds the signature.
    fn sign(&self, name: &str, key: &str) -> Result<PathBuf> {
        let (component, key) = (self.component(name), self.key(key));
        let words = ["recipe", "sign", word(&component)?, "--signing-key", word(&key)?];
        let signed = Tool::bare()?.done(&words)?;
        ensure!(signed["name"] == name, "{signed}");
        Ok(component.with_extension("wasm.sig"))
    }
}
