//! The order that a session is promised (ZooKeeper programmer's guide, "Consistency Guarantees":
//! sequential consistency, single system image; the native protocol, "Order"): writes take effect in
//! the order sent, what a client is shown never goes back, its reads show its own earlier writes,
//! answers come in order.
//!
//! Comes in: what clients send and see, and the log. Invariant used: the log says to which connection
//! a session was attached when a transaction was made, so each transaction has one place in what was
//! sent on one connection. A request refused for a while and sent again counts where it stands last.

use crate::history::{AskedOperation, CommittedEntry, History, OperationId};
use crate::observation::{Checker, Observation};
use crate::zookeeper::zookeeper_place;
use quorate_machine::{Change, Origin, Transaction};
use quorate_types::limits::Limits;
use quorate_types::{ErrorCode, Operation, Outcome, SessionId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct SessionOrder {
    sessions: BTreeMap<SessionId, Session>,
    lines: BTreeMap<u64, Line>,
    judged: u64,
}

#[derive(Default)]
struct Session {
    /// The newest state that its client was shown.
    shown: Zxid,
    /// The transactions that attached it, and to which connection.
    attached: Vec<(Zxid, u64)>,
    /// Requests that have their transaction.
    done: BTreeSet<u64>,
    /// Requests that a recipe parked, or that wait for the membership.
    waiting: BTreeSet<u64>,
    /// Requests that nothing can refuse and that a later one overtook: on which connection, by which.
    overtaken: BTreeMap<u64, (u64, u64)>,
}

/// What was sent on one connection, in order.
#[derive(Default)]
struct Line {
    sent: Vec<Sent>,
    /// Where each request stands last.
    places: BTreeMap<u64, usize>,
    /// The highest number, but for what resumes watches, and of what is counted apart.
    newest: [u64; 2],
    unanswered: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// The last place answered in order.
    answered: Option<usize>,
    /// The last place of a read that was answered.
    read: Option<usize>,
    /// Places that took effect, in order of both.
    done: Vec<(usize, Zxid)>,
}

struct Sent {
    sequence: u64,
    /// It is a write, and no server has a reason to refuse it.
    certain: bool,
}

impl SessionOrder {
    fn on_sent(
        &mut self,
        history: &History,
        id: OperationId,
        connection: u64,
    ) -> Result<(), String> {
        let known = history.operation(id);
        let Some((session, sequence)) = known.request else { return Ok(()) };
        let line = self.lines.entry(connection).or_default();
        // What resumes watches goes first, whatever its number.
        let resumes = matches!(known.operation, Operation::ResumeWatches { .. });
        if !resumes && !line.places.contains_key(&sequence) {
            // A ZooKeeper door counts reads apart.
            let apart = zookeeper_place(known.client).is_some() && !known.operation.is_write();
            let newest = line.newest[usize::from(apart)];
            if sequence < newest {
                return Err(format!(
                    "session {session} sends request {sequence} on connection {connection} after \
                     request {newest}"
                ));
            }
            line.newest[usize::from(apart)] = sequence;
        }
        let room = line.unanswered.len() < Limits::TESTED.session_outstanding_max as usize;
        let certain = room && cannot_be_refused(&known.operation);
        line.places.insert(sequence, line.sent.len());
        line.sent.push(Sent { sequence, certain });
        line.unanswered.insert(sequence);
        Ok(())
    }

    fn on_committed(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        self.note_attachments(entry.zxid, transaction);
        self.note_waiting(transaction);
        let Origin::Session { session, sequence, .. } = transaction.origin else { return Ok(()) };
        // The end of a change of the membership names the request again.
        if !self.sessions.entry(session).or_default().done.insert(sequence) {
            return Ok(());
        }
        self.judged += 1;
        let place = self.place_of(session, sequence, entry.zxid)?;
        self.check_overtaken(session, sequence, entry.zxid)?;
        self.on_done(history, (session, sequence), place, entry.zxid)
    }

    fn note_attachments(&mut self, zxid: Zxid, transaction: &Transaction) {
        let Origin::Connection(origin) = transaction.origin else { return };
        for change in &transaction.changes {
            let session = match change {
                Change::OpenSession { .. } => SessionId(zxid.0),
                Change::AttachSession { session } => *session,
                _ => continue,
            };
            let known = self.sessions.entry(session).or_default();
            known.attached.push((zxid, origin.connection));
        }
    }

    fn note_waiting(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            let (session, sequence) = match change {
                Change::Park { session, sequence, .. }
                | Change::BeginMembership { session, sequence, .. } => (*session, *sequence),
                _ => continue,
            };
            self.sessions.entry(session).or_default().waiting.insert(sequence);
        }
    }

    /// Where the request stands in what was sent on the connection that the session was attached to
    /// when the transaction was made.
    fn place_of(
        &self,
        session: SessionId,
        sequence: u64,
        zxid: Zxid,
    ) -> Result<(u64, usize), String> {
        let Some((attached, connection)) = self.sessions[&session].attached.last() else {
            return Err(format!(
                "transaction {zxid} is of session {session}, which was never opened"
            ));
        };
        let place = self.lines.get(connection).and_then(|line| line.places.get(&sequence));
        let place = place.ok_or_else(|| {
            format!(
                "request {sequence} of session {session} took effect at {zxid}, but was not sent on \
                 connection {connection}, to which the session was attached at {attached}"
            )
        })?;
        Ok((*connection, *place))
    }

    fn check_overtaken(&self, session: SessionId, sequence: u64, zxid: Zxid) -> Result<(), String> {
        let Some((connection, by)) = self.sessions[&session].overtaken.get(&sequence) else {
            return Ok(());
        };
        if self.lines[connection].refused.contains(&sequence) {
            return Ok(());
        }
        Err(format!(
            "request {sequence} of session {session} took effect at {zxid}, after request {by}, which \
             was sent after it on connection {connection} and took effect there"
        ))
    }

    fn on_done(
        &mut self,
        history: &History,
        (session, sequence): (SessionId, u64),
        (connection, place): (u64, usize),
        zxid: Zxid,
    ) -> Result<(), String> {
        let line = self.lines.get_mut(&connection).expect("the place was found in it");
        let before = line.done.last().map_or(0, |(before, _)| before + 1);
        if place < before {
            let (other, at) = line.done[line.done.len() - 1];
            let other = line.sent[other].sequence;
            let asked = history.by_request.get(&(session, sequence));
            let asked = asked.map(|id| history.operation(*id));
            if asked.is_some_and(needs_component) && led_by_others(history, at, zxid) {
                return Ok(());
            }
            // A leader refuses a mount for now while a peer compiles. Lost on its way to the server
            // asked, the refusal is never seen, and the mount is given to the leader again.
            if asked.is_some_and(|asked| matches!(asked.operation, Operation::Mount { .. })) {
                return Ok(());
            }
            return Err(format!(
                "request {sequence} of session {session} took effect at {zxid}, after request {other} \
                 at {at}, which was sent after it on connection {connection}: {asked:?}"
            ));
        }
        if let Some(read) = line.read.filter(|read| *read > place) {
            let read = line.sent[read].sequence;
            let asked = history.by_request.get(&(session, read)).map(|id| history.operation(*id));
            return Err(format!(
                "request {sequence} of session {session} took effect at {zxid}, but the read {read}, \
                 sent after it on connection {connection}, was answered before: {asked:?}"
            ));
        }
        let known = self.sessions.entry(session).or_default();
        for one in &line.sent[before..place] {
            if one.certain && !known.done.contains(&one.sequence) {
                known.overtaken.insert(one.sequence, (connection, sequence));
            }
        }
        line.done.push((place, zxid));
        Ok(())
    }

    /// The client is shown this state.
    fn show(&mut self, session: SessionId, zxid: Zxid, by: &str) -> Result<(), String> {
        self.judged += 1;
        let known = self.sessions.entry(session).or_default();
        if zxid < known.shown {
            let shown = known.shown;
            return Err(format!("session {session} was shown {shown}, and then {zxid} by {by}"));
        }
        known.shown = zxid;
        Ok(())
    }

    fn on_answer(
        &mut self,
        history: &History,
        connection: u64,
        (session, sequence): (SessionId, u64),
        (zxid, outcome): (Zxid, &Outcome),
    ) -> Result<(), String> {
        let code = outcome.as_ref().err().map(|refusal| refusal.code);
        if code == Some(ErrorCode::SessionMoved) {
            return self.check_moved(connection, session, zxid);
        }
        let asked = history.by_request.get(&(session, sequence)).map(|id| history.operation(*id));
        let line = self.lines.entry(connection).or_default();
        let known = self.sessions.entry(session).or_default();
        let (Some(asked), Some(place)) = (asked, line.places.get(&sequence).copied()) else {
            // A parked call ends wherever its session is, even before it is sent there again.
            if known.waiting.contains(&sequence) {
                known.shown = known.shown.max(zxid);
                return Ok(());
            }
            return Err(format!(
                "session {session} is answered request {sequence} on connection {connection}, where \
                 it was not sent"
            ));
        };
        let transient = code.is_some_and(ErrorCode::is_transient);
        if transient {
            line.refused.insert(sequence);
        }
        line.unanswered.remove(&sequence);
        let may_overtake = asked.parked.is_some() || known.waiting.contains(&sequence);
        if !may_overtake {
            if let Some(before) = line.answered.filter(|before| *before >= place) {
                let before = line.sent[before].sequence;
                return Err(format!(
                    "session {session} is answered request {sequence} on connection {connection} after \
                     request {before}, which it sent later: {:?}",
                    asked.operation
                ));
            }
            line.answered = Some(place);
        }
        if !is_read(&asked.operation) || transient {
            known.shown = known.shown.max(zxid);
            return Ok(());
        }
        // In the order of places, which is that of transactions too.
        let earlier = line.done.partition_point(|(done, _)| *done < place);
        if let Some((done, at)) = line.done[..earlier].last().filter(|(_, at)| *at > zxid) {
            let write = line.sent[*done].sequence;
            return Err(format!(
                "the read {sequence} of session {session} shows {zxid}, but its request {write}, sent \
                 before, took effect at {at}"
            ));
        }
        line.read = line.read.max(Some(place));
        self.show(session, zxid, &format!("the read {sequence}"))
    }

    /// Only a later attachment, which the answer's state shows, may end a connection's service.
    fn check_moved(
        &mut self,
        connection: u64,
        session: SessionId,
        zxid: Zxid,
    ) -> Result<(), String> {
        self.judged += 1;
        let attached = &self.sessions.entry(session).or_default().attached;
        let own = attached.iter().position(|(_, known)| *known == connection);
        let moved = own.is_some_and(|own| attached[own + 1..].iter().any(|(at, _)| *at <= zxid));
        if moved {
            return Ok(());
        }
        Err(format!(
            "session {session} is refused as moved on connection {connection} at {zxid}; it was \
             attached {attached:?}"
        ))
    }
}

/// What a server answers from its own state. A call may be a query; the server asked knows.
fn is_read(operation: &Operation) -> bool {
    let asks_leader = matches!(
        operation,
        Operation::Call { .. }
            | Operation::TransferLeader { .. }
            | Operation::BeginShadow { .. }
            | Operation::ShadowReport { .. }
            | Operation::Status
    );
    !operation.is_write() && !asks_leader
}

/// What a leader refuses while a component is not compiled there.
fn needs_component(asked: &AskedOperation) -> bool {
    matches!(
        asked.operation,
        Operation::Call { .. }
            | Operation::CancelCall { .. }
            | Operation::CloseSession
            | Operation::InstallRecipe { .. }
            | Operation::Mount { .. }
    )
}

/// Whether two entries were made by leaders of different terms.
fn led_by_others(history: &History, one: Zxid, other: Zxid) -> bool {
    let term = |zxid| history.entry(zxid).map(|entry| entry.term);
    term(one) != term(other)
}

/// A sequential znode in a folder that the workload never deletes: whatever the state is, it is made.
fn cannot_be_refused(operation: &Operation) -> bool {
    match operation {
        Operation::Create { path, data, mode, acl: None } => {
            mode.is_sequential()
                && path.parent().is_some_and(|parent| parent.as_str() == "/q")
                && data.len() <= Limits::TESTED.znode_data_bytes_max as usize
        }
        _ => false,
    }
}

impl Checker for SessionOrder {
    fn name(&self) -> &'static str {
        "session_order"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Sent { id, connection } => self.on_sent(history, *id, *connection),
            Observation::Committed { entry } => self.on_committed(history, entry),
            Observation::AnswerSeen { connection, session, sequence, zxid, outcome, .. } => {
                self.on_answer(history, *connection, (*session, *sequence), (*zxid, outcome))
            }
            Observation::Connected { session, zxid, .. } => {
                self.show(*session, *zxid, "connecting")
            }
            Observation::HeartbeatSeen { session, zxid, .. } => {
                self.show(*session, *zxid, "a heartbeat")
            }
            Observation::WatchSeen { session, event, .. } => {
                self.show(*session, event.zxid, "an event of a watch")
            }
            _ => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::told::{SESSION, Told, connected, requested};
    use crate::work::path;
    use bytes::Bytes;
    use quorate_types::request::{CreateMode, ReadLevel};
    use quorate_types::{Refusal, Reply, TicketId};

    impl Told<SessionOrder> {
        fn attach(&mut self, connection: u64) {
            let attach = Change::AttachSession { session: SESSION };
            assert_eq!(self.commit(connected(connection), attach), Ok(()));
        }

        fn done(&mut self, sequence: u64) -> Result<(), String> {
            self.commit(requested(sequence), Change::DeleteZnode { path: path("/a") })
        }

        fn sent(
            &mut self,
            sequence: u64,
            connection: u64,
            operation: Operation,
        ) -> Result<(), String> {
            let id = self.ask(sequence, operation, ReadLevel::Local);
            self.observe(&Observation::Sent { id, connection })
        }

        fn write(&mut self, sequence: u64, connection: u64) -> Result<(), String> {
            let (data, mode) = ("".into(), CreateMode::PersistentSequential);
            let create = Operation::Create { path: path("/q/n-"), data, mode, acl: None };
            self.sent(sequence, connection, create)
        }

        fn read(&mut self, sequence: u64, connection: u64) -> Result<(), String> {
            let get = Operation::Get { path: path("/a"), watch: false };
            self.sent(sequence, connection, get)
        }

        fn answer(
            &mut self,
            sequence: u64,
            connection: u64,
            zxid: u64,
            code: Option<ErrorCode>,
        ) -> Result<(), String> {
            let outcome = match code {
                None => Ok(Reply::Done),
                Some(code) => Err(Refusal::new(code, "")),
            };
            let what = Observation::AnswerSeen {
                client: 0,
                connection,
                session: SESSION,
                sequence,
                zxid: Zxid(zxid),
                outcome: &outcome,
            };
            self.observe(&what)
        }
    }

    #[test]
    fn writes_take_effect_in_the_order_sent() {
        let mut told = Told::with_session();
        for sequence in 1..=3 {
            told.write(sequence, 1).unwrap();
        }
        told.done(1).unwrap();
        told.done(3).unwrap();
        told.done(2).unwrap_err();
    }

    #[test]
    fn a_request_refused_for_a_while_may_come_later() {
        let mut told = Told::with_session();
        told.write(1, 1).unwrap();
        told.write(2, 1).unwrap();
        told.done(2).unwrap();
        told.answer(1, 1, 1, Some(ErrorCode::Overloaded)).unwrap();
        told.write(1, 1).unwrap();
        told.done(1).unwrap();
    }

    #[test]
    fn a_call_refused_for_a_while_by_a_leader_that_is_lost_may_come_later() {
        let call = || Operation::Call {
            object: path("/locks/a"),
            operation: String::from("acquire"),
            arguments: Bytes::new(),
        };
        let mut told = Told::with_session();
        told.sent(1, 1, call()).unwrap();
        told.write(2, 1).unwrap();
        told.done(2).unwrap();
        told.done(1).unwrap_err();
        let mut told = Told::with_session();
        told.sent(1, 1, call()).unwrap();
        told.write(2, 1).unwrap();
        told.done(2).unwrap();
        told.term += 1;
        told.done(1).unwrap();
    }

    #[test]
    fn an_older_connection_has_no_effect_after_the_session_is_attached_elsewhere() {
        let mut told = Told::with_session();
        told.write(1, 1).unwrap();
        told.write(2, 1).unwrap();
        told.attach(2);
        told.write(1, 2).unwrap();
        told.done(1).unwrap();
        told.done(2).unwrap_err();
    }

    #[test]
    fn what_was_overtaken_on_an_older_connection_must_have_been_refused() {
        let mut told = Told::with_session();
        told.write(1, 1).unwrap();
        told.write(2, 1).unwrap();
        told.done(2).unwrap();
        told.attach(2);
        told.write(1, 2).unwrap();
        told.done(1).unwrap_err();
    }

    #[test]
    fn requests_are_sent_again_in_order() {
        let mut told = Told::with_session();
        told.write(1, 1).unwrap();
        told.write(2, 1).unwrap();
        told.write(2, 2).unwrap();
        told.write(1, 2).unwrap_err();
    }

    #[test]
    fn what_is_shown_never_goes_back() {
        let mut told = Told::with_session();
        told.read(1, 1).unwrap();
        told.read(2, 1).unwrap();
        told.answer(1, 1, 5, None).unwrap();
        told.answer(2, 1, 4, None).unwrap_err();
    }

    #[test]
    fn a_read_shows_the_writes_sent_before_it() {
        let mut told = Told::with_session();
        told.write(1, 1).unwrap();
        told.read(2, 1).unwrap();
        told.done(1).unwrap();
        told.answer(2, 1, 1, None).unwrap_err();

        let mut told = Told::with_session();
        told.write(1, 1).unwrap();
        told.read(2, 1).unwrap();
        told.answer(2, 1, 1, None).unwrap();
        told.done(1).unwrap_err();
    }

    #[test]
    fn only_a_parked_call_is_answered_where_it_was_not_sent() {
        let mut told = Told::with_session();
        told.write(1, 1).unwrap();
        told.attach(2);
        told.answer(1, 2, 2, None).unwrap_err();
        let ticket = TicketId(3);
        let (mount, object, deadline_ms) = (path("/locks"), String::from("a"), None);
        let (session, sequence) = (SESSION, 1);
        let park = Change::Park { ticket, session, sequence, mount, object, deadline_ms };
        told.commit(Origin::Leader, park).unwrap();
        told.answer(1, 2, 3, None).unwrap();
    }

    #[test]
    fn answers_come_in_order() {
        let mut told = Told::with_session();
        told.read(1, 1).unwrap();
        told.read(2, 1).unwrap();
        told.answer(2, 1, 1, None).unwrap();
        told.answer(1, 1, 1, None).unwrap_err();
    }

    #[test]
    fn only_a_later_attachment_makes_a_session_moved() {
        let mut told = Told::with_session();
        told.write(1, 1).unwrap();
        told.answer(1, 1, 1, Some(ErrorCode::SessionMoved)).unwrap_err();
        told.attach(2);
        told.answer(1, 1, 1, Some(ErrorCode::SessionMoved)).unwrap_err();
        told.answer(1, 1, 2, Some(ErrorCode::SessionMoved)).unwrap();
    }
}
