//! A mount in memory, for the tests of a recipe.
//!
//! Comes in: calls, ends of sessions, time. Goes out: replies, pushed replies, the znodes.
//! Invariants, as on the server: a refused call changes nothing; objects come into being at their
//! first command and go when they have no data, children, parked calls and timers; a session that
//! ends is told to the recipe before what it owned goes. Beyond the server: every run is done twice from the same state,
//! and both must agree.
//!
//! Traps and limits are not simulated: what panics here would trap there.

mod draw;
mod history;
mod mounted;
mod scenarios;
mod served;
mod simulated;
mod simulation;

use crate::codec;
use crate::contract::{Outcome, Recipe};
use crate::failure::{Failure, Result};
use crate::host::native::World;
use crate::object::{Level, SessionId};
use crate::ticket::Ticket;
use mounted::{Mounted, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

pub use draw::{Draw, NextCall};
pub use history::{CallRecord, History, Seen};
pub use scenarios::run_scenarios;
pub use simulation::Simulation;

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
    mounted: Mounted,
    recipe: PhantomData<R>,
}

impl<R> std::fmt::Debug for TestMount<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestMount").field("world", &self.mounted.world).finish_non_exhaustive()
    }
}

/// The number of the transaction that the mount of every test is.
const FIRST_ZXID: u64 = 1;

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
        let mut mounted = Mounted::unmounted(Version::of::<R>(), FIRST_ZXID);
        if let Err(failure) = mounted.mount(config) {
            panic!("the mount was refused: {failure}");
        }
        TestMount { mounted, recipe: PhantomData }
    }

    /// Opens a session; its identity is `user-` and how many were opened.
    pub fn session(&mut self) -> SessionId {
        self.mounted.open_session(None)
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
    /// The refusal: the recipe's, or the server's of what is no operation or object.
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
        self.mounted.call(session, object, operation, arguments)
    }

    /// Ends a session: each object where it owns something is told, then what it owned goes.
    #[track_caller]
    pub fn close(&mut self, session: SessionId) {
        self.mounted.close(session);
    }

    /// A client creates a znode itself, as below a mount that is open; the path is relative to the mount.
    ///
    /// # Errors
    /// As [`crate::Object::create_owned`].
    #[track_caller]
    pub fn create_plain(
        &mut self,
        path: &str,
        data: &[u8],
        owner: Option<SessionId>,
    ) -> Result<()> {
        let create = |world: &mut World| {
            world.create(path, data, owner)?;
            Ok(path.to_owned())
        };
        self.mounted.write_plain(path, create).map(drop)
    }

    /// As [`TestMount::create_plain`], with a number after the path; gives the path.
    ///
    /// # Errors
    /// As [`TestMount::create_plain`].
    #[track_caller]
    pub fn create_plain_sequential(
        &mut self,
        prefix: &str,
        data: &[u8],
        owner: Option<SessionId>,
    ) -> Result<String> {
        let create = |world: &mut World| {
            let name = world.create_sequential(prefix, data, owner)?;
            let parent = prefix.rsplit_once('/').map(|(parent, _)| parent);
            Ok(parent.map_or_else(|| name.clone(), |parent| format!("{parent}/{name}")))
        };
        self.mounted.write_plain(prefix, create)
    }

    /// A client deletes a znode itself, as below a mount that is open.
    ///
    /// # Errors
    /// `no-node`; `not-empty`.
    #[track_caller]
    pub fn delete_plain(&mut self, path: &str) -> Result<()> {
        let delete = |world: &mut World| world.delete(path, None).map(|()| path.to_owned());
        self.mounted.write_plain(path, delete).map(drop)
    }

    /// Lets time pass. Timers and deadlines fire in order of their times, each at its own time.
    #[track_caller]
    pub fn advance(&mut self, ms: u64) {
        self.mounted.advance(ms);
    }

    /// Lets time pass at once, as while there is no leader or after a clock was set: what is due by
    /// then fires late, in order of the times it was due.
    #[track_caller]
    pub fn jump(&mut self, ms: u64) {
        self.mounted.jump(ms);
    }

    /// The caller of a parked call gives it up.
    ///
    /// # Panics
    /// The call is not parked any more.
    #[track_caller]
    pub fn cancel<T>(&mut self, ticket: Ticket<T>) {
        assert!(self.mounted.world.tickets.contains_key(&ticket.id()), "the call is parked");
        self.mounted.cancel(ticket.id());
    }

    /// Changes the configuration. The same one again is told to nobody.
    ///
    /// # Errors
    /// The recipe's refusal: the configuration before stays.
    pub fn configure(&mut self, config: &impl Serialize) -> Result<()> {
        self.mounted.configure(codec::encode(config)?)
    }

    /// Puts another version of the recipe in charge of the same state, parked calls and timers.
    ///
    /// # Errors
    /// `recipe-in-use`: it has another name; `recipe-invalid`: its state version is lower; the
    /// refusal of its `migrate`. The state is lost to this test.
    pub fn upgrade<Newer: Recipe>(mut self) -> Result<TestMount<Newer>> {
        self.mounted.upgrade(Version::of::<Newer>())?;
        Ok(TestMount { mounted: self.mounted, recipe: PhantomData })
    }

    /// The reply pushed to a parked call, once: afterwards it counts as received.
    ///
    /// # Panics
    /// The reply is not a `T`.
    #[track_caller]
    pub fn pushed<T: DeserializeOwned>(&mut self, ticket: Ticket<T>) -> Option<Result<T>> {
        let answers = &mut self.mounted.world.answers;
        let position = answers.iter().position(|(answered, _)| *answered == ticket.id())?;
        let (_, answer) = answers.remove(position);
        let decode = |reply: Vec<u8>| {
            codec::decode(&reply).expect("the reply is of the type the ticket was parked for")
        };
        Some(answer.map(decode))
    }

    /// Paths of every znode below the mount, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        self.mounted
            .world
            .znodes
            .keys()
            .map(String::as_str)
            .filter(|path| !path.is_empty())
            .collect()
    }

    /// Data of a znode, by its path relative to the mount; none also if it is not a `T`.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        codec::decode(&self.mounted.world.znodes.get(path)?.data).ok()
    }

    /// How many calls are parked.
    #[must_use]
    pub fn parked_count(&self) -> usize {
        self.mounted.world.tickets.len()
    }

    /// When each timer is due, by object and name.
    #[must_use]
    pub fn timers(&self) -> Vec<(&str, &str, u64)> {
        let timers = self.mounted.world.timers.iter();
        timers.map(|((object, name), at_ms)| (object.as_str(), name.as_str(), *at_ms)).collect()
    }

    /// What the recipe logged.
    #[must_use]
    pub fn log(&self) -> &[(Level, String)] {
        &self.mounted.world.log
    }

    /// Refusals of event handlers, whose changes were taken back.
    #[must_use]
    pub fn faults(&self) -> &[Failure] {
        &self.mounted.faults
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
        self.mounted.world.now_ms
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
