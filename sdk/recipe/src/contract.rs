//! The trait behind `#[recipe]`, and the conversions its generated code uses.
//!
//! Comes in: an operation's name and CBOR arguments, or an event. Goes out: CBOR, a parked ticket or
//! a refusal. Nobody writes [`Recipe`] by hand; the macro does.

use crate::object::{Call, Run, SessionId};
use crate::ticket::{Reply, TicketId};
use crate::{Failure, Result, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Whether an operation may change state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// It may: it runs on the leader and its effects are replicated.
    Command,
    /// It may not: it runs on the server asked.
    Query,
}

/// One operation, as `describe` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationDescriptor {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// Command or query.
    pub kind: OperationKind,
    /// The doc comment.
    pub doc: &'static str,
    /// JSON Schema of what it takes.
    pub arguments_schema: String,
    /// JSON Schema of what it gives back, at once or to a parked caller.
    pub reply_schema: String,
}

/// What a recipe says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// `major.minor.patch`.
    pub version: &'static str,
    /// Version of the layout of its znodes.
    pub state_version: u32,
    /// The doc comment.
    pub doc: &'static str,
    /// Every operation.
    pub operations: Vec<OperationDescriptor>,
    /// JSON Schema of what a mount may be given; empty: not said.
    pub config_schema: String,
    /// Fuel that one run may need; `None`: the cluster's limit.
    pub fuel_wanted: Option<u64>,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply, CBOR.
    Done(Vec<u8>),
    /// The caller waits under this ticket.
    Parked(TicketId),
}

/// A parked call that ended without the recipe's doing. Its caller has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTicket {
    /// Its number.
    pub ticket: TicketId,
    /// Who had called.
    pub session: SessionId,
}

/// What a recipe can be told besides calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The recipe was mounted.
    Mounted,
    /// The first command on this object is about to run.
    ObjectCreated,
    /// The configuration changed; this was the one before, CBOR.
    ConfigChanged(Vec<u8>),
    /// The session is ending: what it owns is still there and goes afterwards.
    SessionClosed(SessionId),
    /// A timer of the object is due.
    Timer(String),
    /// A parked call's deadline has passed.
    TicketExpired(EndedTicket),
    /// A parked call was given up by its caller.
    TicketCancelled(EndedTicket),
    /// Somebody else changed this znode of an open mount; the path is relative to the object.
    ZnodeChanged(String),
    /// An event that came after this version of the contract.
    Other(String, Vec<u8>),
}

/// A recipe as the server runs it. Implemented by `#[recipe]`.
pub trait Recipe: 'static {
    /// What it says of itself.
    fn describe() -> Descriptor;

    /// Runs one operation.
    ///
    /// # Errors
    /// The recipe's refusal, or `unknown-operation`, or `bad-arguments`.
    fn invoke(call: &Call, operation: &str, arguments: &[u8]) -> Result<Outcome>;

    /// Hears of an event; events without a handler are let pass.
    ///
    /// # Errors
    /// The handler's refusal: its changes are rolled back.
    fn on_event(run: &Run, event: &Event) -> Result<()>;

    /// Brings the znodes of an older version up to this one.
    ///
    /// # Errors
    /// The recipe cannot: the older version stays in charge.
    fn migrate(run: &Run, from_state_version: u32) -> Result<()>;
}

/// What a command may give back: a value with a CBOR form, or a [`Reply`] of one.
#[diagnostic::on_unimplemented(
    message = "a command cannot reply with `{Self}`",
    label = "not a reply",
    note = "derive `Serialize` for it; to park the caller, reply with `Reply<T>`"
)]
pub trait IntoOutcome {
    /// As the server wants it.
    ///
    /// # Errors
    /// The value has no CBOR form.
    fn into_outcome(self) -> Result<Outcome>;
}

impl<R: Serialize> IntoOutcome for R {
    fn into_outcome(self) -> Result<Outcome> {
        Ok(Outcome::Done(codec::encode(&self)?))
    }
}

impl<R: Serialize> IntoOutcome for Reply<R> {
    fn into_outcome(self) -> Result<Outcome> {
        match self {
            Reply::Done(reply) => reply.into_outcome(),
            Reply::Parked(ticket) => Ok(Outcome::Parked(ticket.id())),
        }
    }
}

/// What a query may give back: a value with a CBOR form. A query cannot park.
#[diagnostic::on_unimplemented(
    message = "a query cannot reply with `{Self}`",
    label = "not a reply",
    note = "derive `Serialize` for it; only a `#[command]` may park and reply with `Reply<T>`"
)]
pub trait IntoReply {
    /// As the server wants it.
    ///
    /// # Errors
    /// The value has no CBOR form.
    fn into_reply(self) -> Result<Outcome>;
}

impl<R: Serialize> IntoReply for R {
    fn into_reply(self) -> Result<Outcome> {
        Ok(Outcome::Done(codec::encode(&self)?))
    }
}

const NULL: &[u8] = &[0xf6];
const EMPTY_MAP: &[u8] = &[0xa0];

/// Decodes arguments. None at all, or null, is also read as a map without entries, so that a
/// caller may leave out arguments that all have defaults.
///
/// # Errors
/// `bad-arguments`.
pub fn read_arguments<T: DeserializeOwned>(arguments: &[u8]) -> Result<T> {
    let nothing = arguments.is_empty() || arguments == NULL;
    let given = if nothing { NULL } else { arguments };
    let refused = |error: codec::DecodeError| Failure::new("bad-arguments", error.to_string());
    match codec::decode(given) {
        Err(_) if nothing => codec::decode(EMPTY_MAP).map_err(refused),
        decoded => decoded.map_err(refused),
    }
}

/// Accepts nothing, null and a map without entries.
///
/// # Errors
/// `bad-arguments`: something was given.
pub fn read_no_arguments(arguments: &[u8]) -> Result<()> {
    if arguments.is_empty() || arguments == NULL || arguments == EMPTY_MAP {
        return Ok(());
    }
    Err(Failure::new("bad-arguments", "this operation takes no arguments"))
}

/// The answer of a recipe without a `#[migrate]`.
///
/// # Errors
/// `no-migration`, unless both versions are the same.
pub fn no_migration(from_state_version: u32, to_state_version: u32) -> Result<()> {
    if from_state_version == to_state_version {
        return Ok(());
    }
    let message = format!(
        "this recipe cannot bring state version {from_state_version} to {to_state_version}"
    );
    Err(Failure::new("no-migration", message))
}

/// Decodes a configuration; none at all, or null, is the default one.
///
/// # Errors
/// `bad-config`.
pub fn read_config<T: DeserializeOwned + Default>(config: &[u8]) -> Result<T> {
    if config.is_empty() || config == NULL {
        return Ok(T::default());
    }
    codec::decode(config).map_err(|error| Failure::new("bad-config", error.to_string()))
}
