//! Versioned documents: history, roll-back, staged roll-out, one push to those who wait.
//!
//! The znodes of an object, `/configurations/web` say:
//!
//! ```text
//! head                which version is current, and the roll-out; goes with the document
//! history/<version>   who set the version and when
//! texts/<version>     its text
//! definition          what documents must look like
//! sweep               how far those who wait have been told of the last change
//! watcher-<ticket>    a Watcher, owned by its session; sorts after all others
//! ```
//!
//! Comes in: texts, roll-outs, waits, time. Goes out: versions, and pushes that there is another one.
//!
//! Promises (README.md has them in full): versions grow for ever; at any zxid a member shall run
//! exactly one version, and runs on with a roll-out that grows; whoever waits is told when that
//! version is another than the one it has.
//!
//! Invariants: the current version and the one being rolled out are kept, and so are the newest
//! others. Must never: let a document differ from its definition, or tell more than
//! `SWEEP_MAX` waiting callers in one run.

mod definition;
mod json;
mod words;

pub use definition::{Definition, Field, FieldType, Problem};
use quorate_recipe::prelude::*;
use serde::de::IgnoredAny;
pub use words::{
    AwaitChange, Candidate, Change, Config, Define, Document, Fate, Get, History, Remove, RollOut,
    Rollback, Set, Stage, Status, Version, Widen,
};
use words::{MEMBERS_MAX, NAME_BYTES_MAX};

const HEAD: &str = "head";
const HISTORY: &str = "history";
const TEXTS: &str = "texts";
const DEFINITION: &str = "definition";
const SWEEP: &str = "sweep";
/// Every watcher's name is after it, and no other name.
const WATCHERS: &str = "watcher-";

/// Waiting callers that one run looks at.
const SWEEP_MAX: u32 = 250;
/// Old versions that one run drops: more than one only after the mount has come to keep fewer.
const PRUNED_MAX: u32 = 10;

/// A caller who waits.
#[derive(Debug, Serialize, Deserialize)]
struct Watcher {
    ticket: Ticket<Change>,
    version: u64,
    member: Option<String>,
}

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Configuration;

/// Versioned documents with history, roll-back and staged roll-out.
#[recipe(name = "configuration", version = "1.0.0", state = 1, config = Config)]
impl Configuration {
    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        run.config::<Config>()?.check()
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: Config) -> Result<()> {
        run.config::<Config>()?.check()
    }

    /// The current version, or the one that a member shall run, or any in the history. Refused
    /// `no-document` or `no-such-version`.
    #[query]
    pub fn get(call: &Call, wanted: Get) -> Result<Document> {
        if wanted.member.is_some() && wanted.version.is_some() {
            return Err(Failure::new("bad-arguments", "give a member or a version, not both"));
        }
        let status = there(call)?;
        let version =
            wanted.version.unwrap_or_else(|| status.version_for(wanted.member.as_deref()));
        let Some(facts) = call.get::<Version>(&history_name(version))? else {
            return Err(no_such_version(version));
        };
        let document = call.get(&text_name(version))?.unwrap_or_default();
        let Version { since_ms, identity, note, fate, .. } = facts;
        Ok(Document { version, document, since_ms, identity, note, fate })
    }

    /// Sets a version for everybody; gives its number. Refused `version-conflict`, `rolling-out`,
    /// `bad-document`, `too-large`.
    #[command]
    pub fn set(call: &Call, wanted: Set) -> Result<u64> {
        let mut status = free_for(call, wanted.if_version)?;
        let version = add_version(call, &mut status, (&wanted.document, wanted.note, Fate::Set))?;
        status.current = version;
        save(call, &status)?;
        Ok(version)
    }

    /// Sets the text of an older version for everybody again, as a new version; gives its number.
    /// Refused `no-such-version` and as `set`.
    #[command]
    pub fn rollback(call: &Call, wanted: Rollback) -> Result<u64> {
        let mut status = free_for(call, wanted.if_version)?;
        let Some(text) = call.get::<String>(&text_name(wanted.to))? else {
            return Err(no_such_version(wanted.to));
        };
        let fate = Fate::RolledBackTo(wanted.to);
        let version = add_version(call, &mut status, (&text, wanted.note, fate))?;
        status.current = version;
        save(call, &status)?;
        Ok(version)
    }

    /// The versions that are kept, the oldest first.
    #[query]
    pub fn history(call: &Call, wanted: History) -> Result<Vec<Version>> {
        there(call)?;
        let after = wanted.after.map(version_key);
        let versions =
            call.scan(HISTORY, after.as_deref(), wanted.count.min(History::default().count))?;
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    /// Sets a version for some: a percentage of the members, or members by name. Gives its number.
    /// Refused `no-document` and as `set`.
    #[command]
    pub fn stage(call: &Call, wanted: Stage) -> Result<u64> {
        there(call)?;
        check_reach(wanted.percentage, &wanted.members)?;
        let mut status = free_for(call, wanted.if_version)?;
        let version =
            add_version(call, &mut status, (&wanted.document, wanted.note, Fate::Staged))?;
        let (percentage, members, since_ms) = (wanted.percentage, wanted.members, call.now_ms());
        status.roll_out = Some(RollOut { version, percentage, members, since_ms });
        save(call, &status)?;
        Ok(version)
    }

    /// Changes whom the roll-out reaches. Refused `not-rolling-out`.
    #[command]
    pub fn widen(call: &Call, wanted: Widen) -> Result<()> {
        check_reach(wanted.percentage, &wanted.members)?;
        let (mut status, mut roll_out) = rolling_out(call, wanted.version)?;
        roll_out.percentage = wanted.percentage;
        roll_out.members = wanted.members;
        status.roll_out = Some(roll_out);
        save(call, &status)
    }

    /// Makes the version being rolled out the current one. Refused `not-rolling-out`.
    #[command]
    pub fn promote(call: &Call, candidate: Candidate) -> Result<()> {
        let (mut status, roll_out) = rolling_out(call, candidate.version)?;
        status.current = roll_out.version;
        set_fate(call, roll_out.version, Fate::Promoted)?;
        save(call, &status)
    }

    /// Takes the roll-out back: everybody shall run the current version. Refused `not-rolling-out`.
    #[command]
    pub fn abort(call: &Call, candidate: Candidate) -> Result<()> {
        let (status, roll_out) = rolling_out(call, candidate.version)?;
        set_fate(call, roll_out.version, Fate::Aborted)?;
        save(call, &status)
    }

    /// Which version is current, and the roll-out.
    #[query]
    pub fn status(call: &Call) -> Result<Status> {
        load(call)
    }

    /// Waits until the version to run is another than the caller's. Refused `unchanged` if it may
    /// not wait, `too-many-watchers`.
    #[command]
    pub fn await_change(call: &Call, wanted: AwaitChange) -> Result<Reply<Change>> {
        let status = load(call)?;
        check_name(wanted.member.as_deref().unwrap_or_default())?;
        let version = status.version_for(wanted.member.as_deref());
        if version != wanted.version {
            return Ok(Change { version }.into());
        }
        if wanted.wait_ms == Some(0) {
            return Err(Failure::new("unchanged", "the version to run is the one you have"));
        }
        if watcher_count(call)? >= call.config::<Config>()?.watchers_max {
            let words = "too many callers wait for this document to change";
            return Err(Failure::new("too-many-watchers", words));
        }
        let ticket = call.park(wanted.wait_ms);
        let watcher = Watcher { ticket, version, member: wanted.member };
        call.create_owned(&watcher_name(&ticket.key()), &watcher, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    /// Says what documents must look like from now on. Refused `bad-definition`; `bad-document` if the
    /// current one differs; `rolling-out`.
    #[command]
    pub fn define(call: &Call, wanted: Define) -> Result<()> {
        let Some(definition) = wanted.definition else {
            return call.delete(DEFINITION).map(drop);
        };
        definition.check()?;
        // One document is as much as a run has fuel to read.
        let status = free_for(call, None)?;
        if let Some(text) = call.get::<String>(&text_name(status.current))? {
            definition.judge(&text)?;
        }
        call.put(DEFINITION, &definition)
    }

    /// What documents must look like; none: any text.
    #[query]
    pub fn definition(call: &Call) -> Result<Option<Definition>> {
        call.get(DEFINITION)
    }

    /// Removes the document, its history and its definition. Refused `no-document`,
    /// `version-conflict`, `rolling-out`.
    #[command]
    pub fn remove(call: &Call, wanted: Remove) -> Result<()> {
        there(call)?;
        free_for(call, wanted.if_version)?;
        for (name, _) in call.scan::<IgnoredAny>(HISTORY, None, u32::MAX)? {
            call.delete(&format!("{HISTORY}/{name}"))?;
            call.delete(&format!("{TEXTS}/{name}"))?;
        }
        for name in [HISTORY, TEXTS, DEFINITION, HEAD] {
            call.delete(name)?;
        }
        sweep(call, &Status::default(), WATCHERS.to_owned())
    }

    #[on(timer)]
    fn timer(run: &Run, _name: &str) -> Result<()> {
        match run.get::<String>(SWEEP)? {
            Some(after) => sweep(run, &load(run)?, after),
            None => Ok(()),
        }
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&watcher_name(&ended.ticket.key())).map(drop)
    }
}

impl Status {
    /// The version that a member shall run; 0: there is no document.
    fn version_for(&self, member: Option<&str>) -> u64 {
        match (&self.roll_out, member) {
            (Some(roll_out), Some(member)) if roll_out.reaches(member) => roll_out.version,
            _ => self.current,
        }
    }
}

impl RollOut {
    fn reaches(&self, member: &str) -> bool {
        self.members.contains(member) || place_of(member, self.version) < self.percentage
    }
}

/// Where a member stands among a hundred: the same throughout a roll-out, another in the next, so
/// that it is not always the same members that go first (FNV-1a and splitmix64's finalizer).
fn place_of(member: &str, version: u64) -> u8 {
    let mut word = 0xcbf2_9ce4_8422_2325 ^ version;
    for byte in member.bytes() {
        word = (word ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u8::try_from((word ^ (word >> 31)) % 100).unwrap_or(u8::MAX)
}

fn version_key(version: u64) -> String {
    format!("{version:020}")
}

fn history_name(version: u64) -> String {
    format!("{HISTORY}/{}", version_key(version))
}

fn text_name(version: u64) -> String {
    format!("{TEXTS}/{}", version_key(version))
}

fn watcher_name(key: &str) -> String {
    format!("{WATCHERS}{key}")
}

fn no_such_version(version: u64) -> Failure {
    let words = format!("version {version} is not in the history, or not any more");
    Failure::new("no-such-version", words)
}

fn load(run: &Run) -> Result<Status> {
    Ok(run.get(HEAD)?.unwrap_or_default())
}

/// The head of a document that is there.
fn there(run: &Run) -> Result<Status> {
    let none = || Failure::new("no-document", "there is no document: set the first version");
    run.get(HEAD)?.ok_or_else(none)
}

/// The head, if the current version is the one expected and may be replaced.
fn free_for(run: &Run, if_version: Option<u64>) -> Result<Status> {
    let status = load(run)?;
    if if_version.is_some_and(|version| version != status.current) {
        let words = format!("the current version is {}", status.current);
        return Err(Failure::new("version-conflict", words).with_detail(&status));
    }
    if status.roll_out.is_some() {
        let words = "a version is being rolled out: promote or abort it first";
        return Err(Failure::new("rolling-out", words).with_detail(&status));
    }
    Ok(status)
}

/// The roll-out of this version, taken out of the head.
fn rolling_out(run: &Run, version: u64) -> Result<(Status, RollOut)> {
    let mut status = load(run)?;
    match status.roll_out.take() {
        Some(roll_out) if roll_out.version == version => Ok((status, roll_out)),
        other => {
            status.roll_out = other;
            let words = format!("version {version} is not being rolled out");
            Err(Failure::new("not-rolling-out", words).with_detail(&status))
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        let words = format!("names and notes have at most {NAME_BYTES_MAX} bytes");
        return Err(Failure::new("too-large", words));
    }
    Ok(())
}

fn check_reach(percentage: u8, members: &std::collections::BTreeSet<String>) -> Result<()> {
    if percentage > 100 {
        return Err(Failure::new("out-of-range", "a percentage is from 0 to 100"));
    }
    if members.len() > MEMBERS_MAX {
        let words = format!("a roll-out names at most {MEMBERS_MAX} members");
        return Err(Failure::new("out-of-range", words));
    }
    members.iter().try_for_each(|member| check_name(member))
}

fn set_fate(run: &Run, version: u64, fate: Fate) -> Result<()> {
    let name = history_name(version);
    match run.get::<Version>(&name)? {
        Some(facts) => run.set(&name, &Version { fate, ..facts }).map(drop),
        None => Err(no_such_version(version)),
    }
}

/// Keeps a text as a new version; drops what is too old. The caller saves the head.
fn add_version(
    call: &Call,
    status: &mut Status,
    (text, note, fate): (&str, String, Fate),
) -> Result<u64> {
    let config = call.config::<Config>()?;
    if text.len() > config.document_bytes_max as usize {
        let words = format!("a document has at most {} bytes", config.document_bytes_max);
        return Err(Failure::new("too-large", words));
    }
    check_name(&note)?;
    if let Some(definition) = call.get::<Definition>(DEFINITION)? {
        definition.judge(text)?;
    }
    if status.versions == 0 {
        call.create(HISTORY, &())?;
        call.create(TEXTS, &())?;
    }
    let version = call.zxid();
    let (bytes, since_ms) = (text.len() as u64, call.now_ms());
    let identity = call.identity().to_owned();
    let facts = Version { version, bytes, since_ms, identity, note, fate };
    call.create(&history_name(version), &facts)?;
    call.create(&text_name(version), text)?;
    status.versions += 1;
    // A version set for everybody replaces the current one, which may go then.
    let kept = if fate == Fate::Staged { [status.current, version] } else { [version; 2] };
    prune(call, status, (config.history_max, kept))?;
    Ok(version)
}

fn prune(run: &Run, status: &mut Status, (history_max, kept): (u32, [u64; 2])) -> Result<()> {
    let excess = status.versions.saturating_sub(history_max).min(PRUNED_MAX);
    if excess == 0 {
        return Ok(());
    }
    let oldest = run.scan::<Version>(HISTORY, None, excess + 2)?;
    let may_go = oldest.iter().filter(|(_, facts)| !kept.contains(&facts.version));
    for (name, _) in may_go.take(excess as usize) {
        run.delete(&format!("{HISTORY}/{name}"))?;
        run.delete(&format!("{TEXTS}/{name}"))?;
        status.versions -= 1;
    }
    Ok(())
}

/// Writes the head, and tells those whom it concerns.
fn save(run: &Run, status: &Status) -> Result<()> {
    run.put(HEAD, status)?;
    sweep(run, status, WATCHERS.to_owned())
}

fn watcher_count(run: &Run) -> Result<u32> {
    let others = [HEAD, HISTORY, TEXTS, DEFINITION, SWEEP];
    let others = others.iter().filter(|name| run.exists(name)).count();
    Ok(run.count("")?.saturating_sub(u32::try_from(others).unwrap_or(u32::MAX)))
}

/// Tells those who wait, from one on, that they shall run another version; a bounded number, and
/// the rest a millisecond later. A change in between begins anew: who has been told is gone by then.
fn sweep(run: &Run, status: &Status, after: String) -> Result<()> {
    let watchers = run.scan::<Watcher>("", Some(&after), SWEEP_MAX)?;
    for (name, watcher) in &watchers {
        let version = status.version_for(watcher.member.as_deref());
        if version != watcher.version {
            run.delete(name)?;
            run.complete(watcher.ticket, &Change { version })?;
        }
    }
    match watchers.last() {
        Some((last, _)) if watchers.len() == SWEEP_MAX as usize => {
            run.set_timer(SWEEP, run.now_ms());
            run.put(SWEEP, last)
        }
        _ => {
            run.cancel_timer(SWEEP);
            run.delete(SWEEP).map(drop)
        }
    }
}

#[cfg(test)]
mod tests;
