//! Replies as text that two servers can share.
//!
//! Comes in: replies of one server, in the order of the script. Goes out: lines. Invariant: a
//! transaction is named by the step that made it, a session by its connection, so that what must be
//! equal or differ within one server does so in the text; times go. Must never hide an error code,
//! a version, a length or a name.

use bytes::Bytes;
use quorate_conformance::ZooKeeperEvent;
use quorate_wire::zookeeper::{
    Acl, ChildrenStat, DataStat, MultiReadResult, MultiResult, Opcode, Reply, ReplyHeader,
    ServerMessage, Stat, ZooKeeperError,
};
use std::collections::BTreeMap;

/// Data longer than this is told by its length.
const SHOWN_BYTES: usize = 64;

/// What is known of one server so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    transactions: BTreeMap<i64, String>,
    sessions: BTreeMap<i64, String>,
    newest: i64,
}

impl Names {
    pub(crate) fn name_session(&mut self, id: i64, connection: &str) {
        self.sessions.entry(id).or_insert_with(|| connection.to_owned());
    }

    /// The newest transaction that any reply told of.
    pub(crate) fn newest(&self) -> i64 {
        self.newest
    }

    fn session(&self, id: i64) -> &str {
        if id == 0 { "none" } else { self.sessions.get(&id).map_or("unknown", String::as_str) }
    }

    fn transaction(&mut self, zxid: i64) -> String {
        if zxid == 0 {
            return "zero".to_owned();
        }
        let count = self.transactions.len();
        self.transactions.entry(zxid).or_insert_with(|| format!("unseen-{count}")).clone()
    }

    /// The text of the reply to a request with this opcode, in the step of this number.
    pub(crate) fn reply(
        &mut self,
        (step, opcode): (usize, i32),
        path: &str,
        message: &ServerMessage<'_>,
    ) -> String {
        match message {
            ServerMessage::Notification { .. } => "a notification".to_owned(),
            ServerMessage::Refused(header) => {
                let told = self.header(header, opcode);
                format!("{:?} ({}){told}", header.error, header.error.number())
            }
            ServerMessage::Reply { header, reply } => {
                let told = self.header(header, opcode);
                if is_write(opcode) {
                    let name = format!("z{step}");
                    self.transactions.entry(header.zxid).or_insert(name);
                }
                format!("Ok{told} {}", self.body(reply, path))
            }
        }
    }

    /// What is wrong with a header's transaction: it must never go back.
    fn header(&mut self, header: &ReplyHeader, opcode: i32) -> &'static str {
        if opcode == Opcode::Auth.number() {
            return if header.zxid == 0 { "" } else { " with a zxid" };
        }
        if header.error == ZooKeeperError::Unimplemented {
            // ZooKeeper tells none then.
            return "";
        }
        let before = self.newest;
        self.newest = before.max(header.zxid);
        if header.zxid < before { " with an old zxid" } else { "" }
    }

    fn stat(&mut self, stat: &Stat, path: &str) -> String {
        let Stat { version, cversion, aversion, data_length, children_count, .. } = *stat;
        let [created, modified, children] =
            [stat.czxid, stat.mzxid, stat.pzxid].map(|zxid| self.transaction(zxid));
        let owner = self.session(stat.ephemeral_owner).to_owned();
        if path == "/" {
            // The znodes of the system below it are looked at elsewhere.
            return format!("[v={version} a={aversion} owner={owner} len={data_length}]");
        }
        format!(
            "[c={created} m={modified} p={children} v={version} cv={cversion} a={aversion} \
             owner={owner} len={data_length} n={children_count}]"
        )
    }

    fn body(&mut self, reply: &Reply<'_>, path: &str) -> String {
        match reply {
            Reply::Empty => String::new(),
            Reply::Path(path) => format!("path {path}"),
            Reply::PathStat(body) => {
                format!("path {} {}", body.path, self.stat(&body.stat, body.path))
            }
            Reply::Stat(body) => self.stat(body, path),
            Reply::DataStat(body) => self.data_stat(body, path),
            Reply::AclStat(body) => format!("{} {}", acl(&body.acl), self.stat(&body.stat, path)),
            Reply::Children(body) => names(body),
            Reply::ChildrenStat(ChildrenStat { children, stat }) => {
                format!("{} {}", names(children), self.stat(stat, path))
            }
            Reply::Multi(body) => {
                let items: Vec<String> = body.0.iter().map(|item| self.result(item)).collect();
                format!("multi {}", items.join(" | "))
            }
            Reply::MultiRead(body) => {
                let items: Vec<String> = body.0.iter().map(|item| self.read(item)).collect();
                format!("reads {}", items.join(" | "))
            }
            Reply::Sasl(_) => "token".to_owned(),
            Reply::Ephemerals(body) => names(body),
            Reply::ChildrenNumber(count) => format!("{count} below"),
            Reply::Error(error) => format!("error {error:?}"),
            Reply::WhoAmI(infos) => {
                let shown = infos.iter().map(|info| format!("{}:{}", info.scheme, info.user));
                let mut shown: Vec<String> = shown.collect();
                // ZooKeeper keeps them in a set.
                shown.sort_unstable();
                shown.join(", ")
            }
        }
    }

    fn data_stat(&mut self, body: &DataStat, path: &str) -> String {
        format!("{} {}", data(body.data.as_ref()), self.stat(&body.stat, path))
    }

    fn result(&mut self, result: &MultiResult<'_>) -> String {
        match result {
            MultiResult::Create(path) => format!("create {path}"),
            MultiResult::Create2(body) => {
                format!("create2 {} {}", body.path, self.stat(&body.stat, body.path))
            }
            MultiResult::SetData(stat) => format!("set {}", self.stat(stat, "")),
            MultiResult::Error(error) => format!("{error:?}"),
            MultiResult::Delete => "delete".to_owned(),
            MultiResult::Check => "check".to_owned(),
        }
    }

    fn read(&mut self, result: &MultiReadResult<'_>) -> String {
        match result {
            MultiReadResult::GetData(body) => self.data_stat(body, ""),
            MultiReadResult::GetChildren(body) => names(body),
            MultiReadResult::Error(error) => format!("{error:?}"),
        }
    }
}

/// Whether its reply, if it is none of an error, tells the transaction that it made.
fn is_write(opcode: i32) -> bool {
    matches!(
        Opcode::from_number(opcode),
        Some(
            Opcode::Create
                | Opcode::Create2
                | Opcode::CreateContainer
                | Opcode::CreateTtl
                | Opcode::Delete
                | Opcode::SetData
                | Opcode::SetAcl
                | Opcode::Multi
                | Opcode::CloseSession
        )
    )
}

fn data(data: Option<&Bytes>) -> String {
    match data {
        None => "null".to_owned(),
        Some(data) if data.len() > SHOWN_BYTES => {
            let sum: u64 = data.iter().map(|byte| u64::from(*byte)).sum();
            format!("{} bytes with the sum {sum}", data.len())
        }
        Some(data) => format!("{:?}", String::from_utf8_lossy(data)),
    }
}

fn acl(acl: &[Acl<'_>]) -> String {
    let entry = |acl: &Acl<'_>| format!("{}={}:{}", acl.permissions.0, acl.scheme, acl.id);
    format!("acl {}", acl.iter().map(entry).collect::<Vec<_>>().join(","))
}

/// In order, for no order is promised; without what every ZooKeeper has of its own.
fn names(names: &[&str]) -> String {
    let mut names: Vec<&str> = names.iter().copied().filter(|name| *name != "zookeeper").collect();
    names.sort_unstable();
    format!("{names:?}")
}

pub(crate) fn event(event: &ZooKeeperEvent) -> String {
    let ZooKeeperEvent { kind, state, path } = event;
    format!("{kind:?} {path} ({state:?})")
}
