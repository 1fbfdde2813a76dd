//! `quorate status`: how the servers see the cluster.
//!
//! Comes in: the reach. Goes out: a table or JSON. Asks without a session: nothing is changed, and a
//! server without a leader answers too.

use crate::arguments::Reach;
use crate::output::{Output, table};
use crate::profile;
use anyhow::Result;
use quorate_client::{ServerStatus, ask_status};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) async fn run(reach: &Reach, all: bool, output: Output) -> Result<()> {
    let profile = profile::resolve(reach)?;
    let status = ask_status(&profile::client_config(&profile, reach)?).await?;
    let mut seen = vec![Ok(status.clone())];
    if all {
        seen = ask_members(reach, &status).await;
    }
    let values: Vec<Value> = seen
        .iter()
        .map(|one| match one {
            Ok(status) => to_json(status),
            Err((server, error)) => json!({ "server": server, "error": error }),
        })
        .collect();
    let value = if all { json!({ "servers": values }) } else { values[0].clone() };
    output.print(&text_of(&status, &seen), &value);
    Ok(())
}

type Seen = Result<ServerStatus, (u64, String)>;

async fn ask_members(reach: &Reach, status: &ServerStatus) -> Vec<Seen> {
    let mut seen = Vec::new();
    for member in &status.members {
        let one = ask_member(reach, &member.native_address).await;
        seen.push(one.map_err(|error| (member.server.0, format!("{error:#}"))));
    }
    seen
}

/// The status of the server at one address.
pub(crate) async fn ask_member(reach: &Reach, address: &str) -> Result<ServerStatus> {
    let mut profile = profile::resolve(reach)?;
    profile.endpoints = vec![address.to_owned()];
    let mut config = profile::client_config(&profile, reach)?;
    config.connect_timeout = config.connect_timeout.min(Duration::from_secs(3));
    Ok(ask_status(&config).await?)
}

/// A status for programs.
pub(crate) fn to_json(status: &ServerStatus) -> Value {
    json!({
        "server": status.server.0,
        "role": status.role,
        "term": status.term,
        "leader": status.leader.map(|leader| leader.0),
        "applied": status.applied.0,
        "committed": status.committed.0,
        "digest": format!("{:016x}", status.digest),
        "znodes": status.znodes,
        "sessions": status.sessions,
        "watches": status.watches,
        "tickets": status.tickets,
        "connections": status.connections,
        "members": members_to_json(status),
        "removed_members": status.removed_members.iter().map(|server| server.0).collect::<Vec<_>>(),
        "alarms": status.alarms,
    })
}

/// The members as one server sees them, for programs.
pub(crate) fn members_to_json(status: &ServerStatus) -> Vec<Value> {
    let members = status.members.iter();
    let members = members.map(|member| {
        json!({
            "server": member.server.0,
            "voter": member.voter,
            "peer_address": member.peer_address,
            "native_address": member.native_address,
            "connected": member.connected,
            "matched": member.matched,
        })
    });
    members.collect()
}

fn text_of(status: &ServerStatus, seen: &[Seen]) -> String {
    let header = ["server", "role", "term", "leader", "applied", "digest", "znodes", "sessions"];
    let rows: Vec<Vec<String>> = seen
        .iter()
        .map(|one| match one {
            Ok(status) => vec![
                status.server.to_string(),
                status.role.clone(),
                status.term.to_string(),
                status.leader.map_or("-".to_owned(), |leader| leader.to_string()),
                status.applied.to_string(),
                format!("{:016x}", status.digest),
                status.znodes.to_string(),
                status.sessions.to_string(),
            ],
            Err((server, error)) => vec![server.to_string(), error.clone()],
        })
        .collect();
    let members: Vec<Vec<String>> = status
        .members
        .iter()
        .map(|member| {
            vec![
                member.server.to_string(),
                if member.voter { "voter" } else { "learner" }.to_owned(),
                if member.connected { "connected" } else { "not connected" }.to_owned(),
                member.native_address.clone(),
                member.peer_address.clone(),
            ]
        })
        .collect();
    let mut text = table(&header, &rows);
    text.push_str(&format!("\n\nmembers as server {} sees them\n", status.server));
    text.push_str(&table(&["server", "vote", "connection", "clients", "peers"], &members));
    for alarm in &status.alarms {
        text.push_str(&format!("\nALARM {alarm}"));
    }
    text
}
