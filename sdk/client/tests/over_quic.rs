//! The client against scripted servers, over real QUIC and TLS on the loopback interface.
//!
//! Comes in: nothing. Goes out: nothing but assertions. Invariant: no test waits for a time to pass.

mod support;

use quorate_client::{
    Client, ClientConfig, ClientError, CreateMode, ErrorCode, HeldWatch, Notification, Operation,
    Pem, Refusal, Reply, SERVER_NAME, SessionState, Stat, TicketId, WatchEvent, WatchEventKind,
    WatchMode, WatchOptions, ZnodePath, Zxid,
};
use quorate_wire::native::ServerFrame;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use support::{Authority, FakeServer, SESSION, resume, soon};

#[derive(Serialize, Deserialize)]
struct Grant {
    fence: u64,
}

fn granted(fence: u64) -> Reply {
    Reply::Called(serde_cbor::to_vec(&Grant { fence }).unwrap().into())
}

fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).unwrap()
}

#[tokio::test]
async fn a_client_opens_a_session_asks_and_closes_it() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let script = async {
        let mut connection = server.serve().await;
        let (sequence, operation) = connection.request().await;
        assert_eq!(operation, Operation::Get { path: path("/a"), watch: false });
        connection.reply(sequence, Ok(Reply::Data("hello".into(), Stat::default()))).await;
        let (sequence, operation) = connection.request().await;
        assert_eq!((sequence, operation), (2, Operation::CloseSession));
        connection.reply(sequence, Ok(Reply::Done)).await;
        assert_eq!(connection.next().await, None);
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        assert_eq!(client.session(), SESSION);
        assert_eq!(client.get("/a").await.unwrap().data, "hello");
        client.close().await.unwrap();
    };
    soon("the session", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn a_session_goes_on_at_another_server_and_gets_the_answer_that_was_kept() {
    let authority = Authority::create();
    let first = FakeServer::start(&authority);
    let second = FakeServer::start(&authority);
    let config = authority.client_config(&[&first, &second]);
    let script = async {
        let mut connection = tokio::select! {
            connection = first.serve() => connection,
            connection = second.serve() => connection,
        };
        let (sequence, asked) = connection.request().await;
        connection.cut();
        // The server just left is tried last, so it is the other one that is reached.
        let mut connection = tokio::select! {
            connection = first.accept() => connection,
            connection = second.accept() => connection,
        };
        connection.expect_connect(resume()).await;
        connection.grant(true).await;
        assert_eq!(connection.request().await, (sequence, asked));
        connection.reply(sequence, Ok(Reply::Created(path("/a"), Stat::default()))).await;
        connection
    };
    let client = async {
        let client = Client::connect(config).await.unwrap();
        let created = client.create("/a", "x", CreateMode::Persistent).await;
        assert_eq!(created, Ok(path("/a")));
        assert!(matches!(client.state(), SessionState::Connected { .. }));
    };
    soon("the move", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn a_parked_call_completes_and_a_lock_is_released() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let script = async {
        let mut connection = server.serve().await;
        let (sequence, operation) = connection.request().await;
        assert!(matches!(&operation, Operation::Call { operation, .. } if operation == "acquire"));
        connection.reply(sequence, Ok(Reply::Parked(TicketId(5)))).await;
        connection.reply(sequence, Ok(granted(77))).await;
        let (sequence, operation) = connection.request().await;
        let Operation::Call { object, operation, arguments } = operation else {
            panic!("a release was expected: {operation:?}");
        };
        assert_eq!((object, operation.as_str()), (path("/locks/orders"), "release"));
        assert_eq!(serde_cbor::from_slice::<Grant>(&arguments).unwrap().fence, 77);
        connection.reply(sequence, Ok(Reply::Called(vec![0xf6].into()))).await;
        connection
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        let guard = client.lock("/locks/orders").acquire(None).await.unwrap();
        assert_eq!(guard.fencing_token(), 77);
        guard.release().await.unwrap();
    };
    soon("the lock", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn dropping_the_future_of_a_parked_call_cancels_it() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let (parked, is_parked) = tokio::sync::oneshot::channel();
    let script = async {
        let mut connection = server.serve().await;
        let (sequence, _) = connection.request().await;
        connection.reply(sequence, Ok(Reply::Parked(TicketId(5)))).await;
        parked.send(()).unwrap();
        let (_, operation) = connection.request().await;
        assert_eq!(operation, Operation::CancelCall { sequence });
        connection
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        tokio::select! {
            _ = client.call_raw("/locks/a", "acquire", vec![0xf6]) => panic!("nobody answers it"),
            _ = is_parked => {}
        }
        client
    };
    soon("the cancellation", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn a_guard_dropped_with_the_last_handle_still_releases() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let script = async {
        let mut connection = server.serve().await;
        let (sequence, _) = connection.request().await;
        connection.reply(sequence, Ok(granted(1))).await;
        let (sequence, operation) = connection.request().await;
        assert!(matches!(operation, Operation::Call { operation, .. } if operation == "release"));
        connection.reply(sequence, Ok(Reply::Called(vec![0xf6].into()))).await;
        assert_eq!(connection.next().await, None);
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        drop(client.lock("/locks/a").acquire(Duration::ZERO).await.unwrap());
    };
    soon("the release", async { tokio::join!(script, client) }).await;
}

fn created(at: &str, zxid: u64) -> WatchEvent {
    let (kind, zxid) = (WatchEventKind::Created, Zxid(zxid));
    WatchEvent { kind, path: path(at), zxid, place: 0, data: None }
}

fn watching(replayed: Vec<WatchEvent>, gap: bool) -> Result<Reply, Refusal> {
    Ok(Reply::Watching { replayed, gap })
}

#[tokio::test]
async fn a_watch_goes_on_where_it_broke_off_and_tells_of_a_gap_only_if_there_is_one() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let mode = WatchMode::PersistentRecursive;
    let held = HeldWatch { path: path("/a"), mode, values: false };
    let script = async {
        let mut connection = server.serve().await;
        let (sequence, operation) = connection.request().await;
        let (since, values) = (None, false);
        assert_eq!(operation, Operation::AddWatch { path: path("/a"), mode, since, values });
        connection.reply(sequence, Ok(Reply::Done)).await;
        connection.send(&ServerFrame::Watch(created("/a/b", 9))).await;
        // The next request tells that the event has arrived before the cut.
        let (asked, _) = connection.request().await;
        connection.cut();
        let resumed = async |since, replayed, gap| {
            let mut connection = server.accept().await;
            connection.expect_connect(resume()).await;
            connection.grant(true).await;
            let (sequence, operation) = connection.request().await;
            let watches = vec![held.clone()];
            assert_eq!(operation, Operation::ResumeWatches { watches, since });
            let (zxid, outcome) = (Zxid(10), watching(replayed, gap));
            connection.send(&ServerFrame::Reply { sequence, zxid, outcome }).await;
            assert_eq!(connection.request().await, (asked, Operation::Sync));
            connection
        };
        let since = created("/", 9).position();
        resumed(since, vec![created("/a/c", 10)], false).await.cut();
        let mut connection = resumed(Zxid(10).into(), vec![], true).await;
        connection.reply(asked, Ok(Reply::Done)).await;
        connection
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        let mut watch = client.watch("/a", mode).await.unwrap();
        assert_eq!(watch.next().await, Some(Notification::Changed(created("/a/b", 9))));
        client.sync().await.unwrap();
        assert_eq!(watch.next().await, Some(Notification::Changed(created("/a/c", 10))));
        let gap = Notification::Gap { path: path("/a"), mode };
        assert_eq!(watch.next().await, Some(gap));
    };
    soon("the watch", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn a_watch_from_a_point_gives_the_replay_then_what_happens_each_event_once() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let (mode, since) = (WatchMode::PersistentRecursive, Some(Zxid(3).into()));
    let script = async {
        let mut connection = server.serve().await;
        let (sequence, operation) = connection.request().await;
        let all = Operation::AddWatch { path: path("/"), mode, since: None, values: false };
        assert_eq!(operation, all);
        connection.reply(sequence, Ok(Reply::Done)).await;
        let (sequence, operation) = connection.request().await;
        assert_eq!(operation, Operation::AddWatch { path: path("/a"), mode, since, values: true });
        connection.send(&ServerFrame::Watch(created("/a/c", 8))).await;
        let replayed = vec![created("/a/b", 5), created("/a/c", 8)];
        let (zxid, outcome) = (Zxid(8), watching(replayed, false));
        connection.send(&ServerFrame::Reply { sequence, zxid, outcome }).await;
        connection.send(&ServerFrame::Watch(created("/a/d", 9))).await;
        connection
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        client.add_watch("/", mode).await.unwrap();
        let options = WatchOptions::new(mode).since(Zxid(3)).with_values();
        let mut watch = client.watch_with("/a", options).await.unwrap();
        assert_eq!(watch.position(), Zxid(3).into());
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push((watch.next().await.unwrap(), watch.position().to_string()));
        }
        let expected =
            [(created("/a/b", 5), "5.0"), (created("/a/c", 8), "8"), (created("/a/d", 9), "9.0")]
                .map(|(event, position)| (Notification::Changed(event), position.to_owned()));
        assert_eq!(seen, expected);
    };
    soon("the watch", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn an_expired_session_is_told_to_everyone_who_waits() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let script = async {
        let mut connection = server.serve().await;
        connection.request().await;
        connection.cut();
        let mut connection = server.accept().await;
        connection.expect_connect(resume()).await;
        let refusal = Refusal::new(ErrorCode::SessionExpired, "it was silent for 10 s");
        connection.send(&ServerFrame::Refused(refusal)).await;
        connection.next().await
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        let error = client.sync().await.unwrap_err();
        assert!(matches!(error, ClientError::SessionLost { .. }), "{error}");
        assert!(client.ended().await.contains("it was silent for 10 s"));
        let error = client.sync().await.unwrap_err();
        assert!(matches!(error, ClientError::SessionLost { .. }), "{error}");
    };
    soon("the expiry", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn a_deadline_passes_while_the_server_is_silent() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let script = async {
        let mut connection = server.serve().await;
        connection.request().await;
        connection
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        let error = client.within(Duration::from_millis(50)).sync().await.unwrap_err();
        assert_eq!(error, ClientError::DeadlinePassed { sent: true, last_refusal: None });
    };
    soon("the deadline", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn a_request_over_the_servers_limit_is_refused_here_and_the_session_goes_on() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let script = async {
        let mut connection = server.serve().await;
        let (sequence, operation) = connection.request().await;
        assert_eq!(operation, Operation::Sync);
        connection.reply(sequence, Ok(Reply::Done)).await;
        connection
    };
    let client = async {
        let client = Client::connect(authority.client_config(&[&server])).await.unwrap();
        let error = client.set("/a", vec![0; 5 << 20], None).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::QuotaExceeded), "{error}");
        client.sync().await.unwrap();
    };
    soon("the sync", async { tokio::join!(script, client) }).await;
}

#[tokio::test]
async fn a_certificate_that_the_door_does_not_take_is_told_at_once() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let script = async { server.accept().await.close(1) };
    let connecting = Client::connect(authority.client_config(&[&server]));
    let both = async { tokio::join!(script, connecting) };
    let ((), client) = soon("the refusal", both).await;
    let error = client.unwrap_err();
    assert!(matches!(error, ClientError::CertificateRefused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_a_leader_is_left_for_another_try() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let script = async {
        let mut connection = server.accept().await;
        connection.expect_connect(None).await;
        let refusal = Refusal::new(ErrorCode::NoLeader, "an election is under way");
        connection.send(&ServerFrame::Refused(refusal)).await;
        assert_eq!(connection.next().await, None);
        server.serve().await
    };
    let connecting = Client::connect(authority.client_config(&[&server]));
    let both = async { tokio::join!(script, connecting) };
    let (_connection, client) = soon("the second try", both).await;
    client.unwrap();
}

/// The error of connecting to a server that lets in whomever TLS lets in.
async fn refused(server: &FakeServer, config: ClientConfig) -> ClientError {
    let connecting = async {
        tokio::select! {
            () = server.accept_for_ever() => panic!("the server has stopped"),
            connected = Client::connect(config) => connected.unwrap_err(),
        }
    };
    soon("the refusal", connecting).await
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_and_the_file_is_named() {
    let stranger = Authority::named("another cluster");
    let server = FakeServer::start(&stranger);
    let mut config = stranger.client_config(&[&server]);
    config.ca_pem = Pem::new("/etc/quorate/ca.pem", Authority::create().pem());
    let error = refused(&server, config).await;
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("/etc/quorate/ca.pem") && words.contains("UnknownIssuer"), "{words}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_and_both_names_are_told() {
    let authority = Authority::create();
    let server = FakeServer::start_as(&authority, "other.example", false);
    let error = refused(&server, authority.client_config(&[&server])).await;
    assert!(matches!(error, ClientError::WrongServerName { .. }), "{error:?}");
    assert!(error.to_string().contains(SERVER_NAME), "{error}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_says_so() {
    let authority = Authority::create();
    let server = FakeServer::start_as(&authority, SERVER_NAME, true);
    let error = refused(&server, authority.client_config(&[&server])).await;
    assert!(matches!(error, ClientError::CertificateRequired { .. }), "{error:?}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_the_server() {
    let authority = Authority::create();
    let server = FakeServer::start_as(&authority, SERVER_NAME, true);
    let stranger = Authority::create().issue("client");
    let mut config = authority.client_config(&[&server]);
    config.client_certificate_pem = Some(Pem::new("client.pem", stranger.certificate));
    config.client_key_pem = Some(Pem::new("client.key", stranger.key));
    let error = refused(&server, config).await;
    assert!(matches!(error, ClientError::CertificateRefused { .. }), "{error:?}");
    assert!(error.to_string().contains("client.pem"), "{error}");
}

#[tokio::test]
async fn a_client_with_a_certificate_of_the_cluster_is_let_in() {
    let authority = Authority::create();
    let server = FakeServer::start_as(&authority, SERVER_NAME, true);
    let identity = authority.issue("client");
    let mut config = authority.client_config(&[&server]);
    config.client_certificate_pem = Some(identity.certificate.into());
    config.client_key_pem = Some(identity.key.into());
    let both = async { tokio::join!(server.serve(), Client::connect(config)) };
    let (_connection, client) = soon("the session", both).await;
    assert_eq!(client.unwrap().session(), SESSION);
}

#[tokio::test]
async fn nothing_listening_is_told_with_the_endpoint() {
    let authority = Authority::create();
    // Bound and dropped, so that the port is free.
    let endpoint = FakeServer::start(&authority).endpoint();
    let mut config = ClientConfig::new([endpoint.clone()], Pem::new("ca.pem", authority.pem()));
    config.connect_timeout = Duration::from_millis(300);
    let error = soon("giving up", Client::connect(config)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&endpoint), "{error}");
}

#[tokio::test]
async fn a_dead_server_does_not_keep_the_client_from_a_live_one() {
    let authority = Authority::create();
    let server = FakeServer::start(&authority);
    let dead = FakeServer::start(&authority).endpoint();
    let mut config = authority.client_config(&[&server]);
    config.endpoints.push(dead);
    let both = async { tokio::join!(server.serve(), Client::connect(config)) };
    let (_connection, client) = soon("the session", both).await;
    client.unwrap();
}
