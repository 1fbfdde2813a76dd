//! The `#[recipe]` attribute and `#[derive(Schema)]`.
//!
//! Comes in: an inherent `impl` whose methods are marked `#[command]`, `#[query]`, `#[on(…)]` or
//! `#[migrate]`. Goes out: the same `impl` without the marks, an implementation of
//! `quorate_recipe::Recipe` that dispatches by name, and on wasm32 the component's exports.
//! Invariant: whatever is wrong with the input is said at the place where it is wrong.

use proc_macro2::TokenStream;

mod expand;
mod parse;
mod schema;

#[cfg(test)]
mod tests;

/// Makes a recipe of an inherent `impl`.
///
/// `#[recipe(name = "lock", version = "1.0.0", state = 1)]`; `fuel = N` asks for more fuel per run,
/// `config = T` says what a mount may be given. Without `version` it is the package's. Methods have no `self`: state lives in the tree.
///
/// | mark | form |
/// |---|---|
/// | `#[command]` | `fn(call: &Call [, arguments: T]) -> Result<R>` or `Result<Reply<R>>` |
/// | `#[query]` | `fn(call: &Call [, arguments: T]) -> Result<R>` |
/// | `#[on(mounted)]`, `#[on(object_created)]` | `fn(run: &Run) -> Result<()>` |
/// | `#[on(config_changed)]` | `fn(run: &Run, before: C) -> Result<()>` |
/// | `#[on(session_closed)]` | `fn(run: &Run, session: SessionId) -> Result<()>` |
/// | `#[on(timer)]`, `#[on(znode_changed)]` | `fn(run: &Run, name_or_path: &str) -> Result<()>` |
/// | `#[on(ticket_expired)]`, `#[on(ticket_cancelled)]` | `fn(run: &Run, ended: EndedTicket) -> Result<()>` |
/// | `#[migrate]` | `fn(run: &Run, from_state_version: u32) -> Result<()>` |
///
/// One handler may hear of several events of one form: `#[on(ticket_expired, ticket_cancelled)]`.
/// An operation is called by its method's name in kebab case. Doc comments become the descriptions
/// that clients can ask for.
#[proc_macro_attribute]
pub fn recipe(
    arguments: proc_macro::TokenStream,
    input: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    recipe_tokens(arguments.into(), input.into()).into()
}

/// Says what values of a type look like, as serde writes and reads them.
#[proc_macro_derive(Schema, attributes(serde))]
pub fn schema(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    schema::derive(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn recipe_tokens(arguments: TokenStream, input: TokenStream) -> TokenStream {
    match parse::parse(arguments, input) {
        Ok(recipe) => expand::expand(&recipe),
        Err(error) => error.into_compile_error(),
    }
}
