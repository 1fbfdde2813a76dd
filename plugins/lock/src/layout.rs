//! The layout of ZooKeeper's lock clients: one lock for them and for callers of the recipe.
//!
//! Comes in: claims, and the children that clients of ZooKeeper create in a lock's znode. Goes out: a
//! claim's places, and who of those clients is before it.
//!
//! Beside what the recipe keeps in its own layout, a lock has then
//!
//! ```text
//! quorate                    keeps the object: a client makes it first and creates its child later
//! quorate-lock-<number>      the place of a claim, as Curator names it; owned by the claim's session
//! quorate__lock__<number>    the same as kazoo names it
//! ```
//!
//! A client of ZooKeeper takes a lock by a sequential child of its own, and has it when no child that
//! it counts has a smaller number. Curator counts what comes after the last `lock-` of every child,
//! kazoo those that end in `__lock__` and a number, and both compare text. So every claim, waiting or
//! holding, has a place for either from the transaction it arrives in to the one it ends in, and gets
//! the lock only when no client has a smaller number. Two places of one claim are created together:
//! nobody comes between them.
//!
//! Invariants: names of the recipe sort after every number for Curator, and only places count for
//! kazoo; a claim is not granted before every child was looked at.
//! Must never: take a place away from a client, or read what it wrote in it.

use crate::line::{self, Claim, DELAY, HOLDER, WAITER};
use crate::messages::{Config, Holder, Layout};
use quorate_recipe::prelude::*;

/// The code of the refusal for more contenders than one run looks at.
pub(crate) const TOO_MANY: &str = "too-many-contenders";
/// Keeps the object.
const MARKER: &str = "quorate";
const CURATOR: &str = "quorate-lock-";
const KAZOO: &str = "quorate__lock__";
/// What stands before the number of a contender: Curator's mutex, kazoo's lock, kazoo's reader.
const BEFORE_NUMBERS: [&str; 3] = ["lock-", "__lock__", "__rlock__"];
/// Digits of a number.
const DIGITS: usize = 10;
/// Children of clients that one look goes through.
const CONTENDERS_MAX: usize = 250;
/// Of these at a time: their data comes along.
const PAGE: u32 = 50;

/// A child by which a client of ZooKeeper contends.
pub(crate) struct Contender {
    name: String,
    owner: Option<SessionId>,
}

pub(crate) fn is_shared(run: &Run) -> Result<bool> {
    Ok(run.config::<Config>()?.layout == Layout::Zookeeper)
}

/// Gives a claim that arrives its places. Only on an object: what is in the mount itself are locks.
pub(crate) fn take_places(call: &Call, claim: Claim) -> Result<Claim> {
    if call.path().is_empty() {
        return Err(Failure::new("no-object", "call it on one of the locks, not on the mount"));
    }
    keep_object(call)?;
    let (data, owner) = (claim.identity.as_bytes(), Some(claim.session));
    let places = vec![
        call.create_sequential_bytes(CURATOR, data, owner)?,
        call.create_sequential_bytes(KAZOO, data, owner)?,
    ];
    if places.iter().any(|place| own_prefix(place).is_none()) {
        let message = "the lock has given all the numbers there are: let its znode be made anew";
        return Err(Failure::new("numbers-used-up", message));
    }
    Ok(Claim { places, ..claim })
}

fn keep_object(lock: &Object) -> Result<()> {
    if lock.exists(MARKER) { Ok(()) } else { lock.create_bytes(MARKER, &[], None) }
}

/// The places of a claim go, which wakes the client that waits for it.
pub(crate) fn give_up(lock: &Object, places: &[String]) -> Result<()> {
    places.iter().try_for_each(|place| lock.delete(place).map(drop))
}

/// The places that a holder had stay for the time of a delay, though its session ends.
pub(crate) fn hold_on(lock: &Object, holder: &Holder) -> Result<()> {
    let data = holder.identity.as_bytes();
    holder.places.iter().try_for_each(|place| lock.create_bytes(place, data, None))
}

/// The client with the smallest number. Refused `too-many-contenders`.
pub(crate) fn first_contender(run: &Run, lock: &Object) -> Result<Option<Contender>> {
    let mut first: Option<Contender> = None;
    let (mut after, mut looked) = (None::<String>, 0);
    loop {
        let children = lock.list("", after.as_deref(), PAGE)?;
        let Some(last) = children.last() else { return Ok(first) };
        // Of the recipe's own names there may be many; a colon sorts after every digit.
        let skipped = own_prefix(&last.name).map(|prefix| format!("{prefix}:"));
        after = Some(skipped.unwrap_or_else(|| last.name.clone()));
        for child in children {
            let is_own = own_prefix(&child.name).is_some();
            looked += usize::from(!is_own);
            let Some(number) = number_of(&child.name).filter(|_| !is_own) else { continue };
            let is_before = first
                .as_ref()
                .is_none_or(|first| number_of(&first.name).is_some_and(|before| number < before));
            // What a session owns that is ending goes in this transaction.
            if is_before && child.stat.owner.is_none_or(|owner| run.is_live(owner)) {
                first = Some(Contender { name: child.name, owner: child.stat.owner });
            }
        }
        if looked > CONTENDERS_MAX {
            let message =
                format!("more than {CONTENDERS_MAX} clients contend for {:?}", lock.path());
            return Err(Failure::new(TOO_MANY, message));
        }
    }
}

/// Whether a client of ZooKeeper has its turn before a claim with these places.
pub(crate) fn is_before(contender: Option<&Contender>, places: &[String]) -> bool {
    let numbers = contender.and_then(|contender| number_of(&contender.name));
    match (numbers, places.first().and_then(|place| number_of(place))) {
        (Some(theirs), Some(own)) => theirs < own,
        (theirs, _) => theirs.is_some(),
    }
}

/// What is known of the client of ZooKeeper that has the lock.
pub(crate) fn foreign_holder(run: &Run) -> Result<Option<Holder>> {
    if !is_shared(run)? || !run.exists("") || run.exists(HOLDER) || run.exists(DELAY) {
        return Ok(None);
    }
    let Some(first) = first_contender(run, run)? else { return Ok(None) };
    let session = first.owner.and_then(|owner| run.find_session(owner));
    Ok(Some(Holder {
        session: first.owner.unwrap_or(SessionId(0)),
        identity: session.map(|session| session.identity).unwrap_or_default(),
        fence: 0,
        note: String::new(),
        since_ms: 0,
        depth: 0,
        ends_at_ms: None,
        revoke_at_ms: None,
        delay_ms: None,
        with: Vec::new(),
        places: vec![first.name],
    }))
}

/// The refusal of those who would have the lock taken from a client of ZooKeeper, if one has it.
pub(crate) fn spare_foreign(run: &Run) -> Result<()> {
    let Some(holder) = foreign_holder(run)? else { return Ok(()) };
    let message = format!("a client of ZooKeeper holds the lock by its znode {:?}", holder.places);
    Err(Failure::new("foreign-holder", message).with_detail(&holder))
}

/// Several locks at once cannot be had where clients stand in one line after the other.
pub(crate) fn one_at_a_time(run: &Run) -> Result<()> {
    if is_shared(run)? {
        let message = "locks that clients of ZooKeeper share are acquired one at a time";
        return Err(Failure::new("one-at-a-time", message));
    }
    Ok(())
}

/// Somebody else changed something at or below the run's object.
pub(crate) fn changed(run: &Run, path: &str) -> Result<()> {
    // An ephemeral in the mount itself, and what is further below, are no part of a lock.
    let is_lock = run.stat("").is_some_and(|stat| stat.owner.is_none());
    if !is_shared(run)? || run.path().is_empty() || !is_lock || path.contains('/') {
        return Ok(());
    }
    if path.is_empty() || run.count("")? > 0 {
        keep_object(run)?;
    }
    // Nobody's turn comes by what was created.
    if !path.is_empty() && !run.exists(path) {
        line::settle(run, [run.path().to_owned()])?;
    }
    Ok(())
}

/// What a name that the recipe gave begins with.
fn own_prefix(name: &str) -> Option<&'static str> {
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    let mut prefixes = [CURATOR, KAZOO, WAITER].into_iter();
    prefixes.find(|prefix| name.strip_prefix(prefix).is_some_and(is_number))
}

/// The number of a contender, as the text that is compared. After some thousand millions it is negative.
fn number_of(name: &str) -> Option<&str> {
    let is_number = |rest: &&str| {
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        rest.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    BEFORE_NUMBERS
        .iter()
        .find_map(|before| name.rsplit_once(before).map(|(_, rest)| rest).filter(is_number))
}
