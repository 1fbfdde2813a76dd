//! A mount in memory, for the tests of a recipe.
//!
//! Comes in: calls, ends of sessions, time. Goes out: replies, pushed replies, the znodes.
//! Invariants, as on the server: a refused call changes nothing; objects come into being at their
//! first command and go when they have no data, children, parked calls and timers; a session that
//! ends is told to the recipe before what it owned goes. Beyond the server: every run is done twice from the same state,
//! and both must agree.
//!
//! Traps and limits are not simulated: what panics here would trap there.

use crate::codec;
use crate::contract::{EndedTicket, Event, OperationKind, Outcome, Recipe};
use crate::failure::{Failure, Result};
use crate::host::native::{World, Znode, forget_world, with_world};
use crate::object::{Call, Level, Run, Session, SessionId};
use crate::ticket::{Ticket, TicketId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// What a call came to.
#[derive(Debug)]
#[must_use]
pub enum Answer<R> {
    /// Answered at once.
    Done(R),
    /// It waits under this ticket: see [`TestMount::pushed`].
    Parked(Ticket<R>),
    /// Refused: nothing was changed.
    Refused(Failure),
}

impl<R> Answer<R> {
    /// The reply.
    ///
    /// # Panics
    /// The call was parked or refused.
    #[track_caller]
    pub fn done(self) -> R {
        match self {
            Answer::Done(reply) => reply,
            Answer::Parked(ticket) => panic!("the call was parked under {ticket:?}"),
            Answer::Refused(failure) => panic!("the call was refused: {failure}"),
        }
    }

    /// The ticket.
    ///
    /// # Panics
    /// The call was answered at once or refused.
    #[track_caller]
    pub fn parked(self) -> Ticket<R> {
        match self {
            Answer::Parked(ticket) => ticket,
            Answer::Done(_) => panic!("the call was answered at once"),
            Answer::Refused(failure) => panic!("the call was refused: {failure}"),
        }
    }

    /// The refusal.
    ///
    /// # Panics
    /// The call was answered or parked.
    #[track_caller]
    pub fn refused(self) -> Failure {
        match self {
            Answer::Refused(failure) => failure,
            Answer::Done(_) => panic!("the call was answered at once"),
            Answer::Parked(ticket) => panic!("the call was parked under {ticket:?}"),
        }
    }
}

/// One mount of one recipe, its sessions and its clock.
pub struct TestMount<R> {
    world: World,
    faults: Vec<Failure>,
    next_session: u64,
    recipe: PhantomData<R>,
}

impl<R> std::fmt::Debug for TestMount<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestMount").field("world", &self.world).finish_non_exhaustive()
    }
}

/// Any moment will do; this one is in November 2023.
const START_MS: u64 = 1_700_000_000_000;

impl<R: Recipe> Default for TestMount<R> {
    fn default() -> Self {
        TestMount::new()
    }
}

impl<R: Recipe> TestMount<R> {
    /// Mounts the recipe without a configuration.
    ///
    /// # Panics
    /// Its handler of `mounted` refuses.
    #[must_use]
    #[track_caller]
    pub fn new() -> TestMount<R> {
        TestMount::mount(Vec::new())
    }

    /// Mounts the recipe with a configuration.
    ///
    /// # Panics
    /// Its handler of `mounted` refuses.
    #[must_use]
    #[track_caller]
    pub fn with_config(config: &impl Serialize) -> TestMount<R> {
        TestMount::mount(codec::encode(config).expect("the configuration has a CBOR form"))
    }

    #[track_caller]
    fn mount(config: Vec<u8>) -> TestMount<R> {
        let mut world = World { config, now_ms: START_MS, zxid: 1, ..World::default() };
        world.znodes.insert(String::new(), Znode::default());
        let mut mount =
            TestMount { world, faults: Vec::new(), next_session: 1, recipe: PhantomData };
        if let Err(failure) = mount.event("", &Event::Mounted, None) {
            panic!("the mount was refused: {failure}");
        }
        mount
    }

    /// Opens a session; its identity is `user-<number>`.
    pub fn session(&mut self) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let session = Session { id, identity: format!("user-{id}"), timeout_ms: 10_000 };
        self.world.sessions.insert(id, session);
        id
    }

    /// Calls an operation of an object; `""` is the mount itself.
    ///
    /// # Panics
    /// The session has ended, the reply is not an `T`, or the recipe broke a rule of the contract.
    #[track_caller]
    pub fn call<T: DeserializeOwned>(
        &mut self,
        session: SessionId,
        object: &str,
        operation: &str,
        arguments: &impl Serialize,
    ) -> Answer<T> {
        let arguments = codec::encode(arguments).expect("the arguments have a CBOR form");
        match self.call_bytes(session, object, operation, &arguments) {
            Ok(Outcome::Done(reply)) => {
                Answer::Done(codec::decode(&reply).expect("the reply is of the type asked for"))
            }
            Ok(Outcome::Parked(ticket)) => Answer::Parked(Ticket::from_id(ticket)),
            Err(failure) => Answer::Refused(failure),
        }
    }

    /// As [`TestMount::call`], with CBOR as clients send and get it.
    ///
    /// # Errors
    /// The recipe's refusal.
    ///
    /// # Panics
    /// As [`TestMount::call`].
    #[track_caller]
    pub fn call_bytes(
        &mut self,
        session: SessionId,
        object: &str,
        operation: &str,
        arguments: &[u8],
    ) -> Result<Outcome> {
        let caller = self.world.sessions.get(&session).expect("the session is open").clone();
        let descriptor = R::describe();
        let described = descriptor.operations.iter().find(|known| known.name == operation);
        let kind = described.map_or(OperationKind::Query, |known| known.kind);
        let before = self.world.clone();
        if kind == OperationKind::Command
            && let Err(failure) = self.ensure_object(object)
        {
            self.world = before;
            return Err(failure);
        }
        self.world.scope.object = object.into();
        self.world.scope.caller = Some((session, kind));
        let outcome = self.run(|| {
            let call = Call::of(Run::on(object.into()), session, caller.identity.clone());
            R::invoke(&call, operation, arguments)
        });
        let parked = self.world.scope.parked;
        match &outcome {
            Ok(Outcome::Parked(ticket)) => {
                assert_eq!(parked, Some(*ticket), "a parked call answers with its ticket");
            }
            Ok(Outcome::Done(_)) => assert_eq!(parked, None, "a call that parks answers `Parked`"),
            Err(_) => {}
        }
        if outcome.is_err() || kind == OperationKind::Query {
            self.world = before;
        } else {
            self.commit();
        }
        outcome
    }

    /// As the server: an object comes into being at its first command.
    fn ensure_object(&mut self, object: &str) -> Result<()> {
        if self.world.znodes.contains_key(object) {
            return Ok(());
        }
        if object.contains('/') {
            return Err(Failure::new("bad-path", "an object is one name below the mount"));
        }
        self.world.create(object, &[], None).map_err(|error| error.at(object))?;
        self.event_within(object, &Event::ObjectCreated, None)
    }

    /// Runs twice from the same state; the world after is that of one of them.
    #[track_caller]
    fn run<T: PartialEq + std::fmt::Debug>(&mut self, run: impl Fn() -> T) -> T {
        forget_world();
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
        let told = self.run(|| R::on_event(&Run::on(object.into()), event));
        self.world.scope = Default::default();
        if told.is_err() {
            self.world = before;
        }
        told
    }

    #[track_caller]
    fn event(&mut self, object: &str, event: &Event, ending: Option<SessionId>) -> Result<()> {
        let told = self.event_within(object, event, ending);
        if let Err(failure) = &told {
            self.faults.push(failure.clone());
        }
        self.commit();
        told
    }

    fn commit(&mut self) {
        self.world.reap();
        self.world.scope = Default::default();
        self.world.zxid += 1;
    }

    /// Ends a session: each object where it owns something is told, then what it owned goes.
    pub fn close(&mut self, session: SessionId) {
        let owned = self.world.znodes.iter().filter(|(_, znode)| znode.owner == Some(session));
        let of_znodes = owned.map(|(path, _)| path.split('/').next().unwrap_or_default());
        let waiting = self.world.tickets.values().filter(|parked| parked.session == session);
        let of_tickets = waiting.map(|parked| parked.object.as_str());
        let mut objects: Vec<String> = of_znodes.chain(of_tickets).map(str::to_owned).collect();
        objects.sort();
        objects.dedup();
        for object in objects {
            let event = Event::SessionClosed(session);
            if let Err(failure) = self.event_within(&object, &event, Some(session)) {
                self.faults.push(failure);
            }
        }
        let owned = self.world.znodes.iter().filter(|(_, znode)| znode.owner == Some(session));
        let paths: Vec<String> = owned.map(|(path, _)| path.clone()).collect();
        for path in paths {
            self.world.znodes.remove(&path);
        }
        self.world.tickets.retain(|_, parked| parked.session != session);
        self.world.sessions.remove(&session);
        self.commit();
    }

    /// Lets time pass. Timers and deadlines fire in order of their times, each at its own time.
    pub fn advance(&mut self, ms: u64) {
        let end_ms = self.world.now_ms + ms;
        while let Some(at_ms) = self.next_due_ms().filter(|at_ms| *at_ms <= end_ms) {
            self.world.now_ms = self.world.now_ms.max(at_ms);
            self.fire_one_due();
        }
        self.world.now_ms = end_ms;
    }

    fn next_due_ms(&self) -> Option<u64> {
        let deadlines = self.world.tickets.values().filter_map(|parked| parked.deadline_ms);
        self.world.timers.values().copied().chain(deadlines).min()
    }

    fn fire_one_due(&mut self) {
        let now_ms = self.world.now_ms;
        let is_due = |deadline_ms: Option<u64>| deadline_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let expired = self.world.tickets.iter().find(|(_, parked)| is_due(parked.deadline_ms));
        if let Some(ticket) = expired.map(|(ticket, _)| *ticket) {
            let refusal = Failure::new("timed-out", "the wait is over");
            self.end_ticket(ticket, refusal, Event::TicketExpired);
            return;
        }
        let due = self.world.timers.iter().find(|(_, at_ms)| **at_ms <= now_ms);
        if let Some((object, name)) = due.map(|(key, _)| key.clone()) {
            self.world.timers.remove(&(object.clone(), name.clone()));
            let _ = self.event(&object, &Event::Timer(name), None);
        }
    }

    /// The caller of a parked call gives it up.
    ///
    /// # Panics
    /// The call is not parked any more.
    #[track_caller]
    pub fn cancel<T>(&mut self, ticket: Ticket<T>) {
        assert!(self.world.tickets.contains_key(&ticket.id()), "the call is parked");
        let refusal = Failure::new("cancelled", "the caller gave up");
        self.end_ticket(ticket.id(), refusal, Event::TicketCancelled);
    }

    fn end_ticket(&mut self, ticket: TicketId, refusal: Failure, event: fn(EndedTicket) -> Event) {
        let Some(parked) = self.world.tickets.remove(&ticket) else { return };
        self.world.answers.insert(ticket, Err(refusal));
        let ended = EndedTicket { ticket, session: parked.session };
        let _ = self.event(&parked.object, &event(ended), None);
    }

    /// Changes the configuration.
    ///
    /// # Errors
    /// The recipe's refusal: the configuration before stays.
    pub fn configure(&mut self, config: &impl Serialize) -> Result<()> {
        let config = codec::encode(config)?;
        let before = std::mem::replace(&mut self.world.config, config);
        let told = self.event("", &Event::ConfigChanged(before.clone()), None);
        if told.is_err() {
            self.world.config = before;
        }
        told
    }

    /// Puts a newer recipe in charge of the same state.
    ///
    /// # Errors
    /// The newer one's `migrate` refuses; the state is lost to this test.
    pub fn upgrade<Newer: Recipe>(self) -> Result<TestMount<Newer>> {
        let mut mount = TestMount::<Newer> {
            world: self.world,
            faults: self.faults,
            next_session: self.next_session,
            recipe: PhantomData,
        };
        let from = R::describe().state_version;
        if from != Newer::describe().state_version {
            mount.run(|| Newer::migrate(&Run::on(String::new()), from))?;
            mount.commit();
        }
        Ok(mount)
    }

    /// The reply pushed to a parked call, once: afterwards it counts as received.
    ///
    /// # Panics
    /// The reply is not a `T`.
    #[track_caller]
    pub fn pushed<T: DeserializeOwned>(&mut self, ticket: Ticket<T>) -> Option<Result<T>> {
        let answer = self.world.answers.remove(&ticket.id())?;
        let decode = |reply: Vec<u8>| {
            codec::decode(&reply).expect("the reply is of the type the ticket was parked for")
        };
        Some(answer.map(decode))
    }

    /// Paths of every znode below the mount, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        self.world.znodes.keys().map(String::as_str).filter(|path| !path.is_empty()).collect()
    }

    /// Data of a znode, by its path relative to the mount; none also if it is not a `T`.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        codec::decode(&self.world.znodes.get(path)?.data).ok()
    }

    /// How many calls are parked.
    #[must_use]
    pub fn parked_count(&self) -> usize {
        self.world.tickets.len()
    }

    /// When each timer is due, by object and name.
    #[must_use]
    pub fn timers(&self) -> Vec<(&str, &str, u64)> {
        let timers = self.world.timers.iter();
        timers.map(|((object, name), at_ms)| (object.as_str(), name.as_str(), *at_ms)).collect()
    }

    /// What the recipe logged.
    #[must_use]
    pub fn log(&self) -> &[(Level, String)] {
        &self.world.log
    }

    /// Refusals of event handlers, whose changes were taken back.
    #[must_use]
    pub fn faults(&self) -> &[Failure] {
        &self.faults
    }

    /// Asserts that no znode, parked call or timer is left and no event handler has failed.
    ///
    /// # Panics
    /// When one is.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.paths(), [""; 0], "znodes are left");
        assert_eq!(self.parked_count(), 0, "calls are parked");
        assert_eq!(self.timers(), [], "timers are left");
        assert_eq!(self.faults(), [], "handlers have failed");
    }

    /// The clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.world.now_ms
    }
}

/// The next number of a seeded sequence (splitmix64, Steele, Lea and Flood 2014): one seed gives one
/// run of a randomized test. `state` begins as the seed.
///
/// ```
/// use quorate_recipe::testing::splitmix64;
///
/// let (mut one, mut other) = (7, 7);
/// assert_eq!(splitmix64(&mut one), splitmix64(&mut other));
/// ```
pub fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
