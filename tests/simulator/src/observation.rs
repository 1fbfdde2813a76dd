//! What checkers are shown, as it happens.
//!
//! Comes in: from the world. Goes out: to every checker, in order. Invariant: a checker only looks;
//! the run is the same whichever checkers look at it.

use crate::executor::SimulatedExecutor;
use crate::history::{CommittedEntry, History, OperationId};
use crate::zookeeper::Awaited;
use quorate_raft::SnapshotMark;
use quorate_replica::Replica;
use quorate_types::request::{WatchEvent, WatchMode};
use quorate_types::{ComponentDigest, Outcome, ServerId, SessionId, ZnodePath, Zxid};
use quorate_wire::zookeeper::ServerMessage;
use std::collections::BTreeMap;

pub type SimulatedReplica = Replica<SimulatedExecutor>;

/// Something that happened.
pub enum Observation<'a> {
    /// A replica has taken inputs in; what it wants done is not done yet.
    Stepped { server: u64, run: u64, replica: &'a SimulatedReplica },
    /// A server begins to run; `replica` is what it read from its disk.
    Started { server: u64, run: u64, replica: &'a SimulatedReplica },
    /// A server ended, orderly or not.
    Stopped { server: u64, run: u64 },
    /// An entry was applied by a server for the first time in the cluster. It is in the history.
    Committed { entry: &'a CommittedEntry },
    /// A server applied an entry, the first or not. `fingerprint` is that of its own copy.
    Applied { server: u64, zxid: Zxid, fingerprint: u64 },
    /// A server took a snapshot over in place of its log and state.
    Installed { server: u64, mark: &'a SnapshotMark },

    /// A client asks for something; it is not sent yet.
    Asked { id: OperationId },
    /// The request left the client, for the first time or again.
    Sent { id: OperationId, connection: u64 },
    /// A request reached its server.
    Arrived { server: u64, connection: u64, session: SessionId, sequence: u64 },
    /// A frame with an answer reached the client, final or not, wanted or not.
    AnswerSeen {
        client: usize,
        connection: u64,
        session: SessionId,
        sequence: u64,
        zxid: Zxid,
        outcome: &'a Outcome,
    },
    /// The caller was told the end; it is in the history.
    Ended { id: OperationId },
    /// A client got its session, or got it again.
    Connected {
        client: usize,
        connection: u64,
        session: SessionId,
        server: ServerId,
        resumed: bool,
        timeout_ms: u32,
        zxid: Zxid,
    },
    /// A heartbeat left the client.
    HeartbeatSent { client: usize, connection: u64 },
    /// A server answered a heartbeat, the oldest of its connection that was not answered.
    HeartbeatSeen { client: usize, connection: u64, session: SessionId, zxid: Zxid },
    /// A notification reached the client.
    WatchSeen { client: usize, connection: u64, session: SessionId, event: &'a WatchEvent },
    /// The application was told of a change.
    Notified { client: usize, session: SessionId, event: &'a WatchEvent },
    /// The application was told that changes may have been missed.
    GapSeen { client: usize, session: SessionId, path: &'a ZnodePath, mode: WatchMode },
    /// The client knows that its session has ended.
    SessionLost { client: usize, session: SessionId, reason: &'a str },
    /// The client closed its session.
    SessionClosed { client: usize, session: SessionId },
    /// A client's connection is gone.
    Disconnected { client: usize, connection: u64 },
    /// A client process died: nothing more is heard of it, its session is left to expire.
    ClientDied { client: usize, session: Option<SessionId> },
    /// A request left a client of the ZooKeeper protocol.
    ZooKeeperSent { id: OperationId, connection: u64 },
    /// Such a client was told that its session is served.
    ZooKeeperConnected { client: usize, connection: u64, session: SessionId },
    /// A replica has answered such a request; the client does not know yet.
    ZooKeeperAnswered { id: OperationId, zxid: Zxid, outcome: &'a Outcome },
    /// A frame reached such a client. `awaited`: the oldest of its requests without a reply, if the
    /// frame is a reply.
    ZooKeeperHeard {
        client: usize,
        connection: u64,
        session: SessionId,
        awaited: Option<Awaited>,
        message: &'a ServerMessage<'a>,
    },
    /// A client writes to what a lock guards, with the fence of its grant.
    ResourceWritten { client: usize, lock: &'static str, fence: u64 },
    /// A server tells its operator that something is wrong.
    Alarmed { server: u64, text: &'a str },
    /// A server came to the end that a component is no recipe, which the others can run.
    CannotCompile { server: u64, digest: ComponentDigest },
    /// A server's disk holds, or will hold, something else than what was written.
    DiskDamaged { server: u64 },
    /// Every fault has ended: what follows must bring everything to rest.
    Healed,
}

/// What there is when everything has come to rest.
pub struct Rest<'a> {
    pub replicas: BTreeMap<u64, &'a SimulatedReplica>,
    pub leader: u64,
}

/// Looks at a run and says what is wrong with it.
pub trait Checker {
    /// As in the name of its file.
    fn name(&self) -> &'static str;

    /// Looks at what happened.
    ///
    /// # Errors
    /// What promise was broken, for a person.
    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String>;

    /// Looks at the end, when everything has come to rest.
    ///
    /// # Errors
    /// What promise was broken, for a person.
    fn finish(&mut self, history: &History, rest: &Rest<'_>) -> Result<(), String> {
        let _ = (history, rest);
        Ok(())
    }

    /// Operations or events that it has judged, for the figures.
    fn judged(&self) -> u64 {
        0
    }
}
