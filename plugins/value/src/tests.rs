//! What the value promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "routing";

type Mount = TestMount<Value>;

fn blob(text: &str) -> Blob {
    Blob(text.as_bytes().to_vec())
}

fn set(mount: &mut Mount, text: &str) -> u64 {
    set_if(mount, text, None).done().version
}

fn set_if(mount: &mut Mount, text: &str, if_version: Option<u64>) -> Answer<Version> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "set", &Set { value: blob(text), if_version })
}

fn delete(mount: &mut Mount) -> bool {
    delete_if(mount, None).done()
}

fn delete_if(mount: &mut Mount, if_version: Option<u64>) -> Answer<bool> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "delete", &Delete { if_version })
}

fn wait(mount: &mut Mount, session: SessionId, after: u64) -> Answer<State> {
    mount.call(session, OBJECT, "await-change", &AwaitChange { after, wait_ms: None })
}

fn get(mount: &mut Mount) -> State {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "get", &()).done()
}

fn text_of(state: &State) -> Option<String> {
    let document = state.document.as_ref()?;
    Some(String::from_utf8(document.value.0.clone()).unwrap())
}

/// A mount, and a session.
fn mounted() -> (Mount, SessionId) {
    mounted_with(&Config::default())
}

fn mounted_with(config: &Config) -> (Mount, SessionId) {
    let mut mount = TestMount::with_config(config);
    let session = mount.session();
    (mount, session)
}

#[test]
fn a_value_is_told_with_its_version_and_who_set_it() {
    let (mut mount, a) = mounted();
    let wanted = Set { value: blob("one"), if_version: None };
    let told: Version = mount.call(a, OBJECT, "set", &wanted).done();
    let state = get(&mut mount);
    assert_eq!((state.version, text_of(&state).as_deref()), (told.version, Some("one")));
    let document = state.document.unwrap();
    assert_eq!((document.session, document.identity.as_str()), (a, "user-1"));
    assert_eq!((document.version, document.since_ms), (told.version, mount.now_ms()));
}

#[test]
fn no_value_is_version_0_and_no_znode() {
    let (mut mount, _) = mounted();
    assert_eq!(get(&mut mount), State { version: 0, document: None });
    assert!(!delete(&mut mount));
    mount.assert_nothing_left();
    set(&mut mount, "");
    assert_eq!(text_of(&get(&mut mount)).as_deref(), Some(""), "an empty value is a value");
    assert!(delete(&mut mount));
    mount.assert_nothing_left();
}

#[test]
fn versions_grow_and_do_not_come_back_after_a_deletion() {
    let (mut mount, _) = mounted();
    let first = set(&mut mount, "one");
    let second = set(&mut mount, "one");
    assert!(second > first, "the same value set again is another version");
    delete(&mut mount);
    assert!(set(&mut mount, "one") > second);
}

#[test]
fn a_value_is_set_only_at_the_version_given() {
    let (mut mount, _) = mounted();
    let first = set(&mut mount, "one");
    let second = set_if(&mut mount, "two", Some(first)).done().version;
    for stale in [first, second + 1, 0] {
        let refused = set_if(&mut mount, "three", Some(stale)).refused();
        assert_eq!(refused.code, "other-version");
        let told: State = quorate_recipe::codec::decode(&refused.detail).unwrap();
        assert_eq!((told.version, text_of(&told).as_deref()), (second, Some("two")));
    }
    assert_eq!(text_of(&get(&mut mount)).as_deref(), Some("two"));
}

#[test]
fn a_value_is_set_only_if_there_is_none() {
    let (mut mount, _) = mounted();
    set_if(&mut mount, "one", Some(0)).done();
    assert_eq!(set_if(&mut mount, "two", Some(0)).refused().code, "other-version");
    delete(&mut mount);
    set_if(&mut mount, "two", Some(0)).done();
}

#[test]
fn a_version_of_a_value_that_is_gone_is_another_one() {
    let (mut mount, _) = mounted();
    let first = set(&mut mount, "one");
    delete(&mut mount);
    let refused = set_if(&mut mount, "two", Some(first)).refused();
    assert_eq!(refused.code, "other-version");
    let told: State = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told, State { version: 0, document: None });
    mount.assert_nothing_left();
}

#[test]
fn a_value_is_deleted_only_at_the_version_given() {
    let (mut mount, _) = mounted();
    let first = set(&mut mount, "one");
    let second = set(&mut mount, "two");
    assert_eq!(delete_if(&mut mount, Some(first)).refused().code, "other-version");
    assert!(delete_if(&mut mount, Some(second)).done());
    assert_eq!(delete_if(&mut mount, Some(second)).refused().code, "other-version");
    assert!(!delete_if(&mut mount, Some(0)).done());
    mount.assert_nothing_left();
}

#[test]
fn whoever_waits_hears_of_the_first_value_of_changes_and_of_the_deletion() {
    let (mut mount, a) = mounted();
    let waiting = wait(&mut mount, a, 0).parked();
    let first = set(&mut mount, "one");
    let seen = mount.pushed(waiting).unwrap().unwrap();
    assert_eq!((seen.version, text_of(&seen).as_deref()), (first, Some("one")));
    let waiting = wait(&mut mount, a, first).parked();
    assert_eq!(mount.pushed(waiting), None);
    let second = set(&mut mount, "two");
    assert_eq!(mount.pushed(waiting).unwrap().unwrap().version, second);
    let waiting = wait(&mut mount, a, second).parked();
    delete(&mut mount);
    assert_eq!(mount.pushed(waiting), Some(Ok(State { version: 0, document: None })));
    mount.assert_nothing_left();
}

#[test]
fn what_changed_between_two_waits_is_told_at_once() {
    let (mut mount, a) = mounted();
    let first = set(&mut mount, "one");
    set(&mut mount, "two");
    let third = set(&mut mount, "three");
    let seen = wait(&mut mount, a, first).done();
    assert_eq!((seen.version, text_of(&seen).as_deref()), (third, Some("three")));
    delete(&mut mount);
    assert_eq!(wait(&mut mount, a, third).done().version, 0);
}

#[test]
fn what_changes_nothing_wakes_nobody() {
    let (mut mount, a) = mounted();
    let none = wait(&mut mount, a, 0).parked();
    delete(&mut mount);
    assert_eq!(mount.pushed(none), None);
    let first = set(&mut mount, "one");
    let waiting = wait(&mut mount, a, first).parked();
    assert_eq!(set_if(&mut mount, "two", Some(0)).refused().code, "other-version");
    assert_eq!(delete_if(&mut mount, Some(0)).refused().code, "other-version");
    assert_eq!(mount.pushed(waiting), None);
}

#[test]
fn a_try_does_not_wait() {
    let (mut mount, a) = mounted();
    let at_once = AwaitChange { after: 0, wait_ms: Some(0) };
    let refused = mount.call::<State>(a, OBJECT, "await-change", &at_once).refused();
    assert_eq!(refused.code, "unchanged");
    mount.assert_nothing_left();
    set(&mut mount, "one");
    mount.call::<State>(a, OBJECT, "await-change", &at_once).done();
}

#[test]
fn a_wait_ends_at_its_limit_and_not_before() {
    let (mut mount, a) = mounted();
    let limited = AwaitChange { after: 0, wait_ms: Some(5_000) };
    let short = mount.call::<State>(a, OBJECT, "await-change", &limited).parked();
    let long = wait(&mut mount, a, 0).parked();
    mount.advance(4_999);
    assert_eq!(mount.pushed(short), None);
    mount.advance(1);
    assert_eq!(mount.pushed(short).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.paths().len(), 2);
    set(&mut mount, "one");
    mount.pushed(long).unwrap().unwrap();
}

#[test]
fn waits_go_with_their_sessions_and_when_they_are_given_up() {
    let (mut mount, a) = mounted();
    let b = mount.session();
    wait(&mut mount, a, 0).parked();
    let given_up = wait(&mut mount, b, 0).parked();
    mount.close(a);
    mount.cancel(given_up);
    assert_eq!(mount.pushed(given_up).unwrap().unwrap_err().code, "cancelled");
    mount.assert_nothing_left();
}

#[test]
fn a_value_outlives_the_session_that_set_it() {
    let (mut mount, a) = mounted();
    let wanted = Set { value: blob("one"), if_version: None };
    mount.call::<Version>(a, OBJECT, "set", &wanted).done();
    mount.close(a);
    assert_eq!(text_of(&get(&mut mount)).as_deref(), Some("one"));
}

#[test]
fn values_have_a_largest_size() {
    let config = Config { value_bytes_max: 4, ..Config::default() };
    let (mut mount, _) = mounted_with(&config);
    assert_eq!(set_if(&mut mount, "fifth", None).refused().code, "value-too-large");
    mount.assert_nothing_left();
    set(&mut mount, "four");
    let huge = Config { value_bytes_max: VALUE_BYTES_MAX + 1, ..config };
    assert_eq!(mount.configure(&huge).unwrap_err().code, "bad-config");
    mount.configure(&Config { value_bytes_max: VALUE_BYTES_MAX, ..config }).unwrap();
    set(&mut mount, &"v".repeat(VALUE_BYTES_MAX as usize));
}

#[test]
fn so_many_may_wait_and_no_more() {
    let (mut mount, a) = mounted_with(&Config { waiters_max: 2, ..Config::default() });
    let version = set(&mut mount, "one");
    let first = wait(&mut mount, a, version).parked();
    wait(&mut mount, a, version).parked();
    assert_eq!(wait(&mut mount, a, version).refused().code, "waiters-full");
    mount.cancel(first);
    wait(&mut mount, a, version).parked();
}

#[test]
fn many_waiters_are_told_in_turn_of_the_last_state() {
    let (mut mount, a) = mounted_with(&Config { answered_max: 2, ..Config::default() });
    let tickets: Vec<_> = (0..5).map(|_| wait(&mut mount, a, 0).parked()).collect();
    let first = set(&mut mount, "one");
    let late = wait(&mut mount, a, first).parked();
    let told: Vec<_> = tickets.iter().filter_map(|ticket| mount.pushed(*ticket)).collect();
    assert_eq!(told.len(), 2);
    mount.advance(1);
    let second = set(&mut mount, "two");
    mount.advance(10);
    let versions: Vec<u64> = tickets
        .iter()
        .filter_map(|ticket| mount.pushed(*ticket))
        .map(|told| told.unwrap().version)
        .collect();
    assert_eq!(versions, [first, first, second]);
    assert_eq!(mount.pushed(late).unwrap().unwrap().version, second);
    assert_eq!(mount.paths(), ["routing", "routing/document"]);
    assert_eq!(mount.timers(), []);
}

#[test]
fn a_value_that_is_gone_again_does_not_keep_those_who_saw_it() {
    let (mut mount, a) = mounted_with(&Config { answered_max: 1, ..Config::default() });
    let of_none: Vec<_> = (0..3).map(|_| wait(&mut mount, a, 0).parked()).collect();
    let first = set(&mut mount, "one");
    let of_first: Vec<_> = (0..3).map(|_| wait(&mut mount, a, first).parked()).collect();
    delete(&mut mount);
    let late = wait(&mut mount, a, 0).parked();
    mount.advance(10);
    assert!(of_none.iter().all(|ticket| mount.pushed(*ticket).is_some()));
    for ticket in of_first {
        assert_eq!(mount.pushed(ticket).unwrap().unwrap().version, 0);
    }
    assert_eq!(mount.pushed(late), None, "it came after the deletion");
    assert_eq!(mount.timers(), []);
    mount.cancel(late);
    mount.assert_nothing_left();
}

#[test]
fn large_values_are_told_to_fewer_at_a_time() {
    let config = Config { value_bytes_max: VALUE_BYTES_MAX, ..Config::default() };
    let (mut mount, a) = mounted_with(&config);
    let tickets: Vec<_> = (0..10).map(|_| wait(&mut mount, a, 0).parked()).collect();
    set(&mut mount, &"v".repeat(VALUE_BYTES_MAX as usize));
    let told = tickets.iter().filter(|ticket| mount.pushed(**ticket).is_some()).count();
    assert_eq!(told, 3, "half a mebibyte at a time");
    mount.advance(10);
    let told = tickets.iter().filter(|ticket| mount.pushed(**ticket).is_some()).count();
    assert_eq!(told, 7);
}

#[test]
fn objects_are_values_of_their_own() {
    let (mut mount, a) = mounted();
    let waiting = AwaitChange { after: 0, wait_ms: None };
    let waiting = mount.call::<State>(a, "two", "await-change", &waiting).parked();
    let wanted = Set { value: blob("one"), if_version: None };
    mount.call::<Version>(a, "one", "set", &wanted).done();
    assert_eq!(mount.pushed(waiting), None);
    assert_eq!(mount.call::<State>(a, "two", "get", &()).done().version, 0);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a) = mounted();
    #[derive(Serialize)]
    struct Misspelt {
        value: Blob,
        version: u64,
    }
    let wanted = Misspelt { value: blob("one"), version: 0 };
    let answer: Answer<Version> = mount.call(a, OBJECT, "set", &wanted);
    assert_eq!(answer.refused().code, "bad-arguments");
    mount.assert_nothing_left();
}

/// Nobody waits who has seen another state than the one that stands, once time has passed.
#[test]
fn any_order_of_calls_and_ends_keeps_the_promises() {
    for seed in 0..60 {
        let mut random = seed;
        let answered_max = 1 + (seed % 3) as u32;
        let (mut mount, _) = mounted_with(&Config { answered_max, ..Config::default() });
        let mut sessions = [mount.session(), mount.session()];
        let mut version = 0;
        let mut waiting: Vec<(SessionId, Ticket<State>, u64)> = Vec::new();
        for _ in 0..100 {
            let at = (splitmix64(&mut random) % 2) as usize;
            match splitmix64(&mut random) % 12 {
                0..=1 => version = set(&mut mount, "some"),
                2 => version = set_if(&mut mount, "other", Some(version)).done().version,
                3 => {
                    assert_eq!(delete(&mut mount), version != 0, "seed {seed}");
                    version = 0;
                }
                4..=8 => {
                    let ticket = wait(&mut mount, sessions[at], version).parked();
                    waiting.push((sessions[at], ticket, version));
                }
                9 => {
                    mount.close(sessions[at]);
                    waiting.retain(|(session, ..)| *session != sessions[at]);
                    sessions[at] = mount.session();
                }
                _ => {
                    mount.advance(100);
                    waiting.retain(|(_, ticket, seen)| {
                        let told = mount.pushed(*ticket);
                        let must = *seen != version;
                        assert!(told.is_some() || !must, "not told, seed {seed}");
                        told.is_none()
                    });
                    let znodes = waiting.len() + usize::from(version != 0);
                    let object = usize::from(znodes > 0);
                    assert_eq!(mount.paths().len(), znodes + object, "seed {seed}");
                    assert_eq!(mount.timers(), [], "seed {seed}");
                }
            }
            assert_eq!(get(&mut mount).version, version, "seed {seed}");
        }
        assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Value>(folder);
}
