//! ZooKeeper's own C client.

use crate::conversation::Conversation;
use crate::source;
use anyhow::{Result, ensure};
use quorate_conformance::{Recipes, install_packages, on_cluster, run_quietly};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Promises that the program puts to the test.
const PROMISES: usize = 7;
const PACKAGES: [&str; 3] = ["libzookeeper-mt-dev", "gcc", "libc6-dev"];
const HEADER: &str = "/usr/include/zookeeper/zookeeper.h";

#[test]
fn zookeepers_c_client_is_served_in_all_that_it_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = match compile(folder.path()) {
        Ok(program) => program,
        Err(reason) => return println!("skipped: the C client cannot be had here: {reason}"),
    };
    on_cluster(Recipes::None, async |cluster| {
        let mut command = Command::new(&program);
        command.arg(cluster.zookeeper_addresses()?);
        let kept = Conversation::start(&mut command)?.run(cluster).await?;
        ensure!(kept == PROMISES, "{kept} of {PROMISES} promises were put to the test");
        cluster.assert_equal().await.map(drop)
    });
}

/// The program, or why the client or a compiler cannot be had.
fn compile(folder: &Path) -> Result<PathBuf, String> {
    let has_compiler = run_quietly(Command::new("cc").arg("--version")).is_ok();
    if !Path::new(HEADER).exists() || !has_compiler {
        install_packages(&PACKAGES)?;
    }
    let program = folder.join("client");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-DTHREADED", "-o"]).arg(&program);
    cc.arg(source("c").join("client.c")).args(["-lzookeeper_mt", "-lpthread"]);
    // The client is there: that the program compiles is the test's own matter.
    run_quietly(&mut cc).unwrap_or_else(|error| panic!("client.c: {error}"));
    Ok(program)
}
