//! Clusters under work and every kind of trouble, drawn from seeds.
//!
//! `QUORATE_SEEDS=first..end` runs other seeds than those of every day. A failing seed is printed
//! with the failure; one seed gives the same run again.

use crate::churn::Churn;
use crate::workload::{Knowledge, Worker, check_end, limits, prepare};
use crate::world::{Delays, World};
use quorate_faulty_disk::{Choices, Crash, POWER_LOSSES};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const SEEDS: std::ops::Range<u64> = 1..101;

/// Counts what happened, to know that it did.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    runs: u64,
    answers: u64,
    refused: u64,
    unknown: u64,
    grants: u64,
    crashes: u64,
    partitions: u64,
    pauses: u64,
    breaks: u64,
    sessions_lost: u64,
    entries: u64,
    snapshots: u64,
    added: u64,
    promoted: u64,
    removed: u64,
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("QUORATE_SEEDS") else { return SEEDS };
    let bounds =
        text.split_once("..").and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    bounds.unwrap_or_else(|| panic!("QUORATE_SEEDS is first..end, not {text}"))
}

#[test]
fn whatever_happens_promises_are_kept() {
    let mut totals = Totals::default();
    for seed in seeds() {
        let run = catch_unwind(AssertUnwindSafe(|| run(seed, &mut totals)));
        if let Err(failure) = run {
            eprintln!("seed {seed} failed: QUORATE_SEEDS={seed}..{} repeats it", seed + 1);
            resume_unwind(failure);
        }
    }
    println!("{totals:?}");
}

struct Storm {
    world: World,
    workers: Vec<Worker>,
    knowledge: Knowledge,
    lost: Vec<u32>,
    /// When each stopped server starts again.
    down: Vec<(u64, u64)>,
    heal_at_ms: Option<u64>,
    churn: Option<Churn>,
}

fn run(seed: u64, totals: &mut Totals) {
    let mut choices = Choices(seed ^ 0x5eed);
    let servers = [3, 5][choices.below(2) as usize];
    let limits = limits(&mut choices);
    let mut world = World::with_limits(seed, servers, limits);
    world.delays = Delays {
        link: [1, 3, 15][choices.below(3) as usize],
        disk: [1, 4, 12][choices.below(3) as usize],
        snapshot: [2, 30][choices.below(2) as usize],
        client: 3,
        hiccups: choices.one_in(2),
    };
    let clients = 2 + choices.below(4) as usize;
    for _ in 0..clients {
        let timeout_ms = 500 + choices.below(1_000);
        world.add_client(None, timeout_ms);
    }
    let churn = choices.one_in(2).then(|| Churn::new(&mut world));
    prepare(&mut world, 0);
    let mut storm = Storm {
        workers: (0..clients).map(Worker::new).collect(),
        lost: vec![0; clients],
        knowledge: Knowledge::default(),
        down: Vec::new(),
        heal_at_ms: None,
        churn,
        world,
    };
    let until_ms = storm.world.now_ms + 4_000;
    let calm = [5, 20, 80, 200][choices.below(4) as usize];
    while storm.world.now_ms < until_ms {
        storm.step(true);
        if storm.world.choices.below(calm) == 0 {
            storm.trouble(totals);
        }
        storm.mend();
    }
    storm.finish();
    storm.count(totals);
}

impl Storm {
    fn step(&mut self, eager: bool) {
        let ms = 1 + self.world.choices.below(8);
        self.world.run_for(ms);
        if let Some(churn) = self.churn.as_mut().filter(|_| eager) {
            churn.work(&mut self.world);
        }
        for (worker, lost) in self.workers.iter_mut().zip(&mut self.lost) {
            let number = worker.number();
            let now_lost = self.world.clients[number].sessions_lost;
            if std::mem::replace(lost, now_lost) != now_lost {
                worker.on_session_lost(&mut self.knowledge);
            }
            let busy = eager && self.world.choices.one_in(3);
            if busy || !eager {
                worker.work(&mut self.world, &mut self.knowledge, eager);
            }
        }
    }

    fn some_server(&mut self) -> u64 {
        let count = self.world.servers.len() as u64;
        1 + self.world.choices.below(count)
    }

    fn trouble(&mut self, totals: &mut Totals) {
        let id = self.some_server();
        let now_ms = self.world.now_ms;
        match self.world.choices.below(9) {
            0..=2 => {
                if self.world.is_up(id) {
                    let all = self.world.choices.one_in(8);
                    let others = if all { self.world.servers.len() as u64 } else { 1 };
                    for other in 0..others {
                        let count = self.world.servers.len() as u64;
                        self.stop((id - 1 + other) % count + 1);
                        totals.crashes += 1;
                    }
                }
            }
            3 => {
                let count = self.world.servers.len();
                let size = 1 + self.world.choices.below(count as u64 - 1) as usize;
                let group: Vec<u64> = (0..size).map(|_| self.some_server()).collect();
                self.world.partition(&group);
                let for_ms = 50 + self.world.choices.below(1_500);
                self.heal_at_ms = Some(now_ms + for_ms);
                totals.partitions += 1;
            }
            4 | 5 => {
                let other = self.some_server();
                if id != other {
                    self.world.break_link(crate::world::ordered(id, other));
                    totals.breaks += 1;
                }
            }
            6 => {
                if self.world.is_up(id) && !self.world.servers[&id].paused {
                    let ms = 20 + self.world.choices.below(900);
                    self.world.pause(id, ms);
                    totals.pauses += 1;
                }
            }
            7 => {
                let number = self.world.choices.below(self.workers.len() as u64) as usize;
                let never = self.world.choices.one_in(4);
                let after_ms = self.world.choices.below(300);
                self.world.drop_client_connection(number, (!never).then_some(after_ms));
            }
            _ => {
                let number = self.world.choices.below(self.workers.len() as u64) as usize;
                let for_ms = self.world.choices.below(2_000);
                self.world.silence(number, for_ms);
            }
        }
    }

    fn stop(&mut self, id: u64) {
        if !self.world.is_up(id) {
            return;
        }
        let kinds = [Crash::Kill, Crash::Kill];
        let place = self.world.choices.below((POWER_LOSSES.len() + kinds.len()) as u64) as usize;
        let crash = POWER_LOSSES.iter().chain(&kinds).nth(place).expect("it is one of them");
        self.world.crash(id, *crash);
        let back_ms = self.world.now_ms + 5 + self.world.choices.below(900);
        self.down.push((id, back_ms));
    }

    fn mend(&mut self) {
        let now_ms = self.world.now_ms;
        if self.heal_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.heal_at_ms = None;
            self.world.heal();
        }
        let (due, waiting) = self.down.drain(..).partition(|(_, back_ms)| *back_ms <= now_ms);
        self.down = waiting;
        let due: Vec<(u64, u64)> = due;
        for (id, _) in due {
            if !self.world.dismissed.contains(&id) {
                self.world.start(id);
            }
        }
    }

    /// Ends all trouble; then everything must come to rest.
    fn finish(&mut self) {
        self.world.heal();
        for (_, back_ms) in &mut self.down {
            *back_ms = 0;
        }
        self.mend();
        let calm_ms = self.world.now_ms;
        while !self.is_at_rest() {
            assert!(self.world.now_ms < calm_ms + 20_000, "no rest: {}", self.unrest());
            self.step(false);
        }
        if let Some(churn) = &mut self.churn {
            churn.finish(&mut self.world);
        }
        self.world.await_level();
        let up = self.world.servers.keys().filter(|id| self.world.is_up(**id));
        let digests: Vec<u64> = up.map(|id| self.world.replica(*id).machine().digest()).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "digests {digests:x?}");
        let leader = self.world.await_leader();
        check_end(&self.world, &self.knowledge, &self.workers, leader);
        let alarms = &mut self.world.journal.alarms;
        alarms.retain(|(id, text)| !text.contains(&format!("server {id} was removed")));
        assert!(alarms.is_empty(), "{alarms:?}");
    }

    fn is_at_rest(&self) -> bool {
        let idle = self.workers.iter().all(|worker| worker.is_idle(&self.world));
        let settled = self.world.clients.iter().all(|client| client.is_established());
        let leaders =
            self.world.servers.keys().filter(|id| {
                self.world.is_up(**id) && self.world.replica(**id).is_serving_leader()
            });
        let unchanging = self.churn.as_ref().is_none_or(|churn| churn.is_idle(&self.world));
        idle && unchanging && settled && leaders.count() == 1
    }

    fn unrest(&self) -> String {
        let clients = self.world.clients.iter();
        let waiting: Vec<_> =
            clients.map(|client| (&client.name, client.link, &client.pending)).collect();
        let leader = self.world.leader();
        let owned: Vec<_> = leader.map_or(Vec::new(), |id| {
            let tree = self.world.tree(id).into_iter();
            tree.filter(|(path, _)| path.as_str().starts_with("/locks/")).collect()
        });
        let workers: Vec<_> = self.workers.iter().map(Worker::lock).collect();
        let up = self.world.servers.keys().filter(|id| self.world.is_up(**id));
        let servers: Vec<String> = up.map(|id| self.standing(*id)).collect();
        let servers = servers.join("\n");
        format!(
            "servers\n{servers}\nleader {leader:?}, clients {waiting:?}, workers {workers:?}, locks {owned:?}"
        )
    }

    fn standing(&self, id: u64) -> String {
        let replica = self.world.replica(id);
        let raft = replica.raft();
        let peers: Vec<u64> = self.world.servers[&id].peers.keys().map(|peer| peer.0).collect();
        format!(
            "{id}: {:?} in term {}, committed {} of {}, {:?}, knows {peers:?}, under way {:?}",
            raft.role(),
            raft.term(),
            raft.committed(),
            raft.last_index(),
            raft.membership(),
            replica.machine().membership_change()
        )
    }

    fn count(&self, totals: &mut Totals) {
        totals.runs += 1;
        totals.answers += self.knowledge.answers;
        totals.refused += self.knowledge.refused;
        totals.unknown += self.knowledge.unknown;
        totals.grants += self.knowledge.grants;
        totals.sessions_lost += self.lost.iter().map(|lost| u64::from(*lost)).sum::<u64>();
        totals.entries += self.world.journal.newest();
        totals.snapshots += self.world.snapshots_sent;
        if let Some(churn) = &self.churn {
            totals.added += churn.added;
            totals.promoted += churn.promoted;
            totals.removed += churn.removed;
        }
    }
}
