//! The record of members and the change that is under way.

use super::harness::{Client, Harness, code};
use crate::{Machine, MembershipStep, Prepared, Request};
use alloc::format;
use alloc::string::String;
use quorate_types::{ErrorCode, Incarnation, MemberAddress, Operation, Refusal, Reply, ServerId};

fn add(server: u64, port: u16) -> Operation {
    let (peer_address, native_address) = (format!("host:{port}"), format!("host:{}", port + 1));
    Operation::AddMember { server: ServerId(server), peer_address, native_address }
}

fn promote(server: u64) -> Operation {
    Operation::PromoteMember { server: ServerId(server) }
}

fn remove(server: u64) -> Operation {
    Operation::RemoveMember { server: ServerId(server) }
}

fn end(server: u64, outcome: Result<(), Refusal>) -> Request {
    Request::EndMembership { server: ServerId(server), outcome }
}

/// Begins a change; gives its request, to ask it again.
fn begin(harness: &mut Harness, client: &mut Client, operation: Operation) -> Request {
    let request = client.request(operation);
    let (_, applied) = harness.perform(request.clone());
    assert_eq!(applied.replies, [], "nothing is answered before the end");
    request
}

fn refusal(prepared: &Prepared) -> Option<ErrorCode> {
    let Prepared::Transaction(transaction) = prepared else { unreachable!("{prepared:?}") };
    assert_eq!(transaction.changes, []);
    transaction.reply.as_ref().and_then(code)
}

#[test]
fn a_change_is_under_way_until_its_end_answers_it_once() {
    let mut harness = Harness::new();
    let (mut ann, mut ben) = (harness.open("ann"), harness.open("ben"));
    let asked = begin(&mut harness, &mut ann, add(4, 10));
    let (server, change) = harness.machine.membership_change().unwrap();
    assert_eq!((server, change.step), (ServerId(4), MembershipStep::Add));
    assert_eq!(harness.submit(asked.clone()), Prepared::Nothing, "the same request again waits");
    let other = harness.submit(ben.request(remove(4)));
    assert_eq!(refusal(&other), Some(ErrorCode::MembershipRefused), "one change at a time");
    let (_, applied) = harness.perform(end(4, Ok(())));
    assert_eq!(applied.replies[0].session, ann.session);
    assert_eq!(applied.replies[0].outcome, Ok(Reply::Done));
    assert_eq!(harness.machine.membership_change(), None);
    assert_eq!(harness.submit(end(4, Ok(()))), Prepared::Nothing, "it ends once");
    assert_eq!(harness.submit(asked), Prepared::Answer(Ok(Reply::Done)), "the kept reply");
}

#[test]
fn an_end_that_is_proposed_is_seen_before_it_is_applied() {
    let mut harness = Harness::new();
    let mut ann = harness.open("ann");
    begin(&mut harness, &mut ann, add(4, 10));
    let refused = Refusal::new(ErrorCode::MembershipRefused, "not now");
    harness.submit(end(4, Err(refused.clone())));
    assert!(harness.machine.membership_change().is_some());
    assert_eq!(harness.outstanding.membership_change(&harness.machine), None);
    assert_eq!(harness.apply_one().replies[0].outcome, Err(refused));
}

#[test]
fn a_removed_server_stays_on_record_and_its_id_is_refused() {
    let mut harness = Harness::new();
    let mut ann = harness.open("ann");
    begin(&mut harness, &mut ann, add(4, 10));
    harness.perform(end(4, Ok(())));
    let (server, incarnation) = (ServerId(4), Incarnation(9));
    harness.perform(Request::RecordMember { server, incarnation });
    let address = harness.machine.member(server).unwrap().address.clone();
    let peer = String::from("host:10");
    assert_eq!(address, Some(MemberAddress { peer, native: String::from("host:11") }));
    for operation in [add(5, 10), add(5, 11)] {
        let taken = harness.submit(ann.request(operation));
        assert_eq!(refusal(&taken), Some(ErrorCode::BadArguments), "the address is taken");
    }
    begin(&mut harness, &mut ann, remove(4));
    let (_, applied) = harness.perform(end(4, Ok(())));
    assert!(applied.members_changed);
    let image = harness.machine.encode_image();
    let read = Machine::decode_image(&image).unwrap();
    for machine in [&harness.machine, &read] {
        let member = machine.member(server).unwrap();
        assert!(member.removed && member.address.is_none());
    }
    let again = harness.submit(ann.request(add(4, 20)));
    assert_eq!(refusal(&again), Some(ErrorCode::MembershipRefused));
    assert_eq!(refusal(&harness.submit(ann.request(promote(4)))), Some(ErrorCode::NoMember));
    let repeated = harness.submit(ann.request(remove(4)));
    assert_eq!(repeated, Prepared::Answer(Ok(Reply::Done)));
}

#[test]
fn the_record_is_bounded() {
    let mut harness = Harness::new();
    let mut ann = harness.open("ann");
    let max = u64::from(harness.machine.limits().members_max);
    for server in 1..=max {
        let port = u16::try_from(server * 2).unwrap();
        begin(&mut harness, &mut ann, add(server, port));
        harness.perform(end(server, Ok(())));
    }
    let prepared = harness.submit(ann.request(add(max + 1, 60_000)));
    assert_eq!(refusal(&prepared), Some(ErrorCode::QuotaExceeded));
    begin(&mut harness, &mut ann, add(1, 60_000));
}
