//! What the registry promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};
use std::collections::{BTreeMap, BTreeSet};

const OBJECT: &str = "payments";

type Mount = TestMount<Registry>;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// One that goes with its session.
fn owned(id: &str) -> Register {
    let (id, address) = (id.into(), "10.0.0.7".into());
    Register { id, address, port: 9_000, tags: set(&["eu"]), ..Register::default() }
}

/// One to be renewed every ten seconds, which stays for a minute.
fn leased(id: &str) -> Register {
    Register { ttl_ms: Some(10_000), remove_after_ms: Some(60_000), ..owned(id) }
}

fn try_register(mount: &mut Mount, session: SessionId, wanted: &Register) -> Answer<u64> {
    mount.call(session, OBJECT, "register", wanted)
}

fn register(mount: &mut Mount, session: SessionId, wanted: &Register) -> u64 {
    try_register(mount, session, wanted).done()
}

fn renew(
    mount: &mut Mount,
    session: SessionId,
    id: &str,
    registration: u64,
) -> Answer<Option<u64>> {
    let sign = Renew { id: id.into(), registration, healthy: true };
    mount.call(session, OBJECT, "renew", &sign)
}

fn report(mount: &mut Mount, session: SessionId, id: &str, registration: u64, healthy: bool) {
    let sign = Renew { id: id.into(), registration, healthy };
    let _: Option<u64> = mount.call(session, OBJECT, "renew", &sign).done();
}

fn deregister(mount: &mut Mount, session: SessionId, id: &str, registration: u64) -> Answer<()> {
    mount.call(session, OBJECT, "deregister", &Deregister { id: id.into(), registration })
}

fn instances(mount: &mut Mount) -> Instances {
    find(mount, &Filter::default())
}

fn find(mount: &mut Mount, filter: &Filter) -> Instances {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "instances", filter).done()
}

fn ids(found: &Instances) -> Vec<&str> {
    found.instances.iter().map(|instance| instance.id.as_str()).collect()
}

fn healthy(mount: &mut Mount) -> Vec<String> {
    let found = find(mount, &Filter { only_healthy: true, ..Filter::default() });
    found.instances.into_iter().map(|instance| instance.id).collect()
}

fn await_change(mount: &mut Mount, session: SessionId, after: u64) -> Answer<Change> {
    let wanted = AwaitChange { after, wait_ms: Some(300_000) };
    mount.call(session, OBJECT, "await-change", &wanted)
}

/// A mount, and two sessions.
fn mounted() -> (Mount, SessionId, SessionId) {
    mounted_with(Config::default())
}

fn mounted_with(config: Config) -> (Mount, SessionId, SessionId) {
    let mut mount = TestMount::with_config(&config);
    let (a, b) = (mount.session(), mount.session());
    (mount, a, b)
}

#[test]
fn what_was_registered_is_listed() {
    let (mut mount, a, b) = mounted();
    let metadata = BTreeMap::from([("version".to_owned(), "7".to_owned())]);
    let wanted = Register { metadata: metadata.clone(), ..owned("one") };
    let registration = register(&mut mount, a, &wanted);
    let last = register(&mut mount, b, &leased("another"));
    let found = instances(&mut mount);
    assert_eq!((found.revision, ids(&found)), (last, vec!["another", "one"]));
    let expected = Instance {
        id: "one".into(),
        address: "10.0.0.7".into(),
        port: 9_000,
        tags: set(&["eu"]),
        metadata,
        healthy: true,
        registration,
        identity: "user-1".into(),
        session: Some(a),
        ttl_ms: None,
        remove_after_ms: 600_000,
        since_ms: mount.now_ms(),
    };
    assert_eq!(found.instances[1], expected);
    let other = &found.instances[0];
    assert_eq!((other.session, other.ttl_ms, other.remove_after_ms), (None, Some(10_000), 60_000));
}

#[test]
fn instances_are_found_by_all_their_tags() {
    let (mut mount, a, _) = mounted();
    for (id, tags) in [("one", vec!["eu", "fast"]), ("two", vec!["eu"]), ("three", vec![])] {
        register(&mut mount, a, &Register { tags: set(&tags), ..owned(id) });
    }
    let tagged = |tags: &[&str]| Filter { tags: set(tags), only_healthy: false };
    assert_eq!(ids(&find(&mut mount, &tagged(&["eu"]))), ["one", "two"]);
    assert_eq!(ids(&find(&mut mount, &tagged(&["eu", "fast"]))), ["one"]);
    assert_eq!(ids(&find(&mut mount, &tagged(&["us"]))), [""; 0]);
    assert_eq!(ids(&find(&mut mount, &tagged(&[]))).len(), 3);
    let none = find(&mut mount, &tagged(&["us"]));
    assert_eq!(none.revision, instances(&mut mount).revision);
}

#[test]
fn an_instance_goes_with_its_session() {
    let (mut mount, a, b) = mounted();
    register(&mut mount, a, &owned("one"));
    register(&mut mount, a, &owned("two"));
    let before = register(&mut mount, b, &owned("three"));
    let waiting = await_change(&mut mount, b, before).parked();
    mount.close(a);
    let told = mount.pushed(waiting).unwrap().unwrap();
    assert!(told.revision > before);
    assert_eq!(
        (instances(&mut mount).revision, ids(&instances(&mut mount))),
        (told.revision, vec!["three"])
    );
    mount.close(b);
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn an_instance_with_a_time_to_live_outlives_its_session() {
    let (mut mount, a, b) = mounted();
    let registration = register(&mut mount, a, &leased("one"));
    mount.close(a);
    mount.advance(9_000);
    assert_eq!(renew(&mut mount, b, "one", registration).done(), Some(mount.now_ms() + 10_000));
    mount.advance(9_999);
    assert_eq!(healthy(&mut mount), ["one"]);
}

#[test]
fn an_instance_that_is_not_renewed_is_unhealthy_at_its_time_and_gone_at_its_time() {
    let (mut mount, a, b) = mounted();
    let registration = register(&mut mount, a, &leased("one"));
    let waiting = await_change(&mut mount, b, registration).parked();
    mount.advance(9_999);
    assert_eq!((healthy(&mut mount).len(), mount.pushed(waiting)), (1, None));
    mount.advance(1);
    let unhealthy = mount.pushed(waiting).unwrap().unwrap().revision;
    assert_eq!((healthy(&mut mount).len(), ids(&instances(&mut mount)).len()), (0, 1));
    let waiting = await_change(&mut mount, b, unhealthy).parked();
    mount.advance(59_999);
    assert_eq!((mount.pushed(waiting), ids(&instances(&mut mount)).len()), (None, 1));
    mount.advance(1);
    assert_eq!(mount.pushed(waiting).unwrap().unwrap().revision, 0);
    assert_eq!((mount.paths().len(), mount.timers().len()), (0, 0));
    assert_eq!(renew(&mut mount, a, "one", registration).refused().code, "not-registered");
}

#[test]
fn a_renewal_after_the_end_makes_it_healthy_again() {
    let (mut mount, a, _) = mounted();
    let registration = register(&mut mount, a, &leased("one"));
    mount.advance(15_000);
    let unhealthy = instances(&mut mount).revision;
    assert_eq!(renew(&mut mount, a, "one", registration).done(), Some(mount.now_ms() + 10_000));
    assert_eq!(healthy(&mut mount), ["one"]);
    assert!(instances(&mut mount).revision > unhealthy);
    mount.advance(9_999);
    assert_eq!(healthy(&mut mount), ["one"]);
    mount.advance(1);
    assert_eq!(healthy(&mut mount), [""; 0], "the new lease has its own end");
    mount.advance(60_000);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn a_renewal_that_changes_nothing_wakes_nobody() {
    let (mut mount, a, b) = mounted();
    let registration = register(&mut mount, a, &leased("one"));
    let before = instances(&mut mount).revision;
    let waiting = await_change(&mut mount, b, before).parked();
    for _ in 0..20 {
        mount.advance(7_000);
        renew(&mut mount, a, "one", registration).done();
    }
    assert_eq!((mount.pushed(waiting), instances(&mut mount).revision), (None, before));
    let due = mount.paths().iter().filter(|path| path.contains("/due-")).count();
    assert_eq!((due, mount.timers().len()), (1, 1));
    mount.advance(10_000);
    assert!(mount.pushed(waiting).is_some());
}

#[test]
fn an_instance_that_stays_for_longer_than_its_lease_is_looked_at_in_time() {
    let (mut mount, a, _) = mounted();
    let wanted = Register { remove_after_ms: Some(1_000), ..leased("one") };
    let registration = register(&mut mount, a, &wanted);
    mount.advance(10_500);
    renew(&mut mount, a, "one", registration).done();
    mount.advance(9_999);
    assert_eq!(healthy(&mut mount), ["one"]);
    mount.advance(1);
    assert_eq!((healthy(&mut mount).len(), ids(&instances(&mut mount)).len()), (0, 1));
    mount.advance(1_000);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn an_instance_may_go_as_soon_as_it_is_not_renewed() {
    let (mut mount, a, _) = mounted();
    register(&mut mount, a, &Register { remove_after_ms: Some(0), ..leased("one") });
    mount.advance(10_000);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn an_instance_may_stay_for_ever() {
    let (mut mount, a, _) = mounted();
    let wanted = Register { remove_after_ms: Some(u64::MAX), ..leased("one") };
    let registration = register(&mut mount, a, &wanted);
    mount.advance(10_000_000_000);
    assert_eq!((healthy(&mut mount).len(), ids(&instances(&mut mount)).len()), (0, 1));
    renew(&mut mount, a, "one", registration).done();
    assert_eq!(healthy(&mut mount), ["one"]);
}

#[test]
fn an_instance_may_report_itself_unwell() {
    let (mut mount, a, b) = mounted();
    let one = register(&mut mount, a, &owned("one"));
    let two = register(&mut mount, a, &leased("two"));
    let waiting = await_change(&mut mount, b, two).parked();
    report(&mut mount, a, "one", one, false);
    assert!(mount.pushed(waiting).is_some());
    report(&mut mount, a, "two", two, false);
    assert_eq!(healthy(&mut mount), [""; 0]);
    mount.advance(9_999);
    report(&mut mount, a, "two", two, false);
    mount.advance(9_999);
    assert_eq!(ids(&instances(&mut mount)), ["one", "two"]);
    report(&mut mount, a, "one", one, true);
    assert_eq!(healthy(&mut mount), ["one"]);
    mount.advance(60_001);
    assert_eq!(ids(&instances(&mut mount)), ["one"], "unwell and not renewed: gone at its time");
}

#[test]
fn an_instance_is_taken_out_by_its_registration() {
    let (mut mount, a, b) = mounted();
    let one = register(&mut mount, a, &owned("one"));
    let two = register(&mut mount, a, &leased("two"));
    assert_eq!(deregister(&mut mount, b, "one", two).refused().code, "not-registered");
    assert_eq!(deregister(&mut mount, b, "three", one).refused().code, "not-registered");
    deregister(&mut mount, b, "two", two).done();
    deregister(&mut mount, a, "one", one).done();
    assert_eq!((mount.paths().len(), mount.timers().len()), (0, 0));
    assert_eq!(deregister(&mut mount, a, "one", one).refused().code, "not-registered");
    assert_eq!(instances(&mut mount), Instances::default());
}

#[test]
fn an_identity_replaces_what_it_registered_and_nobody_elses() {
    let (mut mount, a, b) = mounted();
    let first = register(&mut mount, a, &leased("one"));
    let refused = try_register(&mut mount, b, &owned("one")).refused();
    let told: Instance = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((refused.code.as_str(), told.registration), ("id-taken", first));
    let second = register(&mut mount, a, &Register { port: 9_001, ..owned("one") });
    assert!(second > first);
    assert_eq!(renew(&mut mount, a, "one", first).refused().code, "not-registered");
    assert_eq!(mount.timers().len(), 0, "the lease has gone with the old registration");
    let third = register(&mut mount, a, &leased("one"));
    let found = instances(&mut mount);
    assert_eq!((found.instances.len(), found.instances[0].registration), (1, third));
    mount.close(a);
    assert_eq!(ids(&instances(&mut mount)), ["one"], "it goes with no session any more");
    assert!(mount.faults().is_empty());
}

#[test]
fn revisions_grow_also_over_an_empty_service() {
    let (mut mount, a, _) = mounted();
    let first = register(&mut mount, a, &owned("one"));
    deregister(&mut mount, a, "one", first).done();
    let second = register(&mut mount, a, &owned("one"));
    assert_eq!(instances(&mut mount).revision, second);
    assert!(second > first);
}

#[test]
fn a_wait_is_answered_by_the_next_change() {
    let (mut mount, a, b) = mounted();
    let waiting = await_change(&mut mount, b, 0).parked();
    let first = register(&mut mount, a, &owned("one"));
    assert_eq!(mount.pushed(waiting), Some(Ok(Change { revision: first })));
    assert_eq!(await_change(&mut mount, b, 0).done().revision, first);
    let waiting = await_change(&mut mount, b, first).parked();
    deregister(&mut mount, a, "one", first).done();
    assert_eq!(mount.pushed(waiting), Some(Ok(Change { revision: 0 })));
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn waits_end_at_their_limit_by_cancel_and_with_their_session() {
    let (mut mount, a, b) = mounted();
    let ended = await_change(&mut mount, a, 0).parked();
    mount.advance(299_999);
    assert_eq!(mount.pushed(ended), None);
    mount.advance(1);
    assert_eq!(mount.pushed(ended).unwrap().unwrap_err().code, "timed-out");
    let given_up = await_change(&mut mount, a, 0).parked();
    mount.cancel(given_up);
    let _ = await_change(&mut mount, b, 0).parked();
    assert_eq!(mount.paths().len(), 2);
    mount.close(b);
    assert_eq!(mount.paths(), [""; 0]);
    let wanted = AwaitChange { after: 0, wait_ms: Some(0) };
    let refused: Answer<Change> = mount.call(a, OBJECT, "await-change", &wanted);
    assert_eq!(refused.refused().code, "unchanged");
    assert!(mount.faults().is_empty());
}

#[test]
fn many_are_told_in_steps() {
    let (mut mount, a, b) = mounted();
    let first = register(&mut mount, a, &owned("one"));
    let waiting: Vec<_> = (0..500).map(|_| await_change(&mut mount, b, first).parked()).collect();
    let second = register(&mut mount, a, &leased("two"));
    assert_eq!(mount.parked_count(), 500 - SWEEP_MAX as usize, "one run tells a bounded number");
    let late = await_change(&mut mount, b, second).parked();
    mount.advance(10);
    for ticket in waiting {
        assert_eq!(mount.pushed(ticket), Some(Ok(Change { revision: second })));
    }
    assert_eq!((mount.pushed(late), mount.timers().len()), (None, 1));
}

#[test]
fn many_leases_that_end_at_once_are_looked_at_in_steps() {
    let (mut mount, a, _) = mounted();
    for at in 0..180 {
        register(&mut mount, a, &leased(&format!("i{at}")));
    }
    mount.advance(10_000);
    let at_once = healthy(&mut mount).len();
    assert_eq!(at_once, 140, "one run looks at a bounded number");
    mount.advance(10);
    assert_eq!(healthy(&mut mount).len(), 0);
    mount.advance(60_010);
    assert_eq!((mount.paths().len(), mount.timers().len()), (0, 0));
    assert!(mount.faults().is_empty());
}

#[test]
fn instances_and_those_who_wait_are_bounded() {
    let config = Config { instances_max: 2, watchers_max: 2, ..Config::default() };
    let (mut mount, a, b) = mounted_with(config);
    register(&mut mount, a, &owned("one"));
    let after = register(&mut mount, a, &leased("two"));
    let refused = try_register(&mut mount, b, &owned("three")).refused();
    assert_eq!(refused.code, "too-many-instances");
    let _ = await_change(&mut mount, a, after).parked();
    let waiting = await_change(&mut mount, b, after).parked();
    assert_eq!(await_change(&mut mount, b, after).refused().code, "too-many-watchers");
    mount.cancel(waiting);
    let _ = await_change(&mut mount, b, after).parked();
    register(&mut mount, a, &Register { port: 1, ..leased("two") });
    assert_eq!(mount.parked_count(), 0);
}

#[test]
fn what_an_instance_says_is_bounded() {
    let (mut mount, a, _) = mounted();
    for id in ["", "a/b", "a\nb", ".", "..", &"x".repeat(256)] {
        assert_eq!(try_register(&mut mount, a, &owned(id)).refused().code, "bad-id");
    }
    let long = "x".repeat(256);
    let tags: BTreeSet<String> = (0..33).map(|at| at.to_string()).collect();
    let metadata = BTreeMap::from([("k".to_owned(), "v".repeat(1_024))]);
    for wanted in [
        Register { address: long.clone(), ..owned("one") },
        Register { tags: set(&[&long]), ..owned("one") },
        Register { tags, ..owned("one") },
        Register { metadata, ..owned("one") },
    ] {
        assert_eq!(try_register(&mut mount, a, &wanted).refused().code, "too-large");
    }
    for ttl_ms in [0, 999, 86_400_001] {
        let wanted = Register { ttl_ms: Some(ttl_ms), ..owned("one") };
        assert_eq!(try_register(&mut mount, a, &wanted).refused().code, "out-of-range");
    }
    assert_eq!(mount.paths(), [""; 0]);
    for id in ["...", "a-b-1", "due-00000000000000000001-x", "é"] {
        let registration = register(&mut mount, a, &leased(id));
        renew(&mut mount, a, id, registration).done();
    }
    mount.advance(70_000);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn the_whole_list_fits_one_reply() {
    let (mut mount, a, _) = mounted_with(Config { instances_max: 5_000, ..Config::default() });
    let tags: BTreeSet<String> = (0..32).map(|at| at.to_string()).collect();
    let metadata: BTreeMap<String, String> =
        (0..30).map(|at| (at.to_string(), "".into())).collect();
    let mut count = 0;
    loop {
        let id = format!("{count}");
        let wanted = Register { tags: tags.clone(), metadata: metadata.clone(), ..leased(&id) };
        match try_register(&mut mount, a, &wanted) {
            Answer::Done(_) => count += 1,
            Answer::Refused(failure) => break assert_eq!(failure.code, "too-large"),
            Answer::Parked(ticket) => panic!("{ticket:?}"),
        }
    }
    let found = instances(&mut mount);
    assert_eq!(found.instances.len(), count);
    assert!(quorate_recipe::codec::encode(&found).unwrap().len() <= 192 << 10);
}

#[test]
fn so_many_instances_go_with_one_session_and_its_end_takes_them_all() {
    let (mut mount, a, b) = mounted();
    for at in 0..60 {
        register(&mut mount, a, &owned(&format!("i{at}")));
    }
    let refused = try_register(&mut mount, a, &owned("more")).refused();
    assert_eq!(refused.code, "too-many-instances");
    register(&mut mount, a, &leased("more"));
    register(&mut mount, b, &owned("other"));
    mount.close(a);
    assert_eq!(ids(&instances(&mut mount)), ["more", "other"]);
    assert!(mount.faults().is_empty());
}

#[test]
fn objects_are_services_of_their_own() {
    let (mut mount, a, b) = mounted();
    let one: u64 = mount.call(a, "one", "register", &owned("x")).done();
    let two: u64 = mount.call(b, "two", "register", &owned("x")).done();
    mount.close(a);
    let found: Instances = mount.call(b, "two", "instances", &Filter::default()).done();
    assert_eq!(found.revision, two);
    let gone: Instances = mount.call(b, "one", "instances", &Filter::default()).done();
    assert_eq!((gone, one < two), (Instances::default(), true));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let (mut mount, ..) = mounted();
    for config in [
        Config { ttl_ms_min: 0, ..Config::default() },
        Config { ttl_ms_max: 999, ..Config::default() },
    ] {
        assert_eq!(mount.configure(&config).unwrap_err().code, "bad-config");
    }
    mount.configure(&Config { ttl_ms_min: 1, ..Config::default() }).unwrap();
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    #[derive(Serialize)]
    struct Misspelt {
        name: &'static str,
    }
    let (mut mount, a, _) = mounted();
    let refused: Answer<u64> = mount.call(a, OBJECT, "register", &Misspelt { name: "one" });
    assert_eq!(refused.refused().code, "bad-arguments");
    assert_eq!(mount.paths(), [""; 0]);
}

/// What is known of an instance by the rules of the book.
struct Known {
    registration: u64,
    owner: Option<SessionId>,
    reported: bool,
    ends_ms: u64,
}

impl Known {
    fn is_there(&self, now_ms: u64) -> bool {
        self.owner.is_some() || now_ms < self.ends_ms + 60_000
    }

    fn is_healthy(&self, now_ms: u64) -> bool {
        self.reported && (self.owner.is_some() || now_ms < self.ends_ms)
    }
}

#[test]
fn any_order_of_calls_ends_and_time_keeps_the_promises() {
    for seed in 0..60 {
        let mut state = seed;
        let (mut mount, registrar, watching) = mounted();
        let mut model: BTreeMap<&str, Known> = BTreeMap::new();
        let mut owner = mount.session();
        let mut last = Instances::default();
        for _ in 0..80 {
            let id = ["a", "b", "c", "d", "e", "f"][(splitmix64(&mut state) % 6) as usize];
            // Two identities: each has its own ids.
            let is_owned = id < "d";
            let session = if is_owned { owner } else { registrar };
            let now_ms = mount.now_ms();
            match splitmix64(&mut state) % 8 {
                0..=2 => {
                    let wanted = if is_owned { owned(id) } else { leased(id) };
                    let registration = register(&mut mount, session, &wanted);
                    let owner = is_owned.then_some(session);
                    let ends_ms = now_ms + 10_000;
                    let known = Known { registration, owner, reported: true, ends_ms };
                    model.insert(id, known);
                }
                3 | 4 => {
                    let Some(known) = model.get_mut(id) else { continue };
                    known.reported = !splitmix64(&mut state).is_multiple_of(4);
                    known.ends_ms = now_ms + 10_000;
                    report(&mut mount, session, id, known.registration, known.reported);
                }
                5 => {
                    let Some(known) = model.remove(id) else { continue };
                    deregister(&mut mount, session, id, known.registration).done();
                }
                6 => mount.advance([3_000, 11_000, 50_000][(splitmix64(&mut state) % 3) as usize]),
                _ => {
                    mount.close(owner);
                    model.retain(|_, known| known.owner != Some(owner));
                    owner = mount.session();
                }
            }
            let now_ms = mount.now_ms();
            model.retain(|_, known| known.is_there(now_ms));
            let found = instances(&mut mount);
            let told: Vec<(&str, bool)> =
                found.instances.iter().map(|found| (found.id.as_str(), found.healthy)).collect();
            let expected: Vec<(&str, bool)> =
                model.iter().map(|(id, known)| (*id, known.is_healthy(now_ms))).collect();
            assert_eq!(told, expected, "seed {seed}");
            let is_same = found.instances == last.instances;
            assert!(is_same || found.revision != last.revision, "a change untold, seed {seed}");
            assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
            last = found;
        }
        for (id, known) in &model {
            let session = known.owner.unwrap_or(registrar);
            deregister(&mut mount, session, id, known.registration).done();
        }
        assert_eq!((mount.paths().len(), mount.timers().len()), (0, 0), "seed {seed}");
        assert_eq!(await_change(&mut mount, watching, 1).done().revision, 0);
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Registry>(folder);
}
