//! One script, played on Debian's ZooKeeper and on quorate: the replies must be the same.
//!
//! Compared are error codes, bodies, notifications with their order, and who is closed; of
//! transactions and sessions which are the same ones. Left out are their numbers, times, the order of
//! children, and the znodes that ZooKeeper has for itself.

use crate::original::{self, Original, SUPER_DIGEST};
use crate::play::play;
use crate::script;
use crate::step::{Act, Step};
use anyhow::{Result, ensure};
use quorate_conformance::{Cluster, Recipes, on_cluster};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Steps that a script worth the name has.
const STEPS_MIN: usize = 300;
/// Of a step in a report.
const SHOWN_CHARACTERS: usize = 300;

#[test]
fn quorate_answers_a_script_as_zookeeper_does() {
    if let Err(reason) = original::is_installed() {
        eprintln!("SKIPPED: {reason}");
        return;
    }
    on_cluster(Recipes::None, async |cluster| {
        let steps = script::all();
        ensure!(steps.len() >= STEPS_MIN, "{} steps are too few", steps.len());
        let original = Original::start().await?;
        let address = original.address();
        let (expected, steps) = tokio::task::spawn_blocking(move || {
            let expected = play(address, &steps);
            (expected, steps)
        })
        .await?;
        drop(original);
        let address = {
            name_administrator(cluster).await?;
            let (follower, ..) = cluster.roles().await?;
            cluster.zookeeper_address(follower)?
        };
        let (given, steps) = tokio::task::spawn_blocking(move || {
            let given = play(address, &steps);
            (given, steps)
        })
        .await?;
        compare(&steps, &expected, &given)
    });
}

/// Gives every server the administrator that the other server has, and what else it is told.
pub(crate) async fn name_administrator(cluster: &mut Cluster) -> Result<()> {
    let section = format!("[zookeeper]\nsuper_digest = \"{SUPER_DIGEST}\"");
    let edit = |text: &str| {
        let text = text.replace("[zookeeper]", &section);
        text.replace("[limits]", "[limits]\nenforces_quotas = true")
    };
    cluster.reconfigure(edit).await
}

fn compare(steps: &[Step], expected: &[String], given: &[String]) -> Result<()> {
    let mut reasons = BTreeSet::new();
    let (mut report, mut wrong) = (String::new(), 0);
    for (number, step) in steps.iter().enumerate() {
        let differs = expected[number] != given[number];
        if let Some(reason) = step.explained.filter(|_| differs) {
            reasons.insert(reason);
        }
        if differs == step.explained.is_some() {
            continue;
        }
        wrong += 1;
        let what = if differs { "differs" } else { "does not differ, though explained" };
        let _ = writeln!(report, "step {number} {what}: {}", shown(step));
        let _ = writeln!(report, " ZooKeeper: {}\n quorate:   {}", expected[number], given[number]);
    }
    println!("{} steps, {} explained differences:", steps.len(), reasons.len());
    for reason in reasons {
        println!("- {reason}");
    }
    ensure!(wrong == 0, "{wrong} of {} steps:\n{report}", steps.len());
    Ok(())
}

fn shown(step: &Step) -> String {
    let text = match &step.act {
        Act::Ask(request) => format!("{} asks {request:?}", step.on),
        act => format!("{}: {act:?}", step.on),
    };
    text.chars().take(SHOWN_CHARACTERS).collect()
}
