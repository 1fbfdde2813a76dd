//! Makes trouble: each fault of the plan, at times that the seed decides, and its end.
//!
//! Comes in: the plan, the time. Goes out: what it does to the world. Invariant: at most a minority
//! of disks is damaged at a time, and a damaged server must have caught up before the next is
//! damaged: more than that no protocol survives. Everything else may happen at any moment.

use crate::churn::Churn;
use crate::fault::Fault;
use crate::work::{LOCKS, path};
use crate::world::{MessageFaults, World, ordered};
use bytes::Bytes;
use quorate_faulty_disk::{Choices, Crash, POWER_LOSSES};
use quorate_types::request::ReadLevel;
use quorate_types::{Operation, ServerId};
use std::collections::BTreeMap;

/// Something that ends by itself.
#[derive(Clone, Debug)]
enum Mending {
    Start(u64),
    HealLinks,
    HealClients,
    Cut { from: u64, to: u64, cut: bool },
    EndOverload,
    LosePower(u64),
}

/// Counts of occurrences, by fault.
pub type Occurrences = BTreeMap<Fault, u64>;

pub struct Trouble {
    choices: Choices,
    next_ms: BTreeMap<Fault, u64>,
    mendings: BTreeMap<(u64, u64), Mending>,
    order: u64,
    pub occurrences: Occurrences,
    /// How much more than usual clients ask for.
    pub haste: u64,
    pub churn: Churn,
}

impl Trouble {
    /// Lets the plan's faults begin.
    #[must_use]
    pub fn begin(world: &mut World) -> Trouble {
        let mut choices = Choices(world.plan.seed ^ 0x7e0b_1e00);
        let plan = &world.plan;
        world.message_faults = MessageFaults {
            loss: plan.per_mille(Fault::Loss),
            duplicate: plan.per_mille(Fault::Duplicate),
            reorder: plan.per_mille(Fault::Reorder),
            delay: plan.per_mille(Fault::Delay),
        };
        let continuous =
            [Fault::Loss, Fault::Duplicate, Fault::Reorder, Fault::Delay, Fault::RecipeFault];
        let now_ms = world.now_ms;
        let mut next_ms = BTreeMap::new();
        for (fault, strength) in &plan.faults {
            if !continuous.contains(fault) {
                next_ms.insert(*fault, now_ms + choices.below(strength.every_ms * 2));
            }
        }
        Trouble {
            choices,
            next_ms,
            mendings: BTreeMap::new(),
            order: 0,
            occurrences: BTreeMap::new(),
            haste: 1,
            churn: Churn::default(),
        }
    }

    /// The next time at which there is something to do.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        let next_ms = self.next_ms.values().copied().min().unwrap_or(u64::MAX);
        let mending_ms = self.mendings.first_key_value().map_or(u64::MAX, |((at_ms, _), _)| *at_ms);
        next_ms.min(mending_ms).min(self.churn.due_ms())
    }

    /// Does what is due.
    pub fn act(&mut self, world: &mut World) {
        let now_ms = world.now_ms;
        self.churn.tend(world, &mut self.choices);
        while let Some(entry) = self.mendings.first_entry() {
            if entry.key().0 > now_ms {
                break;
            }
            let mending = entry.remove();
            self.mend(world, mending);
        }
        let due: Vec<Fault> = self
            .next_ms
            .iter()
            .filter(|(_, at_ms)| **at_ms <= now_ms)
            .map(|(fault, _)| *fault)
            .collect();
        for fault in due {
            let every_ms = world.plan.faults[&fault].every_ms;
            self.next_ms.insert(fault, now_ms + 1 + self.choices.below(every_ms * 2));
            *self.occurrences.entry(fault).or_insert(0) += 1;
            self.strike(world, fault);
        }
    }

    /// Ends every fault: what was stopped starts, what was cut is whole.
    pub fn end(&mut self, world: &mut World) {
        self.next_ms.clear();
        world.message_faults = MessageFaults::default();
        world.is_troubled = false;
        while let Some((_, mending)) = self.mendings.pop_first() {
            self.mend(world, mending);
        }
        world.heal_links();
        world.heal_clients();
        self.haste = 1;
        let ids: Vec<u64> = world.servers.keys().copied().collect();
        let now_ms = world.now_ms;
        for id in ids {
            world.calm_disk(id);
            let server = world.servers.get_mut(&id).expect("the server is one of the cluster");
            server.clock.set_rate(now_ms, 1_000);
            if !server.is_up() {
                world.start(id);
            }
        }
    }

    fn later(&mut self, world: &World, after_ms: u64, mending: Mending) {
        self.order += 1;
        self.mendings.insert((world.now_ms + after_ms, self.order), mending);
    }

    fn mend(&mut self, world: &mut World, mending: Mending) {
        match mending {
            Mending::Start(id) => {
                if world.servers.contains_key(&id) && !world.is_up(id) {
                    world.start(id);
                }
            }
            Mending::HealLinks => world.heal_links(),
            Mending::HealClients => world.heal_clients(),
            Mending::Cut { from, to, cut } => world.cut(from, to, cut),
            Mending::EndOverload => self.haste = 1,
            Mending::LosePower(id) => self.lose_power(world, id),
        }
    }

    fn server(&mut self, world: &World) -> u64 {
        let ids: Vec<u64> = world.servers.keys().copied().collect();
        // The leader is worth more trouble than the others.
        match world.leader() {
            Some(leader) if self.choices.one_in(3) => leader,
            _ => ids[self.choices.below(ids.len() as u64) as usize],
        }
    }

    fn client(&mut self, world: &World) -> usize {
        let numbers = world.client_numbers();
        numbers[self.choices.below(numbers.len() as u64) as usize]
    }

    /// One through which operators ask for things.
    fn native_client(&mut self, world: &World) -> usize {
        self.choices.below(world.clients.len() as u64) as usize
    }

    /// Shorter or longer than what a cluster waits for.
    fn span_ms(&mut self, world: &World) -> u64 {
        let election_ms = world.plan.timings.election_ms.1;
        let longest_ms = match self.choices.below(4) {
            0 => election_ms / 4,
            1 => election_ms,
            2 => election_ms * 4,
            _ => world.plan.session_timeout_ms.1 * 3 / 2,
        };
        1 + self.choices.below(longest_ms)
    }

    fn strike(&mut self, world: &mut World, fault: Fault) {
        match fault {
            Fault::Crash => self.crash_one(world),
            Fault::CrashAll => self.crash_all(world),
            Fault::Restart => self.restart(world),
            Fault::Pause => self.pause(world),
            Fault::Partition => self.partition(world),
            Fault::Swizzle => self.swizzle(world),
            Fault::Flap => self.flap(world),
            Fault::Break => self.break_one(world),
            Fault::ClientPartition => self.part_clients(world),
            Fault::ClientBreak => self.break_client(world),
            Fault::ClientPause => self.pause_client(world),
            Fault::ClientDeath => self.kill_client(world),
            Fault::SlowDisk => self.slow_disk(world),
            Fault::DiskError => self.fail_disk(world),
            Fault::FullDisk => self.fill_disk(world),
            Fault::Rot => self.rot(world),
            Fault::LyingDisk => self.lie(world),
            Fault::ClockRate => self.bend_clock(world),
            Fault::ClockJump => self.jump_clock(world),
            Fault::Transfer => self.transfer(world),
            Fault::Upgrade => self.upgrade(world),
            Fault::Overload => self.overload(world),
            Fault::Membership => self.churn.strike(world, &mut self.choices),
            Fault::Replacement => self.replace(world),
            Fault::Loss | Fault::Duplicate | Fault::Reorder | Fault::Delay | Fault::RecipeFault => {
            }
        }
    }

    fn crash_kind(&mut self) -> Crash {
        let place = self.choices.below(POWER_LOSSES.len() as u64 + 2) as usize;
        POWER_LOSSES.get(place).copied().unwrap_or(Crash::Kill)
    }

    fn crash(&mut self, world: &mut World, id: u64) {
        if world.is_up(id) {
            let crash = self.crash_kind();
            world.crash(id, crash);
            let back_ms = self.span_ms(world);
            self.later(world, back_ms, Mending::Start(id));
        }
    }

    fn crash_one(&mut self, world: &mut World) {
        let id = self.server(world);
        self.crash(world, id);
    }

    fn crash_all(&mut self, world: &mut World) {
        let ids: Vec<u64> = world.servers.keys().copied().collect();
        for id in ids {
            self.crash(world, id);
        }
    }

    fn restart(&mut self, world: &mut World) {
        let id = self.server(world);
        if world.is_up(id) && !world.servers[&id].paused {
            world.shut_down(id);
            let back_ms = world.plan.timings.election_ms.1 * 2 + self.span_ms(world);
            self.later(world, back_ms, Mending::Start(id));
        }
    }

    fn pause(&mut self, world: &mut World) {
        let id = self.server(world);
        if world.is_up(id) && !world.servers[&id].paused {
            let ms = self.span_ms(world);
            world.pause(id, ms);
        }
    }

    fn partition(&mut self, world: &mut World) {
        let ids: Vec<u64> = world.servers.keys().copied().collect();
        let one = self.server(world);
        let two = self.server(world);
        match self.choices.below(7) {
            0 => part(world, &ids, |a, b| (a == one) != (b == one)),
            1 => {
                let group: Vec<u64> =
                    ids.iter().copied().filter(|_| self.choices.one_in(2)).collect();
                part(world, &ids, |a, b| group.contains(&a) != group.contains(&b));
            }
            // A bridge: two halves that meet in one server.
            2 => part(world, &ids, |a, b| a != one && b != one && (a < one) != (b < one)),
            // A ring: each reaches its neighbours.
            3 => {
                let count = ids.len() as u64;
                part(world, &ids, |a, b| {
                    let apart = a.abs_diff(b);
                    apart != 1 && apart != count - 1
                });
            }
            4 => part_one_way(world, &ids, |_, to| to == one),
            5 => part_one_way(world, &ids, |from, _| from == one),
            _ => part_one_way(world, &ids, |from, to| from == one && to == two),
        }
        let heal_ms = self.span_ms(world);
        self.later(world, heal_ms, Mending::HealLinks);
    }

    fn swizzle(&mut self, world: &mut World) {
        let ids: Vec<u64> = world.servers.keys().copied().collect();
        let mut links: Vec<(u64, u64)> = Vec::new();
        for a in &ids {
            links
                .extend(ids.iter().filter(|b| *b != a && self.choices.one_in(2)).map(|b| (*a, *b)));
        }
        let span_ms = self.span_ms(world);
        for (from, to) in links {
            let down_ms = self.choices.below(span_ms);
            let up_ms = span_ms + self.choices.below(span_ms);
            self.later(world, down_ms, Mending::Cut { from, to, cut: true });
            self.later(world, up_ms, Mending::Cut { from, to, cut: false });
        }
    }

    fn flap(&mut self, world: &mut World) {
        let (a, b) = (self.server(world), self.server(world));
        if a == b {
            return;
        }
        let mut at_ms = 0;
        for _ in 0..2 + self.choices.below(6) {
            for cut in [true, false] {
                self.later(world, at_ms, Mending::Cut { from: a, to: b, cut });
                self.later(world, at_ms, Mending::Cut { from: b, to: a, cut });
                at_ms += 1 + self.choices.below(world.plan.timings.election_ms.1);
            }
        }
    }

    fn break_one(&mut self, world: &mut World) {
        let (a, b) = (self.server(world), self.server(world));
        if a != b {
            world.break_link(ordered(a, b));
        }
    }

    fn part_clients(&mut self, world: &mut World) {
        let server = self.server(world);
        for client in world.client_numbers() {
            if self.choices.one_in(2) {
                world.cut_client(client, server, true);
            }
        }
        let heal_ms = self.span_ms(world);
        self.later(world, heal_ms, Mending::HealClients);
    }

    fn break_client(&mut self, world: &mut World) {
        let (client, never) = (self.client(world), self.choices.one_in(4));
        let after_ms = self.choices.below(world.plan.session_timeout_ms.0);
        world.break_client(client, (!never).then_some(after_ms));
    }

    fn pause_client(&mut self, world: &mut World) {
        let (client, for_ms) = (self.client(world), self.span_ms(world));
        world.silence_client(client, for_ms);
    }

    fn kill_client(&mut self, world: &mut World) {
        let (client, back_ms) = (self.client(world), self.span_ms(world));
        world.kill_client(client, back_ms);
    }

    fn slow_disk(&mut self, world: &mut World) {
        let (id, for_ms) = (self.server(world), self.span_ms(world));
        let slow_ms = world.plan.timings.election_ms.1 * [1, 4, 10][self.choices.below(3) as usize];
        let until_ms = world.now_ms + for_ms * 2;
        world.slow_disk(id, slow_ms / 4 + 20, until_ms);
    }

    fn fail_disk(&mut self, world: &mut World) {
        let id = self.server(world);
        if world.is_up(id) {
            world.plan_disk_error(id);
            let back_ms = self.span_ms(world) + world.plan.timings.election_ms.1;
            self.later(world, back_ms, Mending::Start(id));
        }
    }

    fn fill_disk(&mut self, world: &mut World) {
        let (id, for_ms) = (self.server(world), self.span_ms(world));
        world.fill_disk(id, for_ms);
        self.later(world, for_ms + 1, Mending::Start(id));
    }

    fn lose_power(&mut self, world: &mut World, id: u64) {
        if world.is_up(id) {
            let kind = POWER_LOSSES[self.choices.below(POWER_LOSSES.len() as u64) as usize];
            world.crash(id, kind);
            let back_ms = self.span_ms(world);
            self.later(world, back_ms, Mending::Start(id));
        }
    }

    /// Stops a server, damages its files, and lets it start later.
    fn rot(&mut self, world: &mut World) {
        let id = self.server(world);
        if !world.is_up(id) || !world.may_be_damaged(id) {
            return;
        }
        let crash = self.crash_kind();
        world.crash(id, crash);
        world.rot(id, &mut self.choices);
        let back_ms = self.span_ms(world);
        self.later(world, back_ms, Mending::Start(id));
    }

    fn lie(&mut self, world: &mut World) {
        let id = self.server(world);
        if world.is_up(id) && world.may_be_damaged(id) {
            world.plan_lies(id, 1 + self.choices.below(6));
            // Lies come out when the power fails.
            let after_ms = self.span_ms(world);
            self.later(world, after_ms, Mending::LosePower(id));
        }
    }

    fn bend_clock(&mut self, world: &mut World) {
        let id = self.server(world);
        let rate = 900 + self.choices.below(201);
        let now_ms = world.now_ms;
        world.servers.get_mut(&id).expect("it was drawn").clock.set_rate(now_ms, rate);
    }

    fn jump_clock(&mut self, world: &mut World) {
        let id = self.server(world);
        let longest_ms = [500, 10_000, 3_600_000][self.choices.below(3) as usize];
        let by_ms = self.choices.below(longest_ms);
        let ahead = self.choices.one_in(2);
        world.servers.get_mut(&id).expect("it was drawn").clock.jump_wall(ahead, by_ms);
    }

    fn transfer(&mut self, world: &mut World) {
        let (client, to) = (self.native_client(world), self.server(world));
        let to = self.choices.one_in(2).then_some(ServerId(to));
        let operation = Operation::TransferLeader { to };
        world.ask(client, operation, ReadLevel::Linearizable, Some(2_000));
    }

    /// The other edition of the recipe takes over.
    fn upgrade(&mut self, world: &mut World) {
        let client = self.native_client(world);
        let (mount, name, config) = match &world.plan.trial {
            Some((trial, config)) => (trial.mount(), trial.name, config.clone()),
            None => (path(LOCKS), "lock", Bytes::new()),
        };
        let editions = world.recipes.editions(name);
        let edition = if self.choices.below(2) == 0 { editions.0 } else { editions.1 };
        let digest = edition.digest;
        let operation = Operation::Mount { path: mount, digest, config, open: false, fuel: None };
        world.ask(client, operation, ReadLevel::Linearizable, None);
    }

    fn replace(&mut self, world: &mut World) {
        let id = self.server(world);
        if world.is_up(id) {
            self.churn.replace(world, id);
        }
    }

    /// What the operator began is brought to its end.
    pub fn tend_churn(&mut self, world: &mut World) {
        self.churn.tend(world, &mut self.choices);
    }

    fn overload(&mut self, world: &mut World) {
        self.haste = 10;
        let for_ms = self.span_ms(world);
        self.later(world, for_ms, Mending::EndOverload);
    }
}

/// Cuts the links between servers for which the rule holds, and makes the others whole.
fn part(world: &mut World, ids: &[u64], parted: impl Fn(u64, u64) -> bool) {
    for (place, a) in ids.iter().enumerate() {
        for b in &ids[place + 1..] {
            world.cut_both(*a, *b, parted(*a, *b));
        }
    }
}

fn part_one_way(world: &mut World, ids: &[u64], parted: impl Fn(u64, u64) -> bool) {
    for from in ids {
        for to in ids.iter().filter(|to| *to != from) {
            world.cut(*from, *to, parted(*from, *to));
        }
    }
}
