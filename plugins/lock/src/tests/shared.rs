//! One lock for callers of the recipe and for clients of ZooKeeper, which do here what Curator and
//! kazoo do.

use super::*;
use std::collections::BTreeMap;

const ZOOKEEPER: Config = Config {
    delay_ms: 0,
    waiters_max: 10_000,
    objects_max: 16,
    admins: Vec::new(),
    layout: Layout::Zookeeper,
};

/// Libraries that lock by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    Curator,
    Kazoo,
    /// With `extra_lock_patterns=["-lock-"]`.
    KazooBesideCurator,
}

impl Library {
    const ALL: [Library; 3] = [Library::Curator, Library::Kazoo, Library::KazooBesideCurator];

    fn prefix(self, number: u64) -> String {
        let uuid = splitmix64(&mut number.clone());
        match self {
            Library::Curator => format!("{OBJECT}/_c_{uuid:016x}-lock-"),
            Library::Kazoo | Library::KazooBesideCurator => format!("{OBJECT}/{uuid:016x}__lock__"),
        }
    }

    /// As `StandardLockInternalsDriver.fixForSorting` and `Lock._contenders_re` find it.
    fn number(self, name: &str) -> Option<&str> {
        let after = |pattern: &str| {
            let (_, number) = name.rsplit_once(pattern)?;
            let is_number = number.len() == 10 && number.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(number)
        };
        match self {
            Library::Curator => Some(name.rsplit_once("lock-").map_or(name, |(_, number)| number)),
            Library::Kazoo => after("__lock__"),
            Library::KazooBesideCurator => after("__lock__").or_else(|| after("-lock-")),
        }
    }

    /// Whether the client whose znode this is has the lock.
    fn holds(self, mount: &TestMount<Lock>, path: &str) -> bool {
        let name = |path: &str| path.strip_prefix("orders/").map(str::to_owned);
        let paths = mount.paths();
        let names: Vec<String> = paths.iter().filter_map(|path| name(path)).collect();
        let own = name(path).filter(|own| names.contains(own)).expect("its znode is there");
        let own = self.number(&own).expect("with a number");
        names.iter().filter_map(|name| self.number(name)).all(|number| number >= own)
    }
}

fn shared() -> (TestMount<Lock>, SessionId, SessionId, SessionId) {
    let mut mount = TestMount::with_config(&ZOOKEEPER);
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

/// As the clients begin: the parent first, then a child.
fn contend(mount: &mut TestMount<Lock>, library: Library, session: SessionId) -> String {
    if !mount.paths().contains(&OBJECT) {
        mount.create_plain(OBJECT, &[], None).unwrap();
    }
    let prefix = library.prefix(mount.now_ms() + session.0);
    mount.create_plain_sequential(&prefix, b"10.0.0.1", Some(session)).unwrap()
}

fn granted(mount: &mut TestMount<Lock>, ticket: Ticket<Grant>) -> Grant {
    mount.pushed(ticket).expect("it has its turn").unwrap()
}

#[test]
fn a_claim_has_places_that_each_library_counts() {
    for library in Library::ALL {
        let (mut mount, a, b, _) = shared();
        let held = acquire(&mut mount, a).done();
        assert_eq!(
            mount.paths(),
            [
                "orders",
                "orders/holder",
                "orders/quorate",
                "orders/quorate-lock-0000000001",
                "orders/quorate__lock__0000000002"
            ]
        );
        let client = contend(&mut mount, library, b);
        assert!(!library.holds(&mount, &client), "{library:?}");
        release(&mut mount, a, held.fence).done();
        assert!(library.holds(&mount, &client), "{library:?}");
        mount.delete_plain(&client).unwrap();
        assert_eq!(mount.paths(), ["orders", "orders/quorate"]);
    }
}

#[test]
fn a_caller_waits_for_a_client_that_came_first_and_the_next_client_for_the_caller() {
    for library in Library::ALL {
        let (mut mount, a, b, c) = shared();
        let first = contend(&mut mount, library, a);
        assert!(library.holds(&mount, &first));
        let waiting = acquire(&mut mount, b).parked();
        let last = contend(&mut mount, library, c);
        assert_eq!(mount.pushed(waiting), None);
        mount.delete_plain(&first).unwrap();
        let grant = granted(&mut mount, waiting);
        assert!(!library.holds(&mount, &last));
        release(&mut mount, b, grant.fence).done();
        assert!(library.holds(&mount, &last));
    }
}

#[test]
fn a_reader_of_kazoo_is_waited_for() {
    let (mut mount, a, b, _) = shared();
    mount.create_plain(OBJECT, &[], None).unwrap();
    let prefix = "orders/0123456789abcdef__rlock__";
    let reader = mount.create_plain_sequential(prefix, &[], Some(a)).unwrap();
    let waiting = acquire(&mut mount, b).parked();
    mount.delete_plain(&reader).unwrap();
    granted(&mut mount, waiting);
}

#[test]
fn an_object_stays_between_the_making_of_parent_and_child() {
    let (mut mount, a, ..) = shared();
    mount.create_plain(OBJECT, &[], None).unwrap();
    assert_eq!(mount.paths(), ["orders", "orders/quorate"]);
    let grant = acquire(&mut mount, a).done();
    release(&mut mount, a, grant.fence).done();
    assert_eq!(mount.paths(), ["orders", "orders/quorate"]);
    // Whoever knows that no client will come takes the marker away, and the object goes with it.
    mount.delete_plain("orders/quorate").unwrap();
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn the_end_of_a_clients_session_passes_the_lock_on_at_once() {
    let (mut mount, a, b, _) = shared();
    contend(&mut mount, Library::Curator, a);
    contend(&mut mount, Library::Kazoo, a);
    let waiting = acquire(&mut mount, b).parked();
    mount.close(a);
    granted(&mut mount, waiting);
}

#[test]
fn the_end_of_a_holders_session_passes_the_lock_on_to_a_client_and_not_before_a_delay() {
    for delay_ms in [0, 3_000] {
        let mut mount = TestMount::with_config(&Config { delay_ms, ..ZOOKEEPER });
        let (a, b) = (mount.session(), mount.session());
        acquire(&mut mount, a).done();
        acquire(&mut mount, a).parked();
        let client = contend(&mut mount, Library::Kazoo, b);
        mount.close(a);
        assert_eq!(Library::Kazoo.holds(&mount, &client), delay_ms == 0);
        mount.advance(delay_ms);
        assert!(Library::Kazoo.holds(&mount, &client));
        mount.close(b);
        assert_eq!(mount.paths(), ["orders", "orders/quorate"]);
        assert_eq!((mount.faults(), mount.timers().len()), (&[][..], 0));
    }
}

#[test]
fn a_delay_is_broken_for_a_client_too() {
    let mut mount = TestMount::with_config(&Config { delay_ms: 3_000, ..ZOOKEEPER });
    let (a, b) = (mount.session(), mount.session());
    acquire(&mut mount, a).done();
    let client = contend(&mut mount, Library::Curator, b);
    mount.close(a);
    assert!(!Library::Curator.holds(&mount, &client));
    let displaced: Option<Holder> = mount.call(b, OBJECT, "break", &Break::default()).done();
    assert_eq!(displaced, None);
    assert!(Library::Curator.holds(&mount, &client));
}

#[test]
fn waits_and_holds_that_end_take_their_places_along() {
    let (mut mount, a, b, c) = shared();
    let wanted = Acquire { hold_ms: Some(5_000), ..Acquire::default() };
    let _: Grant = mount.call(a, OBJECT, "acquire", &wanted).done();
    let limited = acquire_within(&mut mount, b, 2_000).parked();
    let given_up = acquire(&mut mount, b).parked();
    let client = contend(&mut mount, Library::Curator, c);
    mount.advance(2_000);
    assert_eq!(mount.pushed(limited).unwrap().unwrap_err().code, "timed-out");
    mount.cancel(given_up);
    assert!(!Library::Curator.holds(&mount, &client));
    mount.advance(3_000);
    assert!(Library::Curator.holds(&mount, &client));
    assert_eq!(mount.paths().len(), 3, "{:?}", mount.paths());
}

#[test]
fn a_client_that_holds_is_named_and_spared() {
    let (mut mount, a, b, _) = shared();
    let client = contend(&mut mount, Library::Curator, a);
    let named = holder(&mut mount).unwrap();
    assert_eq!((named.session, named.fence), (a, 0));
    assert_eq!(named.identity, "user-1");
    assert_eq!(named.places, [client.strip_prefix("orders/").unwrap()]);
    let refused = acquire_within(&mut mount, b, 0).refused();
    assert_eq!(refused.code, "held");
    let told: Option<Holder> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.as_ref(), Some(&named));
    assert_eq!(mount.paths().len(), 3, "a try leaves no place");
    let broken: Answer<Option<Holder>> = mount.call(b, OBJECT, "break", &Break::default());
    assert_eq!(broken.refused().code, "foreign-holder");
    let wanted = Revoke { within_ms: 10, fence: None };
    let revoked: Answer<Holder> = mount.call(b, OBJECT, "revoke", &wanted);
    assert_eq!(revoked.refused().code, "foreign-holder");
    mount.delete_plain(&client).unwrap();
    let broken: Answer<Option<Holder>> = mount.call(b, OBJECT, "break", &Break::default());
    assert_eq!(broken.refused().code, "free");
}

#[test]
fn what_cannot_be_beside_clients_is_refused() {
    let (mut mount, a, ..) = shared();
    let all = AcquireAll { with: vec!["stock".into()], ..AcquireAll::default() };
    let refused = mount.call::<Grant>(a, OBJECT, "acquire-all", &all).refused();
    assert_eq!(refused.code, "one-at-a-time");
    let given = ReleaseAll { fence: 1, with: None };
    let refused = mount.call::<Released>(a, OBJECT, "release-all", &given).refused();
    assert_eq!(refused.code, "one-at-a-time");
    let refused = mount.call::<Grant>(a, "", "acquire", &Acquire::default()).refused();
    assert_eq!(refused.code, "no-object");
    acquire(&mut mount, a).done();
    assert_eq!(mount.configure(&Config::default()).unwrap_err().code, "layout-in-use");
    mount.configure(&Config { delay_ms: 5, ..ZOOKEEPER }).unwrap();
    mount.close(a);
    mount.advance(5);
    mount.delete_plain("orders/quorate").unwrap();
    mount.configure(&Config::default()).unwrap();
}

#[test]
fn other_znodes_of_clients_are_let_be() {
    let (mut mount, a, b, _) = shared();
    mount.create_plain("alone-lock-0000000000", &[], Some(a)).unwrap();
    mount.create_plain("deep", &[], None).unwrap();
    mount.create_plain("deep/er", &[], None).unwrap();
    mount.create_plain("deep/er/x-lock-0000000000", &[], Some(a)).unwrap();
    mount.create_plain(OBJECT, &[], None).unwrap();
    for name in ["a", "lock-", "x-lock-12", "zlock-000000000x", "waiter", "waiting", "é"] {
        mount.create_plain(&format!("{OBJECT}/{name}"), b"\xff", Some(a)).unwrap();
    }
    let grant = acquire(&mut mount, a).done();
    let waiting = acquire(&mut mount, b).parked();
    mount.delete_plain("orders/a").unwrap();
    release(&mut mount, a, grant.fence).done();
    granted(&mut mount, waiting);
    mount.close(a);
    mount.delete_plain("deep/er").unwrap();
    assert_eq!(mount.faults(), []);
}

#[test]
fn too_many_clients_stop_nothing_but_grants() {
    let (mut mount, a, b, c) = shared();
    let grant = acquire(&mut mount, a).done();
    let waiting = acquire(&mut mount, b).parked();
    let clients: Vec<String> = (0..251).map(|_| contend(&mut mount, Library::Curator, c)).collect();
    release(&mut mount, a, grant.fence).done();
    assert_eq!(mount.pushed(waiting), None);
    for client in &clients[..10] {
        mount.delete_plain(client).unwrap();
    }
    granted(&mut mount, waiting);
    mount.close(b);
    contend(&mut mount, Library::Kazoo, c);
    for _ in 0..10 {
        contend(&mut mount, Library::Curator, c);
    }
    assert_eq!(acquire(&mut mount, a).refused().code, "too-many-contenders");
    assert_eq!(mount.faults(), []);
    assert!(mount.log().iter().any(|(_, line)| line.contains("more than 250 clients")));
}

#[test]
fn a_line_is_full_when_as_many_wait_as_may() {
    let mut mount = TestMount::with_config(&Config { waiters_max: 2, ..ZOOKEEPER });
    let (a, b) = (mount.session(), mount.session());
    let client = contend(&mut mount, Library::Curator, a);
    acquire(&mut mount, b).parked();
    acquire(&mut mount, b).parked();
    assert_eq!(acquire(&mut mount, b).refused().code, "line-full");
    mount.delete_plain(&client).unwrap();
    acquire(&mut mount, b).parked();
    assert_eq!(acquire(&mut mount, b).refused().code, "line-full");
}

/// Whoever has the lock or waits for it, each in a session of its own.
#[derive(Default)]
struct Everybody {
    holder: Option<(SessionId, u64)>,
    waiting: BTreeMap<SessionId, Ticket<Grant>>,
    clients: BTreeMap<SessionId, String>,
}

impl Everybody {
    fn step(&mut self, mount: &mut TestMount<Lock>, library: Library, state: &mut u64) {
        let drawn = splitmix64(state) as usize;
        match splitmix64(state) % 12 {
            0..3 => {
                let session = mount.session();
                match acquire(mount, session) {
                    Answer::Done(grant) => self.granted(session, grant),
                    Answer::Parked(ticket) => drop(self.waiting.insert(session, ticket)),
                    Answer::Refused(failure) => panic!("{failure}"),
                }
            }
            3..6 => {
                let session = mount.session();
                self.clients.insert(session, contend(mount, library, session));
            }
            6..9 => {
                if let Some((session, fence)) = self.holder.take() {
                    release(mount, session, fence).done();
                }
            }
            9 => {
                let Some((session, _)) = self.waiting.iter().nth(drawn % 4) else { return };
                let session = *session;
                self.waiting.remove(&session);
                mount.close(session);
            }
            10 => {
                // Also one that waits gives up.
                let Some((session, path)) = self.clients.iter().nth(drawn % 3) else { return };
                mount.delete_plain(path).unwrap();
                let session = *session;
                self.clients.remove(&session);
            }
            _ => {
                let Some(session) = self.clients.keys().nth(drawn % 3).copied() else { return };
                self.clients.remove(&session);
                mount.close(session);
            }
        }
    }

    fn granted(&mut self, session: SessionId, grant: Grant) {
        assert_eq!(self.holder.replace((session, grant.fence)), None, "two callers hold");
    }

    /// One of all has the lock, unless nobody wants it; gives the client that has it.
    fn judge(&mut self, mount: &mut TestMount<Lock>, library: Library) -> Option<SessionId> {
        let sessions: Vec<SessionId> = self.waiting.keys().copied().collect();
        for session in sessions {
            if let Some(answer) = mount.pushed(self.waiting[&session]) {
                self.waiting.remove(&session);
                self.granted(session, answer.unwrap());
            }
        }
        let holds =
            |(session, path): (&SessionId, &String)| library.holds(mount, path).then_some(*session);
        let clients: Vec<SessionId> = self.clients.iter().filter_map(holds).collect();
        let holders = clients.len() + usize::from(self.holder.is_some());
        let wanted = holders + self.waiting.len() + self.clients.len() > 0;
        assert_eq!(holders, usize::from(wanted), "{:?}", mount.paths());
        assert_eq!(mount.faults(), []);
        clients.first().copied()
    }
}

#[test]
fn whatever_callers_and_clients_do_one_of_them_has_the_lock() {
    for seed in 0..60 {
        println!("seed {seed}");
        let library = Library::ALL[seed as usize % 3];
        let (mut state, mut mount) = (seed, TestMount::<Lock>::with_config(&ZOOKEEPER));
        let mut everybody = Everybody::default();
        for _ in 0..80 {
            everybody.step(&mut mount, library, &mut state);
            everybody.judge(&mut mount, library);
        }
        // All who still want it get it, one after the other.
        while let Some(client) = everybody.judge(&mut mount, library).or_else(|| {
            let (session, fence) = everybody.holder.take()?;
            release(&mut mount, session, fence).done();
            Some(session)
        }) {
            if let Some(path) = everybody.clients.remove(&client) {
                mount.delete_plain(&path).unwrap();
            }
        }
        assert!(everybody.waiting.is_empty() && everybody.clients.is_empty());
        assert!(mount.paths().len() <= 2, "{:?}", mount.paths());
    }
}
