//! What the lock promises, one test for each promise: one lock, taken and given back. How it is held
//! is in `holding`, several at once in `several`, with clients of ZooKeeper in `shared`.

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

mod holding;
mod several;
mod shared;
mod simulated;

const OBJECT: &str = "orders";

fn acquire(mount: &mut TestMount<Lock>, session: SessionId) -> Answer<Grant> {
    mount.call(session, OBJECT, "acquire", &Acquire::default())
}

fn acquire_within(mount: &mut TestMount<Lock>, session: SessionId, ms: u64) -> Answer<Grant> {
    let wanted = Acquire { wait_ms: Some(ms), ..Acquire::default() };
    mount.call(session, OBJECT, "acquire", &wanted)
}

fn release(mount: &mut TestMount<Lock>, session: SessionId, fence: u64) -> Answer<()> {
    mount.call(session, OBJECT, "release", &Release { fence })
}

fn holder(mount: &mut TestMount<Lock>) -> Option<Holder> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "holder", &()).done()
}

/// A mount, and three sessions.
fn mounted() -> (TestMount<Lock>, SessionId, SessionId, SessionId) {
    let mut mount = TestMount::new();
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

#[test]
fn a_free_lock_is_granted_at_once() {
    let (mut mount, a, ..) = mounted();
    let granted = acquire(&mut mount, a).done();
    let held = holder(&mut mount).unwrap();
    assert_eq!((held.session, held.fence), (a, granted.fence));
    assert_eq!(held.since_ms, mount.now_ms());
    assert_eq!(held.identity, "user-1");
}

#[test]
fn a_free_lock_has_no_holder_and_leaves_no_znode() {
    let (mut mount, a, ..) = mounted();
    assert_eq!(holder(&mut mount), None);
    let granted = acquire(&mut mount, a).done();
    assert_eq!(mount.paths(), ["orders", "orders/holder"]);
    release(&mut mount, a, granted.fence).done();
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!(holder(&mut mount), None);
}

#[test]
fn callers_get_the_lock_in_order_of_arrival() {
    let mut mount = TestMount::<Lock>::new();
    let first = mount.session();
    let mut held = acquire(&mut mount, first).done();
    let mut owner = first;
    let sessions: Vec<SessionId> = (0..20).map(|_| mount.session()).collect();
    let tickets: Vec<_> =
        sessions.iter().map(|session| acquire(&mut mount, *session).parked()).collect();
    for (position, ticket) in tickets.iter().enumerate() {
        assert_eq!(mount.pushed(*ticket), None, "nobody is granted out of turn");
        release(&mut mount, owner, held.fence).done();
        held = mount.pushed(*ticket).expect("the next in line").unwrap();
        owner = sessions[position];
        assert_eq!(holder(&mut mount).unwrap().session, owner);
    }
    release(&mut mount, owner, held.fence).done();
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!(mount.parked_count(), 0);
}

#[test]
fn every_fence_is_greater_than_those_before() {
    let (mut mount, a, b, _) = mounted();
    let mut last = 0;
    for _ in 0..5 {
        let granted = acquire(&mut mount, a).done();
        let waiting = acquire(&mut mount, b).parked();
        release(&mut mount, a, granted.fence).done();
        let passed_on = mount.pushed(waiting).unwrap().unwrap();
        assert!(last < granted.fence && granted.fence < passed_on.fence);
        last = passed_on.fence;
        release(&mut mount, b, passed_on.fence).done();
    }
}

#[test]
fn the_pushed_fence_is_the_one_the_holder_is_listed_with() {
    let (mut mount, a, b, _) = mounted();
    let granted = acquire(&mut mount, a).done();
    let waiting = acquire(&mut mount, b).parked();
    release(&mut mount, a, granted.fence).done();
    let passed_on = mount.pushed(waiting).unwrap().unwrap();
    assert_eq!(holder(&mut mount).unwrap().fence, passed_on.fence);
}

#[test]
fn claims_of_one_session_exclude_one_another() {
    let (mut mount, a, ..) = mounted();
    let first = acquire(&mut mount, a).done();
    let second = acquire(&mut mount, a).parked();
    assert_eq!(mount.pushed(second), None);
    release(&mut mount, a, first.fence).done();
    let second = mount.pushed(second).unwrap().unwrap();
    assert_eq!(release(&mut mount, a, first.fence).refused().code, "not-holder");
    release(&mut mount, a, second.fence).done();
}

#[test]
fn a_try_does_not_wait_and_says_who_holds() {
    let (mut mount, a, b, _) = mounted();
    let wanted = Acquire { note: "nightly report".into(), ..Acquire::default() };
    let granted: Grant = mount.call(a, OBJECT, "acquire", &wanted).done();
    let before = mount.paths().len();
    let refused = acquire_within(&mut mount, b, 0).refused();
    assert_eq!(refused.code, "held");
    let told: Holder = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((told.session, told.note.as_str()), (a, "nightly report"));
    assert_eq!((mount.paths().len(), mount.parked_count()), (before, 0));
    release(&mut mount, a, granted.fence).done();
    acquire_within(&mut mount, b, 0).done();
}

#[test]
fn a_wait_ends_at_its_limit_and_not_before() {
    let (mut mount, a, b, c) = mounted();
    let granted = acquire(&mut mount, a).done();
    let short = acquire_within(&mut mount, b, 5_000).parked();
    let long = acquire(&mut mount, c).parked();
    mount.advance(4_999);
    assert_eq!(mount.pushed(short), None);
    mount.advance(1);
    assert_eq!(mount.pushed(short).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.paths().len(), 3, "only its own place in line is gone");
    release(&mut mount, a, granted.fence).done();
    mount.pushed(long).unwrap().unwrap();
}

#[test]
fn a_wait_limit_that_overflows_waits_for_ever() {
    let (mut mount, a, b, _) = mounted();
    let granted = acquire(&mut mount, a).done();
    let waiting = acquire_within(&mut mount, b, u64::MAX).parked();
    mount.advance(1_000_000_000);
    release(&mut mount, a, granted.fence).done();
    mount.pushed(waiting).unwrap().unwrap();
}

#[test]
fn a_wait_given_up_leaves_the_line() {
    let (mut mount, a, b, c) = mounted();
    let granted = acquire(&mut mount, a).done();
    let given_up = acquire(&mut mount, b).parked();
    let next = acquire(&mut mount, c).parked();
    mount.cancel(given_up);
    assert_eq!(mount.pushed(given_up).unwrap().unwrap_err().code, "cancelled");
    release(&mut mount, a, granted.fence).done();
    mount.pushed(next).unwrap().unwrap();
    assert!(mount.faults().is_empty());
}

#[test]
fn the_end_of_the_holders_session_passes_the_lock_on() {
    let (mut mount, a, b, _) = mounted();
    let granted = acquire(&mut mount, a).done();
    let waiting = acquire(&mut mount, b).parked();
    mount.close(a);
    assert!(mount.pushed(waiting).unwrap().unwrap().fence > granted.fence);
    mount.close(b);
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn the_end_of_a_waiting_session_moves_the_others_up() {
    let (mut mount, a, b, c) = mounted();
    let granted = acquire(&mut mount, a).done();
    acquire(&mut mount, b).parked();
    let waiting = acquire(&mut mount, c).parked();
    mount.close(b);
    assert_eq!(mount.pushed(waiting), None, "the holder still holds");
    release(&mut mount, a, granted.fence).done();
    mount.pushed(waiting).unwrap().unwrap();
}

#[test]
fn a_session_that_ends_gets_none_of_its_other_claims() {
    let (mut mount, a, b, _) = mounted();
    acquire(&mut mount, a).done();
    let own_second = acquire(&mut mount, a).parked();
    let own_third = acquire(&mut mount, a).parked();
    let other = acquire(&mut mount, b).parked();
    mount.close(a);
    assert_eq!(mount.pushed(own_second), None);
    assert_eq!(mount.pushed(own_third), None);
    let granted = mount.pushed(other).unwrap().unwrap();
    assert_eq!(holder(&mut mount).unwrap().session, b);
    assert_eq!(mount.paths(), ["orders", "orders/holder"]);
    release(&mut mount, b, granted.fence).done();
    assert!(mount.faults().is_empty());
}

#[test]
fn only_the_holder_releases_and_only_under_its_fence() {
    let (mut mount, a, b, _) = mounted();
    let granted = acquire(&mut mount, a).done();
    assert_eq!(release(&mut mount, b, granted.fence).refused().code, "not-holder");
    assert_eq!(release(&mut mount, a, granted.fence + 1).refused().code, "not-holder");
    assert_eq!(holder(&mut mount).unwrap().session, a, "a refused release changes nothing");
    release(&mut mount, a, granted.fence).done();
}

#[test]
fn a_lock_is_not_released_twice() {
    let (mut mount, a, b, _) = mounted();
    let granted = acquire(&mut mount, a).done();
    release(&mut mount, a, granted.fence).done();
    assert_eq!(release(&mut mount, a, granted.fence).refused().code, "not-holder");
    let next = acquire(&mut mount, b).done();
    assert_eq!(release(&mut mount, a, granted.fence).refused().code, "not-holder");
    assert_eq!(holder(&mut mount).unwrap().fence, next.fence);
}

#[test]
fn a_refused_release_tells_who_holds() {
    let (mut mount, a, b, _) = mounted();
    acquire(&mut mount, a).done();
    let refused = release(&mut mount, b, 0).refused();
    let told: Option<Holder> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.unwrap().session, a);
}

#[test]
fn objects_are_locks_of_their_own() {
    let (mut mount, a, b, _) = mounted();
    let wanted = Acquire::default();
    let one: Grant = mount.call(a, "one", "acquire", &wanted).done();
    let two: Grant = mount.call(b, "two", "acquire", &wanted).done();
    assert!(two.fence > one.fence);
    let refused = mount.call::<()>(b, "one", "release", &Release { fence: one.fence }).refused();
    assert_eq!(refused.code, "not-holder");
    mount.close(a);
    assert_eq!(mount.paths(), ["two", "two/holder"]);
}

#[test]
fn one_end_of_a_session_frees_every_lock_it_holds() {
    let (mut mount, a, b, _) = mounted();
    let mut waiting = Vec::new();
    for object in ["one", "two", "three"] {
        let _: Grant = mount.call(a, object, "acquire", &Acquire::default()).done();
        let answer: Answer<Grant> = mount.call(b, object, "acquire", &Acquire::default());
        waiting.push(answer.parked());
    }
    mount.close(a);
    for ticket in waiting {
        mount.pushed(ticket).unwrap().unwrap();
    }
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a, ..) = mounted();
    #[derive(Serialize)]
    struct Misspelt {
        wait: u64,
    }
    let answer: Answer<Grant> = mount.call(a, OBJECT, "acquire", &Misspelt { wait: 0 });
    let refused = answer.refused();
    assert_eq!(refused.code, "bad-arguments");
    assert!(refused.message.contains("wait_ms"), "{}", refused.message);
    assert_eq!(mount.paths(), [""; 0], "and the object has not come into being");
}

#[test]
fn acquire_needs_no_arguments() {
    let (mut mount, a, ..) = mounted();
    let outcome = mount.call_bytes(a, OBJECT, "acquire", &[]).unwrap();
    assert!(matches!(outcome, quorate_recipe::Outcome::Done(_)));
}

/// A lock kept by the rules of the book: who is in line, who holds.
#[derive(Default)]
struct Model {
    holder: Option<(SessionId, u64)>,
    line: Vec<(SessionId, Ticket<Grant>, Option<u64>)>,
    last_fence: u64,
}

impl Model {
    fn granted(&mut self, session: SessionId, grant: Grant, seed: u64) {
        assert_eq!(self.holder, None, "two holders, seed {seed}");
        assert!(grant.fence > self.last_fence, "a fence went back, seed {seed}");
        self.last_fence = grant.fence;
        self.holder = Some((session, grant.fence));
    }

    /// The lock is free: the first in line, and nobody else, has been told.
    fn pass_on(&mut self, mount: &mut TestMount<Lock>, seed: u64) {
        self.holder = None;
        if !self.line.is_empty() {
            let (session, ticket, _) = self.line.remove(0);
            let pushed = mount.pushed(ticket);
            let grant = pushed.unwrap_or_else(|| panic!("the first in line waits, seed {seed}"));
            self.granted(session, grant.unwrap(), seed);
        }
        self.nobody_else_was_told(mount, seed);
    }

    fn nobody_else_was_told(&self, mount: &mut TestMount<Lock>, seed: u64) {
        for (_, ticket, _) in &self.line {
            assert_eq!(mount.pushed(*ticket), None, "told out of turn, seed {seed}");
        }
        let listed = holder(mount).map(|holder| (holder.session, holder.fence));
        assert_eq!(listed, self.holder, "seed {seed}");
        let znodes = self.line.len() + usize::from(self.holder.is_some());
        let object = usize::from(znodes > 0);
        assert_eq!(mount.paths().len(), znodes + object, "znodes left over, seed {seed}");
        assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
    }
}

#[test]
fn any_order_of_calls_ends_and_time_keeps_the_promises() {
    for seed in 0..60 {
        let mut state = seed;
        let mut mount = TestMount::<Lock>::new();
        let mut model = Model::default();
        let mut sessions: Vec<SessionId> = (0..4).map(|_| mount.session()).collect();
        for _ in 0..60 {
            let at = (splitmix64(&mut state) % sessions.len() as u64) as usize;
            let session = sessions[at];
            match splitmix64(&mut state) % 10 {
                0..=4 => step_acquire(&mut mount, &mut model, session, &mut state, seed),
                5..=6 => step_release(&mut mount, &mut model, seed),
                7 => step_advance(&mut mount, &mut model, seed),
                8 => step_cancel(&mut mount, &mut model, &mut state),
                _ => {
                    sessions[at] = mount.session();
                    step_close(&mut mount, &mut model, session, seed);
                }
            }
            model.nobody_else_was_told(&mut mount, seed);
        }
    }
}

fn step_acquire(
    mount: &mut TestMount<Lock>,
    model: &mut Model,
    session: SessionId,
    state: &mut u64,
    seed: u64,
) {
    let wait_ms = [None, Some(0), Some(1_000), Some(3_000)][(splitmix64(state) % 4) as usize];
    let answer = mount.call(session, OBJECT, "acquire", &Acquire { wait_ms, ..Acquire::default() });
    match answer {
        Answer::Done(grant) => model.granted(session, grant, seed),
        Answer::Parked(ticket) => {
            assert!(model.holder.is_some(), "parked at a free lock, seed {seed}");
            let deadline_ms = wait_ms.map(|wait_ms| mount.now_ms() + wait_ms);
            model.line.push((session, ticket, deadline_ms));
        }
        Answer::Refused(failure) => {
            assert_eq!((failure.code.as_str(), wait_ms), ("held", Some(0)), "seed {seed}");
            assert!(model.holder.is_some(), "seed {seed}");
        }
    }
}

fn step_release(mount: &mut TestMount<Lock>, model: &mut Model, seed: u64) {
    let Some((session, fence)) = model.holder else { return };
    release(mount, session, fence).done();
    model.pass_on(mount, seed);
}

fn step_advance(mount: &mut TestMount<Lock>, model: &mut Model, seed: u64) {
    mount.advance(700);
    let now_ms = mount.now_ms();
    let is_over = |deadline_ms: Option<u64>| deadline_ms.is_some_and(|at_ms| at_ms <= now_ms);
    let (over, waiting) = std::mem::take(&mut model.line)
        .into_iter()
        .partition::<Vec<_>, _>(|(_, _, deadline_ms)| is_over(*deadline_ms));
    model.line = waiting;
    for (_, ticket, _) in over {
        let refusal = mount.pushed(ticket).unwrap().unwrap_err();
        assert_eq!(refusal.code, "timed-out", "seed {seed}");
    }
}

fn step_cancel(mount: &mut TestMount<Lock>, model: &mut Model, state: &mut u64) {
    if !model.line.is_empty() {
        let at = (splitmix64(state) % model.line.len() as u64) as usize;
        mount.cancel(model.line.remove(at).1);
    }
}

fn step_close(mount: &mut TestMount<Lock>, model: &mut Model, session: SessionId, seed: u64) {
    mount.close(session);
    model.line.retain(|(waiter, _, _)| *waiter != session);
    if model.holder.is_some_and(|(holder, _)| holder == session) {
        model.pass_on(mount, seed);
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Lock>(folder);
}
