//! Who is known to have which partition, from when until when.
//!
//! Comes in: what members were told that they have, and when they gave it up. Goes out: the first
//! two things that do not fit together. Invariant: what a member has in one generation never
//! changes; a partition that it is known to have it has from its fence until it gives it up or goes.

use super::{Acknowledge, Assignment, Result};
use std::collections::{BTreeMap, BTreeSet};

/// What makes the partitions be dealt out anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Define,
    Join,
    /// Or its session ended.
    Leave,
    Acknowledge,
}

#[derive(Debug, Default)]
struct Member {
    /// What it had by generation, and until when it was surely so.
    known: BTreeMap<u64, (Assignment, u64)>,
    given_up: BTreeMap<String, BTreeSet<u64>>,
    gone: Option<u64>,
}

impl Member {
    /// When it gave up what it had at this time.
    fn until(&self, partition: &str, from: u64) -> Option<u64> {
        let given_up = self.given_up.get(partition);
        let next = given_up.and_then(|times| times.range(from + 1..).next().copied());
        next.or(self.gone)
    }
}

/// A partition in a member's hand.
#[derive(Clone, Copy, Debug)]
struct Tenure {
    member: u64,
    /// As far back as is known: the fence, or a generation in which it was being revoked.
    from: u64,
    fence: Option<u64>,
}

/// All that is known of one object's members, by the transactions in which they joined.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    members: BTreeMap<u64, Member>,
    events: BTreeMap<u64, Event>,
    tenures: BTreeMap<String, Vec<Tenure>>,
    /// Everything there was after an event.
    whole: BTreeMap<u64, (BTreeSet<String>, BTreeMap<u64, Assignment>)>,
}

impl Holdings {
    pub(super) fn happens(&mut self, zxid: u64, event: Event) {
        self.events.insert(zxid, event);
    }

    pub(super) fn comes(&mut self, member: u64) {
        self.members.insert(member, Member::default());
    }

    pub(super) fn goes(&mut self, member: u64, zxid: u64) {
        if let Some(member) = self.members.get_mut(&member) {
            member.gone = Some(zxid);
        }
    }

    pub(super) fn gives_up(&mut self, member: u64, partitions: &BTreeSet<String>, zxid: u64) {
        let Some(member) = self.members.get_mut(&member) else { return };
        for partition in partitions {
            member.given_up.entry(partition.clone()).or_default().insert(zxid);
        }
    }

    pub(super) fn known(&self, member: u64, generation: u64) -> Option<&Assignment> {
        self.members.get(&member)?.known.get(&generation).map(|(known, _)| known)
    }

    /// The member had the assignment of this generation at this time.
    pub(super) fn check_unchanged(&self, member: u64, generation: u64, at: u64) -> Result {
        let later = self.members.get(&member).and_then(|member| {
            member.known.range(generation + 1..).map(|(later, _)| *later).find(|it| *it <= at)
        });
        match later {
            None if self.events.contains_key(&generation) => Ok(()),
            other => Err(format!("{generation} is taken for the newest at {at}: {other:?}")),
        }
    }

    /// What a member acknowledges was to be given up, in the generation that it has.
    pub(super) fn check_given_up(&self, member: u64, given_up: &Acknowledge) -> Result {
        self.check_unchanged(member, given_up.generation, u64::MAX)?;
        match self.known(member, given_up.generation) {
            Some(known) if !given_up.partitions.is_subset(&known.revoking) => {
                Err(format!("{given_up:?} is taken, and it has {known:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The member had this at this time.
    pub(super) fn learn(&mut self, number: u64, told: &Assignment, at: u64) -> Result {
        let generation = told.generation;
        let events = &self.events;
        let is_event =
            |zxid: &u64| events.contains_key(zxid) && (number..=generation).contains(zxid);
        if !is_event(&generation) || !told.granted.values().all(is_event) || generation > at {
            return Err(format!("member {number} has at {at} what no change gave it: {told:?}"));
        }
        let Some(member) = self.members.get_mut(&number) else {
            return Err(format!("there never was a member {number}"));
        };
        if member.gone.is_some_and(|gone| gone <= at) {
            return Err(format!("member {number} has {told:?} at {at} and is gone"));
        }
        let mut others = member.known.iter().filter(|(other, _)| **other != generation);
        let is_wrong = |(other, (_, seen)): &(&u64, &(Assignment, u64))| {
            if **other < generation { generation <= *seen } else { **other <= at }
        };
        if let Some(other) = others.find(is_wrong) {
            return Err(format!("member {number} has {told:?} at {at}, it had {other:?}"));
        }
        let known = member.known.entry(generation).or_insert_with(|| (told.clone(), at));
        if known.0 != *told {
            return Err(format!("member {number} has {told:?} and {:?} at once", known.0));
        }
        known.1 = known.1.max(at);
        for (partition, fence) in &told.granted {
            if told.revoking.contains(partition) {
                return Err(format!("member {number} keeps and gives up {partition}: {told:?}"));
            }
            self.hold(partition, (number, *fence, Some(*fence)), at)?;
        }
        for partition in &told.revoking {
            self.hold(partition, (number, generation, None), at)?;
        }
        Ok(())
    }

    /// The partition is in this member's hand from one time to another.
    fn hold(
        &mut self,
        partition: &str,
        (member, from, fence): (u64, u64, Option<u64>),
        at: u64,
    ) -> Result {
        let members = &self.members;
        let until = |tenure: &Tenure| {
            let until = members.get(&tenure.member).map(|it| it.until(partition, tenure.from));
            until.flatten().unwrap_or(u64::MAX)
        };
        let held = Tenure { member, from, fence };
        if until(&held) <= at {
            let until = until(&held);
            return Err(format!("{partition}: {held:?} at {at}, it was given up at {until}"));
        }
        let tenures = self.tenures.entry(partition.into()).or_default();
        let overlaps = |other: &Tenure| other.from < until(&held) && from < until(other);
        let mut same = None;
        for (place, other) in tenures.iter().enumerate().filter(|(_, other)| overlaps(other)) {
            let fits = fence.is_none() || other.fence.is_none() || fence == other.fence;
            if other.member != member || !fits {
                return Err(format!(
                    "{partition} is in two hands: {other:?}, and {held:?} at {at}"
                ));
            }
            same = Some(place);
        }
        match same {
            Some(place) => {
                let known = &mut tenures[place];
                known.from = known.from.min(from);
                known.fence = known.fence.or(fence);
            }
            None => tenures.push(held),
        }
        Ok(())
    }

    /// Everything there was after the event: in one hand each, balanced, and not moved without need.
    pub(super) fn check_whole(
        &mut self,
        dealt: u64,
        partitions: &BTreeSet<String>,
        hands: BTreeMap<u64, Assignment>,
        free: &BTreeSet<String>,
    ) -> Result {
        let mut idle = partitions.clone();
        for partition in hands.values().flat_map(|hand| hand.granted.keys().chain(&hand.revoking)) {
            idle.remove(partition);
        }
        let granted = || hands.values().flat_map(|hand| hand.granted.keys());
        if idle != *free || !granted().all(|partition| partitions.contains(partition)) {
            return Err(format!("of {partitions:?} there are {hands:?}, and free {free:?}"));
        }
        let counts = || hands.values().map(|hand| hand.granted.len());
        let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        let settled = hands.values().all(|hand| hand.revoking.is_empty());
        if settled && !hands.is_empty() && (most - least > 1 || !free.is_empty()) {
            return Err(format!("not balanced: {hands:?}, and free are {free:?}"));
        }
        if let Some((_, known)) = self.whole.insert(dealt, (partitions.clone(), hands.clone()))
            && known != hands
        {
            return Err(format!("nothing happened since {dealt}, and {known:?} is {hands:?}"));
        }
        let before = self.events.range(..dealt).next_back().map(|(zxid, _)| *zxid);
        let after = self.events.range(dealt + 1..).next().map(|(zxid, _)| *zxid);
        self.check_moved(before, Some(dealt))?;
        self.check_moved(Some(dealt), after)
    }

    /// From one event to the next nothing moves that need not, if both are known.
    fn check_moved(&self, before: Option<u64>, after: Option<u64>) -> Result {
        let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
        let (Some((_, had)), Some((partitions, has))) =
            (self.whole.get(&before), self.whole.get(&after))
        else {
            return Ok(());
        };
        let event = self.events[&after];
        for (member, had) in had {
            let Some(has) = has.get(member) else { continue };
            let each = partitions.len() / self.whole[&after].1.len();
            let may_lose = matches!(event, Event::Join | Event::Define);
            for partition in had.granted.keys().filter(|it| !has.granted.contains_key(*it)) {
                let is_needed =
                    !partitions.contains(partition) || (may_lose && has.granted.len() >= each);
                if !has.revoking.contains(partition) || !is_needed {
                    return Err(format!("{event:?} takes {partition}: {had:?} becomes {has:?}"));
                }
            }
            let gained =
                |it: &&String| !had.granted.contains_key(*it) && !had.revoking.contains(*it);
            if let Some(partition) = has.granted.keys().find(gained)
                && event == Event::Join
            {
                return Err(format!("{event:?} gives {partition} to another: {had:?}, {has:?}"));
            }
        }
        Ok(())
    }
}
