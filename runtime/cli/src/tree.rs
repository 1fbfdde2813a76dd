//! `quorate tree`: reading and changing znodes by hand.
//!
//! Comes in: paths and data. Goes out: data, stats, names, changes. Must never change more than it
//! was told: `--recursive` and `--parents` are asked for.

use crate::arguments::{Reach, TreeCommand, WatchArguments};
use crate::connect;
use crate::output::{Output, data_json, data_text};
use anyhow::{Context, Result};
use quorate_client::{
    Client, ClientError, CreateMode, ErrorCode, Notification, ReadLevel, Stat, WatchEventKind,
    WatchMode, WatchOptions, WatchPosition, ZnodePath,
};
use serde_json::{Value, json};
use std::io::Read as _;

pub(crate) async fn run(reach: &Reach, command: TreeCommand, output: Output) -> Result<()> {
    let client = connect(reach).await?;
    let done = perform(&client, command, output).await;
    // A session ends by its timeout if it cannot be closed now.
    let closed = client.close().await;
    done?;
    Ok(closed?)
}

async fn perform(client: &Client, command: TreeCommand, output: Output) -> Result<()> {
    match command {
        TreeCommand::Get { path, local } => get(&leveled(client, local), &path, output).await,
        TreeCommand::Set { path, data, version } => {
            set(client, &path, data_of(data)?, version, output).await
        }
        TreeCommand::Create { path, data, sequential, parents } => {
            let create = Create { path, data: data_of(data)?, sequential, parents };
            create.run(client, output).await
        }
        TreeCommand::Delete { path, version, recursive } => {
            delete(client, &path, version, recursive, output).await
        }
        TreeCommand::Ls { path, local } => ls(&leveled(client, local), &path, output).await,
        TreeCommand::Stat { path } => stat(client, &path, output).await,
        TreeCommand::Acl { path } => acl(client, &path, output).await,
        TreeCommand::Watch { path, options } => watch(client, &path, &options, output).await,
    }
}

fn leveled(client: &Client, local: bool) -> Client {
    client.at(if local { ReadLevel::Local } else { ReadLevel::Linearizable })
}

fn data_of(text: String) -> Result<Vec<u8>> {
    if text != "-" {
        return Ok(text.into_bytes());
    }
    let mut data = Vec::new();
    std::io::stdin().read_to_end(&mut data).context("cannot read the standard input")?;
    Ok(data)
}

async fn get(client: &Client, path: &str, output: Output) -> Result<()> {
    let znode = client.get(path).await?;
    let value = json!({ "data": data_json(&znode.data), "stat": stat_json(&znode.stat) });
    output.print(&data_text(&znode.data), &value);
    Ok(())
}

async fn set(
    client: &Client,
    path: &str,
    data: Vec<u8>,
    version: Option<i32>,
    output: Output,
) -> Result<()> {
    let stat = client.set(path, data, version).await?;
    output.print(&format!("version {}", stat.version), &json!({ "stat": stat_json(&stat) }));
    Ok(())
}

struct Create {
    path: String,
    data: Vec<u8>,
    sequential: bool,
    parents: bool,
}

impl Create {
    async fn run(self, client: &Client, output: Output) -> Result<()> {
        if self.parents {
            create_parents(client, &self.path).await?;
        }
        let mode =
            if self.sequential { CreateMode::PersistentSequential } else { CreateMode::Persistent };
        let created = client.create(&self.path, self.data, mode).await?;
        output.print(created.as_str(), &json!({ "path": created.as_str() }));
        Ok(())
    }
}

async fn create_parents(client: &Client, path: &str) -> Result<()> {
    let path = ZnodePath::parse(path)
        .map_err(|error| ClientError::Path { path: path.to_owned(), error })?;
    let mut missing = Vec::new();
    let mut above = path.parent();
    while let Some(parent) = above.filter(|parent| !parent.is_root()) {
        above = parent.parent();
        missing.push(parent);
    }
    for parent in missing.into_iter().rev() {
        match client.create(parent.as_str(), "", CreateMode::Persistent).await {
            Err(error) if error.code() != Some(ErrorCode::NodeExists) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

async fn delete(
    client: &Client,
    path: &str,
    version: Option<i32>,
    recursive: bool,
    output: Output,
) -> Result<()> {
    let mut deleted = 0u64;
    if recursive {
        // Deepest first; a znode that appears meanwhile makes the last delete fail, not vanish.
        let mut below = vec![path.to_owned()];
        let mut all = Vec::new();
        while let Some(next) = below.pop() {
            for name in client.children(&next).await? {
                below.push(format!("{}/{name}", next.trim_end_matches('/')));
            }
            all.push(next);
        }
        for descendant in all.iter().skip(1).rev() {
            client.delete(descendant, None).await?;
            deleted += 1;
        }
    }
    client.delete(path, version).await?;
    deleted += 1;
    output.print(&format!("deleted {deleted}"), &json!({ "deleted": deleted }));
    Ok(())
}

async fn ls(client: &Client, path: &str, output: Output) -> Result<()> {
    let names = client.children(path).await?;
    output.print(&names.join("\n"), &json!({ "children": names }));
    Ok(())
}

async fn stat(client: &Client, path: &str, output: Output) -> Result<()> {
    let stat = client.exists(path).await?;
    let Some(stat) = stat else {
        let text = format!("there is no znode {path}");
        let refusal = quorate_client::Refusal::new(ErrorCode::NoNode, text);
        return Err(ClientError::Refused(refusal).into());
    };
    let value = stat_json(&stat);
    let lines: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name:<16}{value}"))
        .collect();
    output.print(&lines.join("\n"), &json!({ "stat": value }));
    Ok(())
}

fn stat_json(stat: &Stat) -> Value {
    json!({
        "czxid": stat.czxid.0,
        "mzxid": stat.mzxid.0,
        "pzxid": stat.pzxid.0,
        "ctime_ms": stat.ctime_ms,
        "mtime_ms": stat.mtime_ms,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeral_owner": stat.ephemeral_owner.map(|session| session.0),
        "data_length": stat.data_length,
        "children_count": stat.children_count,
    })
}

async fn acl(client: &Client, path: &str, output: Output) -> Result<()> {
    let (entries, _) = client.acl(path).await?;
    let lines: Vec<String> = entries
        .iter()
        .map(|entry| format!("{}:{}:{}", entry.scheme, entry.id, letters(entry.permissions.0)))
        .collect();
    output.print(&lines.join("\n"), &json!({ "acl": lines }));
    Ok(())
}

/// `rwcda`, as ZooKeeper's shell writes permissions.
fn letters(permissions: u32) -> String {
    "rwcda"
        .chars()
        .enumerate()
        .filter(|(bit, _)| permissions >> bit & 1 == 1)
        .map(|(_, c)| c)
        .collect()
}

async fn watch(
    client: &Client,
    path: &str,
    arguments: &WatchArguments,
    output: Output,
) -> Result<()> {
    let mode =
        if arguments.recursive { WatchMode::PersistentRecursive } else { WatchMode::Persistent };
    let mut options = WatchOptions::new(mode);
    if let Some(from) = arguments.from {
        options = options.since(from);
    }
    if arguments.values {
        options = options.with_values();
    }
    let mut watch = client.watch_with(path, options).await?;
    output.note(&format!("watching {path}; stop with Ctrl-C"));
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let mut interruption = std::pin::pin!(crate::lock::interrupted());
    while left > 0 {
        let notification = tokio::select! {
            notification = watch.next() => notification,
            () = &mut interruption => break,
        };
        let Some(notification) = notification else {
            print_position(watch.position(), output);
            anyhow::bail!("the session has ended: {}", client.ended().await);
        };
        print_notification(&notification, arguments.values, output);
        left -= 1;
    }
    print_position(watch.position(), output);
    Ok(())
}

/// Where to go on: a person reads how, a program reads the point itself.
fn print_position(position: WatchPosition, output: Output) {
    output.note(&format!("to go on from here: --from {position}"));
    if output.is_json() {
        output.print("", &json!({ "event": "end", "position": position.to_string() }));
    }
}

fn print_notification(notification: &Notification, values: bool, output: Output) {
    let Notification::Changed(event) = notification else {
        let text = "changes may have been missed: read again what you need";
        output.print(text, &json!({ "event": "gap" }));
        return;
    };
    let kind = match event.kind {
        WatchEventKind::Created => "created",
        WatchEventKind::Deleted => "deleted",
        WatchEventKind::DataChanged => "data-changed",
        WatchEventKind::ChildrenChanged => "children-changed",
    };
    let mut text = format!("{:>12}  {kind:<17}{}", event.zxid, event.path);
    let mut value = json!({
        "event": kind,
        "path": event.path.as_str(),
        "zxid": event.zxid.0,
        "position": event.position().to_string(),
    });
    if values {
        let data = event.data.as_ref();
        text.extend(data.map(|data| format!("  {}", data_text(data))));
        value["data"] = data.map_or(Value::Null, |data| data_json(data));
    }
    output.print(&text, &value);
}
