//! The tree of a server, taken in znode by znode over the ZooKeeper protocol.
//!
//! Comes in: a connection of an administrator. Goes out: every znode with all that a client can learn of
//! it. Invariant: nothing of the servers' own code is used but the codec.

use crate::original::SUPER_DIGEST;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use quorate_conformance::ZooKeeperClient;
use quorate_wire::zookeeper::{
    Acl, Auth, Read, Reply, Request, Secret, ServerMessage, Stat, ZooKeeperError,
};
use std::collections::{BTreeMap, BTreeSet};

/// The administrator's name and password.
const SUPER: &[u8] = b"super:test";

/// What a client learns of a znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Null is empty here.
    pub(crate) data: Option<Bytes>,
    /// Permissions, scheme, id.
    pub(crate) acl: Vec<(u32, String, String)>,
    pub(crate) stat: Stat,
    pub(crate) children: BTreeSet<String>,
}

/// Proves to be the administrator.
pub(crate) fn become_administrator(client: &mut ZooKeeperClient) -> Result<()> {
    assert!(SUPER_DIGEST.starts_with("super:"));
    let auth = Secret(Some(Bytes::from_static(SUPER)));
    let answered = client.ask(&Request::Auth(Auth { kind: 0, scheme: "digest", auth }))?;
    let header = answered.context("the server closed")?.header()?;
    ensure!(header.error == ZooKeeperError::Ok, "{header:?}");
    Ok(())
}

/// Asks for what must be done, and takes what is needed of the reply.
pub(crate) fn done<T>(
    client: &mut ZooKeeperClient,
    request: &Request<'_>,
    take: impl FnOnce(Reply<'_>) -> Option<T>,
) -> Result<T> {
    let answered = client.ask(request)?.with_context(|| format!("{request:?} closed"))?;
    match answered.message()? {
        ServerMessage::Reply { reply, .. } => {
            let shown = format!("{reply:?}");
            take(reply).with_context(|| format!("{request:?} was answered {shown}"))
        }
        other => bail!("{request:?} was answered {other:?}"),
    }
}

/// Every znode from the root down.
pub(crate) fn take_in(client: &mut ZooKeeperClient) -> Result<BTreeMap<String, Seen>> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![String::from("/")];
    while let Some(path) = waiting.pop() {
        let seen = look_at(client, &path)?;
        let start = if path == "/" { "" } else { &path };
        waiting.extend(seen.children.iter().map(|name| format!("{start}/{name}")));
        all.insert(path, seen);
    }
    Ok(all)
}

fn look_at(client: &mut ZooKeeperClient, path: &str) -> Result<Seen> {
    let read = Read { path, watch: false };
    let (data, stat) = done(client, &Request::GetData(read), |reply| match reply {
        Reply::DataStat(read) => Some((read.data, read.stat)),
        _ => None,
    })?;
    let acl = done(client, &Request::GetAcl(path), |reply| match reply {
        Reply::AclStat(read) => Some(read.acl.iter().map(entry).collect()),
        _ => None,
    })?;
    let children = done(client, &Request::GetChildren(read), |reply| match reply {
        Reply::Children(names) => Some(names.into_iter().map(str::to_owned).collect()),
        _ => None,
    })?;
    Ok(Seen { data, acl, stat, children })
}

fn entry(entry: &Acl<'_>) -> (u32, String, String) {
    (entry.permissions.0, entry.scheme.to_owned(), entry.id.to_owned())
}
