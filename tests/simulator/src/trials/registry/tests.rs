//! Each kind of breach is found, and what a registry does is believed.

use super::super::said::{Said, answer, end};
use super::words::Instance;
use super::*;
use quorate_types::{ErrorCode, SessionId};

const REGISTER: (&str, &str) = ("a", "register");
const RENEW: (&str, &str) = ("a", "renew");
const DEREGISTER: (&str, &str) = ("a", "deregister");
const AWAIT: (&str, &str) = ("a", "await-change");
const INSTANCES: (&str, &str) = ("a", "instances");

fn said() -> Said {
    let config = Config {
        instances_max: 2,
        metadata_bytes_max: 4,
        ttl_ms_min: 100,
        ttl_ms_max: 1_000,
        remove_after_ms: 500,
        watchers_max: 2,
    };
    Said::to((TRIAL.promises)(&to_cbor(&config)))
}

fn wanted(id: &str, ttl_ms: Option<u64>) -> Register {
    let (id, address) = (id.into(), String::new());
    let (tags, metadata) = (["eu".into()].into(), [].into());
    Register { id, address, port: 1, tags, metadata, ttl_ms, remove_after_ms: None }
}

/// An instance as it is when session 1 has just registered it.
fn registered(said: &mut Said, id: &str, ttl_ms: Option<u64>) -> Instance {
    let registration = said.next();
    let wanted = wanted(id, ttl_ms);
    said.done(1, REGISTER, &wanted, &registration, vec![]).unwrap();
    Instance {
        id: wanted.id,
        address: wanted.address,
        port: 1,
        tags: wanted.tags,
        metadata: wanted.metadata,
        healthy: true,
        registration,
        identity: String::new(),
        session: ttl_ms.is_none().then_some(SessionId(1)),
        ttl_ms,
        remove_after_ms: 500,
        since_ms: said.now_ms,
    }
}

fn renew(instance: &Instance, healthy: bool) -> Renew {
    Renew { id: instance.id.clone(), registration: instance.registration, healthy }
}

fn deregister(instance: &Instance) -> Deregister {
    Deregister { id: instance.id.clone(), registration: instance.registration }
}

fn after(after: u64) -> AwaitChange {
    AwaitChange { after, wait_ms: None }
}

fn shows(said: &mut Said, revision: u64, instances: &[&Instance]) -> super::Result {
    let instances = instances.iter().map(|instance| (*instance).clone()).collect();
    let all = Filter { tags: [].into(), only_healthy: false };
    let told = to_cbor(&Instances { revision, instances }).to_vec();
    said.told(9, INSTANCES, &all, Ok(told))
}

fn pass(said: &mut Said, time_ms: u64) {
    said.now_ms += time_ms;
    said.event(&[], vec![]).unwrap();
}

#[test]
fn what_a_registry_does_is_believed() {
    let mut said = said();
    let waits = said.parked(9, AWAIT, &after(0));
    let revision = said.next();
    let answers = vec![answer(&waits, &Change { revision })];
    said.done(1, REGISTER, &wanted("i0", None), &revision, answers).unwrap();
    let mut leased = registered(&mut said, "i1", Some(100));
    let due_ms = said.now_ms + 150;
    pass(&mut said, 50);
    said.done(2, RENEW, &renew(&leased, true), &Some(due_ms), vec![]).unwrap();
    let revision = said.next();
    said.event(&[1], vec![]).unwrap();
    shows(&mut said, revision, &[&leased]).unwrap();
    pass(&mut said, 100);
    leased.healthy = false;
    shows(&mut said, revision + 1, &[&leased]).unwrap();
    pass(&mut said, 500);
    shows(&mut said, 0, &[]).unwrap();
    said.told(1, RENEW, &renew(&leased, true), Err("not-registered")).unwrap();
    said.promises.finish(&[]).unwrap();
}

#[test]
fn instances_that_go_or_fall_ill_early_or_never_are_found() {
    let mut early = said();
    let mut leased = registered(&mut early, "i0", Some(100));
    let revision = early.zxid;
    pass(&mut early, 99);
    leased.healthy = false;
    shows(&mut early, revision, &[&leased]).unwrap_err();

    let mut gone = said();
    let leased = registered(&mut gone, "i0", Some(100));
    pass(&mut gone, 550);
    shows(&mut gone, 0, &[]).unwrap_err();
    gone.told(1, RENEW, &renew(&leased, true), Err("not-registered")).unwrap_err();

    // Its end is seen an hour late: it stays for its time from then on.
    let mut away = said();
    registered(&mut away, "i0", Some(100));
    pass(&mut away, 3_600_000);
    shows(&mut away, 0, &[]).unwrap_err();
    pass(&mut away, 500);
    shows(&mut away, 0, &[]).unwrap();

    let mut bound = said();
    let instance = registered(&mut bound, "i0", None);
    shows(&mut bound, instance.registration, &[&instance]).unwrap();
    bound.event(&[1], vec![]).unwrap();
    shows(&mut bound, instance.registration, &[&instance]).unwrap_err();

    let mut eternal = said();
    let leased = registered(&mut eternal, "i0", Some(100));
    pass(&mut eternal, 200);
    eternal.zxid += 100;
    pass(&mut eternal, 10_000);
    shows(&mut eternal, leased.registration, &[&leased]).unwrap_err();
}

#[test]
fn instances_that_come_back_are_found() {
    let mut said = said();
    let mut leased = registered(&mut said, "i0", Some(100));
    let revision = said.zxid;
    pass(&mut said, 100);
    leased.healthy = false;
    shows(&mut said, revision + 1, &[&leased]).unwrap();
    leased.healthy = true;
    shows(&mut said, revision, &[&leased]).unwrap_err();
    pass(&mut said, 500);
    said.told(1, DEREGISTER, &deregister(&leased), Err("not-registered")).unwrap();
    let due_ms = Some(said.now_ms + 100);
    said.done(1, RENEW, &renew(&leased, true), &due_ms, vec![]).unwrap_err();
}

#[test]
fn registrations_that_are_replaced_are_found_in_use() {
    let mut said = said();
    let first = registered(&mut said, "i0", None);
    let second = registered(&mut said, "i0", None);
    let none: Option<u64> = None;
    said.done(1, RENEW, &renew(&first, true), &none, vec![]).unwrap_err();
    said.done(1, DEREGISTER, &deregister(&first), &(), vec![]).unwrap_err();
    said.told(1, RENEW, &renew(&second, true), Err("not-registered")).unwrap_err();
    said.told(1, RENEW, &renew(&first, true), Err("not-registered")).unwrap();
    let other = Instance { identity: "somebody".into(), ..second.clone() };
    let detail = to_cbor(&other);
    said.told_with(1, REGISTER, &wanted("i0", None), Err("id-taken"), detail).unwrap_err();
    registered(&mut said, "i1", None);
    let registration = said.next();
    said.done(1, REGISTER, &wanted("i2", None), &registration, vec![]).unwrap_err();
}

#[test]
fn revisions_that_stand_still_or_go_back_are_found() {
    let mut said = said();
    let first = registered(&mut said, "i0", None);
    shows(&mut said, first.registration, &[&first]).unwrap();
    let second = registered(&mut said, "i1", None);
    shows(&mut said, first.registration, &[&first, &second]).unwrap_err();
    shows(&mut said, first.registration - 1, &[&first, &second]).unwrap_err();
    shows(&mut said, second.registration, &[&first]).unwrap_err();
    shows(&mut said, second.registration, &[&first, &second]).unwrap();
}

#[test]
fn callers_who_are_not_told_or_told_for_nothing_are_found() {
    let mut missed = said();
    missed.parked(9, AWAIT, &after(0));
    let registration = missed.next();
    missed.done(1, REGISTER, &wanted("i0", None), &registration, vec![]).unwrap_err();

    let mut idle = said();
    let instance = registered(&mut idle, "i0", None);
    let waits = idle.parked(9, AWAIT, &after(instance.registration));
    let answers = vec![answer(&waits, &Change { revision: idle.next() })];
    let none: Option<u64> = None;
    idle.done(1, RENEW, &renew(&instance, true), &none, answers).unwrap_err();

    let mut woken = said();
    let instance = registered(&mut woken, "i0", Some(1_000));
    let waits = woken.parked(9, AWAIT, &after(instance.registration));
    let answers = vec![answer(&waits, &Change { revision: woken.next() })];
    woken.event(&[], answers).unwrap_err();
    woken.event(&[], vec![end(&waits, ErrorCode::TimedOut)]).unwrap_err();
}

#[test]
fn refusals_and_znodes_that_were_never_right_are_found() {
    let mut said = said();
    said.told(1, REGISTER, &wanted("i0", None), Err("too-many-instances")).unwrap_err();
    said.told(1, REGISTER, &wanted("i0", Some(100)), Err("out-of-range")).unwrap_err();
    said.told(1, REGISTER, &wanted("i0", Some(99)), Err("out-of-range")).unwrap();
    said.told(1, REGISTER, &wanted("i0", None), Err("bad-id")).unwrap_err();
    let instance = registered(&mut said, "i0", None);
    said.told(1, AWAIT, &after(0), Err("too-many-watchers")).unwrap_err();
    let unchanged = AwaitChange { after: 0, wait_ms: Some(0) };
    said.told(1, AWAIT, &unchanged, Err("unchanged")).unwrap_err();
    said.promises.finish(&[]).unwrap_err();
    said.done(1, DEREGISTER, &deregister(&instance), &(), vec![]).unwrap();
    said.promises.finish(&["a".into(), "a/service".into()]).unwrap_err();
}
