//! The functions of the contract that a guest imports, each a thin step to the run's view.
//!
//! Comes in: arguments out of guest memory. Goes out: what the view answers, in the contract's types.
//! Invariant: a host call is paid for in fuel by what it costs the host, before its result is
//! handed over: wasm instructions do not count time spent here. Must never: work outside of a run
//! (no view, no tree), except for logging.

use crate::contract::{log, sessions, types};
use crate::executor::{failure_bytes, recipe_failure};
use crate::run_state::{Fault, Run};
use bytes::Bytes;
use quorate_machine::{
    LogLevel, NamedZnode, RecipeFaultKind, RecipeView, TreeError, ViewError, ViewStat,
};
use quorate_types::{SessionId, TicketId};
use wasmtime::component::Linker;
use wasmtime::{Engine, Result, StoreContextMut, Trap};

/// Fuel of one host call.
const CALL_FUEL: u64 = 200;
/// Fuel of one byte that goes in or out.
const BYTE_FUEL: u64 = 1;
/// Fuel of one child that a scan lists.
const CHILD_FUEL: u64 = 20;

/// What the contract gives a function that can refuse.
type Refusable<T> = std::result::Result<T, types::TreeError>;
type Caller<'a> = StoreContextMut<'a, Run>;

/// A linker that knows every interface of the contract.
///
/// # Errors
/// Never, as long as no name is defined twice.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<Run>> {
    let mut linker = Linker::new(engine);
    linker.instance("quorate:recipe/types@1.0.0")?;
    link_mount(&mut linker)?;
    link_tree_reads(&mut linker)?;
    link_tree_writes(&mut linker)?;
    link_sessions(&mut linker)?;
    link_clock(&mut linker)?;
    link_tickets(&mut linker)?;
    link_timers(&mut linker)?;
    link_log(&mut linker)?;
    Ok(linker)
}

fn link_mount(linker: &mut Linker<Run>) -> Result<()> {
    let mut mount = linker.instance("quorate:recipe/mount@1.0.0")?;
    mount.func_wrap("path", |mut caller: Caller<'_>, (): ()| {
        charge_call(&mut caller, 0)?;
        let path = visit(&mut caller, |view| view.mount_path().to_string())?;
        charge_bytes(&mut caller, path.len())?;
        Ok((path,))
    })?;
    mount.func_wrap("config", |mut caller: Caller<'_>, (): ()| {
        charge_call(&mut caller, 0)?;
        let config = visit(&mut caller, |view| view.config())?;
        charge_bytes(&mut caller, config.len())?;
        Ok((config.to_vec(),))
    })
}

fn link_tree_reads(linker: &mut Linker<Run>) -> Result<()> {
    let mut tree = linker.instance("quorate:recipe/tree@1.0.0")?;
    tree.func_wrap("get", |mut caller: Caller<'_>, (path,): (String,)| {
        charge_call(&mut caller, path.len())?;
        let found = must(visit(&mut caller, |view| view.get(&path))?)?;
        charge_bytes(&mut caller, found.as_ref().map_or(0, |znode| znode.data.len()))?;
        Ok(
            (found
                .map(|znode| types::Znode { data: znode.data.to_vec(), stat: stat(&znode.stat) }),),
        )
    })?;
    tree.func_wrap("exists", |mut caller: Caller<'_>, (path,): (String,)| {
        charge_call(&mut caller, path.len())?;
        Ok((visit(&mut caller, |view| view.exists(&path))?,))
    })?;
    tree.func_wrap("count", |mut caller: Caller<'_>, (path,): (String,)| {
        charge_call(&mut caller, path.len())?;
        Ok((refusable(visit(&mut caller, |view| view.count(&path))?)?,))
    })?;
    tree.func_wrap(
        "scan",
        |mut caller: Caller<'_>, (path, after, limit): (String, Option<String>, u32)| {
            charge_call(&mut caller, path.len() + after.as_ref().map_or(0, String::len))?;
            // No more than the fuel left pays for, so that a guest cannot make the host list a
            // million children before it is told that its fuel is out.
            let affordable = caller.get_fuel()? / CHILD_FUEL + 1;
            let limit = limit.min(u32::try_from(affordable).unwrap_or(u32::MAX));
            let listed =
                refusable(visit(&mut caller, |view| view.scan(&path, after.as_deref(), limit))?)?;
            let children = listed.as_deref().unwrap_or_default();
            let bytes = children.iter().map(|child| child.name.len() + child.data.len()).sum();
            charge(&mut caller, CHILD_FUEL.saturating_mul(children.len() as u64))?;
            charge_bytes(&mut caller, bytes)?;
            Ok((listed.map(|children| {
                children.into_iter().map(named_znode).collect::<Vec<types::NamedZnode>>()
            }),))
        },
    )
}

fn link_tree_writes(linker: &mut Linker<Run>) -> Result<()> {
    type Create = (String, Vec<u8>, Option<u64>);
    let mut tree = linker.instance("quorate:recipe/tree@1.0.0")?;
    tree.func_wrap("create", |mut caller: Caller<'_>, (path, data, owner): Create| {
        charge_call(&mut caller, path.len() + data.len())?;
        let created = visit(&mut caller, |view| view.create(&path, &data, owner.map(SessionId)))?;
        Ok((refusable(created)?,))
    })?;
    tree.func_wrap(
        "create-sequential",
        |mut caller: Caller<'_>, (prefix, data, owner): Create| {
            charge_call(&mut caller, prefix.len() + data.len())?;
            let created = visit(&mut caller, |view| {
                view.create_sequential(&prefix, &data, owner.map(SessionId))
            })?;
            let name = refusable(created)?;
            charge_bytes(&mut caller, name.as_ref().map_or(0, String::len))?;
            Ok((name,))
        },
    )?;
    tree.func_wrap(
        "set",
        |mut caller: Caller<'_>, (path, data, expected): (String, Vec<u8>, Option<i32>)| {
            charge_call(&mut caller, path.len() + data.len())?;
            Ok((refusable(visit(&mut caller, |view| view.set(&path, &data, expected))?)?,))
        },
    )?;
    tree.func_wrap("delete", |mut caller: Caller<'_>, (path, expected): (String, Option<i32>)| {
        charge_call(&mut caller, path.len())?;
        Ok((refusable(visit(&mut caller, |view| view.delete(&path, expected))?)?,))
    })
}

fn link_sessions(linker: &mut Linker<Run>) -> Result<()> {
    let mut sessions = linker.instance("quorate:recipe/sessions@1.0.0")?;
    sessions.func_wrap("get", |mut caller: Caller<'_>, (session,): (u64,)| {
        charge_call(&mut caller, 0)?;
        let facts = visit(&mut caller, |view| view.session(SessionId(session)))?;
        charge_bytes(&mut caller, facts.as_ref().map_or(0, |facts| facts.identity.len()))?;
        Ok((facts.map(|facts| sessions::Session {
            id: facts.session.0,
            identity: facts.identity,
            timeout_ms: facts.timeout_ms,
        }),))
    })
}

fn link_clock(linker: &mut Linker<Run>) -> Result<()> {
    let mut clock = linker.instance("quorate:recipe/clock@1.0.0")?;
    clock.func_wrap("now", |mut caller: Caller<'_>, (): ()| {
        charge_call(&mut caller, 0)?;
        Ok((visit(&mut caller, |view| view.now_ms())?,))
    })?;
    clock.func_wrap("zxid", |mut caller: Caller<'_>, (): ()| {
        charge_call(&mut caller, 0)?;
        Ok((visit(&mut caller, |view| view.zxid().0)?,))
    })?;
    clock.func_wrap("seed", |mut caller: Caller<'_>, (): ()| {
        charge_call(&mut caller, 0)?;
        Ok((visit(&mut caller, |view| view.seed())?,))
    })
}

fn link_tickets(linker: &mut Linker<Run>) -> Result<()> {
    type Answer = std::result::Result<Vec<u8>, types::Failure>;
    let mut tickets = linker.instance("quorate:recipe/tickets@1.0.0")?;
    tickets.func_wrap("park", |mut caller: Caller<'_>, (deadline,): (Option<u64>,)| {
        charge_call(&mut caller, 0)?;
        Ok((must(visit(&mut caller, |view| view.park(deadline))?)?.0,))
    })?;
    tickets.func_wrap("complete", |mut caller: Caller<'_>, (ticket, answer): (u64, Answer)| {
        let answer = answer.map(Bytes::from).map_err(recipe_failure);
        let bytes = match &answer {
            Ok(reply) => reply.len(),
            Err(failure) => failure_bytes(failure)?,
        };
        charge_call(&mut caller, bytes)?;
        let completed = visit(&mut caller, |view| view.complete(TicketId(ticket), answer))?;
        Ok((must(completed)?,))
    })
}

fn link_timers(linker: &mut Linker<Run>) -> Result<()> {
    let mut timers = linker.instance("quorate:recipe/timers@1.0.0")?;
    timers.func_wrap("set", |mut caller: Caller<'_>, (name, at): (String, u64)| {
        charge_call(&mut caller, name.len())?;
        must(visit(&mut caller, |view| view.timer_set(&name, at))?)
    })?;
    timers.func_wrap("cancel", |mut caller: Caller<'_>, (name,): (String,)| {
        charge_call(&mut caller, name.len())?;
        Ok((must(visit(&mut caller, |view| view.timer_cancel(&name))?)?,))
    })
}

fn link_log(linker: &mut Linker<Run>) -> Result<()> {
    let mut log = linker.instance("quorate:recipe/log@1.0.0")?;
    log.func_wrap("write", |mut caller: Caller<'_>, (level, line): (log::Level, String)| {
        charge_call(&mut caller, line.len())?;
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        let run = caller.data_mut();
        // Without a view this is a trial run, whose panics need their words as well.
        run.view.with(|view| view.log(level, &line)).map_or(Ok(()), must)?;
        Ok(run.log.write(level, line)?)
    })
}

/// What every function of the contract does first.
fn charge_call(caller: &mut Caller<'_>, bytes: usize) -> Result<()> {
    caller.data_mut().host_calls += 1;
    charge(caller, CALL_FUEL + BYTE_FUEL * bytes as u64)
}

fn charge_bytes(caller: &mut Caller<'_>, bytes: usize) -> Result<()> {
    charge(caller, BYTE_FUEL * bytes as u64)
}

fn charge(caller: &mut Caller<'_>, fuel: u64) -> Result<()> {
    match caller.get_fuel()?.checked_sub(fuel) {
        Some(left) => caller.set_fuel(left),
        None => {
            caller.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

/// Uses the run's view; outside of a run there is none, and the guest traps.
fn visit<R>(caller: &mut Caller<'_>, visit: impl FnOnce(&mut RecipeView<'_>) -> R) -> Result<R> {
    caller.data_mut().view.with(visit).ok_or_else(|| {
        let message = "a recipe may only log while it starts and describes itself";
        Fault::new(RecipeFaultKind::Trap, message).into()
    })
}

/// The answer of a function to which the contract gives no error: any refusal ends the run.
fn must<T>(answer: std::result::Result<T, ViewError>) -> Result<T> {
    refusable(answer)?.map_err(|error| {
        let message = format!("a host function refused: {}", describe(&error));
        Fault::new(RecipeFaultKind::Trap, message).into()
    })
}

/// Splits what the guest is told from what ends its run.
fn refusable<T>(answer: std::result::Result<T, ViewError>) -> Result<Refusable<T>> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(ViewError::Tree(error)) => Ok(Err(tree_error(error))),
        Err(ViewError::OverLimit(text)) => Err(Fault::new(RecipeFaultKind::OverLimit, text).into()),
        Err(ViewError::Misuse(text)) => Err(Fault::new(RecipeFaultKind::Trap, text).into()),
    }
}

fn tree_error(error: TreeError) -> types::TreeError {
    match error {
        TreeError::NoNode => types::TreeError::NoNode,
        TreeError::NodeExists => types::TreeError::NodeExists,
        TreeError::NotEmpty => types::TreeError::NotEmpty,
        TreeError::BadVersion(version) => types::TreeError::BadVersion(version),
        TreeError::BadPath => types::TreeError::BadPath,
        TreeError::NoSession => types::TreeError::NoSession,
        TreeError::NoChildrenForEphemerals => types::TreeError::NoChildrenForEphemerals,
        TreeError::ReadOnly => types::TreeError::ReadOnly,
        TreeError::Other(text) => types::TreeError::Other(text),
    }
}

fn describe(error: &types::TreeError) -> String {
    match error {
        types::TreeError::NoNode => String::from("no such znode"),
        types::TreeError::NodeExists => String::from("the znode is there already"),
        types::TreeError::NotEmpty => String::from("the znode has children"),
        types::TreeError::BadVersion(version) => format!("the znode has version {version}"),
        types::TreeError::BadPath => String::from("the path is malformed"),
        types::TreeError::NoSession => String::from("the owner is no live session"),
        types::TreeError::NoChildrenForEphemerals => String::from("ephemerals have no children"),
        types::TreeError::ReadOnly => String::from("a query may not change anything"),
        types::TreeError::Other(text) => text.clone(),
    }
}

fn named_znode(child: NamedZnode) -> types::NamedZnode {
    types::NamedZnode { name: child.name, data: child.data.to_vec(), stat: stat(&child.stat) }
}

fn stat(stat: &ViewStat) -> types::Stat {
    types::Stat {
        created: stat.created.0,
        modified: stat.modified.0,
        version: stat.version,
        owner: stat.owner.map(|session| session.0),
        children: stat.children,
    }
}
