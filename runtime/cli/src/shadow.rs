//! `quorate recipe upgrade --shadow N`: what a version would do, before it does it.
//!
//! Comes in: a mount, another version of its recipe, how many calls to compare. Goes out: a progress
//! bar, then what differed. Invariant: when this returns, however, no shadow of it is left running.

use crate::exit::Mistake;
use crate::json_cbor;
use crate::output::Output;
use crate::recipe::full_name;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::{
    Client, ErrorCode, InstalledRecipe, MountedRecipe, Outcome, Reply, ShadowDifference,
    ShadowReport, ShadowRun,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Pause between two looks at the report.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) async fn run(
    client: &Client,
    mount: &MountedRecipe,
    next: &InstalledRecipe,
    calls: u32,
    output: Output,
) -> Result<()> {
    let path = mount.path.as_str();
    client.begin_shadow(path, next.digest, calls).await?;
    let report = tokio::select! {
        report = watch(client, path, calls, output) => report,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt.context("cannot hear of Ctrl-C")?;
            current(client, path).await
        }
    };
    // Also after an error: nobody would look at what it compares.
    let ended = client.begin_shadow(path, next.digest, 0).await;
    let report = report?;
    ended?;
    let before = format!("{}@{}", mount.recipe, mount.version);
    tell(path, (&before, &full_name(next)), &report, output);
    Ok(())
}

async fn watch(client: &Client, path: &str, calls: u32, output: Output) -> Result<ShadowReport> {
    let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(calls.into()) };
    let style = "comparing {bar:30} {pos}/{len} calls, {msg}";
    bar.set_style(ProgressStyle::with_template(style).context("the bar's template")?);
    loop {
        let report = current(client, path).await?;
        bar.set_position(report.compared.into());
        bar.set_message(format!("{} differ", report.compared - report.equal));
        if report.compared >= report.wanted {
            bar.finish_and_clear();
            return Ok(report);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn current(client: &Client, path: &str) -> Result<ShadowReport> {
    let report = client.shadow_report(path).await?;
    Ok(report.ok_or_else(|| {
        let text = "the leader that compared leads no more, or the mount was changed; what it saw is \
                    lost: begin again";
        Mistake::new(ErrorCode::LeadershipLost, text)
    })?)
}

fn tell(path: &str, (before, after): (&str, &str), report: &ShadowReport, output: Output) {
    let differing = report.compared - report.equal;
    let mut text = format!(
        "{path}: {} of {} calls compared; {} did the same under {before} and {after}, {differing} did \
         not\nfuel: {} under {before}, {} under {after}",
        report.compared, report.wanted, report.equal, report.fuel_before, report.fuel_after
    );
    for difference in &report.differences {
        text.push_str(&difference_text(difference, before, after));
    }
    let told = u32::try_from(report.differences.len()).unwrap_or(u32::MAX);
    if differing > told {
        text.push_str(&format!("\n\nand {} more", differing - told));
    }
    let verdict = if differing == 0 && report.compared > 0 {
        format!("\nnext: quorate recipe upgrade {path} {after}")
    } else {
        String::from("\nnothing was changed")
    };
    text.push_str(&verdict);
    output.print(&text, &report_json(path, before, after, report));
}

fn difference_text(difference: &ShadowDifference, before: &str, after: &str) -> String {
    let side = |name: &str, run: &ShadowRun| {
        let changes: String = run.changes.iter().map(|line| format!("\n      {line}")).collect();
        format!("\n    {name}: {}{changes}", outcome_text(&run.outcome))
    };
    format!(
        "\n\n  {} of {}, transaction {}{}{}",
        difference.operation,
        if difference.object.is_empty() { "the mount" } else { &difference.object },
        difference.zxid,
        side(before, &difference.before),
        side(after, &difference.after),
    )
}

fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Ok(Reply::Called(reply)) => {
            let reply = json_cbor::to_json(reply).unwrap_or_else(|_| json!(json_cbor::hex(reply)));
            json!({ "answered": reply })
        }
        Ok(Reply::Parked(ticket)) => json!({ "parked": ticket.to_string() }),
        Ok(other) => json!({ "answered": format!("{other:?}") }),
        Err(refusal) => json!({
            "refused": refusal.recipe_code.as_deref().unwrap_or(refusal.code.name()),
            "error": refusal.message,
        }),
    }
}

fn outcome_text(outcome: &Outcome) -> String {
    outcome_json(outcome).to_string()
}

fn report_json(path: &str, before: &str, after: &str, report: &ShadowReport) -> Value {
    let run =
        |run: &ShadowRun| json!({ "outcome": outcome_json(&run.outcome), "changes": run.changes });
    let differences: Vec<Value> = report
        .differences
        .iter()
        .map(|difference| {
            json!({
                "zxid": difference.zxid.0,
                "object": difference.object,
                "operation": difference.operation,
                "before": run(&difference.before),
                "after": run(&difference.after),
            })
        })
        .collect();
    json!({
        "path": path,
        "before": before,
        "after": after,
        "wanted": report.wanted,
        "compared": report.compared,
        "equal": report.equal,
        "fuel_before": report.fuel_before,
        "fuel_after": report.fuel_after,
        "differences": differences,
    })
}
