//! `quorate member`: who belongs to the running cluster.
//!
//! Comes in: a change of one member. Goes out: the members afterwards, as the leader sees them. A
//! change is made once however often it is asked for, so a command that was cut off can be given
//! again.

use crate::arguments::{MemberCommand, Reach};
use crate::cluster::new_server;
use crate::output::{Output, table};
use crate::{connect, profile, status};
use anyhow::Result;
use quorate_client::{
    Client, ClientError, ErrorCode, MemberAddress, ServerId, ServerStatus, ask_status,
};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Time between two attempts to promote a server that has not caught up.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) async fn run(reach: &Reach, command: &MemberCommand, output: Output) -> Result<()> {
    match command {
        MemberCommand::List => list(reach, output).await,
        MemberCommand::Add { server, native_address, peer_address, zookeeper_address } => {
            let new = new_server(native_address, Path::new(""))?;
            let native = new.native_address();
            let peer = peer_address.clone().unwrap_or_else(|| new.peer_address());
            let client = connect(reach).await?;
            let zookeeper = zookeeper_address.clone();
            let address = MemberAddress { peer: peer.clone(), native: native.clone(), zookeeper };
            client.add_member(ServerId(*server), address).await?;
            let text = format!(
                "server {server} is a member at {native} and {peer}; a new one is a learner\nnext: \
                 quorate member promote {server} --wait"
            );
            end(client, (&text, *server, "add"), output).await
        }
        MemberCommand::Promote { server, wait } => {
            let client = connect(reach).await?;
            promote(&client, ServerId(*server), wait_ms(reach, *wait)).await?;
            let text = format!("server {server} is a voter");
            end(client, (&text, *server, "promote"), output).await
        }
        MemberCommand::Remove { server } => {
            let client = connect(reach).await?;
            client.remove_member(ServerId(*server)).await?;
            let text = format!(
                "server {server} is no member any more: stop it and delete its data directory"
            );
            end(client, (&text, *server, "remove"), output).await
        }
    }
}

async fn end(client: Client, done: (&str, u64, &str), output: Output) -> Result<()> {
    let (text, server, change) = done;
    client.close().await?;
    output.print(text, &json!({ "server": server, "change": change, "done": true }));
    Ok(())
}

fn wait_ms(reach: &Reach, wait: bool) -> u64 {
    if wait { reach.timeout_ms } else { 0 }
}

/// Promotes a learner; while it has not caught up, again until the time is over.
async fn promote(client: &Client, server: ServerId, wait_ms: u64) -> Result<()> {
    let until = Instant::now() + Duration::from_millis(wait_ms);
    loop {
        match client.promote_member(server).await {
            Err(ClientError::Refused(refusal))
                if refusal.code == ErrorCode::MembershipRefused && Instant::now() < until =>
            {
                sleep(ATTEMPT_INTERVAL).await;
            }
            ended => return Ok(ended?),
        }
    }
}

async fn list(reach: &Reach, output: Output) -> Result<()> {
    let profile = profile::resolve(reach)?;
    let seen = ask_status(&profile::client_config(&profile, reach)?).await?;
    let seen = by_leader(reach, seen).await;
    let value = json!({
        "leader": seen.leader.map(|leader| leader.0),
        "last": seen.committed.0,
        "members": status::members_to_json(&seen),
        "removed_members": seen.removed_members.iter().map(|server| server.0).collect::<Vec<_>>(),
    });
    output.print(&text_of(&seen), &value);
    Ok(())
}

/// Only the leader knows how far the others are; where it cannot be asked, what another sees is
/// shown.
async fn by_leader(reach: &Reach, seen: ServerStatus) -> ServerStatus {
    let leader = seen.members.iter().find(|member| Some(member.server) == seen.leader);
    let Some(leader) = leader.filter(|leader| leader.server != seen.server) else { return seen };
    status::ask_member(reach, &leader.native_address).await.unwrap_or(seen)
}

fn text_of(seen: &ServerStatus) -> String {
    let members = seen.members.iter().map(|member| {
        let leads = seen.leader == Some(member.server);
        let entries = if leads { Some(seen.committed.0) } else { member.matched };
        vec![
            member.server.to_string(),
            match (leads, member.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "learner",
            }
            .to_owned(),
            if member.connected { "connected" } else { "not connected" }.to_owned(),
            entries.map_or("-".to_owned(), |entries| entries.to_string()),
            member.native_address.clone(),
            member.peer_address.clone(),
        ]
    });
    let header = ["server", "vote", "connection", "entries", "clients", "peers"];
    let mut text = table(&header, &members.collect::<Vec<_>>());
    if !seen.removed_members.is_empty() {
        let removed: Vec<String> = seen.removed_members.iter().map(ServerId::to_string).collect();
        text.push_str(&format!("\n\nremoved, never to be used again: {}", removed.join(", ")));
    }
    text
}
