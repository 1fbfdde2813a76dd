//! A client's turn: what its part of a trial may do.
//!
//! Comes in: what the part wants to call. Goes out: calls in the client's name. Invariant: every draw
//! comes from the run's seed. Must never show a part what its client could not know.

use crate::history::OperationId;
use crate::work::{call, to_cbor};
use crate::world::World;
use bytes::Bytes;
use quorate_client::protocol::CallFailure;
use quorate_faulty_disk::Choices;
use quorate_types::request::ReadLevel;
use quorate_types::{Refusal, Reply, ZnodePath};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A client's turn.
pub struct Turn<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) client: usize,
    pub(crate) mount: &'a ZnodePath,
    /// Calls of this session under way.
    pub(crate) under_way: &'a mut Vec<OperationId>,
}

impl Turn<'_> {
    /// Which client it is.
    #[must_use]
    pub fn client(&self) -> usize {
        self.client
    }

    pub fn choices(&mut self) -> &mut Choices {
        &mut self.world.choices
    }

    /// True time, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.world.now_ms
    }

    /// The mean pause between two of a client's turns.
    #[must_use]
    pub fn pause_ms(&self) -> u64 {
        self.world.plan.pause_ms
    }

    /// The shortest timeout that a session may have here.
    #[must_use]
    pub fn session_timeout_ms(&self) -> u64 {
        self.world.plan.session_timeout_ms.0
    }

    /// How long a caller is willing to wait: not at all, for ever, or up to two session timeouts.
    pub fn draw_wait_ms(&mut self) -> Option<u64> {
        let longest_ms = self.session_timeout_ms() * 2;
        let choices = self.choices();
        match choices.below(4) {
            0 => Some(0),
            1 => None,
            _ => Some(1 + choices.below(longest_ms)),
        }
    }

    /// Calls of this session that have no answer yet.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Calls an operation of an object.
    pub fn call(
        &mut self,
        object: &str,
        operation: &str,
        arguments: &impl Serialize,
    ) -> OperationId {
        self.call_bytes(object, operation, to_cbor(arguments), ReadLevel::Linearizable)
    }

    /// Calls an operation without arguments.
    pub fn call_plainly(&mut self, object: &str, operation: &str) -> OperationId {
        self.call_bytes(object, operation, Bytes::new(), ReadLevel::Linearizable)
    }

    /// Asks a query, at a level that is drawn. `arguments`: see [`to_cbor`]; empty: none.
    pub fn query(&mut self, object: &str, operation: &str, arguments: Bytes) -> OperationId {
        let level = [ReadLevel::Linearizable, ReadLevel::Local][self.choices().below(2) as usize];
        self.call_bytes(object, operation, arguments, level)
    }

    fn call_bytes(
        &mut self,
        object: &str,
        operation: &str,
        arguments: Bytes,
        level: ReadLevel,
    ) -> OperationId {
        let object = format!("{}/{object}", self.mount);
        let operation = call(object.trim_end_matches('/'), operation, arguments);
        let id = self.world.ask(self.client, operation, level, None);
        self.under_way.push(id);
        id
    }

    /// The caller stops waiting: the call is undone if it was parked, and may be done if it was not.
    pub fn abandon(&mut self, id: OperationId) {
        if let Some(place) = self.under_way.iter().position(|known| *known == id) {
            self.under_way.swap_remove(place);
            self.world.abandon(self.client, id);
        }
    }

    /// [`Turn::abandon`], for one call of this session under way, if there is any.
    pub fn abandon_any(&mut self) {
        let calls = self.under_way.len() as u64;
        if calls > 0 {
            let place = self.choices().below(calls) as usize;
            self.abandon(self.under_way[place]);
        }
    }

    /// [`Turn::abandon`], for every call of this session under way.
    pub fn abandon_all(&mut self) {
        while let Some(id) = self.under_way.first().copied() {
            self.abandon(id);
        }
    }
}

/// How a call ended for its caller.
pub struct EndedCall<'a> {
    pub id: OperationId,
    /// One name below the mount; empty: the mount itself.
    pub object: &'a str,
    pub operation: &'a str,
    pub arguments: &'a [u8],
    pub result: &'a Result<Reply, CallFailure>,
}

impl EndedCall<'_> {
    /// The reply, if the call was answered and the reply is of this kind.
    #[must_use]
    pub fn reply<T: DeserializeOwned>(&self) -> Option<T> {
        match self.result {
            Ok(Reply::Called(bytes)) => serde_cbor::from_slice(bytes).ok(),
            _ => None,
        }
    }

    /// The refusal, if the call was refused. Neither reply nor refusal: nobody knows.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self.result {
            Err(CallFailure::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}
