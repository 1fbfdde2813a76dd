//! Whole servers in this process: three that elect a leader, answer a client, lose one, come back.

use super::*;
use crate::configuration::{ClientCertificates, MemberConfig, RecipesConfig, Timeouts};
use crate::test_doors::{SOON, TestCluster, dialing};
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use quorate_types::limits::Limits;
use quorate_types::request::{CreateMode, ReadLevel};
use quorate_types::{Operation, Outcome, Reply, ServerId, ZnodePath, Zxid};
use quorate_wire::native::{ClientFrame, FrameBuffer, PROTOCOL, ServerFrame, encode_client};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use tokio::time::timeout;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Servers {
    /// Before `cluster`: fields are dropped in this order, and servers write until they have ended.
    running: BTreeMap<u64, RunningServer>,
    configs: BTreeMap<u64, ServerConfig>,
    cluster: TestCluster,
}

impl Servers {
    /// Starts `count` servers whose files are in one folder.
    fn start(count: u64) -> Servers {
        let cluster = TestCluster::new("orders");
        let sockets = (1..=count).map(|id| (id, Sockets::bind(LOOPBACK, LOOPBACK).unwrap()));
        let sockets = sockets.collect::<BTreeMap<_, _>>();
        let members = sockets.iter().map(|(id, sockets)| MemberConfig {
            server: ServerId(*id),
            peer_address: sockets.peer_address().unwrap().to_string(),
            native_address: sockets.native_address().unwrap().to_string(),
            zookeeper_address: None,
        });
        let members = members.collect::<Vec<_>>();
        let config = |id: u64, sockets: &Sockets| ServerConfig {
            server: ServerId(id),
            join: false,
            cluster: String::from("orders"),
            data_dir: cluster.folder().join(format!("data-{id}")),
            native_listen: sockets.native_address().unwrap(),
            peer_listen: sockets.peer_address().unwrap(),
            zookeeper: None,
            client_certificates: ClientCertificates::Required,
            members: members.clone(),
            tls: cluster.server_paths(id),
            timeouts: Timeouts { election_ms_min: 300, election_ms_max: 600, heartbeat_ms: 50 },
            verify: VerifyMode::All,
            recipes: RecipesConfig::default(),
            limits: Limits { log_segment_bytes: 1 << 20, ..Limits::PRODUCTION },
        };
        let configs = sockets.iter().map(|(id, sockets)| (*id, config(*id, sockets)));
        let configs = configs.collect::<BTreeMap<_, _>>();
        let running = sockets
            .into_iter()
            .map(|(id, sockets)| (id, RunningServer::start_on(&configs[&id], sockets).unwrap()));
        let running = running.collect();
        Servers { running, configs, cluster }
    }

    /// The id of the server that leads and serves, once there is one.
    async fn leader(&self) -> u64 {
        let search = async {
            loop {
                for (id, server) in &self.running {
                    let mut standing = server.standing();
                    let leads = standing.wait_for(|standing| standing.leads);
                    if let Ok(Ok(_)) = timeout(Duration::from_millis(50), leads).await {
                        return *id;
                    }
                }
            }
        };
        timeout(SOON, search).await.expect("a leader is elected")
    }

    /// A client with a session; asks again while the server knows no leader yet.
    async fn client(&self, server: u64) -> Client {
        let address = self.running[&server].native_address();
        let dialer = self.cluster.native_dialer(Some("alice"));
        let asking = async {
            loop {
                let mut client = Client::dial(dialer.clone(), address).await;
                match client.connect().await {
                    Some(ServerFrame::Connected { .. }) => return client,
                    Some(ServerFrame::Refused(refusal) | ServerFrame::Goodbye(refusal)) => {
                        assert!(refusal.code.is_transient(), "{refusal}");
                    }
                    other => assert!(other.is_none(), "{other:?}"),
                }
            }
        };
        timeout(SOON, asking).await.expect("a session is given")
    }
}

struct Client {
    _endpoint: Endpoint,
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    buffer: FrameBuffer,
    sequence: u64,
}

impl Client {
    async fn dial(dialer: quinn::ClientConfig, address: SocketAddr) -> Client {
        let endpoint = dialing();
        let name = crate::certificates::SERVER_NAME;
        let connection = endpoint.connect_with(dialer, address, name).unwrap().await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        let buffer = FrameBuffer::new();
        Client { _endpoint: endpoint, connection, send, receive, buffer, sequence: 0 }
    }

    /// Asks for a session and gives the answer.
    async fn connect(&mut self) -> Option<ServerFrame> {
        let connect = ClientFrame::Connect {
            protocol: PROTOCOL,
            resume: None,
            timeout_ms: 10_000,
            last_seen: Zxid(0),
            read_only: false,
        };
        self.send.write_all(&encode_client(&connect)).await.unwrap();
        self.next().await
    }

    /// The next frame; `None` at the end of the stream.
    async fn next(&mut self) -> Option<ServerFrame> {
        loop {
            if let Some(frame) = self.buffer.next_server(4 << 20).unwrap() {
                return Some(frame);
            }
            let chunk = timeout(SOON, self.receive.read_chunk(1 << 16, true)).await.unwrap();
            self.buffer.push(&chunk.ok()??.bytes);
        }
    }

    async fn ask(&mut self, operation: Operation) -> Outcome {
        self.sequence += 1;
        let request = ClientFrame::Request {
            sequence: self.sequence,
            oldest_unreplied: self.sequence,
            acknowledged: Vec::new(),
            level: ReadLevel::Linearizable,
            operation,
        };
        self.send.write_all(&encode_client(&request)).await.unwrap();
        loop {
            match self.next().await.expect("the stream goes on") {
                ServerFrame::Reply { sequence, outcome, .. } if sequence == self.sequence => {
                    return outcome;
                }
                ServerFrame::Goodbye(refusal) => panic!("{refusal}"),
                _ => {}
            }
        }
    }
}

fn create(path: &str, data: &'static [u8]) -> Operation {
    Operation::Create {
        path: ZnodePath::parse(path).unwrap(),
        data: data.into(),
        mode: CreateMode::Persistent,
        acl: None,
    }
}

fn get(path: &str) -> Operation {
    Operation::Get { path: ZnodePath::parse(path).unwrap(), watch: false }
}

fn data(outcome: Outcome) -> Bytes {
    match outcome {
        Ok(Reply::Data(data, _)) => data.into_bytes(),
        other => panic!("{other:?} is no data"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_answer_lose_their_leader_answer_again_and_keep_everything() {
    let mut servers = Servers::start(3);
    let leader = servers.leader().await;
    let follower = if leader == 1 { 2 } else { 1 };
    let mut client = servers.client(follower).await;
    let created = client.ask(create("/a", b"one")).await;
    assert!(matches!(created, Ok(Reply::Created(..))), "{created:?}");
    let mut at_leader = servers.client(leader).await;
    assert_eq!(data(at_leader.ask(get("/a")).await), "one");

    // A clean end hands over and says goodbye.
    let ended = servers.running.remove(&leader).unwrap();
    tokio::task::spawn_blocking(move || ended.shut_down()).await.unwrap();
    let mut last = None;
    while let Some(frame) = at_leader.next().await {
        last = Some(frame);
    }
    assert!(matches!(last, Some(ServerFrame::Goodbye(_))), "{last:?}");
    let next_leader = servers.leader().await;
    assert_ne!(next_leader, leader);
    let mut client = servers.client(next_leader).await;
    let created = client.ask(create("/b", b"two")).await;
    assert!(matches!(created, Ok(Reply::Created(..))), "{created:?}");

    // The one that was away catches up and serves what it missed.
    let back = RunningServer::start(&servers.configs[&leader]).unwrap();
    assert_eq!(back.starts(), 2);
    servers.running.insert(leader, back);
    let mut client = servers.client(leader).await;
    assert_eq!(data(client.ask(get("/a")).await), "one");
    assert_eq!(data(client.ask(get("/b")).await), "two");
    client.connection.close(VarInt::from_u32(0), b"");
    tokio::task::spawn_blocking(move || drop(servers)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_server_comes_back_with_what_it_acknowledged() {
    let mut servers = Servers::start(1);
    assert_eq!(servers.leader().await, 1);
    let mut client = servers.client(1).await;
    assert!(client.ask(create("/a", b"one")).await.is_ok());
    drop(servers.running.remove(&1));
    let again = RunningServer::start(&servers.configs[&1]).unwrap();
    servers.running.insert(1, again);
    assert_eq!(servers.leader().await, 1);
    let mut client = servers.client(1).await;
    assert_eq!(data(client.ask(get("/a")).await), "one");
}

#[test]
fn a_server_with_another_servers_certificate_does_not_start() {
    let servers = Servers::start(1);
    let mut config = servers.configs[&1].clone();
    config.tls = servers.cluster.server_paths(2);
    config.native_listen = LOOPBACK;
    config.peer_listen = LOOPBACK;
    let refused = RunningServer::start(&config).err().unwrap().to_string();
    assert!(refused.contains("it is for server 2; server.id is 1"), "{refused}");
    config.tls = servers.configs[&1].tls.clone();
    let refused = RunningServer::start(&config).err().unwrap().to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
}

/// Told to a process of its own, which is to end.
const MEETS_A_BUG: &str = "QUORATE_TEST_MEETS_A_BUG";

#[test]
fn a_panic_of_a_part_ends_the_process_also_in_a_task() {
    if std::env::var_os(MEETS_A_BUG).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let part = runtime.spawn(async {
            let _part = Part("replica");
            panic!("the bug");
        });
        let _ = runtime.block_on(part);
        return;
    }
    let own = std::env::current_exe().unwrap();
    let name = "running::tests::a_panic_of_a_part_ends_the_process_also_in_a_task";
    let mut child = std::process::Command::new(own);
    let ended = child.args(["--exact", name, "--nocapture"]).env(MEETS_A_BUG, "1").output();
    let ended = ended.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("the bug") && said.contains("the replica met a bug"), "{said}");
}
