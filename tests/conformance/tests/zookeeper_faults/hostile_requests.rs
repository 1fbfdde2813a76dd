//! Requests made to do harm, some of which stop a real ZooKeeper: each connection gets an answer or
//! is closed, and nobody else notices.

use anyhow::{Context, Result, ensure};
use quorate_conformance::{Cluster, Recipes, ZooKeeperClient, on_cluster};
use quorate_wire::zookeeper::{
    ConnectRequest, Multi, MultiOperation, PathVersion, Read, Request, Secret, SetWatches,
    encode_connect_request, encode_request,
};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT_MS: i32 = 10_000;
/// How long a connection may stay silent after an attack before the next one is tried.
const SILENCE: Duration = Duration::from_millis(200);

fn hello(change: impl FnOnce(&mut ConnectRequest)) -> Vec<u8> {
    let mut request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: TIMEOUT_MS,
        session_id: 0,
        password: Secret(Some(vec![0; 16].into())),
        read_only: Some(false),
    };
    change(&mut request);
    let mut out = Vec::new();
    encode_connect_request(&mut out, &request);
    out
}

/// Bytes behind a good handshake.
fn after_hello(bytes: &[u8]) -> Vec<u8> {
    let mut out = hello(|_| {});
    out.extend_from_slice(bytes);
    out
}

fn request(wanted: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_request(&mut out, 1, wanted);
    out
}

/// A frame with this body, its length told truly.
fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(body.len()).expect("short").to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

/// A request with this opcode and this body.
fn raw(opcode: i32, body: &[u8]) -> Vec<u8> {
    let mut out = 1_i32.to_be_bytes().to_vec();
    out.extend_from_slice(&opcode.to_be_bytes());
    out.extend_from_slice(body);
    frame(&out)
}

/// Names and bytes of attacks.
fn attacks() -> Vec<(String, Vec<u8>)> {
    let check = Request::Check(PathVersion { path: "/", version: 0 });
    let container = Request::DeleteContainer(Some("/".into()));
    let many = i32::MAX.to_be_bytes();
    let lost: Vec<&str> = vec!["/a/b/c"; 60_000];
    let watches = SetWatches { relative_zxid: -1, data: lost.clone(), exist: lost, child: vec![] };
    let deletes = MultiOperation::Delete(PathVersion { path: "/zookeeper", version: -1 });
    let multi = Multi(vec![deletes; 50_000]);
    let mut found = vec![
        ("a lone check".to_owned(), after_hello(&request(&check))),
        ("a lone check instead of a handshake".to_owned(), request(&check)),
        ("a deletion of a container".to_owned(), after_hello(&request(&container))),
        ("a session's opening as a request".to_owned(), after_hello(&raw(-10, &[0, 0, 1, 0]))),
        ("a negative length".to_owned(), (-1_i32).to_be_bytes().to_vec()),
        ("the largest length".to_owned(), many.to_vec()),
        ("a negative length later".to_owned(), after_hello(&(-5_i32).to_be_bytes())),
        ("an empty frame".to_owned(), after_hello(&frame(b""))),
        ("an empty first frame".to_owned(), frame(b"")),
        ("half a handshake".to_owned(), hello(|_| {})[..20].to_vec()),
        ("two handshakes".to_owned(), after_hello(&hello(|_| {}))),
        ("a web browser".to_owned(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a TLS hello".to_owned(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("an unknown word".to_owned(), b"rm-r".to_vec()),
        ("a word that is not allowed".to_owned(), b"wchc".to_vec()),
        ("a strange protocol".to_owned(), hello(|hello| hello.protocol_version = i32::MIN)),
        ("a negative timeout".to_owned(), hello(|hello| hello.timeout_ms = i32::MIN)),
        ("an old session of nobody's".to_owned(), hello(|hello| hello.session_id = i64::MIN)),
        (
            "no password".to_owned(),
            hello(|hello| {
                hello.session_id = 1;
                hello.password = Secret(None);
            }),
        ),
        ("more seen than there is".to_owned(), hello(|hello| hello.last_zxid_seen = i64::MAX)),
        ("120,000 watches".to_owned(), after_hello(&request(&Request::SetWatches(watches)))),
        ("a multi of 50,000".to_owned(), after_hello(&request(&Request::Multi(multi)))),
        (
            "a list that claims all memory".to_owned(),
            after_hello(&raw(101, &[[0; 4], [0; 4], many].concat())),
        ),
    ];
    for opcode in (-12..130).chain([1_000, i32::MAX, i32::MIN]) {
        found.push((format!("opcode {opcode} without a body"), after_hello(&raw(opcode, b""))));
        let claim = [many, many, many].concat();
        found.push((format!("opcode {opcode} with claims"), after_hello(&raw(opcode, &claim))));
        let text = [&[0, 0, 0, 2][..], b"\xff\xfe", &[0; 64]].concat();
        found.push((format!("opcode {opcode} with no text"), after_hello(&raw(opcode, &text))));
    }
    found
}

/// Sends it and reads until the server closes or falls silent; gives how many bytes came.
fn attack(address: SocketAddr, bytes: &[u8]) -> Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE))?;
    // The server may close before it has read all.
    let _ = stream.write_all(bytes);
    let (mut told, mut chunk) = (0, [0; 4_096]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return Ok(told),
            Ok(count) => told += count,
        }
    }
}

fn serves(address: SocketAddr) -> Result<()> {
    let mut client = ZooKeeperClient::connect(address, TIMEOUT_MS)?;
    let wanted = Request::Exists(Read { path: "/zookeeper", watch: false });
    client.ask(&wanted)?.context("the server closed")?;
    client.ask(&Request::CloseSession)?.context("the server closed")?;
    Ok(())
}

#[test]
fn no_request_takes_a_server_down() {
    on_cluster(Recipes::None, async |cluster| {
        let processes = cluster.process_ids();
        let servers = cluster.servers();
        let addresses = servers
            .iter()
            .map(|server| cluster.zookeeper_address(*server))
            .collect::<Result<Vec<_>>>()?;
        let attacks = attacks();
        let count = attacks.len();
        tokio::task::spawn_blocking(move || {
            for (number, (name, bytes)) in attacks.iter().enumerate() {
                let address = addresses[number % addresses.len()];
                attack(address, bytes).with_context(|| name.clone())?;
                serves(address).with_context(|| format!("after {name}"))?;
            }
            addresses.iter().try_for_each(|address| flood(*address))
        })
        .await??;
        println!("{count} hostile requests were answered or refused, and a flood on each server");
        ensure!(cluster.process_ids() == processes, "a server was restarted");
        serve_on(cluster).await
    });
}

/// A client that asks and asks and reads nothing.
fn flood(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.write_all(&hello(|_| {}))?;
    let asked = request(&Request::GetChildren2(Read { path: "/", watch: true })).repeat(1_000);
    for _ in 0..200 {
        // Once nobody reads any more, the network takes no more either.
        if stream.write_all(&asked).is_err() {
            break;
        }
    }
    serves(address).context("while another client floods it")
}

async fn serve_on(cluster: &mut Cluster) -> Result<()> {
    let statuses = cluster.assert_equal().await?;
    ensure!(statuses.len() == 3, "only {} servers are up", statuses.len());
    for server in cluster.servers() {
        let log = std::fs::read_to_string(cluster.server_folder(server).join("server.log"))?;
        ensure!(!log.contains("panicked"), "server {server} met a bug");
    }
    Ok(())
}
