//! Requests and replies in one protocol-neutral form.
//!
//! Comes in: what a door decoded. Goes out: what a door encodes. Every door and every room between
//! them speaks this; nothing behind the doors knows which protocol the client speaks.

use crate::acl::AclEntry;
use crate::data::ZnodeData;
use crate::error_code::ErrorCode;
use crate::id::{ComponentDigest, RecipeSignature, ServerId, TicketId, Zxid};
use crate::path::ZnodePath;
use crate::recipe::{InstalledRecipe, MountedRecipe, ShadowReport};
use crate::stat::Stat;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How long a znode lives and how it is named, as in ZooKeeper's `CreateMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CreateMode {
    /// Until deleted.
    Persistent,
    /// Until deleted; a number is appended to the name.
    PersistentSequential,
    /// Until its session ends.
    Ephemeral,
    /// Until its session ends; a number is appended to the name.
    EphemeralSequential,
    /// Deleted some time after its last child.
    Container,
    /// Deleted when unchanged and childless for this long, in milliseconds.
    Ttl(u64),
    /// As [`CreateMode::Ttl`]; a number is appended to the name.
    TtlSequential(u64),
    /// As [`CreateMode::PersistentSequential`]; the name is the number alone, below the path.
    PersistentNumber,
    /// As [`CreateMode::EphemeralSequential`]; the name is the number alone, below the path.
    EphemeralNumber,
    /// As [`CreateMode::TtlSequential`]; the name is the number alone, below the path.
    TtlNumber(u64),
}

impl CreateMode {
    /// Whether a number is appended to the name.
    #[must_use]
    pub fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentSequential
                | CreateMode::EphemeralSequential
                | CreateMode::TtlSequential(_)
        ) || self.is_number()
    }

    /// Whether the name is a number alone: then the path given is the parent's.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentNumber | CreateMode::EphemeralNumber | CreateMode::TtlNumber(_)
        )
    }

    /// Whether the znode goes with its session.
    #[must_use]
    pub fn is_ephemeral(self) -> bool {
        matches!(
            self,
            CreateMode::Ephemeral | CreateMode::EphemeralSequential | CreateMode::EphemeralNumber
        )
    }
}

/// Which changes a watch reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchMode {
    /// ZooKeeper's data and exists watch: fires once on create, delete or data change.
    OneShotData,
    /// ZooKeeper's children watch: fires once on a change of the children, or delete.
    OneShotChildren,
    /// Both of the above, again and again until removed.
    Persistent,
    /// Create, delete and data change of the znode and everything below, until removed.
    PersistentRecursive,
}

/// What happened to a watched znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchEventKind {
    /// The znode was created.
    Created,
    /// The znode was deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
    /// A child was created or deleted.
    ChildrenChanged,
}

/// One notification of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// What happened.
    pub kind: WatchEventKind,
    /// To which znode.
    pub path: ZnodePath,
    /// In which transaction.
    pub zxid: Zxid,
    /// Which of the transaction's events; grows in the order they are told.
    pub place: u32,
    /// The znode's data after the change: for `created` and `data-changed`, when the watch asked for
    /// values.
    pub data: Option<Bytes>,
}

impl WatchEvent {
    /// Names the event: equal on every server, different for different events.
    #[must_use]
    pub fn position(&self) -> WatchPosition {
        WatchPosition { zxid: self.zxid, place: self.place }
    }
}

/// A point in the order of all events: after one event and before the next. Written `17.3`, or `17`
/// for the end of a transaction.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WatchPosition {
    /// The transaction.
    pub zxid: Zxid,
    /// Which of its events; [`u32::MAX`]: all of them.
    pub place: u32,
}

impl From<Zxid> for WatchPosition {
    /// After everything that the transaction did.
    fn from(zxid: Zxid) -> WatchPosition {
        WatchPosition { zxid, place: u32::MAX }
    }
}

impl core::fmt::Display for WatchPosition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.place {
            u32::MAX => write!(f, "{}", self.zxid.0),
            place => write!(f, "{}.{place}", self.zxid.0),
        }
    }
}

impl core::str::FromStr for WatchPosition {
    type Err = core::num::ParseIntError;

    fn from_str(text: &str) -> Result<WatchPosition, core::num::ParseIntError> {
        match text.split_once('.') {
            None => Ok(WatchPosition::from(Zxid(text.parse()?))),
            Some((zxid, place)) => {
                Ok(WatchPosition { zxid: Zxid(zxid.parse()?), place: place.parse()? })
            }
        }
    }
}

/// A watch as it stands on a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldWatch {
    /// On which znode.
    pub path: ZnodePath,
    /// For which changes.
    pub mode: WatchMode,
    /// Whether its events carry data. One-shot watches carry none.
    pub values: bool,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadLevel {
    /// ZooKeeper's: this server's state, never older than the session has seen.
    Local,
    /// Never older than anything acknowledged to anyone before the read began.
    #[default]
    Linearizable,
}

/// One operation within a multi.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MultiOperation {
    /// As [`Operation::Create`].
    Create {
        /// Where; a prefix when the mode is sequential.
        path: ZnodePath,
        /// What.
        data: ZnodeData,
        /// How long and under which name.
        mode: CreateMode,
        /// Who may; `None`: everyone everything.
        acl: Option<Vec<AclEntry>>,
    },
    /// As [`Operation::Delete`].
    Delete {
        /// Which znode.
        path: ZnodePath,
        /// Only at this version.
        expected_version: Option<i32>,
    },
    /// As [`Operation::SetData`].
    SetData {
        /// Which znode.
        path: ZnodePath,
        /// What.
        data: ZnodeData,
        /// Only at this version.
        expected_version: Option<i32>,
    },
    /// Refuse the whole multi unless the znode is there at this version.
    Check {
        /// Which znode.
        path: ZnodePath,
        /// At this version; `None`: any.
        expected_version: Option<i32>,
    },
}

/// One read within several of one state. It leaves no watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadOperation {
    /// As [`Operation::Get`].
    Get {
        /// Which znode.
        path: ZnodePath,
    },
    /// As [`Operation::Children`], all of them.
    Children {
        /// Which znode.
        path: ZnodePath,
    },
}

/// What a watch to be restored stood for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestoredKind {
    /// The data of a znode that was there.
    Data,
    /// That a znode which was not there comes into being.
    Absence,
    /// The children of a znode.
    Children,
    /// As [`WatchMode::Persistent`].
    Persistent,
    /// As [`WatchMode::PersistentRecursive`].
    PersistentRecursive,
}

/// A watch to be restored, see [`Operation::RestoreWatches`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredWatch {
    /// On which znode.
    pub path: ZnodePath,
    /// For what.
    pub kind: RestoredKind,
}

/// Everything a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Create a znode.
    Create {
        /// Where; a prefix when the mode is sequential.
        path: ZnodePath,
        /// What.
        data: ZnodeData,
        /// How long and under which name.
        mode: CreateMode,
        /// Who may; `None`: everyone everything.
        acl: Option<Vec<AclEntry>>,
    },
    /// Delete a znode that has no children.
    Delete {
        /// Which znode.
        path: ZnodePath,
        /// Only at this version.
        expected_version: Option<i32>,
    },
    /// Replace the data of a znode.
    SetData {
        /// Which znode.
        path: ZnodePath,
        /// What.
        data: ZnodeData,
        /// Only at this version.
        expected_version: Option<i32>,
    },
    /// Replace the ACL of a znode.
    SetAcl {
        /// Which znode.
        path: ZnodePath,
        /// Who may.
        acl: Vec<AclEntry>,
        /// Only at this ACL version.
        expected_version: Option<i32>,
    },
    /// All of them, or none.
    Multi {
        /// In this order, each seeing those before it.
        operations: Vec<MultiOperation>,
    },
    /// Call a recipe.
    Call {
        /// The object: one name below a mount, or the mount itself.
        object: ZnodePath,
        /// Name of the command or query.
        operation: String,
        /// CBOR.
        arguments: Bytes,
    },
    /// Give up a parked call of this session: it is answered `cancelled`, unless it was answered already.
    CancelCall {
        /// The sequence number of the parked call.
        sequence: u64,
    },
    /// End the session: its ephemerals go, its parked calls are answered.
    CloseSession,
    /// Bring a part of a component. Parts come in order.
    UploadComponent {
        /// Digest of the whole.
        digest: ComponentDigest,
        /// Bytes of the whole.
        total_bytes: u32,
        /// Where this part begins.
        offset: u32,
        /// The part.
        bytes: Bytes,
        /// Of the whole; with every part, so that nothing untrusted is kept or compiled.
        signature: Option<Box<RecipeSignature>>,
    },
    /// Make an uploaded component a recipe of the catalogue.
    InstallRecipe {
        /// Digest of the component.
        digest: ComponentDigest,
        /// Of the component.
        signature: Option<Box<RecipeSignature>>,
    },
    /// Take a component out of the catalogue. Refused while a mount names it.
    RemoveRecipe {
        /// Digest of the component.
        digest: ComponentDigest,
    },
    /// Let a recipe govern a subtree.
    Mount {
        /// The subtree's top: created if it is not there; must be empty if it is.
        path: ZnodePath,
        /// Digest of an installed component.
        digest: ComponentDigest,
        /// CBOR, handed to the recipe.
        config: Bytes,
        /// Whether plain writes below are allowed.
        open: bool,
        /// Fuel of one call; `None`: the cluster's limit.
        fuel: Option<u64>,
    },
    /// End a recipe's rule over a subtree. Its znodes stay; its tickets are answered, its timers end.
    Unmount {
        /// The mount.
        path: ZnodePath,
    },
    /// Let another version of a mount's recipe run beside it on the next calls: what it would do is
    /// compared and taken back. Done by the leader alone; gone when it ceases to lead.
    BeginShadow {
        /// The mount.
        path: ZnodePath,
        /// Digest of an installed component of the same recipe.
        digest: ComponentDigest,
        /// How many calls; 0: no more.
        calls: u32,
    },
    /// What the shadow of a mount has seen so far.
    ShadowReport {
        /// The mount.
        path: ZnodePath,
    },
    /// Make another server the leader.
    TransferLeader {
        /// Which; `None`: the most caught-up voter.
        to: Option<ServerId>,
    },
    /// Let a server join as a learner, or move a member to other addresses.
    AddMember {
        /// Its id: never that of a member removed before.
        server: ServerId,
        /// Where its peers reach it, host and port.
        peer_address: String,
        /// Where native clients reach it, host and port.
        native_address: String,
        /// Where ZooKeeper clients reach it, host and port; `None`: as on record, if it is.
        #[serde(default)]
        zookeeper_address: Option<String>,
    },
    /// Let several servers join, leave or change their vote, all at once or not at all: ZooKeeper's
    /// `reconfig`. Who may is said by the ACL of `/zookeeper/config`, whose data and stat are the
    /// answer.
    Reconfigure {
        /// Who is to be a member.
        wanted: MembersWanted,
        /// Only at this version of the configuration: the zxid that `/zookeeper/config` ends with.
        expected_version: Option<u64>,
    },
    /// Make a learner that has caught up a voter.
    PromoteMember {
        /// Which.
        server: ServerId,
    },
    /// Let a member leave for good, voter or learner. A leader hands over first.
    RemoveMember {
        /// Which.
        server: ServerId,
    },
    /// Data and stat of a znode.
    Get {
        /// Which znode.
        path: ZnodePath,
        /// Leave a one-shot data watch.
        watch: bool,
    },
    /// Stat of a znode that may not be there.
    Exists {
        /// Which znode.
        path: ZnodePath,
        /// Leave a one-shot data watch.
        watch: bool,
    },
    /// Names of the children, in order.
    Children {
        /// Which znode.
        path: ZnodePath,
        /// Only names after this one.
        after: Option<String>,
        /// At most so many.
        limit: Option<u32>,
        /// Leave a one-shot children watch.
        watch: bool,
    },
    /// ACL of a znode.
    GetAcl {
        /// Which znode.
        path: ZnodePath,
    },
    /// Nothing, at the level of the read: afterwards, local reads see everything acknowledged before.
    Sync,
    /// Leave a watch.
    AddWatch {
        /// On which znode; it need not be there.
        path: ZnodePath,
        /// For which changes.
        mode: WatchMode,
        /// Everything after this is reported, what has happened already in the reply
        /// ([`Reply::Watching`]); `None`: what happens from now on.
        since: Option<WatchPosition>,
        /// Whether events carry the data of the znode. One-shot watches carry none.
        values: bool,
    },
    /// Set watches again that were left through another connection. Answered with
    /// [`Reply::Watching`].
    ResumeWatches {
        /// All at once: what several of them see is told once.
        watches: Vec<HeldWatch>,
        /// Everything up to here was told.
        since: WatchPosition,
    },
    /// Take back watches of this connection on a znode. Answered with how many there were.
    RemoveWatches {
        /// On which znode.
        path: ZnodePath,
        /// Of which kind; `None`: of all.
        mode: Option<WatchMode>,
    },
    /// How many watches this connection has on a znode.
    CountWatches {
        /// On which znode.
        path: ZnodePath,
        /// Of which kind; `None`: of all.
        mode: Option<WatchMode>,
    },
    /// Set watches again that were left through another connection, ZooKeeper's way: what happened
    /// meanwhile is told from how the znodes are, not from a history. Answered with
    /// [`Reply::Watching`], which never has a gap.
    RestoreWatches {
        /// All at once.
        watches: Vec<RestoredWatch>,
        /// Everything up to here was seen.
        since: Zxid,
    },
    /// The session's own ephemeral znodes.
    Ephemerals {
        /// Only paths that begin so.
        prefix: String,
    },
    /// How many znodes are below a znode, at any depth.
    CountBelow {
        /// Which znode.
        path: ZnodePath,
    },
    /// Several reads of one state.
    MultiRead {
        /// Each is answered or refused by itself.
        operations: Vec<ReadOperation>,
    },
    /// The catalogue.
    ListRecipes,
    /// The mounts.
    ListMounts,
    /// How the server asked sees the cluster.
    Status,
}

impl Operation {
    /// Whether the operation goes through the log. A call does unless it names a query; the
    /// server asked knows which.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Operation::Create { .. }
                | Operation::Delete { .. }
                | Operation::SetData { .. }
                | Operation::SetAcl { .. }
                | Operation::Multi { .. }
                | Operation::Call { .. }
                | Operation::CancelCall { .. }
                | Operation::CloseSession
                | Operation::UploadComponent { .. }
                | Operation::InstallRecipe { .. }
                | Operation::RemoveRecipe { .. }
                | Operation::Mount { .. }
                | Operation::Unmount { .. }
                | Operation::AddMember { .. }
                | Operation::PromoteMember { .. }
                | Operation::RemoveMember { .. }
                | Operation::Reconfigure { .. }
        )
    }
}

/// One result within a multi that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MultiReply {
    /// The znode created, under its final name.
    Created(ZnodePath, Stat),
    /// Deleted.
    Deleted,
    /// The stat after setting.
    Set(Stat),
    /// The check held.
    Checked,
}

/// What came of one read within several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadReply {
    /// Data and stat.
    Data(ZnodeData, Stat),
    /// Names of children.
    Children(Vec<String>),
    /// It cannot be read.
    Refused(Refusal),
}

/// Where a member is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberAddress {
    /// Host and port for peers.
    pub peer: String,
    /// Host and port for native clients.
    pub native: String,
    /// Host and port for ZooKeeper clients, if they are to be told; a host that means any address
    /// stands for the one that peers connect to, as in ZooKeeper.
    pub zookeeper: Option<String>,
}

/// A server that is to be a member, see [`Operation::Reconfigure`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedMember {
    /// Which.
    pub server: ServerId,
    /// Where it is.
    pub address: MemberAddress,
    /// Whether it is to vote.
    pub voter: bool,
}

/// Who is to be a member, see [`Operation::Reconfigure`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MembersWanted {
    /// Those who are, with these changes.
    Changed {
        /// Members to be, or members with another vote or at other addresses.
        joining: Vec<WantedMember>,
        /// Members no more; who is none is passed over.
        leaving: Vec<ServerId>,
    },
    /// These and nobody else.
    Exactly(Vec<WantedMember>),
}

/// How a server sees one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Which.
    pub server: ServerId,
    /// Whether it votes.
    pub voter: bool,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Where native clients reach it.
    pub native_address: String,
    /// Whether the server asked is connected to it; true for itself.
    pub connected: bool,
    /// How far the leader knows its log to agree with the leader's; only on the leader.
    pub matched: Option<u64>,
}

/// How a server sees the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The server asked.
    pub server: ServerId,
    /// `leader`, `follower`, `candidate`, `learner` or `refetching`.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// The leader it knows.
    pub leader: Option<ServerId>,
    /// The last transaction applied.
    pub applied: Zxid,
    /// The last entry known to be committed.
    pub committed: Zxid,
    /// Digest of everything replicated, after `applied`.
    pub digest: u64,
    /// Znodes.
    pub znodes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Watches held by its connections.
    pub watches: u64,
    /// Parked calls.
    pub tickets: u64,
    /// Clients connected to it.
    pub connections: u32,
    /// The members.
    pub members: Vec<MemberStatus>,
    /// Servers that have left: their ids are never used again.
    pub removed_members: Vec<ServerId>,
    /// Words about what is wrong, empty when nothing is.
    pub alarms: Vec<String>,
}

/// What a client is told when its request was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done; there is nothing to say.
    Done,
    /// The znode created, under its final name.
    Created(ZnodePath, Stat),
    /// A stat after a change.
    Stat(Stat),
    /// The stat, if the znode is there.
    Exists(Option<Stat>),
    /// Data and stat.
    Data(ZnodeData, Stat),
    /// Names of children, whether there are more, and the parent's stat.
    Children(Vec<String>, bool, Stat),
    /// An ACL and the znode's stat.
    Acl(Vec<AclEntry>, Stat),
    /// Results of a multi.
    Multi(Vec<MultiReply>),
    /// Results of several reads.
    MultiRead(Vec<ReadReply>),
    /// Paths of znodes, in order.
    Paths(Vec<ZnodePath>),
    /// How many.
    Count(u64),
    /// CBOR from a recipe.
    Called(Bytes),
    /// The call waits; its reply comes under the same sequence number.
    Parked(TicketId),
    /// Bytes of a component received so far.
    Uploaded(u32),
    /// The recipe installed.
    Installed(InstalledRecipe),
    /// The catalogue.
    Recipes(Vec<InstalledRecipe>),
    /// The mounts.
    Mounts(Vec<MountedRecipe>),
    /// What the shadow of a mount has seen; `None`: there is none, or its leader has gone.
    Shadow(Option<ShadowReport>),
    /// How the server sees the cluster.
    Status(ServerStatus),
    /// Watches are set. What they report from now on comes in frames of its own.
    Watching {
        /// What they would have reported between the point asked for and the zxid of this reply, in
        /// order. A one-shot watch that fired here is not set any more.
        replayed: Vec<WatchEvent>,
        /// The server's history does not reach back to the point asked for: nothing was replayed,
        /// and what happened up to the zxid of this reply is not known.
        gap: bool,
    },
}

/// Why a request was not done. Nothing was changed by it, unless the code says that it is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// From the table.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// For a program: the recipe's own code, when `code` is `recipe-refused`.
    pub recipe_code: Option<String>,
    /// For a program: CBOR from a recipe; else empty.
    pub detail: Bytes,
    /// Which operation of a multi failed, from 0.
    pub failed_operation: Option<u32>,
}

impl Refusal {
    /// A refusal with a message for a person.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
            recipe_code: None,
            detail: Bytes::new(),
            failed_operation: None,
        }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.recipe_code.as_deref().unwrap_or(self.code.name()), self.message)
    }
}

impl core::error::Error for Refusal {}

/// What becomes of a request.
pub type Outcome = Result<Reply, Refusal>;
