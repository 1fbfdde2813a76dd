//! One request on its way, and the bookkeeping of which answers have arrived.
//!
//! Comes in: what the caller submits. Goes out: what a request frame carries. Invariant: an answer
//! is reported to the servers as arrived only after its caller was told, and goes on being reported
//! until a request that went through the log has surely carried it.

use quorate_types::request::ReadLevel;
use quorate_types::{Operation, Refusal, Reply, ZnodePath};
use std::collections::BTreeMap;

/// Names a call between the shell and the protocol; grows with each call.
pub type CallId = u64;

/// A call as its caller wants it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its name.
    pub call: CallId,
    /// What is asked for.
    pub operation: Operation,
    /// How fresh a read must be.
    pub level: ReadLevel,
    /// How long the caller waits, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Whether the timeout goes on once the call is parked.
    pub timeout_covers_parking: bool,
    /// What takes the call back when it turns out to be done although its caller has gone.
    pub undo: Option<Undo>,
}

/// Takes a recipe call back: another call, with the reply of the first as its arguments.
#[derive(Clone, Debug)]
pub struct Undo {
    /// Of which object.
    pub object: ZnodePath,
    /// Under which name.
    pub operation: String,
}

impl Undo {
    /// What takes back what `reply` granted.
    pub fn undoing(&self, reply: &Reply) -> Option<Operation> {
        match reply {
            Reply::Called(granted) => Some(Operation::Call {
                object: self.object.clone(),
                operation: self.operation.clone(),
                arguments: granted.clone(),
            }),
            _ => None,
        }
    }
}

/// For whom a request is made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Purpose {
    Caller(CallId),
    /// To cancel a parked call that was abandoned.
    Cancel,
    /// To undo a call that was done after it was abandoned.
    Undo,
    /// To set watches again at a new server.
    Resume,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    /// Not sent, or sent and not answered.
    Sent,
    /// Answered that it waits.
    Parked,
    /// Refused for a while: to be sent again then, in milliseconds.
    RetryAt(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) purpose: Purpose,
    pub(crate) operation: Operation,
    pub(crate) level: ReadLevel,
    pub(crate) stage: Stage,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) deadline_covers_parking: bool,
    pub(crate) undo: Option<Undo>,
    /// Refusals so far that were worth another try.
    pub(crate) refusals: u32,
    pub(crate) last_refusal: Option<Refusal>,
    pub(crate) abandoned: bool,
    pub(crate) cancel_asked: bool,
}

impl Pending {
    pub(crate) fn for_caller(now_ms: u64, submission: Submission) -> Pending {
        Pending {
            purpose: Purpose::Caller(submission.call),
            operation: submission.operation,
            level: submission.level,
            stage: Stage::Sent,
            deadline_ms: submission.timeout_ms.map(|timeout_ms| now_ms.saturating_add(timeout_ms)),
            deadline_covers_parking: submission.timeout_covers_parking,
            undo: submission.undo,
            refusals: 0,
            last_refusal: None,
            abandoned: false,
            cancel_asked: false,
        }
    }

    pub(crate) fn own(operation: Operation, purpose: Purpose) -> Pending {
        Pending {
            purpose,
            operation,
            level: ReadLevel::Local,
            stage: Stage::Sent,
            deadline_ms: None,
            deadline_covers_parking: false,
            undo: None,
            refusals: 0,
            last_refusal: None,
            abandoned: false,
            cancel_asked: false,
        }
    }

    pub(crate) fn is_recipe_call(&self) -> bool {
        matches!(self.operation, Operation::Call { .. })
    }

    /// Whether nobody wants to know the answer and nothing depends on it.
    pub(crate) fn is_moot(&self) -> bool {
        self.abandoned && !self.is_recipe_call()
    }
}

/// Answered calls that carried an acknowledgement until it is taken as known. A call may be a query
/// that leaves no trace in the log, and the client cannot tell; what slips through is
/// forgotten by the servers when `oldest_unreplied` passes it.
const CALLS_CARRIED: u8 = 8;
/// Acknowledgements in one request.
const CARRIED_MAX: usize = 256;

/// Sequences at or above the oldest request under way whose answers have arrived and of which the
/// servers may still keep the reply.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    /// With the number of answered calls that carried each.
    arrived: BTreeMap<u64, u8>,
    carried: BTreeMap<u64, Vec<u64>>,
}

impl Acknowledgements {
    pub(crate) fn add(&mut self, sequence: u64) {
        self.arrived.insert(sequence, 0);
    }

    /// What the request `sequence` carries when it is sent now.
    pub(crate) fn carried_by(&mut self, sequence: u64, oldest_unreplied: u64) -> Vec<u64> {
        self.arrived = self.arrived.split_off(&oldest_unreplied);
        let list: Vec<u64> = self.arrived.keys().copied().take(CARRIED_MAX).collect();
        if list.is_empty() {
            self.carried.remove(&sequence);
        } else {
            self.carried.insert(sequence, list.clone());
        }
        list
    }

    /// The request `sequence` was answered; `done`: with a reply, not a refusal.
    pub(crate) fn answered(&mut self, sequence: u64, operation: &Operation, done: bool) {
        let Some(list) = self.carried.remove(&sequence) else {
            return;
        };
        if !done || !operation.is_write() {
            return;
        }
        let weight = match operation {
            Operation::Call { .. } => 1,
            _ => CALLS_CARRIED,
        };
        for acknowledged in list {
            if let Some(calls) = self.arrived.get_mut(&acknowledged) {
                *calls = calls.saturating_add(weight);
                if *calls >= CALLS_CARRIED {
                    self.arrived.remove(&acknowledged);
                }
            }
        }
    }
}
