//! Several locks at once: all or none, in order of arrival, and nobody waits in a circle.

use super::*;
use std::collections::BTreeMap;

type Mount = TestMount<Lock>;

fn wanting(with: &[&str]) -> AcquireAll {
    let with = with.iter().map(ToString::to_string).collect();
    AcquireAll { with, ..AcquireAll::default() }
}

fn acquire_all(mount: &mut Mount, session: SessionId, names: &[&str]) -> Answer<Grant> {
    mount.call(session, names[0], "acquire-all", &wanting(&names[1..]))
}

fn one(mount: &mut Mount, session: SessionId, name: &str) -> Answer<Grant> {
    mount.call(session, name, "acquire", &Acquire::default())
}

fn release_one(mount: &mut Mount, session: SessionId, name: &str, grant: Grant) {
    mount.call::<()>(session, name, "release", &Release { fence: grant.fence }).done();
}

fn release_all(
    mount: &mut Mount,
    session: SessionId,
    names: &[&str],
    grant: Grant,
) -> Answer<Released> {
    let with = names[1..].iter().map(ToString::to_string).collect();
    let given = ReleaseAll { fence: grant.fence, with: Some(with) };
    mount.call(session, names[0], "release-all", &given)
}

fn holder_of(mount: &mut Mount, name: &str) -> Option<Holder> {
    let anyone = mount.session();
    mount.call(anyone, name, "holder", &()).done()
}

#[track_caller]
fn pushed(mount: &mut Mount, ticket: Ticket<Grant>) -> Grant {
    mount.pushed(ticket).expect("it is its turn").unwrap()
}

#[track_caller]
fn nothing_is_left(mount: &Mount) {
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!((mount.parked_count(), mount.timers().len()), (0, 0));
    assert!(mount.faults().is_empty(), "{:?}", mount.faults());
}

#[test]
fn free_locks_are_had_at_once_under_one_fence() {
    let (mut mount, a, ..) = mounted();
    let granted = acquire_all(&mut mount, a, &["b", "c", "a", "c"]).done();
    for name in ["a", "b", "c"] {
        let held = holder_of(&mut mount, name).unwrap();
        assert_eq!((held.session, held.fence), (a, granted.fence));
        assert_eq!(held.with, ["a", "b", "c"]);
    }
    let given = release_all(&mut mount, a, &["c", "a", "b"], granted).done();
    assert_eq!(given.released, ["a", "b", "c"]);
    nothing_is_left(&mount);
}

#[test]
fn all_are_waited_for_and_none_is_had_before() {
    let (mut mount, a, b, c) = mounted();
    let first = one(&mut mount, a, "a").done();
    let second = one(&mut mount, b, "b").done();
    let both = acquire_all(&mut mount, c, &["a", "b"]).parked();
    release_one(&mut mount, a, "a", first);
    assert_eq!(mount.pushed(both), None);
    assert_eq!(holder_of(&mut mount, "a"), None, "kept for it, and not held");
    release_one(&mut mount, b, "b", second);
    let granted = pushed(&mut mount, both);
    assert!(granted.fence > second.fence);
    release_all(&mut mount, c, &["b", "a"], granted).done();
    nothing_is_left(&mount);
}

#[test]
fn two_who_want_the_same_in_other_orders_do_not_block_one_another() {
    let (mut mount, a, b, c) = mounted();
    let held = acquire_all(&mut mount, a, &["a", "b", "c"]).done();
    let first = acquire_all(&mut mount, b, &["a", "b"]).parked();
    let second = acquire_all(&mut mount, c, &["b", "a"]).parked();
    release_all(&mut mount, a, &["a", "b", "c"], held).done();
    let granted = pushed(&mut mount, first);
    assert_eq!(mount.pushed(second), None);
    release_all(&mut mount, b, &["a", "b"], granted).done();
    let granted = pushed(&mut mount, second);
    release_all(&mut mount, c, &["a", "b"], granted).done();
    nothing_is_left(&mount);
}

#[test]
fn a_circle_of_claims_is_served_one_after_the_other() {
    let (mut mount, a, b, c) = mounted();
    let holder = mount.session();
    let held = acquire_all(&mut mount, holder, &["a", "b", "c"]).done();
    let circle = [(a, ["a", "b"]), (b, ["b", "c"]), (c, ["c", "a"])];
    let waiting = circle.map(|(session, names)| acquire_all(&mut mount, session, &names).parked());
    release_all(&mut mount, holder, &["a", "b", "c"], held).done();
    for (served, ((session, names), ticket)) in circle.into_iter().zip(waiting).enumerate() {
        let granted = pushed(&mut mount, ticket);
        assert_eq!(mount.parked_count(), 2 - served);
        release_all(&mut mount, session, &names, granted).done();
    }
    nothing_is_left(&mount);
}

#[test]
fn single_claims_and_several_keep_one_order_in_each_line() {
    let (mut mount, a, b, c) = mounted();
    let on_a = one(&mut mount, a, "a").done();
    let before = one(&mut mount, b, "b").done();
    let both = acquire_all(&mut mount, c, &["a", "b"]).parked();
    let behind = one(&mut mount, b, "b").parked();
    release_one(&mut mount, b, "b", before);
    assert_eq!(mount.pushed(behind), None, "it does not pass, though `b` is free");
    let answer: Answer<Grant> =
        mount.call(b, "b", "acquire", &Acquire { wait_ms: Some(0), ..Acquire::default() });
    assert_eq!(answer.refused().code, "held");
    release_one(&mut mount, a, "a", on_a);
    let granted = pushed(&mut mount, both);
    release_one(&mut mount, c, "b", granted);
    let behind = pushed(&mut mount, behind);
    release_one(&mut mount, c, "a", granted);
    release_one(&mut mount, b, "b", behind);
    nothing_is_left(&mount);
}

#[test]
fn a_wait_for_all_that_ends_lets_the_others_go_on_everywhere() {
    for how in ["limit", "cancel", "session"] {
        let (mut mount, a, b, c) = mounted();
        let on_a = one(&mut mount, a, "a").done();
        let wanted = AcquireAll { wait_ms: Some(1_000), ..wanting(&["a", "c"]) };
        let all: Ticket<Grant> = mount.call(b, "b", "acquire-all", &wanted).parked();
        let behind = ["a", "b", "c"].map(|name| one(&mut mount, c, name).parked());
        for ticket in behind {
            assert_eq!(mount.pushed(ticket), None);
        }
        match how {
            "limit" => mount.advance(1_000),
            "cancel" => mount.cancel(all),
            _ => mount.close(b),
        }
        let ended = mount.pushed(all).map(|answer| answer.unwrap_err().code);
        let expected = [("limit", Some("timed-out")), ("cancel", Some("cancelled"))];
        let expected = expected.iter().find(|(known, _)| *known == how).and_then(|row| row.1);
        assert_eq!(ended.as_deref(), expected);
        assert_eq!(mount.pushed(behind[0]), None, "{how}");
        let on_b = pushed(&mut mount, behind[1]);
        let on_c = pushed(&mut mount, behind[2]);
        release_one(&mut mount, a, "a", on_a);
        let next = pushed(&mut mount, behind[0]);
        for (name, grant) in [("a", next), ("b", on_b), ("c", on_c)] {
            release_one(&mut mount, c, name, grant);
        }
        nothing_is_left(&mount);
    }
}

#[test]
fn the_end_of_a_session_frees_all_its_locks_for_one_who_wants_them_all() {
    let (mut mount, a, b, _) = mounted();
    acquire_all(&mut mount, a, &["a", "b"]).done();
    one(&mut mount, a, "c").done();
    acquire_all(&mut mount, a, &["a", "c"]).parked();
    let all = acquire_all(&mut mount, b, &["c", "b", "a"]).parked();
    mount.close(a);
    pushed(&mut mount, all);
    mount.close(b);
    nothing_is_left(&mount);
}

#[test]
fn a_delay_on_one_lock_is_waited_for_by_who_wants_several() {
    let mut mount = Mount::with_config(&Config { delay_ms: 1_000, ..Config::default() });
    let (a, b) = (mount.session(), mount.session());
    one(&mut mount, a, "a").done();
    mount.close(a);
    let both = acquire_all(&mut mount, b, &["b", "a"]).parked();
    mount.advance(999);
    assert_eq!(mount.pushed(both), None);
    mount.advance(1);
    let granted = pushed(&mut mount, both);
    release_all(&mut mount, b, &["a", "b"], granted).done();
    nothing_is_left(&mount);
}

#[test]
fn holds_of_several_end_at_their_limit() {
    let (mut mount, a, b, c) = mounted();
    let wanted = AcquireAll { hold_ms: Some(500), note: "n".into(), ..wanting(&["b"]) };
    let _: Grant = mount.call(a, "a", "acquire-all", &wanted).done();
    assert_eq!(holder_of(&mut mount, "b").unwrap().note, "n");
    let both = acquire_all(&mut mount, b, &["b", "a"]).parked();
    mount.advance(499);
    assert_eq!(mount.pushed(both), None);
    mount.advance(1);
    let granted = pushed(&mut mount, both);
    let limited: Ticket<Grant> = mount.call(c, "a", "acquire-all", &wanted).parked();
    release_all(&mut mount, b, &["b", "a"], granted).done();
    pushed(&mut mount, limited);
    mount.advance(500);
    nothing_is_left(&mount);
    let nothing = AcquireAll { hold_ms: Some(0), ..wanting(&["b"]) };
    let answer: Answer<Grant> = mount.call(a, "a", "acquire-all", &nothing);
    assert_eq!(answer.refused().code, "out-of-range");
}

#[test]
fn a_limit_holds_also_when_the_lock_was_passed_on_from_another_lock() {
    let (mut mount, a, b, c) = mounted();
    let on_a = one(&mut mount, a, "a").done();
    let both = acquire_all(&mut mount, b, &["a", "b"]).parked();
    let limited = Acquire { hold_ms: Some(500), ..Acquire::default() };
    let next: Ticket<Grant> = mount.call(c, "b", "acquire", &limited).parked();
    let last = one(&mut mount, a, "b").parked();
    mount.cancel(both);
    pushed(&mut mount, next);
    mount.advance(499);
    assert_eq!(mount.pushed(last), None);
    mount.advance(1);
    let last = pushed(&mut mount, last);
    release_one(&mut mount, a, "b", last);
    release_one(&mut mount, a, "a", on_a);
    nothing_is_left(&mount);
}

#[test]
fn what_is_still_held_is_given_back() {
    let (mut mount, a, b, _) = mounted();
    let granted = acquire_all(&mut mount, a, &["a", "b", "c"]).done();
    let displaced: Option<Holder> = mount.call(b, "b", "break", &Break::default()).done();
    assert_eq!(displaced.unwrap().with, ["a", "b", "c"], "only this one is taken");
    let other = one(&mut mount, b, "b").done();
    let refused = release_all(&mut mount, b, &["a", "c"], granted).refused();
    assert_eq!(refused.code, "not-holder");
    let given = release_all(&mut mount, a, &["b", "a", "c"], granted).done();
    assert_eq!(given.released, ["a", "c"]);
    let refused = release_all(&mut mount, a, &["b", "a", "c"], granted).refused();
    assert_eq!(refused.code, "not-holder");
    release_one(&mut mount, b, "b", other);
    nothing_is_left(&mount);
}

#[test]
fn the_grant_itself_says_what_to_give_back() {
    let (mut mount, a, b, _) = mounted();
    let granted = acquire_all(&mut mount, a, &["a", "b", "c"]).done();
    mount.configure(&Config { objects_max: 1, ..Config::default() }).unwrap();
    let refused = mount.call::<Released>(b, "b", "release-all", &granted).refused();
    assert_eq!(refused.code, "not-holder");
    let given: Released = mount.call(a, "b", "release-all", &granted).done();
    assert_eq!(given.released, ["a", "b", "c"]);
    assert_eq!(
        mount.call::<Released>(a, "b", "release-all", &granted).refused().code,
        "not-holder"
    );
    let alone = one(&mut mount, a, "b").done();
    let given: Released = mount.call(a, "b", "release-all", &alone).done();
    assert_eq!(given.released, ["b"]);
    nothing_is_left(&mount);
}

#[test]
fn a_try_for_all_does_not_wait_and_leaves_no_trace() {
    let (mut mount, a, b, _) = mounted();
    let held = one(&mut mount, a, "b").done();
    let wanted = AcquireAll { wait_ms: Some(0), ..wanting(&["b", "c"]) };
    let refused = mount.call::<Grant>(b, "a", "acquire-all", &wanted).refused();
    assert_eq!(refused.code, "held");
    let told: Option<Holder> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.unwrap().session, a);
    assert_eq!(mount.paths(), ["b", "b/holder"]);
    release_one(&mut mount, a, "b", held);
    nothing_is_left(&mount);
}

#[test]
fn the_number_of_locks_at_once_is_bounded() {
    let mut mount = Mount::with_config(&Config { objects_max: 2, ..Config::default() });
    let a = mount.session();
    let refused = acquire_all(&mut mount, a, &["a", "b", "c"]).refused();
    assert_eq!(refused.code, "too-many-objects");
    acquire_all(&mut mount, a, &["a", "b", "a"]).done();
    for wrong in [0, 17] {
        let refused = mount.configure(&Config { objects_max: wrong, ..Config::default() });
        assert_eq!(refused.unwrap_err().code, "bad-config");
    }
}

#[test]
fn names_that_are_no_locks_are_refused() {
    let (mut mount, a, ..) = mounted();
    for wrong in ["", "b/c", ".."] {
        assert_eq!(acquire_all(&mut mount, a, &["a", wrong]).refused().code, "bad-path");
    }
    assert_eq!(acquire_all(&mut mount, a, &["", "a"]).refused().code, "no-object");
    nothing_is_left(&mount);
}

#[test]
fn a_full_line_at_one_lock_refuses_all() {
    let mut mount = Mount::with_config(&Config { waiters_max: 1, ..Config::default() });
    let (a, b) = (mount.session(), mount.session());
    one(&mut mount, a, "b").done();
    one(&mut mount, b, "b").parked();
    assert_eq!(acquire_all(&mut mount, a, &["a", "b"]).refused().code, "line-full");
    assert_eq!(mount.paths().iter().filter(|path| path.starts_with('a')).count(), 0);
}

#[test]
fn the_line_of_a_lock_that_is_free_is_no_longer_than_another() {
    let mut mount = Mount::with_config(&Config { waiters_max: 1, ..Config::default() });
    let (a, b) = (mount.session(), mount.session());
    one(&mut mount, a, "b").done();
    acquire_all(&mut mount, b, &["a", "b"]).parked();
    assert_eq!(one(&mut mount, a, "a").refused().code, "line-full");
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
struct Asked {
    session: SessionId,
    wants: Vec<&'static str>,
    ticket: Ticket<Grant>,
}

/// Locks kept by the rules of the book: a claim is served when all it wants is free and nobody before
/// it wants any of it.
#[derive(Default)]
struct Model {
    held: BTreeMap<&'static str, (SessionId, u64)>,
    newest_fence: BTreeMap<&'static str, u64>,
    line: Vec<Asked>,
}

impl Model {
    fn is_served(&self, wants: &[&str], before: usize) -> bool {
        let is_wanted =
            |name: &&str| self.line[..before].iter().any(|own| own.wants.contains(name));
        wants.iter().all(|name| !self.held.contains_key(name) && !is_wanted(name))
    }

    fn take(&mut self, session: SessionId, wants: &[&'static str], grant: Grant) {
        for name in wants {
            assert_eq!(
                self.held.insert(name, (session, grant.fence)),
                None,
                "two holders of {name}"
            );
            let before = self.newest_fence.insert(name, grant.fence);
            assert!(before.is_none_or(|before| before < grant.fence), "a fence went back");
        }
    }

    fn settle(&mut self, mount: &mut Mount) {
        let mut place = 0;
        while place < self.line.len() {
            let asked = self.line[place].clone();
            if self.is_served(&asked.wants, place) {
                self.line.remove(place);
                let grant = pushed(mount, asked.ticket);
                self.take(asked.session, &asked.wants, grant);
            } else {
                assert_eq!(mount.pushed(asked.ticket), None, "told out of turn: {asked:?}");
                place += 1;
            }
        }
        for name in NAMES {
            let listed = holder_of(mount, name).map(|holder| (holder.session, holder.fence));
            assert_eq!(listed, self.held.get(name).copied(), "{name}");
        }
        assert!(mount.faults().is_empty(), "{:?}", mount.faults());
        let places: usize = self.line.iter().map(|asked| asked.wants.len()).sum();
        let waiters = mount.paths().iter().filter(|path| path.contains("waiter")).count();
        assert_eq!(waiters, places);
        assert_eq!(mount.paths().is_empty(), self.held.is_empty() && places == 0);
    }
}

#[test]
fn any_order_of_calls_and_ends_serves_every_claim_in_its_turn() {
    for seed in 0..100 {
        let mut state = seed;
        let mut mount = Mount::new();
        let mut model = Model::default();
        let mut sessions: Vec<SessionId> = (0..4).map(|_| mount.session()).collect();
        for _ in 0..60 {
            let at = (splitmix64(&mut state) % 4) as usize;
            let chosen = splitmix64(&mut state) as usize;
            match splitmix64(&mut state) % 10 {
                0..=4 => step_acquire(&mut mount, &mut model, sessions[at], &mut state),
                5..=7 if !model.held.is_empty() => step_release(&mut mount, &mut model, chosen),
                8 if !model.line.is_empty() => {
                    mount.cancel(model.line.remove(chosen % model.line.len()).ticket);
                }
                9 => {
                    let ended = std::mem::replace(&mut sessions[at], mount.session());
                    mount.close(ended);
                    model.line.retain(|asked| asked.session != ended);
                    model.held.retain(|_, (session, _)| *session != ended);
                }
                _ => {}
            }
            model.settle(&mut mount);
        }
        // Whatever is asked for is had in the end: nobody waits in a circle.
        while !model.held.is_empty() {
            step_release(&mut mount, &mut model, 0);
            model.settle(&mut mount);
        }
        assert!(model.line.is_empty());
        nothing_is_left(&mount);
    }
}

fn step_acquire(mount: &mut Mount, model: &mut Model, session: SessionId, state: &mut u64) {
    let chosen = splitmix64(state);
    let mut wants: Vec<&'static str> = NAMES
        .into_iter()
        .enumerate()
        .filter(|(at, _)| chosen >> at & 1 == 1)
        .map(|own| own.1)
        .collect();
    if wants.is_empty() {
        wants.push("a");
    }
    let turn = (chosen >> 8) as usize % wants.len();
    wants.rotate_left(turn);
    let answer = match wants[..] {
        [name] if chosen >> 16 & 1 == 1 => one(mount, session, name),
        _ => acquire_all(mount, session, &wants),
    };
    let is_served = model.is_served(&wants, model.line.len());
    match answer {
        Answer::Done(grant) => {
            assert!(is_served);
            model.take(session, &wants, grant);
        }
        Answer::Parked(ticket) => {
            assert!(!is_served);
            model.line.push(Asked { session, wants, ticket });
        }
        Answer::Refused(failure) => panic!("{failure}"),
    }
}

/// One lock is given back, or with it all that were had with it.
fn step_release(mount: &mut Mount, model: &mut Model, chosen: usize) {
    let held: Vec<_> = model.held.iter().map(|(name, own)| (*name, *own)).collect();
    let (name, (session, fence)) = held[chosen % held.len()];
    let grant = Grant { fence };
    if chosen.is_multiple_of(3) {
        release_one(mount, session, name, grant);
        model.held.remove(name);
        return;
    }
    let given = release_all(mount, session, &NAMES, grant).done();
    let together: Vec<&str> =
        held.iter().filter(|(_, own)| *own == (session, fence)).map(|own| own.0).collect();
    assert_eq!(given.released, together);
    model.held.retain(|_, own| *own != (session, fence));
}
