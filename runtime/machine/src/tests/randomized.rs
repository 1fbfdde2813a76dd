//! Random requests on a leader that applies late, against one that applies at once.
//!
//! The two must prepare the same answers; followers, images and leader changes must agree.

use super::harness::{
    Client, Harness, ORIGIN, PASSWORD, call, component, create, delete, mount, path, upload,
};
use super::quotas::{set_quota, stats};
use crate::machine::Machine;
use crate::outstanding::Outstanding;
use crate::quota;
use crate::random::Random;
use crate::request::{Identity, Prepared, Request, Stamp};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_types::limits::Limits;
use quorate_types::request::{CreateMode, MultiOperation};
use quorate_types::{Operation, SessionId, ZnodeData, Zxid};

const PATHS: [&str; 9] =
    ["/a", "/b", "/a/x", "/a/y", "/a/x/1", "/a/x/2", "/b/z", "/locks/plain", "/open/plain"];
const CALLS: [&str; 14] = [
    "acquire", "acquire", "acquire", "release", "release", "trap", "flood", "refuse", "leak",
    "lease", "wobble", "touch", "both", "holder",
];

/// Paths with limits, in most worlds.
const QUOTAS: [&str; 2] = ["/a", "/locks"];

struct World {
    random: Random,
    harness: Harness,
    clients: Vec<Client>,
    /// Applies everything at once, and remembers each state.
    at_once: Machine,
    at_once_outstanding: Outstanding,
    states: Vec<(Zxid, Machine)>,
    last: Option<Request>,
    newest_sequence: u64,
    /// Calls that fault follow one another.
    is_faulty: bool,
    seen_sorts: alloc::collections::BTreeMap<String, u32>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut harness = Harness::new();
        let mut client = harness.open("operator");
        let digest = harness.mount(&mut client, "/locks", false);
        harness.ask(&mut client, mount("/open", digest, true)).unwrap();
        if !seed.is_multiple_of(3) {
            for of in QUOTAS {
                let limits = "count=2,bytes=-1=;countHardLimit=4;byteHardLimit=900";
                set_quota(&mut harness, &mut client, of, limits);
            }
        }
        let at_once = harness.machine.clone();
        World {
            random: Random::new(seed),
            states: [(harness.zxid, at_once.clone())].into(),
            at_once,
            at_once_outstanding: Outstanding::new(),
            harness,
            clients: [client].into(),
            last: None,
            newest_sequence: 0,
            is_faulty: seed.is_multiple_of(4),
            seen_sorts: alloc::collections::BTreeMap::new(),
        }
    }

    fn pick_path(&mut self) -> &'static str {
        PATHS[self.random.below(9) as usize]
    }

    fn operation(&mut self) -> Operation {
        let at = self.pick_path();
        let version = self.random.one_in(3).then_some(0);
        let data = match self.random.below(600) {
            0..=50 => ZnodeData::NULL,
            bytes => alloc::vec![7; bytes as usize].into(),
        };
        let late = (self.harness.time_ms + u64::from(self.random.below(300))).to_be_bytes();
        match self.random.below(24) {
            0..=4 => Operation::Create { path: path(at), data, mode: self.mode(), acl: None },
            5..=7 => Operation::Delete { path: path(at), expected_version: version },
            8..=9 => Operation::SetData { path: path(at), data, expected_version: version },
            10 => Operation::SetAcl {
                path: path(at),
                acl: quorate_types::acl::open_acl(),
                expected_version: version,
            },
            11..=12 => self.multi(),
            13..=19 => {
                let place = ["/locks", "/locks", "/open"][self.random.below(3) as usize];
                let object = format!("{place}/{}", self.random.below(3));
                let sorts = if self.is_faulty { 4..7 } else { 0..14 };
                let operation = CALLS[sorts.start + self.random.below(sorts.len() as u32) as usize];
                let arguments: &[u8] = if self.random.one_in(2) { &late } else { &[] };
                call(&object, operation, arguments)
            }
            20 => {
                let back = u64::from(self.random.below(6));
                Operation::CancelCall { sequence: self.newest_sequence.saturating_sub(back) }
            }
            21 if self.random.one_in(3) => Operation::CloseSession,
            22 if self.random.one_in(4) => {
                let at = ["/locks", "/open"][self.random.below(2) as usize];
                Operation::Unmount { path: path(at) }
            }
            _ => self.administration(),
        }
    }

    fn mode(&mut self) -> CreateMode {
        match self.random.below(7) {
            0 | 1 => CreateMode::Persistent,
            2 => CreateMode::PersistentSequential,
            3 => CreateMode::Ephemeral,
            4 => CreateMode::EphemeralSequential,
            5 => CreateMode::Container,
            _ => CreateMode::Ttl(u64::from(self.random.below(500))),
        }
    }

    fn multi(&mut self) -> Operation {
        let mut operations = Vec::new();
        for _ in 0..self.random.below(4) {
            let path = path(self.pick_path());
            let expected_version = None;
            operations.push(match self.random.below(3) {
                0 => MultiOperation::Delete { path, expected_version },
                1 => MultiOperation::Check { path, expected_version },
                _ => {
                    let (data, mode, acl) = (ZnodeData::EMPTY, self.mode(), None);
                    MultiOperation::Create { path, data, mode, acl }
                }
            });
        }
        Operation::Multi { operations }
    }

    fn administration(&mut self) -> Operation {
        let seed = u8::try_from(self.random.below(3)).unwrap();
        let digest = component(seed).0;
        match self.random.below(4) {
            0 => upload(seed),
            1 => Operation::InstallRecipe { digest, signature: None },
            2 => Operation::RemoveRecipe { digest },
            _ => {
                let at = ["/locks", "/open"][self.random.below(2) as usize];
                mount(at, digest, at == "/open")
            }
        }
    }

    fn request(&mut self) -> Request {
        let which = self.random.below(u32::try_from(self.clients.len()).unwrap()) as usize;
        let client = self.clients[which].clone();
        match self.random.below(30) {
            0 | 1 if self.clients.len() < 4 => Request::OpenSession {
                origin: ORIGIN,
                password: PASSWORD,
                timeout_ms: 1_000,
                identity: Identity::named("a"),
            },
            2 => Request::AttachSession {
                origin: ORIGIN,
                session: client.session,
                password: PASSWORD,
                identity: Identity::named(client.name),
            },
            3 if self.random.one_in(2) => Request::ExpireSession { session: client.session },
            4..=6 => {
                self.harness.time_ms += u64::from(self.random.below(100));
                Request::FireDue
            }
            7 if self.last.is_some() => self.last.clone().unwrap(),
            _ => {
                self.newest_sequence = client.sequence + 1;
                let operation = self.operation();
                let mut request = self.clients[which].request(operation);
                if let Request::Client { oldest_unreplied, acknowledged, sequence, .. } =
                    &mut request
                {
                    *oldest_unreplied = sequence.saturating_sub(10);
                    acknowledged.extend([sequence.saturating_sub(2)]);
                }
                self.last = Some(request.clone());
                request
            }
        }
    }

    /// Prepares a request on both and compares.
    fn step(&mut self, seed: u64) {
        let request = self.request();
        let stamp = Stamp { zxid: self.harness.zxid.next(), time_ms: self.harness.time_ms };
        let at_once = self.at_once_outstanding.prepare(
            &self.at_once,
            &mut self.harness.executor,
            stamp,
            request.clone(),
        );
        let prepared = self.harness.submit(request.clone());
        assert_eq!(prepared, at_once, "seed {seed}: {request:?}");
        self.count(&request, &prepared);
        let Prepared::Transaction(transaction) = &prepared else { return };
        let applied = self.at_once.apply(stamp.zxid, transaction);
        self.at_once_outstanding.applied(stamp.zxid);
        assert_eq!(self.at_once_outstanding.entry_count(), 0, "seed {seed}");
        self.states.push((stamp.zxid, self.at_once.clone()));
        for of in QUOTAS.into_iter().filter(|_| !seed.is_multiple_of(3)) {
            let counted = quota::recounted(&*self.at_once.tables, &path(of));
            assert_eq!(stats(&self.at_once, of), counted, "seed {seed}: {request:?}");
        }
        for result in applied.connections {
            let grant = result.outcome.unwrap();
            let known = self.clients.iter_mut().find(|client| client.session == grant.session);
            match known {
                Some(client) => client.epoch = grant.epoch,
                None => self.clients.push(Client {
                    session: grant.session,
                    epoch: grant.epoch,
                    sequence: 0,
                    name: "a".into(),
                }),
            }
        }
        self.clients.retain(|client| !applied.sessions_closed.contains(&client.session));
        self.keep_one_client();
    }

    /// A world without sessions has a client that thinks it has one.
    fn keep_one_client(&mut self) {
        if self.clients.is_empty() {
            let session = SessionId(u64::MAX);
            let epoch = Zxid(0);
            self.clients.push(Client { session, epoch, sequence: 0, name: "ghost".into() });
        }
    }

    fn count(&mut self, request: &Request, prepared: &Prepared) {
        let sort = match request {
            Request::Client { operation: Operation::Call { operation, .. }, .. } => {
                format!("call {operation}")
            }
            Request::Client { operation, .. } => {
                let text = format!("{operation:?}");
                String::from(text.split([' ', '{']).next().unwrap_or(""))
            }
            other => {
                let text = format!("{other:?}");
                String::from(text.split([' ', '{']).next().unwrap_or(""))
            }
        };
        let end = match prepared {
            Prepared::Transaction(_) => "done",
            Prepared::Answer(_) => "answered",
            Prepared::AlreadyParked(_) => "parked",
            Prepared::Nothing => "nothing",
        };
        *self.seen_sorts.entry(format!("{sort}: {end}")).or_default() += 1;
    }

    /// Applies some of what is outstanding and compares with the state remembered for it.
    fn apply_some(&mut self, seed: u64) {
        let count = self.random.below(u32::try_from(self.harness.queue.len()).unwrap() + 1);
        for _ in 0..count {
            self.harness.apply_one();
        }
        let applied = self.harness.machine.applied();
        self.states.retain(|(zxid, _)| *zxid >= applied);
        let (_, expected) = &self.states[0];
        assert_eq!(expected.digest(), self.harness.machine.digest(), "seed {seed}");
        assert!(expected.tables.has_same_items(&self.harness.machine.tables), "seed {seed}");
    }

    /// The leader steps down: what was outstanding is lost, and nothing remains of it.
    fn lose_leader(&mut self) {
        self.harness.queue.clear();
        self.harness.outstanding = Outstanding::new();
        self.at_once_outstanding = Outstanding::new();
        self.states.truncate(1);
        self.at_once = self.states[0].1.clone();
        self.harness.check();
        // The follower starts from an image.
        let image = self.harness.follower.encode_image();
        let mut read = Machine::decode_image(&image).unwrap();
        read.set_limits(Limits::TESTED);
        assert_eq!(read.digest(), self.harness.machine.digest());
        assert!(read.tables.has_same_items(&self.harness.machine.tables));
        self.harness.follower = read;
        let sessions = self.harness.machine.sessions();
        self.clients.retain(|client| sessions.iter().any(|facts| facts.session == client.session));
        self.keep_one_client();
        for client in &mut self.clients {
            if let Some(facts) = sessions.iter().find(|facts| facts.session == client.session) {
                client.epoch = facts.epoch;
            }
        }
    }
}

#[test]
fn preparing_ahead_equals_applying_at_once() {
    let mut sorts = alloc::collections::BTreeMap::new();
    for seed in 0..40 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step(seed);
            if world.random.one_in(6) {
                world.apply_some(seed);
            }
            if world.random.one_in(80) {
                world.lose_leader();
            }
        }
        for (sort, count) in world.seen_sorts {
            *sorts.entry(sort).or_insert(0) += count;
        }
    }
    for sort in [
        "Create: done",
        "Create: answered",
        "Multi: done",
        "Multi: answered",
        "Mount: done",
        "Unmount: done",
        "UploadComponent: done",
        "InstallRecipe: done",
        "CancelCall: done",
        "CloseSession: done",
        "ExpireSession: done",
        "AttachSession: done",
        "FireDue: done",
        "call acquire: done",
        "call acquire: parked",
        "call release: done",
        "call trap: answered",
        "call trap: done",
    ] {
        assert!(sorts.contains_key(sort), "{sort} was never seen among {sorts:#?}");
    }
}

#[test]
fn a_transaction_cut_anywhere_is_refused() {
    let mut harness = Harness::new();
    let mut client = harness.open("a");
    harness.mount(&mut client, "/locks", false);
    for operation in [
        create("/a", CreateMode::Ttl(5)),
        call("/locks/a", "acquire", &[]),
        call("/locks/a", "acquire", &1u64.to_be_bytes()),
        delete("/a"),
        Operation::CloseSession,
    ] {
        let prepared = harness.submit(client.request(operation));
        let Prepared::Transaction(transaction) = prepared else { unreachable!("{prepared:?}") };
        let bytes = transaction.encode();
        for length in 0..bytes.len() {
            assert!(crate::Transaction::decode(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(crate::Transaction::decode(&longer).is_err());
    }
}
