//! A fair lock for several readers or one writer, with fencing tokens.
//!
//! The znodes of an object, `/documents/catalogue` say:
//!
//! ```text
//! holder-read-<session>-<fence>   a Holder, owned by the reader's session
//! holder-write                    a Holder, owned by the writer's session
//! waiter-<ticket>                 a Waiter, owned by its session; sorts by arrival, after the holders
//! ```
//!
//! Comes in: acquire, release, downgrade, try-upgrade; ends of sessions and of waits. Goes out: grants,
//! pushed to those who wait.
//!
//! Invariants: a writer holds alone; between two runs the first in line does not fit beside the
//! holders, unless a timer is set that goes on admitting; a free lock has no znodes: its object is
//! reaped. The fence of a hold is the zxid of its grant, and a transaction that grants to a writer
//! grants to nobody else.
//! Must never: grant to a session that has ended or is ending, or let a reader pass a writer in line.

use quorate_recipe::prelude::*;
use serde::de::IgnoredAny;

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most holders and waiters of one lock, together.
    pub claims_max: u32,
    /// Most waiters that one run answers, at most 100; the next ones follow a millisecond later.
    pub grants_max: u32,
    /// Longest note.
    pub note_bytes_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { claims_max: 10_000, grants_max: 100, note_bytes_max: 1_024 }
    }
}

/// What a holder may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Read, beside other readers.
    Read,
    /// Write, alone.
    Write,
}

/// What to take, how to wait, and what to tell others.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// To read or to write.
    pub mode: Mode,
    /// Milliseconds to wait in line; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Shown to whoever asks for the holders.
    #[serde(default)]
    pub note: String,
}

/// The lock is yours, to read or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Grant {
    /// Send it with everything you ask of what the lock guards, and let that refuse a smaller one than
    /// it has seen from a writer.
    pub fence: u64,
}

/// Which hold of the caller's session.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The fence of its grant.
    pub fence: u64,
}

/// Who reads or writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Holder {
    /// To read or to write.
    pub mode: Mode,
    /// The session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
    /// The fence of its grant.
    pub fence: u64,
    /// What it said when it acquired.
    pub note: String,
    /// When it was granted: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
    /// How many acquires of this session were granted under this fence: as many are to be released.
    pub claims: u32,
}

/// Which holders to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// The `next` of the page before; none: from the beginning.
    pub after: Option<String>,
    /// At most so many, and at most 100; none: 100.
    pub limit: Option<u32>,
}

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Holders {
    /// One writer, or readers in order of session.
    pub holders: Vec<Holder>,
    /// There may be more: ask for those after this.
    pub next: Option<String>,
}

/// A caller in line.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
struct Waiter {
    ticket: Ticket<Grant>,
    mode: Mode,
    session: SessionId,
    identity: String,
    note: String,
}

const READER: &str = "holder-read-";
const WRITER: &str = "holder-write";
const ADMIT_TIMER: &str = "admit";
/// Waiters that one run answers at most, whatever the mount says.
const GRANTS_MAX: u32 = 100;
/// Places of an ending session that one run steps over: the others go with it before the next run.
const PASSED_OVER_MAX: u32 = 200;
const PAGE_MAX: u32 = 100;

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct ReadWriteLock;

/// A fair lock for several readers or one writer, with fencing tokens. Not reentrant.
#[recipe(name = "read-write-lock", version = "1.0.0", state = 1, config = Config)]
impl ReadWriteLock {
    /// Takes the lock to read or to write, or waits in line for it. Refused `held` if it may not
    /// wait, `full` if too many hold and wait.
    #[command]
    pub fn acquire(call: &Call, wanted: Acquire) -> Result<Reply<Grant>> {
        let config = call.config::<Config>()?;
        check(call, &config, &wanted.note)?;
        let (session, identity) = (call.session(), call.identity().to_owned());
        let is_first = next_name(call, WRITER)?.is_none();
        if is_first && fits(call, wanted.mode)? {
            return Ok(hold(call, wanted.mode, session, identity, wanted.note)?.into());
        }
        if wanted.wait_ms == Some(0) {
            return Err(held(call)?);
        }
        let ticket = call.park(wanted.wait_ms);
        let waiter = Waiter { ticket, mode: wanted.mode, session, identity, note: wanted.note };
        call.create_owned(&waiter_name(&ticket.key()), &waiter, session)?;
        if !is_first {
            // Ends that were not heard of, as while the mount was suspended, are made good here.
            admit(call)?;
        }
        Ok(Reply::Parked(ticket))
    }

    /// Gives a hold back. Refused `not-holder` unless the caller's session has one under this fence.
    #[command]
    pub fn release(call: &Call, which: Hold) -> Result<()> {
        let (name, mut holder) = own(call, which.fence)?;
        holder.claims = holder.claims.saturating_sub(1);
        if holder.claims > 0 {
            return call.set(&name, &holder).map(drop);
        }
        call.delete(&name)?;
        admit(call)
    }

    /// Turns a write hold into a read hold, with a new fence; no writer comes between. Readers at the
    /// head of the line follow. Refused `not-holder` unless the caller's session writes under this
    /// fence.
    #[command]
    pub fn downgrade(call: &Call, which: Hold) -> Result<Grant> {
        let (name, holder) = own(call, which.fence)?;
        if holder.mode == Mode::Read {
            return Err(not_holder(Some(&holder)));
        }
        call.delete(&name)?;
        let granted = hold(call, Mode::Read, holder.session, holder.identity, holder.note)?;
        admit(call)?;
        Ok(granted)
    }

    /// Turns a read hold into a write hold, with a new fence, if nobody else reads: before writers in
    /// line, who could not have had the lock yet. Refused `other-readers` if somebody does: release
    /// and acquire, for waiting with the lock in hand would never end if two did it.
    #[command]
    pub fn try_upgrade(call: &Call, which: Hold) -> Result<Grant> {
        let (name, holder) = own(call, which.fence)?;
        if holder.mode == Mode::Write {
            return Err(not_holder(Some(&holder)));
        }
        let is_reader = |other: &String| *other != name && other.starts_with(READER);
        let first = next_name(call, READER)?.filter(is_reader);
        let other = first.or(next_name(call, &name)?.filter(is_reader));
        if other.is_some() || holder.claims > 1 {
            let message = "others read too: release, and acquire to write";
            return Err(Failure::new("other-readers", message));
        }
        call.delete(&name)?;
        hold(call, Mode::Write, holder.session, holder.identity, holder.note)
    }

    /// Who holds the lock, by pages.
    #[query]
    pub fn holders(call: &Call, page: Page) -> Result<Holders> {
        let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let (mut holders, mut after) = (Vec::new(), page.after.unwrap_or_default());
        while call.exists("")
            && let Some(name) = next_name(call, &after)?.filter(|name| is_holder(name))
        {
            if holders.len() == limit as usize {
                return Ok(Holders { holders, next: Some(after) });
            }
            holders.extend(call.get::<Holder>(&name)?);
            after = name;
        }
        Ok(Holders { holders, next: None })
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        if run.get::<Holder>(WRITER)?.is_some_and(|writer| writer.session == session) {
            run.delete(WRITER)?;
        }
        admit(run)
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&waiter_name(&ended.ticket.key()))?;
        admit(run)
    }

    #[on(timer)]
    fn timer(run: &Run, _admit: &str) -> Result<()> {
        admit(run)
    }
}

fn waiter_name(key: &str) -> String {
    format!("waiter-{key}")
}

fn holder_name(mode: Mode, session: SessionId, fence: u64) -> String {
    match mode {
        Mode::Read => format!("{READER}{session:020}-{fence:020}"),
        Mode::Write => WRITER.into(),
    }
}

fn is_holder(name: &str) -> bool {
    name == WRITER || name.starts_with(READER)
}

/// The name that comes after this one among the object's znodes.
fn next_name(run: &Run, after: &str) -> Result<Option<String>> {
    Ok(run.first_after::<IgnoredAny>("", after)?.map(|(name, _)| name))
}

/// Whether there is room for one more claim.
fn check(run: &Run, config: &Config, note: &str) -> Result<()> {
    if note.len() > config.note_bytes_max as usize {
        let message = format!("a note has at most {} bytes", config.note_bytes_max);
        return Err(Failure::new("note-too-long", message));
    }
    if run.count("")? >= config.claims_max {
        let message = format!("{} hold the lock or wait for it already", config.claims_max);
        return Err(Failure::new("full", message));
    }
    Ok(())
}

/// The refusal of a caller that may not wait, with one of those who are in its way.
fn held(run: &Run) -> Result<Failure> {
    let first = next_name(run, "")?.filter(|name| is_holder(name));
    let holder = first.map(|name| run.get::<Holder>(&name)).transpose()?.flatten();
    let message = match &holder {
        Some(Holder { mode: Mode::Read, session, .. }) => format!("session {session} reads"),
        Some(Holder { mode: Mode::Write, session, .. }) => format!("session {session} writes"),
        None => "others wait for it".into(),
    };
    let message = format!("the lock cannot be had now: {message}");
    Ok(Failure::new("held", message).with_detail(&holder))
}

fn not_holder(holder: Option<&Holder>) -> Failure {
    let message = "your session does not hold the lock so under this fence";
    Failure::new("not-holder", message).with_detail(&holder)
}

/// A hold of the caller's session, and its znode.
fn own(call: &Call, fence: u64) -> Result<(String, Holder)> {
    let writer = call.get::<Holder>(WRITER)?;
    if let Some(writer) = writer {
        let is_own = writer.session == call.session() && writer.fence == fence;
        return if is_own { Ok((WRITER.into(), writer)) } else { Err(not_holder(Some(&writer))) };
    }
    let name = holder_name(Mode::Read, call.session(), fence);
    let reader = call.get::<Holder>(&name)?;
    reader.map(|reader| (name, reader)).ok_or_else(|| not_holder(None))
}

/// Whether somebody may read or write beside those who hold the lock and are not ending.
fn fits(run: &Run, mode: Mode) -> Result<bool> {
    let writer = run.get::<Holder>(WRITER)?;
    if writer.is_some_and(|writer| run.is_live(writer.session)) {
        return Ok(false);
    }
    Ok(mode == Mode::Read || !is_read(run)?)
}

/// Whether a session reads that is not ending. Steps over all holds of one that is at once.
fn is_read(run: &Run) -> Result<bool> {
    let mut after = READER.to_owned();
    while let Some(name) = next_name(run, &after)?
        && let Some(of) = name.strip_prefix(READER)
    {
        let session = of.split_once('-').and_then(|(session, _)| session.parse().ok());
        let Some(session) = session.map(SessionId) else {
            return Err(Failure::new("corrupt-state", format!("znode {name:?} names no session")));
        };
        if run.is_live(session) {
            return Ok(true);
        }
        after = format!("{READER}{session:020}-~");
    }
    Ok(false)
}

fn hold(
    run: &Run,
    mode: Mode,
    session: SessionId,
    identity: String,
    note: String,
) -> Result<Grant> {
    let fence = run.zxid();
    let name = holder_name(mode, session, fence);
    match run.get::<Holder>(&name)? {
        // Several calls of one session were admitted at once.
        Some(holder) => drop(run.set(&name, &Holder { claims: holder.claims + 1, ..holder })?),
        None => {
            let since_ms = run.now_ms();
            let holder = Holder { mode, session, identity, fence, note, since_ms, claims: 1 };
            run.create_owned(&name, &holder, session)?;
        }
    }
    Ok(Grant { fence })
}

/// Grants the lock to those at the head of the line who fit.
fn admit(run: &Run) -> Result<()> {
    let grants_max = run.config::<Config>()?.grants_max.clamp(1, GRANTS_MAX);
    let (mut after, mut seen, mut passed_over) = (WRITER.to_owned(), 0, 0);
    while let Some((name, waiter)) = run.first_after::<Waiter>("", &after)? {
        after.clone_from(&name);
        let is_live = run.is_live(waiter.session);
        if is_live && !fits(run, waiter.mode)? {
            break;
        }
        if seen == grants_max || passed_over == PASSED_OVER_MAX {
            run.set_timer(ADMIT_TIMER, run.now_ms() + 1);
            break;
        }
        if !is_live {
            // Its place goes with its session.
            passed_over += 1;
            continue;
        }
        seen += 1;
        run.delete(&name)?;
        if run.complete(waiter.ticket, &Grant { fence: run.zxid() })? {
            hold(run, waiter.mode, waiter.session, waiter.identity, waiter.note)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
