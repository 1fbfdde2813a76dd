//! The record of members, and changes of the membership from their beginning to their answer.
//!
//! Comes in: what clients ask, what the leader saw, how a change ended. Goes out: changes of the
//! record. Invariant: one change at a time, and it stays on record with the request it answers
//! until a leader ends it; so a change survives its leader and is answered once. Must never: judge
//! what consensus knows, such as who votes or has caught up; the leader does so when it ends one.

use super::{Caller, Done, Step, Work, config, refuse};
use crate::acl;
use crate::change::Change;
use crate::items::{Member, MemberStanding, MemberStep, MembershipChange, MembershipStep};
use crate::tables::{Members, MembershipChanges, State};
use crate::transaction::Origin;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;
use quorate_types::request::{MembersWanted, WantedMember};
use quorate_types::{
    ErrorCode, Incarnation, MemberAddress, Operation, Permissions, Refusal, Reply, ServerId,
};

pub(super) fn add(work: &mut Work, caller: Caller<'_>, operation: &Operation) -> Step {
    let Operation::AddMember { server, peer_address, native_address, zookeeper_address } =
        operation
    else {
        return refuse(ErrorCode::Unimplemented, "this is no addition of a member");
    };
    let known = work.state.get::<Members>(server);
    let before = known.as_ref().and_then(|member| member.address.clone());
    let kept = before.as_ref().and_then(|address| address.zookeeper.clone());
    let address = MemberAddress {
        peer: peer_address.clone(),
        native: native_address.clone(),
        zookeeper: zookeeper_address.clone().or(kept),
    };
    check_address(work, *server, &address)?;
    if known.as_ref().is_some_and(|member| member.is_removed()) {
        return refuse(ErrorCode::MembershipRefused, removed_text(*server));
    }
    check_room(work, usize::from(known.is_none()))?;
    if is_under_way(work, caller)? {
        return Ok(Done::Nothing);
    }
    if before.as_ref() != Some(&address) {
        work.change(Change::RecordAddress { server: *server, address });
    }
    begin_one(work, caller, *server, MembershipStep::Add)
}

fn removed_text(server: ServerId) -> String {
    format!(
        "server {server} was removed and its id is never used again: add the server under another \
         id, with an empty data directory"
    )
}

fn check_room(work: &Work, wanted: usize) -> Result<(), Refusal> {
    let most = work.limits.members_max as usize;
    if wanted == 0 || work.count_at_most::<Members>() + wanted <= most {
        return Ok(());
    }
    refuse(ErrorCode::QuotaExceeded, format!("a cluster has at most {most} members"))
}

pub(super) fn promote(work: &mut Work, caller: Caller<'_>, server: ServerId) -> Step {
    match work.state.get::<Members>(&server) {
        Some(member) if !member.is_removed() => {}
        Some(_) => {
            let text = format!("server {server} was removed");
            return refuse(ErrorCode::NoMember, text);
        }
        None => return no_member(server),
    }
    if is_under_way(work, caller)? {
        return Ok(Done::Nothing);
    }
    begin_one(work, caller, server, MembershipStep::Promote)
}

pub(super) fn remove(work: &mut Work, caller: Caller<'_>, server: ServerId) -> Step {
    match work.state.get::<Members>(&server) {
        Some(member) if member.is_removed() => return Ok(Done::Answer(Ok(Reply::Done))),
        Some(_) => {}
        None => return no_member(server),
    }
    if is_under_way(work, caller)? {
        return Ok(Done::Nothing);
    }
    begin_one(work, caller, server, MembershipStep::Remove)
}

fn no_member(server: ServerId) -> Step {
    let text = format!("server {server} is no member: see the members, or add it first");
    refuse(ErrorCode::NoMember, text)
}

fn begin_one(work: &mut Work, caller: Caller<'_>, server: ServerId, step: MembershipStep) -> Step {
    let steps = [MemberStep { server, step, address: None }].into();
    Ok(begin(work, caller, steps, false))
}

fn begin(work: &mut Work, caller: Caller<'_>, steps: Vec<MemberStep>, tells_config: bool) -> Done {
    let (session, sequence) = (caller.session, caller.sequence);
    work.change(Change::BeginMembership { steps, session, sequence, tells_config });
    Done::Changed(None)
}

/// ZooKeeper's `reconfig`, with its order of errors.
pub(super) fn reconfigure(work: &mut Work, caller: Caller<'_>, operation: &Operation) -> Step {
    let Operation::Reconfigure { wanted, expected_version } = operation else {
        return refuse(ErrorCode::Unimplemented, "this is no change of the members");
    };
    if is_under_way(work, caller)? {
        return Ok(Done::Nothing);
    }
    let path = config::path();
    let znode = work.state.znode(&path).expect("a znode of the system is always there");
    let version = znode.mzxid.0;
    if let Some(expected) = expected_version.filter(|expected| *expected != version) {
        let text = format!("the configuration has the version {version:x}, not {expected:x}");
        return refuse(ErrorCode::BadVersion, text);
    }
    let (steps, new) = steps_of(work, wanted)?;
    acl::check(&znode, &path, caller.identity, &[Permissions::WRITE])?;
    check_room(work, new.len())?;
    for WantedMember { server, address, .. } in new {
        work.change(Change::RecordAddress { server, address });
    }
    Ok(begin(work, caller, steps, true))
}

/// The steps to the members wanted, and those of them that are no members: their addresses have to be
/// on record before they can be members. Addresses of members change when all is done.
fn steps_of(
    work: &Work,
    wanted: &MembersWanted,
) -> Result<(Vec<MemberStep>, Vec<WantedMember>), Refusal> {
    let standings = standings(work);
    let belongs = |standing: &MemberStanding| {
        matches!(standing, MemberStanding::Learner | MemberStanding::Voter)
    };
    let members = standings.iter().filter(|(_, standing)| belongs(standing));
    let (joining, leaving): (_, Vec<ServerId>) = match wanted {
        MembersWanted::Changed { joining, leaving } => {
            (joining, members.map(|(id, _)| *id).filter(|id| leaving.contains(id)).collect())
        }
        MembersWanted::Exactly(exactly) => (exactly, members.map(|(id, _)| *id).collect()),
    };
    let is_nothing = match wanted {
        MembersWanted::Changed { joining, leaving } => joining.is_empty() && leaving.is_empty(),
        MembersWanted::Exactly(exactly) => exactly.is_empty(),
    };
    if is_nothing {
        return refuse(ErrorCode::BadArguments, "name servers that join or leave");
    }
    check_joining(work, joining)?;
    let joins = |server: &ServerId| joining.iter().any(|wanted| wanted.server == *server);
    let leaving = leaving.into_iter().filter(|server| !joins(server));
    let mut steps: Vec<MemberStep> = leaving
        .map(|server| MemberStep { server, step: MembershipStep::Remove, address: None })
        .collect();
    let mut new = Vec::new();
    for wanted in joining {
        let standing = standings.get(&wanted.server).copied().unwrap_or_default();
        let is_new = !belongs(&standing);
        let step = match (standing, wanted.voter) {
            (MemberStanding::Learner, true) => MembershipStep::Promote,
            (MemberStanding::Voter, false) => MembershipStep::Demote,
            _ => MembershipStep::Add,
        };
        let (server, address) = (wanted.server, Some(wanted.address.clone()).filter(|_| !is_new));
        steps.push(MemberStep { server, step, address });
        if is_new {
            new.push(wanted.clone());
            if wanted.voter {
                steps.push(MemberStep { server, step: MembershipStep::Promote, address: None });
            }
        }
    }
    check_voters(standings, &steps)?;
    Ok((steps, new))
}

fn check_voters(
    mut standings: BTreeMap<ServerId, MemberStanding>,
    steps: &[MemberStep],
) -> Result<(), Refusal> {
    for MemberStep { server, step, .. } in steps {
        let standing = standings.entry(*server).or_default();
        *standing = after(*step, *standing);
    }
    match standings.values().any(|standing| *standing == MemberStanding::Voter) {
        true => Ok(()),
        false => refuse(ErrorCode::BadArguments, "no voter would be left"),
    }
}

fn standings(work: &Work) -> BTreeMap<ServerId, MemberStanding> {
    let mut found = BTreeMap::new();
    work.state.scan::<Members>(Bound::Unbounded, &mut |server, member: &Arc<Member>| {
        found.insert(*server, member.standing);
        true
    });
    found
}

/// What a server is after a step.
fn after(step: MembershipStep, before: MemberStanding) -> MemberStanding {
    match step {
        MembershipStep::Add if before == MemberStanding::Voter => MemberStanding::Voter,
        MembershipStep::Add | MembershipStep::Demote => MemberStanding::Learner,
        MembershipStep::Promote => MemberStanding::Voter,
        MembershipStep::Remove => MemberStanding::Removed,
    }
}

fn check_joining(work: &Work, joining: &[WantedMember]) -> Result<(), Refusal> {
    for (place, wanted) in joining.iter().enumerate() {
        let known = work.state.get::<Members>(&wanted.server);
        if known.is_some_and(|member| member.is_removed()) {
            return refuse(ErrorCode::BadArguments, removed_text(wanted.server));
        }
        check_address(work, wanted.server, &wanted.address)?;
        let clashes = |other: &WantedMember| {
            other.server == wanted.server || overlaps(&other.address, &wanted.address)
        };
        if joining.iter().take(place).any(clashes) {
            let text = format!("server {} or an address of it is named twice", wanted.server);
            return refuse(ErrorCode::BadArguments, text);
        }
    }
    Ok(())
}

/// Whether this very request is under way already: it is answered when the change ends. Another
/// one under way is a refusal.
fn is_under_way(work: &Work, caller: Caller<'_>) -> Result<bool, Refusal> {
    let Some(change) = under_way(work) else { return Ok(false) };
    if (change.session, change.sequence) == (caller.session, caller.sequence) {
        return Ok(true);
    }
    let doing = change.steps.iter().map(|MemberStep { server, step, .. }| {
        let doing = match step {
            MembershipStep::Add => "added",
            MembershipStep::Promote => "promoted",
            MembershipStep::Demote => "made a learner",
            MembershipStep::Remove => "removed",
        };
        format!("server {server} is being {doing}")
    });
    let text = format!(
        "{}, and one change is made at a time: try again when that is done",
        doing.collect::<Vec<_>>().join(", ")
    );
    refuse(ErrorCode::MembershipRefused, text)
}

fn under_way(work: &Work) -> Option<Arc<MembershipChange>> {
    let mut found = None;
    work.state.scan::<MembershipChanges>(Bound::Unbounded, &mut |_, change| {
        found = Some(change.clone());
        false
    });
    found
}

fn check_address(work: &Work, server: ServerId, address: &MemberAddress) -> Result<(), Refusal> {
    if server.0 == 0 {
        return refuse(ErrorCode::BadArguments, "the ids of servers begin at 1");
    }
    for text in [&address.peer, &address.native].into_iter().chain(&address.zookeeper) {
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let port = port.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
        let max = work.limits.member_address_bytes_max as usize;
        if port.is_none() || text.len() > max || text.contains(char::is_whitespace) {
            let text = format!("`{text}` is no address: give host:port, in at most {max} bytes");
            return refuse(ErrorCode::BadArguments, text);
        }
    }
    if address.peer == address.native {
        return refuse(ErrorCode::BadArguments, "peers and clients need addresses of their own");
    }
    match others(work, server).into_iter().find(|(_, other)| overlaps(other, address)) {
        None => Ok(()),
        Some((other, _)) => {
            let text = format!("server {other} has one of these addresses");
            refuse(ErrorCode::BadArguments, text)
        }
    }
}

fn others(work: &Work, server: ServerId) -> Vec<(ServerId, MemberAddress)> {
    let mut found = Vec::new();
    work.state.scan::<Members>(Bound::Unbounded, &mut |other, member: &Arc<Member>| {
        found.extend(member.address.clone().filter(|_| *other != server).map(|at| (*other, at)));
        true
    });
    found
}

fn overlaps(one: &MemberAddress, other: &MemberAddress) -> bool {
    let ends = [&one.peer, &one.native];
    ends.contains(&&other.peer) || ends.contains(&&other.native)
}

pub(super) fn record_incarnation(
    work: &mut Work,
    server: ServerId,
    incarnation: Incarnation,
) -> Step {
    let known = work.state.get::<Members>(&server);
    if known.is_some_and(|member| member.incarnation == Some(incarnation) || member.is_removed()) {
        return Ok(Done::Nothing);
    }
    work.change(Change::RecordMember { server, incarnation });
    Ok(Done::Changed(None))
}

/// The voters that a cluster begins with.
pub(super) fn record_voters(work: &mut Work, voters: BTreeMap<ServerId, MemberAddress>) -> Step {
    let is_missing = |server: &ServerId| {
        let known = work.state.get::<Members>(server);
        known.is_none_or(|member| member.address.is_none() && !member.is_removed())
    };
    let missing: Vec<_> = voters.into_iter().filter(|(server, _)| is_missing(server)).collect();
    if missing.is_empty() {
        return Ok(Done::Nothing);
    }
    for (server, address) in missing {
        work.change(Change::RecordAddress { server, address });
        work.change(Change::RecordStanding { server, standing: MemberStanding::Voter });
    }
    config::publish(work);
    Ok(Done::Changed(None))
}

/// The end of the change under way, as the transaction that answers its request. `None`: it has
/// ended already.
pub(super) fn end(work: &mut Work, outcome: Result<(), Refusal>) -> Option<(Origin, Step)> {
    let change = under_way(work)?;
    let (session, sequence) = (change.session, change.sequence);
    if outcome.is_ok() {
        for MemberStep { server, step, address } in &change.steps {
            if let Some(address) = address.clone() {
                work.change(Change::RecordAddress { server: *server, address });
            }
            let before = work.state.get::<Members>(server).map(|member| member.standing);
            let standing = after(*step, before.unwrap_or_default());
            work.change(Change::RecordStanding { server: *server, standing });
        }
    }
    work.change(Change::EndMembership { session, done: outcome.is_ok() });
    if outcome.is_ok() && !change.steps.is_empty() {
        config::publish(work);
    }
    let reply = match outcome {
        Ok(()) if change.tells_config => Ok(told_config(work)),
        Ok(()) => Ok(Reply::Done),
        Err(refusal) if change.tells_config => {
            Err(Refusal { code: ErrorCode::MembersNotReady, ..refusal })
        }
        Err(refusal) => Err(refusal),
    };
    let origin = Origin::Session { session, sequence, forgotten: Vec::new() };
    Some((origin, Ok(Done::Changed(Some(reply)))))
}

fn told_config(work: &Work) -> Reply {
    let znode = work.state.znode(&config::path()).expect("a znode of the system is always there");
    Reply::Data(znode.data.clone(), znode.stat())
}
