//! The peer door with real QUIC and real certificates on loopback.

use super::*;
use crate::test_doors::{SOON, TestCluster, dialing, find, loopback};
use crate::tls::TlsMaterial;
use bytes::Bytes;
use quinn::ConnectionError;
use quorate_replica::MemberAddress;

const CLUSTER_ID: u64 = 77;

struct Peer {
    inbox: Arc<Inbox>,
    endpoint: Endpoint,
    members: watch::Sender<Members>,
    stopping: watch::Sender<bool>,
}

/// A door's settings and where its members are.
fn settings(server: u64, peers: &[(u64, String)]) -> (PeerSettings, Members) {
    let member = |(id, address): &(u64, String)| {
        let (peer, native, zookeeper) = (address.clone(), String::new(), None);
        (ServerId(*id), MemberAddress { peer, native, zookeeper })
    };
    let settings = PeerSettings {
        server: ServerId(server),
        incarnation: Incarnation(100 + server),
        cluster: String::from("orders"),
        cluster_id: CLUSTER_ID,
        configured: BTreeMap::new(),
        frame_bytes_max: 1 << 20,
    };
    (settings, Arc::new(peers.iter().map(member).collect()))
}

/// Serves a door; the address of a peer is given as a port of loopback.
fn serve(tls: &TlsMaterial, (settings, members): (PeerSettings, Members)) -> Peer {
    let endpoint = loopback(tls.peer_door().unwrap());
    let inbox = Arc::new(Inbox::new());
    let applied = Arc::new(AtomicU64::new(9));
    let (members, known) = watch::channel(members);
    let door = Arc::new(PeerDoor::new(settings, known, Arc::clone(&inbox), applied));
    let (stopping, stopped) = watch::channel(false);
    tokio::spawn(door.serve(endpoint.clone(), tls.peer_dialer().unwrap(), stopped));
    Peer { inbox, endpoint, members, stopping }
}

fn address(peer: &Peer) -> String {
    peer.endpoint.local_addr().unwrap().to_string()
}

async fn opened(peer: &Peer) -> (ServerId, u64, Incarnation, Arc<PeerLink>) {
    find(&peer.inbox, |event| match event {
        Event::PeerOpened { peer, generation, incarnation, link } => {
            Some((peer, generation, incarnation, link))
        }
        _ => None,
    })
    .await
}

async fn next_frame(peer: &Peer) -> (ServerId, u64, PeerFrame) {
    find(&peer.inbox, |event| match event {
        Event::Input(Input::PeerFrame { peer, generation, frame }) => {
            Some((peer, generation, frame))
        }
        _ => None,
    })
    .await
}

/// Dials a door as the holder of a certificate and says why the connection ended.
async fn refusal_of(door: &Peer, tls: &TlsMaterial) -> ConnectionError {
    let dialing = dialing();
    let name = crate::certificates::SERVER_NAME;
    let remote = door.endpoint.local_addr().unwrap();
    let connecting = dialing.connect_with(tls.peer_dialer().unwrap(), remote, name).unwrap();
    match timeout(SOON, connecting).await.unwrap() {
        Ok(connection) => timeout(SOON, connection.closed()).await.unwrap(),
        Err(error) => error,
    }
}

fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            String::from_utf8_lossy(&close.reason).into_owned()
        }
        other => other.to_string(),
    }
}

#[tokio::test]
async fn two_members_find_one_another_and_frames_of_every_lane_pass() {
    let cluster = TestCluster::new("orders");
    // The lower id never dials, so the address it has for the higher one does not matter.
    let low = serve(&cluster.server(1), settings(1, &[(2, String::from("127.0.0.1:1"))]));
    let high = serve(&cluster.server(2), settings(2, &[(1, address(&low))]));
    let (peer, generation, incarnation, _low_link) = opened(&low).await;
    assert_eq!((peer, generation, incarnation), (ServerId(2), 1, Incarnation(102)));
    let (peer, _, incarnation, link) = opened(&high).await;
    assert_eq!((peer, incarnation), (ServerId(1), Incarnation(101)));
    let frames = [
        PeerFrame::Raft(Bytes::from_static(&[7, 1])),
        PeerFrame::Raft(Bytes::from_static(&[5, 1])),
        PeerFrame::Forward { id: 1, request: Bytes::from_static(b"request") },
        PeerFrame::SnapshotChunk {
            term: 1,
            index: 2,
            offset: 0,
            total: 3,
            bytes: Bytes::from(vec![1; 100_000]),
        },
    ];
    for frame in &frames {
        link.send(frame.clone());
        let (from, generation, received) = next_frame(&low).await;
        assert_eq!((from, generation, &received), (ServerId(2), 1, frame));
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again_under_a_higher_generation() {
    let cluster = TestCluster::new("orders");
    let low = serve(&cluster.server(1), settings(1, &[(2, String::from("127.0.0.1:1"))]));
    let high = serve(&cluster.server(2), settings(2, &[(1, address(&low))]));
    let (_, first, _, link) = opened(&low).await;
    link.abandon("for the test");
    let gone = |event| match event {
        Event::Input(Input::PeerDisconnected { generation, .. }) => Some(generation),
        _ => None,
    };
    assert_eq!(find(&low.inbox, gone).await, first);
    let (_, second, _, _) = opened(&low).await;
    assert!(second > first);
    high.stopping.send_replace(true);
    assert_eq!(find(&low.inbox, gone).await, second);
}

#[tokio::test]
async fn a_clients_certificate_is_refused_at_the_peer_door() {
    let cluster = TestCluster::new("orders");
    let door = serve(&cluster.server(1), settings(1, &[(2, String::from("127.0.0.1:1"))]));
    let refused = refusal_of(&door, &cluster.client("alice")).await;
    assert!(reason(&refused).contains("client `alice` is not allowed"), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_is_no_member_is_refused() {
    let cluster = TestCluster::new("orders");
    let door = serve(&cluster.server(2), settings(2, &[(3, String::from("127.0.0.1:1"))]));
    let refused = refusal_of(&door, &cluster.server(4)).await;
    assert!(reason(&refused).contains("server 4 is no member"), "{refused:?}");
    let refused = refusal_of(&door, &cluster.server(1)).await;
    assert!(reason(&refused).contains("the higher id dials"), "{refused:?}");
}

#[tokio::test]
async fn another_authority_is_refused_even_under_the_same_cluster_name() {
    let cluster = TestCluster::new("orders");
    let stranger = TestCluster::new("orders");
    let door = serve(&cluster.server(1), settings(1, &[(2, String::from("127.0.0.1:1"))]));
    // Trusts the door's authority, but has its own certificate from elsewhere.
    let mut paths = stranger.server_paths(2);
    paths.authority = cluster.folder().join(crate::certificates::AUTHORITY_FILE);
    let refused = refusal_of(&door, &TlsMaterial::load(&paths).unwrap()).await;
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused:?}");
}

#[tokio::test]
async fn a_server_of_another_cluster_under_the_same_authority_is_refused() {
    let cluster = TestCluster::new("orders");
    let mut other = settings(1, &[(2, String::from("127.0.0.1:1"))]);
    other.0.cluster = String::from("bills");
    let door = serve(&cluster.server(1), other);
    let refused = refusal_of(&door, &cluster.server(2)).await;
    assert!(reason(&refused).contains("not for a server or client of `bills`"), "{refused:?}");
}

#[tokio::test]
async fn a_hello_that_contradicts_the_certificate_is_refused() {
    let cluster = TestCluster::new("orders");
    let door = serve(&cluster.server(1), settings(1, &[(2, String::from("127.0.0.1:1"))]));
    let dialing = dialing();
    let name = crate::certificates::SERVER_NAME;
    for (server, cluster_id, wanted) in
        [(3, CLUSTER_ID, "its certificate says 2"), (2, CLUSTER_ID + 1, "another cluster")]
    {
        let remote = door.endpoint.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let issued = cluster.authority.issue_server(ServerId(2), &[]).unwrap();
        let (certificate, key) = issued.save(folder.path(), "server").unwrap();
        let authority = cluster.folder().join(crate::certificates::AUTHORITY_FILE);
        let paths = crate::configuration::TlsPaths { authority, certificate, key };
        let dialer = TlsMaterial::load(&paths).unwrap().peer_dialer().unwrap();
        let connection = dialing.connect_with(dialer, remote, name).unwrap().await.unwrap();
        let mut control = open_lane(&connection, Lane::Control).await.unwrap();
        let hello = PeerFrame::Hello {
            protocol: PROTOCOL,
            cluster: cluster_id,
            server: ServerId(server),
            incarnation: Incarnation(1),
            applied: Zxid(0),
        };
        control.write_all(&encode(&hello)).await.unwrap();
        let refused = timeout(SOON, connection.closed()).await.unwrap();
        assert!(reason(&refused).contains(wanted), "{refused:?}");
    }
}

#[tokio::test]
async fn the_dialing_side_checks_whom_it_reached() {
    let cluster = TestCluster::new("orders");
    // Server 2 answers where server 1 is expected; server 3 dials.
    let wrong = serve(&cluster.server(2), settings(2, &[(3, String::from("127.0.0.1:1"))]));
    let tls = cluster.server(3);
    let endpoint = loopback(tls.peer_door().unwrap());
    let inbox = Arc::new(Inbox::new());
    let (peers, members) = settings(3, &[(1, address(&wrong))]);
    let (_members, known) = watch::channel(members);
    let door = PeerDoor::new(peers, known, inbox, Arc::new(AtomicU64::new(0)));
    let dialer = Dialer { endpoint, config: tls.peer_dialer().unwrap() };
    let dialed = door.dial(&dialer, ServerId(1), &address(&wrong)).await;
    let reason = dialed.err().unwrap();
    assert!(reason.contains("server 1 was expected"), "{reason}");
    assert!(reason.contains("not server 2"), "{reason}");
}

#[tokio::test]
async fn a_door_that_stops_does_not_wait_for_a_peer_that_does_not_answer() {
    let cluster = TestCluster::new("orders");
    // A bound socket that nobody reads: a dial there ends only at its deadline.
    let silent = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tls = cluster.server(2);
    let (peers, members) = settings(2, &[(1, silent.local_addr().unwrap().to_string())]);
    let (_members, known) = watch::channel(members);
    let inbox = Arc::new(Inbox::new());
    let door = PeerDoor::new(peers, known, inbox, Arc::new(AtomicU64::new(0)));
    let (stopping, stopped) = watch::channel(false);
    let endpoint = loopback(tls.peer_door().unwrap());
    let served = Arc::new(door).serve(endpoint, tls.peer_dialer().unwrap(), stopped);
    let served = tokio::spawn(served);
    // The first packet shows that the dial is under way.
    tokio::task::spawn_blocking(move || silent.recv(&mut [0; 2_000]).map(|_| silent))
        .await
        .unwrap()
        .unwrap();
    stopping.send_replace(true);
    let ended = timeout(transport::FLUSH_DEADLINE / 2, served).await;
    assert!(ended.is_ok(), "the door waits for the dial");
}

#[tokio::test]
async fn members_are_let_in_dialed_and_let_go_as_the_replica_says() {
    let cluster = TestCluster::new("orders");
    let low = serve(&cluster.server(1), settings(1, &[]));
    let tls = cluster.server(2);
    let high = serve(&tls, settings(2, &[]));
    let refused = refusal_of(&low, &tls).await;
    assert!(reason(&refused).contains("server 2 is no member"), "{refused:?}");
    low.members.send_replace(settings(1, &[(2, String::from("127.0.0.1:1"))]).1);
    high.members.send_replace(settings(2, &[(1, address(&low))]).1);
    let (peer, generation, ..) = opened(&low).await;
    assert_eq!(peer, ServerId(2));
    low.members.send_replace(settings(1, &[]).1);
    let gone = |event| match event {
        Event::Input(Input::PeerDisconnected { generation, .. }) => Some(generation),
        _ => None,
    };
    assert_eq!(find(&low.inbox, gone).await, generation);
    // Under another address it is found again, where the first leads to nobody.
    high.members.send_replace(settings(2, &[(1, String::from("127.0.0.1:1"))]).1);
    low.members.send_replace(settings(1, &[(2, String::from("127.0.0.1:1"))]).1);
    high.members.send_replace(settings(2, &[(1, address(&low))]).1);
    assert_eq!(opened(&low).await.0, ServerId(2));
}

#[tokio::test]
async fn a_configured_address_is_tried_where_the_recorded_one_leads_to_nobody() {
    let cluster = TestCluster::new("orders");
    let low = serve(&cluster.server(1), settings(1, &[(2, String::from("127.0.0.1:1"))]));
    let (mut high, members) = settings(2, &[(1, String::from("no such host:1"))]);
    high.configured.insert(ServerId(1), address(&low));
    let _high = serve(&cluster.server(2), (high, members));
    assert_eq!(opened(&low).await.0, ServerId(2));
}
