//! A service as its callers know it.
//!
//! Comes in: commands with their replies, pushes, lists. Goes out: the first contradiction. Invariant:
//! what was registered and not taken out is listed; whether its time has run out is up to the facts.

use super::super::waits::Waits;
use super::super::{Answered, LoggedCall, RecipeEntry, Result, Timeline, Told};
use super::facts::{Facts, Listed, Times};
use super::words::{
    AwaitChange, Change, Config, Deregister, Filter, Instance, Instances, Register, Renew,
};
use quorate_types::{SessionId, Zxid};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Instances by id.
type List = BTreeMap<String, Listed>;

/// What a command did to the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Changed,
    Unchanged,
    /// It was renewed about when its time ran out.
    Unclear,
}

#[derive(Debug, Default)]
pub(super) struct Service {
    list: Rc<List>,
    /// The list, and how many wait, as of every transaction.
    shown: Timeline<(Rc<List>, u64)>,
    /// Callers, with the revision that they have.
    pub(super) waits: Waits<u64>,
    facts: Facts,
    /// Revisions other than 0 that were told, by the transaction that they were told of.
    revisions: BTreeMap<Zxid, u64>,
    /// Transactions that surely changed the list.
    changed: BTreeSet<Zxid>,
    /// Whole lists that were told, by revision.
    told: BTreeMap<u64, Vec<Instance>>,
}

impl Service {
    pub(super) fn note(&mut self, zxid: Zxid) {
        self.shown.note(zxid, (Rc::clone(&self.list), self.waits.len()));
    }

    fn list_at(&self, zxid: Zxid) -> Rc<List> {
        self.shown.at(zxid).map(|(list, _)| Rc::clone(list)).unwrap_or_default()
    }

    /// Who came with these sessions, without a time to live, goes with them.
    pub(super) fn end_sessions(&mut self, ended: &[SessionId]) -> Effect {
        let goes = |listed: &Listed| listed.instance.session.is_some_and(|by| ended.contains(&by));
        if !self.list.values().any(goes) {
            return Effect::Unchanged;
        }
        Rc::make_mut(&mut self.list).retain(|_, listed| !goes(listed));
        Effect::Changed
    }

    pub(super) fn called(
        &mut self,
        (config, times): (&Config, &Times),
        entry: &RecipeEntry<'_>,
        call: &LoggedCall<'_>,
        identity: String,
    ) -> Result<Effect> {
        match call.operation {
            "register" => self.register((config, times), entry, call, identity),
            "renew" => self.renew(times, entry, call),
            "deregister" => {
                let Deregister { id, registration } = call.arguments()?;
                self.registered(times, entry.zxid, &id, registration)?;
                Rc::make_mut(&mut self.list).remove(&id);
                Ok(Effect::Changed)
            }
            "await-change" => {
                let AwaitChange { after, wait_ms } = call.arguments()?;
                let told = call.reply::<Change>()?.map(|change| change.revision);
                if told == Some(after) {
                    return Err(format!("told is {after}, which the caller has"));
                }
                let list = Rc::clone(&self.list);
                self.saw_revision(times, &list, entry.zxid, told.unwrap_or(after))?;
                if told.is_none() {
                    let wait = (wait_ms, config.watchers_max);
                    self.waits.begin(entry.time_ms, call, wait, after)?;
                }
                Ok(Effect::Unchanged)
            }
            other => Err(format!("the registry has no command {other}")),
        }
    }

    /// The instance of this registration, which was there before this transaction.
    fn registered(
        &mut self,
        times: &Times,
        zxid: Zxid,
        id: &str,
        registration: u64,
    ) -> Result<Listed> {
        let listed = self.list.get(id);
        let Some(listed) = listed.filter(|known| known.instance.registration == registration)
        else {
            return Err(format!("{registration} of {id} is not there, but {listed:?}"));
        };
        let listed = listed.clone();
        self.facts.saw_there(times, &listed, Zxid(zxid.0 - 1))?;
        Ok(listed)
    }

    fn register(
        &mut self,
        (config, times): (&Config, &Times),
        entry: &RecipeEntry<'_>,
        call: &LoggedCall<'_>,
        identity: String,
    ) -> Result<Effect> {
        let (zxid, time_ms) = (entry.zxid, entry.time_ms);
        let wanted: Register = call.arguments()?;
        let before = Zxid(zxid.0 - 1);
        if call.reply()? != Some(zxid.0) || !wanted.wrongs(config).is_empty() {
            return Err(format!("{wanted:?} is registered as {:?}", call.reply));
        }
        if let Some(other) = self.list.get(&wanted.id)
            && other.instance.identity != identity
        {
            self.facts.saw_gone(times, other, before)?;
        }
        let others = self.list.values().filter(|listed| {
            listed.instance.id != wanted.id && !self.facts.may_be_gone(times, listed, before)
        });
        let others = others.count();
        if others >= config.instances_max {
            return Err(format!("one more is registered beside {others}"));
        }
        let session = wanted.ttl_ms.is_none().then_some(call.name.0);
        let instance = Instance {
            id: wanted.id,
            address: wanted.address,
            port: wanted.port,
            tags: wanted.tags,
            metadata: wanted.metadata,
            healthy: true,
            registration: zxid.0,
            identity,
            session,
            ttl_ms: wanted.ttl_ms,
            remove_after_ms: wanted.remove_after_ms.unwrap_or(config.remove_after_ms),
            since_ms: time_ms,
        };
        let ends_ms = wanted.ttl_ms.map(|ttl_ms| time_ms.saturating_add(ttl_ms));
        let listed = Listed { instance, renewed: zxid, ends_ms };
        Rc::make_mut(&mut self.list).insert(listed.instance.id.clone(), listed);
        Ok(Effect::Changed)
    }

    fn renew(
        &mut self,
        times: &Times,
        entry: &RecipeEntry<'_>,
        call: &LoggedCall<'_>,
    ) -> Result<Effect> {
        let Renew { id, registration, healthy } = call.arguments()?;
        let mut listed = self.registered(times, entry.zxid, &id, registration)?;
        let before = self.facts.health_before(times, &listed, entry.zxid);
        let ttl_ms = listed.instance.ttl_ms;
        listed.ends_ms = ttl_ms.map(|ttl_ms| entry.time_ms.saturating_add(ttl_ms));
        let told: Option<Option<u64>> = call.reply()?;
        if told.flatten() != listed.ends_ms {
            return Err(format!("to be renewed by {told:?} is {listed:?}"));
        }
        listed.renewed = entry.zxid;
        listed.instance.healthy = healthy;
        Rc::make_mut(&mut self.list).insert(id, listed);
        Ok(match before {
            None => Effect::Unclear,
            Some(before) if before == healthy => Effect::Unchanged,
            Some(_) => Effect::Changed,
        })
    }

    /// Everybody who waits is told of a change, once and in the transaction that made it, and nobody
    /// of anything else.
    pub(super) fn check_answers(
        &mut self,
        times: &Times,
        zxid: Zxid,
        effect: Effect,
        answers: &[&Answered],
    ) -> Result {
        if effect == Effect::Changed {
            self.changed.insert(zxid);
        }
        let is_all = answers.len() as u64 == self.waits.len();
        let is_right = match effect {
            Effect::Changed => is_all,
            Effect::Unchanged => answers.is_empty(),
            Effect::Unclear => is_all || answers.is_empty(),
        };
        if !is_right {
            return Err(format!("{effect:?}: told are {answers:?}, there wait {:?}", self.waits));
        }
        let list = Rc::clone(&self.list);
        for answered in answers {
            let after = self.waits.end(answered.ticket)?;
            let Some(Change { revision }) = answered.reply()? else { continue };
            if revision == after {
                return Err(format!("{answered:?} is told what it has"));
            }
            self.saw_revision(times, &list, zxid, revision)?;
        }
        Ok(())
    }

    /// What a transaction without a call does: only time can have run out.
    pub(super) fn effect_of_time(&self, times: &Times, zxid: Zxid) -> Effect {
        let is_over = self.list.values().any(|listed| listed.is_over(times, zxid));
        if is_over { Effect::Unclear } else { Effect::Unchanged }
    }

    /// This list, after this transaction, has this revision; 0: there is nobody.
    fn saw_revision(&mut self, times: &Times, list: &List, at: Zxid, revision: u64) -> Result {
        if revision == 0 {
            return list.values().try_for_each(|listed| self.facts.saw_gone(times, listed, at));
        }
        if list.values().all(|listed| self.facts.is_gone(times, listed, at)) {
            return Err(format!("nobody is there at {at}, and the revision is {revision}"));
        }
        let before = self.revisions.range(..=at).next_back();
        let after = self.revisions.range(at..).next();
        let neighbours = [
            before.map(|(known, told)| ((*known, *told), (at, revision))),
            after.map(|(known, told)| ((at, revision), (*known, *told))),
        ];
        for ((first, low), (second, high)) in neighbours.into_iter().flatten() {
            let has_changed = self.has_changed(first, second);
            if high < low || (high == low && has_changed) || (first == second && high != low) {
                return Err(format!("revision {low} at {first}, {high} at {second}"));
            }
        }
        self.revisions.insert(at, revision);
        Ok(())
    }

    /// A list that was told.
    pub(super) fn check_list(&mut self, times: &Times, told: &Told<'_>) -> Result {
        let at = told.zxid;
        let filter: Filter = told.arguments()?;
        let Some(Instances { revision, instances }) = told.reply()? else { return Ok(()) };
        let list = self.list_at(at);
        self.saw_revision(times, &list, at, revision)?;
        let ids: Vec<&String> = instances.iter().map(|instance| &instance.id).collect();
        if !ids.is_sorted_by(|one, other| one < other) {
            return Err(format!("out of order are {ids:?}"));
        }
        for instance in &instances {
            let healthy = instance.healthy;
            let Some(listed) = list.get(&instance.id) else {
                return Err(format!("{instance:?} is shown and not registered"));
            };
            let right = Instance { healthy, ..listed.instance.clone() };
            let fits = filter.tags.is_subset(&instance.tags);
            if *instance != right || !fits || (filter.only_healthy && !healthy) {
                return Err(format!("{instance:?} is shown for {filter:?}, it is {right:?}"));
            }
            self.facts.saw_health(times, listed, (at, healthy))?;
        }
        for (id, listed) in list.iter().filter(|(id, _)| !ids.contains(id)) {
            if !filter.tags.is_subset(&listed.instance.tags) {
                continue;
            }
            if !filter.only_healthy {
                self.check_not_renewed(id, listed, at)?;
                self.facts.saw_gone(times, listed, at)?;
            } else if listed.instance.healthy && !listed.is_over(times, at) {
                return Err(format!("not shown at {at} is {listed:?}"));
            }
        }
        self.check_revision(revision, &filter, instances)
    }

    /// What was gone is not renewed later.
    fn check_not_renewed(&self, id: &str, listed: &Listed, at: Zxid) -> Result {
        let registration = listed.instance.registration;
        match self.list.get(id) {
            Some(later) if later.instance.registration == registration && later.renewed > at => {
                Err(format!("gone at {at}, and renewed later: {later:?}"))
            }
            _ => Ok(()),
        }
    }

    /// One revision is one list.
    fn check_revision(
        &mut self,
        revision: u64,
        filter: &Filter,
        instances: Vec<Instance>,
    ) -> Result {
        if filter.only_healthy || !filter.tags.is_empty() {
            return Ok(());
        }
        let known = self.told.entry(revision).or_insert_with(|| instances.clone());
        if *known == instances {
            return Ok(());
        }
        Err(format!("revision {revision} is {known:?}, and it is {instances:?}"))
    }

    /// Whether a refusal of a command is right.
    pub(super) fn check_refusal(
        &mut self,
        (config, times): (&Config, &Times),
        told: &Told<'_>,
        (word, identity): (&str, &str),
    ) -> Result {
        let lists: Vec<(Rc<List>, u64)> = self
            .shown
            .within(told.from, told.zxid)
            .map(|shown| shown.cloned().unwrap_or_default())
            .collect();
        let is_right = match (told.operation, word) {
            ("register", "id-taken") => {
                let Register { id, .. } = told.arguments()?;
                let other: Instance = told.detail()?;
                other.identity != identity
                    && lists.iter().any(|(list, _)| {
                        list.get(&id).is_some_and(|listed| {
                            let healthy = listed.instance.healthy && other.healthy;
                            other == Instance { healthy, ..listed.instance.clone() }
                        })
                    })
            }
            ("register", "too-many-instances") => {
                let Register { id, .. } = told.arguments()?;
                lists.iter().any(|(list, _)| {
                    let others = list.values().filter(|listed| {
                        listed.instance.id != id && !self.facts.is_gone(times, listed, told.from)
                    });
                    others.count() >= config.instances_max
                })
            }
            ("register", _) => told.arguments::<Register>()?.wrongs(config).contains(&word),
            ("renew" | "deregister", "not-registered") => {
                // A renewal has one word more.
                let Deregister { id, registration } = told.arguments()?;
                let is_there = |listed: &Listed| listed.instance.registration == registration;
                if lists.iter().all(|(list, _)| list.get(&id).is_some_and(is_there)) {
                    let newest = lists.last().and_then(|(list, _)| list.get(&id));
                    let listed = newest.ok_or("there is no list")?;
                    self.check_not_renewed(&id, listed, told.zxid)?;
                    self.facts.saw_gone(times, listed, told.zxid)?;
                }
                true
            }
            ("await-change", _) => {
                let AwaitChange { after, wait_ms } = told.arguments()?;
                let is_full = lists.iter().any(|(_, waiting)| *waiting >= config.watchers_max);
                let may_be = lists.iter().any(|(list, _)| {
                    let mut listed = list.values();
                    let may_go = |listed| self.facts.may_be_gone(times, listed, told.zxid);
                    after != 0 || listed.all(may_go)
                });
                let is_known = may_be && !self.has_changed_since(after, told.from);
                is_known
                    && match word {
                        "unchanged" => wait_ms == Some(0),
                        _ => word == "too-many-watchers" && wait_ms != Some(0) && is_full,
                    }
            }
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("{} is refused {word}, and that was never right", told.operation))
    }

    /// Whether the list has surely changed after one transaction, up to another.
    fn has_changed(&self, after: Zxid, to: Zxid) -> bool {
        after < to && self.changed.range(after.next()..=to).next().is_some()
    }

    /// Whether the list has surely changed from this revision to this transaction.
    fn has_changed_since(&self, revision: u64, at: Zxid) -> bool {
        let known = self.revisions.iter().find(|(_, told)| **told == revision);
        known.is_some_and(|(first, _)| self.has_changed(*first, at))
    }

    /// Everything is at rest; `left` are the paths below the service.
    pub(super) fn check_left(&self, times: &Times, at: Zxid, left: &[&str]) -> Result {
        let there: BTreeSet<&str> =
            left.iter().filter_map(|path| path.strip_prefix("instances/")).collect();
        for (id, listed) in self.list.iter() {
            let is_there = there.contains(id.as_str());
            let is_wrong = if is_there {
                self.facts.is_gone(times, listed, at)
            } else {
                !self.facts.may_be_gone(times, listed, at)
            };
            if is_wrong {
                return Err(format!("{listed:?} should be left, or not, of {left:?}"));
            }
        }
        if let Some(stranger) = there.iter().find(|id| !self.list.contains_key(**id)) {
            return Err(format!("{stranger} is left and not registered"));
        }
        let owned = |id: &&&str| self.list[**id].instance.session.is_some();
        let owned = there.iter().filter(owned).count();
        // The head and the folder; each instance, with one znode more or two.
        let most = 2 + 3 * there.len() - owned;
        let right = if there.is_empty() { 0 } else { most };
        if left.len() == right {
            return Ok(());
        }
        Err(format!("left are {left:?}, {right} znodes should be"))
    }
}
