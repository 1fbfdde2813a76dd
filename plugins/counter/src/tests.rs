//! What the counter promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "invoices";

type Mount = TestMount<Counter>;

fn add(mount: &mut Mount, by: i64) -> Answer<Changed> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "add", &Add { by: Some(by) })
}

fn set(mount: &mut Mount, number: i64) -> Answer<Changed> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "set", &Set { number })
}

fn compare_and_set(mount: &mut Mount, expected: i64, number: i64) -> Answer<Changed> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "compare-and-set", &CompareAndSet { expected, number })
}

fn reserve(mount: &mut Mount, count: u64) -> Answer<Block> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "reserve", &Reserve { count })
}

fn wait(mount: &mut Mount, session: SessionId, at_least: i64) -> Answer<i64> {
    mount.call(session, OBJECT, "await", &Await { at_least, wait_ms: None })
}

fn get(mount: &mut Mount) -> i64 {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "get", &()).done()
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
fn additions_add_up_and_tell_what_was_before() {
    let (mut mount, a) = mounted();
    assert_eq!(add(&mut mount, 5).done(), Changed { before: 0, after: 5 });
    assert_eq!(add(&mut mount, -7).done(), Changed { before: 5, after: -2 });
    let one: Changed = mount.call(a, OBJECT, "add", &Add { by: None }).done();
    assert_eq!(one, Changed { before: -2, after: -1 });
    assert_eq!(get(&mut mount), -1);
}

#[test]
fn a_counter_at_its_beginning_has_no_znode() {
    let (mut mount, _) = mounted();
    assert_eq!(get(&mut mount), 0);
    mount.assert_nothing_left();
    add(&mut mount, 5).done();
    assert_eq!(mount.paths(), ["invoices", "invoices/number"]);
    add(&mut mount, -5).done();
    mount.assert_nothing_left();
    add(&mut mount, 0).done();
    mount.assert_nothing_left();
}

#[test]
fn the_number_ends_rather_than_begins_again() {
    let (mut mount, _) = mounted();
    set(&mut mount, i64::MAX).done();
    let refused = add(&mut mount, 1).refused();
    assert_eq!(refused.code, "overflow");
    let told: i64 = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told, i64::MAX);
    assert_eq!(reserve(&mut mount, 1).refused().code, "overflow");
    set(&mut mount, i64::MIN).done();
    assert_eq!(add(&mut mount, -1).refused().code, "overflow");
    assert_eq!(add(&mut mount, i64::MAX).done().after, -1);
    assert_eq!(get(&mut mount), -1);
}

#[test]
fn a_number_is_set_only_if_it_is_the_one_expected() {
    let (mut mount, _) = mounted();
    assert_eq!(compare_and_set(&mut mount, 0, 7).done(), Changed { before: 0, after: 7 });
    let refused = compare_and_set(&mut mount, 0, 9).refused();
    assert_eq!(refused.code, "other-number");
    let told: i64 = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((told, get(&mut mount)), (7, 7));
    assert_eq!(compare_and_set(&mut mount, 7, 0).done().after, 0);
    mount.assert_nothing_left();
}

#[test]
fn a_number_is_set_whatever_it_is() {
    let (mut mount, _) = mounted();
    assert_eq!(set(&mut mount, 7).done(), Changed { before: 0, after: 7 });
    assert_eq!(set(&mut mount, -7).done(), Changed { before: 7, after: -7 });
}

#[test]
fn blocks_never_overlap() {
    let (mut mount, _) = mounted();
    let mut next = 0;
    for count in 1..50 {
        let block = reserve(&mut mount, count).done();
        let last = next + count.cast_signed() - 1;
        assert_eq!(block, Block { first: next, last, count });
        next = last + 1;
    }
    assert_eq!(get(&mut mount), next);
}

#[test]
fn blocks_have_a_largest_size() {
    let (mut mount, _) = mounted_with(&Config { block_max: 10, ..Config::default() });
    assert_eq!(reserve(&mut mount, 0).refused().code, "bad-count");
    assert_eq!(reserve(&mut mount, 11).refused().code, "bad-count");
    assert_eq!(reserve(&mut mount, 10).done().last, 9);
    let all = Config { block_max: u64::MAX, ..Config::default() };
    mount.configure(&all).unwrap();
    assert_eq!(reserve(&mut mount, u64::MAX).refused().code, "overflow");
    assert_eq!(get(&mut mount), 10);
}

#[test]
fn where_blocks_end_counters_may_be_kept_from_going_back() {
    let (mut mount, _) = mounted_with(&Config { only_grows: true, ..Config::default() });
    reserve(&mut mount, 10).done();
    assert_eq!(add(&mut mount, -1).refused().code, "only-grows");
    assert_eq!(set(&mut mount, 9).refused().code, "only-grows");
    assert_eq!(compare_and_set(&mut mount, 10, 0).refused().code, "only-grows");
    assert_eq!(set(&mut mount, 10).done().after, 10);
    assert_eq!(add(&mut mount, 1).done().after, 11);
}

#[test]
fn the_mount_says_where_counters_begin() {
    let config = Config { initial: 1_000, ..Config::default() };
    let (mut mount, _) = mounted_with(&config);
    assert_eq!(get(&mut mount), 1_000);
    assert_eq!(reserve(&mut mount, 10).done().first, 1_000);
    set(&mut mount, 0).done();
    assert_eq!(get(&mut mount), 0, "zero is a number like others");
    set(&mut mount, 1_000).done();
    mount.assert_nothing_left();
    let moved = Config { initial: 0, ..config };
    assert_eq!(mount.configure(&moved).unwrap_err().code, "initial-is-fixed");
    mount.configure(&Config { block_max: 1, ..config }).unwrap();
}

#[test]
fn a_wait_is_answered_when_its_number_is_reached() {
    let (mut mount, a) = mounted();
    let five = wait(&mut mount, a, 5).parked();
    let nine = wait(&mut mount, a, 9).parked();
    let below = wait(&mut mount, a, 1).parked();
    add(&mut mount, 4).done();
    assert_eq!(mount.pushed(below), Some(Ok(4)));
    assert_eq!(mount.pushed(five), None);
    reserve(&mut mount, 2).done();
    assert_eq!(mount.pushed(five), Some(Ok(6)));
    assert_eq!(wait(&mut mount, a, 6).done(), 6);
    compare_and_set(&mut mount, 6, 9).done();
    assert_eq!(mount.pushed(nine), Some(Ok(9)));
    set(&mut mount, 0).done();
    mount.assert_nothing_left();
}

#[test]
fn numbers_below_zero_are_waited_for_in_their_order() {
    let (mut mount, a) = mounted_with(&Config { initial: i64::MIN, ..Config::default() });
    let wanted = [-1, 0, i64::MAX, -9, 1, i64::MIN + 1];
    let tickets = wanted.map(|at_least| wait(&mut mount, a, at_least).parked());
    let mut answered = Vec::new();
    for number in [i64::MIN + 1, -9, -1, 0, 1, i64::MAX] {
        set(&mut mount, number).done();
        for (ticket, at_least) in tickets.iter().zip(wanted) {
            if let Some(told) = mount.pushed(*ticket) {
                assert_eq!((told.unwrap(), at_least), (number, number));
                answered.push(number);
            }
        }
    }
    assert_eq!(answered.len(), 6, "each at its own number");
}

#[test]
fn a_number_that_went_back_does_not_answer() {
    let (mut mount, a) = mounted();
    set(&mut mount, 10).done();
    set(&mut mount, 3).done();
    let waiting = wait(&mut mount, a, 5).parked();
    add(&mut mount, 1).done();
    assert_eq!(mount.pushed(waiting), None);
    add(&mut mount, 1).done();
    assert_eq!(mount.pushed(waiting), Some(Ok(5)));
}

#[test]
fn a_try_does_not_wait() {
    let (mut mount, a) = mounted();
    let at_once = Await { at_least: 1, wait_ms: Some(0) };
    let refused = mount.call::<i64>(a, OBJECT, "await", &at_once).refused();
    assert_eq!(refused.code, "below");
    assert_eq!(quorate_recipe::codec::decode::<i64>(&refused.detail).unwrap(), 0);
    mount.assert_nothing_left();
}

#[test]
fn a_wait_ends_at_its_limit_and_not_before() {
    let (mut mount, a) = mounted();
    let limited = Await { at_least: 5, wait_ms: Some(5_000) };
    let short = mount.call::<i64>(a, OBJECT, "await", &limited).parked();
    let long = wait(&mut mount, a, 5).parked();
    mount.advance(4_999);
    assert_eq!(mount.pushed(short), None);
    mount.advance(1);
    assert_eq!(mount.pushed(short).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.paths().len(), 3, "only its own znodes are gone");
    add(&mut mount, 5).done();
    assert_eq!(mount.pushed(long), Some(Ok(5)));
}

#[test]
fn waits_go_with_their_sessions_and_when_they_are_given_up() {
    let (mut mount, a) = mounted();
    let b = mount.session();
    wait(&mut mount, a, 5).parked();
    let given_up = wait(&mut mount, b, 5).parked();
    mount.close(a);
    mount.cancel(given_up);
    assert_eq!(mount.pushed(given_up).unwrap().unwrap_err().code, "cancelled");
    mount.assert_nothing_left();
}

#[test]
fn what_a_session_added_stays_when_it_ends() {
    let (mut mount, a) = mounted();
    mount.call::<Changed>(a, OBJECT, "add", &Add { by: Some(3) }).done();
    mount.close(a);
    assert_eq!(get(&mut mount), 3);
}

#[test]
fn so_many_may_wait_and_no_more() {
    let (mut mount, a) = mounted_with(&Config { waiters_max: 2, ..Config::default() });
    add(&mut mount, 1).done();
    let first = wait(&mut mount, a, 5).parked();
    wait(&mut mount, a, 5).parked();
    assert_eq!(wait(&mut mount, a, 5).refused().code, "waiters-full");
    mount.cancel(first);
    set(&mut mount, 0).done();
    wait(&mut mount, a, 5).parked();
    assert_eq!(wait(&mut mount, a, 5).refused().code, "waiters-full");
}

#[test]
fn many_waiters_are_answered_in_turn() {
    let (mut mount, a) = mounted_with(&Config { answered_max: 2, ..Config::default() });
    let tickets: Vec<_> = (0..5).map(|_| wait(&mut mount, a, 3).parked()).collect();
    let beyond = wait(&mut mount, a, 4).parked();
    add(&mut mount, 3).done();
    let told = |mount: &mut Mount| tickets.iter().filter(|t| mount.pushed(**t).is_some()).count();
    assert_eq!(told(&mut mount), 2);
    mount.advance(1);
    assert_eq!(told(&mut mount), 2);
    mount.advance(1);
    assert_eq!(told(&mut mount), 1);
    assert_eq!((mount.pushed(beyond), mount.timers().len()), (None, 0));
    add(&mut mount, 1).done();
    assert_eq!(mount.pushed(beyond), Some(Ok(4)));
}

#[test]
fn whoever_was_not_answered_before_the_number_went_back_waits_on() {
    let (mut mount, a) = mounted_with(&Config { answered_max: 1, ..Config::default() });
    let first = wait(&mut mount, a, 3).parked();
    let second = wait(&mut mount, a, 3).parked();
    add(&mut mount, 3).done();
    assert_eq!(mount.pushed(first), Some(Ok(3)));
    set(&mut mount, 0).done();
    mount.advance(10);
    assert_eq!((mount.pushed(second), mount.timers().len()), (None, 0));
    add(&mut mount, 4).done();
    assert_eq!(mount.pushed(second), Some(Ok(4)));
}

#[test]
fn objects_are_counters_of_their_own() {
    let (mut mount, a) = mounted();
    mount.call::<Changed>(a, "one", "add", &Add { by: Some(2) }).done();
    let waiting = mount.call::<i64>(a, "two", "await", &Await { at_least: 1, wait_ms: None });
    let waiting = waiting.parked();
    mount.call::<Changed>(a, "one", "add", &Add { by: Some(2) }).done();
    assert_eq!(mount.pushed(waiting), None);
    assert_eq!(mount.call::<i64>(a, "two", "get", &()).done(), 0);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a) = mounted();
    #[derive(Serialize)]
    struct Misspelt {
        count: i64,
    }
    let answer: Answer<Changed> = mount.call(a, OBJECT, "add", &Misspelt { count: 2 });
    assert_eq!(answer.refused().code, "bad-arguments");
    mount.assert_nothing_left();
}

#[test]
fn any_order_of_calls_and_ends_keeps_the_promises() {
    for seed in 0..60 {
        let mut random = seed;
        let (mut mount, _) = mounted();
        let mut sessions = [mount.session(), mount.session()];
        let mut number = 0;
        let mut waiting: Vec<(SessionId, Ticket<i64>, i64)> = Vec::new();
        for _ in 0..100 {
            let at = (splitmix64(&mut random) % 2) as usize;
            let by = (splitmix64(&mut random) % 21).cast_signed() - 10;
            match splitmix64(&mut random) % 10 {
                0..=3 => number = add(&mut mount, by).done().after,
                4 => {
                    let block = reserve(&mut mount, by.unsigned_abs() + 1).done();
                    assert_eq!(block.first, number, "seed {seed}");
                    number = block.last + 1;
                }
                5 => number = compare_and_set(&mut mount, number, by).done().after,
                6..=8 => match wait(&mut mount, sessions[at], number + by) {
                    Answer::Parked(ticket) => waiting.push((sessions[at], ticket, number + by)),
                    other => assert_eq!((other.done(), by <= 0), (number, true)),
                },
                _ => {
                    mount.close(sessions[at]);
                    waiting.retain(|(session, ..)| *session != sessions[at]);
                    sessions[at] = mount.session();
                }
            }
            assert_eq!(get(&mut mount), number, "seed {seed}");
            waiting.retain(|(_, ticket, at_least)| {
                let told = mount.pushed(*ticket).map(Result::unwrap);
                assert_eq!(told, (*at_least <= number).then_some(number), "seed {seed}");
                told.is_none()
            });
            let znodes = 2 * waiting.len() + usize::from(number != 0);
            assert_eq!(mount.paths().len(), znodes + usize::from(znodes > 0), "seed {seed}");
        }
        assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Counter>(folder);
}
