//! Four-letter words that list what the server holds: `cons`, `wchs`, `wchc`, `wchp`, `dump`, `dirs`.
//!
//! Comes in: a word. Goes out: text in ZooKeeper's forms. Invariant: the replica is asked for a bounded
//! number of rows, and a list that is not whole says so in its last line. Must never let the replica
//! make text, or wait for a disk.

use super::ZooKeeperDoor;
use crate::inbox::Event;
use quorate_replica::{SessionList, WatchList, WatchOrder};
use quorate_storage::snapshot;
use quorate_types::SessionId;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Rows that a list has at most: the replica needs about a millisecond for so many.
const ROWS_MAX: usize = 10_000;
/// How long the replica may take to make one.
const LIST_DEADLINE: Duration = Duration::from_secs(5);

/// Every connection with its figures.
pub(super) fn connections(door: &ZooKeeperDoor, is_brief: bool) -> String {
    let mut text = String::new();
    for known in door.known() {
        let _ = writeln!(text, " {}", known.line(is_brief));
    }
    text.push('\n');
    text
}

/// How many watches.
pub(super) async fn watch_summary(door: &ZooKeeperDoor) -> Option<String> {
    let WatchList { connections, paths, watches, .. } =
        list_watches(door, WatchOrder::Session, 0).await?;
    Some(format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n"))
}

/// The watches, by session or by path.
pub(super) async fn watches(door: &ZooKeeperDoor, order: WatchOrder) -> Option<String> {
    let list = list_watches(door, order, ROWS_MAX).await?;
    let rows = list.rows.iter().map(|(session, path)| match order {
        WatchOrder::Session => (hexadecimal(*session), path.to_string()),
        WatchOrder::Path => (path.to_string(), hexadecimal(*session)),
    });
    let mut text = grouped(rows, "");
    tell_rest(&mut text, list.watches - list.rows.len(), "watches");
    text.push('\n');
    Some(text)
}

/// Sessions, their ephemerals, and the connections of this server.
pub(super) async fn sessions(door: &ZooKeeperDoor) -> Option<String> {
    let list = list_sessions(door).await?;
    let mut text = format!("SessionTracker dump:\nGlobal Sessions({}):\n", list.sessions);
    for (session, timeout_ms) in &list.rows {
        let _ = writeln!(text, "{}\t{timeout_ms}ms", hexadecimal(*session));
    }
    let listed = u64::try_from(list.rows.len()).unwrap_or(u64::MAX);
    let rest = usize::try_from(list.sessions.saturating_sub(listed)).unwrap_or(usize::MAX);
    tell_rest(&mut text, rest, "sessions");
    text.push_str("ephemeral nodes dump:\n");
    let is_whole = list.ephemerals.len() <= ROWS_MAX;
    let owned = || list.ephemerals.iter().take(ROWS_MAX);
    let mut owners = owned().map(|(owner, _)| *owner).collect::<Vec<_>>();
    owners.dedup();
    let _ = writeln!(text, "Sessions with Ephemerals ({}):", owners.len());
    text += &grouped(owned().map(|(owner, path)| (hexadecimal(*owner), path.to_string())), ":");
    if !is_whole {
        let _ = writeln!(text, "... and more ephemerals, which are not listed");
    }
    text.push_str("Connections dump:\n");
    let known = door.known();
    let _ = writeln!(text, "Connections({}):", known.len());
    for known in known {
        let _ = writeln!(text, "\t{}", known.address_and_session());
    }
    Some(text)
}

/// Bytes of snapshots, and of logs.
pub(super) fn folder_sizes(folder: &Path) -> std::io::Result<String> {
    let (mut snapshots, mut logs) = (0, 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_snapshot = name.to_str().and_then(snapshot::parse_file_name).is_some();
        // A file may be gone since the folder was read.
        let bytes = entry.metadata().map_or(0, |known| known.len());
        *(if is_snapshot { &mut snapshots } else { &mut logs }) += bytes;
    }
    Ok(format!("datadir_size: {snapshots}\nlogdir_size: {logs}\n"))
}

async fn list_watches(
    door: &ZooKeeperDoor,
    order: WatchOrder,
    rows_max: usize,
) -> Option<WatchList> {
    let (to, list) = oneshot::channel();
    ask(door, Event::ListWatches { order, rows_max, to }, list).await
}

async fn list_sessions(door: &ZooKeeperDoor) -> Option<SessionList> {
    let (to, list) = oneshot::channel();
    ask(door, Event::ListSessions { rows_max: ROWS_MAX, to }, list).await
}

async fn ask<L>(door: &ZooKeeperDoor, event: Event, list: oneshot::Receiver<L>) -> Option<L> {
    door.inbox.send_from_client(event, 0).await.ok()?;
    timeout(LIST_DEADLINE, list).await.ok()?.ok()
}

fn hexadecimal(session: SessionId) -> String {
    format!("0x{:x}", session.0)
}

/// Each head once, and below it what belongs to it. `mark`: behind each head.
fn grouped(rows: impl Iterator<Item = (String, String)>, mark: &str) -> String {
    let mut text = String::new();
    let mut before = None;
    for (head, row) in rows {
        if before.as_ref() != Some(&head) {
            let _ = writeln!(text, "{head}{mark}");
            before = Some(head);
        }
        let _ = writeln!(text, "\t{row}");
    }
    text
}

fn tell_rest(text: &mut String, rest: usize, what: &str) {
    if rest > 0 {
        let _ = writeln!(text, "... and {rest} {what} more, which are not listed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_below_their_heads_and_what_is_left_out_is_told() {
        let rows = [("0x1", "/a"), ("0x1", "/b"), ("0x2", "/a")];
        let rows = rows.map(|(head, row)| (String::from(head), String::from(row)));
        let mut text = grouped(rows.into_iter(), ":");
        assert_eq!(text, "0x1:\n\t/a\n\t/b\n0x2:\n\t/a\n");
        tell_rest(&mut text, 0, "watches");
        assert!(text.ends_with("/a\n"));
        tell_rest(&mut text, 3, "watches");
        assert!(text.ends_with("... and 3 watches more, which are not listed\n"));
    }

    #[test]
    fn snapshots_are_told_apart_from_logs_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let name = "snapshot-0000000000000001-0000000000000002.qsnap";
        std::fs::write(folder.path().join(name), [0; 7]).unwrap();
        std::fs::write(folder.path().join("manifest"), [0; 30]).unwrap();
        let sizes = folder_sizes(folder.path()).unwrap();
        assert_eq!(sizes, "datadir_size: 7\nlogdir_size: 30\n");
        assert!(folder_sizes(&folder.path().join("gone")).is_err());
    }
}
