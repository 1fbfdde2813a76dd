//! `quorate recipe metrics`: what the runs of recipes have cost, summed over the servers.
//!
//! Comes in: the reach, perhaps a mount. Goes out: a table or JSON by mount and operation. Invariant:
//! a server that cannot be asked is named, never counted as nothing.

use crate::arguments::Reach;
use crate::output::{Output, listed, table};
use crate::profile;
use crate::recipe::mounted;
use anyhow::Result;
use quorate_client::{Client, MountedRecipe, OperationFigures, ask_status};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one server may take to answer before the others are asked.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sums over the servers asked.
#[derive(Default)]
struct Totals {
    recipe: String,
    suspended: Option<String>,
    tickets: u64,
    rows: BTreeMap<String, OperationFigures>,
}

pub(crate) async fn run(reach: &Reach, path: Option<&str>, output: Output) -> Result<()> {
    let resolved = profile::resolve(reach)?;
    let status = ask_status(&profile::client_config(&resolved, reach)?).await?;
    let mut totals: BTreeMap<String, Totals> = BTreeMap::new();
    let mut silent = Vec::new();
    for member in &status.members {
        match mounts_of(reach, &member.native_address, path).await {
            Ok(mounts) => mounts.into_iter().for_each(|mount| add(&mut totals, mount)),
            Err(error) if member.connected => return Err(error),
            Err(_) => silent.push(member.server.to_string()),
        }
    }
    if !silent.is_empty() {
        output.note(&format!("not counted, since they do not answer: servers {}", listed(&silent)));
    }
    let mounts: Vec<Value> = totals.iter().map(|(path, one)| to_json(path, one)).collect();
    output.print(&text_of(&totals), &json!({ "mounts": mounts, "silent": silent }));
    Ok(())
}

/// The mounts, or the one asked for, as one server knows them.
async fn mounts_of(reach: &Reach, address: &str, path: Option<&str>) -> Result<Vec<MountedRecipe>> {
    let mut resolved = profile::resolve(reach)?;
    resolved.endpoints = vec![address.to_owned()];
    let mut config = profile::client_config(&resolved, reach)?;
    config.connect_timeout = config.connect_timeout.min(PATIENCE);
    let client = Client::connect(config).await?;
    let mounts = match path {
        Some(path) => mounted(&client, path).await.map(|mount| vec![mount]),
        None => client.list_mounts().await.map_err(Into::into),
    };
    let closed = client.close().await;
    let mounts = mounts?;
    closed?;
    Ok(mounts)
}

fn add(totals: &mut BTreeMap<String, Totals>, mount: MountedRecipe) {
    let total = totals.entry(mount.path.to_string()).or_default();
    total.recipe = format!("{}@{}", mount.recipe, mount.version);
    total.suspended = mount.suspended;
    // The same calls wait everywhere; a server may be a little behind.
    total.tickets = total.tickets.max(mount.tickets);
    for one in mount.figures {
        let name = one.operation.clone();
        let row = total.rows.entry(name.clone()).or_insert_with(|| OperationFigures::new(name));
        row.runs += one.runs;
        row.refused += one.refused;
        row.parked += one.parked;
        row.faults += one.faults;
        row.fuel = row.fuel.saturating_add(one.fuel);
        row.fuel_max = row.fuel_max.max(one.fuel_max);
        row.nanoseconds = row.nanoseconds.saturating_add(one.nanoseconds);
        row.nanoseconds_max = row.nanoseconds_max.max(one.nanoseconds_max);
    }
}

fn mean(sum: u64, runs: u64) -> u64 {
    sum.checked_div(runs).unwrap_or(0)
}

fn microseconds(nanoseconds: u64) -> String {
    format!("{:.1}", nanoseconds as f64 / 1_000.0)
}

fn text_of(totals: &BTreeMap<String, Totals>) -> String {
    let header = [
        "mount",
        "recipe",
        "waiting",
        "operation",
        "runs",
        "refused",
        "parked",
        "faults",
        "fuel",
        "fuel max",
        "µs",
        "µs max",
    ];
    let mut rows = Vec::new();
    for (path, total) in totals {
        let state = total.suspended.as_ref().map_or("", |_| " (suspended)");
        let mount = [path.clone(), format!("{}{state}", total.recipe), total.tickets.to_string()];
        if total.rows.is_empty() {
            rows.push(mount.iter().cloned().chain(vec![String::new(); 9]).collect());
        }
        for row in total.rows.values() {
            let figures = [
                row.operation.clone(),
                row.runs.to_string(),
                row.refused.to_string(),
                row.parked.to_string(),
                row.faults.to_string(),
                mean(row.fuel, row.runs).to_string(),
                row.fuel_max.to_string(),
                microseconds(mean(row.nanoseconds, row.runs)),
                microseconds(row.nanoseconds_max),
            ];
            rows.push(mount.iter().cloned().chain(figures).collect());
        }
    }
    table(&header, &rows)
}

fn to_json(path: &str, total: &Totals) -> Value {
    let operations: Vec<Value> = total
        .rows
        .values()
        .map(|row| {
            json!({
                "operation": row.operation,
                "runs": row.runs,
                "refused": row.refused,
                "parked": row.parked,
                "faults": row.faults,
                "fuel_mean": mean(row.fuel, row.runs),
                "fuel_max": row.fuel_max,
                "microseconds_mean": mean(row.nanoseconds, row.runs) as f64 / 1_000.0,
                "microseconds_max": row.nanoseconds_max as f64 / 1_000.0,
            })
        })
        .collect();
    json!({
        "path": path,
        "recipe": total.recipe,
        "suspended": total.suspended,
        "tickets": total.tickets,
        "operations": operations,
    })
}
