//! `quorate leader`: moving leadership.
//!
//! Comes in: the wanted leader. Goes out: who leads afterwards. Must never leave before another
//! leader is known.

use crate::arguments::{LeaderCommand, Reach};
use crate::connect;
use crate::output::Output;
use anyhow::{Result, bail};
use quorate_client::{Client, ServerId};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Time between two looks at who leads.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) async fn run(reach: &Reach, command: &LeaderCommand, output: Output) -> Result<()> {
    let LeaderCommand::Transfer { to } = command;
    let client = connect(reach).await?;
    let before = client.status().await?.leader;
    let wanted = to.map(ServerId);
    if wanted.is_some() && before == wanted {
        output.note("that server leads already");
    } else {
        client.transfer_leader(wanted).await?;
    }
    let limit = Instant::now() + Duration::from_millis(reach.timeout_ms);
    let now = wait_for_leader(&client, before, wanted, limit).await?;
    client.close().await?;
    let text = format!("server {now} leads");
    output.print(&text, &json!({ "leader": now.0, "before": before.map(|leader| leader.0) }));
    Ok(())
}

async fn wait_for_leader(
    client: &Client,
    before: Option<ServerId>,
    wanted: Option<ServerId>,
    limit: Instant,
) -> Result<ServerId> {
    loop {
        let leader = client.status().await?.leader;
        let arrived = match wanted {
            Some(wanted) => leader == Some(wanted),
            None => leader.is_some() && leader != before,
        };
        if let Some(leader) = leader.filter(|_| arrived) {
            return Ok(leader);
        }
        if Instant::now() > limit {
            bail!("leadership did not move in time: it was aborted, or the target lags; try again");
        }
        sleep(LOOK_INTERVAL).await;
    }
}
