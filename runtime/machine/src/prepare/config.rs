//! The data of `/zookeeper/config`: the members, as ZooKeeper's `QuorumMaj.toString` writes them.
//!
//! Comes in: the record of members. Goes out: a change of the znode. Invariant: it follows from the
//! replicated record and the transaction's number alone, so it is the same on every server; it
//! changes in the transaction that changes the members. Clients of ZooKeeper (Curator's
//! `EnsembleTracker`) take the servers they connect to from it, so it names where ZooKeeper clients
//! connect either for every voter or for nobody: whoever goes by it reaches a quorum.

use super::Work;
use crate::change::Change;
use crate::items::{Member, MemberStanding};
use crate::system::CONFIG;
use crate::tables::{Members, State};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::ops::Bound;
use quorate_types::{MemberAddress, ServerId, ZnodePath, Zxid};

/// The version of the znode, whatever becomes of it: ZooKeeper's.
const CONFIG_VERSION: i32 = -1;

/// The path of the znode.
pub(super) fn path() -> ZnodePath {
    ZnodePath::parse(CONFIG).expect("a path of the system's")
}

/// Makes the znode follow the members on record.
pub(super) fn publish(work: &mut Work) {
    let data = text(&work.state, work.stamp.zxid).into();
    work.change(Change::SetData { path: path(), data, version: CONFIG_VERSION });
}

struct Line {
    server: ServerId,
    address: MemberAddress,
    votes: bool,
}

fn lines(state: &impl State) -> Vec<Line> {
    let mut found = Vec::new();
    state.scan::<Members>(Bound::Unbounded, &mut |server, member: &Arc<Member>| {
        let votes = member.standing == MemberStanding::Voter;
        let belongs = votes || member.standing == MemberStanding::Learner;
        let address = member.address.clone().filter(|_| belongs);
        found.extend(address.map(|address| Line { server: *server, address, votes }));
        true
    });
    found
}

fn text(state: &impl State, version: Zxid) -> String {
    let lines = lines(state);
    let told = lines.iter().all(|line| !line.votes || line.address.zookeeper.is_some());
    let mut text = String::new();
    for Line { server, address, votes } in &lines {
        let role = if *votes { "participant" } else { "observer" };
        let _ = write!(text, "server.{server}={}:{role}", ports(address));
        if let Some(zookeeper) = address.zookeeper.as_ref().filter(|_| told) {
            let _ = write!(text, ";{zookeeper}");
        }
        text.push('\n');
    }
    let _ = write!(text, "version={:x}", version.0);
    text
}

/// ZooKeeper's line has one host for both ports, and readers refuse one with the same port twice.
fn ports(address: &MemberAddress) -> String {
    let native = address.native.rsplit_once(':').map_or("", |(_, port)| port);
    match address.peer.rsplit_once(':') {
        Some((_, port)) if port == native => {
            let next = port.parse::<u16>().map_or(1, |port| port.checked_add(1).unwrap_or(1));
            format!("{}:{next}", address.peer)
        }
        _ => format!("{}:{native}", address.peer),
    }
}
