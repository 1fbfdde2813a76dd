//! ZooKeeper's four-letter words, in the forms that monitoring reads.
//!
//! Comes in: a word. Goes out: text. Invariant: only words that the configuration lists are answered;
//! figures are this server's own. Must never need a session: a server without a leader is asked too.

use super::{ZooKeeperDoor, listings};
use crate::inbox::Event;
use crate::outbox::{Next, Outbox};
use crate::zookeeper::figures::Standing;
use quorate_machine::Identity;
use quorate_replica::{Input, WatchOrder};
use quorate_types::Reply;
use quorate_types::request::ServerStatus;
use quorate_wire::native::{ClientFrame, ServerFrame};
use quorate_wire::zookeeper::FourLetterWord;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the replica may take to say how it is.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";
/// The role of a server that only reads, as ZooKeeper calls it too.
const READ_ONLY: &str = "read-only";
/// What stands where ZooKeeper tells its version, in a form that clients parse.
const VERSION: &str = concat!("3.9.0-quorate-", env!("CARGO_PKG_VERSION"));

/// The answer to a word. `connection`: a number for asking the replica, and where its answer comes.
pub(super) async fn answer(
    door: &ZooKeeperDoor,
    word: FourLetterWord,
    connection: (u64, &Arc<Outbox<ServerFrame>>),
) -> String {
    if !door.config.words.contains(&word) {
        let letters = word.letters();
        return format!("{letters} is not executed because it is not in the whitelist.\n");
    }
    match word {
        FourLetterWord::Ruok => return String::from("imok"),
        FourLetterWord::Srst => return set_back(door),
        FourLetterWord::Crst => return set_connections_back(door),
        FourLetterWord::Envi => return environment(),
        FourLetterWord::Conf => return configuration(door),
        _ => {}
    }
    let status = status(door, connection).await;
    if word == FourLetterWord::Isro {
        return String::from(match &status {
            Some(status) if status.role == READ_ONLY => "ro",
            Some(status) if serves(status) => "rw",
            _ => "null",
        });
    }
    let serving = status.filter(serves);
    let Some(status) = serving else { return String::from(NOT_SERVING) };
    answer_serving(door, word, &status).await.unwrap_or_else(|| String::from(NOT_SERVING))
}

/// The answer of a server that serves; `None`: the replica does not say in time.
async fn answer_serving(
    door: &ZooKeeperDoor,
    word: FourLetterWord,
    status: &ServerStatus,
) -> Option<String> {
    let figures = door.figures.standing();
    Some(match word {
        FourLetterWord::Srvr => server(status, &figures, None),
        FourLetterWord::Stat => server(status, &figures, Some(&listings::connections(door, true))),
        FourLetterWord::Mntr => monitoring(status, &figures),
        FourLetterWord::Cons => listings::connections(door, false),
        FourLetterWord::Wchs => listings::watch_summary(door).await?,
        FourLetterWord::Wchc => listings::watches(door, WatchOrder::Session).await?,
        FourLetterWord::Wchp => listings::watches(door, WatchOrder::Path).await?,
        FourLetterWord::Dump => listings::sessions(door).await?,
        FourLetterWord::Dirs => folder_sizes(door).await?,
        other => format!("{} is not answered by this server\n", other.letters()),
    })
}

fn set_back(door: &ZooKeeperDoor) -> String {
    door.figures.set_back();
    String::from("Server stats reset.\n")
}

fn set_connections_back(door: &ZooKeeperDoor) -> String {
    door.known().iter().for_each(|known| known.set_back());
    String::from("Connection stats reset.\n")
}

async fn folder_sizes(door: &ZooKeeperDoor) -> Option<String> {
    let folder = door.state_folder.clone();
    let sizes = tokio::task::spawn_blocking(move || listings::folder_sizes(&folder)).await.ok()?;
    Some(sizes.unwrap_or_else(|error| format!("the folder of the data cannot be read: {error}\n")))
}

fn serves(status: &ServerStatus) -> bool {
    if status.role == READ_ONLY {
        return true;
    }
    status.leader.is_some() && matches!(status.role.as_str(), "leader" | "follower" | "learner")
}

async fn status(
    door: &ZooKeeperDoor,
    (connection, outbox): (u64, &Arc<Outbox<ServerFrame>>),
) -> Option<ServerStatus> {
    let opened = Event::ClientOpened {
        connection,
        identity: Identity::default(),
        entropy: [0; 16],
        outbox: Arc::clone(outbox),
    };
    let asked = Event::Input(Input::ClientFrame { connection, frame: ClientFrame::Status });
    door.inbox.send_from_client(opened, 0).await.ok()?;
    door.inbox.send_from_client(asked, 0).await.ok()?;
    let Ok(Next::Write(frames, _)) = timeout(STATUS_DEADLINE, outbox.next()).await else {
        return None;
    };
    frames.into_iter().find_map(|frame| match frame {
        ServerFrame::Reply { outcome: Ok(Reply::Status(status)), .. } => Some(status),
        _ => None,
    })
}

fn mode(status: &ServerStatus) -> &'static str {
    match status.role.as_str() {
        _ if status.members.len() == 1 => "standalone",
        "leader" => "leader",
        "learner" => "observer",
        READ_ONLY => READ_ONLY,
        _ => "follower",
    }
}

/// `clients`: lines of the connections, if they are wanted.
fn server(status: &ServerStatus, figures: &Standing, clients: Option<&str>) -> String {
    let (least, mean, most) = figures.latency_ms;
    let clients = clients.map_or_else(String::new, |lines| format!("Clients:\n{lines}"));
    format!(
        "Zookeeper version: {VERSION}\n{clients}\
         Latency min/avg/max: {least}/{mean:.4}/{most}\n\
         Received: {}\nSent: {}\nConnections: {}\nOutstanding: {}\nZxid: 0x{:x}\nMode: {}\n\
         Node count: {}\n",
        figures.received,
        figures.sent,
        status.connections,
        figures.outstanding,
        status.applied.0,
        mode(status),
        status.znodes,
    )
}

fn monitoring(status: &ServerStatus, figures: &Standing) -> String {
    let (least, mean, most) = figures.latency_ms;
    let mut text = String::new();
    let mut row = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "zk_{key}\t{value}");
    };
    row("version", &VERSION);
    row("server_state", &mode(status));
    row("avg_latency", &format_args!("{mean:.4}"));
    row("max_latency", &most);
    row("min_latency", &least);
    row("packets_received", &figures.received);
    row("packets_sent", &figures.sent);
    row("num_alive_connections", &status.connections);
    row("outstanding_requests", &figures.outstanding);
    row("znode_count", &status.znodes);
    row("watch_count", &status.watches);
    if status.role == "leader" {
        let connected = status.members.iter().filter(|member| member.connected).count();
        let followers = connected.saturating_sub(1);
        row("learners", &followers);
        row("synced_followers", &followers);
    }
    text
}

fn environment() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("Environment:\nzookeeper.version={VERSION}\nhost.name={}\n", host.trim())
}

fn configuration(door: &ZooKeeperDoor) -> String {
    let mut text = String::new();
    let secure = door.config.tls.as_ref().and_then(|tls| tls.listen);
    for (port, address) in [("clientPort", door.config.listen), ("secureClientPort", secure)] {
        if let Some(address) = address {
            let (number, ip) = (address.port(), address.ip());
            let _ = writeln!(text, "{port}={number}\n{port}Address={ip}");
        }
    }
    format!(
        "{text}maxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\n",
        door.config.connections_per_address_max,
        door.limits.session_timeout_ms_min,
        door.limits.session_timeout_ms_max,
    )
}
