//! A ZooKeeper client is answered in the order it asked, under its own numbers, and is never shown an
//! older state than before: not by another server either (ZooKeeper programmer's guide, "Consistency
//! Guarantees": sequential consistency, single system image; `ClientCnxn`, which gives up a connection
//! whose replies are out of order and takes the zxid of each reply's header as it is).
//!
//! Comes in: what each client heard. Not judged: the zxids of pings and notifications, which clients
//! do not look at.

use crate::history::History;
use crate::observation::{Checker, Observation};
use crate::zookeeper::Awaited;
use quorate_types::SessionId;
use quorate_wire::zookeeper::{ReplyHeader, ServerMessage, xid};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct ZooKeeperReplies {
    /// What showed each session the newest state.
    shown: BTreeMap<SessionId, ReplyHeader>,
    judged: u64,
}

impl ZooKeeperReplies {
    fn judge(
        &mut self,
        history: &History,
        session: SessionId,
        awaited: Option<Awaited>,
        header: ReplyHeader,
    ) -> Result<(), String> {
        if header.xid == xid::PING {
            return Ok(());
        }
        self.judged += 1;
        let Some(awaited) = awaited else {
            return Err(format!("session {session} was told {header:?} and waits for nothing"));
        };
        let asked = &history.operation(awaited.id).operation;
        if header.xid != awaited.xid {
            return Err(format!(
                "session {session} was told {header:?}; it waits for the reply to {} first, {asked:?}",
                awaited.xid
            ));
        }
        let before = *self.shown.entry(session).or_insert(header);
        if header.zxid < before.zxid || header.zxid <= 0 {
            return Err(format!(
                "session {session} was told {header:?}, to {asked:?}, and before that {before:?}"
            ));
        }
        self.shown.insert(session, header);
        Ok(())
    }
}

impl Checker for ZooKeeperReplies {
    fn name(&self) -> &'static str {
        "zookeeper_replies"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        let Observation::ZooKeeperHeard { session, awaited, message, .. } = what else {
            return Ok(());
        };
        match message {
            ServerMessage::Notification { .. } => Ok(()),
            ServerMessage::Refused(header) | ServerMessage::Reply { header, .. } => {
                self.judge(history, *session, *awaited, *header)
            }
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::told::{SESSION, Told};
    use quorate_types::Operation;
    use quorate_types::request::ReadLevel;
    use quorate_wire::zookeeper::{Opcode, ZooKeeperError};

    type Run = Told<ZooKeeperReplies>;

    /// What the client is told under `xid` at `zxid` while it waits for the reply to request 5.
    fn hear(run: &mut Run, xid: i32, zxid: i64) -> Result<(), String> {
        let id = run.ask(1, Operation::Sync, ReadLevel::Linearizable);
        let awaited = Some(Awaited { xid: 5, opcode: Opcode::Sync, id });
        let header = ReplyHeader { xid, zxid, error: ZooKeeperError::NoNode };
        let message = &ServerMessage::Refused(header);
        let (client, connection, session) = (0, 1, SESSION);
        run.observe(&Observation::ZooKeeperHeard { client, connection, session, awaited, message })
    }

    #[test]
    fn the_reply_to_a_later_request_is_one_too_early() {
        let mut run = Run::with_session();
        hear(&mut run, 5, 3).unwrap();
        hear(&mut run, xid::PING, 1).unwrap();
        hear(&mut run, 6, 3).unwrap_err();
    }

    #[test]
    fn what_is_shown_never_goes_back() {
        let mut run = Run::with_session();
        hear(&mut run, 5, 3).unwrap();
        hear(&mut run, 5, 3).unwrap();
        hear(&mut run, 5, 2).unwrap_err();
    }
}
