//! The znodes of one service.
//!
//! Comes in: instances that come, are renewed and go; time. Goes out: changes of znodes, one timer.
//! Invariants: the revision is the zxid of the last change of the list; the timer stands at the first
//! due entry; without instances there is no head and no folder.
//! Must never: look at every instance for one of them.

use crate::words::{Config, Instance, SERVICE_BYTES_MAX};
use quorate_recipe::prelude::*;
use serde::de::IgnoredAny;

const HEAD: &str = "service";
const INSTANCES: &str = "instances";
const DUE: &str = "due-";
const TIMER: &str = "due";
/// Leases that one run looks at.
const DUE_MAX: u32 = 40;
/// Instances of a service that may go with one session: its end takes them all out in one run.
const OWNED_MAX: u32 = 60;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// 0: there are no instances.
    pub(crate) revision: u64,
    instances: u32,
    /// Those that go with a session.
    owned: u32,
    /// Of all instances together.
    bytes: u64,
    timer_ms: Option<u64>,
}

/// A time to live. A renewal moves its end only, and the due entry follows when it is looked at.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Lease {
    ends_ms: u64,
    looked_at_ms: u64,
}

fn instance_name(id: &str) -> String {
    format!("{INSTANCES}/{id}")
}

fn lease_name(id: &str) -> String {
    format!("lease-{id}")
}

fn due_name(at_ms: u64, id: &str) -> String {
    format!("{DUE}{at_ms:020}-{id}")
}

/// The time and the id in a due entry's name; none if it is another znode.
fn read_due(name: &str) -> Option<(u64, &str)> {
    let (digits, id) = name.strip_prefix(DUE)?.split_once('-')?;
    Some((digits.parse().ok()?, id))
}

fn owned_prefix(session: SessionId) -> String {
    format!("owned-{:020}-", session.0)
}

fn owned_name(session: SessionId, id: &str) -> String {
    format!("{}{id}", owned_prefix(session))
}

pub(crate) fn load(run: &Run) -> Result<Head> {
    Ok(run.get(HEAD)?.unwrap_or_default())
}

/// Every instance, in order of id.
pub(crate) fn all(run: &Run) -> Result<Vec<Instance>> {
    let instances = run.scan::<Instance>(INSTANCES, None, u32::MAX)?;
    Ok(instances.into_iter().map(|(_, instance)| instance).collect())
}

/// How many callers wait.
pub(crate) fn watchers_there(run: &Run) -> Result<u32> {
    let Some(head) = run.get::<Head>(HEAD)? else { return run.count("") };
    // Head and folder; one znode for each owned instance, two for each with a lease.
    let others = 2 + head.owned + 2 * (head.instances - head.owned);
    Ok(run.count("")?.saturating_sub(others))
}

/// One service in the hands of one run. [`Service::finish`] writes the head and sets the timer.
pub(crate) struct Service<'a> {
    run: &'a Run,
    pub(crate) config: Config,
    head: Head,
    stored: Option<Head>,
}

impl<'a> Service<'a> {
    pub(crate) fn open(run: &'a Run) -> Result<Service<'a>> {
        let stored = run.get::<Head>(HEAD)?;
        let config = run.config()?;
        let mut service = Service { run, config, head: stored.unwrap_or_default(), stored };
        service.recount()?;
        Ok(service)
    }

    /// Counts anew when instances have gone with sessions whose end was not told: the mount was
    /// suspended.
    fn recount(&mut self) -> Result<()> {
        let there = if self.stored.is_some() { self.run.count(INSTANCES)? } else { 0 };
        if there == self.head.instances {
            return Ok(());
        }
        let instances = all(self.run)?;
        self.head.instances = there;
        self.head.owned = 0;
        self.head.bytes = 0;
        for instance in instances {
            self.head.owned += u32::from(instance.session.is_some());
            self.head.bytes += instance.bytes();
        }
        self.head.revision = self.run.zxid();
        Ok(())
    }

    pub(crate) fn find(&self, id: &str) -> Result<Option<Instance>> {
        match self.stored {
            Some(_) if !id.is_empty() => self.run.get(&instance_name(id)),
            _ => Ok(None),
        }
    }

    /// The instance of this registration.
    pub(crate) fn registered(&self, id: &str, registration: u64) -> Result<Instance> {
        let found = self.find(id)?;
        found.filter(|instance| instance.registration == registration).ok_or_else(|| {
            let words = format!("no instance {id:?} has this registration: register it again");
            Failure::new("not-registered", words)
        })
    }

    /// The instances that go with a session.
    pub(crate) fn ids_of(&self, session: SessionId) -> Result<Vec<String>> {
        let prefix = owned_prefix(session);
        let found = self.run.scan::<IgnoredAny>("", Some(&prefix), OWNED_MAX)?;
        let names = found.iter().map_while(|(name, _)| name.strip_prefix(&prefix));
        Ok(names.map(str::to_owned).collect())
    }

    pub(crate) fn put_in(&mut self, instance: &Instance) -> Result<()> {
        if self.head.instances >= self.config.instances_max {
            let words = format!("a service has at most {} instances", self.config.instances_max);
            return Err(Failure::new("too-many-instances", words));
        }
        if self.head.bytes + instance.bytes() > SERVICE_BYTES_MAX {
            return Err(Failure::new("too-large", "the list would not fit one reply"));
        }
        if self.stored.is_none() {
            self.run.create(INSTANCES, &())?;
        }
        let id = &instance.id;
        match instance.session {
            Some(session) => {
                if self.ids_of(session)?.len() >= OWNED_MAX as usize {
                    let words =
                        format!("at most {OWNED_MAX} instances of a service go with one session");
                    return Err(Failure::new("too-many-instances", words));
                }
                self.run.create_owned(&instance_name(id), instance, session)?;
                self.run.create_owned(&owned_name(session, id), &(), session)?;
                self.head.owned += 1;
            }
            None => {
                let ttl_ms = instance.ttl_ms.unwrap_or(self.config.ttl_ms_max);
                let ends_ms = self.run.now_ms().saturating_add(ttl_ms);
                self.run.create(&instance_name(id), instance)?;
                self.run.create(&lease_name(id), &Lease { ends_ms, looked_at_ms: ends_ms })?;
                self.run.create(&due_name(ends_ms, id), &())?;
            }
        }
        self.head.instances += 1;
        self.head.bytes += instance.bytes();
        self.head.revision = self.run.zxid();
        Ok(())
    }

    pub(crate) fn take_out(&mut self, instance: &Instance) -> Result<()> {
        let id = &instance.id;
        self.run.delete(&instance_name(id))?;
        match instance.session {
            Some(session) => {
                self.run.delete(&owned_name(session, id))?;
                self.head.owned -= 1;
            }
            None => {
                if let Some(lease) = self.run.get::<Lease>(&lease_name(id))? {
                    self.run.delete(&due_name(lease.looked_at_ms, id))?;
                    self.run.delete(&lease_name(id))?;
                }
            }
        }
        self.head.instances -= 1;
        self.head.bytes -= instance.bytes();
        self.head.revision = self.run.zxid();
        Ok(())
    }

    /// Moves the end of the lease, if there is one; gives it.
    pub(crate) fn renew(&mut self, instance: &Instance, healthy: bool) -> Result<Option<u64>> {
        self.set_health(instance, healthy)?;
        let Some(ttl_ms) = instance.ttl_ms else { return Ok(None) };
        let name = lease_name(&instance.id);
        let Some(mut lease) = self.run.get::<Lease>(&name)? else { return Ok(None) };
        lease.ends_ms = self.run.now_ms().saturating_add(ttl_ms);
        // It was overdue, and would be looked at only when it was to go.
        if lease.looked_at_ms > lease.ends_ms {
            self.look_at(&instance.id, &mut lease)?;
        }
        self.run.set(&name, &lease)?;
        Ok(Some(lease.ends_ms))
    }

    fn look_at(&self, id: &str, lease: &mut Lease) -> Result<()> {
        self.run.delete(&due_name(lease.looked_at_ms, id))?;
        lease.looked_at_ms = lease.ends_ms;
        self.run.create(&due_name(lease.looked_at_ms, id), &())
    }

    fn set_health(&mut self, instance: &Instance, healthy: bool) -> Result<()> {
        if instance.healthy == healthy {
            return Ok(());
        }
        self.head.revision = self.run.zxid();
        let changed = Instance { healthy, ..instance.clone() };
        self.run.set(&instance_name(&instance.id), &changed).map(drop)
    }

    /// Looks at the leases that are due.
    pub(crate) fn time_passed(&mut self) -> Result<()> {
        self.head.timer_ms = None;
        for (name, _) in self.run.scan::<IgnoredAny>("", Some(DUE), DUE_MAX)? {
            match read_due(&name) {
                Some((at_ms, id)) if at_ms <= self.run.now_ms() => self.look(&name, id)?,
                _ => break,
            }
        }
        Ok(())
    }

    fn look(&mut self, due: &str, id: &str) -> Result<()> {
        let lease = self.run.get::<Lease>(&lease_name(id))?;
        let (Some(mut lease), Some(instance)) = (lease, self.find(id)?) else {
            return self.run.delete(due).map(drop);
        };
        let now_ms = self.run.now_ms();
        let is_over = lease.ends_ms <= now_ms;
        // Its end was seen before, or nobody shall wait for it.
        if is_over && (lease.looked_at_ms > lease.ends_ms || instance.remove_after_ms == 0) {
            return self.take_out(&instance);
        }
        let mut next_ms = lease.ends_ms;
        if is_over {
            self.set_health(&instance, false)?;
            // From now, not from its end: nobody can renew while there is no leader.
            next_ms = now_ms.saturating_add(instance.remove_after_ms);
        }
        self.run.delete(due)?;
        lease.looked_at_ms = next_ms;
        self.run.create(&due_name(next_ms, id), &())?;
        self.run.set(&lease_name(id), &lease).map(drop)
    }

    /// Writes what has changed of the head, sets the timer; gives the revision if it is another.
    pub(crate) fn finish(mut self) -> Result<Option<u64>> {
        let first = self.run.scan::<IgnoredAny>("", Some(DUE), 1)?.pop();
        let first_ms = first.and_then(|(name, _)| read_due(&name).map(|(at_ms, _)| at_ms));
        let timer_ms = first_ms.map(|at_ms| at_ms.max(self.run.now_ms().saturating_add(1)));
        if timer_ms != self.head.timer_ms {
            match timer_ms {
                Some(at_ms) => self.run.set_timer(TIMER, at_ms),
                None => drop(self.run.cancel_timer(TIMER)),
            }
            self.head.timer_ms = timer_ms;
        }
        if self.head.instances == 0 {
            if self.stored.is_none() {
                return Ok(None);
            }
            self.run.delete(INSTANCES)?;
            self.run.delete(HEAD)?;
            return Ok(Some(0));
        }
        if self.stored != Some(self.head) {
            self.run.put(HEAD, &self.head)?;
        }
        let before = self.stored.map(|stored| stored.revision);
        Ok(Some(self.head.revision).filter(|revision| before != Some(*revision)))
    }
}
