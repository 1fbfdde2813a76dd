//! The registry (plugins/registry/README.md): one instance for each id, bound to its session or to signs of
//! life, revisions that grow, one push to who waits.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: instances and waits; the first
//! promise broken. What the recipe does by its timer leaves no answer: whether an instance whose time
//! is over is still healthy, or still there, shows in lists and refusals, and they must agree.
//! Fewer wait at once than one transaction may tell.

mod facts;
mod model;
#[cfg(test)]
mod tests;
mod words;

use super::waits::check_wait_ended;
use super::{
    Answered, EndedCall, Identities, Promises, RecipeEntry, Result, Told, Trial, Turn, Work,
};
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use facts::Times;
use model::{Effect, Service};
use quorate_faulty_disk::Choices;
use quorate_types::Zxid;
use std::collections::BTreeMap;
use words::{AwaitChange, Change, Config, Deregister, Filter, Instances, Register, Renew};

pub const TRIAL: Trial = Trial {
    name: "registry",
    config: draw_config,
    work: |_| Box::<RegistryWork>::default(),
    promises: |config| Box::new(RegistryPromises::new(config)),
};

const SERVICES: [&str; 2] = ["a", "b"];
const IDS: [&str; 5] = ["i0", "i1", "i2", "i3", ".."];
/// Registrations that a client remembers when they are none any more, to use them all the same.
const STALE_MAX: usize = 4;

fn draw_config(choices: &mut Choices, plan: &Plan) -> Bytes {
    to_cbor(&Config {
        instances_max: [2, 1_000][choices.below(2) as usize],
        metadata_bytes_max: [8, 1_024][choices.below(2) as usize],
        ttl_ms_min: plan.pause_ms,
        ttl_ms_max: plan.session_timeout_ms.0 * 2 + plan.pause_ms,
        remove_after_ms: [0, plan.pause_ms * 6, plan.session_timeout_ms.0 * 2]
            [choices.below(3) as usize],
        watchers_max: [2, 10_000][choices.below(2) as usize],
    })
}

/// An instance that a client has registered.
#[derive(Clone, Debug)]
struct Own {
    service: &'static str,
    id: String,
    registration: u64,
    ttl_ms: Option<u64>,
    /// When something is done about it.
    until_ms: u64,
}

/// What one client does.
#[derive(Default)]
struct RegistryWork {
    own: Vec<Own>,
    stale: Vec<Own>,
    /// The newest revision that it was told, of each service.
    seen: [u64; 2],
    registered: u16,
}

impl RegistryWork {
    fn ask_register(&mut self, turn: &mut Turn<'_>, service: &str) {
        self.registered = self.registered.wrapping_add(1);
        let longest_ms = turn.session_timeout_ms() * 2;
        let (pause_ms, address) = (turn.pause_ms(), format!("host-{}", turn.client()));
        let choices = turn.choices();
        let id = IDS[choices.below(17) as usize % 4 + usize::from(choices.one_in(20))].into();
        let tags = ["eu", "us"].into_iter().filter(|_| choices.one_in(2));
        let tags = tags.map(str::to_owned).collect();
        let padding = if choices.one_in(8) { 12 } else { 1 };
        let metadata = [("m".to_owned(), "x".repeat(padding))].into();
        let ttl_ms = match choices.below(8) {
            0..=2 => None,
            3 => Some(longest_ms * 2),
            _ => Some(pause_ms * 2 + choices.below(longest_ms)),
        };
        let remove_after_ms = choices.one_in(3).then(|| choices.below(longest_ms));
        let port = self.registered;
        let wanted = Register { id, address, port, tags, metadata, ttl_ms, remove_after_ms };
        turn.call(service, "register", &wanted);
    }

    /// Does something with a registration that is none any more.
    fn ask_stale(&mut self, turn: &mut Turn<'_>) {
        let stale = self.stale.len() as u64;
        if stale == 0 {
            return;
        }
        let Own { service, id, registration, .. } =
            self.stale[turn.choices().below(stale) as usize].clone();
        if turn.choices().one_in(3) {
            turn.call(service, "deregister", &Deregister { id, registration });
        } else {
            let healthy = turn.choices().one_in(2);
            turn.call(service, "renew", &Renew { id, registration, healthy });
        }
    }

    fn forget_one(&mut self, own: Own) {
        if self.stale.len() >= STALE_MAX {
            self.stale.remove(0);
        }
        self.stale.push(own);
    }

    /// What is due for an instance: mostly it is renewed, sometimes too late or not at all.
    fn go_on(&mut self, turn: &mut Turn<'_>, own: Own) {
        let Own { service, id, registration, ttl_ms, .. } = own.clone();
        match turn.choices().below(8) {
            0 => drop(turn.call(service, "deregister", &Deregister { id, registration })),
            1 => {}
            part => {
                let healthy = part > 2;
                turn.call(service, "renew", &Renew { id, registration, healthy });
                let span_ms = ttl_ms.unwrap_or(turn.pause_ms() * 10);
                let until_ms = turn.now_ms() + turn.choices().below(span_ms + span_ms / 4 + 1);
                self.own.push(Own { until_ms, ..own });
                return;
            }
        }
        self.forget_one(own);
    }
}

impl Work for RegistryWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let at = turn.choices().below(2) as usize;
        let service = SERVICES[at];
        match turn.choices().below(16) {
            0..=3 => self.ask_register(turn, service),
            4 => self.ask_stale(turn),
            5 => {
                let (id, registration) = (IDS[4].into(), self.seen[at]);
                turn.call(service, "renew", &Renew { id, registration, healthy: true });
            }
            6..=10 => {
                let after = if turn.choices().one_in(8) { 0 } else { self.seen[at] };
                let wait_ms = turn.draw_wait_ms();
                turn.call(service, "await-change", &AwaitChange { after, wait_ms });
            }
            11..=14 => {
                let choices = turn.choices();
                let tags = choices.one_in(3).then(|| "eu".to_owned()).into_iter().collect();
                let only_healthy = choices.one_in(3);
                turn.query(service, "instances", to_cbor(&Filter { tags, only_healthy }));
            }
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(at) = SERVICES.iter().position(|service| *service == ended.object) else { return };
        let service = SERVICES[at];
        match ended.operation {
            "register" => {
                let wanted: Register =
                    serde_cbor::from_slice(ended.arguments).expect("a client sent it");
                let Some(registration) = ended.reply() else { return };
                let (id, ttl_ms) = (wanted.id, wanted.ttl_ms);
                let span_ms = ttl_ms.unwrap_or(turn.pause_ms() * 10) + 1;
                let until_ms = turn.now_ms() + turn.choices().below(span_ms);
                self.own.push(Own { service, id, registration, ttl_ms, until_ms });
            }
            "instances" => {
                self.seen[at] =
                    ended.reply().map_or(self.seen[at], |told: Instances| told.revision);
            }
            "await-change" => {
                self.seen[at] = ended.reply().map_or(self.seen[at], |told: Change| told.revision);
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for own in std::mem::take(&mut self.own) {
            if !eager {
                let Own { service, id, registration, .. } = own;
                turn.call(service, "deregister", &Deregister { id, registration });
            } else if own.until_ms <= now_ms {
                self.go_on(turn, own);
            } else {
                self.own.push(own);
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        // What has a time to live outlives the session.
        for own in std::mem::take(&mut self.own) {
            if own.ttl_ms.is_some() {
                self.own.push(own);
            } else {
                self.forget_one(own);
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        self.own.is_empty()
    }
}

struct RegistryPromises {
    config: Config,
    services: BTreeMap<String, Service>,
    identities: Identities,
    times: Times,
    newest: Zxid,
    judged: u64,
}

impl RegistryPromises {
    fn new(config: &[u8]) -> RegistryPromises {
        RegistryPromises {
            config: serde_cbor::from_slice(config).expect("the trial drew it"),
            services: BTreeMap::new(),
            identities: Identities::default(),
            times: Times::default(),
            newest: Zxid(0),
            judged: 0,
        }
    }

    /// What an entry does to a service.
    fn effect(&mut self, entry: &RecipeEntry<'_>, name: &str) -> Result<Effect> {
        let service = self.services.entry(name.into()).or_default();
        if let Some(call) = entry.call.as_ref().filter(|call| call.object == name) {
            let identity = self.identities.of(call.name.0);
            return service.called((&self.config, &self.times), entry, call, identity);
        }
        if !entry.ended.is_empty() {
            return Ok(service.end_sessions(&entry.ended));
        }
        Ok(service.effect_of_time(&self.times, entry.zxid))
    }
}

impl Promises for RegistryPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        self.identities.note(entry);
        self.times.note(entry.zxid, entry.time_ms);
        self.newest = entry.zxid;
        let mut answers: BTreeMap<&str, Vec<&Answered>> = BTreeMap::new();
        for answered in &entry.answered {
            let object = &answered.call.object;
            if answered.outcome.is_ok() {
                answers.entry(object).or_default().push(answered);
            } else {
                check_wait_ended(entry, answered)?;
                let service = self.services.entry(object.clone()).or_default();
                service.waits.end(answered.ticket)?;
            }
        }
        if let Some(call) = &entry.call {
            self.services.entry(call.object.into()).or_default();
        }
        let is_about = entry.call.is_some() || !entry.answered.is_empty();
        if !is_about && entry.ended.is_empty() {
            return self
                .services
                .values_mut()
                .try_for_each(|service| service.waits.check_overdue(entry, |_, _| false));
        }
        self.judged += 1;
        for name in self.services.keys().cloned().collect::<Vec<String>>() {
            let effect = self.effect(entry, &name)?;
            let answers = answers.remove(name.as_str()).unwrap_or_default();
            let service = self.services.entry(name).or_default();
            service.check_answers(&self.times, entry.zxid, effect, &answers)?;
            service.note(entry.zxid);
            service.waits.check_overdue(entry, |_, _| false)?;
        }
        Ok(())
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let service = self.services.entry(told.object.into()).or_default();
        match (told.operation, told.refusal()) {
            ("instances", None) => service.check_list(&self.times, told),
            (_, Some(word)) => {
                let identity = self.identities.of(told.session);
                let context = (&self.config, &self.times);
                service.check_refusal(context, told, (word, &identity))
            }
            (operation, None) => Err(format!("{operation} is answered and not in the log")),
        }
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, service) in &self.services {
            let prefix = format!("{name}/");
            let below: Vec<&str> =
                left.iter().filter_map(|path| path.strip_prefix(&prefix)).collect();
            service.check_left(&self.times, self.newest, &below)?;
            if left.contains(name) && below.is_empty() {
                return Err(format!("service {name} is left, and empty"));
            }
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
