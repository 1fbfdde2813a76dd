//! Who may talk to whom: strangers are refused at both doors, and the log says why.

use crate::stranger::dial;
use anyhow::{Context, Result, ensure};
use quorate_client::ServerId;
use quorate_conformance::{Cluster, Recipes, Tool, on_cluster, poll, word};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[test]
fn a_client_and_a_cluster_that_do_not_know_one_another_say_which_of_them_refused() {
    let foreign = ForeignCluster::new().expect("certificates");
    on_cluster(Recipes::None, async |cluster| {
        let tool = Tool::bare()?;
        let server = cluster.servers()[0];
        let endpoint = cluster.client_config_of(server)?.endpoints.remove(0);
        let folder = cluster.profile();
        let folder = folder.parent().context("a profile lies in a folder")?.join("client");
        let [ca, certificate, key] =
            ["authority.pem", "admin.pem", "admin-key.pem"].map(|name| folder.join(name));
        let (foreign_certificate, foreign_key) = foreign.client();
        let foreign_ca = foreign.authority();
        let status = ["status", "--endpoints", &endpoint];
        let refused = |more: &[&str]| tool.refused(&[&status[..], more].concat());

        let no_ca = refused(&[])?;
        ensure!(no_ca.code == "bad-arguments" && no_ca.exit_code == 2, "{no_ca:?}");
        ensure!(no_ca.error.contains("--ca"), "{no_ca:?}");

        let papers = ["--certificate", word(&certificate)?, "--key", word(&key)?];
        let other_ca = refused(&[&["--ca", word(&foreign_ca)?][..], &papers].concat())?;
        ensure!(other_ca.code == "untrusted" && other_ca.exit_code == 6, "{other_ca:?}");
        ensure!(other_ca.error.contains(word(&foreign_ca)?), "names no file: {other_ca:?}");
        logged(cluster, server, "the other side does not trust this server's certificate").await?;

        let nobody = refused(&["--ca", word(&ca)?])?;
        ensure!(nobody.code == "certificate-required" && nobody.exit_code == 6, "{nobody:?}");
        ensure!(nobody.error.contains("quorate cluster client"), "{nobody:?}");
        logged(cluster, server, "it showed no certificate").await?;

        let papers = ["--certificate", word(&foreign_certificate)?, "--key", word(&foreign_key)?];
        let stranger = refused(&[&["--ca", word(&ca)?][..], &papers].concat())?;
        ensure!(stranger.code == "certificate-refused" && stranger.exit_code == 6, "{stranger:?}");
        ensure!(stranger.error.contains(word(&foreign_certificate)?), "{stranger:?}");
        logged(cluster, server, "its certificate is not from this cluster's authority").await?;

        let papers = ["--certificate", word(&certificate)?, "--key", word(&key)?];
        tool.done(&[&status[..], &["--ca", word(&ca)?], &papers].concat())?;
        Ok(())
    });
}

#[test]
fn nobody_but_a_member_gets_through_the_peer_door() {
    let foreign = ForeignCluster::new().expect("certificates");
    on_cluster(Recipes::None, async |cluster| {
        // The lowest id: every other server dials it, so it refuses nobody for being the dialer.
        let server = cluster.servers()[0];
        let status = cluster.status(server).await?;
        let own = status.members.iter().find(|member| member.server == server);
        let address: SocketAddr = own.context("a member")?.peer_address.parse()?;
        let client = cluster.profile().with_file_name("client");
        let client = (client.join("admin.pem"), client.join("admin-key.pem"));
        let lower = cluster.server_folder(server);
        let own = (lower.join("server.pem"), lower.join("server-key.pem"));
        let strangers = [
            (None, "it showed no certificate"),
            (Some(foreign.server(2)), "its certificate is not from this cluster's authority"),
            (Some(client), "client `admin` is not allowed at the peer door"),
            (Some(own), "must not dial server 1"),
        ];
        for (papers, words) in &strangers {
            let papers = papers.as_ref().map(|(certificate, key)| (&**certificate, &**key));
            let reason = dial(address, papers).await.with_context(|| words.to_string())?;
            println!("the stranger heard: {reason}");
            logged(cluster, server, words).await?;
        }
        let statuses = cluster.assert_equal().await?;
        let alone = statuses.iter().flat_map(|status| &status.members).any(|one| !one.connected);
        ensure!(!alone, "a stranger came between the servers");
        Ok(())
    });
}

/// Waits until a server's log holds these words.
async fn logged(cluster: &Cluster, server: ServerId, words: &str) -> Result<()> {
    let log = cluster.server_folder(server).join("server.log");
    poll(&format!("the log says `{words}`"), async || {
        Ok(std::fs::read_to_string(&log)?.contains(words).then_some(()))
    })
    .await
}

/// The certificates of another cluster, of the same name.
struct ForeignCluster {
    _folder: TempDir,
    out: PathBuf,
}

impl ForeignCluster {
    fn new() -> Result<ForeignCluster> {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("foreign");
        let servers = "127.0.0.1,127.0.0.2,127.0.0.3";
        let words = ["cluster", "create", "--name", "dev", "--servers", servers, "--out"];
        Tool::bare()?.ran(&[&words[..], &[word(&out)?]].concat())?;
        Ok(ForeignCluster { _folder: folder, out })
    }

    fn authority(&self) -> PathBuf {
        self.out.join("authority/authority.pem")
    }

    fn client(&self) -> (PathBuf, PathBuf) {
        pair(&self.out.join("client"), "admin")
    }

    fn server(&self, server: u64) -> (PathBuf, PathBuf) {
        pair(&self.out.join(format!("server-{server}")), "server")
    }
}

/// Certificate and key in a folder.
fn pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.pem")), folder.join(format!("{name}-key.pem")))
}
