//! What the log says of a recipe, in the words of its callers.
//!
//! Comes in: committed transactions. Goes out: calls with their outcomes, parked calls that were
//! answered, sessions that ended. Invariant: nothing of it is taken from what the recipe writes.

use quorate_machine::Change;
use quorate_types::{Outcome, Refusal, SessionId, TicketId, Zxid};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// What broke, for a person.
pub type Result<T = ()> = std::result::Result<T, String>;

/// A call by its session and number.
pub type CallName = (SessionId, u64);

/// One committed transaction.
pub struct RecipeEntry<'a> {
    pub zxid: Zxid,
    /// The leader's stamp.
    pub time_ms: u64,
    /// The call of this mount that it came from.
    pub call: Option<LoggedCall<'a>>,
    /// Parked calls of this mount that it answers, in order.
    pub answered: Vec<Answered>,
    /// The session that it opens.
    pub opened: Option<SessionId>,
    /// Sessions that it ends. Their parked calls are among `answered`, if they had any.
    pub ended: Vec<SessionId>,
    pub changes: &'a [Change],
}

/// A command that was carried out or parked.
pub struct LoggedCall<'a> {
    pub name: CallName,
    /// One name below the mount; empty: the mount itself.
    pub object: &'a str,
    pub operation: &'a str,
    /// CBOR.
    pub arguments: &'a [u8],
    /// The reply as CBOR; `None`: it was parked, and is told under this ticket.
    pub reply: std::result::Result<&'a [u8], TicketId>,
    /// When its wait is over, if it was parked and that was asked for.
    pub deadline_ms: Option<u64>,
}

impl LoggedCall<'_> {
    /// # Errors
    /// When the arguments are of another kind.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T> {
        decode(self.arguments, self.operation)
    }

    /// # Errors
    /// When the reply is of another kind.
    pub fn reply<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.reply.ok().map(|bytes| decode(bytes, self.operation)).transpose()
    }
}

/// A call that waits.
#[derive(Clone, Debug)]
pub struct Parked {
    pub name: CallName,
    pub object: String,
    pub operation: String,
    pub arguments: Vec<u8>,
    /// The transaction that parked it.
    pub since: Zxid,
    pub deadline_ms: Option<u64>,
}

/// A parked call that is answered.
#[derive(Clone, Debug)]
pub struct Answered {
    pub ticket: TicketId,
    pub call: Parked,
    /// The reply as CBOR.
    pub outcome: std::result::Result<Vec<u8>, Refusal>,
}

impl Answered {
    /// # Errors
    /// When the arguments are of another kind.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T> {
        decode(&self.call.arguments, &self.call.operation)
    }

    /// The reply, unless the call was refused.
    ///
    /// # Errors
    /// When the reply is of another kind.
    pub fn reply<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.outcome.as_ref().ok().map(|bytes| decode(bytes, &self.call.operation)).transpose()
    }
}

/// Something that is to happen by itself, such as what a timer does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overdue(Option<(u64, u32)>);

/// By the leaders' clock. A clock may jump: entries count too.
const OVERDUE_MS: u64 = 60_000;
const OVERDUE_ENTRIES: u32 = 50;

impl Overdue {
    /// To be asked at every entry: whether it has been due for too long. `is_due`: it is due and has
    /// not happened.
    pub fn passes(&mut self, is_due: bool, now_ms: u64) -> bool {
        if !is_due {
            self.0 = None;
            return false;
        }
        let (since_ms, entries) = self.0.unwrap_or((now_ms, 0));
        self.0 = Some((since_ms, entries + 1));
        now_ms.saturating_sub(since_ms) > OVERDUE_MS && entries > OVERDUE_ENTRIES
    }
}

/// What a caller was told that left nothing in the log.
pub struct Told<'a> {
    pub client: usize,
    pub session: SessionId,
    pub object: &'a str,
    pub operation: &'a str,
    pub arguments: &'a [u8],
    pub outcome: &'a Outcome,
    /// The newest transaction that any server had applied when it was asked.
    pub from: Zxid,
    /// The state that the answer shows: for a linearizable query not before `from`.
    pub zxid: Zxid,
}

impl Told<'_> {
    /// # Errors
    /// When the arguments are of another kind.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T> {
        decode(self.arguments, self.operation)
    }

    /// The reply, unless the call was refused.
    ///
    /// # Errors
    /// When the reply is of another kind.
    pub fn reply<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        match self.outcome {
            Ok(quorate_types::Reply::Called(bytes)) => decode(bytes, self.operation).map(Some),
            Ok(other) => Err(format!("{} is answered {other:?}", self.operation)),
            Err(_) => Ok(None),
        }
    }

    /// What the recipe said with its refusal, for a program.
    ///
    /// # Errors
    /// When it is of another kind, or the call was not refused.
    pub fn detail<T: DeserializeOwned>(&self) -> Result<T> {
        match self.outcome {
            Err(refusal) => decode(&refusal.detail, self.operation),
            Ok(reply) => Err(format!("{} is answered {reply:?}", self.operation)),
        }
    }

    /// The recipe's own word for a refusal.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.outcome.as_ref().err().map(word_of)
    }
}

/// The recipe's own word, if the recipe refused; else the name of the server's code.
#[must_use]
pub fn word_of(refusal: &Refusal) -> &str {
    refusal.recipe_code.as_deref().unwrap_or(refusal.code.name())
}

fn decode<T: DeserializeOwned>(bytes: &[u8], operation: &str) -> Result<T> {
    serde_cbor::from_slice(bytes)
        .map_err(|error| format!("{operation} carries {bytes:02x?}, which does not read: {error}"))
}

/// Who the clients of sessions proved to be.
#[derive(Clone, Debug, Default)]
pub struct Identities(BTreeMap<SessionId, String>);

impl Identities {
    /// To be told of every entry.
    pub fn note(&mut self, entry: &RecipeEntry<'_>) {
        for change in entry.changes {
            if let (Change::OpenSession { identity, .. }, Some(session)) = (change, entry.opened) {
                self.0.insert(session, identity.clone());
            }
        }
    }

    /// Empty: not known.
    #[must_use]
    pub fn of(&self, session: SessionId) -> String {
        self.0.get(&session).cloned().unwrap_or_default()
    }
}

/// A value as of every transaction.
#[derive(Clone, Debug)]
pub struct Timeline<T>(Vec<(Zxid, T)>);

impl<T> Default for Timeline<T> {
    fn default() -> Timeline<T> {
        Timeline(Vec::new())
    }
}

impl<T: PartialEq> Timeline<T> {
    /// The value from this transaction on.
    pub fn note(&mut self, zxid: Zxid, value: T) {
        if self.0.last().is_none_or(|(_, newest)| *newest != value) {
            self.0.push((zxid, value));
        }
    }

    /// The value after this transaction.
    #[must_use]
    pub fn at(&self, zxid: Zxid) -> Option<&T> {
        let later = self.0.partition_point(|(since, _)| *since <= zxid);
        self.0.get(later.checked_sub(1)?).map(|(_, value)| value)
    }

    /// The first value that came after this transaction.
    #[must_use]
    pub fn after(&self, zxid: Zxid) -> Option<&T> {
        let later = self.0.partition_point(|(since, _)| *since <= zxid);
        self.0.get(later).map(|(_, value)| value)
    }

    /// The values that there were from after one transaction to after another, the first perhaps
    /// `None`.
    pub fn within(&self, from: Zxid, to: Zxid) -> impl Iterator<Item = Option<&T>> {
        let begin = self.0.partition_point(|(since, _)| *since <= from);
        let end = self.0.partition_point(|(since, _)| *since <= to).max(begin);
        let later = self.0[begin..end].iter().map(|(_, value)| Some(value));
        std::iter::once(self.at(from)).chain(later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_knows_every_value_with_its_time() {
        let mut timeline = Timeline::default();
        for (zxid, value) in [(3, 'a'), (5, 'a'), (7, 'b'), (9, 'c')] {
            timeline.note(Zxid(zxid), value);
        }
        assert_eq!(timeline.at(Zxid(2)), None);
        assert_eq!(timeline.at(Zxid(6)), Some(&'a'));
        assert_eq!(timeline.at(Zxid(7)), Some(&'b'));
        assert_eq!(timeline.after(Zxid(3)), Some(&'b'));
        assert_eq!(timeline.after(Zxid(9)), None);
        let within: Vec<_> = timeline.within(Zxid(1), Zxid(7)).collect();
        assert_eq!(within, [None, Some(&'a'), Some(&'b')]);
        let within: Vec<_> = timeline.within(Zxid(8), Zxid(8)).collect();
        assert_eq!(within, [Some(&'b')]);
    }
}
