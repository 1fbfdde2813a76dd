//! What clients do all day: trees, ephemerals, sequential names, multis, watches, reads, locks.
//!
//! Comes in: answers. Goes out: the next requests. Few paths and many clients, so that they meet.
//! Judges nothing: that is the checkers' part.

use crate::history::OperationId;
use crate::observation::Observation;
use crate::trials::{EndedCall, Trial, Turn, Work};
use crate::world::World;
use bytes::Bytes;
use quorate_client::protocol::CallFailure;
use quorate_types::request::{CreateMode, MultiOperation, ReadLevel, WatchMode};
use quorate_types::{Operation, Reply, Stat, ZnodeData, ZnodePath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the lock is mounted.
pub const LOCKS: &str = "/locks";
/// Where recipes are mounted that do harm when told to.
pub const TRAPPING: &str = "/harm-traps";
pub const LOOPING: &str = "/harm-loops";
/// Folders that the preparation makes.
pub const FOLDERS: [&str; 5] = ["/d", "/q", "/e", "/c", "/t"];
const LOCK_OBJECTS: [&str; 3] = ["/locks/a", "/locks/b", "/locks/c"];

/// Arguments of the lock's `acquire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    pub wait_ms: Option<u64>,
    pub note: String,
}

/// What the lock grants, and what `release` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub fence: u64,
}

/// # Panics
/// When the value cannot be CBOR.
#[must_use]
pub fn to_cbor(value: &impl Serialize) -> Bytes {
    serde_cbor::to_vec(value).expect("plain values are CBOR").into()
}

#[must_use]
pub fn grant_of(reply: &Reply) -> Option<Grant> {
    match reply {
        Reply::Called(bytes) => serde_cbor::from_slice(bytes).ok(),
        _ => None,
    }
}

/// # Panics
/// When the text is no path.
#[must_use]
pub fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).expect("the workload's paths are proper")
}

/// A lock that a client believes to hold.
#[derive(Clone, Copy, Debug)]
struct Held {
    fence: u64,
    release_at_ms: u64,
    life: u32,
}

/// One client's work.
pub struct Worker {
    client: usize,
    pub next_at_ms: u64,
    locks: BTreeMap<&'static str, Held>,
    /// Acquires under way.
    acquiring: BTreeMap<OperationId, &'static str>,
    /// Stats that this client has seen, to ask for versions that may be right.
    seen: BTreeMap<ZnodePath, Stat>,
    names: u64,
    trial: Option<TrialPart>,
}

/// This client's part in the trial of a recipe.
struct TrialPart {
    mount: ZnodePath,
    work: Box<dyn Work>,
    /// The process and session that it is played in.
    life: u32,
    under_way: Vec<OperationId>,
}

impl Worker {
    /// `trial`: what most of its calls are about.
    #[must_use]
    pub fn new(client: usize, trial: Option<(&'static Trial, Bytes)>) -> Worker {
        let trial = trial.map(|(trial, config)| TrialPart {
            mount: trial.mount(),
            work: (trial.work)(&config),
            life: 0,
            under_way: Vec::new(),
        });
        Worker {
            trial,
            client,
            next_at_ms: 0,
            locks: BTreeMap::new(),
            acquiring: BTreeMap::new(),
            seen: BTreeMap::new(),
            names: 0,
        }
    }

    /// Takes in what was answered, and asks for more if it is time. `eager`: new work is begun.
    pub fn work(&mut self, world: &mut World, eager: bool, haste: u64) {
        self.take_answers(world);
        self.tend_locks(world, eager);
        self.play(world, |work, turn| work.tend(turn, eager));
        if world.now_ms < self.next_at_ms {
            return;
        }
        let pause_ms = world.plan.pause_ms / haste.max(1);
        self.next_at_ms = world.now_ms + 1 + world.choices.below(pause_ms * 2 + 1);
        let room = world.clients[self.client].outstanding() < 12;
        if eager && room {
            self.ask(world);
        }
    }

    /// Nothing is held, waited for or unanswered.
    #[must_use]
    pub fn is_at_rest(&self, world: &World) -> bool {
        let client = &world.clients[self.client];
        // What undoes or cancels calls whose callers have gone counts too.
        let quiet = client.outstanding() == 0 && client.protocol.is_at_rest();
        let played = self.trial.as_ref().is_none_or(|trial| trial.work.is_at_rest());
        quiet && client.ended.is_empty() && self.locks.is_empty() && played
    }

    /// The next time at which there is something to do.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        let release_ms = self.locks.values().map(|held| held.release_at_ms).min();
        self.next_at_ms.min(release_ms.unwrap_or(u64::MAX))
    }

    fn take_answers(&mut self, world: &mut World) {
        while let Some(id) = world.clients[self.client].ended.pop_front() {
            self.take(world, id);
        }
        world.clients[self.client].notified.clear();
    }

    /// Lets the client play its part in a trial, if there is one.
    fn play(&mut self, world: &mut World, act: impl FnOnce(&mut dyn Work, &mut Turn<'_>)) {
        let Some(TrialPart { mount, work, life, under_way }) = &mut self.trial else { return };
        let client = self.client;
        if world.clients[client].process.life != *life {
            *life = world.clients[client].process.life;
            under_way.clear();
            work.forget();
        }
        act(work.as_mut(), &mut Turn { world, client, mount, under_way });
    }

    /// An answer in a trial; `false`: it is none, or its session is gone.
    fn take_in_trial(&mut self, world: &mut World, id: OperationId) -> bool {
        // A change of session is noticed before its last answers are looked at.
        self.play(world, |_, _| {});
        let Some(trial) = &mut self.trial else { return false };
        let Some(place) = trial.under_way.iter().position(|known| *known == id) else {
            return false;
        };
        trial.under_way.swap_remove(place);
        let known = world.history.operation(id).clone();
        let (Operation::Call { object, operation, arguments }, Some(ending)) =
            (&known.operation, &known.ended)
        else {
            return false;
        };
        let mount = trial.mount.clone();
        let object = object.relative_to(&mount).unwrap_or_default();
        let ended = EndedCall { id, object, operation, arguments, result: &ending.result };
        self.play(world, |work, turn| work.take(turn, &ended));
        true
    }

    fn take(&mut self, world: &mut World, id: OperationId) {
        if self.take_in_trial(world, id) {
            return;
        }
        let known = world.history.operation(id);
        let Some(ending) = &known.ended else { return };
        let seen_path = match &known.operation {
            Operation::SetData { path, .. }
            | Operation::Get { path, .. }
            | Operation::Exists { path, .. } => Some(path.clone()),
            _ => None,
        };
        match &ending.result {
            Ok(Reply::Created(path, stat)) => drop(self.seen.insert(path.clone(), *stat)),
            Ok(Reply::Stat(stat) | Reply::Data(_, stat) | Reply::Exists(Some(stat))) => {
                if let Some(path) = seen_path {
                    self.seen.insert(path, *stat);
                }
            }
            Ok(reply @ Reply::Called(_)) => {
                if let (Some(object), Some(grant)) =
                    (self.acquiring.get(&id).copied(), grant_of(reply))
                {
                    self.take_lock(world, object, grant);
                }
            }
            Err(CallFailure::SessionLost(_) | CallFailure::Closed) => self.locks.clear(),
            _ => {}
        }
        self.acquiring.remove(&id);
    }

    fn take_lock(&mut self, world: &mut World, object: &'static str, grant: Grant) {
        let hold_ms = world.choices.below(world.plan.pause_ms * 4 + 2);
        let release_at_ms = world.now_ms + hold_ms;
        let life = world.clients[self.client].process.life;
        self.locks.insert(object, Held { fence: grant.fence, release_at_ms, life });
        self.write_resource(world, object, grant.fence);
    }

    fn write_resource(&self, world: &mut World, lock: &'static str, fence: u64) {
        let client = self.client;
        world.show(&Observation::ResourceWritten { client, lock, fence });
    }

    /// Uses and gives back what is held.
    fn tend_locks(&mut self, world: &mut World, eager: bool) {
        let life = world.clients[self.client].process.life;
        self.locks.retain(|_, held| held.life == life);
        for (lock, held) in self.locks.clone() {
            if eager && held.release_at_ms > world.now_ms {
                continue;
            }
            if world.choices.one_in(2) {
                self.write_resource(world, lock, held.fence);
            }
            self.locks.remove(lock);
            let release = call(lock, "release", to_cbor(&Grant { fence: held.fence }));
            world.ask(self.client, release, ReadLevel::Linearizable, None);
        }
    }

    fn ask(&mut self, world: &mut World) {
        if self.trial.is_some() {
            return self.ask_in_trial(world);
        }
        match world.choices.below(20) {
            0..=2 => self.ask_set(world),
            3 | 4 => self.ask_create(world),
            5 => self.ask_delete(world),
            6 | 7 => self.ask_multi(world),
            8..=11 => self.ask_read(world),
            12 => self.ask_watch(world),
            13..=16 => self.ask_lock(world),
            17 => self.ask_harm(world),
            18 => drop(self.request(world, Operation::Sync, ReadLevel::Linearizable)),
            _ => self.ask_rarely(world),
        }
    }

    /// Mostly the recipe's calls; some others, so that its transactions are not alone in the log.
    fn ask_in_trial(&mut self, world: &mut World) {
        match world.choices.below(40) {
            0 | 1 => self.ask_set(world),
            2 => self.ask_read(world),
            3 => drop(self.write(world, Operation::CloseSession)),
            _ => self.play(world, |work, turn| work.ask(turn)),
        }
    }

    fn request(&self, world: &mut World, operation: Operation, level: ReadLevel) -> OperationId {
        let patience_ms = world.choices.one_in(10).then(|| world.plan.timings.election_ms.0 * 4);
        world.ask(self.client, operation, level, patience_ms)
    }

    fn write(&self, world: &mut World, operation: Operation) -> OperationId {
        self.request(world, operation, ReadLevel::Linearizable)
    }

    fn data(&mut self, world: &mut World) -> ZnodeData {
        self.names += 1;
        if self.names.is_multiple_of(16) {
            return ZnodeData::NULL;
        }
        let padding = [0, 10, 150, 600][world.choices.below(4) as usize];
        let padding = if padding == 600 && !world.choices.one_in(10) { 20 } else { padding };
        format!("{}-{} {}", self.client, self.names, "x".repeat(padding)).into()
    }

    /// One of the few znodes that all clients write.
    fn shared_path(world: &mut World) -> ZnodePath {
        let folder = world.choices.below(4);
        match world.choices.below(3) {
            0 => path(&format!("/d/{folder}")),
            _ => path(&format!("/d/{folder}/{}", world.choices.below(3))),
        }
    }

    fn version(&self, world: &mut World, path: &ZnodePath) -> Option<i32> {
        if !world.choices.one_in(2) {
            return None;
        }
        let seen = self.seen.get(path).map_or(0, |stat| stat.version);
        Some(seen + i32::from(world.choices.one_in(8)))
    }

    fn ask_set(&mut self, world: &mut World) {
        let path = Worker::shared_path(world);
        let data = self.data(world);
        let expected_version = self.version(world, &path);
        self.write(world, Operation::SetData { path, data, expected_version });
    }

    fn create(&mut self, world: &mut World) -> (ZnodePath, ZnodeData, CreateMode) {
        let data = self.data(world);
        let own = format!("{}-{}", self.client, self.names);
        let ttl_ms = 200 + world.choices.below(5_000);
        let (text, mode) = match world.choices.below(9) {
            0..=2 => return (Worker::shared_path(world), data, CreateMode::Persistent),
            3 => ("/q/n-".into(), CreateMode::PersistentSequential),
            4 => ("/q/e-".into(), CreateMode::EphemeralSequential),
            5 => (format!("/e/{own}"), CreateMode::Ephemeral),
            6 => (format!("/c/{own}"), CreateMode::Container),
            7 => (format!("/t/{own}"), CreateMode::Ttl(ttl_ms)),
            _ => (format!("/e/{}", world.choices.below(3)), CreateMode::Ephemeral),
        };
        (path(&text), data, mode)
    }

    fn ask_create(&mut self, world: &mut World) {
        let (path, data, mode) = self.create(world);
        self.write(world, Operation::Create { path, data, mode, acl: None });
    }

    fn ask_delete(&mut self, world: &mut World) {
        let known = self.seen.keys().filter(|path| path.segments().count() > 1).cloned();
        let known: Vec<ZnodePath> = known.collect();
        let path = if known.is_empty() || world.choices.one_in(3) {
            Worker::shared_path(world)
        } else {
            known[world.choices.below(known.len() as u64) as usize].clone()
        };
        let expected_version = self.version(world, &path);
        self.seen.remove(&path);
        self.write(world, Operation::Delete { path, expected_version });
    }

    fn ask_multi(&mut self, world: &mut World) {
        let count = 1 + world.choices.below(4);
        let operations = (0..count).map(|_| self.part_of_multi(world)).collect();
        self.write(world, Operation::Multi { operations });
    }

    fn part_of_multi(&mut self, world: &mut World) -> MultiOperation {
        match world.choices.below(5) {
            0 | 1 => {
                let (path, data, mode) = self.create(world);
                MultiOperation::Create { path, data, mode, acl: None }
            }
            2 => {
                let path = Worker::shared_path(world);
                let expected_version = self.version(world, &path);
                MultiOperation::Check { path, expected_version }
            }
            3 => {
                let path = Worker::shared_path(world);
                let expected_version = self.version(world, &path);
                MultiOperation::Delete { path, expected_version }
            }
            _ => {
                let path = Worker::shared_path(world);
                let data = self.data(world);
                let expected_version = self.version(world, &path);
                MultiOperation::SetData { path, data, expected_version }
            }
        }
    }

    fn ask_read(&mut self, world: &mut World) {
        let level = [ReadLevel::Linearizable, ReadLevel::Local][world.choices.below(2) as usize];
        let watch = world.choices.one_in(4);
        let operation = match world.choices.below(4) {
            0 | 1 => Operation::Get { path: Worker::shared_path(world), watch },
            2 => Operation::Exists { path: Worker::shared_path(world), watch },
            _ => {
                let folder = FOLDERS[world.choices.below(FOLDERS.len() as u64) as usize];
                Operation::Children { path: path(folder), after: None, limit: None, watch }
            }
        };
        self.request(world, operation, level);
    }

    fn ask_watch(&mut self, world: &mut World) {
        let at = match world.choices.below(3) {
            0 => path("/d"),
            1 => path("/e"),
            _ => Worker::shared_path(world),
        };
        if world.choices.one_in(4) {
            let operation = Operation::RemoveWatches { path: at, mode: None };
            self.request(world, operation, ReadLevel::Linearizable);
            return;
        }
        let mode = [
            WatchMode::OneShotData,
            WatchMode::OneShotChildren,
            WatchMode::Persistent,
            WatchMode::PersistentRecursive,
        ][world.choices.below(4) as usize];
        let values = world.choices.one_in(2);
        let operation = Operation::AddWatch { path: at, mode, since: None, values };
        self.request(world, operation, ReadLevel::Linearizable);
    }

    fn ask_lock(&mut self, world: &mut World) {
        let object = LOCK_OBJECTS[world.choices.below(3) as usize];
        let busy =
            self.locks.contains_key(object) || self.acquiring.values().any(|held| *held == object);
        if busy {
            if world.choices.one_in(4) {
                self.request(world, call(object, "holder", Bytes::new()), ReadLevel::Linearizable);
            }
            return;
        }
        let patience_ms = world.plan.session_timeout_ms.0;
        let wait_ms = match world.choices.below(4) {
            0 => Some(0),
            1 => Some(1 + world.choices.below(patience_ms)),
            _ => None,
        };
        let arguments = Acquire { wait_ms, note: format!("client {}", self.client) };
        let operation = call(object, "acquire", to_cbor(&arguments));
        let id = world.ask(self.client, operation, ReadLevel::Linearizable, None);
        self.acquiring.insert(id, object);
    }

    fn ask_harm(&mut self, world: &mut World) {
        if !world.plan.has(crate::fault::Fault::RecipeFault) {
            return;
        }
        let mount = [TRAPPING, LOOPING][world.choices.below(2) as usize];
        let operation = ["behave", "harm", "stay"][world.choices.below(3) as usize];
        let object = format!("{mount}/{}", world.choices.below(2));
        self.write(world, call(&object, operation, Bytes::new()));
    }

    fn ask_rarely(&mut self, world: &mut World) {
        match world.choices.below(6) {
            0 => drop(self.write(world, Operation::CloseSession)),
            1 | 2 => {
                // The caller of some acquire loses patience.
                if let Some(id) = self.acquiring.keys().next().copied() {
                    self.acquiring.remove(&id);
                    world.abandon(self.client, id);
                }
            }
            3 => {
                let path = Worker::shared_path(world);
                self.request(world, Operation::GetAcl { path }, ReadLevel::Linearizable);
            }
            4 => {
                let folder = path("/locks");
                let list =
                    Operation::Children { path: folder, after: None, limit: Some(2), watch: false };
                self.request(world, list, ReadLevel::Local);
            }
            _ => drop(self.request(world, Operation::ListMounts, ReadLevel::Linearizable)),
        }
    }
}

/// A call of a recipe.
#[must_use]
pub fn call(object: &str, operation: &str, arguments: Bytes) -> Operation {
    Operation::Call { object: path(object), operation: operation.into(), arguments }
}
