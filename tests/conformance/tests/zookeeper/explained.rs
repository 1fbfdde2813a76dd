//! Where quorate answers otherwise than Debian's ZooKeeper 3.8.0, and why.
//!
//! Invariant: a step with one of these reasons does differ; the test fails when it no longer does.

/// ZooKeeper 3.9.2 and 3.8.4 let only those who may read a znode ask whether it is there.
pub(crate) const EXISTS_READS: &str =
    "exists asks for READ since ZooKeeper 3.8.4 and 3.9.2; Debian has 3.8.0";

/// ZOOKEEPER-4472, in 3.9.0.
pub(crate) const WATCH_KINDS: &str =
    "3.8 cannot read kinds 4 and 5 in checkWatches and removeWatches, which 3.9 added";

/// ZOOKEEPER-4466 and ZOOKEEPER-4471, in 3.9.0.
pub(crate) const WATCH_MODES: &str =
    "3.8 keeps the last of a connection's watches on a path, 3.9 those of every kind";

/// In ZooKeeper 3.8 `checkWatches` finds those of any kind and of any connection.
pub(crate) const OTHERS_WATCHES: &str =
    "checkWatches of 3.8 finds watches of other kinds and connections";

/// A client believes that a watch stands until it fires.
pub(crate) const KEPT_WATCH: &str =
    "a change that a client may not hear of does not use up its one-shot watch";

/// Such a watch could never fire, apart from being told a deletion at once.
pub(crate) const WATCH_ON_NO_PATH: &str =
    "watches on what is no path are not kept: nothing ever was or will be there";

/// `/a/.` and `/a/..` are no paths until the number is added.
pub(crate) const DOTS_WITH_NUMBER: &str =
    "a sequential znode cannot be named by one or two dots and a number";

/// A misspelt ACL is better refused than kept.
pub(crate) const UNKNOWN_PERMISSIONS: &str =
    "an ACL with permissions that do not exist is refused; ZooKeeper keeps any number";

/// ZOOKEEPER-4240, in 3.9.
pub(crate) const IPV6: &str = "IPv6 addresses can stand in ACLs, as in later versions of ZooKeeper";

/// ZooKeeper lets anybody delete any empty znode in this way, whatever its ACL says.
pub(crate) const DELETE_CONTAINER: &str =
    "no client may ask for deleteContainer: it would be done whatever the ACLs say";

/// ZooKeeper reads its body as that of a server.
pub(crate) const CREATE_SESSION: &str =
    "createSession is what ZooKeeper's servers ask of one another: no client may ask";

/// Java writes such a character as two halves, which is no UTF-8.
pub(crate) const HALVES: &str =
    "a character above U+FFFF that sync gives back is UTF-8; ZooKeeper's is not";

/// ZOOKEEPER-4026, in 3.9.
pub(crate) const MULTI_CREATE2: &str =
    "3.8 tells only the path of a create2 in a multi, 3.9 the stat too";

/// No client sends one.
pub(crate) const NULL_PATH: &str = "a null path is read as the empty one, which finds the root";

/// ZooKeeper closes the connection that the session has at that server first and compares the password
/// afterwards, in 3.9 too. It is not followed, for that is not safe: numbers of sessions are those of
/// transactions here, easily guessed, and four-letter words and stats tell them. Whoever reaches the
/// port could cut off everybody again and again without a password. Nothing that an honest client
/// does depends on it: with the right password its older connection is closed as in ZooKeeper.
pub(crate) const WRONG_PASSWORD: &str =
    "a wrong password does not close the connection of the session asked for";

/// That a client comes from another cluster is seen when its session is there.
pub(crate) const FROM_ELSEWHERE: &str =
    "a client that has seen too much closes its older connection before it is closed";
