//! Everybody wants one lock, again and again.
//!
//! Whoever has it makes a znode that must not be there, reads what is written, writes it again with a
//! letter more, and takes the znode away. Were there two at any time, one would find the znode, or a
//! letter would be lost.

use crate::contender::Contender;
use crate::library::Library;
use crate::{GUARDED, LOCK};
use anyhow::{Context, Result, ensure};
use quorate_client::{Client, CreateMode};
use quorate_conformance::Cluster;
use serde_json::{Value, json};

/// Processes with the library, and callers of the recipe.
const CONTENDERS: usize = 2;
/// How often each has the lock.
const ROUNDS: usize = 100;
const LETTERS: [&str; 2 * CONTENDERS] = ["a", "b", "y", "z"];

pub(crate) async fn everybody_contends(cluster: &mut Cluster, library: &Library) -> Result<()> {
    let mut contenders = Vec::new();
    for (number, letter) in LETTERS[..CONTENDERS].iter().enumerate() {
        contenders.push(Contender::start(cluster, library, (number, letter, ROUNDS)).await?);
    }
    let mut callers = Vec::new();
    for letter in &LETTERS[CONTENDERS..] {
        let client = cluster.connect().await?;
        callers.push(tokio::spawn(call_and_write(client, letter)));
    }
    for contender in &mut contenders {
        contender.begin()?;
    }
    for contender in &mut contenders {
        for round in 1..=ROUNDS {
            contender.wait_for(&format!("round {round}")).await?;
        }
    }
    for contender in contenders {
        contender.finish().await?;
    }
    for caller in callers {
        caller.await??;
    }
    let client = cluster.connect().await?;
    let written = client.get(GUARDED).await?.data;
    client.close().await?;
    judge(std::str::from_utf8(&written)?)
}

/// Every letter is there, and neither kind waited for the other to be through.
fn judge(written: &str) -> Result<()> {
    for letter in LETTERS {
        let count = written.matches(letter).count();
        ensure!(count == ROUNDS, "{count} of {ROUNDS} rounds of {letter} in {written}");
    }
    let is_called = |letter: char| letter >= 'm';
    let letters: Vec<char> = written.chars().collect();
    let changes = letters.windows(2).filter(|pair| is_called(pair[0]) != is_called(pair[1]));
    let changes = changes.count();
    println!("{} rounds, {changes} changes between library and recipe", letters.len());
    // Were they served in blocks, there would be one or two.
    ensure!(changes >= ROUNDS / 2, "they hardly contended: {written}");
    Ok(())
}

async fn call_and_write(client: Client, letter: &'static str) -> Result<()> {
    let inside = format!("{GUARDED}/inside");
    let mut last = 0;
    for _ in 0..ROUNDS {
        let grant: Value = client.call(LOCK, "acquire", &json!({ "note": letter })).await?;
        let fence = grant["fence"].as_u64().context("a fence")?;
        ensure!(fence > last, "the fence went from {last} to {fence}");
        last = fence;
        let entered = client.create(&inside, letter.to_owned(), CreateMode::Persistent).await;
        entered.context("two hold the lock")?;
        let mut written = client.get(GUARDED).await?.data.to_vec();
        written.extend(letter.bytes());
        client.set(GUARDED, written, None).await?;
        client.delete(&inside, None).await?;
        client.call::<_, ()>(LOCK, "release", &json!({ "fence": fence })).await?;
    }
    Ok(client.close().await?)
}
