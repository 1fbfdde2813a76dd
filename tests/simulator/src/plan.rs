//! What a seed decides before anything runs: sizes, timings, faults.
//!
//! Comes in: a seed, and what the command line fixes. Goes out: a plan. Invariant: one seed and one
//! set of wishes give one plan; taking a fault or a client away leaves the rest of the plan as it is.

use crate::fault::{Fault, Strength};
use crate::trials::Trial;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use quorate_types::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the command line fixes.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub servers: Option<u64>,
    pub clients: Option<usize>,
    pub zookeeper_clients: Option<usize>,
    /// How long clients are at work, in milliseconds.
    pub busy_ms: Option<u64>,
    /// Faults that do not happen.
    pub without: BTreeSet<Fault>,
    /// Only these faults happen, if there are any.
    pub only: BTreeSet<Fault>,
    /// The run is about this recipe.
    pub trial: Option<&'static Trial>,
}

/// Timings of consensus, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    pub election_ms: (u64, u64),
    pub heartbeat_ms: u64,
}

/// Longest delays in milliseconds; each is drawn from 1 up.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub link_ms: u64,
    pub disk_ms: u64,
    pub background_ms: u64,
    pub client_ms: u64,
    /// A connection over which nothing passes is given up after this.
    pub idle_ms: u64,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub servers: u64,
    pub clients: usize,
    /// Clients of the ZooKeeper protocol besides.
    pub zookeeper_clients: usize,
    pub busy_ms: u64,
    /// Mean pause between two requests of a client.
    pub pause_ms: u64,
    pub session_timeout_ms: (u64, u64),
    pub timings: Timings,
    pub delays: Delays,
    pub limits: Limits,
    pub sector_bytes: usize,
    pub faults: BTreeMap<Fault, Strength>,
    /// The recipe that the run is about, and its mount's configuration.
    pub trial: Option<(&'static Trial, Bytes)>,
}

impl Plan {
    #[must_use]
    pub fn draw(seed: u64, wishes: &Wishes) -> Plan {
        let mut choices = Choices(seed ^ 0x009a_0a11);
        let servers = [3, 3, 5][choices.below(3) as usize];
        let clients = 2 + choices.below(5) as usize;
        let quick = choices.one_in(2);
        let timings = draw_timings(&mut choices, quick);
        let (busy_ms, pause_ms) = draw_work(&mut choices, quick);
        let session_ms = timings.election_ms.1 * [3, 5, 10][choices.below(3) as usize];
        let delays = draw_delays(&mut choices, timings);
        let limits = draw_limits(&mut choices);
        let sector_bytes = [512, 4_096][choices.below(2) as usize];
        let faults = draw_faults(&mut choices, busy_ms);
        let busy_ms = wishes.busy_ms.unwrap_or(busy_ms);
        let kept = |fault: &Fault| {
            !wishes.without.contains(fault)
                && (wishes.only.is_empty() || wishes.only.contains(fault))
        };
        let mut plan = Plan {
            seed,
            servers: wishes.servers.unwrap_or(servers),
            clients: wishes.clients.unwrap_or(clients),
            zookeeper_clients: wishes.zookeeper_clients.unwrap_or(draw_zookeeper_clients(seed)),
            busy_ms,
            pause_ms,
            session_timeout_ms: (session_ms, session_ms * 2),
            timings,
            delays,
            limits,
            sector_bytes,
            faults: faults.into_iter().filter(|(fault, _)| kept(fault)).collect(),
            trial: None,
        };
        if let Some(trial) = wishes.trial {
            plan.try_recipe(trial, &mut choices, wishes);
        }
        plan
    }

    /// A run about one recipe is short and quick, so that its calls meet; recipes get what they get
    /// in production, for which their documented limits are made.
    fn try_recipe(&mut self, trial: &'static Trial, choices: &mut Choices, wishes: &Wishes) {
        let (busy_ms, pause_ms) =
            [(2_500, 15), (6_000, 40), (12_000, 100), (100_000, 1_500)][choices.below(4) as usize];
        self.busy_ms = wishes.busy_ms.unwrap_or(busy_ms);
        self.pause_ms = pause_ms;
        let ordinary = Limits::PRODUCTION;
        self.limits = Limits {
            recipe_fuel_max: ordinary.recipe_fuel_max,
            recipe_memory_bytes_max: ordinary.recipe_memory_bytes_max,
            recipe_changes_max: ordinary.recipe_changes_max,
            recipe_written_bytes_max: ordinary.recipe_written_bytes_max,
            recipe_read_bytes_max: ordinary.recipe_read_bytes_max,
            recipe_reply_bytes_max: ordinary.recipe_reply_bytes_max,
            recipe_log_bytes_max: ordinary.recipe_log_bytes_max,
            recipe_tickets_max: ordinary.recipe_tickets_max,
            mount_faults_max: ordinary.mount_faults_max,
            session_outstanding_max: ordinary.session_outstanding_max,
            znode_data_bytes_max: ordinary.znode_data_bytes_max,
            ..self.limits
        };
        let config = (trial.config)(choices, self);
        self.zookeeper_clients = wishes.zookeeper_clients.unwrap_or(0);
        self.trial = Some((trial, config));
    }

    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains_key(&fault)
    }

    /// Chance of a fault in a thousand; 0 when it was not drawn.
    #[must_use]
    pub fn per_mille(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).map_or(0, |strength| strength.per_mille)
    }
}

/// Drawn apart from all else, so that a plan without them is what it is.
fn draw_zookeeper_clients(seed: u64) -> usize {
    Choices(seed ^ 0x2181_2281).below(4) as usize
}

fn draw_timings(choices: &mut Choices, quick: bool) -> Timings {
    if quick {
        return Timings { election_ms: (100, 200), heartbeat_ms: 20 };
    }
    // Production's, and those of a wide network.
    [
        Timings { election_ms: (300, 600), heartbeat_ms: 50 },
        Timings { election_ms: (1_000, 2_000), heartbeat_ms: 200 },
    ][choices.below(2) as usize]
}

/// A busy run is short; a long one lets sessions, timers and snapshots live through many faults.
fn draw_work(choices: &mut Choices, quick: bool) -> (u64, u64) {
    if quick {
        [(8_000, 20), (20_000, 60), (60_000, 250)][choices.below(3) as usize]
    } else {
        [(60_000, 150), (300_000, 900), (1_800_000, 8_000), (3_600_000, 20_000)]
            [choices.below(4) as usize]
    }
}

fn draw_delays(choices: &mut Choices, timings: Timings) -> Delays {
    let link_ms = [1, 3, timings.heartbeat_ms / 2][choices.below(3) as usize].max(1);
    Delays {
        link_ms,
        disk_ms: [1, 4, timings.heartbeat_ms / 2][choices.below(3) as usize].max(1),
        background_ms: [2, 30, 500][choices.below(3) as usize],
        client_ms: [1, 5, 40][choices.below(3) as usize],
        idle_ms: timings.election_ms.1 * [1, 3, 8][choices.below(3) as usize],
    }
}

/// Each limit as in production or as small as it gets.
fn draw_limits(choices: &mut Choices) -> Limits {
    let ordinary = Limits::PRODUCTION;
    let mut limits = Limits::TESTED;
    macro_rules! draw {
        ($($name:ident),*) => { $( if choices.one_in(2) { limits.$name = ordinary.$name; } )* };
    }
    draw!(
        session_outstanding_max,
        connection_watches_max,
        proposals_outstanding_max,
        children_reply_max,
        component_chunk_bytes_max,
        recipe_fuel_max,
        append_entries_max,
        append_bytes_max,
        appends_inflight_max,
        mount_faults_max
    );
    limits.component_bytes_max = ordinary.component_bytes_max;
    limits.components_max = ordinary.components_max;
    limits.members_max = ordinary.members_max;
    // Frames and transactions must fit the chunks of components.
    limits.client_frame_bytes_max = ordinary.client_frame_bytes_max;
    limits.peer_frame_bytes_max = ordinary.peer_frame_bytes_max;
    limits.transaction_bytes_max = ordinary.transaction_bytes_max;
    limits.snapshot_log_bytes = [2_000, 8_000, 64_000, 1 << 20][choices.below(4) as usize];
    limits.log_bytes_behind_snapshot = [0, 1_000, 16_000, 256_000][choices.below(4) as usize];
    limits.log_segment_bytes = [4_096, 16_384, 1 << 18][choices.below(3) as usize];
    limits.snapshot_chunk_bytes = [2_000, 16_384, 1 << 18][choices.below(3) as usize];
    limits
}

/// Some seeds have one fault, some a few, some all.
fn draw_faults(choices: &mut Choices, busy_ms: u64) -> BTreeMap<Fault, Strength> {
    let one_in = [1, 2, 2, 4, 12][choices.below(5) as usize];
    let mut faults = BTreeMap::new();
    for fault in Fault::ALL {
        let drawn = choices.one_in(one_in);
        let strength = Strength::draw(choices, busy_ms);
        if drawn {
            faults.insert(*fault, strength);
        }
    }
    faults
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timings { election_ms, heartbeat_ms } = self.timings;
        write!(
            f,
            "{}{} servers, {} clients, {} of ZooKeeper, busy {} s, a request each {} ms, election {}..{} ms, heartbeat \
             {heartbeat_ms} ms, faults:",
            self.trial.as_ref().map_or(String::new(), |(trial, _)| format!("{}: ", trial.name)),
            self.servers,
            self.clients,
            self.zookeeper_clients,
            self.busy_ms / 1_000,
            self.pause_ms,
            election_ms.0,
            election_ms.1,
        )?;
        for (fault, strength) in &self.faults {
            write!(f, " {fault}({strength})")?;
        }
        if self.faults.is_empty() {
            write!(f, " none")?;
        }
        Ok(())
    }
}
