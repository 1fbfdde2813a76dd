//! What a recipe author imports.
//!
//! Comes in: an inherent `impl` marked [`macro@recipe`], whose methods are operations and event
//! handlers. Goes out: on wasm32 a component of the world `quorate:recipe/recipe`; on any other
//! target a plain library whose recipe runs in [`testing`], so that `cargo test` needs no Wasm.
//! Invariant: everything a recipe can see or do is a method of [`Call`], [`Run`] or [`Object`]; a
//! run has no other input, so repeating it gives the same effects.
//! Must never: keep state between runs. An instance lives for one run, all state is znodes.
//!
//! ```
//! use quorate_recipe::prelude::*;
//!
//! pub struct Counter;
//!
//! /// A number that grows.
//! #[recipe(name = "counter", version = "1.0.0", state = 1)]
//! impl Counter {
//!     /// Adds to the number and gives the sum.
//!     #[command]
//!     pub fn add(call: &Call, by: u64) -> Result<u64> {
//!         let sum = call.get::<u64>("")?.unwrap_or(0) + by;
//!         call.put("", &sum)?;
//!         Ok(sum)
//!     }
//! }
//!
//! let mut mount = quorate_recipe::testing::TestMount::<Counter>::new();
//! let session = mount.session();
//! assert_eq!(mount.call::<u64>(session, "visits", "add", &2u64).done(), 2);
//! assert_eq!(mount.call::<u64>(session, "visits", "add", &3u64).done(), 5);
//! ```

extern crate self as quorate_recipe;

mod blob;
pub mod codec;
mod contract;
mod failure;
#[doc(hidden)]
pub mod host;
mod object;
mod schema;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod ticket;

pub use blob::Blob;
pub use contract::{
    Descriptor, EndedTicket, Event, IntoOutcome, IntoReply, OperationDescriptor, OperationKind,
    Outcome, Recipe, no_migration, read_arguments, read_config, read_no_arguments,
};
pub use failure::{Failure, Result, TreeError};
pub use object::{Call, Child, Level, Object, Run, Session, SessionId, Stat};
pub use quorate_recipe_macros::{Schema, recipe};
#[doc(hidden)]
pub use schema::{
    Field as SchemaField, Variant as SchemaVariant, write_fields, write_items, write_schema,
    write_variants,
};
pub use schema::{Schema, schema_of};
pub use ticket::{Reply, Ticket, TicketId};

/// What nearly every recipe needs; `use quorate_recipe::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Blob, Call, EndedTicket, Failure, Level, Object, Reply, Result, Run, Schema, SessionId,
        Ticket, recipe,
    };
    pub use serde::{Deserialize, Serialize};
}
