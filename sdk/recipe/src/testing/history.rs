//! What a simulation's clients asked and were told, and what its invariants see.

use super::mounted::Mounted;
use super::served::CallNumber;
use crate::codec;
use crate::failure::{Failure, Result};
use crate::object::SessionId;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// One call and its answer.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// Which client, counted from 0.
    pub client: usize,
    /// Its session at that time.
    pub session: SessionId,
    /// On what; `""` is the mount itself.
    pub object: String,
    /// Which operation.
    pub operation: String,
    /// When it was called: milliseconds since 1970.
    pub called_ms: u64,
    /// When it was answered; `None`: it waits, or its session ended first.
    pub answered_ms: Option<u64>,
    /// The step that made it.
    pub(crate) step: usize,
    pub(crate) number: CallNumber,
    arguments: Vec<u8>,
    answer: Option<Result<Vec<u8>>>,
}

impl CallRecord {
    /// What it was called with; `None`: that is no `T`.
    #[must_use]
    pub fn arguments<T: DeserializeOwned>(&self) -> Option<T> {
        codec::decode(&self.arguments).ok()
    }

    /// The reply; `None`: it was refused or waits, or the reply is no `T`.
    #[must_use]
    pub fn reply<T: DeserializeOwned>(&self) -> Option<T> {
        codec::decode(self.answer.as_ref()?.as_ref().ok()?).ok()
    }

    /// Whether it was answered with a reply.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.answer.as_ref().is_some_and(Result::is_ok)
    }

    /// The refusal, if it was refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Failure> {
        self.answer.as_ref()?.as_ref().err()
    }

    /// Whether it has no answer: it waits, or its session ended first.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.answer.is_none()
    }

    pub(crate) fn answer(&self) -> Option<&Result<Vec<u8>>> {
        self.answer.as_ref()
    }
}

/// Everything that happened to the clients of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    calls: Vec<CallRecord>,
    /// Places in `calls`, in the order of the answers.
    answered: Vec<usize>,
    /// By client.
    sessions: Vec<SessionId>,
    ended: BTreeSet<SessionId>,
}

impl History {
    /// The calls in the order in which they were made.
    #[must_use]
    pub fn calls(&self) -> &[CallRecord] {
        &self.calls
    }

    /// The calls that were answered, in the order of their answers.
    pub fn answered(&self) -> impl Iterator<Item = &CallRecord> {
        self.answered.iter().map(|place| &self.calls[*place])
    }

    /// Whether a session is still open.
    #[must_use]
    pub fn is_open(&self, session: SessionId) -> bool {
        !self.ended.contains(&session)
    }

    /// The session that a client has now.
    ///
    /// # Panics
    /// There is no such client.
    #[must_use]
    pub fn session_of(&self, client: usize) -> SessionId {
        self.sessions[client]
    }

    pub(crate) fn client_count(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn opened(&mut self, client: usize, session: SessionId) {
        if client < self.sessions.len() {
            self.sessions[client] = session;
        } else {
            self.sessions.push(session);
        }
    }

    pub(crate) fn ended(&mut self, session: SessionId) {
        self.ended.insert(session);
    }

    pub(crate) fn called(
        &mut self,
        (step, number): (usize, CallNumber),
        call: &super::NextCall,
        now_ms: u64,
    ) {
        self.calls.push(CallRecord {
            client: call.client,
            session: self.session_of(call.client),
            object: call.object.clone(),
            operation: call.operation.clone(),
            called_ms: now_ms,
            answered_ms: None,
            step,
            number,
            arguments: call.arguments.clone(),
            answer: None,
        });
    }

    /// Takes an answer in; gives whose it is.
    pub(crate) fn answer(
        &mut self,
        (session, number): (SessionId, CallNumber),
        answer: Result<Vec<u8>>,
        now_ms: u64,
    ) -> &CallRecord {
        let is_it = |call: &CallRecord| (call.session, call.number) == (session, number);
        let place = self.calls.iter().rposition(is_it).expect("only calls made are answered");
        self.answered.push(place);
        let call = &mut self.calls[place];
        (call.answer, call.answered_ms) = (Some(answer), Some(now_ms));
        call
    }

    pub(crate) fn made_at(&self, step: usize) -> Option<&CallRecord> {
        self.calls.iter().find(|call| call.step == step)
    }

    /// Steps of the calls that wait.
    pub(crate) fn waiting(&self) -> Vec<usize> {
        let waits = |call: &&CallRecord| call.answer.is_none() && self.is_open(call.session);
        self.calls.iter().filter(waits).map(|call| call.step).collect()
    }
}

/// A mount and its history at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'run> {
    mounted: &'run Mounted,
    history: &'run History,
}

impl<'run> Seen<'run> {
    pub(crate) fn new(mounted: &'run Mounted, history: &'run History) -> Seen<'run> {
        Seen { mounted, history }
    }

    /// What the clients asked and were told.
    #[must_use]
    pub fn history(&self) -> &'run History {
        self.history
    }

    /// Paths of every znode below the mount, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<&'run str> {
        let all = self.mounted.world.znodes.keys().map(String::as_str);
        all.filter(|path| !path.is_empty()).collect()
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

    /// How many timers are set.
    #[must_use]
    pub fn timer_count(&self) -> usize {
        self.mounted.world.timers.len()
    }

    /// The clock: milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.mounted.world.now_ms
    }

    /// The configuration; the default one if none was given, or if it is no `C`.
    #[must_use]
    pub fn config<C: DeserializeOwned + Default>(&self) -> C {
        crate::contract::read_config(&self.mounted.world.config).unwrap_or_default()
    }
}
