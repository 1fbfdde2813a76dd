//! What clients of the ZooKeeper protocol do all day, on the znodes that native clients write too.
//!
//! Comes in: answers. Goes out: the next requests, several at a time without waiting for replies.
//! Judges nothing: that is the checkers' part.

use super::FIRST_ZOOKEEPER_CLIENT;
use crate::history::OperationId;
use crate::work::path;
use crate::world::World;
use quorate_types::acl::open_acl;
use quorate_types::request::{CreateMode, MultiOperation, WatchMode};
use quorate_types::{Operation, ZnodeData, ZnodePath};
use quorate_wire::zookeeper::Opcode;
use std::collections::BTreeMap;

/// Requests without a reply at most: more than a server takes at once when its limits are small.
const AWAITED_MAX: usize = 24;

/// One client's work.
pub struct ZooKeeperWorker {
    place: usize,
    next_at_ms: u64,
    /// Versions that this client has seen, to ask for ones that may be right.
    seen: BTreeMap<ZnodePath, i32>,
    names: u64,
    /// The last thing asked for when everything had healed.
    last: Option<OperationId>,
}

impl ZooKeeperWorker {
    #[must_use]
    pub fn new(place: usize) -> ZooKeeperWorker {
        ZooKeeperWorker { place, next_at_ms: 0, seen: BTreeMap::new(), names: 0, last: None }
    }

    /// Takes in what was answered, and asks for more if it is time. `eager`: new work is begun.
    pub fn work(&mut self, world: &mut World, eager: bool, haste: u64) {
        while let Some((id, version)) = world.zookeeper_clients[self.place].ended.pop_front() {
            self.take(world, id, version);
        }
        if world.now_ms < self.next_at_ms {
            return;
        }
        let pause_ms = world.plan.pause_ms * 2 / haste.max(1);
        self.next_at_ms = world.now_ms + 1 + world.choices.below(pause_ms * 2 + 1);
        if eager {
            for _ in 0..1 + world.choices.below(5) {
                self.ask(world);
            }
        }
    }

    #[must_use]
    pub fn due_ms(&self) -> u64 {
        self.next_at_ms
    }

    /// Whether the client was served once everything had healed; asks for that again when it was not
    /// answered.
    pub fn is_served_once_more(&mut self, world: &mut World) -> bool {
        self.work(world, false, 1);
        let awaited = &world.zookeeper_clients[self.place].awaited;
        match self.last {
            Some(last) if awaited.iter().any(|awaited| awaited.id == last) => false,
            Some(last) => {
                let ended = world.history.operation(last).ended.is_some();
                if !ended {
                    self.last = None;
                }
                ended
            }
            None => {
                let mode = CreateMode::PersistentSequential;
                self.last = self.create_at(world, path("/q/last-"), ZnodeData::NULL, mode);
                false
            }
        }
    }

    fn take(&mut self, world: &World, id: OperationId, version: Option<i32>) {
        let seen_path = match &world.history.operation(id).operation {
            Operation::SetData { path, .. }
            | Operation::Get { path, .. }
            | Operation::Exists { path, .. }
            | Operation::Create { path, .. } => path,
            _ => return,
        };
        if let Some(version) = version {
            self.seen.insert(seen_path.clone(), version);
        }
    }

    fn request(
        &self,
        world: &mut World,
        operation: Operation,
        opcode: Opcode,
    ) -> Option<OperationId> {
        world.ask_zookeeper(self.place, operation, opcode)
    }

    fn ask(&mut self, world: &mut World) {
        let client = &world.zookeeper_clients[self.place];
        if !client.is_attached || client.awaited.len() >= AWAITED_MAX {
            return;
        }
        match world.choices.below(40) {
            0..=7 => self.ask_set(world),
            8..=12 => self.ask_create(world),
            13..=15 => self.ask_delete(world),
            16..=18 => self.ask_multi(world),
            19..=32 => self.ask_read(world),
            33..=36 => self.ask_synced_read(world),
            37 | 38 => self.ask_watch(world),
            _ => self.ask_rarely(world),
        }
    }

    fn data(&mut self, world: &mut World) -> ZnodeData {
        self.names += 1;
        let padding = [0, 10, 150][world.choices.below(3) as usize];
        let client = FIRST_ZOOKEEPER_CLIENT + self.place;
        format!("{client}-{} {}", self.names, "z".repeat(padding)).into()
    }

    /// One of the few znodes that all clients write.
    fn shared_path(world: &mut World) -> ZnodePath {
        let folder = world.choices.below(4);
        match world.choices.below(4) {
            0 => path(&format!("/d/{folder}")),
            1 => path(&format!("/e/{}", world.choices.below(3))),
            _ => path(&format!("/d/{folder}/{}", world.choices.below(3))),
        }
    }

    fn version(&self, world: &mut World, path: &ZnodePath) -> Option<i32> {
        if !world.choices.one_in(2) {
            return Some(-1);
        }
        let seen = self.seen.get(path).copied().unwrap_or(0);
        Some(seen + i32::from(world.choices.one_in(8)))
    }

    fn ask_set(&mut self, world: &mut World) {
        let path = ZooKeeperWorker::shared_path(world);
        let data = self.data(world);
        let expected_version = self.version(world, &path);
        let set = Operation::SetData { path, data, expected_version };
        self.request(world, set, Opcode::SetData);
    }

    fn creation(&mut self, world: &mut World) -> (ZnodePath, ZnodeData, CreateMode) {
        let data = self.data(world);
        let own = format!("{}-{}", FIRST_ZOOKEEPER_CLIENT + self.place, self.names);
        let ttl_ms = 200 + world.choices.below(5_000);
        let (text, mode) = match world.choices.below(10) {
            0..=2 => return (ZooKeeperWorker::shared_path(world), data, CreateMode::Persistent),
            3 => ("/q/n-".into(), CreateMode::PersistentSequential),
            4 => ("/q/e-".into(), CreateMode::EphemeralSequential),
            5 => (format!("/e/{own}"), CreateMode::Ephemeral),
            6 => (format!("/c/{own}"), CreateMode::Container),
            7 => (format!("/t/{own}"), CreateMode::Ttl(ttl_ms)),
            _ => (format!("/e/{}", world.choices.below(3)), CreateMode::Ephemeral),
        };
        (path(&text), data, mode)
    }

    fn create_at(
        &mut self,
        world: &mut World,
        path: ZnodePath,
        data: ZnodeData,
        mode: CreateMode,
    ) -> Option<OperationId> {
        let opcode = match mode {
            CreateMode::Container => Opcode::CreateContainer,
            CreateMode::Ttl(_) => Opcode::CreateTtl,
            _ if world.choices.one_in(2) => Opcode::Create,
            _ => Opcode::Create2,
        };
        let create = Operation::Create { path, data, mode, acl: Some(open_acl()) };
        self.request(world, create, opcode)
    }

    fn ask_create(&mut self, world: &mut World) {
        let (path, data, mode) = self.creation(world);
        self.create_at(world, path, data, mode);
    }

    fn ask_delete(&mut self, world: &mut World) {
        let known: Vec<ZnodePath> = self.seen.keys().cloned().collect();
        let path = if known.is_empty() || world.choices.one_in(2) {
            ZooKeeperWorker::shared_path(world)
        } else {
            known[world.choices.below(known.len() as u64) as usize].clone()
        };
        let expected_version = self.version(world, &path);
        self.seen.remove(&path);
        // The folders of the shared ones are there as long as the run.
        if path.segments().count() > 2 || path.as_str().starts_with("/e/") {
            self.request(world, Operation::Delete { path, expected_version }, Opcode::Delete);
        }
    }

    fn ask_multi(&mut self, world: &mut World) {
        let count = 1 + world.choices.below(4);
        let operations = (0..count).map(|_| self.part_of_multi(world)).collect();
        self.request(world, Operation::Multi { operations }, Opcode::Multi);
    }

    fn part_of_multi(&mut self, world: &mut World) -> MultiOperation {
        if world.choices.one_in(3) {
            let (path, data, mode) = self.creation(world);
            return MultiOperation::Create { path, data, mode, acl: Some(open_acl()) };
        }
        let path = ZooKeeperWorker::shared_path(world);
        let expected_version = self.version(world, &path);
        match world.choices.below(4) {
            0 => MultiOperation::Check { path, expected_version },
            1 => MultiOperation::Delete { path, expected_version },
            _ => {
                let data = self.data(world);
                MultiOperation::SetData { path, data, expected_version }
            }
        }
    }

    fn ask_read(&mut self, world: &mut World) {
        let watch = world.choices.one_in(3);
        let at = ZooKeeperWorker::shared_path(world);
        let (operation, opcode) = match world.choices.below(5) {
            0 | 1 => (Operation::Get { path: at, watch }, Opcode::GetData),
            2 => (Operation::Exists { path: at, watch }, Opcode::Exists),
            _ => {
                let folder = ["/d", "/d/0", "/d/1", "/e", "/c", "/q"];
                let path = path(folder[world.choices.below(6) as usize]);
                let opcode = match world.choices.one_in(2) {
                    true => Opcode::GetChildren,
                    false => Opcode::GetChildren2,
                };
                (Operation::Children { path, after: None, limit: None, watch }, opcode)
            }
        };
        self.request(world, operation, opcode);
    }

    fn ask_synced_read(&mut self, world: &mut World) {
        self.request(world, Operation::Sync, Opcode::Sync);
        self.ask_read(world);
    }

    fn ask_watch(&mut self, world: &mut World) {
        let path = match world.choices.below(3) {
            0 => path("/d"),
            1 => path("/e"),
            _ => ZooKeeperWorker::shared_path(world),
        };
        let mode = match world.choices.one_in(2) {
            true => WatchMode::Persistent,
            false => WatchMode::PersistentRecursive,
        };
        let add = Operation::AddWatch { path, mode, since: None, values: false };
        self.request(world, add, Opcode::AddWatch);
    }

    fn ask_rarely(&mut self, world: &mut World) {
        match world.choices.below(4) {
            0 => self.request(world, Operation::CloseSession, Opcode::CloseSession),
            _ => self.request(world, Operation::Status, Opcode::WhoAmI),
        };
    }
}
