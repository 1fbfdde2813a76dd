//! The native door with real QUIC on loopback, before an inbox that the test reads.

use super::*;
use crate::configuration::ClientCertificates;
use crate::test_doors::{SOON, TestCluster, dialing, find, loopback};
use quinn::ConnectionError;
use quorate_types::{ErrorCode, Refusal, Zxid};
use quorate_wire::native::{ClientFrame, encode_client};

struct Fixture {
    cluster: TestCluster,
    inbox: Arc<Inbox>,
    endpoint: Endpoint,
    dialing: Endpoint,
    stopping: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

impl Fixture {
    fn new(clients: ClientCertificates, limits: Limits) -> Fixture {
        let cluster = TestCluster::new("orders");
        let endpoint = loopback(cluster.server(1).native_door(clients).unwrap());
        let inbox = Arc::new(Inbox::new());
        let numbers = Arc::new(ConnectionNumbers::new(3));
        let door = NativeDoor::new(String::from("orders"), limits, Arc::clone(&inbox), numbers);
        let (stopping, stopped) = watch::channel(false);
        let served = tokio::spawn(Arc::new(door).serve(endpoint.clone(), stopped));
        Fixture { cluster, inbox, endpoint, dialing: dialing(), stopping, served }
    }

    async fn connect(&self, client: Option<&str>) -> Result<Connection, ConnectionError> {
        let address = self.endpoint.local_addr().unwrap();
        let dialer = self.cluster.native_dialer(client);
        let name = crate::certificates::SERVER_NAME;
        self.dialing.connect_with(dialer, address, name).unwrap().await
    }

    /// A client with its stream, and what the inbox heard of it.
    async fn client(&self, name: Option<&str>) -> (Connection, SendStream, RecvStream, Opened) {
        let connection = self.connect(name).await.unwrap();
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&encode_client(&ClientFrame::Heartbeat)).await.unwrap();
        let opened = find(&self.inbox, |event| match event {
            Event::ClientOpened { connection, identity, outbox, .. } => {
                Some(Opened { connection, identity, outbox })
            }
            _ => None,
        });
        (connection, send, receive, opened.await)
    }

    async fn next_input(&self) -> Input {
        find(&self.inbox, |event| match event {
            Event::Input(input) => Some(input),
            _ => None,
        })
        .await
    }
}

struct Opened {
    connection: u64,
    identity: Identity,
    outbox: Arc<Outbox<ServerFrame>>,
}

async fn next_frame(buffer: &mut FrameBuffer, receive: &mut RecvStream) -> Option<ServerFrame> {
    loop {
        if let Some(frame) = buffer.next_server(1 << 20).unwrap() {
            return Some(frame);
        }
        let read = timeout(SOON, receive.read_chunk(1 << 16, true)).await.unwrap();
        buffer.push(&read.ok()??.bytes);
    }
}

#[tokio::test]
async fn frames_pass_both_ways_and_the_last_word_arrives_before_the_end() {
    let door = Fixture::new(ClientCertificates::Required, Limits::PRODUCTION);
    let (connection, _send, mut receive, opened) = door.client(Some("alice")).await;
    assert_eq!(opened.identity.name, "alice");
    assert_eq!(opened.identity.proofs, [(String::from("ip"), String::from("127.0.0.1"))]);
    let first = door.next_input().await;
    let Input::ClientFrame { connection: from, frame: ClientFrame::Heartbeat } = first else {
        panic!("{first:?} is no heartbeat")
    };
    assert_eq!(from, opened.connection);
    let goodbye = Refusal::new(ErrorCode::ServerUnavailable, "going down");
    let sent = [ServerFrame::Heartbeat { zxid: Zxid(7) }, ServerFrame::Goodbye(goodbye)];
    for frame in &sent {
        opened.outbox.push(frame.clone(), frame_bytes(frame));
    }
    opened.outbox.finish();
    let mut buffer = FrameBuffer::new();
    for frame in &sent {
        assert_eq!(next_frame(&mut buffer, &mut receive).await.as_ref(), Some(frame));
    }
    assert_eq!(next_frame(&mut buffer, &mut receive).await, None);
    timeout(SOON, connection.closed()).await.unwrap();
    let last = door.next_input().await;
    assert!(matches!(last, Input::ConnectionClosed { connection } if connection == from));
}

#[tokio::test]
async fn connection_numbers_never_repeat_not_even_after_a_restart() {
    let door = Fixture::new(ClientCertificates::Required, Limits::PRODUCTION);
    let (_first, _, _, one) = door.client(Some("alice")).await;
    let (_second, _, _, two) = door.client(Some("bob")).await;
    assert_eq!(
        (one.connection, two.connection),
        (3 << CONNECTION_BITS, (3 << CONNECTION_BITS) + 1)
    );
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_or_anonymous_as_configured() {
    let strict = Fixture::new(ClientCertificates::Required, Limits::PRODUCTION);
    // In TLS 1.3 a client hears of the refusal only after its own part of the handshake.
    if let Ok(connection) = strict.connect(None).await {
        let reason = timeout(SOON, connection.closed()).await.unwrap();
        assert!(matches!(reason, ConnectionError::ConnectionClosed(_)), "{reason:?}");
    }
    let open = Fixture::new(ClientCertificates::Optional, Limits::PRODUCTION);
    let (_connection, _, _, opened) = open.client(None).await;
    assert_eq!(opened.identity.name, ANONYMOUS);
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_cluster_is_refused() {
    let door = Fixture::new(ClientCertificates::Optional, Limits::PRODUCTION);
    let stranger = TestCluster::new("orders");
    let address = door.endpoint.local_addr().unwrap();
    let name = crate::certificates::SERVER_NAME;
    // The stranger does not trust this server, and would not be trusted by it.
    let dialer = stranger.native_dialer(Some("alice"));
    let refused = door.dialing.connect_with(dialer, address, name).unwrap().await;
    assert!(refused.is_err());
    let reserved = door.connect(Some(ANONYMOUS)).await.unwrap();
    let reason = timeout(SOON, reserved.closed()).await.unwrap();
    let ConnectionError::ApplicationClosed(close) = reason else { panic!("{reason:?}") };
    assert!(String::from_utf8_lossy(&close.reason).contains("without a certificate"));
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_connection_with_the_reason() {
    let limits = Limits { client_frame_bytes_max: 100, ..Limits::PRODUCTION };
    let door = Fixture::new(ClientCertificates::Required, limits);
    let (connection, mut send, _receive, _opened) = door.client(Some("alice")).await;
    send.write_all(&101_u32.to_le_bytes()).await.unwrap();
    let reason = timeout(SOON, connection.closed()).await.unwrap();
    let ConnectionError::ApplicationClosed(close) = reason else { panic!("{reason:?}") };
    assert_eq!(close.error_code, quinn::VarInt::from_u32(CloseCode::Protocol as u32));
    assert!(String::from_utf8_lossy(&close.reason).contains("over the limit of 100 bytes"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_with_the_reason() {
    let limits = Limits { connection_backlog_frames_max: 4, ..Limits::PRODUCTION };
    let door = Fixture::new(ClientCertificates::Required, limits);
    let (connection, _send, _receive, opened) = door.client(Some("alice")).await;
    for _ in 0..6 {
        opened.outbox.push(ServerFrame::Heartbeat { zxid: Zxid(1) }, 100);
    }
    let reason = timeout(SOON, connection.closed()).await.unwrap();
    let ConnectionError::ApplicationClosed(close) = reason else { panic!("{reason:?}") };
    assert_eq!(close.error_code, quinn::VarInt::from_u32(CloseCode::TooSlow as u32));
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_until_one_ends() {
    let limits = Limits { connections_max: 1, ..Limits::PRODUCTION };
    let door = Fixture::new(ClientCertificates::Required, limits);
    let (first, _send, _receive, opened) = door.client(Some("alice")).await;
    assert!(door.connect(Some("bob")).await.is_err());
    first.close(quinn::VarInt::from_u32(0), b"");
    let number = opened.connection;
    let closed = |event| match event {
        Event::Input(Input::ConnectionClosed { connection }) => Some(connection),
        _ => None,
    };
    assert_eq!(find(&door.inbox, closed).await, number);
    // The place is free a moment after the news.
    let connected = async {
        loop {
            if let Ok(connection) = door.connect(Some("bob")).await {
                return connection;
            }
        }
    };
    timeout(SOON, connected).await.unwrap();
}

#[tokio::test]
async fn a_door_that_stops_takes_nobody_in_and_waits_for_those_inside() {
    let door = Fixture::new(ClientCertificates::Required, Limits::PRODUCTION);
    let (connection, _send, _receive, opened) = door.client(Some("alice")).await;
    door.stopping.send_replace(true);
    opened.outbox.finish();
    timeout(SOON, connection.closed()).await.unwrap();
    timeout(SOON, door.served).await.unwrap().unwrap();
}
