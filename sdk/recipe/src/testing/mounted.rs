//! One mount in memory under the servers' rules, whichever recipe governs it.
//!
//! Comes in: calls as CBOR, ends of sessions, time, configurations, versions. Goes out: answers.
//! Invariants, as on the server: whatever may change something takes a number, also when it is
//! refused, and a query takes none and sees what the last number left; a refused call changes
//! nothing; objects come into being at their first command and go when they have no data, children,
//! parked calls and timers; a session that ends is told to the recipe before what it owned goes;
//! what is due at one time fires in one transaction.
//! Must never: know the recipe's type, so that a mount can change hands.

use crate::contract::{Descriptor, EndedTicket, Event, OperationKind, Outcome, Recipe};
use crate::failure::{Failure, Result, TreeError};
use crate::host::native::{World, Znode, check_path, forget_world, with_world};
use crate::object::{Call, Run, Session, SessionId};
use crate::ticket::TicketId;
use quorate_recipe_scenario::{MOUNT_PATH, SESSION_TIMEOUT_MS, START_MS};

/// Fired by one transaction, as on the server.
const FIRED_MAX: usize = 64;

/// The functions of one recipe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    pub(crate) describe: fn() -> Descriptor,
    invoke: fn(&Call, &str, &[u8]) -> Result<Outcome>,
    on_event: fn(&Run, &Event) -> Result<()>,
    migrate: fn(&Run, u32) -> Result<()>,
}

impl Version {
    pub(crate) fn of<R: Recipe>() -> Version {
        Version {
            describe: R::describe,
            invoke: R::invoke,
            on_event: R::on_event,
            migrate: R::migrate,
        }
    }
}

/// A mount, its sessions and its clock.
#[derive(Clone, Debug)]
pub(crate) struct Mounted {
    pub(crate) world: World,
    pub(crate) version: Version,
    /// Refusals of event handlers, whose changes were taken back.
    pub(crate) faults: Vec<Failure>,
    sessions_opened: u64,
}

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Ticket(TicketId),
    Timer(String, String),
}

impl Mounted {
    /// A world where nothing is mounted yet; the mount becomes the transaction of this number.
    pub(crate) fn unmounted(version: Version, zxid: u64) -> Mounted {
        let (now_ms, stamped_ms) = (START_MS, START_MS);
        let world = World { now_ms, stamped_ms, zxid, ..World::default() };
        Mounted { world, version, faults: Vec::new(), sessions_opened: 0 }
    }

    /// Mounts the recipe with a configuration; no bytes are none.
    #[track_caller]
    pub(crate) fn mount(&mut self, config: Vec<u8>) -> Result<()> {
        let before = self.world.clone();
        self.world.config = config;
        self.world.znodes.insert(String::new(), Znode::default());
        let told = self.event_within("", &Event::Mounted, None);
        if told.is_err() {
            self.world = before;
        }
        self.commit();
        told
    }

    pub(crate) fn open_session(&mut self, identity: Option<&str>) -> SessionId {
        let id = SessionId(self.world.zxid);
        self.sessions_opened += 1;
        let counted = format!("user-{}", self.sessions_opened);
        let identity = identity.map_or(counted, str::to_owned);
        let session = Session { id, identity, timeout_ms: SESSION_TIMEOUT_MS };
        self.world.sessions.insert(id, session);
        self.commit();
        id
    }

    /// Calls an operation of an object; `""` is the mount itself.
    #[track_caller]
    pub(crate) fn call(
        &mut self,
        session: SessionId,
        object: &str,
        operation: &str,
        arguments: &[u8],
    ) -> Result<Outcome> {
        let caller = self.world.sessions.get(&session).expect("the session is open").clone();
        let before = self.world.clone();
        let outcome = self.resolve(object, operation).and_then(|kind| {
            if kind == OperationKind::Command {
                self.ensure_object(object)?;
            }
            self.world.scope.object = object.into();
            self.world.scope.caller = Some((session, kind));
            let invoke = self.version.invoke;
            let outcome = self.run(|| {
                let call = Call::of(Run::on(object.into()), session, caller.identity.clone());
                invoke(&call, operation, arguments)
            });
            let parked = self.world.scope.parked;
            match &outcome {
                Ok(Outcome::Parked(ticket)) => {
                    assert_eq!(parked, Some(*ticket), "a parked call answers with its ticket");
                }
                Ok(Outcome::Done(_)) => {
                    assert_eq!(parked, None, "a call that parks answers `Parked`");
                }
                Err(_) => {}
            }
            Ok((kind, outcome?))
        });
        match outcome {
            Ok((OperationKind::Command, outcome)) => {
                self.commit();
                Ok(outcome)
            }
            Ok((OperationKind::Query, outcome)) => {
                self.world = before;
                Ok(outcome)
            }
            Err(failure) => {
                self.world = before;
                if !self.is_query(operation) || object.contains('/') {
                    self.commit();
                }
                Err(failure)
            }
        }
    }

    pub(crate) fn is_query(&self, operation: &str) -> bool {
        let descriptor = (self.version.describe)();
        let found = descriptor.operations.iter().find(|known| known.name == operation);
        found.is_some_and(|known| known.kind == OperationKind::Query)
    }

    /// As the server, which looks at object and operation before the recipe does.
    fn resolve(&self, object: &str, operation: &str) -> Result<OperationKind> {
        if object.contains('/') || check_path(object).is_err() {
            let message = format!("an object is one name below {MOUNT_PATH}, or the mount itself");
            return Err(Failure::new("bad-arguments", message));
        }
        let descriptor = (self.version.describe)();
        match descriptor.operations.iter().find(|known| known.name == operation) {
            Some(known) => Ok(known.kind),
            None => {
                let message = format!("recipe {} has no operation `{operation}`", descriptor.name);
                Err(Failure::new("unknown-operation", message))
            }
        }
    }

    /// An object comes into being at its first command.
    fn ensure_object(&mut self, object: &str) -> Result<()> {
        if self.world.znodes.contains_key(object) {
            return Ok(());
        }
        self.world.create(object, &[], None).map_err(|error| error.at(object))?;
        self.event_within(object, &Event::ObjectCreated, None)
    }

    /// Runs twice from the same state; the world after is that of one of them.
    #[track_caller]
    fn run<T: PartialEq + std::fmt::Debug>(&mut self, run: impl Fn() -> T) -> T {
        forget_world();
        self.world.runs += 1;
        let (first, world_after_first) = with_world(self.world.clone(), &run);
        let (second, world_after_second) = with_world(self.world.clone(), &run);
        assert_eq!(first, second, "the recipe is not deterministic: it answers differently");
        assert_eq!(
            world_after_first, world_after_second,
            "the recipe is not deterministic: it does differently"
        );
        self.world = world_after_second;
        second
    }

    /// Tells an event within the transaction that is being made; a refusal takes its changes back.
    #[track_caller]
    fn event_within(
        &mut self,
        object: &str,
        event: &Event,
        ending: Option<SessionId>,
    ) -> Result<()> {
        let before = self.world.clone();
        self.world.scope = Default::default();
        self.world.scope.object = object.into();
        self.world.scope.ending = ending;
        let on_event = self.version.on_event;
        let told = self.run(|| on_event(&Run::on(object.into()), event));
        self.world.scope = Default::default();
        if told.is_err() {
            let runs = self.world.runs;
            self.world = before;
            self.world.runs = runs;
        }
        told
    }

    /// Tells an event whose refusal harms nothing but what its own handler did.
    #[track_caller]
    fn tell(&mut self, object: &str, event: &Event, ending: Option<SessionId>) {
        if let Err(failure) = self.event_within(object, event, ending) {
            self.faults.push(failure);
        }
    }

    /// Ends a transaction; nothing may have changed in it.
    pub(crate) fn commit(&mut self) {
        self.world.reap();
        self.world.scope = Default::default();
        self.world.runs = 0;
        self.world.stamped_ms = self.world.now_ms;
        self.world.zxid += 1;
    }

    /// A client writes below the mount itself; the recipe hears of the path, relative to the mount.
    #[track_caller]
    pub(crate) fn write_plain(
        &mut self,
        path: &str,
        write: impl FnOnce(&mut World) -> std::result::Result<String, TreeError>,
    ) -> Result<String> {
        self.world.scope = Default::default();
        let written = write(&mut self.world);
        if let Ok(changed) = &written {
            let (object, relative) = changed.split_once('/').unwrap_or((changed, ""));
            self.tell(object, &Event::ZnodeChanged(relative.into()), None);
        }
        self.commit();
        written.map_err(|error| error.at(path))
    }

    /// Ends a session: each object where it owns something is told, then what it owned goes.
    #[track_caller]
    pub(crate) fn close(&mut self, session: SessionId) {
        let owned = self.world.znodes.iter().filter(|(_, znode)| znode.owner == Some(session));
        let of_znodes = owned.map(|(path, _)| path.split('/').next().unwrap_or_default());
        let waiting = self.world.tickets.values().filter(|parked| parked.session == session);
        let of_tickets = waiting.map(|parked| parked.object.as_str());
        let mut objects: Vec<String> = of_znodes.chain(of_tickets).map(str::to_owned).collect();
        objects.sort();
        objects.dedup();
        for object in objects {
            self.tell(&object, &Event::SessionClosed(session), Some(session));
        }
        self.world.znodes.retain(|_, znode| znode.owner != Some(session));
        self.world.tickets.retain(|_, parked| parked.session != session);
        self.world.sessions.remove(&session);
        self.commit();
    }

    /// Lets time pass. Timers and deadlines fire in order of their times, each at its own time.
    #[track_caller]
    pub(crate) fn advance(&mut self, ms: u64) {
        let end_ms = self.world.now_ms.saturating_add(ms);
        while let Some(at_ms) = self.next_due_ms().filter(|at_ms| *at_ms <= end_ms) {
            self.world.now_ms = self.world.now_ms.max(at_ms);
            self.fire_due();
        }
        self.world.now_ms = end_ms;
    }

    /// Lets time pass at once, as while no leader is there or a clock is set: what is due by then
    /// fires late, in order of the times it was due.
    #[track_caller]
    pub(crate) fn jump(&mut self, ms: u64) {
        self.world.now_ms = self.world.now_ms.saturating_add(ms);
        while self.next_due_ms().is_some_and(|at_ms| at_ms <= self.world.now_ms) {
            self.fire_due();
        }
    }

    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let deadlines = self.world.tickets.values().filter_map(|parked| parked.deadline_ms);
        self.world.timers.values().copied().chain(deadlines).min()
    }

    /// One transaction of what is due now, as far as it is still there when its turn comes.
    #[track_caller]
    fn fire_due(&mut self) {
        let now_ms = self.world.now_ms;
        let tickets = self.world.tickets.iter().filter_map(|(ticket, parked)| {
            parked.deadline_ms.map(|at_ms| (at_ms, Due::Ticket(*ticket)))
        });
        let timers = self
            .world
            .timers
            .iter()
            .map(|((object, name), at_ms)| (*at_ms, Due::Timer(object.clone(), name.clone())));
        let mut due: Vec<(u64, Due)> =
            tickets.chain(timers).filter(|(at_ms, _)| *at_ms <= now_ms).collect();
        due.sort();
        for (_, due) in due.into_iter().take(FIRED_MAX) {
            match due {
                Due::Ticket(ticket) => {
                    let refusal = Failure::new("timed-out", "the deadline of the call has passed");
                    self.end_ticket(ticket, refusal, Event::TicketExpired);
                }
                Due::Timer(object, name) => {
                    let key = (object, name);
                    if self.world.timers.get(&key).is_some_and(|at_ms| *at_ms <= now_ms) {
                        self.world.timers.remove(&key);
                        self.tell(&key.0, &Event::Timer(key.1), None);
                    }
                }
            }
        }
        self.commit();
    }

    /// Gives a parked call up.
    #[track_caller]
    pub(crate) fn cancel(&mut self, ticket: TicketId) {
        let refusal = Failure::new("cancelled", "the caller gave up waiting");
        self.end_ticket(ticket, refusal, Event::TicketCancelled);
        self.commit();
    }

    fn end_ticket(&mut self, ticket: TicketId, refusal: Failure, event: fn(EndedTicket) -> Event) {
        let Some(parked) = self.world.tickets.remove(&ticket) else { return };
        self.world.answers.push((ticket, Err(refusal)));
        let ended = EndedTicket { ticket, session: parked.session };
        self.tell(&parked.object, &event(ended), None);
    }

    /// Changes the configuration; the same one again is no event.
    #[track_caller]
    pub(crate) fn configure(&mut self, config: Vec<u8>) -> Result<()> {
        self.alter(self.version, config)
    }

    /// Puts another version of the recipe in charge of the same state.
    #[track_caller]
    pub(crate) fn upgrade(&mut self, version: Version) -> Result<()> {
        self.alter(version, self.world.config.clone())
    }

    #[track_caller]
    fn alter(&mut self, version: Version, config: Vec<u8>) -> Result<()> {
        let (world, governed_by) = (self.world.clone(), self.version);
        let altered = self.try_alter(version, config);
        if altered.is_err() {
            (self.world, self.version) = (world, governed_by);
        }
        self.commit();
        altered
    }

    #[track_caller]
    fn try_alter(&mut self, version: Version, config: Vec<u8>) -> Result<()> {
        let (old, new) = ((self.version.describe)(), (version.describe)());
        if old.name != new.name {
            let message = format!("{MOUNT_PATH} is governed by recipe {}: unmount first", old.name);
            return Err(Failure::new("recipe-in-use", message));
        }
        if new.state_version < old.state_version {
            let message = format!(
                "the state has version {}, the recipe knows {}",
                old.state_version, new.state_version
            );
            return Err(Failure::new("recipe-invalid", message));
        }
        self.version = version;
        let before = std::mem::replace(&mut self.world.config, config);
        if new.state_version != old.state_version {
            self.world.scope = Default::default();
            self.run(|| (version.migrate)(&Run::on(String::new()), old.state_version))?;
        }
        if self.world.config != before {
            self.event_within("", &Event::ConfigChanged(before), None)?;
        }
        Ok(())
    }
}
