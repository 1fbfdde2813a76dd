//! A shared value with versions: set, compare and set, delete, and wait for a change.
//!
//! The znodes of an object, `/values/routing` say:
//!
//! ```text
//! changed            the change that waiters are being told of, while some are not told yet
//! document           the Document, while there is a value
//! waiter-<ticket>    a Waiter, owned by its session; sorts by arrival
//! ```
//!
//! Comes in: values, the versions they are to replace, waits; ends of sessions and of waits. Goes
//! out: values with their versions; pushed to those who wait for a change.
//!
//! Promises (README.md has them in full): versions grow and never come back; a value is replaced only
//! at the version the caller has seen, if it says so; whoever waits hears of the last state.
//!
//! Invariants: a version is the zxid of the setting, also across deletions; version 0 is no value.
//! Equal versions are the same state. Who has begun to wait after the last change is not answered.
//! Must never: give out a value without its own version.

use quorate_recipe::prelude::*;

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes of a value; at most 131072.
    pub value_bytes_max: u32,
    /// Callers that may wait at one value.
    pub waiters_max: u32,
    /// Waiters that one transaction answers, at most 400 and half a mebibyte; the next ones answer
    /// the others.
    pub answered_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { value_bytes_max: 65_536, waiters_max: 10_000, answered_max: 200 }
    }
}

/// What the value is to be.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// From now on.
    pub value: Blob,
    /// Only if the value has this version, 0 meaning that there is none; none: whatever it has.
    #[serde(default)]
    pub if_version: Option<u64>,
}

/// A state of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Version {
    /// Later ones are greater; 0: there is no value.
    pub version: u64,
}

/// What to delete.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Only if the value has this version; none: whatever it has.
    #[serde(default)]
    pub if_version: Option<u64>,
}

/// What the caller has seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct AwaitChange {
    /// Answered once the value has another version than this; 0: once there is one.
    pub after: u64,
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// The value as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct State {
    /// Its version; 0: there is none.
    pub version: u64,
    /// None: there is none.
    pub document: Option<Document>,
}

/// A value that was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Document {
    /// The value.
    pub value: Blob,
    /// The transaction that set it.
    pub version: u64,
    /// Who set it.
    pub session: SessionId,
    /// Who that session's connection proved to be.
    pub identity: String,
    /// When: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiter {
    ticket: Ticket<State>,
    /// The transaction that parked it.
    since: u64,
}

const CHANGED: &str = "changed";
const DOCUMENT: &str = "document";
const WAITERS: &str = "waiter-";

/// Answers the waiters that are left.
const ANSWER: &str = "answer";

/// Answering is two changes each, and one run makes at most a thousand.
const ANSWERED_MAX: u32 = 400;
/// Bytes of all the values that one run sends to waiters.
const ANSWERED_BYTES_MAX: u32 = 512 << 10;
const VALUE_BYTES_MAX: u32 = 128 << 10;

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Value;

/// A versioned value, to compare and set, and to wait for.
#[recipe(name = "value", version = "1.0.0", state = 1, config = Config)]
impl Value {
    /// The value and its version.
    #[query]
    pub fn get(call: &Call) -> Result<State> {
        state(call)
    }

    /// Sets the value. Refused `other-version` unless it has the version given, `value-too-large`.
    #[command]
    pub fn set(call: &Call, wanted: Set) -> Result<Version> {
        let value_bytes_max = call.config::<Config>()?.value_bytes_max;
        if wanted.value.0.len() > value_bytes_max as usize {
            let message = format!("a value has at most {value_bytes_max} bytes here");
            return Err(Failure::new("value-too-large", message));
        }
        check_version(call, wanted.if_version)?;
        let document = Document {
            value: wanted.value,
            version: call.zxid(),
            session: call.session(),
            identity: call.identity().into(),
            since_ms: call.now_ms(),
        };
        call.put(DOCUMENT, &document)?;
        answer_waiters(call, document.version)?;
        Ok(Version { version: document.version })
    }

    /// Deletes the value; false if there was none. Refused `other-version` unless it has the version
    /// given.
    #[command]
    pub fn delete(call: &Call, wanted: Delete) -> Result<bool> {
        check_version(call, wanted.if_version)?;
        let was_there = call.delete(DOCUMENT)?;
        if was_there {
            answer_waiters(call, call.zxid())?;
        }
        Ok(was_there)
    }

    /// Waits until the value has another version than the caller has seen, and gives it. Refused
    /// `unchanged` if it may not wait.
    #[command]
    pub fn await_change(call: &Call, seen: AwaitChange) -> Result<Reply<State>> {
        let state = state(call)?;
        if state.version != seen.after {
            return Ok(state.into());
        }
        if seen.wait_ms == Some(0) {
            return Err(Failure::new("unchanged", "nothing has changed since this version"));
        }
        let others = [CHANGED, DOCUMENT].iter().filter(|name| call.exists(name)).count();
        let waiting = call.count("")?.saturating_sub(others as u32);
        if waiting >= call.config::<Config>()?.waiters_max {
            let message = "too many callers wait at this value; try later";
            return Err(Failure::new("waiters-full", message));
        }
        let ticket = call.park(seen.wait_ms);
        let waiter = Waiter { ticket, since: call.zxid() };
        call.create_owned(&waiter_name(&ticket.key()), &waiter, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        check_config(&run.config()?)
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: Config) -> Result<()> {
        check_config(&run.config()?)
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&waiter_name(&ended.ticket.key())).map(drop)
    }

    #[on(timer)]
    fn timer(run: &Run, _name: &str) -> Result<()> {
        match run.get(CHANGED)? {
            Some(changed) => answer_waiters(run, changed),
            None => Ok(()),
        }
    }
}

fn waiter_name(key: &str) -> String {
    format!("{WAITERS}{key}")
}

fn check_config(config: &Config) -> Result<()> {
    if config.value_bytes_max <= VALUE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("value_bytes_max is at most {VALUE_BYTES_MAX}");
    Err(Failure::new("bad-config", message))
}

fn state(run: &Run) -> Result<State> {
    let document = run.get::<Document>(DOCUMENT)?;
    Ok(State { version: document.as_ref().map_or(0, |document| document.version), document })
}

/// Lets pass whoever has seen the value as it stands, or does not mind.
fn check_version(run: &Run, if_version: Option<u64>) -> Result<()> {
    let Some(wanted) = if_version else { return Ok(()) };
    let state = state(run)?;
    if state.version == wanted {
        return Ok(());
    }
    let message = match state.version {
        0 => "there is no value".into(),
        version => format!("the value has version {version}, not {wanted}"),
    };
    Err(Failure::new("other-version", message).with_detail(&state))
}

/// Tells those who began to wait before the change how the value stands: as many as one run may; a
/// timer sees to the others.
fn answer_waiters(run: &Run, changed: u64) -> Result<()> {
    let state = state(run)?;
    let value_bytes = state.document.as_ref().map_or(0, |document| document.value.0.len());
    let fitting = ANSWERED_BYTES_MAX / u32::try_from(value_bytes + 1_024).unwrap_or(u32::MAX);
    let most = run.config::<Config>()?.answered_max.min(ANSWERED_MAX).min(fitting).max(1);
    let waiters = run.scan::<Waiter>("", Some(WAITERS), most)?;
    let mut are_left = waiters.len() == most as usize;
    for (name, waiter) in waiters {
        if waiter.since >= changed {
            are_left = false;
            break;
        }
        run.delete(&name)?;
        run.complete(waiter.ticket, &state)?;
    }
    if are_left {
        run.set_timer(ANSWER, run.now_ms());
        return run.put(CHANGED, &changed);
    }
    run.cancel_timer(ANSWER);
    run.delete(CHANGED).map(drop)
}

#[cfg(test)]
mod tests;
