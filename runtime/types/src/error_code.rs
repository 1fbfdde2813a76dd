//! The one table of outcomes and refusals that a client can be told.
//!
//! Invariant: names and numbers are never reused. ZooKeeper numbers are those of its
//! `KeeperException.Code`; 0 means that ZooKeeper has none and the ZooKeeper door answers
//! `SystemError`.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($( $(#[$doc:meta])* $variant:ident = $native:literal, $zookeeper:literal, $name:literal; )*) => {
        /// Why a request was not done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        #[serde(into = "u16", try_from = "u16")]
        pub enum ErrorCode { $( $(#[$doc])* $variant, )* }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [ErrorCode] = &[$( ErrorCode::$variant, )*];

            /// The number on the native wire and in the log.
            #[must_use]
            pub fn native(self) -> u16 { match self { $( ErrorCode::$variant => $native, )* } }

            /// The number on the ZooKeeper wire; 0 where ZooKeeper has none.
            #[must_use]
            pub fn zookeeper(self) -> i32 { match self { $( ErrorCode::$variant => $zookeeper, )* } }

            /// The name that tools print and scripts compare.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $( ErrorCode::$variant => $name, )* } }

            /// The code with this native number.
            #[must_use]
            pub fn from_native(number: u16) -> Option<ErrorCode> {
                match number { $( $native => Some(ErrorCode::$variant), )* _ => None }
            }
        }
    };
}

error_codes! {
    /// There is no such znode.
    NoNode = 1, -101, "no-node";
    /// The znode is there already.
    NodeExists = 2, -110, "node-exists";
    /// The version expected is not the znode's.
    BadVersion = 3, -103, "bad-version";
    /// The znode has children.
    NotEmpty = 4, -111, "not-empty";
    /// An ephemeral znode cannot have children.
    NoChildrenForEphemerals = 5, -108, "no-children-for-ephemerals";
    /// The ACL does not allow it.
    NotAllowed = 6, -102, "not-allowed";
    /// The ACL given is not one.
    InvalidAcl = 7, -114, "invalid-acl";
    /// An argument is wrong; the message names it.
    BadArguments = 8, -8, "bad-arguments";
    /// The request is not known here.
    Unimplemented = 9, -6, "unimplemented";
    /// Part of a multi that failed elsewhere: not done.
    RuntimeInconsistency = 10, -2, "rolled-back";
    /// The session has ended.
    SessionExpired = 20, -112, "session-expired";
    /// The session has moved to another connection.
    SessionMoved = 21, -118, "session-moved";
    /// The password is not the session's.
    SessionRefused = 22, -115, "session-refused";
    /// No leader is known or it has no quorum: try again, here or at another server.
    NoLeader = 30, -4, "no-leader";
    /// The leader changed while the request was under way; the outcome is not known here.
    LeadershipLost = 31, -4, "leadership-lost";
    /// A limit of the server is reached; the message names it.
    Overloaded = 32, -4, "overloaded";
    /// A limit on sizes or counts would be passed; the message names it.
    QuotaExceeded = 33, -125, "quota-exceeded";
    /// It took longer than it may.
    TimedOut = 34, -7, "timed-out";
    /// The server is going down or has lost its quorum.
    ServerUnavailable = 35, -4, "server-unavailable";
    /// The identity may not do this.
    NotAuthorized = 36, -115, "not-authorized";
    /// No recipe is mounted at or above the object.
    NoMount = 40, -101, "no-mount";
    /// Only the recipe writes here.
    GovernedByRecipe = 41, -102, "governed-by-recipe";
    /// The component is not compiled on this server yet: try again.
    RecipeLoading = 42, -4, "recipe-loading";
    /// The recipe has no such operation.
    UnknownOperation = 43, -6, "unknown-operation";
    /// The recipe refused; `detail` holds its own code and detail.
    RecipeRefused = 44, 0, "recipe-refused";
    /// The recipe trapped; nothing was changed.
    RecipeTrapped = 45, 0, "recipe-trapped";
    /// The recipe ran out of fuel; nothing was changed.
    RecipeOutOfFuel = 46, 0, "recipe-out-of-fuel";
    /// The recipe wanted more memory than allowed; nothing was changed.
    RecipeOutOfMemory = 47, 0, "recipe-out-of-memory";
    /// The recipe passed a limit on changes, bytes or tickets; nothing was changed.
    RecipeOverLimit = 48, 0, "recipe-over-limit";
    /// The component cannot be a recipe; the message says why.
    RecipeInvalid = 49, 0, "recipe-invalid";
    /// No such component or recipe version is installed.
    NoRecipe = 50, -101, "no-recipe";
    /// A mount still names the recipe.
    RecipeInUse = 51, -111, "recipe-in-use";
    /// The mount is suspended after repeated faults.
    MountSuspended = 52, 0, "mount-suspended";
    /// Neither the component's digest nor a signature of it is trusted; the message says why.
    RecipeNotTrusted = 54, 0, "recipe-not-trusted";
    /// The caller gave up waiting.
    Cancelled = 53, 0, "cancelled";
    /// No such server is a member.
    NoMember = 60, -101, "no-member";
    /// The membership or leadership change cannot be done now; the message says why.
    MembershipRefused = 61, -14, "membership-refused";
    /// The connection has no such watch. Only ZooKeeper clients are told so.
    NoWatcher = 62, -121, "no-watcher";
    /// Members are not changed through ZooKeeper's `reconfig` here.
    ReconfigurationDisabled = 63, -123, "reconfiguration-disabled";
    /// A quorum of the members to be is not in touch with the leader, or one of them has not caught up.
    MembersNotReady = 64, -13, "members-not-ready";
    /// The server has no quorum and only reads.
    ReadOnly = 65, -119, "read-only";
}

impl ErrorCode {
    /// Whether the same request may succeed a moment later or at another server.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            ErrorCode::NoLeader
                | ErrorCode::LeadershipLost
                | ErrorCode::Overloaded
                | ErrorCode::ServerUnavailable
                | ErrorCode::RecipeLoading
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> u16 {
        code.native()
    }
}

/// A number that is no error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownErrorCode(pub u16);

impl fmt::Display for UnknownErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no error code", self.0)
    }
}

impl TryFrom<u16> for ErrorCode {
    type Error = UnknownErrorCode;
    fn try_from(number: u16) -> Result<ErrorCode, UnknownErrorCode> {
        ErrorCode::from_native(number).ok_or(UnknownErrorCode(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_read_back() {
        for (position, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(ErrorCode::from_native(code.native()), Some(*code));
            for other in &ErrorCode::ALL[..position] {
                assert_ne!(other.native(), code.native());
                assert_ne!(other.name(), code.name());
            }
        }
        assert_eq!(ErrorCode::from_native(0), None);
    }
}
