//! What the barrier promises, one test for each promise.

mod simulated;

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "migration";

type Mount = TestMount<Barrier>;

fn close(mount: &mut Mount, session: SessionId) -> Answer<Generation> {
    mount.call(session, OBJECT, "close", &Close::default())
}

fn close_for(mount: &mut Mount, session: SessionId, ttl_ms: u64) -> Answer<Generation> {
    let wanted = Close { ttl_ms: Some(ttl_ms), detached: true, note: "for a while".into() };
    mount.call(session, OBJECT, "close", &wanted)
}

fn open(mount: &mut Mount, session: SessionId) -> Answer<Generation> {
    mount.call(session, OBJECT, "open", &Open::default())
}

fn wait(mount: &mut Mount, session: SessionId) -> Answer<Passed> {
    mount.call(session, OBJECT, "wait", &Wait::default())
}

fn state(mount: &mut Mount) -> State {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "state", &()).done()
}

/// A mount, and three sessions.
fn mounted() -> (Mount, SessionId, SessionId, SessionId) {
    mounted_with(&Config::default())
}

fn mounted_with(config: &Config) -> (Mount, SessionId, SessionId, SessionId) {
    let mut mount = TestMount::with_config(config);
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

fn breaking() -> Config {
    Config { owner_ended: Unopened::Breaks, ttl_ended: Unopened::Breaks, ..Config::default() }
}

#[test]
fn an_open_barrier_is_passed_at_once_and_has_no_znode() {
    let (mut mount, a, ..) = mounted();
    assert_eq!(state(&mut mount), State { closure: None, waiting: 0 });
    assert_eq!(wait(&mut mount, a).done(), Passed { generation: None });
    mount.assert_nothing_left();
}

#[test]
fn nobody_passes_a_closed_barrier_and_all_pass_when_it_opens() {
    let (mut mount, a, b, c) = mounted();
    let closed = close(&mut mount, a).done();
    let tickets: Vec<_> =
        [b, c, b, a].iter().map(|session| wait(&mut mount, *session).parked()).collect();
    assert_eq!(state(&mut mount).waiting, 4);
    mount.advance(1_000_000);
    for ticket in &tickets {
        assert_eq!(mount.pushed(*ticket), None);
    }
    assert_eq!(open(&mut mount, a).done(), closed);
    for ticket in tickets {
        let passed = mount.pushed(ticket).unwrap().unwrap();
        assert_eq!(passed.generation, Some(closed.generation));
    }
    mount.assert_nothing_left();
}

#[test]
fn the_state_tells_who_closed_it() {
    let (mut mount, a, ..) = mounted();
    let closed = close_for(&mut mount, a, 5_000).done();
    let closure = state(&mut mount).closure.unwrap();
    assert_eq!((closure.generation, closure.session), (closed.generation, a));
    assert_eq!((closure.identity.as_str(), closure.note.as_str()), ("user-1", "for a while"));
    assert_eq!(closure.since_ms, mount.now_ms());
    assert_eq!((closure.until_ms, closure.detached), (Some(mount.now_ms() + 5_000), true));
}

#[test]
fn a_closed_barrier_is_not_closed_again() {
    let (mut mount, a, b, _) = mounted();
    let closed = close(&mut mount, a).done();
    for session in [a, b] {
        let refused = close(&mut mount, session).refused();
        assert_eq!(refused.code, "closed");
        let told: Closure = quorate_recipe::codec::decode(&refused.detail).unwrap();
        assert_eq!(told.generation, closed.generation);
    }
}

#[test]
fn every_generation_is_greater_than_those_before() {
    let (mut mount, a, ..) = mounted();
    let mut last = 0;
    for _ in 0..5 {
        let closed = close(&mut mount, a).done();
        assert!(closed.generation > last);
        last = closed.generation;
        open(&mut mount, a).done();
        mount.assert_nothing_left();
    }
}

#[test]
fn anyone_opens_but_only_the_closure_it_means() {
    let (mut mount, a, b, c) = mounted();
    assert_eq!(open(&mut mount, b).refused().code, "not-closed");
    let first = close(&mut mount, a).done();
    open(&mut mount, b).done();
    let second = close(&mut mount, a).done();
    let waiting = wait(&mut mount, c).parked();
    let late = Open { generation: Some(first.generation) };
    let refused = mount.call::<Generation>(b, OBJECT, "open", &late).refused();
    assert_eq!(refused.code, "not-closed");
    let told: Option<Closure> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.unwrap().generation, second.generation);
    assert_eq!(mount.pushed(waiting), None);
    let meant = Open { generation: Some(second.generation) };
    mount.call::<Generation>(b, OBJECT, "open", &meant).done();
    mount.pushed(waiting).unwrap().unwrap();
}

#[test]
fn a_wait_for_a_closure_that_is_over_passes() {
    let (mut mount, a, b, _) = mounted();
    let first = close(&mut mount, a).done();
    open(&mut mount, a).done();
    let second = close(&mut mount, a).done();
    let wanted = Wait { generation: Some(first.generation), wait_ms: None };
    mount.call::<Passed>(b, OBJECT, "wait", &wanted).done();
    let wanted = Wait { generation: Some(second.generation), wait_ms: None };
    mount.call::<Passed>(b, OBJECT, "wait", &wanted).parked();
}

#[test]
fn a_try_does_not_wait_and_says_who_closed() {
    let (mut mount, a, b, _) = mounted();
    close(&mut mount, a).done();
    let wanted = Wait { generation: None, wait_ms: Some(0) };
    let refused = mount.call::<Passed>(b, OBJECT, "wait", &wanted).refused();
    assert_eq!(refused.code, "closed");
    let told: Closure = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.session, a);
    assert_eq!(mount.parked_count(), 0);
}

#[test]
fn a_barrier_that_would_never_end_is_refused() {
    let (mut mount, a, ..) = mounted();
    let wanted = Close { detached: true, ..Close::default() };
    let refused = mount.call::<Generation>(a, OBJECT, "close", &wanted).refused();
    assert_eq!(refused.code, "needs-ttl");
    mount.assert_nothing_left();
}

#[test]
fn the_end_of_the_owners_session_opens_the_barrier() {
    let (mut mount, a, b, _) = mounted();
    let closed = close(&mut mount, a).done();
    let waiting = wait(&mut mount, b).parked();
    let own = wait(&mut mount, a).parked();
    mount.close(a);
    let passed = mount.pushed(waiting).unwrap().unwrap();
    assert_eq!(passed.generation, Some(closed.generation));
    assert_eq!(mount.pushed(own), None);
    mount.assert_nothing_left();
}

#[test]
fn the_end_of_the_owners_session_breaks_the_barrier_if_so_configured() {
    let (mut mount, a, b, _) = mounted_with(&breaking());
    let closed = close(&mut mount, a).done();
    let waiting = wait(&mut mount, b).parked();
    mount.close(a);
    let refused = mount.pushed(waiting).unwrap().unwrap_err();
    assert_eq!(refused.code, "broken");
    let told: Generation = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told, closed);
    mount.assert_nothing_left();
}

#[test]
fn whoever_opens_a_barrier_does_not_break_it() {
    let (mut mount, a, b, _) = mounted_with(&breaking());
    close(&mut mount, a).done();
    let waiting = wait(&mut mount, b).parked();
    open(&mut mount, a).done();
    mount.close(a);
    mount.pushed(waiting).unwrap().unwrap();
    mount.assert_nothing_left();
}

#[test]
fn a_detached_barrier_outlives_its_session_but_not_its_time() {
    let (mut mount, a, b, _) = mounted();
    close_for(&mut mount, a, 5_000).done();
    let waiting = wait(&mut mount, b).parked();
    wait(&mut mount, a).parked();
    mount.close(a);
    mount.advance(4_999);
    assert_eq!(mount.pushed(waiting), None);
    mount.advance(1);
    mount.pushed(waiting).unwrap().unwrap();
    mount.assert_nothing_left();
}

#[test]
fn the_end_of_its_time_breaks_the_barrier_if_so_configured() {
    let (mut mount, a, b, _) = mounted_with(&breaking());
    close_for(&mut mount, a, 5_000).done();
    let waiting = wait(&mut mount, b).parked();
    mount.advance(5_000);
    assert_eq!(mount.pushed(waiting).unwrap().unwrap_err().code, "broken");
    mount.assert_nothing_left();
}

#[test]
fn an_owned_barrier_with_a_time_ends_with_whichever_is_first() {
    let (mut mount, a, b, _) = mounted();
    let wanted = Close { ttl_ms: Some(5_000), ..Close::default() };
    mount.call::<Generation>(a, OBJECT, "close", &wanted).done();
    let waiting = wait(&mut mount, b).parked();
    mount.close(a);
    mount.pushed(waiting).unwrap().unwrap();
    mount.assert_nothing_left();
    mount.call::<Generation>(b, OBJECT, "close", &wanted).done();
    mount.advance(5_000);
    mount.assert_nothing_left();
}

#[test]
fn an_earlier_time_does_not_end_a_later_closure() {
    let (mut mount, a, ..) = mounted();
    close_for(&mut mount, a, 5_000).done();
    mount.advance(4_000);
    open(&mut mount, a).done();
    let second = close(&mut mount, a).done();
    mount.advance(60_000);
    assert_eq!(state(&mut mount).closure.unwrap().generation, second.generation);
}

#[test]
fn a_time_is_set_anew() {
    let (mut mount, a, b, _) = mounted();
    let closed = close_for(&mut mount, a, 5_000).done();
    mount.advance(4_000);
    let renewed = Renew { generation: closed.generation, ttl_ms: 5_000 };
    let closure: Closure = mount.call(b, OBJECT, "renew", &renewed).done();
    assert_eq!(closure.until_ms, Some(mount.now_ms() + 5_000));
    mount.advance(4_999);
    assert_eq!(state(&mut mount).closure, Some(closure));
    mount.advance(1);
    mount.assert_nothing_left();
    let refused = mount.call::<Closure>(b, OBJECT, "renew", &renewed).refused();
    assert_eq!(refused.code, "not-closed");
}

#[test]
fn a_time_that_overflows_never_ends() {
    let (mut mount, a, ..) = mounted();
    close_for(&mut mount, a, u64::MAX).done();
    mount.advance(1_000_000_000);
    assert!(state(&mut mount).closure.is_some());
}

#[test]
fn a_wait_ends_at_its_limit_and_not_before() {
    let (mut mount, a, b, c) = mounted();
    close(&mut mount, a).done();
    let wanted = Wait { generation: None, wait_ms: Some(5_000) };
    let short = mount.call::<Passed>(b, OBJECT, "wait", &wanted).parked();
    let long = wait(&mut mount, c).parked();
    mount.advance(4_999);
    assert_eq!(mount.pushed(short), None);
    mount.advance(1);
    assert_eq!(mount.pushed(short).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(state(&mut mount).waiting, 1);
    open(&mut mount, a).done();
    mount.pushed(long).unwrap().unwrap();
    mount.assert_nothing_left();
}

#[test]
fn waits_go_with_their_sessions_and_when_they_are_given_up() {
    let (mut mount, a, b, c) = mounted();
    close(&mut mount, a).done();
    wait(&mut mount, b).parked();
    let given_up = wait(&mut mount, c).parked();
    mount.close(b);
    mount.cancel(given_up);
    assert_eq!(mount.pushed(given_up).unwrap().unwrap_err().code, "cancelled");
    assert_eq!(mount.paths(), ["migration", "migration/closure"]);
    assert!(mount.faults().is_empty());
}

#[test]
fn so_many_may_wait_and_no_more() {
    let (mut mount, a, b, _) = mounted_with(&Config { waiters_max: 2, ..Config::default() });
    close(&mut mount, a).done();
    let first = wait(&mut mount, b).parked();
    wait(&mut mount, b).parked();
    assert_eq!(wait(&mut mount, b).refused().code, "waiters-full");
    mount.cancel(first);
    wait(&mut mount, b).parked();
}

#[test]
fn as_many_may_wait_while_others_are_still_to_be_told() {
    let config = Config { waiters_max: 2, answered_max: 1, ..Config::default() };
    let (mut mount, a, b, _) = mounted_with(&config);
    close(&mut mount, a).done();
    let _of_first = [wait(&mut mount, b).parked(), wait(&mut mount, b).parked()];
    open(&mut mount, a).done();
    close(&mut mount, a).done();
    assert_eq!(state(&mut mount).waiting, 1);
    wait(&mut mount, b).parked();
    assert_eq!(wait(&mut mount, b).refused().code, "waiters-full");
}

#[test]
fn many_waiters_are_told_in_turn() {
    let (mut mount, a, b, _) = mounted_with(&Config { answered_max: 2, ..Config::default() });
    close(&mut mount, a).done();
    let tickets: Vec<_> = (0..5).map(|_| wait(&mut mount, b).parked()).collect();
    open(&mut mount, a).done();
    let told = |mount: &mut Mount| {
        tickets.iter().map(|t| u32::from(mount.pushed(*t).is_some())).sum::<u32>()
    };
    assert_eq!(told(&mut mount), 2);
    assert_eq!(wait(&mut mount, a).done(), Passed { generation: None }, "it is open");
    mount.advance(1);
    assert_eq!(told(&mut mount), 2);
    mount.advance(1);
    assert_eq!(told(&mut mount), 1);
    mount.assert_nothing_left();
}

#[test]
fn those_told_later_are_told_of_their_own_closure() {
    let config = Config { answered_max: 2, owner_ended: Unopened::Breaks, ..Config::default() };
    let (mut mount, a, b, _) = mounted_with(&config);
    let first = close(&mut mount, a).done();
    let of_first: Vec<_> = (0..7).map(|_| wait(&mut mount, b).parked()).collect();
    mount.close(a);
    let second = close(&mut mount, b).done();
    let of_second: Vec<_> = (0..4).map(|_| wait(&mut mount, b).parked()).collect();
    open(&mut mount, b).done();
    let third = close(&mut mount, b).done();
    let of_third = wait(&mut mount, b).parked();
    mount.advance(10);
    for ticket in of_first {
        let refused = mount.pushed(ticket).unwrap().unwrap_err();
        let told: Generation = quorate_recipe::codec::decode(&refused.detail).unwrap();
        assert_eq!((refused.code.as_str(), told), ("broken", first));
    }
    for ticket in of_second {
        let passed = mount.pushed(ticket).unwrap().unwrap();
        assert_eq!(passed.generation, Some(second.generation));
    }
    assert_eq!(mount.pushed(of_third), None);
    assert_eq!(state(&mut mount).closure.unwrap().generation, third.generation);
    assert_eq!(mount.paths().len(), 3, "the ends of before are forgotten");
    open(&mut mount, b).done();
    mount.pushed(of_third).unwrap().unwrap();
    mount.assert_nothing_left();
}

#[test]
fn a_new_configuration_does_not_change_an_end_that_is_being_told() {
    let config = Config { answered_max: 1, ..breaking() };
    let (mut mount, a, b, _) = mounted_with(&config);
    close(&mut mount, a).done();
    let tickets: Vec<_> = (0..3).map(|_| wait(&mut mount, b).parked()).collect();
    mount.close(a);
    mount.configure(&Config { owner_ended: Unopened::Opens, ..config }).unwrap();
    mount.advance(10);
    for ticket in tickets {
        assert_eq!(mount.pushed(ticket).unwrap().unwrap_err().code, "broken");
    }
    mount.assert_nothing_left();
}

#[test]
fn objects_are_barriers_of_their_own() {
    let (mut mount, a, b, _) = mounted();
    mount.call::<Generation>(a, "one", "close", &Close::default()).done();
    mount.call::<Passed>(b, "two", "wait", &Wait::default()).done();
    mount.call::<Generation>(a, "two", "close", &Close::default()).done();
    let waiting: Vec<_> = ["one", "two"]
        .map(|object| mount.call::<Passed>(b, object, "wait", &Wait::default()).parked())
        .into();
    mount.close(a);
    for ticket in waiting {
        mount.pushed(ticket).unwrap().unwrap();
    }
    mount.assert_nothing_left();
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a, ..) = mounted();
    #[derive(Serialize)]
    struct Misspelt {
        ttl: u64,
    }
    let answer: Answer<Generation> = mount.call(a, OBJECT, "close", &Misspelt { ttl: 5 });
    assert_eq!(answer.refused().code, "bad-arguments");
    mount.assert_nothing_left();
}

/// Who waits for which closure, and how closures ended: true for passed, false for broken.
#[derive(Default)]
struct Model {
    closure: Option<(SessionId, u64)>,
    waiting: Vec<(SessionId, Ticket<Passed>, u64)>,
    ends: Vec<(u64, bool)>,
}

impl Model {
    fn ends(&mut self, passes: bool) {
        let (_, generation) = self.closure.take().expect("it is closed");
        self.ends.push((generation, passes));
    }

    /// After a while everybody has been told the end of the closure they waited for, and nobody else.
    fn settle(&mut self, mount: &mut Mount, seed: u64) {
        mount.advance(50);
        for (_, ticket, generation) in std::mem::take(&mut self.waiting) {
            let end = self.ends.iter().find(|(ended, _)| *ended == generation);
            let told = mount.pushed(ticket).map(|answer| answer.is_ok());
            assert_eq!(told, end.map(|(_, passes)| *passes), "seed {seed}");
            if told.is_none() {
                self.waiting.push((SessionId(0), ticket, generation));
            }
        }
        let znodes = self.waiting.len() + usize::from(self.closure.is_some());
        assert_eq!(mount.paths().len(), znodes + usize::from(znodes > 0), "seed {seed}");
        assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
    }
}

#[test]
fn any_order_of_calls_and_ends_keeps_the_promises() {
    for seed in 0..80 {
        let mut random = seed;
        let (answered_max, owner_ended) = (1 + (seed % 3) as u32, Unopened::Breaks);
        let config = Config { answered_max, owner_ended, ..Config::default() };
        let (mut mount, waiting, ..) = mounted_with(&config);
        let mut owner = mount.session();
        let mut model = Model::default();
        for _ in 0..80 {
            match (splitmix64(&mut random) % 10, model.closure) {
                (0..=1, None) => {
                    let closed = close(&mut mount, owner).done();
                    model.closure = Some((owner, closed.generation));
                }
                (2..=6, Some((_, generation))) => {
                    let ticket = wait(&mut mount, waiting).parked();
                    model.waiting.push((waiting, ticket, generation));
                }
                (7, Some(_)) => {
                    open(&mut mount, waiting).done();
                    model.ends(true);
                }
                (8, closure) => {
                    mount.close(owner);
                    owner = mount.session();
                    if closure.is_some() {
                        model.ends(false);
                    }
                }
                (9, _) => model.settle(&mut mount, seed),
                _ => {}
            }
        }
        model.settle(&mut mount, seed);
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Barrier>(folder);
}
