//! ZooKeeper clients with TLS: whom the server lets in, and who they are by their certificates.

use anyhow::{Context, Result, bail, ensure};
use quorate_conformance::{
    Answered, PATIENCE, Recipes, Tool, ZooKeeperClient, ZooKeeperStream, ZooKeeperTls, on_cluster,
    word,
};
use quorate_types::Permissions;
use quorate_wire::zookeeper::{Acl, Create, Read, Reply, Request, ServerMessage, ZooKeeperError};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// The subject of the certificate that `quorate dev` makes for its administrator.
const ADMIN: &str = "CN=quorate client admin";
/// Connections that say nothing.
const SILENT: usize = 50;

fn connect(address: SocketAddr, tls: &ZooKeeperTls) -> Result<ZooKeeperClient> {
    let stream = ZooKeeperStream::tls(address, tls)?;
    ZooKeeperClient::over(stream, ZooKeeperClient::hello())?.context("the server closed")
}

fn ask(client: &mut ZooKeeperClient, request: &Request<'_>) -> Result<Answered> {
    client.ask(request)?.context("the server closed")
}

/// Who the client is to the server: schemes and names.
fn identities(client: &mut ZooKeeperClient) -> Result<Vec<(String, String)>> {
    let answered = ask(client, &Request::WhoAmI)?;
    match answered.message()? {
        ServerMessage::Reply { reply: Reply::WhoAmI(known), .. } => {
            Ok(known.iter().map(|info| (info.scheme.to_owned(), info.user.to_owned())).collect())
        }
        other => bail!("{other:?}"),
    }
}

fn create(client: &mut ZooKeeperClient, path: &str, acl: Acl<'_>) -> Result<ZooKeeperError> {
    let create = Create { path, data: Some("kept".into()), acl: vec![acl], mode: 0 };
    Ok(ask(client, &Request::Create(create))?.header()?.error)
}

fn read(client: &mut ZooKeeperClient, path: &str) -> Result<ZooKeeperError> {
    let answered = ask(client, &Request::GetData(Read { path, watch: false }))?;
    Ok(answered.header()?.error)
}

fn say(mut stream: ZooKeeperStream, word: &str) -> Result<String> {
    stream.write_all(word.as_bytes())?;
    stream.flush()?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_certificate_lets_a_client_in_and_is_its_identity() {
    on_cluster(Recipes::None, async |cluster| {
        let (follower, ..) = cluster.roles().await?;
        let (tls, plain) =
            (cluster.zookeeper_tls_address(follower)?, cluster.zookeeper_address(follower)?);
        let admin = cluster.zookeeper_tls();
        let others = tempfile::tempdir()?;
        let authority = cluster.profile().with_file_name("authority");
        let made = ["cluster", "client", "bob", "--authority", word(&authority)?, "--out"];
        Tool::bare()?.done(&[&made[..], &[word(others.path())?]].concat())?;
        let shown = (others.path().join("bob.pem"), others.path().join("bob-key.pem"));
        let bob = ZooKeeperTls { shown: Some(shown), ..admin.clone() };
        tokio::task::spawn_blocking(move || {
            let mut client = connect(tls, &admin)?;
            let known = [("ip", "127.0.0.1"), ("x509", ADMIN)];
            let known = known.map(|(scheme, name)| (scheme.to_owned(), name.to_owned()));
            ensure!(identities(&mut client)? == known, "{:?}", identities(&mut client)?);
            let acl = Acl { permissions: Permissions::ALL, scheme: "x509", id: ADMIN };
            let auth = Acl { permissions: Permissions::ALL, scheme: "auth", id: "" };
            ensure!(create(&mut client, "/hers", acl)? == ZooKeeperError::Ok);
            ensure!(create(&mut client, "/hers-too", auth)? == ZooKeeperError::Ok);
            let old = ZooKeeperTls { is_old: true, ..admin.clone() };
            let mut others =
                [connect(tls, &bob)?, ZooKeeperClient::connect(plain, 10_000)?].into_iter();
            for path in ["/hers", "/hers-too"] {
                ensure!(read(&mut connect(tls, &old)?, path)? == ZooKeeperError::Ok, "{path}");
            }
            others.try_for_each(|mut other| {
                ensure!(read(&mut other, "/hers")? == ZooKeeperError::NoAuth);
                ensure!(read(&mut other, "/hers-too")? == ZooKeeperError::NoAuth);
                Ok(())
            })?;
            let nobody = ZooKeeperTls { shown: None, ..admin.clone() };
            ensure!(connect(tls, &nobody).is_err(), "a client without a certificate was let in");
            ensure!(say(ZooKeeperStream::tls(tls, &admin)?, "isro")? == "rw");
            ensure!(ZooKeeperClient::connect(tls, 10_000).is_err(), "the TLS port takes all");
            Ok(())
        })
        .await?
    });
}

#[test]
fn one_port_takes_both_and_an_administrator_is_known_by_its_certificate() {
    on_cluster(Recipes::None, async |cluster| {
        let lines = format!("port_unification = true\nx509_super_user = \"{ADMIN}\"");
        cluster.restart_with_zookeeper_lines(&lines).await?;
        let (follower, ..) = cluster.roles().await?;
        let address = cluster.zookeeper_address(follower)?;
        let admin = cluster.zookeeper_tls();
        tokio::task::spawn_blocking(move || {
            let mut plain = ZooKeeperClient::connect(address, 10_000)?;
            let nobody = Acl { permissions: Permissions::ALL, scheme: "x509", id: "CN=nobody" };
            ensure!(create(&mut plain, "/nobodys", nobody)? == ZooKeeperError::Ok);
            ensure!(read(&mut plain, "/nobodys")? == ZooKeeperError::NoAuth);
            let mut client = connect(address, &admin)?;
            ensure!(read(&mut client, "/nobodys")? == ZooKeeperError::Ok, "ACLs bind it");
            let schemes = identities(&mut client)?.into_iter().map(|(scheme, _)| scheme);
            ensure!(schemes.eq(["ip", "super", "x509"]));
            ensure!(say(ZooKeeperStream::plain(address)?, "isro")? == "rw");
            ensure!(say(ZooKeeperStream::tls(address, &admin)?, "isro")? == "rw");
            Ok(())
        })
        .await?
    });
}

#[test]
fn connections_that_do_not_shake_hands_hold_up_nobody_and_are_closed() {
    on_cluster(Recipes::None, async |cluster| {
        let address = cluster.zookeeper_tls_address(cluster.servers()[0])?;
        let admin = cluster.zookeeper_tls();
        tokio::task::spawn_blocking(move || {
            let silent = (0..SILENT).map(|number| {
                let mut stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                // Half of them begin a handshake.
                if number % 2 == 0 {
                    stream.write_all(&[22, 3, 1, 2, 0])?;
                }
                Ok(stream)
            });
            let silent = silent.collect::<Result<Vec<_>>>()?;
            let mut client = connect(address, &admin)?;
            ensure!(read(&mut client, "/zookeeper")? == ZooKeeperError::Ok);
            for mut stream in silent {
                let told = stream.read(&mut [0; 64]);
                let is_over = matches!(&told, Ok(0))
                    || matches!(&told, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset);
                ensure!(is_over, "{told:?} is no end");
            }
            Ok(())
        })
        .await?
    });
}
