//! A server that is cut off from its quorum, for clients that are content with reading.

use anyhow::{Context, Result, bail, ensure};
use quorate_conformance::{
    Recipes, ZooKeeperClient, ZooKeeperSession, ZooKeeperStream, on_cluster, poll,
};
use quorate_types::Permissions;
use quorate_wire::zookeeper::{
    Acl, ConnectRequest, Create, PathVersion, Read, Reply, Request, Secret, ServerMessage,
    ZooKeeperError,
};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

const TIMEOUT_MS: i32 = 60_000;

/// Connects with a session or for a new one. `None`: the server closed without an answer.
fn connect(
    address: SocketAddr,
    read_only: bool,
    session: Option<&ZooKeeperSession>,
) -> Result<Option<ZooKeeperClient>> {
    let mut hello = ZooKeeperClient::hello();
    if let Some(session) = session {
        let password = Secret(Some(session.password.clone()));
        hello = ConnectRequest { session_id: session.id, password, ..hello };
    }
    let hello = ConnectRequest { timeout_ms: TIMEOUT_MS, read_only: Some(read_only), ..hello };
    ZooKeeperClient::over(ZooKeeperStream::plain(address)?, hello)
}

fn error_of(client: &mut ZooKeeperClient, request: &Request<'_>) -> Result<ZooKeeperError> {
    let answered = client.ask(request)?.context("the server closed")?;
    Ok(answered.header()?.error)
}

fn create(path: &str) -> Request<'_> {
    let acl = vec![Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" }];
    Request::Create(Create { path, data: Some("kept".into()), acl, mode: 0 })
}

fn data(client: &mut ZooKeeperClient, path: &str) -> Result<Vec<u8>> {
    let read = Request::GetData(Read { path, watch: true });
    let answered = client.ask(&read)?.context("the server closed")?;
    match answered.message()? {
        ServerMessage::Reply { reply: Reply::DataStat(found), .. } => {
            Ok(found.data.map(|data| data.to_vec()).unwrap_or_default())
        }
        other => bail!("{other:?}"),
    }
}

fn say_isro(address: SocketAddr) -> Result<String> {
    let mut stream = ZooKeeperStream::plain(address)?;
    stream.write_all(b"isro")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_server_without_a_quorum_serves_readers_until_it_has_one_again() {
    on_cluster(Recipes::None, async |cluster| {
        cluster.restart_with_zookeeper_lines("read_only_mode = true").await?;
        let (left, other, leader) = cluster.roles().await?;
        let address = cluster.zookeeper_address(left)?;
        let mut client = connect(address, true, None)?.context("no session")?;
        ensure!(!client.reads_only(), "there is a quorum");
        ensure!(error_of(&mut client, &create("/a"))? == ZooKeeperError::Ok);
        ensure!(say_isro(address)? == "rw");
        let session = client.session().clone();
        cluster.kill(leader)?;
        cluster.kill(other)?;

        let mut reader = poll("the server takes readers", async || {
            let granted = connect(address, true, Some(&session))?;
            Ok(granted.filter(ZooKeeperClient::reads_only))
        })
        .await?;
        ensure!(reader.session() == &session, "another session was given");
        ensure!(say_isro(address)? == "ro");
        ensure!(data(&mut reader, "/a")? == b"kept");
        let path_version = || PathVersion { path: "/a", version: -1 };
        for write in [
            create("/b"),
            Request::Delete(path_version()),
            Request::Check(path_version()),
            Request::Sync("/a"),
        ] {
            let error = error_of(&mut reader, &write)?;
            ensure!(error == ZooKeeperError::NotReadOnly, "{error:?} to {write:?}");
        }
        ensure!(connect(address, false, None)?.is_none(), "a writer was let in");
        let newcomer = connect(address, true, None)?.context("no session")?;
        ensure!(newcomer.reads_only() && newcomer.session().id != session.id);

        cluster.start_server(leader)?;
        cluster.start_server(other)?;
        poll("the reader is sent away", async || {
            let answered = reader.ask(&Request::Ping)?;
            Ok(answered.is_none().then_some(()))
        })
        .await?;
        let mut client = poll("the session goes on with a quorum", async || {
            let granted = connect(address, true, Some(&session))?;
            Ok(granted.filter(|client| !client.reads_only()))
        })
        .await?;
        ensure!(client.session() == &session, "the session has ended");
        ensure!(error_of(&mut client, &create("/b"))? == ZooKeeperError::Ok);
        let local = newcomer.session().clone();
        let gone = connect(address, true, Some(&local))?.context("no answer")?;
        ensure!(gone.timeout_ms() == 0, "a session of one server alone went on elsewhere");
        for server in [leader, other] {
            cluster.wait_until_ready(server).await?;
        }
        cluster.assert_equal().await.map(drop)
    });
}
