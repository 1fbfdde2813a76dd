//! What the network needs to know of a server, whichever Raft runs in it.
//!
//! Comes in: inputs. Goes out: effects, in the order in which they came up. Invariant: a candidate
//! has no clock, network or randomness but what it is given, and after a stop it knows only what its
//! disk had made durable. Must never tell the network which of the two candidates it is.

/// Shortest election timeout.
pub const ELECTION_TIMEOUT_MS_MIN: u64 = 1_000;
/// Longest election timeout, exclusive.
pub const ELECTION_TIMEOUT_MS_MAX: u64 = 2_000;
/// Time between a leader's heartbeats.
pub const HEARTBEAT_INTERVAL_MS: u64 = 100;
/// Most bytes in one append. No run fills it: the two candidates count bytes differently.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

/// Where a candidate stands in its cluster.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name; servers are numbered from 1.
    pub id: u64,
    /// How many servers there are, all of them voters.
    pub servers: u64,
    /// Most unanswered appends with entries per peer.
    pub appends_inflight_max: usize,
}

/// Something happens to a server.
#[derive(Clone, Debug)]
pub enum Input<M> {
    /// The process starts from what is durable; the number is the source of its jitter.
    Start(u64),
    /// A deadline told by `next_tick_ms` has come.
    Tick,
    /// A message arrives from a peer.
    Receive(u64, M),
    /// The connection to a peer is gone: what was in flight may be lost.
    Disconnected(u64),
    /// A connection to a peer was made.
    Connected(u64),
    /// A client asks for these entries.
    Propose(Vec<Vec<u8>>),
    /// The oldest write in progress is durable.
    WriteDone,
}

/// What came of an input.
#[derive(Debug)]
pub struct Effects<M> {
    /// Messages that leave at once, with their receivers.
    pub messages: Vec<(u64, M)>,
    /// Writes handed to the disk; each is reported with `Input::WriteDone`.
    pub writes: Vec<Sync>,
    /// Entries applied, in order.
    pub applied: Vec<Applied>,
    /// Whether the proposal was taken.
    pub proposed: bool,
}

impl<M> Default for Effects<M> {
    fn default() -> Self {
        Self { messages: Vec::new(), writes: Vec::new(), applied: Vec::new(), proposed: false }
    }
}

/// What a write asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It must be synced, which takes time.
    Needed,
    /// It may be lost; it is done as soon as the writes before it are.
    Unneeded,
}

/// An entry that a server has applied, so that it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its position, from 1 on.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// What the client gave; empty for the entry with which a leader begins.
    pub payload: Vec<u8>,
}

/// The kinds of messages that both candidates know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A leader's append with entries.
    Append,
    /// A leader's append without entries: a probe, or news of the commit index.
    AppendEmpty,
    /// The answer to an append.
    AppendReply,
    /// A leader's sign of life.
    Heartbeat,
    /// The answer to a heartbeat.
    HeartbeatReply,
    /// Questions for pre-votes and votes, and their answers.
    Election,
    /// Anything else.
    Other,
}

impl Kind {
    /// Every kind, in the order of the report.
    pub const ALL: [Kind; 7] = [
        Kind::Append,
        Kind::AppendEmpty,
        Kind::AppendReply,
        Kind::Heartbeat,
        Kind::HeartbeatReply,
        Kind::Election,
        Kind::Other,
    ];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Append => "append with entries",
            Kind::AppendEmpty => "append without",
            Kind::AppendReply => "append reply",
            Kind::Heartbeat => "heartbeat",
            Kind::HeartbeatReply => "heartbeat reply",
            Kind::Election => "votes, pre-votes",
            Kind::Other => "other",
        }
    }
}

/// A server with one of the two Rafts in it, and its disk.
pub trait Candidate: Sized {
    /// What travels between servers.
    type Message: Clone;

    /// A server with an empty disk, not started.
    fn new(place: Place) -> Self;

    /// Gives it one input. A stopped server takes nothing but `Input::Start`.
    ///
    /// # Errors
    /// When the Raft refuses a message that its own kind has sent.
    fn take(
        &mut self,
        now_ms: u64,
        input: Input<Self::Message>,
    ) -> Result<Effects<Self::Message>, String>;

    /// The process ends at once, and with it everything that is not durable.
    fn stop(&mut self);

    /// Whether the process runs.
    fn runs(&self) -> bool;

    /// When the next tick is due; `u64::MAX` while stopped.
    fn next_tick_ms(&self) -> u64;

    /// The term in which it believes to lead, if it does.
    fn leads_in(&self) -> Option<u64>;

    /// The kind of a message.
    fn kind(message: &Self::Message) -> Kind;
}
