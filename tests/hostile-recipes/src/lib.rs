//! Components that attack whoever compiles, mounts or calls them, one table for the tests of every level.
//!
//! Comes in: nothing. Goes out: attacks, each with its component, the step at which it must be
//! stopped, and the error it must end with. Invariant: an attack is made in one place, whoever runs
//! it. Must never: be used by anything that people run.

pub mod bombs;
pub mod calls;
pub mod forms;
pub mod guest;
pub mod handlers;

use quorate_types::ErrorCode;

/// The step of a recipe's life at which an attack must be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The component never becomes a recipe.
    Install,
    /// The mount is refused.
    Mount,
    /// The command `run` is refused on the object `a`; the command `behave` does nothing on `b`.
    Call,
    /// An upgrade from [`handlers::keeper`] is refused; what that one kept stays.
    Upgrade,
    /// The command `run` makes an ephemeral znode of its caller; it goes with the session all the same.
    SessionEnd,
}

/// How the component of an attack is made.
#[derive(Clone, Copy, Debug)]
pub enum Made {
    /// By a function that gives its bytes.
    Component(fn() -> Vec<u8>),
    /// From WebAssembly text: what its `invoke` does, and functions, tables and data of the module.
    Invoke {
        /// The body of `invoke`.
        body: &'static str,
        /// Functions, tables and data.
        more: &'static str,
    },
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What it does, unique.
    pub name: &'static str,
    /// How its component is made.
    pub made: Made,
    /// Where it must be stopped.
    pub stopped_at: Step,
    /// The error that whoever asked for the step is told. At the end of a session nobody asked: it is
    /// how the handler ends.
    pub code: ErrorCode,
    /// Words of the error.
    pub words: &'static str,
}

impl Attack {
    /// The component's bytes.
    #[must_use]
    pub fn component(&self) -> Vec<u8> {
        match self.made {
            Made::Component(make) => make(),
            Made::Invoke { body, more } => calls::guest(body, more).build(),
        }
    }
}

/// A component that cannot be a recipe.
const fn refused(name: &'static str, make: fn() -> Vec<u8>, words: &'static str) -> Attack {
    let (made, stopped_at) = (Made::Component(make), Step::Install);
    Attack { name, made, stopped_at, code: ErrorCode::RecipeInvalid, words }
}

/// All attacks of all tables.
pub fn all() -> impl Iterator<Item = &'static Attack> {
    let tables = [
        bombs::BOMBS,
        forms::FORMS,
        forms::DESCRIPTIONS,
        calls::TIME,
        calls::SPACE,
        calls::FLOODS,
        calls::LIES,
        calls::ESCAPES,
        handlers::ON_MOUNTED,
        handlers::ON_OBJECT_CREATED,
        handlers::ON_SESSION_CLOSED,
        handlers::MIGRATIONS,
    ];
    tables.into_iter().flatten()
}
