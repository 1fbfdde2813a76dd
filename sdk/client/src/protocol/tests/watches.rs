//! Watches over breaks of the connection, in every phase: each event once, in order, before what
//! shows it.

use super::*;
use quorate_types::request::{HeldWatch, WatchEventKind, WatchPosition};

const RECURSIVE: WatchMode = WatchMode::PersistentRecursive;
const ONE_SHOT: WatchMode = WatchMode::OneShotData;

fn event(at: &str, zxid: u64, place: u32) -> WatchEvent {
    let (kind, zxid) = (WatchEventKind::DataChanged, Zxid(zxid));
    WatchEvent { kind, path: path(at), zxid, place, data: None }
}

fn fired(at: &str, zxid: u64) -> ServerFrame {
    ServerFrame::Watch(event(at, zxid, 0))
}

fn told(at: &str, zxid: u64) -> Notice {
    Notice::Event(event(at, zxid, 0))
}

fn held(at: &str, mode: WatchMode) -> HeldWatch {
    HeldWatch { path: path(at), mode, values: false }
}

fn add(at: &str, since: Option<WatchPosition>, mode: WatchMode) -> Operation {
    Operation::AddWatch { path: path(at), mode, since, values: false }
}

fn answer(sequence: u64, zxid: u64, reply: Reply) -> ServerFrame {
    ServerFrame::Reply { sequence, zxid: Zxid(zxid), outcome: Ok(reply) }
}

fn watching(sequence: u64, zxid: u64, replayed: &[WatchEvent], gap: bool) -> ServerFrame {
    answer(sequence, zxid, Reply::Watching { replayed: replayed.to_vec(), gap })
}

/// A session since 100 with a recursive watch on `/a` since 110 and a one-shot on `/b` since 111.
fn watched() -> Protocol {
    let mut protocol = connected(0);
    protocol.submit(0, submission(1, add("/a", None, RECURSIVE)));
    protocol.submit(0, submission(2, Operation::Get { path: path("/b"), watch: true }));
    frames(&mut protocol, 0);
    protocol.receive(1, answer(1, 110, Reply::Done));
    protocol.receive(1, answer(2, 111, Reply::Data("x".into(), Stat::default())));
    notices(&mut protocol);
    protocol
}

/// Reconnects and gives the one request that is sent: it resumes.
fn resumption(protocol: &mut Protocol, now_ms: u64) -> (u64, Vec<HeldWatch>, WatchPosition) {
    let sent = reconnect(protocol, now_ms);
    let connected = notices(protocol);
    assert!(matches!(connected[..], [Notice::Connected { .. }]), "{connected:?}");
    match &sent[..] {
        [ClientFrame::Request { sequence, operation, .. }] => match operation {
            Operation::ResumeWatches { watches, since } => (*sequence, watches.clone(), *since),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn watches_are_resumed_before_anything_else_and_what_they_missed_is_told_first() {
    let mut protocol = watched();
    protocol.receive(2, fired("/a", 120));
    assert_eq!(notices(&mut protocol), [told("/a", 120)]);
    protocol.submit(2, submission(3, Operation::Get { path: path("/a"), watch: false }));
    assert_eq!(sequences(&frames(&mut protocol, 2)), [3]);
    let (sequence, watches, since) = resumption(&mut protocol, 3);
    assert_eq!(watches, [held("/a", RECURSIVE), held("/b", ONE_SHOT)]);
    assert_eq!(since, event("/a", 120, 0).position());
    let missed = [event("/a/x", 130, 0), event("/b", 131, 0)];
    protocol.receive(4, watching(sequence, 140, &missed, false));
    assert_eq!(notices(&mut protocol), [told("/a/x", 130), told("/b", 131)]);
    assert_eq!(sequences(&frames(&mut protocol, 4)), [3]);
    let (_, watches, since) = resumption(&mut protocol, 5);
    assert_eq!(watches, [held("/a", RECURSIVE)], "the one-shot watch has fired");
    assert_eq!(since, Zxid(140).into());
}

#[test]
fn a_watch_whose_request_was_not_answered_is_asked_for_again_and_not_resumed() {
    for since in [None, Some(Zxid(50).into())] {
        let mut protocol = connected(0);
        protocol.submit(0, submission(1, add("/a", since, RECURSIVE)));
        assert_eq!(sequences(&frames(&mut protocol, 0)), [1]);
        let sent = reconnect(&mut protocol, 1);
        assert!(
            matches!(&sent[..], [ClientFrame::Request { sequence: 1, operation, .. }]
                if *operation == add("/a", since, RECURSIVE)),
            "{sent:?}"
        );
    }
}

#[test]
fn nothing_counts_as_told_until_every_watch_is_set_again() {
    let mut protocol = watched();
    let (_, watches, since) = resumption(&mut protocol, 2);
    assert_eq!(since, Zxid(111).into());
    protocol.receive(3, ServerFrame::Heartbeat { zxid: Zxid(150) });
    protocol.receive(3, fired("/a", 151));
    assert_eq!(notices(&mut protocol), []);
    let (sequence, again, since) = resumption(&mut protocol, 4);
    assert_eq!((again, since), (watches, Zxid(111).into()));
    let missed = [event("/a", 120, 0), event("/a", 151, 0)];
    protocol.receive(5, watching(sequence, 160, &missed, false));
    assert_eq!(notices(&mut protocol), [told("/a", 120), told("/a", 151)]);
}

#[test]
fn a_break_between_the_events_of_one_transaction_loses_none_of_the_rest() {
    let mut protocol = watched();
    protocol.receive(2, ServerFrame::Watch(event("/a", 120, 0)));
    protocol.receive(2, ServerFrame::Watch(event("/a/x", 120, 2)));
    let (_, _, since) = {
        notices(&mut protocol);
        resumption(&mut protocol, 3)
    };
    assert_eq!(since, WatchPosition { zxid: Zxid(120), place: 2 });
}

#[test]
fn any_frame_shows_how_far_the_watches_have_told() {
    let shown: [fn(&mut Protocol); 3] = [
        |protocol| protocol.receive(2, ServerFrame::Heartbeat { zxid: Zxid(130) }),
        |protocol| {
            protocol.submit(2, submission(3, create("/c")));
            frames(protocol, 2);
            protocol.receive(2, answer(3, 130, Reply::Done));
        },
        |protocol| {
            protocol.submit(2, submission(3, create("/c")));
            frames(protocol, 2);
            let outcome = refusal(ErrorCode::NodeExists);
            protocol.receive(2, ServerFrame::Reply { sequence: 3, zxid: Zxid(130), outcome });
        },
    ];
    for show in shown {
        let mut protocol = watched();
        show(&mut protocol);
        notices(&mut protocol);
        assert_eq!(resumption(&mut protocol, 3).2, Zxid(130).into());
    }
}

#[test]
fn a_gap_is_told_for_each_watch_when_the_server_says_so() {
    let mut protocol = watched();
    let (sequence, ..) = resumption(&mut protocol, 2);
    protocol.receive(3, watching(sequence, 500, &[], true));
    let gap = |at, mode| Notice::Gap { path: path(at), mode };
    assert_eq!(notices(&mut protocol), [gap("/a", RECURSIVE), gap("/b", ONE_SHOT)]);
    protocol.receive(4, fired("/b", 501));
    assert_eq!(notices(&mut protocol), [told("/b", 501)]);
    let (_, watches, since) = resumption(&mut protocol, 5);
    assert_eq!((watches, since), (vec![held("/a", RECURSIVE)], event("/b", 501, 0).position()));
}

#[test]
fn a_one_shot_watch_that_fired_in_the_reply_that_set_it_is_not_resumed() {
    let mut protocol = connected(0);
    let since = Some(Zxid(90).into());
    protocol.submit(0, submission(1, add("/b", since, ONE_SHOT)));
    protocol.submit(0, submission(2, add("/c", since, ONE_SHOT)));
    frames(&mut protocol, 0);
    protocol.receive(1, watching(1, 110, &[event("/b", 95, 0)], false));
    protocol.receive(1, watching(2, 110, &[], false));
    notices(&mut protocol);
    assert_eq!(resumption(&mut protocol, 2).1, [held("/c", ONE_SHOT)]);
}

#[test]
fn a_removal_under_way_takes_the_watch_back_after_it_was_resumed() {
    let mut protocol = watched();
    protocol.submit(2, submission(3, Operation::RemoveWatches { path: path("/a"), mode: None }));
    frames(&mut protocol, 2);
    let (sequence, watches, _) = resumption(&mut protocol, 3);
    assert_eq!(watches.len(), 2);
    protocol.receive(4, watching(sequence, 120, &[], false));
    assert_eq!(sequences(&frames(&mut protocol, 4)), [3]);
    protocol.receive(4, answer(3, 121, Reply::Done));
    notices(&mut protocol);
    assert_eq!(resumption(&mut protocol, 5).1, [held("/b", ONE_SHOT)]);
}

#[test]
fn a_server_that_cannot_resume_yet_is_asked_again_and_one_that_will_not_is_left() {
    let mut protocol = watched();
    protocol.submit(2, submission(3, create("/c")));
    let (sequence, ..) = resumption(&mut protocol, 2);
    protocol.receive(3, reply(sequence, refusal(ErrorCode::Overloaded)));
    assert_eq!(frames(&mut protocol, 3), []);
    let again_ms = protocol.next_deadline_ms().unwrap();
    protocol.tick(again_ms);
    assert_eq!(sequences(&frames(&mut protocol, again_ms)), [sequence]);
    protocol.receive(again_ms, reply(sequence, refusal(ErrorCode::BadArguments)));
    let news = notices(&mut protocol);
    assert!(matches!(news[..], [Notice::Disconnect(Disconnect::Goodbye(_))]), "{news:?}");
}

/// One history of transactions, told by servers over connections that break at random: a watch
/// set at some point tells every event after it, each once and in order.
#[test]
fn over_random_breaks_every_event_is_told_once_and_in_order() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut world = World::default();
        let mut protocol = Protocol::new(Settings { session_timeout_ms: 1_000_000, seed });
        let mut since = None;
        let mut seen: Vec<WatchPosition> = Vec::new();
        protocol
            .submit(0, Submission { timeout_ms: None, ..submission(1, add("/", None, RECURSIVE)) });
        for now_ms in 1..3_000 {
            protocol.tick(now_ms);
            match random.between(0, 11) {
                0 | 1 if world.link.is_none() => {
                    protocol.transport_up(now_ms);
                    world.link = Some(Connection::default());
                }
                0 => {
                    protocol.transport_down();
                    world.link = None;
                }
                1..=3 => world.happen(random.between(1, 3)),
                4..=6 => world.hear(protocol.poll_frame(now_ms)),
                _ => {
                    if let Some(frame) = world.next_frame() {
                        protocol.receive(now_ms, frame);
                    }
                }
            }
            for notice in notices(&mut protocol) {
                match notice {
                    Notice::Completed { result, .. } => since = Some(result.unwrap().zxid),
                    Notice::Event(event) => seen.push(event.position()),
                    Notice::Connected { .. } => {}
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
        }
        let since = since.unwrap_or_else(|| panic!("seed {seed}: the watch was never set"));
        let happened: Vec<WatchPosition> =
            world.after(since.into()).map(|one| one.position()).collect();
        assert_eq!(seen, happened[..seen.len()], "seed {seed}");
        assert!(seen.len() > 50, "seed {seed}: {} of {}", seen.len(), happened.len());
    }
}

/// What has happened, and one server that tells of it.
#[derive(Default)]
struct World {
    happened: Vec<WatchEvent>,
    newest: u64,
    link: Option<Connection>,
}

#[derive(Default)]
struct Connection {
    watched: bool,
    outbox: VecDeque<ServerFrame>,
}

impl World {
    fn happen(&mut self, events: u64) {
        self.newest += 1;
        let events: Vec<_> =
            (0..events).map(|place| event("/", self.newest, place as u32)).collect();
        if let Some(link) = self.link.as_mut().filter(|link| link.watched) {
            link.outbox.extend(events.iter().cloned().map(ServerFrame::Watch));
        }
        self.happened.extend(events);
    }

    fn after(&self, since: WatchPosition) -> impl Iterator<Item = &WatchEvent> {
        self.happened.iter().filter(move |event| event.position() > since)
    }

    fn hear(&mut self, frame: Option<ClientFrame>) {
        let zxid = Zxid(self.newest);
        let answer = match frame {
            None | Some(ClientFrame::Status) => return,
            Some(ClientFrame::Heartbeat) => ServerFrame::Heartbeat { zxid },
            Some(ClientFrame::Connect { resume, .. }) => ServerFrame::Connected {
                session: SessionId(7),
                password: [9; 16],
                timeout_ms: 1_000,
                server: ServerId(1),
                resumed: resume.is_some(),
                zxid,
                read_only: false,
            },
            Some(ClientFrame::Request { sequence, operation, .. }) => {
                let reply = match operation {
                    Operation::AddWatch { since: None, .. } => Reply::Done,
                    Operation::ResumeWatches { since, .. } => {
                        let replayed = self.after(since).cloned().collect();
                        Reply::Watching { replayed, gap: false }
                    }
                    other => panic!("{other:?}"),
                };
                self.link.as_mut().expect("a frame came").watched = true;
                ServerFrame::Reply { sequence, zxid, outcome: Ok(reply) }
            }
        };
        self.link.as_mut().expect("a frame came").outbox.push_back(answer);
    }

    fn next_frame(&mut self) -> Option<ServerFrame> {
        self.link.as_mut()?.outbox.pop_front()
    }
}
