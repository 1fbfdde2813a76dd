//! Members come and go: what an operator does to a running cluster, step by step.
//!
//! Comes in: what is wanted (another member, one less, a replacement for a lost disk). Goes out:
//! requests of some client, one at a time and again until they are answered; servers started and
//! taken away. Invariant: never fewer than three voters are wanted, an id is never used twice, and a
//! server is taken away only once its removal was acknowledged, or its disk is lost.

use crate::history::OperationId;
use crate::world::{World, address};
use quorate_faulty_disk::{Choices, Crash};
use quorate_types::request::{MembersWanted, ReadLevel, WantedMember};
use quorate_types::{Operation, ServerId};
use std::collections::VecDeque;

/// A server more than this is not started.
const SERVERS_MAX: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Add(u64),
    Promote(u64),
    Remove(u64),
}

#[derive(Default)]
pub struct Churn {
    steps: VecDeque<Step>,
    asked: Option<OperationId>,
    not_before_ms: u64,
    /// Steps acknowledged.
    pub done: u64,
}

impl Churn {
    /// Nothing is wanted any more.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.steps.is_empty()
    }

    /// When there may be something to do.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        if self.steps.is_empty() { u64::MAX } else { self.not_before_ms }
    }

    /// Wants another member, one less, or one in the place of another.
    pub fn strike(&mut self, world: &mut World, choices: &mut Choices) {
        if !self.is_at_rest() {
            return;
        }
        let ids: Vec<u64> = world.servers.keys().copied().collect();
        let old = ids[choices.below(ids.len() as u64) as usize];
        let kind = choices.below(3);
        if kind != 0 && ids.len() < SERVERS_MAX {
            let fresh = world.start_joining();
            self.steps.extend([Step::Add(fresh), Step::Promote(fresh)]);
        }
        if (kind == 0 && ids.len() > 3) || kind == 2 {
            self.steps.push_back(Step::Remove(old));
        }
    }

    /// A disk is lost for good; its server goes and another comes.
    pub fn replace(&mut self, world: &mut World, id: u64) {
        if !self.is_at_rest() || !world.may_be_damaged(id) {
            return;
        }
        world.crash(id, Crash::LoseUnsynced);
        world.take_away(id);
        world.lost_disks += 1;
        let fresh = world.start_joining();
        self.steps.extend([Step::Remove(id), Step::Add(fresh), Step::Promote(fresh)]);
    }

    /// Looks at what was answered and asks for what is next.
    pub fn tend(&mut self, world: &mut World, choices: &mut Choices) {
        if world.now_ms < self.not_before_ms {
            return;
        }
        let Some(step) = self.steps.front().copied() else { return };
        if let Some(id) = self.asked {
            let known = world.history.operation(id);
            let Some(ending) = &known.ended else {
                if known.abandoned {
                    self.asked = None;
                }
                return;
            };
            self.asked = None;
            if ending.result.is_ok() {
                self.finish(world, step);
                return;
            }
        }
        if let Step::Remove(id) = step
            && world.servers.contains_key(&id)
            && !world.others_are_whole(id)
        {
            // The one that goes may be what makes up for a damaged disk.
            return;
        }
        let pause_ms = world.plan.timings.election_ms.1;
        self.not_before_ms = world.now_ms + pause_ms / 2 + choices.below(pause_ms);
        let client = choices.below(world.clients.len() as u64) as usize;
        let patience_ms = Some(pause_ms * 8);
        let operation = match world.clients[client].process.is_administrator {
            true => reconfiguration(step),
            false => operation(step),
        };
        world.is_removing |= matches!(step, Step::Remove(_));
        self.asked = Some(world.ask(client, operation, ReadLevel::Linearizable, patience_ms));
    }

    fn finish(&mut self, world: &mut World, step: Step) {
        self.done += 1;
        world.is_removing = false;
        self.steps.pop_front();
        if self.steps.is_empty() {
            world.lost_disks = 0;
        }
        if let Step::Remove(id) = step
            && world.servers.contains_key(&id)
        {
            world.take_away(id);
        }
    }
}

/// The step in ZooKeeper's way. Who is to join is to vote at once: then nothing is left for the step
/// that would promote it.
fn reconfiguration(step: Step) -> Operation {
    let joins = |id| {
        let (server, address, voter) = (ServerId(id), address(id), true);
        MembersWanted::Changed {
            joining: vec![WantedMember { server, address, voter }],
            leaving: Vec::new(),
        }
    };
    let wanted = match step {
        Step::Add(id) | Step::Promote(id) => joins(id),
        Step::Remove(id) => {
            MembersWanted::Changed { joining: Vec::new(), leaving: vec![ServerId(id)] }
        }
    };
    Operation::Reconfigure { wanted, expected_version: None }
}

fn operation(step: Step) -> Operation {
    match step {
        Step::Add(id) => {
            let at = address(id);
            Operation::AddMember {
                server: ServerId(id),
                peer_address: at.peer,
                native_address: at.native,
                zookeeper_address: at.zookeeper,
            }
        }
        Step::Promote(id) => Operation::PromoteMember { server: ServerId(id) },
        Step::Remove(id) => Operation::RemoveMember { server: ServerId(id) },
    }
}
