//! The record of members and the change that is under way.

use super::harness::{Client, Harness, code, path, set};
use crate::{Identity, Machine, MemberStep, MembershipStep, Prepared, Request};
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use quorate_types::request::{MembersWanted, WantedMember, WatchEventKind};
use quorate_types::{
    ErrorCode, Incarnation, MemberAddress, Operation, Refusal, Reply, ServerId, Stat, Zxid,
};

fn add(server: u64, port: u16) -> Operation {
    let (peer_address, native_address) = (format!("host:{port}"), format!("host:{}", port + 1));
    let zookeeper_address = None;
    Operation::AddMember {
        server: ServerId(server),
        peer_address,
        native_address,
        zookeeper_address,
    }
}

fn promote(server: u64) -> Operation {
    Operation::PromoteMember { server: ServerId(server) }
}

fn remove(server: u64) -> Operation {
    Operation::RemoveMember { server: ServerId(server) }
}

fn end(outcome: Result<(), Refusal>) -> Request {
    Request::EndMembership { outcome }
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
    let change = harness.machine.membership_change().unwrap();
    let step = MemberStep { server: ServerId(4), step: MembershipStep::Add, address: None };
    assert_eq!(change.steps, [step]);
    assert_eq!(harness.submit(asked.clone()), Prepared::Nothing, "the same request again waits");
    let other = harness.submit(ben.request(remove(4)));
    assert_eq!(refusal(&other), Some(ErrorCode::MembershipRefused), "one change at a time");
    let (_, applied) = harness.perform(end(Ok(())));
    assert_eq!(applied.replies[0].session, ann.session);
    assert_eq!(applied.replies[0].outcome, Ok(Reply::Done));
    assert_eq!(harness.machine.membership_change(), None);
    assert_eq!(harness.submit(end(Ok(()))), Prepared::Nothing, "it ends once");
    assert_eq!(harness.submit(asked), Prepared::Answer(Ok(Reply::Done)), "the kept reply");
}

#[test]
fn an_end_that_is_proposed_is_seen_before_it_is_applied() {
    let mut harness = Harness::new();
    let mut ann = harness.open("ann");
    begin(&mut harness, &mut ann, add(4, 10));
    let refused = Refusal::new(ErrorCode::MembershipRefused, "not now");
    harness.submit(end(Err(refused.clone())));
    assert!(harness.machine.membership_change().is_some());
    assert_eq!(harness.outstanding.membership_change(&harness.machine), None);
    assert_eq!(harness.apply_one().replies[0].outcome, Err(refused));
}

#[test]
fn a_removed_server_stays_on_record_and_its_id_is_refused() {
    let mut harness = Harness::new();
    let mut ann = harness.open("ann");
    begin(&mut harness, &mut ann, add(4, 10));
    harness.perform(end(Ok(())));
    let (server, incarnation) = (ServerId(4), Incarnation(9));
    harness.perform(Request::RecordMember { server, incarnation });
    let address = harness.machine.member(server).unwrap().address.clone();
    let peer = String::from("host:10");
    let native = String::from("host:11");
    assert_eq!(address, Some(MemberAddress { peer, native, zookeeper: None }));
    for operation in [add(5, 10), add(5, 11)] {
        let taken = harness.submit(ann.request(operation));
        assert_eq!(refusal(&taken), Some(ErrorCode::BadArguments), "the address is taken");
    }
    begin(&mut harness, &mut ann, remove(4));
    let (_, applied) = harness.perform(end(Ok(())));
    assert!(applied.members_changed);
    let image = harness.machine.encode_image();
    let read = Machine::decode_image(&image).unwrap();
    for machine in [&harness.machine, &read] {
        let member = machine.member(server).unwrap();
        assert!(member.is_removed() && member.address.is_none());
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
        harness.perform(end(Ok(())));
    }
    let prepared = harness.submit(ann.request(add(max + 1, 60_000)));
    assert_eq!(refusal(&prepared), Some(ErrorCode::QuotaExceeded));
    begin(&mut harness, &mut ann, add(1, 60_000));
}

fn at(server: u64, zookeeper: bool) -> MemberAddress {
    MemberAddress {
        peer: format!("db{server}:1"),
        native: format!("db{server}:2"),
        zookeeper: zookeeper.then(|| format!("db{server}:3")),
    }
}

fn wanted(server: u64, voter: bool) -> WantedMember {
    WantedMember { server: ServerId(server), address: at(server, true), voter }
}

/// A cluster of three that an administrator asks.
fn three(zookeeper: bool) -> (Harness, Client) {
    let mut harness = Harness::new();
    let voters = (1..=3).map(|server| (ServerId(server), at(server, zookeeper))).collect();
    let (_, applied) = harness.perform(Request::RecordVoters { voters });
    assert_eq!(applied.events.len(), 1, "all voters are told at once");
    let administrator = harness.open("a");
    (harness, administrator)
}

fn reconfigure(joining: &[WantedMember], leaving: &[u64]) -> Operation {
    let leaving = leaving.iter().copied().map(ServerId).collect();
    let wanted = MembersWanted::Changed { joining: joining.into(), leaving };
    Operation::Reconfigure { wanted, expected_version: None }
}

fn config_of(machine: &Machine) -> (String, Stat) {
    let get = Operation::Get { path: path("/zookeeper/config"), watch: false };
    match machine.read(&Identity::named("a"), &get) {
        Ok(Reply::Data(data, stat)) => (String::from_utf8(data.to_vec()).unwrap(), stat),
        other => panic!("{other:?}"),
    }
}

/// As someone with a proof that ACLs do not bind.
fn as_super(request: Request) -> Request {
    let Request::Client {
        session, epoch, sequence, oldest_unreplied, acknowledged, operation, ..
    } = request
    else {
        panic!("only clients prove themselves")
    };
    let mut identity = Identity::named("a");
    identity.proofs.push(("super".to_string(), String::new()));
    Request::Client {
        session,
        epoch,
        sequence,
        oldest_unreplied,
        acknowledged,
        identity,
        operation,
    }
}

#[test]
fn the_configuration_changes_with_the_members_and_only_with_them() {
    let (mut harness, mut ann) = three(true);
    let (text, stat) = config_of(&harness.machine);
    assert_eq!(
        text,
        "server.1=db1:1:2:participant;db1:3\nserver.2=db2:1:2:participant;db2:3\n\
         server.3=db3:1:2:participant;db3:3\nversion=1"
    );
    assert_eq!((stat.mzxid, stat.version), (Zxid(1), -1));
    begin(&mut harness, &mut ann, add(4, 10));
    assert_eq!(config_of(&harness.machine).1, stat, "it has not joined yet");
    let (_, applied) = harness.perform(end(Ok(())));
    let events: Vec<_> = applied.events.iter().map(|event| event.kind).collect();
    assert_eq!(events, [WatchEventKind::DataChanged]);
    let (text, stat) = config_of(&harness.machine);
    let last: Vec<&str> = text.lines().skip(3).collect();
    let version = format!("version={:x}", stat.mzxid.0);
    // A learner that says nothing of ZooKeeper clients hides nobody else from them.
    assert_eq!(last, ["server.4=host:10:11:observer", version.as_str()]);
    assert!(text.starts_with("server.1=db1:1:2:participant;db1:3\n"));
    let written = harness.submit(as_super(ann.request(set("/zookeeper/config", b"x", None))));
    assert_eq!(refusal(&written), Some(ErrorCode::BadArguments));
    assert_eq!(config_of(&harness.follower).0, text);
}

#[test]
fn clients_are_told_of_all_voters_or_of_none() {
    let (mut harness, mut ann) = three(true);
    begin(&mut harness, &mut ann, add(4, 10));
    harness.perform(end(Ok(())));
    begin(&mut harness, &mut ann, promote(4));
    harness.perform(end(Ok(())));
    let (text, _) = config_of(&harness.machine);
    assert!(text.contains("server.4=host:10:11:participant\n"), "{text}");
    assert!(!text.contains(';'), "{text}");
}

#[test]
fn a_reconfiguration_is_one_change_answered_with_the_configuration() {
    let (mut harness, mut ann) = three(true);
    let operation = reconfigure(&[wanted(4, true), wanted(5, false), wanted(2, false)], &[1, 9]);
    let asked = as_super(ann.request(operation));
    harness.perform(asked.clone());
    assert_eq!(harness.submit(asked), Prepared::Nothing, "the same request again waits");
    let change = harness.machine.membership_change().unwrap();
    let steps: Vec<_> = change.steps.iter().map(|step| (step.server.0, step.step)).collect();
    use MembershipStep::{Add, Demote, Promote, Remove};
    assert_eq!(steps, [(1, Remove), (4, Add), (4, Promote), (5, Add), (2, Demote)]);
    assert_eq!(change.enlisted(), [ServerId(4)]);
    let (_, applied) = harness.perform(end(Ok(())));
    let (text, stat) = config_of(&harness.machine);
    let told = Ok(Reply::Data(text.clone().into(), stat));
    assert_eq!(applied.replies[0].outcome, told);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "server.2=db2:1:2:observer;db2:3",
            "server.3=db3:1:2:participant;db3:3",
            "server.4=db4:1:2:participant;db4:3",
            "server.5=db5:1:2:observer;db5:3",
        ]
    );
    let image = Machine::decode_image(&harness.machine.encode_image()).unwrap();
    assert_eq!(image.digest(), harness.machine.digest(), "the kept reply is in the image");
    let exactly = MembersWanted::Exactly([wanted(3, true)].into());
    let only = Operation::Reconfigure { wanted: exactly, expected_version: Some(stat.mzxid.0) };
    harness.perform(as_super(ann.request(only)));
    let change = harness.machine.membership_change().unwrap();
    let steps: Vec<_> = change.steps.iter().map(|step| (step.server.0, step.step)).collect();
    assert_eq!(steps, [(2, Remove), (4, Remove), (5, Remove), (3, Add)]);
}

#[test]
fn what_came_of_nothing_changes_neither_members_nor_configuration() {
    let (mut harness, mut ann) = three(true);
    let before = config_of(&harness.machine);
    let moved = WantedMember { address: at(7, true), ..wanted(2, true) };
    harness.perform(as_super(ann.request(reconfigure(&[wanted(4, true), moved], &[1]))));
    let gone = Refusal::new(ErrorCode::MembershipRefused, "not in touch");
    let (_, applied) = harness.perform(end(Err(gone)));
    assert_eq!(code(&applied.replies[0].outcome), Some(ErrorCode::MembersNotReady));
    assert_eq!(config_of(&harness.machine), before);
    assert_eq!(harness.machine.member(ServerId(2)).unwrap().address, Some(at(2, true)));
    // The same again is not refused for what is left of the first attempt.
    harness.perform(as_super(ann.request(reconfigure(&[wanted(4, true)], &[]))));
    assert!(harness.machine.membership_change().is_some());
}

#[test]
fn reconfigurations_are_refused_in_zookeepers_order() {
    let (mut harness, mut ann) = three(true);
    let mut ben = harness.open("ben");
    let good = || reconfigure(&[wanted(4, false)], &[]);
    let stale = |operation| match operation {
        Operation::Reconfigure { wanted, .. } => {
            Operation::Reconfigure { wanted, expected_version: Some(77) }
        }
        other => other,
    };
    let twice = [wanted(4, false), WantedMember { address: at(4, true), ..wanted(5, false) }];
    let cases = [
        (stale(reconfigure(&[], &[])), ErrorCode::BadVersion),
        (stale(good()), ErrorCode::BadVersion),
        (reconfigure(&[], &[]), ErrorCode::BadArguments),
        (reconfigure(&[], &[1, 2, 3]), ErrorCode::BadArguments),
        (reconfigure(&twice, &[]), ErrorCode::BadArguments),
        (good(), ErrorCode::NotAllowed),
    ];
    for (operation, wanted) in cases {
        let prepared = harness.submit(ann.request(operation.clone()));
        assert_eq!(refusal(&prepared), Some(wanted), "{operation:?}");
    }
    harness.perform(as_super(ann.request(good())));
    let second = harness.submit(ben.request(stale(good())));
    assert_eq!(refusal(&second), Some(ErrorCode::MembershipRefused), "another is under way");
}
