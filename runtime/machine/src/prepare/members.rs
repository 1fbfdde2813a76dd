//! The record of members, and changes of the membership from their beginning to their answer.
//!
//! Comes in: what clients ask, what the leader saw, how a change ended. Goes out: changes of the
//! record. Invariant: one change at a time, and it stays on record with the request it answers
//! until a leader ends it; so a change survives its leader and is answered once. Must never: judge
//! what consensus knows, such as who votes or has caught up; the leader does so when it ends one.

use super::{Caller, Done, Step, Work, refuse};
use crate::change::Change;
use crate::items::{Member, MembershipStep};
use crate::tables::{Members, MembershipChanges, State};
use crate::transaction::Origin;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;
use quorate_types::{ErrorCode, Incarnation, MemberAddress, Operation, Refusal, Reply, ServerId};

pub(super) fn add(work: &mut Work, caller: Caller<'_>, operation: &Operation) -> Step {
    let Operation::AddMember { server, peer_address, native_address } = operation else {
        return refuse(ErrorCode::Unimplemented, "this is no addition of a member");
    };
    let address = MemberAddress { peer: peer_address.clone(), native: native_address.clone() };
    check_address(work, *server, &address)?;
    let known = work.state.get::<Members>(server);
    if known.as_ref().is_some_and(|member| member.removed) {
        let text = format!(
            "server {server} was removed and its id is never used again: add the server under \
             another id, with an empty data directory"
        );
        return refuse(ErrorCode::MembershipRefused, text);
    }
    if known.is_none() && work.count_at_most::<Members>() >= work.limits.members_max as usize {
        let text = format!("a cluster has at most {} members", work.limits.members_max);
        return refuse(ErrorCode::QuotaExceeded, text);
    }
    if is_under_way(work, caller)? {
        return Ok(Done::Nothing);
    }
    if known.and_then(|member| member.address.clone()).as_ref() != Some(&address) {
        work.change(Change::RecordAddress { server: *server, address });
    }
    begin(work, caller, *server, MembershipStep::Add)
}

pub(super) fn promote(work: &mut Work, caller: Caller<'_>, server: ServerId) -> Step {
    match work.state.get::<Members>(&server) {
        Some(member) if !member.removed => {}
        Some(_) => {
            let text = format!("server {server} was removed");
            return refuse(ErrorCode::NoMember, text);
        }
        None => return no_member(server),
    }
    if is_under_way(work, caller)? {
        return Ok(Done::Nothing);
    }
    begin(work, caller, server, MembershipStep::Promote)
}

pub(super) fn remove(work: &mut Work, caller: Caller<'_>, server: ServerId) -> Step {
    match work.state.get::<Members>(&server) {
        Some(member) if member.removed => return Ok(Done::Answer(Ok(Reply::Done))),
        Some(_) => {}
        None => return no_member(server),
    }
    if is_under_way(work, caller)? {
        return Ok(Done::Nothing);
    }
    begin(work, caller, server, MembershipStep::Remove)
}

fn no_member(server: ServerId) -> Step {
    let text = format!("server {server} is no member: see the members, or add it first");
    refuse(ErrorCode::NoMember, text)
}

fn begin(work: &mut Work, caller: Caller<'_>, server: ServerId, step: MembershipStep) -> Step {
    let (session, sequence) = (caller.session, caller.sequence);
    work.change(Change::BeginMembership { server, step, session, sequence });
    Ok(Done::Changed(None))
}

/// Whether this very request is under way already: it is answered when the change ends. Another
/// one under way is a refusal.
fn is_under_way(work: &Work, caller: Caller<'_>) -> Result<bool, Refusal> {
    let mut under_way = None;
    work.state.scan::<MembershipChanges>(Bound::Unbounded, &mut |server, change| {
        under_way = Some((*server, *change));
        false
    });
    let Some((server, change)) = under_way else { return Ok(false) };
    if (change.session, change.sequence) == (caller.session, caller.sequence) {
        return Ok(true);
    }
    let doing = match change.step {
        MembershipStep::Add => "added",
        MembershipStep::Promote => "promoted",
        MembershipStep::Remove => "removed",
    };
    let text = format!(
        "server {server} is being {doing}, and one change is made at a time: try again when that is \
         done"
    );
    refuse(ErrorCode::MembershipRefused, text)
}

fn check_address(work: &Work, server: ServerId, address: &MemberAddress) -> Result<(), Refusal> {
    if server.0 == 0 {
        return refuse(ErrorCode::BadArguments, "the ids of servers begin at 1");
    }
    for text in [&address.peer, &address.native] {
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
    if known.is_some_and(|member| member.incarnation == Some(incarnation) || member.removed) {
        return Ok(Done::Nothing);
    }
    work.change(Change::RecordMember { server, incarnation });
    Ok(Done::Changed(None))
}

pub(super) fn record_address(work: &mut Work, server: ServerId, address: MemberAddress) -> Step {
    let known = work.state.get::<Members>(&server);
    if known.is_some_and(|member| member.address.is_some() || member.removed) {
        return Ok(Done::Nothing);
    }
    work.change(Change::RecordAddress { server, address });
    Ok(Done::Changed(None))
}

/// The end of the change under way, as the transaction that answers its request. `None`: it has
/// ended already.
pub(super) fn end(
    work: &mut Work,
    server: ServerId,
    outcome: Result<(), Refusal>,
) -> Option<(Origin, Step)> {
    let change = work.state.get::<MembershipChanges>(&server)?;
    work.change(Change::EndMembership { server, done: outcome.is_ok() });
    let (session, sequence) = (change.session, change.sequence);
    let origin = Origin::Session { session, sequence, forgotten: Vec::new() };
    Some((origin, Ok(Done::Changed(Some(outcome.map(|()| Reply::Done))))))
}
