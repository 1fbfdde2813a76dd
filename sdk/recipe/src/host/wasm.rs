//! The server as host: imports and exports of the component.
//!
//! Comes in: what the server calls. Goes out: the recipe's [`crate::Recipe`] methods, and their
//! results back. This is the only place that knows the generated bindings.

use crate::contract::{EndedTicket, Event, OperationKind, Outcome, Recipe};
use crate::failure::{Failure, TreeError};
use crate::object::{Call, Child, Level, Run, Session, SessionId, Stat};
use crate::ticket::TicketId;
use std::marker::PhantomData;

#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    //! Generated from `sdk/wit`.
    wit_bindgen::generate!({
        path: "../wit",
        world: "recipe",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_guest",
        default_bindings_module: "quorate_recipe::host::wasm::bindings",
    });
}

use bindings::exports::quorate::recipe::guest;
use bindings::quorate::recipe::{clock, log, mount, sessions, tickets, timers, tree, types};

fn tree_error(error: types::TreeError) -> TreeError {
    match error {
        types::TreeError::NoNode => TreeError::NoNode,
        types::TreeError::NodeExists => TreeError::NodeExists,
        types::TreeError::NotEmpty => TreeError::NotEmpty,
        types::TreeError::BadVersion(version) => TreeError::BadVersion(version),
        types::TreeError::BadPath => TreeError::BadPath,
        types::TreeError::NoSession => TreeError::NoSession,
        types::TreeError::NoChildrenForEphemerals => TreeError::NoChildrenForEphemerals,
        types::TreeError::ReadOnly => TreeError::ReadOnly,
        types::TreeError::Other(code) => TreeError::Other(code),
    }
}

fn wire_failure(failure: Failure) -> types::Failure {
    types::Failure { code: failure.code, message: failure.message, detail: failure.detail }
}

pub(crate) fn mount_path() -> String {
    mount::path()
}

pub(crate) fn mount_config() -> Vec<u8> {
    mount::config()
}

pub(crate) fn get(path: &str) -> Option<(Vec<u8>, Stat)> {
    let znode = tree::get(path)?;
    Some((znode.data, stat(&znode.stat)))
}

fn stat(stat: &types::Stat) -> Stat {
    Stat {
        created: stat.created,
        modified: stat.modified,
        version: stat.version,
        owner: stat.owner.map(SessionId),
        children: stat.children,
    }
}

pub(crate) fn exists(path: &str) -> bool {
    tree::exists(path)
}

pub(crate) fn count(path: &str) -> Result<u32, TreeError> {
    tree::count(path).map_err(tree_error)
}

pub(crate) fn scan(path: &str, after: Option<&str>, limit: u32) -> Result<Vec<Child>, TreeError> {
    let children = tree::scan(path, after, limit).map_err(tree_error)?;
    let child = |child: types::NamedZnode| {
        let stat = stat(&child.stat);
        Child { name: child.name, stat, data: child.data }
    };
    Ok(children.into_iter().map(child).collect())
}

pub(crate) fn create(path: &str, data: &[u8], owner: Option<SessionId>) -> Result<(), TreeError> {
    tree::create(path, data, owner.map(|owner| owner.0)).map_err(tree_error)
}

pub(crate) fn create_sequential(
    prefix: &str,
    data: &[u8],
    owner: Option<SessionId>,
) -> Result<String, TreeError> {
    tree::create_sequential(prefix, data, owner.map(|owner| owner.0)).map_err(tree_error)
}

pub(crate) fn set(path: &str, data: &[u8], expected: Option<i32>) -> Result<i32, TreeError> {
    tree::set(path, data, expected).map_err(tree_error)
}

pub(crate) fn delete(path: &str, expected: Option<i32>) -> Result<(), TreeError> {
    tree::delete(path, expected).map_err(tree_error)
}

pub(crate) fn find_session(id: SessionId) -> Option<Session> {
    let session = sessions::get(id.0)?;
    Some(Session {
        id: SessionId(session.id),
        identity: session.identity,
        timeout_ms: session.timeout_ms,
    })
}

pub(crate) fn now_ms() -> u64 {
    clock::now()
}

pub(crate) fn zxid() -> u64 {
    clock::zxid()
}

pub(crate) fn seed() -> (u64, u64) {
    clock::seed()
}

pub(crate) fn park(deadline_ms: Option<u64>) -> TicketId {
    TicketId(tickets::park(deadline_ms))
}

pub(crate) fn complete(ticket: TicketId, outcome: Result<Vec<u8>, Failure>) -> bool {
    match outcome {
        Ok(reply) => tickets::complete(ticket.0, Ok(&reply)),
        Err(failure) => tickets::complete(ticket.0, Err(&wire_failure(failure))),
    }
}

pub(crate) fn timer_set(name: &str, at_ms: u64) {
    timers::set(name, at_ms);
}

pub(crate) fn timer_cancel(name: &str) -> bool {
    timers::cancel(name)
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::write(level, message);
}

/// A panic's message and place reach the server's log before the trap ends the run.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| log::write(log::Level::Error, &panic.to_string())));
}

fn event_of(object: &str, event: guest::Event) -> Event {
    let ended = |ended: guest::EndedTicket| EndedTicket {
        ticket: TicketId(ended.ticket),
        session: SessionId(ended.session),
    };
    match event {
        guest::Event::Mounted => Event::Mounted,
        guest::Event::ObjectCreated => Event::ObjectCreated,
        guest::Event::ConfigChanged(before) => Event::ConfigChanged(before),
        guest::Event::SessionClosed(session) => Event::SessionClosed(SessionId(session)),
        guest::Event::Timer(name) => Event::Timer(name),
        guest::Event::TicketExpired(ticket) => Event::TicketExpired(ended(ticket)),
        guest::Event::TicketCancelled(ticket) => Event::TicketCancelled(ended(ticket)),
        guest::Event::ZnodeChanged(path) => Event::ZnodeChanged(relative(object, &path).into()),
        guest::Event::Other((name, detail)) => Event::Other(name, detail),
    }
}

fn relative<'path>(object: &str, path: &'path str) -> &'path str {
    let below = path.strip_prefix(object).unwrap_or(path);
    below.strip_prefix('/').unwrap_or(below)
}

/// A recipe behind the component's exports.
#[derive(Debug)]
pub struct Glue<R>(PhantomData<R>);

impl<R: Recipe> guest::Guest for Glue<R> {
    fn describe() -> guest::Descriptor {
        report_panics();
        let descriptor = R::describe();
        let operation = |operation: crate::OperationDescriptor| guest::Operation {
            name: operation.name.into(),
            kind: match operation.kind {
                OperationKind::Command => guest::OperationKind::Command,
                OperationKind::Query => guest::OperationKind::Query,
            },
            arguments_schema: operation.arguments_schema,
            reply_schema: operation.reply_schema,
            doc: operation.doc.into(),
        };
        guest::Descriptor {
            name: descriptor.name.into(),
            version: descriptor.version.into(),
            state_version: descriptor.state_version,
            operations: descriptor.operations.into_iter().map(operation).collect(),
            config_schema: descriptor.config_schema,
            doc: descriptor.doc.into(),
            fuel_wanted: descriptor.fuel_wanted,
        }
    }

    fn invoke(call: guest::Call) -> Result<guest::Outcome, types::Failure> {
        report_panics();
        let session = SessionId(call.caller.session);
        let context = Call::of(Run::on(call.object), session, call.caller.identity);
        match R::invoke(&context, &call.operation, &call.arguments) {
            Ok(Outcome::Done(reply)) => Ok(guest::Outcome::Done(reply)),
            Ok(Outcome::Parked(ticket)) => Ok(guest::Outcome::Parked(ticket.0)),
            Err(failure) => Err(wire_failure(failure)),
        }
    }

    fn on_event(object: String, event: guest::Event) -> Result<(), types::Failure> {
        report_panics();
        let event = event_of(&object, event);
        R::on_event(&Run::on(object), &event).map_err(wire_failure)
    }

    fn migrate(from_state_version: u32) -> Result<(), types::Failure> {
        report_panics();
        R::migrate(&Run::on(String::new()), from_state_version).map_err(wire_failure)
    }
}

/// Exports a recipe as the component. Used by `#[recipe]`.
#[macro_export]
#[doc(hidden)]
macro_rules! export_component {
    ($recipe:ty) => {
        type Exported = $crate::host::wasm::Glue<$recipe>;
        $crate::host::wasm::bindings::export_guest!(
            Exported with_types_in $crate::host::wasm::bindings
        );
    };
}
