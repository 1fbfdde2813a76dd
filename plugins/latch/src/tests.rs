//! What the latch promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount};

const OBJECT: &str = "import";

type Mount = TestMount<CountdownLatch>;

fn start(mount: &mut Mount, count: u64) -> Answer<Latch> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "start", &Start { count })
}

fn count_down(mount: &mut Mount) -> Answer<Counted> {
    count_as(mount, CountDown::default())
}

fn count_as(mount: &mut Mount, wanted: CountDown) -> Answer<Counted> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "count-down", &wanted)
}

fn keyed(key: &str) -> CountDown {
    CountDown { key: Some(key.into()), ..CountDown::default() }
}

fn wait(mount: &mut Mount, session: SessionId) -> Answer<Opened> {
    mount.call(session, OBJECT, "wait", &Wait::default())
}

fn reset(mount: &mut Mount, count: Option<u64>) -> Answer<Option<Latch>> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "reset", &Reset { count })
}

fn state(mount: &mut Mount) -> State {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "count", &()).done()
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
fn nobody_passes_before_zero_and_everybody_afterwards() {
    let (mut mount, a) = mounted();
    let latch = start(&mut mount, 3).done();
    let tickets: Vec<_> = (0..4).map(|_| wait(&mut mount, a).parked()).collect();
    assert_eq!(count_down(&mut mount).done(), Counted { count: 2, is_new: true });
    assert_eq!(count_down(&mut mount).done(), Counted { count: 1, is_new: true });
    assert_eq!(state(&mut mount).waiting, 4);
    for ticket in &tickets {
        assert_eq!(mount.pushed(*ticket), None);
    }
    assert_eq!(count_down(&mut mount).done(), Counted { count: 0, is_new: true });
    let opened = wait(&mut mount, a).done();
    assert_eq!(opened.generation, latch.generation);
    for ticket in tickets {
        assert_eq!(mount.pushed(ticket), Some(Ok(opened)));
    }
    assert_eq!(mount.paths(), ["import", "import/latch"]);
}

#[test]
fn a_latch_that_is_not_started_has_no_znode() {
    let (mut mount, _) = mounted();
    assert_eq!(state(&mut mount), State { latch: None, waiting: 0 });
    assert_eq!(count_down(&mut mount).refused().code, "not-started");
    assert_eq!(start(&mut mount, 0).refused().code, "bad-count");
    mount.assert_nothing_left();
}

#[test]
fn a_wait_may_come_before_the_start() {
    let (mut mount, a) = mounted();
    let early = wait(&mut mount, a).parked();
    assert_eq!(state(&mut mount), State { latch: None, waiting: 1 });
    start(&mut mount, 1).done();
    assert_eq!(mount.pushed(early), None);
    count_down(&mut mount).done();
    mount.pushed(early).unwrap().unwrap();
}

#[test]
fn a_latch_counts_by_more_than_one_and_never_below_zero() {
    let (mut mount, _) = mounted();
    start(&mut mount, 10).done();
    let by = |by| CountDown { by: Some(by), ..CountDown::default() };
    assert_eq!(count_as(&mut mount, by(7)).done().count, 3);
    assert_eq!(count_as(&mut mount, by(0)).refused().code, "bad-count");
    assert_eq!(count_as(&mut mount, by(u64::MAX)).done(), Counted { count: 0, is_new: true });
    assert_eq!(count_as(&mut mount, by(1)).done(), Counted { count: 0, is_new: false });
}

#[test]
fn a_key_counts_once() {
    let (mut mount, _) = mounted();
    start(&mut mount, 3).done();
    assert_eq!(count_as(&mut mount, keyed("a")).done(), Counted { count: 2, is_new: true });
    assert_eq!(count_as(&mut mount, keyed("a")).done(), Counted { count: 2, is_new: false });
    assert_eq!(count_as(&mut mount, keyed("b")).done(), Counted { count: 1, is_new: true });
    assert_eq!(count_down(&mut mount).done().count, 0);
    assert_eq!(mount.paths(), ["import", "import/latch"], "keys are forgotten at zero");
}

#[test]
fn a_key_may_count_for_more_than_one() {
    let (mut mount, _) = mounted();
    start(&mut mount, 5).done();
    let two = CountDown { by: Some(2), ..keyed("a") };
    assert_eq!(count_as(&mut mount, two.clone()).done().count, 3);
    assert_eq!(count_as(&mut mount, two).done().count, 3);
}

#[test]
fn keys_that_are_no_part_of_a_path_are_refused() {
    let (mut mount, _) = mounted();
    start(&mut mount, 5).done();
    for key in ["", ".", "..", "a/b", "a\0b", &"k".repeat(201)] {
        assert_eq!(count_as(&mut mount, keyed(key)).refused().code, "bad-key", "{key:?}");
    }
    assert_eq!(state(&mut mount).latch.unwrap().count, 5);
    assert_eq!(count_as(&mut mount, keyed(&"k".repeat(200))).done().count, 4);
}

#[test]
fn so_many_keys_may_count_and_no_more() {
    let (mut mount, _) = mounted_with(&Config { keys_max: 2, ..Config::default() });
    start(&mut mount, 5).done();
    count_as(&mut mount, keyed("a")).done();
    count_as(&mut mount, keyed("b")).done();
    assert_eq!(count_as(&mut mount, keyed("c")).refused().code, "keys-full");
    assert_eq!(count_as(&mut mount, keyed("b")).done().count, 3);
    assert_eq!(count_down(&mut mount).done().count, 2);
}

#[test]
fn zero_is_final_until_the_latch_is_reset() {
    let (mut mount, a) = mounted();
    let first = start(&mut mount, 1).done();
    count_down(&mut mount).done();
    let refused = start(&mut mount, 1).refused();
    assert_eq!(refused.code, "started");
    let told: Latch = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((told.generation, told.count), (first.generation, 0));
    let second = reset(&mut mount, Some(2)).done().unwrap();
    assert!(second.generation > first.generation);
    assert_eq!((second.initial, second.count, second.opened), (2, 2, None));
    wait(&mut mount, a).parked();
}

#[test]
fn a_latch_is_not_started_twice() {
    let (mut mount, _) = mounted();
    start(&mut mount, 2).done();
    assert_eq!(start(&mut mount, 5).refused().code, "started");
    assert_eq!(state(&mut mount).latch.unwrap().count, 2);
}

#[test]
fn a_reset_without_a_count_leaves_nothing() {
    let (mut mount, _) = mounted();
    start(&mut mount, 5).done();
    count_as(&mut mount, keyed("a")).done();
    assert_eq!(reset(&mut mount, None).done(), None);
    mount.assert_nothing_left();
    assert_eq!(reset(&mut mount, None).done(), None);
    mount.assert_nothing_left();
    assert_eq!(reset(&mut mount, Some(0)).refused().code, "bad-count");
}

#[test]
fn whoever_waits_when_a_latch_is_reset_waits_for_the_next_zero() {
    let (mut mount, a) = mounted();
    start(&mut mount, 1).done();
    let waiting = wait(&mut mount, a).parked();
    let second = reset(&mut mount, Some(1)).done().unwrap();
    assert_eq!(mount.pushed(waiting), None);
    reset(&mut mount, None).done();
    assert_eq!(mount.paths().len(), 2, "it waits, though the latch is gone");
    let third = start(&mut mount, 1).done();
    count_down(&mut mount).done();
    let opened = mount.pushed(waiting).unwrap().unwrap();
    assert_eq!(opened.generation, third.generation);
    assert!(opened.generation > second.generation);
}

#[test]
fn keys_count_anew_after_a_reset() {
    let (mut mount, _) = mounted();
    start(&mut mount, 2).done();
    count_as(&mut mount, keyed("a")).done();
    reset(&mut mount, Some(2)).done();
    assert_eq!(count_as(&mut mount, keyed("a")).done(), Counted { count: 1, is_new: true });
}

#[test]
fn a_count_may_name_the_latch_it_means() {
    let (mut mount, _) = mounted();
    let first = start(&mut mount, 2).done();
    let late = CountDown { generation: Some(first.generation), ..CountDown::default() };
    assert_eq!(count_as(&mut mount, late.clone()).done().count, 1);
    reset(&mut mount, Some(2)).done();
    assert_eq!(count_as(&mut mount, late).refused().code, "other-generation");
    assert_eq!(state(&mut mount).latch.unwrap().count, 2);
}

#[test]
fn many_keys_are_deleted_in_several_steps() {
    let (mut mount, _) = mounted();
    start(&mut mount, 1_000).done();
    for number in 0..450 {
        count_as(&mut mount, keyed(&format!("key-{number}"))).done();
    }
    reset(&mut mount, Some(500)).done();
    for number in 0..250 {
        let counted = count_as(&mut mount, keyed(&format!("key-{number}"))).done();
        assert!(counted.is_new, "keys of before do not count");
    }
    mount.advance(10);
    assert_eq!(mount.paths().len(), 4 + 250, "only keys of this latch are left");
    assert_eq!(mount.timers(), []);
    reset(&mut mount, None).done();
    mount.advance(10);
    mount.assert_nothing_left();
}

#[test]
fn a_latch_at_zero_goes_after_a_while_if_so_configured() {
    let config = Config { kept_ms: Some(5_000), ..Config::default() };
    let (mut mount, a) = mounted_with(&config);
    start(&mut mount, 1).done();
    mount.advance(1_000_000);
    count_down(&mut mount).done();
    mount.advance(4_999);
    wait(&mut mount, a).done();
    mount.advance(1);
    mount.assert_nothing_left();
    start(&mut mount, 1).done();
    count_down(&mut mount).done();
    reset(&mut mount, Some(1)).done();
    mount.advance(1_000_000);
    assert_eq!(state(&mut mount).latch.unwrap().count, 1, "a reset latch is kept");
}

#[test]
fn a_try_does_not_wait() {
    let (mut mount, a) = mounted();
    let at_once = Wait { wait_ms: Some(0) };
    let refused = mount.call::<Opened>(a, OBJECT, "wait", &at_once).refused();
    assert_eq!(refused.code, "not-zero");
    mount.assert_nothing_left();
    start(&mut mount, 1).done();
    let refused = mount.call::<Opened>(a, OBJECT, "wait", &at_once).refused();
    let told: Option<Latch> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.unwrap().count, 1);
    count_down(&mut mount).done();
    mount.call::<Opened>(a, OBJECT, "wait", &at_once).done();
}

#[test]
fn a_wait_ends_at_its_limit_and_not_before() {
    let (mut mount, a) = mounted();
    start(&mut mount, 1).done();
    let limited = Wait { wait_ms: Some(5_000) };
    let short = mount.call::<Opened>(a, OBJECT, "wait", &limited).parked();
    let long = wait(&mut mount, a).parked();
    mount.advance(4_999);
    assert_eq!(mount.pushed(short), None);
    mount.advance(1);
    assert_eq!(mount.pushed(short).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(state(&mut mount).waiting, 1);
    count_down(&mut mount).done();
    mount.pushed(long).unwrap().unwrap();
}

#[test]
fn waits_go_with_their_sessions_and_when_they_are_given_up() {
    let (mut mount, a) = mounted();
    let b = mount.session();
    wait(&mut mount, a).parked();
    let given_up = wait(&mut mount, b).parked();
    mount.close(a);
    mount.cancel(given_up);
    assert_eq!(mount.pushed(given_up).unwrap().unwrap_err().code, "cancelled");
    mount.assert_nothing_left();
}

#[test]
fn what_a_session_counted_stays_counted_when_it_ends() {
    let (mut mount, a) = mounted();
    start(&mut mount, 2).done();
    mount.call::<Counted>(a, OBJECT, "count-down", &keyed("a")).done();
    mount.close(a);
    assert_eq!(state(&mut mount).latch.unwrap().count, 1);
    assert!(!count_as(&mut mount, keyed("a")).done().is_new);
}

#[test]
fn so_many_may_wait_and_no_more() {
    let (mut mount, a) = mounted_with(&Config { waiters_max: 2, ..Config::default() });
    start(&mut mount, 9).done();
    count_as(&mut mount, keyed("a")).done();
    let first = wait(&mut mount, a).parked();
    wait(&mut mount, a).parked();
    assert_eq!(wait(&mut mount, a).refused().code, "waiters-full");
    mount.cancel(first);
    wait(&mut mount, a).parked();
}

#[test]
fn many_waiters_are_told_in_turn_and_later_ones_are_not() {
    let (mut mount, a) = mounted_with(&Config { answered_max: 2, ..Config::default() });
    start(&mut mount, 1).done();
    let tickets: Vec<_> = (0..5).map(|_| wait(&mut mount, a).parked()).collect();
    count_down(&mut mount).done();
    assert_eq!(tickets.iter().filter(|t| mount.pushed(**t).is_some()).count(), 2);
    reset(&mut mount, Some(1)).done();
    let late = wait(&mut mount, a).parked();
    assert_eq!(state(&mut mount).waiting, 4);
    mount.advance(10);
    assert_eq!(tickets.iter().filter(|t| mount.pushed(**t).is_some()).count(), 3);
    assert_eq!(mount.pushed(late), None, "it came after the reset");
    assert_eq!(mount.timers(), []);
    count_down(&mut mount).done();
    mount.pushed(late).unwrap().unwrap();
    reset(&mut mount, None).done();
    mount.assert_nothing_left();
}

#[test]
fn objects_are_latches_of_their_own() {
    let (mut mount, a) = mounted();
    mount.call::<Latch>(a, "one", "start", &Start { count: 1 }).done();
    mount.call::<Latch>(a, "two", "start", &Start { count: 1 }).done();
    let waiting = mount.call::<Opened>(a, "two", "wait", &Wait::default()).parked();
    mount.call::<Counted>(a, "one", "count-down", &CountDown::default()).done();
    assert_eq!(mount.pushed(waiting), None);
    mount.call::<Counted>(a, "two", "count-down", &CountDown::default()).done();
    mount.pushed(waiting).unwrap().unwrap();
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a) = mounted();
    #[derive(Serialize)]
    struct Misspelt {
        wait: u64,
    }
    let answer: Answer<Opened> = mount.call(a, OBJECT, "wait", &Misspelt { wait: 0 });
    assert_eq!(answer.refused().code, "bad-arguments");
    mount.assert_nothing_left();
}

#[test]
fn any_counts_in_any_order_reach_zero_once() {
    for seed in 0..40u64 {
        let (mut mount, a) = mounted_with(&Config { answered_max: 3, ..Config::default() });
        let total = 5 + seed % 7;
        let latch = start(&mut mount, total).done();
        let mut counted = std::collections::BTreeSet::new();
        let mut tickets = Vec::new();
        for step in 0.. {
            tickets.push(wait(&mut mount, a).parked());
            let key = (seed * 31 + step * 17 + step * step) % (2 * total + 3);
            let told = count_as(&mut mount, keyed(&key.to_string())).done();
            assert_eq!(told.is_new, counted.insert(key), "seed {seed}");
            assert_eq!(told.count, total - counted.len() as u64, "seed {seed}");
            if told.count == 0 {
                break;
            }
            assert!(tickets.iter().all(|ticket| mount.pushed(*ticket).is_none()), "seed {seed}");
            if step > 200 {
                // This seed's keys repeat before zero is reached.
                count_as(&mut mount, CountDown { by: Some(total), ..CountDown::default() }).done();
                break;
            }
        }
        mount.advance(200);
        for ticket in tickets {
            let opened = mount.pushed(ticket).unwrap().unwrap();
            assert_eq!(opened.generation, latch.generation, "seed {seed}");
        }
        reset(&mut mount, None).done();
        mount.assert_nothing_left();
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<CountdownLatch>(folder);
}
