//! What replicas say to one another.
//!
//! Comes in and goes out: plain structs, all fields public; their bytes are made in the replica's
//! codec. Invariant: every message carries the term it was said in. Never carries a snapshot: the
//! caller moves snapshot files and reports with `snapshot_sent` and `install_snapshot`.

use alloc::vec::Vec;

use crate::types::{Entry, Index, Term};

/// One message between two replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Would you vote for me?
    PreVote(PreVote),
    /// Answer to [`PreVote`].
    PreVoteReply(PreVoteReply),
    /// Vote for me.
    Vote(Vote),
    /// Answer to [`Vote`].
    VoteReply(VoteReply),
    /// Leader's entries, or a probe without entries.
    Append(Append),
    /// Answer to [`Append`], also sent after an installed snapshot.
    AppendReply(AppendReply),
    /// Leader's sign of life; carries the newest read round.
    Heartbeat(Heartbeat),
    /// Answer to [`Heartbeat`].
    HeartbeatReply(HeartbeatReply),
    /// A follower asks the leader for a read index.
    ReadIndex(ReadIndex),
    /// Answer to [`ReadIndex`].
    ReadIndexReply(ReadIndexReply),
    /// Leader to its chosen successor: campaign at once.
    TimeoutNow(TimeoutNow),
}

/// Asks whether a vote would be granted; changes nothing at the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreVote {
    /// The sender's current term; it would campaign in the next one.
    pub term: Term,
    /// The sender's last entry.
    pub last_index: Index,
    /// The term of the sender's last entry.
    pub last_term: Term,
    /// Last entry the sender knows committed: it is committed at the receiver too, if held there.
    pub commit: Index,
    /// The term of that entry.
    pub commit_term: Term,
}

/// Answer to a pre-vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreVoteReply {
    /// The replier's current term; higher than the asker's on some rejections, then adopted.
    pub term: Term,
    /// `PreVote::term` of the question.
    pub asked_in: Term,
    /// Whether a vote would be granted.
    pub granted: bool,
    /// Last entry the replier knows committed: it is committed at the asker too, if held there.
    /// Without this, voters that never heard of a committed membership could wait for ever for the
    /// vote of a replica that has left.
    pub commit: Index,
    /// The term of that entry.
    pub commit_term: Term,
}

/// Asks for a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The term the sender campaigns in.
    pub term: Term,
    /// The sender's last entry.
    pub last_index: Index,
    /// The term of the sender's last entry.
    pub last_term: Term,
    /// The leader asked for this election: recent leader contact is no reason to refuse.
    pub transfer: bool,
}

/// Answer to a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteReply {
    /// The replier's current term.
    pub term: Term,
    /// Whether the vote is the asker's, in `term`.
    pub granted: bool,
}

/// Entries following `previous_index`, possibly none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The leader's replication session with the receiver; echoed in the reply.
    pub session: u64,
    /// The entry before the first one sent.
    pub previous_index: Index,
    /// The term of that entry.
    pub previous_term: Term,
    /// The leader's commit index.
    pub commit: Index,
    /// Contiguous from `previous_index + 1`.
    pub entries: Vec<Entry>,
}

/// Answer to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendReply {
    /// The replier's current term.
    pub term: Term,
    /// The session of the append answered; 0 if that was said in an older term.
    pub session: u64,
    /// Random number of the replier's present run, never 0; tells a restart.
    pub life: u64,
    /// What became of the append.
    pub outcome: AppendOutcome,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The replier's durable log equals the leader's up to here.
    Accepted {
        /// Last index known equal.
        matched: Index,
    },
    /// The replier does not have `previous` with its term.
    Rejected {
        /// `Append::previous_index` of the append answered.
        previous: Index,
        /// The best place the replier knows to go on probing: its last entry at or before
        /// `previous` whose term is at most `Append::previous_term`.
        hint_index: Index,
        /// The term of that entry.
        hint_term: Term,
    },
}

/// The leader's sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The leader's term.
    pub term: Term,
    /// The leader's replication session with the receiver; echoed in the reply.
    pub session: u64,
    /// The receiver's `life` as the leader knows it in this session; 0: not yet known.
    pub life: u64,
    /// The leader's commit index; the receiver commits so much of what it knows equal to the
    /// leader's log.
    pub commit: Index,
    /// The newest read round; 0: none yet in this term. An echo also answers every older round.
    pub round: u64,
}

/// Answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The replier's current term.
    pub term: Term,
    /// The session of the heartbeat answered; 0 if that was said in an older term.
    pub session: u64,
    /// Random number of the replier's present run, never 0; tells a restart.
    pub life: u64,
    /// The round of the heartbeat answered; 0 if that was said in an older term.
    pub round: u64,
}

/// Asks the leader for an index at which a read is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadIndex {
    /// The asker's current term.
    pub term: Term,
    /// Never reused, by no later try and by no later run of the asker.
    pub request: u64,
}

/// Answer to a read index question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadIndexReply {
    /// The replier's current term.
    pub term: Term,
    /// The number of the question.
    pub request: u64,
    /// The index to have applied before reading; `None`: the replier cannot tell.
    pub index: Option<Index>,
}

/// The leader hands over: the receiver campaigns at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeoutNow {
    /// The leader's term.
    pub term: Term,
}

impl Message {
    /// The term the message was said in.
    pub fn term(&self) -> Term {
        match self {
            Message::PreVote(message) => message.term,
            Message::PreVoteReply(message) => message.term,
            Message::Vote(message) => message.term,
            Message::VoteReply(message) => message.term,
            Message::Append(message) => message.term,
            Message::AppendReply(message) => message.term,
            Message::Heartbeat(message) => message.term,
            Message::HeartbeatReply(message) => message.term,
            Message::ReadIndex(message) => message.term,
            Message::ReadIndexReply(message) => message.term,
            Message::TimeoutNow(message) => message.term,
        }
    }
}
