//! The one trait across a seam: who runs recipes.
//!
//! Comes in: which component to run, on what, within which limits, against a [`RecipeView`]. Goes
//! out: how the run ended. Invariant: an executor touches state only through the view, so that a
//! run that faults is undone by whoever started it. Must never: give answers that differ between
//! two runs on equal views.

use crate::view::RecipeView;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::recipe::{OperationFigures, RecipeDescriptor, RecipeLimits};
use quorate_types::{ComponentDigest, ErrorCode, RecipeSignature, SessionId, TicketId, ZnodePath};

/// What an executor knows of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentStatus {
    /// Unknown here, or being compiled: try again.
    Loading,
    /// Compiled; this is what it says of itself.
    Ready(RecipeDescriptor),
    /// It cannot be a recipe, for this reason.
    Invalid(String),
}

/// Something that happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipeEvent<'a> {
    /// The recipe was mounted.
    Mounted,
    /// The first command on this object is about to run.
    ObjectCreated,
    /// The configuration changed; this was the one before.
    ConfigChanged(&'a [u8]),
    /// The session is ending: what it owns is still there.
    SessionClosed(SessionId),
    /// The timer of this name is due; it is no longer set.
    Timer(&'a str),
    /// A parked call's deadline has passed; its caller has been answered.
    TicketExpired {
        /// Which call.
        ticket: TicketId,
        /// Whose.
        session: SessionId,
    },
    /// A parked call was given up; its caller has been answered.
    TicketCancelled {
        /// Which call.
        ticket: TicketId,
        /// Whose.
        session: SessionId,
    },
    /// Somebody else changed this znode, relative to the mount, of an open mount.
    ZnodeChanged(&'a str),
}

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipeRun<'a> {
    /// An operation of the recipe.
    Invoke {
        /// Relative to the mount; empty: the mount itself.
        object: &'a str,
        /// Name of the operation.
        operation: &'a str,
        /// CBOR.
        arguments: &'a [u8],
        /// The caller's session.
        session: SessionId,
        /// The caller's name.
        identity: &'a str,
    },
    /// Its event handler.
    Event {
        /// Relative to the mount; empty: the mount itself.
        object: &'a str,
        /// What happened.
        event: RecipeEvent<'a>,
    },
    /// Its migration from another version's state.
    Migrate {
        /// The state version that the znodes have.
        from_state_version: u32,
    },
}

impl<'a> RecipeRun<'a> {
    /// What is run: the operation's name; in parentheses, which cannot be in one, anything else.
    #[must_use]
    pub fn name(self) -> &'a str {
        match self {
            RecipeRun::Invoke { operation, .. } => operation,
            RecipeRun::Migrate { .. } => "(migrate)",
            RecipeRun::Event { event, .. } => match event {
                RecipeEvent::Mounted => "(mounted)",
                RecipeEvent::ObjectCreated => "(object-created)",
                RecipeEvent::ConfigChanged(_) => "(config-changed)",
                RecipeEvent::SessionClosed(_) => "(session-closed)",
                RecipeEvent::Timer(_) => "(timer)",
                RecipeEvent::TicketExpired { .. } => "(ticket-expired)",
                RecipeEvent::TicketCancelled { .. } => "(ticket-cancelled)",
                RecipeEvent::ZnodeChanged(_) => "(znode-changed)",
            },
        }
    }
}

/// A recipe's refusal: the recipe worked and said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeFailure {
    /// The recipe's own code.
    pub code: String,
    /// For a person.
    pub message: String,
    /// CBOR, or empty.
    pub detail: Bytes,
}

/// How a run that worked ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeEnd {
    /// An operation is done: CBOR.
    Done(Bytes),
    /// A command waits under this ticket, which this very run parked.
    Parked(TicketId),
    /// An event or a migration was handled.
    Handled,
    /// Refused; whoever started the run undoes its changes.
    Refused(RecipeFailure),
}

/// How a run broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipeFaultKind {
    /// It trapped, or broke the contract.
    Trap,
    /// It used up its fuel.
    OutOfFuel,
    /// It wanted more memory than allowed.
    OutOfMemory,
    /// It passed a limit on changes, bytes or tickets.
    OverLimit,
    /// The component is not compiled here: not the recipe's fault, never counted.
    NotReady,
}

impl RecipeFaultKind {
    /// The code that a client is told.
    #[must_use]
    pub fn error_code(self) -> ErrorCode {
        match self {
            RecipeFaultKind::Trap => ErrorCode::RecipeTrapped,
            RecipeFaultKind::OutOfFuel => ErrorCode::RecipeOutOfFuel,
            RecipeFaultKind::OutOfMemory => ErrorCode::RecipeOutOfMemory,
            RecipeFaultKind::OverLimit => ErrorCode::RecipeOverLimit,
            RecipeFaultKind::NotReady => ErrorCode::RecipeLoading,
        }
    }
}

/// A run that broke; whoever started it undoes its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeFault {
    /// How.
    pub kind: RecipeFaultKind,
    /// For a person.
    pub message: String,
    /// Fuel used until then.
    pub fuel_used: u64,
}

/// Runs recipes. Implemented by `recipe-host` with Wasm, and natively in tests.
pub trait RecipeExecutor {
    /// Fuel of all runs and checks of signatures so far; 0 forever from an executor that does not count. Grows within a run
    /// only when that ends.
    fn fuel_used(&self) -> u64 {
        0
    }

    /// Whether a component may come in, by its digest or by a signature of it. Not defaulted: who
    /// stands between must not let in what the one behind would refuse.
    ///
    /// # Errors
    /// It may not; why, for a person.
    fn vouch(
        &mut self,
        component: &ComponentDigest,
        signature: Option<&RecipeSignature>,
    ) -> Result<(), String>;

    /// What is known of a component.
    fn status(&self, component: &ComponentDigest) -> ComponentStatus;

    /// Runs a component once.
    ///
    /// # Errors
    /// When the run broke, or the component is not ready ([`RecipeFaultKind::NotReady`]).
    fn run(
        &mut self,
        component: &ComponentDigest,
        run: RecipeRun<'_>,
        limits: &RecipeLimits,
        view: &mut RecipeView<'_>,
    ) -> Result<RecipeEnd, RecipeFault>;

    /// Whether the runs that follow count in figures: those made only to be compared do not.
    fn set_counted(&mut self, counted: bool) {
        let _ = counted;
    }

    /// What the runs of a mount have cost so far, by operation.
    fn figures(&self, mount: &ZnodePath) -> Vec<OperationFigures> {
        let _ = mount;
        Vec::new()
    }
}

/// Runs nothing: for a machine in which no component is ever installed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecipes;

impl RecipeExecutor for NoRecipes {
    fn vouch(&mut self, _: &ComponentDigest, _: Option<&RecipeSignature>) -> Result<(), String> {
        Ok(())
    }

    fn status(&self, _: &ComponentDigest) -> ComponentStatus {
        ComponentStatus::Loading
    }

    fn run(
        &mut self,
        _: &ComponentDigest,
        _: RecipeRun<'_>,
        _: &RecipeLimits,
        _: &mut RecipeView<'_>,
    ) -> Result<RecipeEnd, RecipeFault> {
        let message = String::from("no recipe runs here");
        Err(RecipeFault { kind: RecipeFaultKind::NotReady, message, fuel_used: 0 })
    }
}
