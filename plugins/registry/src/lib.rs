//! A service registry: instances with their health, found by tag.
//!
//! The znodes of an object, `/registries/payments` say:
//!
//! ```text
//! due-<time>-<id>        when the instance's lease is looked at
//! instances/<id>         an Instance; owned by its session, unless it has a time to live
//! lease-<id>             until when it is renewed
//! owned-<session>-<id>   that the instance goes with the session; owned by it
//! service                the revision and counts; goes with the last instance
//! watcher-<ticket>       a Watcher, owned by its session; sorts after all others
//! ```
//!
//! Comes in: instances, signs of life, waits, ends of sessions, time. Goes out: lists, revisions.
//!
//! Promises (README.md has them in full): one instance for each id; an instance that is not renewed
//! is unhealthy at its time and gone at its time; whoever waits is told of every change by one push.
//!
//! Invariants: every lease has a due entry no later than its end; the whole list fits one reply.
//! Must never: write more than the lease for a renewal that changes nothing, or tell more than
//! `SWEEP_MAX` waiting callers in one run.

mod service;
mod words;

use quorate_recipe::prelude::*;
use service::{Service, load, watchers_there};
pub use words::{
    AwaitChange, Change, Config, Deregister, Filter, Instance, Instances, Register, Renew,
};

/// Waiting callers that one run tells.
const SWEEP_MAX: u32 = 150;
const WATCHERS: &str = "watcher-";
const SWEEP_TIMER: &str = "sweep";

#[derive(Debug, Serialize, Deserialize)]
struct Watcher {
    ticket: Ticket<Change>,
    after: u64,
}

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Registry;

/// Instances of services, with their health, found by tag.
#[recipe(name = "registry", version = "1.0.0", state = 1, config = Config)]
impl Registry {
    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        run.config::<Config>()?.check()
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: Config) -> Result<()> {
        run.config::<Config>()?.check()
    }

    /// Registers an instance, or replaces the one that the same identity registered under the id;
    /// gives its registration. Refused `id-taken` (with the instance), `too-many-instances`,
    /// `too-large`, `bad-id`, `out-of-range`.
    #[command]
    pub fn register(call: &Call, wanted: Register) -> Result<u64> {
        let mut service = Service::open(call)?;
        wanted.check(&service.config)?;
        if let Some(before) = service.find(&wanted.id)? {
            if before.identity != call.identity() {
                let words = format!("{} registered an instance under this id", before.identity);
                return Err(Failure::new("id-taken", words).with_detail(&before));
            }
            service.take_out(&before)?;
        }
        let registration = call.zxid();
        let session = if wanted.ttl_ms.is_some() { None } else { Some(call.session()) };
        service.put_in(&Instance {
            id: wanted.id,
            address: wanted.address,
            port: wanted.port,
            tags: wanted.tags,
            metadata: wanted.metadata,
            healthy: true,
            registration,
            identity: call.identity().into(),
            session,
            ttl_ms: wanted.ttl_ms,
            remove_after_ms: wanted.remove_after_ms.unwrap_or(service.config.remove_after_ms),
            since_ms: call.now_ms(),
        })?;
        tell(call, service.finish()?)?;
        Ok(registration)
    }

    /// Says that an instance lives, and how it is; gives when it must be renewed again, if it must.
    /// Refused `not-registered`.
    #[command]
    pub fn renew(call: &Call, sign: Renew) -> Result<Option<u64>> {
        let mut service = Service::open(call)?;
        let instance = service.registered(&sign.id, sign.registration)?;
        let due_ms = service.renew(&instance, sign.healthy)?;
        tell(call, service.finish()?)?;
        Ok(due_ms)
    }

    /// Takes an instance out. Refused `not-registered`.
    #[command]
    pub fn deregister(call: &Call, wanted: Deregister) -> Result<()> {
        let mut service = Service::open(call)?;
        let instance = service.registered(&wanted.id, wanted.registration)?;
        service.take_out(&instance)?;
        tell(call, service.finish()?)
    }

    /// The instances, by id, and the revision of the list.
    #[query]
    pub fn instances(call: &Call, filter: Filter) -> Result<Instances> {
        let revision = load(call)?.revision;
        if revision == 0 {
            return Ok(Instances::default());
        }
        let mut instances = service::all(call)?;
        instances.retain(|instance| instance.fits(&filter));
        Ok(Instances { revision, instances })
    }

    /// Waits until there is another list than the caller's. Refused `unchanged` if it may not wait,
    /// `too-many-watchers`.
    #[command]
    pub fn await_change(call: &Call, wanted: AwaitChange) -> Result<Reply<Change>> {
        let revision = load(call)?.revision;
        if revision != wanted.after {
            return Ok(Change { revision }.into());
        }
        if wanted.wait_ms == Some(0) {
            return Err(Failure::new("unchanged", "the list is the one you have"));
        }
        if watchers_there(call)? >= call.config::<Config>()?.watchers_max {
            let words = "too many callers wait for this service to change";
            return Err(Failure::new("too-many-watchers", words));
        }
        let ticket = call.park(wanted.wait_ms);
        let watcher = Watcher { ticket, after: wanted.after };
        call.create_owned(&watcher_name(&ticket.key()), &watcher, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    #[on(timer)]
    fn timer(run: &Run, name: &str) -> Result<()> {
        if name == SWEEP_TIMER {
            return sweep(run, load(run)?.revision);
        }
        let mut service = Service::open(run)?;
        service.time_passed()?;
        tell(run, service.finish()?)
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        let mut service = Service::open(run)?;
        for id in service.ids_of(session)? {
            if let Some(instance) = service.find(&id)? {
                service.take_out(&instance)?;
            }
        }
        tell(run, service.finish()?)
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&watcher_name(&ended.ticket.key())).map(drop)
    }
}

fn watcher_name(key: &str) -> String {
    format!("{WATCHERS}{key}")
}

fn tell(run: &Run, revision: Option<u64>) -> Result<()> {
    revision.map_or(Ok(()), |revision| sweep(run, revision))
}

/// Tells those who wait that there is another list; a bounded number, and the rest a millisecond
/// later.
fn sweep(run: &Run, revision: u64) -> Result<()> {
    let watchers = run.scan::<Watcher>("", Some(WATCHERS), SWEEP_MAX)?;
    let is_more = watchers.len() == SWEEP_MAX as usize;
    for (name, watcher) in watchers {
        // It came after the change, and so did all those behind it.
        if watcher.after == revision {
            return Ok(());
        }
        run.delete(&name)?;
        run.complete(watcher.ticket, &Change { revision })?;
    }
    if is_more {
        run.set_timer(SWEEP_TIMER, run.now_ms());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
