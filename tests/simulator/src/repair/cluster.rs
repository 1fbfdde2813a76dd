//! A cluster of three whose servers are damaged in turn while its clients go on writing.
//!
//! Comes in: damages. Goes out: what came of each, or what promise was broken. Invariant: the next
//! server is damaged only when all are level and durable; one write is asked for at a time, so what
//! was acknowledged is known exactly.

use super::{Damage, Verdict};
use crate::check::Checks;
use crate::executor::Recipes;
use crate::history::OperationId;
use crate::observation::{Observation, SimulatedReplica};
use crate::plan::{Delays, Plan, Timings, Wishes};
use crate::run::{is_led, is_level};
use crate::work::path;
use crate::world::World;
use crate::world::tree::read_tree;
use quorate_faulty_disk::{Choices, Crash, FaultyDisk};
use quorate_storage::{Log, LogSettings, Recovered, RecoveryError};
use quorate_types::request::{CreateMode, ReadLevel};
use quorate_types::{ErrorCode, Operation, ZnodeData, ZnodePath};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Virtual time in which anything asked for must have happened.
const PATIENCE_MS: u64 = 30_000;
/// Znodes that are written to again and again.
const ZNODES: u64 = 24;
const FIRST_WRITES: u64 = 120;

/// What came of one damage.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub hidden: Hidden,
}

/// What a log has lost without anybody being able to notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hidden {
    pub entries: u64,
    pub frames: u64,
    /// Whether the term or the vote is an older one.
    pub vote: bool,
}

impl Hidden {
    fn between(honest: &Recovered, found: &Recovered) -> Hidden {
        // The number of the newest frame that each would continue with.
        let newest = |read: &Recovered| read.log.newest_sequence();
        Hidden {
            entries: last(honest).0.saturating_sub(last(found).0),
            frames: newest(honest).saturating_sub(newest(found)),
            vote: found.hard_state != honest.hard_state,
        }
    }
}

pub struct DamagedCluster {
    world: World,
    choices: Choices,
    /// What the damaged server's disk held before.
    honest: FaultyDisk,
    /// What is left reads as the log of a time when the server was refetching: nobody can notice, and
    /// it refetches.
    is_earlier: bool,
    /// What was acknowledged.
    written: BTreeMap<ZnodePath, ZnodeData>,
    writes: u64,
}

impl DamagedCluster {
    /// A cluster at rest, whose servers hold several segments, a snapshot, a manifest and an identity.
    pub fn prepare(seed: u64, recipes: Arc<Recipes>) -> Result<DamagedCluster, String> {
        let plan = plan(seed);
        let honest = FaultyDisk::default().with_sector_bytes(plan.sector_bytes);
        let mut world = World::new(plan, recipes, Checks::all());
        world.is_troubled = false;
        for _ in 0..world.plan.clients {
            world.add_client(world.plan.session_timeout_ms.1);
        }
        let mut cluster = DamagedCluster {
            world,
            choices: Choices(seed ^ 0x00da_3a9e),
            honest,
            is_earlier: false,
            written: BTreeMap::new(),
            writes: 0,
        };
        while cluster.writes < FIRST_WRITES || !cluster.is_furnished() {
            if cluster.writes > FIRST_WRITES * 4 {
                return Err(cluster.stuck("no snapshot and no second segment come about"));
            }
            let (id, at, data) = cluster.ask_write();
            cluster.await_write(id, at, data)?;
        }
        cluster.await_rest()?;
        Ok(cluster)
    }

    fn is_furnished(&self) -> bool {
        self.world.servers.values().all(|server| {
            let files = server.disk.files();
            let count = |prefix: &str| files.keys().filter(|name| name.starts_with(prefix)).count();
            count("segment-") > 1 && count("snapshot-") > 0
        })
    }

    pub fn now_ms(&self) -> u64 {
        self.world.now_ms
    }

    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Stops the server whose turn it is and damages its files.
    pub fn damage_next(&mut self, number: u64) -> Result<(u64, Damage), String> {
        let id = 1 + number % self.world.plan.servers;
        if !self.world.may_be_damaged(id) {
            return Err(self.stuck("the disks are not whole"));
        }
        self.world.crash(id, Crash::Kill);
        self.world.show(&Observation::DiskDamaged { server: id });
        let disk = &mut self.world.servers.get_mut(&id).expect("it was just stopped").disk;
        // An operator takes the logs away that earlier repairs have kept for him.
        let kept: Vec<String> =
            disk.files().into_keys().filter(|name| name.starts_with("damaged-")).collect();
        kept.iter().for_each(|name| disk.lose_file(name));
        self.honest = disk.clone();
        let damage = Damage::inflict(disk, &mut self.choices);
        Ok((id, damage))
    }

    /// Starts the damaged server and sees that it becomes as the others are.
    pub fn judge_and_start(&mut self, id: u64, damage: &Damage) -> Result<Outcome, String> {
        let outcome = self.judge(id)?;
        let is_first = self.choices.one_in(2);
        let asked = self.ask_write();
        if is_first {
            // By the two others alone.
            self.await_write(asked.0, asked.1.clone(), asked.2.clone())?;
        }
        let outcome = self.start(id, outcome, damage)?;
        if !is_first {
            self.await_write(asked.0, asked.1, asked.2)?;
        }
        self.await_rest()?;
        self.compare()?;
        Ok(outcome)
    }

    /// What the log says of itself: a refusal and a loss beyond notice are undone.
    fn judge(&mut self, id: u64) -> Result<Option<Outcome>, String> {
        self.is_earlier = false;
        let settings = LogSettings { segment_bytes: self.world.plan.limits.log_segment_bytes };
        let server = self.world.servers.get_mut(&id).expect("it was just stopped");
        let honest = Log::recover(settings, &self.honest.files())
            .map_err(|error| format!("undamaged files are refused: {error}"))?;
        let (verdict, hidden) = match Log::recover(settings, &server.disk.files()) {
            Err(RecoveryError::NotCreated) => {
                return Err(String::from("the server takes itself for one that never was"));
            }
            Err(error) => {
                let text = error.to_string();
                let files = self.honest.files();
                let names_file = files.keys().any(|name| text.contains(&format!("`{name}`")));
                let refused =
                    if names_file { Verdict::Refused } else { Verdict::RefusedWithoutFile };
                (refused, Hidden::default())
            }
            Ok(found) if !found.refetching && is_less(&honest, &found)? => {
                (Verdict::BeyondNotice, Hidden::between(&honest, &found))
            }
            Ok(found) => {
                self.is_earlier = found.damage.is_none() && is_less(&honest, &found)?;
                return Ok(None);
            }
        };
        server.disk = self.honest.clone();
        Ok(Some(Outcome { verdict, hidden }))
    }

    fn start(
        &mut self,
        id: u64,
        known: Option<Outcome>,
        damage: &Damage,
    ) -> Result<Outcome, String> {
        let alarms = self.world.alarms.len();
        self.world.start(id);
        self.broken()?;
        let refetches = self.world.replica(id).raft().is_refetching();
        self.world.servers.get_mut(&id).expect("it was just started").damaged = true;
        let is_told = self.world.alarms[alarms..].iter().any(|(server, ..)| *server == id);
        let verdict = match known {
            Some(outcome) if refetches || is_told => {
                return Err(format!("after {outcome:?} the restored server finds damage"));
            }
            Some(outcome) => return Ok(outcome),
            None if refetches && !is_told && !self.is_earlier => {
                return Err(format!("the server has lost something by {damage} and tells nobody"));
            }
            None if refetches => Verdict::Refetched,
            None if is_told => Verdict::Repaired,
            None => Verdict::Harmless,
        };
        Ok(Outcome { verdict, hidden: Hidden::default() })
    }

    /// Every server has everything, durably.
    fn await_rest(&mut self) -> Result<(), String> {
        let until_ms = self.world.now_ms + PATIENCE_MS;
        let rests = |world: &World| is_led(world) && is_level(world);
        while !(rests(&self.world) && self.is_whole()) {
            if self.world.now_ms >= until_ms {
                return Err(self.stuck("the servers do not become level"));
            }
            let now_ms = self.world.now_ms;
            self.world.run_until_ms(now_ms + 2);
            self.broken()?;
        }
        Ok(())
    }

    fn is_whole(&mut self) -> bool {
        (1..=self.world.plan.servers).all(|id| self.world.may_be_damaged(id))
    }

    /// Digests, trees, and in them all that was acknowledged.
    fn compare(&self) -> Result<(), String> {
        let replicas: Vec<&SimulatedReplica> =
            self.world.servers.values().filter_map(|server| server.replica.as_ref()).collect();
        let first = read_tree(replicas[0]);
        for (at, data) in &self.written {
            let found = first.get(at).map(|(found, _)| found);
            if found != Some(data) {
                return Err(format!("{at} was acknowledged as {data:?} and is {found:?}"));
            }
        }
        for other in &replicas[1..] {
            if other.machine().digest() != replicas[0].machine().digest() {
                return Err(self.stuck("the servers' digests differ"));
            }
            if read_tree(other) != first {
                return Err(self.stuck("the servers' trees differ"));
            }
        }
        Ok(())
    }

    /// Every checker sees the end.
    pub fn finish(&mut self) -> Result<(), String> {
        self.world.show_rest();
        match &self.world.violation {
            None => Ok(()),
            Some(violation) => Err(format!("{}: {}", violation.checker, violation.text)),
        }
    }

    // Writes.

    fn ask_write(&mut self) -> (OperationId, ZnodePath, ZnodeData) {
        self.writes += 1;
        let at = path(&format!("/n{}", self.choices.below(ZNODES)));
        let length = 40 + self.choices.below(260) as usize;
        let data = ZnodeData::from(format!("{}-{}", self.writes, "x".repeat(length)));
        (self.ask(&at, &data), at, data)
    }

    fn ask(&mut self, at: &ZnodePath, data: &ZnodeData) -> OperationId {
        let (path, data) = (at.clone(), data.clone());
        let operation = if self.written.contains_key(at) {
            Operation::SetData { path, data, expected_version: None }
        } else {
            Operation::Create { path, data, mode: CreateMode::Persistent, acl: None }
        };
        let client = self.choices.below(self.world.clients.len() as u64) as usize;
        self.world.ask(client, operation, ReadLevel::Linearizable, None)
    }

    /// Waits until the write is acknowledged; a lost session does not excuse from it.
    fn await_write(
        &mut self,
        mut id: OperationId,
        at: ZnodePath,
        data: ZnodeData,
    ) -> Result<(), String> {
        loop {
            let waits = |world: &World| world.history.operation(id).ended.is_none();
            let done = self.world.run_while(PATIENCE_MS, waits);
            self.broken()?;
            if !done {
                return Err(self.stuck("a write is not served"));
            }
            self.world.clients.iter_mut().for_each(|client| client.ended.clear());
            let ending = self.world.history.operation(id).ended.as_ref().expect("it has ended");
            match ending.outcome() {
                Some(Ok(_)) => break,
                Some(Err(refusal)) if refusal.code == ErrorCode::NodeExists => {
                    self.written.insert(at.clone(), ZnodeData::EMPTY);
                }
                Some(Err(refusal)) => return Err(format!("a write to {at} is refused: {refusal}")),
                None => {}
            }
            id = self.ask(&at, &data);
        }
        self.written.insert(at, data);
        Ok(())
    }

    fn broken(&self) -> Result<(), String> {
        match &self.world.violation {
            None => Ok(()),
            Some(violation) => Err(format!("{}: {}", violation.checker, violation.text)),
        }
    }

    fn stuck(&self, what: &str) -> String {
        let mut text = format!("{what} at {} ms;", self.world.now_ms);
        for server in self.world.servers.values() {
            text += &match &server.replica {
                None => format!(" server {} is down;", server.id),
                Some(replica) => format!(
                    " server {}: {:?} in term {}, log to {}, applied {}, digest {:016x}{};",
                    server.id,
                    replica.raft().role(),
                    replica.raft().term(),
                    replica.raft().last_index(),
                    replica.applied(),
                    replica.machine().digest(),
                    if replica.raft().is_refetching() { ", refetching" } else { "" },
                ),
            };
        }
        text
    }
}

fn last(read: &Recovered) -> (u64, u64) {
    read.entries
        .last()
        .map_or((read.snapshot.index.0, read.snapshot.term.0), |last| (last.index.0, last.term.0))
}

/// Whether durable steps at the end are missing and nobody was told. Anything but an earlier state of
/// the same log is an error.
fn is_less(honest: &Recovered, found: &Recovered) -> Result<bool, String> {
    let honest_entries: BTreeMap<_, _> =
        honest.entries.iter().map(|entry| (entry.index, entry)).collect();
    let is_other = |entry: &&quorate_raft::Entry| {
        honest_entries.get(&entry.index).is_some_and(|known| *known != *entry)
    };
    if let Some(entry) = found.entries.iter().find(is_other) {
        return Err(format!("another entry is read at {}", entry.index));
    }
    let is_newer = last(found) > last(honest)
        || found.hard_state.term > honest.hard_state.term
        || found.snapshot.index > honest.snapshot.index;
    if is_newer {
        return Err(format!("the log reads as newer than it is: {:?}", found.hard_state));
    }
    Ok(last(found) != last(honest)
        || found.snapshot.index != honest.snapshot.index
        || found.hard_state != honest.hard_state)
}

/// Small segments and snapshots, quick elections, no faults.
fn plan(seed: u64) -> Plan {
    let mut choices = Choices(seed ^ 0x05ca_1e00);
    let wishes = Wishes {
        servers: Some(3),
        clients: Some(2),
        zookeeper_clients: Some(0),
        ..Wishes::default()
    };
    let mut plan = Plan::draw(seed, &wishes);
    plan.faults.clear();
    plan.timings = Timings { election_ms: (100, 200), heartbeat_ms: 20 };
    plan.delays = Delays { link_ms: 1, disk_ms: 1, background_ms: 2, client_ms: 1, idle_ms: 1_600 };
    plan.session_timeout_ms = (2_000, 4_000);
    plan.limits.log_segment_bytes = [4_096, 8_192][choices.below(2) as usize];
    plan.limits.snapshot_log_bytes = [2_000, 6_000][choices.below(2) as usize];
    plan.limits.log_bytes_behind_snapshot = [6_000, 10_000][choices.below(2) as usize];
    plan.limits.snapshot_chunk_bytes = [2_000, 1 << 18][choices.below(2) as usize];
    plan
}
