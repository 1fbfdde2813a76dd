//! Callers who wait: how a wait may begin and end, and who should have been answered by now.
//!
//! Comes in: parked calls with what they wait for, answered ones, and the time of every entry. Goes
//! out: who waits, in order of arrival, and the first wait that began, ended or lasts against its
//! promise. Invariant: a wait is here from the entry that parked it to the one that answered it.

use super::record::word_of;
use super::{Answered, LoggedCall, RecipeEntry, Result};
use quorate_types::TicketId;
use std::collections::BTreeMap;

/// A caller who must be answered is overdue after so long, by the leaders' clock, and so many
/// entries. Both: a clock may jump, and a new leader has to find its feet.
const OVERDUE_MS: u64 = 4_000;
const OVERDUE_ENTRIES: u64 = 40;

/// A wait that is not granted ends at its time, by its caller's wish or with its session.
///
/// # Errors
/// When it ends otherwise.
pub(super) fn check_wait_ended(entry: &RecipeEntry<'_>, answered: &Answered) -> Result {
    let call = &answered.call;
    let Err(refusal) = &answered.outcome else { return Ok(()) };
    let word = word_of(refusal);
    let is_right = match word {
        "timed-out" => call.deadline_ms.is_some_and(|at_ms| at_ms <= entry.time_ms),
        "cancelled" => true,
        "session-expired" => entry.ended.contains(&call.name.0),
        _ => false,
    };
    if is_right { Ok(()) } else { Err(format!("{call:?} is refused {word} at {}", entry.time_ms)) }
}

#[derive(Debug)]
struct Wait<W> {
    wants: W,
    deadline_ms: Option<u64>,
    /// Time and entry since which it should be over.
    overdue: Option<(u64, u64)>,
}

/// Callers who wait at one object.
#[derive(Debug)]
pub(super) struct Waits<W> {
    waits: BTreeMap<TicketId, Wait<W>>,
}

impl<W> Default for Waits<W> {
    fn default() -> Waits<W> {
        Waits { waits: BTreeMap::new() }
    }
}

impl<W> Waits<W> {
    pub(super) fn len(&self) -> u64 {
        self.waits.len() as u64
    }

    /// Who waits for what, in order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TicketId, &W)> {
        self.waits.iter().map(|(ticket, wait)| (*ticket, &wait.wants))
    }

    /// A call was parked that asked to wait for so long, where so many may wait.
    ///
    /// # Errors
    /// When it may not wait, or until another time.
    pub(super) fn begin(
        &mut self,
        time_ms: u64,
        call: &LoggedCall<'_>,
        (wait_ms, most): (Option<u64>, u64),
        wants: W,
    ) -> Result {
        let Err(ticket) = call.reply else {
            return Err(format!("{} is answered and waits", call.operation));
        };
        let until_ms = wait_ms.map(|wait_ms| time_ms.saturating_add(wait_ms));
        if wait_ms == Some(0) || call.deadline_ms != until_ms {
            let until_ms = call.deadline_ms;
            return Err(format!("waits at {time_ms} for {wait_ms:?} ms until {until_ms:?}"));
        }
        if self.len() >= most {
            return Err(format!("one more waits, and {most} may: {:?}", self.waits.keys()));
        }
        self.waits.insert(ticket, Wait { wants, deadline_ms: call.deadline_ms, overdue: None });
        Ok(())
    }

    /// The wait is over; gives what it was for.
    ///
    /// # Errors
    /// When nobody waits with this ticket.
    pub(super) fn end(&mut self, ticket: TicketId) -> Result<W> {
        match self.waits.remove(&ticket) {
            Some(wait) => Ok(wait.wants),
            None => Err(format!("{ticket:?} is answered and does not wait")),
        }
    }

    /// To be asked about every entry, with whether a caller must be answered as things stand.
    ///
    /// # Errors
    /// When one waits on for long, or long after its time.
    pub(super) fn check_overdue(
        &mut self,
        entry: &RecipeEntry<'_>,
        must: impl Fn(TicketId, &W) -> bool,
    ) -> Result {
        let (now_ms, now) = (entry.time_ms, entry.zxid.0);
        for (ticket, wait) in &mut self.waits {
            let is_over = wait.deadline_ms.is_some_and(|at_ms| at_ms <= now_ms);
            if !is_over && !must(*ticket, &wait.wants) {
                wait.overdue = None;
                continue;
            }
            let (since_ms, since) = *wait.overdue.get_or_insert((now_ms, now));
            if now_ms - since_ms > OVERDUE_MS && now - since > OVERDUE_ENTRIES {
                return Err(format!("{ticket:?} waits on since {since_ms} ms, entry {since}"));
            }
        }
        Ok(())
    }
}
