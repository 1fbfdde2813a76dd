//! The table of planted bugs.
//!
//! Invariant: each bug breaks one promise that a cluster of three to five servers makes, by one
//! small place or by the few that only together do. `README.md` holds the same table.

/// Where a bug lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Consensus.
    Raft,
    /// The log's and the snapshots' formats.
    Storage,
    /// The replicated state.
    Machine,
    /// The server around them.
    Replica,
    /// The ZooKeeper door beside the replica.
    Zookeeper,
    /// The client's side of a session.
    Client,
    /// What recipes are shown and told.
    Recipe,
}

impl Room {
    /// As in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Room::Raft => "raft",
            Room::Storage => "storage",
            Room::Machine => "machine",
            Room::Replica => "replica",
            Room::Zookeeper => "zookeeper",
            Room::Client => "client",
            Room::Recipe => "recipe",
        }
    }
}

macro_rules! planted_bugs {
    ($( $room:ident $bug:ident $name:literal $what:literal )*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum PlantedBug { $( #[doc = $what] $bug, )* }

        impl PlantedBug {
            /// Every bug, room by room.
            pub const ALL: &[PlantedBug] = &[$( PlantedBug::$bug, )*];

            /// What it is called on command lines and in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $( PlantedBug::$bug => $name, )* }
            }

            /// What is broken and which promise falls.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $( PlantedBug::$bug => $what, )* }
            }

            /// Where it lies.
            #[must_use]
            pub fn room(self) -> Room {
                match self { $( PlantedBug::$bug => Room::$room, )* }
            }
        }
    };
}

planted_bugs! {
    Raft AppendAcknowledgedBeforeDurable "append-acknowledged-before-durable"
    "A follower acknowledges an append before its write is durable: a committed entry can vanish in crashes."
    Raft VoteSentBeforeDurable "vote-sent-before-durable"
    "A vote leaves before it is durable: after a crash a server votes twice and a term has two leaders."
    Raft VoteNotWritten "vote-not-written"
    "The term is written without the vote: after a restart a server votes twice in its term."
    Raft OldTermCommittedByCount "old-term-committed-by-count"
    "A leader commits entries of earlier terms by counting copies: a later leader may overwrite them."
    Raft QuorumScanUnsorted "quorum-scan-unsorted"
    "The middle copy is looked up without sorting: entries commit that no majority holds."
    Raft HalfIsMajority "half-is-majority"
    "Half of an even number of voters commits: two halves can commit different entries."
    Raft OlderSessionCounts "older-session-counts"
    "What a peer acknowledged in an older replication session counts on: a peer that lost its log is never repaired, or counted for what it lost."
    Raft ReadRoundReused "read-round-reused"
    "A read joins the round under way: heartbeats answered before it was asked confirm it, and it may be stale."
    Raft ReadBarrierUnconfirmed "read-barrier-unconfirmed"
    "A leader answers read barriers without asking its quorum: one that was deposed unnoticed gives stale reads."
    Raft ReadBeforeOwnCommit "read-before-own-commit"
    "A leader answers read barriers before it has committed in its term: what earlier leaders acknowledged is not seen."
    Raft VoteForShorterLog "vote-for-shorter-log"
    "Votes go to whoever asks, however short its log: a leader may lack committed entries."
    Raft RefetchingServerVotes "refetching-server-votes"
    "A server that lost acknowledged entries votes before it has them back: a leader may lack committed entries."
    Raft InstallKeepsSuffix "install-keeps-suffix"
    "An installed snapshot leaves the conflicting entries behind it in the log: they look newer or older than they are."
    Raft LeaderCountsUnsyncedCopy "leader-counts-unsynced-copy"
    "The leader counts its own copy before it is durable: a committed entry can vanish in crashes."
    Raft TruncationKeepsAttestation "truncation-keeps-attestation"
    "A write that was overtaken by a truncation attests the entries that took their place: they count before they are durable."
    Raft LearnerCounted "learner-counted"
    "A learner's copy counts for commit: entries commit that no majority of voters holds."
    Raft JointNeedsOneMajority "joint-needs-one-majority"
    "In a joint phase the incoming majority decides alone: the outgoing one may decide otherwise."
    Raft CommitBeyondMatched "commit-beyond-matched"
    "A follower commits up to the leader's commit index whatever its own log holds there: it applies entries nobody committed."

    Storage SegmentNotSynced "segment-not-synced"
    "A batch is reported durable without a sync of its segment: acknowledged data is lost with the power."
    Storage TermFromManifest "term-from-manifest"
    "Recovery takes term and vote from the manifest, not from the newest frame: a server votes twice in a term."
    Storage StaleFrameReplayed "stale-frame-replayed"
    "Frames are not bound to their segment and their chain is not checked: those left in a recycled file are read as the log's end, and the server does not start."
    Storage CorruptionTakenForTornTail "corruption-taken-for-torn-tail"
    "Damage in the middle of the log is cut off like a torn tail: acknowledged entries are lost silently."
    Storage NewestFrameDropped "newest-frame-dropped"
    "Recovery takes the newest frame for torn although it is whole: what it held was acknowledged."
    Storage DirectoryNotSynced "directory-not-synced"
    "The names of a segment just begun and of its manifest are not synced: with the power the acknowledged segment is gone."
    Storage SnapshotFileNotSynced "snapshot-file-not-synced"
    "A snapshot's file is renamed without a sync of its content: the log below it goes, and with the power so does the snapshot."

    Machine KeptRepliesNotInImage "kept-replies-not-in-image"
    "Kept replies are not in the image: behind a snapshot a repeated request is done again."
    Machine TicketsNotInImage "tickets-not-in-image"
    "Tickets are not in the image: behind a snapshot parked calls are never answered."
    Machine SequentialNumberReused "sequential-number-reused"
    "Sequential names count the children there are: after a deletion a number comes again."
    Machine EphemeralsLeftBehind "ephemerals-left-behind"
    "A session that ends takes only two of its ephemerals along: the others stay without an owner."
    Machine FailedMultiKeepsChanges "failed-multi-keeps-changes"
    "A multi that is refused at a later operation keeps the changes of the earlier ones: it is not all or nothing."
    Machine VersionUncheckedInMulti "version-unchecked-in-multi"
    "A check within a multi looks only whether the znode is there: a compare-and-set passes on a newer version."
    Machine ParentUnmarkedByDelete "parent-unmarked-by-delete"
    "A deletion leaves the parent's pzxid as it was: a stat does not show that the children changed."
    Machine DigestMissesDeletions "digest-misses-deletions"
    "The running digest keeps what was deleted: snapshots taken after a deletion are refused as damaged."
    Machine RefusalLeavesTrace "refusal-leaves-trace"
    "A refused request leaves its first changes in what the leader holds outstanding: later transactions rest on changes that never were."
    Machine KeptReplyIgnored "kept-reply-ignored"
    "A repeated request is done again although its reply was kept: at most once is broken."
    Machine OlderEpochAccepted "older-epoch-accepted"
    "A request from the connection a session has left is done: late repeats are done twice, out of order."
    Machine PasswordUnchecked "password-unchecked"
    "A session is attached to whoever knows its number: a ZooKeeper client takes another's."
    Machine OneShotWatchStays "one-shot-watch-stays"
    "A one-shot watch stays when it fires: its client hears of later changes it did not ask for."

    Replica MarkBeforeSnapshot "mark-before-snapshot"
    "The log is marked and compacted before the snapshot's file is written: a crash in between loses the state."
    Replica OlderMarkAccepted "older-mark-accepted"
    "A snapshot saved late is marked although a newer one was installed meanwhile: the log would stand on an older state."
    Replica StaleForwardAccepted "stale-forward-accepted"
    "A leader does a request that was forwarded to it in an earlier term: answered by another leader meanwhile, it is done twice."
    Replica RefusalSentAtOnce "refusal-sent-at-once"
    "A refusal computed from outstanding changes is sent before they commit: if they are lost it told of what never was."
    Replica ExpiryUnconfirmed "expiry-unconfirmed"
    "A leader expires sessions without a round of its quorum: one that is cut off ends sessions that were heard elsewhere."
    Replica NewLeaderGrantsNoTimeout "new-leader-grants-no-timeout"
    "A new leader takes every session for silent since ever: live sessions expire at a change of leaders."
    Replica OwnStallIgnored "own-stall-ignored"
    "A leader that stood still counts its own pause as its sessions' silence: live sessions expire."
    Replica EventAfterReply "event-after-reply"
    "Watch events leave behind the replies of the same transaction: a client sees a change before it is told of it."
    Replica WatchesSurviveSnapshot "watches-survive-snapshot"
    "Connections are served on over an installed snapshot: their watches miss what it skipped, and their replies never come."
    Replica AnswerForOlderConnection "answer-for-older-connection"
    "An answer for a peer's earlier connection goes to its present one: after a restart it answers another request."
    Replica AnswerToOlderAttempt "answer-to-older-attempt"
    "The answer of an earlier leader settles a request that was given to the next one: its refusal may be of what is done."
    Replica AnswerBeforeApplied "answer-before-applied"
    "A follower passes the leader's answer on before it has applied the state it rests on: its client reads older state afterwards."
    Replica ReadIndexNotAwaited "read-index-not-awaited"
    "A linearizable read does not wait until the index it was given is applied: it may be stale."
    Replica LinearizableReadLocal "linearizable-read-local"
    "A linearizable read is answered like a local one: it may be stale."
    Replica MovedSessionStaysServed "moved-session-stays-served"
    "The connection a session has left is served on: two connections speak for one session."
    Replica TouchesNotForwarded "touches-not-forwarded"
    "Followers do not tell the leader whom they heard: their sessions expire."
    Replica ReadOvertakesWrites "read-overtakes-writes"
    "A local read does not wait for the session's earlier writes: a client does not read what it wrote."
    Replica WipedServerAccepted "wiped-server-accepted"
    "A member that came back with an empty disk is let in: it may have forgotten votes and acknowledged entries."
    Replica StampFollowsWallClock "stamp-follows-wall-clock"
    "Entries are stamped by the wall clock all along: when it jumps, deadlines and TTLs pass early or late."
    Replica SubmissionNotRepeated "submission-not-repeated"
    "Requests under way are not given to the next leader: their clients wait for ever."
    Replica NextChangeEnded "next-change-ended"
    "A leader that waits for the end of a change of the members ends the next one in its place: what is answered as done never was."

    Zookeeper ReplyOutOfTurn "reply-out-of-turn"
    "A reply leaves as soon as it is there, before those of earlier requests: a ZooKeeper client gives up the connection."
    Zookeeper OwnAnswerNamesOlder "own-answer-names-older"
    "What is answered without the replica names the transaction that was newest when it was asked: a reply names an older one than the reply before."
    Zookeeper ReadNamesReplyBefore "read-names-reply-before"
    "The reply to a read names the transaction of the reply before it: its client may be shown an older tree by another server."
    Zookeeper SyncOvertaken "sync-overtaken"
    "Requests are taken while a sync waits: a write behind it may be done before it, and the sync shows it."
    Zookeeper NotificationAfterReply "notification-after-reply"
    "A notification waits for the next reply: a client sees a change before it is told of it."
    Zookeeper MissedToldAfterReply "missed-told-after-reply"
    "What watches set again have missed is told behind the reply: until then their client trusts what has changed."
    Zookeeper WatchesRestoredFromNow "watches-restored-from-now"
    "Watches are set again as of now, not as of what their client has seen: what changed meanwhile is never told."
    Zookeeper NumbersOfAttachmentsMeet "numbers-of-attachments-meet"
    "Each connection numbers its writes from one: a write has the number of another, of the connection before."
    Zookeeper DoorAcknowledgesTooEarly "door-acknowledges-too-early"
    "A request acknowledges replies that are still to come: the servers forget them, and a repeat by a server is done again or refused."
    Zookeeper FirstItemToldFailed "first-item-told-failed"
    "A refused multi is told as one whose first operation failed, whichever it was."
    Zookeeper PartOfChildrenTold "part-of-children-told"
    "A part of a list of children is told as all of them."
    Zookeeper PingKeptFromReplica "ping-kept-from-replica"
    "Pings are answered without the replica: the sessions of idle clients expire."
    Zookeeper EveryRefusalEndsSession "every-refusal-ends-session"
    "A client that cannot be served here and now is told that its session is gone: it gives up a session that lives."

    Client RetryUnderNewSequence "retry-under-new-sequence"
    "After a reconnect unanswered requests go out under new numbers: what was done is done again."
    Client AcknowledgedTooEarly "acknowledged-too-early"
    "A request acknowledges replies that have not arrived: the servers forget them, and a repeat is done again."
    Client ResentInReverse "resent-in-reverse"
    "After a reconnect unanswered requests go out newest first: a session's writes are done out of order."
    Client AnswerBeforeResumption "answer-before-resumption"
    "Answers are handed out while watches are being resumed: a client learns of what is new and still trusts what a watched znode was."

    Recipe EndingSessionLooksLive "ending-session-looks-live"
    "A session that is ending looks alive to recipes: what it held passes to its own place in line, and nobody else is woken."
    Recipe OneObjectHearsOfClose "one-object-hears-of-close"
    "Only the first object a session has a part in hears of its end: the others are not passed on."
    Recipe TokenFromAppliedState "token-from-applied-state"
    "Recipes are shown the applied zxid instead of their transaction's: a fencing token can come twice, and followers compute another."
    Recipe MigrationSkipped "migration-skipped"
    "An upgrade does not run the recipe's migration: the state stays in the form of the version before."
}

impl PlantedBug {
    /// The bug of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<PlantedBug> {
        PlantedBug::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}
