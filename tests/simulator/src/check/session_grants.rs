//! To whom sessions are granted: one is only ever attached by the client that opened it, with its own
//! timeout, by the transaction that the server names (design page, section 6; the native protocol,
//! `connected`).
//!
//! Comes in: the log, and what clients are told when they connect. Invariant kept: a session belongs
//! to one life of one client.

use crate::history::{CommittedEntry, History};
use crate::observation::{Checker, Observation};
use crate::zookeeper::identity_of;
use quorate_machine::{Change, Origin};
use quorate_types::limits::Limits;
use quorate_types::{ServerId, SessionId, Zxid};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct SessionGrants {
    sessions: BTreeMap<SessionId, Session>,
    /// By whom each password was asked for: a request done twice, across a change of leaders, opens two
    /// sessions with the same.
    passwords: BTreeMap<[u8; 16], Origin>,
    /// How many sessions and processes each client has left behind.
    lives: BTreeMap<usize, u64>,
    judged: u64,
}

struct Session {
    timeout_ms: u32,
    identity: String,
    /// The client, and in which of its lives.
    owner: Option<(usize, u64)>,
    ended: Option<Zxid>,
}

/// What a client is told.
struct Told {
    client: usize,
    connection: u64,
    server: ServerId,
    resumed: bool,
    timeout_ms: u32,
    zxid: Zxid,
}

impl SessionGrants {
    fn on_committed(&mut self, entry: &CommittedEntry) -> Result<(), String> {
        let zxid = entry.zxid;
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        for change in &transaction.changes {
            match change {
                Change::OpenSession { password, timeout_ms, identity } => {
                    let before = self.passwords.insert(*password, transaction.origin.clone());
                    if before.is_some_and(|before| before != transaction.origin) {
                        return Err(format!("session {zxid} has the password of an earlier one"));
                    }
                    self.open(zxid, *timeout_ms, identity)?;
                }
                Change::CloseSession { session } => {
                    if let Some(known) = self.sessions.get_mut(session) {
                        known.ended = Some(zxid);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, zxid: Zxid, timeout_ms: u32, identity: &str) -> Result<(), String> {
        let least_ms = Limits::TESTED.session_timeout_ms_min;
        let most_ms = Limits::PRODUCTION.session_timeout_ms_max;
        if !(least_ms..=most_ms).contains(&timeout_ms) {
            return Err(format!("session {zxid} has a timeout of {timeout_ms} ms"));
        }
        let identity = String::from(identity);
        let session = Session { timeout_ms, identity, owner: None, ended: None };
        self.sessions.insert(SessionId(zxid.0), session);
        Ok(())
    }

    fn on_connected(
        &mut self,
        history: &History,
        session: SessionId,
        told: &Told,
    ) -> Result<(), String> {
        self.judged += 1;
        let Told { client, connection, server, resumed, timeout_ms, zxid } = *told;
        let life = self.lives.get(&client).copied().unwrap_or(0);
        let Some(known) = self.sessions.get_mut(&session) else {
            return Err(format!("client {client} is granted session {session}, never opened"));
        };
        if known.identity != identity_of(client) {
            let identity = &known.identity;
            return Err(format!("client {client} is granted session {session} of {identity}"));
        }
        if known.timeout_ms != timeout_ms {
            return Err(format!(
                "client {client} is told a timeout of {timeout_ms} ms for session {session}, which has \
                 {} ms",
                known.timeout_ms
            ));
        }
        if known.ended.is_some_and(|ended| ended < zxid) {
            let ended = known.ended;
            return Err(format!(
                "client {client} is granted session {session} at {zxid}, which ended at {ended:?}"
            ));
        }
        let owner = *known.owner.get_or_insert((client, life));
        if owner != (client, life) {
            return Err(format!(
                "client {client} in its life {life} is granted session {session} of client {} in its \
                 life {}",
                owner.0, owner.1
            ));
        }
        let entry = history.entry(zxid).and_then(|entry| entry.transaction.as_ref());
        let grants = entry.is_some_and(|transaction| {
            let Origin::Connection(origin) = transaction.origin else { return false };
            let grants = |change: &Change| match change {
                Change::OpenSession { .. } => !resumed && zxid.0 == session.0,
                Change::AttachSession { session: attached } => resumed && *attached == session,
                _ => false,
            };
            (origin.server, origin.connection) == (server, connection)
                && transaction.changes.iter().any(grants)
        });
        if grants {
            return Ok(());
        }
        Err(format!(
            "client {client} is granted session {session} on connection {connection} of server \
             {server} (resumed: {resumed}) at {zxid}, which did not do that: {entry:?}"
        ))
    }
}

impl Checker for SessionGrants {
    fn name(&self) -> &'static str {
        "session_grants"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.on_committed(entry),
            Observation::Connected {
                client,
                connection,
                session,
                server,
                resumed,
                timeout_ms,
                zxid,
            } => {
                let told = Told {
                    client: *client,
                    connection: *connection,
                    server: *server,
                    resumed: *resumed,
                    timeout_ms: *timeout_ms,
                    zxid: *zxid,
                };
                self.on_connected(history, *session, &told)
            }
            Observation::SessionLost { client, .. }
            | Observation::SessionClosed { client, .. }
            | Observation::ClientDied { client, .. } => {
                *self.lives.entry(*client).or_insert(0) += 1;
                Ok(())
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
    use crate::check::told::{SESSION, Told, connected, open};

    impl Told<SessionGrants> {
        fn connect(&mut self, client: usize, connection: u64, zxid: u64) -> Result<(), String> {
            self.observe(&Observation::Connected {
                client,
                connection,
                session: SESSION,
                server: ServerId(1),
                resumed: connection != 1,
                timeout_ms: 1_000,
                zxid: Zxid(zxid),
            })
        }

        fn opened_and_attached() -> Told<SessionGrants> {
            let mut told = Told::with_session();
            let attach = Change::AttachSession { session: SESSION };
            told.commit(connected(2), attach).unwrap();
            told.connect(0, 1, 1).unwrap();
            told
        }
    }

    #[test]
    fn a_session_goes_on_with_its_own_client() {
        let mut told = Told::opened_and_attached();
        told.connect(0, 2, 2).unwrap();
        told.connect(1, 2, 2).unwrap_err();
    }

    #[test]
    fn another_life_of_the_client_is_somebody_else() {
        let mut told = Told::opened_and_attached();
        let died = Observation::ClientDied { client: 0, session: Some(SESSION) };
        told.observe(&died).unwrap();
        told.connect(0, 2, 2).unwrap_err();
    }

    #[test]
    fn a_session_is_granted_by_the_transaction_that_the_server_names() {
        let mut told = Told::opened_and_attached();
        told.connect(0, 2, 1).unwrap_err();
        told.connect(0, 3, 2).unwrap_err();
    }

    #[test]
    fn no_two_sessions_have_the_same_password() {
        let mut told = Told::<SessionGrants>::default();
        told.commit(connected(1), open(1)).unwrap();
        told.commit(connected(1), open(1)).unwrap();
        told.commit(connected(2), open(1)).unwrap_err();
    }
}
