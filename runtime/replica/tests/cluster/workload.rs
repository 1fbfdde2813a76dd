//! Clients at work, each remembering what it was promised.
//!
//! Comes in: answers. Goes out: the next requests. Invariant checked here: a read sees what was
//! acknowledged before it was asked; versions and values of a chain grow together; who is told that
//! it holds a lock holds it alone, with a token greater than any before.

use crate::client::Done;
use crate::words::{call, call_with, create, data, get, path, persistent, set};
use crate::world::World;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use quorate_types::request::{CreateMode, MultiOperation, ReadLevel, WatchMode};
use quorate_types::{ErrorCode, Operation, Outcome, Reply, SessionId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// What all clients together know.
#[derive(Default)]
pub struct Knowledge {
    /// Per chain: the greatest value acknowledged to its writer.
    acknowledged: BTreeMap<usize, u64>,
    /// Per lock: the greatest token granted, and who believes to hold it.
    tokens: BTreeMap<String, u64>,
    holders: BTreeMap<String, (usize, SessionId, u64)>,
    /// What sequential creates were acknowledged: path and data.
    created: BTreeMap<String, String>,
    ephemerals: BTreeMap<String, SessionId>,
    pub answers: u64,
    pub unknown: u64,
    pub grants: u64,
    pub refused: u64,
}

/// One client's work.
pub struct Worker {
    number: usize,
    next_value: u64,
    /// The version the chain's znode had at the newest acknowledged write, with the value.
    chain: Option<(i32, u64)>,
    chain_made: bool,
    next_name: u64,
    /// The lock held or waited for.
    lock: Option<(String, Standing)>,
    /// Linearizable reads under way: sequence, chain and the least value they must show.
    reads: BTreeMap<(SessionId, u64), (usize, u64)>,
    newest_write: (SessionId, u64, Zxid),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Asked,
    Holds,
    Releasing,
}

const LOCKS: [&str; 2] = ["/locks/a", "/locks/b"];

impl Worker {
    pub fn new(number: usize) -> Worker {
        Worker {
            number,
            next_value: 1,
            chain: None,
            chain_made: false,
            next_name: 0,
            lock: None,
            reads: BTreeMap::new(),
            newest_write: (SessionId(0), 0, Zxid(0)),
        }
    }

    pub fn number(&self) -> usize {
        self.number
    }

    /// The lock held or waited for.
    pub fn lock(&self) -> &Option<(String, Standing)> {
        &self.lock
    }

    fn chain_path(number: usize) -> String {
        format!("/chain-{number}")
    }

    /// Takes in what was answered, and asks for more.
    pub fn work(&mut self, world: &mut World, knowledge: &mut Knowledge, eager: bool) {
        while let Some(done) = world.clients[self.number].done.pop_front() {
            self.take(world, knowledge, done);
        }
        let room = world.clients[self.number].pending.len() < 8;
        if eager && room && world.clients[self.number].session.is_some() {
            self.ask(world, knowledge);
        }
        let holds = matches!(self.lock, Some((_, Standing::Holds)));
        if holds && (!eager || world.choices.one_in(6)) {
            self.release(world, knowledge);
        }
    }

    /// Nothing is held, waited for or unanswered.
    pub fn is_idle(&self, world: &World) -> bool {
        let client = &world.clients[self.number];
        client.pending.is_empty() && client.done.is_empty() && self.lock.is_none()
    }

    fn ask(&mut self, world: &mut World, knowledge: &mut Knowledge) {
        let number = self.number;
        match world.choices.below(12) {
            0..=3 => self.write_chain(world),
            4 | 5 => {
                let name = self.name();
                let made = create("/seq/n-", name, CreateMode::PersistentSequential);
                world.request(number, made);
            }
            6 => {
                let name = self.name();
                let path = format!("/eph/{name}");
                world.request(number, create(&path, name, CreateMode::Ephemeral));
            }
            7 | 8 => {
                let chain = world.choices.below(world.clients.len() as u64) as usize;
                let least = knowledge.acknowledged.get(&chain).copied().unwrap_or(0);
                let sequence = world.request(number, get(&Worker::chain_path(chain)));
                let session = world.clients[number].session_id();
                self.reads.insert((session, sequence), (chain, least));
            }
            9 => {
                let chain = world.choices.below(world.clients.len() as u64) as usize;
                let read = Operation::Get { path: path(&Worker::chain_path(chain)), watch: true };
                world.request_at(number, read, ReadLevel::Local);
            }
            10 => self.acquire(world),
            _ => self.rarely(world),
        };
    }

    fn rarely(&mut self, world: &mut World) {
        let number = self.number;
        match world.choices.below(4) {
            0 => {
                let mode = WatchMode::PersistentRecursive;
                let at = path(&Worker::chain_path(number));
                let since = world.choices.one_in(2).then(|| world.clients[number].told());
                let values = world.choices.one_in(2);
                world.request(number, Operation::AddWatch { path: at, mode, since, values });
            }
            1 => {
                world.request(number, Operation::TransferLeader { to: None });
            }
            2 => {
                let name = self.name();
                let operations = vec![
                    MultiOperation::Check { path: path("/seq"), expected_version: None },
                    MultiOperation::Create {
                        path: path("/seq/n-"),
                        data: Bytes::from(name),
                        mode: CreateMode::PersistentSequential,
                        acl: None,
                    },
                    MultiOperation::Check { path: path("/nothing"), expected_version: None },
                ];
                world.request(number, Operation::Multi { operations });
            }
            _ => {
                world.request(number, Operation::Sync);
            }
        }
    }

    fn name(&mut self) -> String {
        self.next_name += 1;
        format!("{}-{}", self.number, self.next_name)
    }

    fn write_chain(&mut self, world: &mut World) {
        let at = Worker::chain_path(self.number);
        let operation = if self.chain_made {
            let padding = world.choices.below(200) as usize;
            let value = format!("{} {}", self.next_value, "x".repeat(padding));
            self.next_value += 1;
            set(&at, value, None)
        } else {
            self.chain_made = true;
            persistent(&at, "0")
        };
        world.request(self.number, operation);
    }

    fn acquire(&mut self, world: &mut World) {
        if self.lock.is_some() {
            return;
        }
        let object = LOCKS[world.choices.below(2) as usize];
        let patient = world.choices.one_in(2);
        let wait_ms = 50 + world.choices.below(500);
        let arguments =
            if patient { Bytes::new() } else { Bytes::copy_from_slice(&wait_ms.to_be_bytes()) };
        world.request(self.number, call_with(object, "acquire", arguments));
        self.lock = Some((object.into(), Standing::Asked));
    }

    fn release(&mut self, world: &mut World, knowledge: &mut Knowledge) {
        let Some((object, standing)) = &mut self.lock else { return };
        *standing = Standing::Releasing;
        let operation = call(object, "release");
        knowledge.holders.remove(object);
        world.request(self.number, operation);
    }

    fn take(&mut self, world: &World, knowledge: &mut Knowledge, done: Done) {
        let Some(outcome) = &done.outcome else {
            knowledge.unknown += 1;
            self.take_unknown(knowledge, &done);
            return;
        };
        knowledge.answers += 1;
        knowledge.refused += u64::from(outcome.is_err());
        match outcome {
            Ok(Reply::Created(_, stat)) => self.check_order(&done, stat.czxid),
            Ok(Reply::Stat(stat)) => self.check_order(&done, stat.mzxid),
            _ => {}
        }
        match &done.operation {
            Operation::SetData { .. } => self.take_set(knowledge, &done, outcome),
            Operation::Create { mode: CreateMode::Persistent, .. } => self.take_made(outcome),
            Operation::Create { mode, data, .. } => {
                self.take_created(knowledge, (*mode, data), &done, outcome);
            }
            Operation::Get { .. } => self.take_read(&done, outcome),
            Operation::Call { operation, .. } if operation == "acquire" => {
                self.take_acquired(world, knowledge, &done, outcome);
            }
            Operation::Call { .. } => self.take_released(outcome),
            Operation::Multi { .. } => assert!(outcome.is_err(), "a check of nothing held"),
            _ => {}
        }
    }

    /// Writes of one session that were done were done in the order of their numbers, whatever order
    /// their answers came in.
    fn check_order(&mut self, done: &Done, zxid: Zxid) {
        let (session, sequence, before) = self.newest_write;
        if session == done.session {
            assert_eq!(
                sequence < done.sequence,
                before < zxid,
                "client {}: write {sequence} was done at {before}, {} at {zxid}",
                self.number,
                done.sequence,
            );
        }
        self.newest_write = (done.session, done.sequence, zxid);
    }

    fn take_unknown(&mut self, knowledge: &mut Knowledge, done: &Done) {
        match &done.operation {
            Operation::Create { mode: CreateMode::Persistent, .. } => self.chain_made = false,
            Operation::Call { .. } => {
                self.forget_lock(knowledge);
            }
            _ => {}
        }
    }

    /// The session that held or waited has ended.
    pub fn forget_lock(&mut self, knowledge: &mut Knowledge) {
        if let Some((object, _)) = self.lock.take()
            && knowledge.holders.get(&object).is_some_and(|(holder, ..)| *holder == self.number)
        {
            knowledge.holders.remove(&object);
        }
    }

    /// The client noticed that its session has ended.
    pub fn on_session_lost(&mut self, knowledge: &mut Knowledge) {
        self.forget_lock(knowledge);
    }

    fn take_made(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => {}
            Err(refusal) if refusal.code == ErrorCode::NodeExists => {}
            Err(refusal) => {
                assert!(is_passing(refusal.code), "{refusal}");
                self.chain_made = false;
            }
        }
    }

    fn take_set(&mut self, knowledge: &mut Knowledge, done: &Done, outcome: &Outcome) {
        let Operation::SetData { data, .. } = &done.operation else { return };
        let value = value_of(data);
        match outcome {
            Ok(Reply::Stat(stat)) => {
                if let Some((version, before)) = self.chain {
                    assert!(stat.version > version, "versions grow with acknowledged writes");
                    assert!(value > before, "writes are acknowledged in order");
                    let writes = value - before;
                    let versions = (stat.version - version) as u64;
                    assert!(versions <= writes, "{versions} changes by {writes} writes");
                }
                self.chain = Some((stat.version, value));
                knowledge.acknowledged.insert(self.number, value);
            }
            Ok(other) => panic!("a set is answered {other:?}"),
            Err(refusal) => {
                let absent = refusal.code == ErrorCode::NoNode && self.chain.is_none();
                assert!(is_passing(refusal.code) || absent, "{refusal}");
                if absent {
                    self.chain_made = false;
                }
            }
        }
    }

    fn take_created(
        &mut self,
        knowledge: &mut Knowledge,
        (mode, data): (CreateMode, &Bytes),
        done: &Done,
        outcome: &Outcome,
    ) {
        let name = String::from_utf8(data.to_vec()).expect("names are text");
        match outcome {
            Ok(Reply::Created(path, _)) if mode.is_ephemeral() => {
                knowledge.ephemerals.insert(path.as_str().into(), done.session);
            }
            Ok(Reply::Created(path, _)) => {
                let before = knowledge.created.insert(path.as_str().into(), name);
                assert_eq!(before, None, "{path} was created twice");
            }
            Ok(other) => panic!("a create is answered {other:?}"),
            Err(refusal) => assert!(is_passing(refusal.code), "{refusal}"),
        }
    }

    fn take_read(&mut self, done: &Done, outcome: &Outcome) {
        let Some((chain, least)) = self.reads.remove(&(done.session, done.sequence)) else {
            return;
        };
        match outcome {
            Ok(_) => {
                let value = value_of(&data(outcome));
                assert!(value >= least, "chain {chain} shows {value} after {least} was promised");
            }
            Err(refusal) => {
                let absent = refusal.code == ErrorCode::NoNode && least == 0;
                assert!(is_passing(refusal.code) || absent, "{refusal}");
            }
        }
    }

    fn take_acquired(
        &mut self,
        world: &World,
        knowledge: &mut Knowledge,
        done: &Done,
        outcome: &Outcome,
    ) {
        let Operation::Call { object, .. } = &done.operation else { return };
        let object = String::from(object.as_str());
        if outcome.is_err() {
            let code = outcome.as_ref().unwrap_err().code;
            assert!(
                is_passing(code) || code == ErrorCode::TimedOut,
                "an acquire is refused: {outcome:?}"
            );
            self.lock = None;
            return;
        }
        let token = crate::words::token(outcome);
        knowledge.grants += 1;
        let newest = knowledge.tokens.entry(object.clone()).or_insert(0);
        // A session that has ended meanwhile may hear late of what it was granted.
        let lives = world.clients[self.number].session.is_some_and(|(id, _)| id == done.session)
            && world.journal.sessions.contains(&done.session);
        assert!(token > *newest || !lives, "token {token} of {object} after {newest}");
        *newest = token.max(*newest);
        if !lives {
            self.lock = None;
            return;
        }
        if let Some((other, session, before)) = knowledge.holders.get(&object) {
            assert!(
                !world.journal.sessions.contains(session),
                "client {} is granted {object} with {token} while client {other} holds {before}",
                self.number
            );
        }
        knowledge.holders.insert(object.clone(), (self.number, done.session, token));
        self.lock = Some((object, Standing::Holds));
    }

    fn take_released(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.lock = None,
            Err(refusal) if is_passing(refusal.code) => {
                if let Some((_, standing)) = &mut self.lock {
                    *standing = Standing::Holds;
                }
            }
            Err(refusal) => panic!("the holder cannot release: {refusal}"),
        }
    }
}

/// Nothing was done, by no fault of the request.
fn is_passing(code: ErrorCode) -> bool {
    code.is_transient() || code == ErrorCode::SessionExpired
}

fn value_of(data: &[u8]) -> u64 {
    let text = std::str::from_utf8(data).expect("values are text");
    text.split(' ').next().and_then(|digits| digits.parse().ok()).expect("a value comes first")
}

/// What must be there at the end, on a level server.
pub fn check_end(world: &World, knowledge: &Knowledge, workers: &[Worker], server: u64) {
    use quorate_machine::Identity;
    let machine = world.replica(server).machine();
    let everyone = Identity::named("checker");
    let tree = world.tree(server);
    let read = |at: &str| {
        let outcome = machine.read(&everyone, &get(at));
        let Ok(Reply::Data(data, stat)) = outcome else { panic!("{at}: {outcome:?}") };
        (data, stat)
    };
    for worker in workers {
        let Some((version, value)) = worker.chain else { continue };
        let (data, stat) = read(&Worker::chain_path(worker.number));
        assert!(
            value_of(&data) >= value && stat.version >= version,
            "an acknowledged write is gone"
        );
        let asked = worker.next_value - 1;
        assert!(stat.version as u64 <= asked, "{} changes by {asked} writes", stat.version);
    }
    for (at, name) in &knowledge.created {
        assert_eq!(read(at).0, name.as_bytes(), "{at}");
    }
    let mut names = BTreeSet::new();
    for at in tree.keys().filter(|at| at.as_str().starts_with("/seq/")) {
        assert!(names.insert(read(at.as_str()).0), "{at} was created twice by one request");
    }
    for (at, owner) in &tree {
        if let Some(owner) = owner {
            assert!(machine.session(*owner).is_some(), "{at} outlives its session");
        }
    }
    for (at, owner) in &knowledge.ephemerals {
        let there = tree.get(&path(at)).copied().flatten() == Some(*owner);
        assert_eq!(there, machine.session(*owner).is_some(), "{at} of session {owner}");
    }
    assert_eq!(machine.ticket_count(), 0, "a parked call is left");
    assert_eq!(machine.suspended_mounts(), []);
}

/// Prepares what the work needs.
pub fn prepare(world: &mut World, number: usize) {
    world.mount_lock(number);
    for at in ["/seq", "/eph"] {
        world.ask_until_settled(number, &persistent(at, "")).expect("it is made once");
    }
}

/// Draws the sizes that a run is made with.
pub fn limits(choices: &mut Choices) -> quorate_types::limits::Limits {
    let mut limits = quorate_types::limits::Limits::TESTED;
    limits.snapshot_log_bytes = [2_000, 8_000, 32_000][choices.below(3) as usize];
    limits.log_bytes_behind_snapshot = [0, 1_000, 16_000][choices.below(3) as usize];
    limits.log_segment_bytes = [4_096, 16_384][choices.below(2) as usize];
    limits.snapshot_chunk_bytes = [300, 4_096][choices.below(2) as usize];
    limits.append_entries_max = [1, 2, 50][choices.below(3) as usize];
    limits.proposals_outstanding_max = [4, 64][choices.below(2) as usize];
    limits
}
