//! Every recipe of Curator, with clients of every server, also while servers are killed.

use crate::conversation::Conversation;
use crate::source;
use anyhow::ensure;
use quorate_conformance::{JavaLibrary, JavaProgram, Recipes, on_cluster};

/// Promises that the program puts to the test.
const PROMISES: usize = 53;

#[test]
fn every_recipe_of_curator_keeps_its_promise() {
    let folders = [source("curator"), source("promises")];
    let folders = [&*folders[0], &*folders[1]];
    let program = match JavaProgram::compile(JavaLibrary::Curator, &folders, "Recipes") {
        Ok(program) => program,
        Err(reason) => return println!("skipped: Curator cannot be had here: {reason}"),
    };
    on_cluster(Recipes::None, async |cluster| {
        let mut command = program.command(&[]);
        command.arg(cluster.zookeeper_addresses()?);
        let kept = Conversation::start(&mut command)?.run(cluster).await?;
        ensure!(kept == PROMISES, "{kept} of {PROMISES} promises were put to the test");
        cluster.assert_equal().await.map(drop)
    });
}
