//! What the queue promises, one test for each promise.

mod simulated;

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "mails";

fn item(text: &str) -> NewItem {
    NewItem { payload: Blob(text.into()), priority: 100, delay_ms: 0 }
}

fn put_all(mount: &mut TestMount<Queue>, session: SessionId, items: Vec<NewItem>) -> Vec<u64> {
    mount.call(session, OBJECT, "put", &Put { items, wait_ms: 0 }).done()
}

fn put(mount: &mut TestMount<Queue>, session: SessionId, texts: &[&str]) -> Vec<u64> {
    put_all(mount, session, texts.iter().map(|text| item(text)).collect())
}

fn put_within(
    mount: &mut TestMount<Queue>,
    session: SessionId,
    texts: &[&str],
    wait_ms: u64,
) -> Answer<Vec<u64>> {
    let items = texts.iter().map(|text| item(text)).collect();
    mount.call(session, OBJECT, "put", &Put { items, wait_ms })
}

fn take_as(
    mount: &mut TestMount<Queue>,
    session: SessionId,
    count: u32,
    wait_ms: Option<u64>,
) -> Answer<Vec<Delivery>> {
    mount.call(session, OBJECT, "take", &Take { count, wait_ms, visibility_ms: None })
}

fn take(mount: &mut TestMount<Queue>, session: SessionId) -> Delivery {
    let mut taken = take_as(mount, session, 1, Some(0)).done();
    assert_eq!(taken.len(), 1);
    taken.remove(0)
}

fn acknowledge(mount: &mut TestMount<Queue>, session: SessionId, of: &[&Delivery]) -> Answer<()> {
    let receipts = of.iter().map(|delivery| delivery.receipt).collect();
    mount.call(session, OBJECT, "acknowledge", &Acknowledge { receipts })
}

fn fail(
    mount: &mut TestMount<Queue>,
    session: SessionId,
    delivery: &Delivery,
    delay_ms: u64,
) -> Answer<()> {
    let reason = "printer on fire".to_owned();
    let failed = NegativeAcknowledge { receipts: vec![delivery.receipt], delay_ms, reason };
    mount.call(session, OBJECT, "negative-acknowledge", &failed)
}

fn length(mount: &mut TestMount<Queue>) -> Lengths {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "length", &()).done()
}

fn dead_letters(mount: &mut TestMount<Queue>) -> Vec<DeadLetter> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "dead-letters", &DeadLetters { after: None, count: 100 }).done()
}

fn text(payload: &Blob) -> &str {
    std::str::from_utf8(&payload.0).unwrap()
}

fn texts(taken: &[Delivery]) -> Vec<&str> {
    taken.iter().map(|delivery| text(&delivery.payload)).collect()
}

/// A mount, and three sessions.
fn mounted() -> (TestMount<Queue>, SessionId, SessionId, SessionId) {
    mounted_with(Config::default())
}

fn mounted_with(config: Config) -> (TestMount<Queue>, SessionId, SessionId, SessionId) {
    let mut mount = TestMount::with_config(&config);
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

#[test]
fn items_are_taken_in_order_of_arrival() {
    let (mut mount, a, b, _) = mounted();
    let first = put(&mut mount, a, &["one", "two"]);
    let second = put(&mut mount, b, &["three"]);
    assert!(first[0] < first[1] && first[1] < second[0]);
    let taken = take_as(&mut mount, b, 100, None).done();
    assert_eq!(texts(&taken), ["one", "two", "three"]);
    assert_eq!(taken[2].receipt.item, second[0]);
    assert_eq!((taken[0].deliveries, taken[0].put_ms), (1, mount.now_ms()));
}

#[test]
fn smaller_priorities_are_taken_first_and_equal_ones_in_order_of_arrival() {
    let (mut mount, a, ..) = mounted();
    for (priority, name) in [(100, "d"), (7, "b"), (65_535, "f"), (100, "e"), (0, "a"), (7, "c")] {
        let _ = put_all(&mut mount, a, vec![NewItem { priority, ..item(name) }]);
    }
    let taken = take_as(&mut mount, a, 100, None).done();
    assert_eq!(texts(&taken), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn priority_delay_and_count_need_not_be_given() {
    #[derive(Serialize)]
    struct Bare {
        items: Vec<BareItem>,
    }
    #[derive(Serialize)]
    struct BareItem {
        payload: Blob,
    }
    let (mut mount, a, ..) = mounted();
    let bare = Bare { items: vec![BareItem { payload: Blob(b"one".into()) }] };
    let _: Vec<u64> = mount.call(a, OBJECT, "put", &bare).done();
    let taken: Vec<Delivery> = mount.call(a, OBJECT, "take", &()).done();
    assert_eq!((taken.len(), taken[0].priority), (1, 100));
}

#[test]
fn a_delayed_item_is_ready_at_its_time_and_not_before() {
    let (mut mount, a, b, _) = mounted();
    let _ = put_all(&mut mount, a, vec![NewItem { delay_ms: 5_000, ..item("later") }]);
    let waiting = take_as(&mut mount, b, 1, None).parked();
    assert_eq!((length(&mut mount).delayed, length(&mut mount).ready), (1, 0));
    mount.advance(4_999);
    assert_eq!(mount.pushed(waiting), None);
    mount.advance(1);
    assert_eq!(texts(&mount.pushed(waiting).unwrap().unwrap()), ["later"]);
}

#[test]
fn a_delay_that_is_over_gives_the_place_of_arrival() {
    let (mut mount, a, ..) = mounted();
    let _ = put_all(&mut mount, a, vec![NewItem { delay_ms: 1_000, ..item("first") }]);
    let _ = put(&mut mount, a, &["second"]);
    mount.advance(1_000);
    assert_eq!(texts(&take_as(&mut mount, a, 2, None).done()), ["first", "second"]);
}

#[test]
fn a_delay_beyond_time_never_ends() {
    let (mut mount, a, ..) = mounted();
    let _ = put_all(&mut mount, a, vec![NewItem { delay_ms: u64::MAX, ..item("never") }]);
    mount.advance(1_000_000_000);
    assert_eq!(length(&mut mount).delayed, 1);
}

#[test]
fn a_taker_waits_and_is_given_the_next_item_by_a_push() {
    let (mut mount, a, b, c) = mounted();
    let first = take_as(&mut mount, b, 1, None).parked();
    let second = take_as(&mut mount, c, 1, None).parked();
    let _ = put(&mut mount, a, &["one"]);
    assert_eq!(texts(&mount.pushed(first).unwrap().unwrap()), ["one"]);
    assert_eq!(mount.pushed(second), None, "nobody is served out of turn");
    let _ = put(&mut mount, a, &["two"]);
    assert_eq!(texts(&mount.pushed(second).unwrap().unwrap()), ["two"]);
}

#[test]
fn a_waiting_taker_is_given_what_there_is_up_to_its_count() {
    let (mut mount, a, b, c) = mounted();
    let pair = take_as(&mut mount, b, 2, None).parked();
    let many = take_as(&mut mount, c, 10, None).parked();
    let _ = put(&mut mount, a, &["one", "two", "three"]);
    assert_eq!(texts(&mount.pushed(pair).unwrap().unwrap()), ["one", "two"]);
    assert_eq!(texts(&mount.pushed(many).unwrap().unwrap()), ["three"]);
}

#[test]
fn a_take_that_may_not_wait_is_refused() {
    let (mut mount, a, ..) = mounted();
    assert_eq!(take_as(&mut mount, a, 1, Some(0)).refused().code, "empty");
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn a_take_ends_at_its_limit_and_leaves_nothing() {
    let (mut mount, a, ..) = mounted();
    let waiting = take_as(&mut mount, a, 1, Some(3_000)).parked();
    mount.advance(2_999);
    assert_eq!(mount.pushed(waiting), None);
    mount.advance(1);
    assert_eq!(mount.pushed(waiting).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn a_take_given_up_is_passed_over() {
    let (mut mount, a, b, c) = mounted();
    let given_up = take_as(&mut mount, b, 1, None).parked();
    let next = take_as(&mut mount, c, 1, None).parked();
    mount.cancel(given_up);
    let _ = put(&mut mount, a, &["one"]);
    assert_eq!(mount.pushed(next).unwrap().unwrap().len(), 1);
    assert_eq!(length(&mut mount), Lengths { taken: 1, ..Lengths::default() });
}

#[test]
fn a_taken_item_is_in_one_pair_of_hands() {
    let (mut mount, a, b, _) = mounted();
    let _ = put(&mut mount, a, &["one"]);
    let _ = take(&mut mount, a);
    assert_eq!(take_as(&mut mount, a, 1, Some(0)).refused().code, "empty");
    assert_eq!(take_as(&mut mount, b, 1, Some(0)).refused().code, "empty");
}

#[test]
fn an_acknowledged_item_is_gone_and_leaves_nothing() {
    let (mut mount, a, b, _) = mounted();
    let _ = put(&mut mount, a, &["one", "two"]);
    let taken = take_as(&mut mount, b, 2, None).done();
    acknowledge(&mut mount, b, &[&taken[0], &taken[1]]).done();
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!(mount.timers(), []);
    mount.advance(1_000_000);
    assert_eq!(length(&mut mount), Lengths::default());
}

#[test]
fn an_item_not_acknowledged_in_time_goes_back_to_its_place() {
    let (mut mount, a, b, c) = mounted();
    let _ = put(&mut mount, a, &["one", "two"]);
    let lost = take(&mut mount, b);
    assert_eq!(lost.due_ms, mount.now_ms() + 30_000);
    mount.advance(29_999);
    assert_eq!(length(&mut mount).ready, 1);
    mount.advance(1);
    let again = take(&mut mount, c);
    assert_eq!((text(&again.payload), again.deliveries), ("one", 2));
    assert!(again.receipt.fence > lost.receipt.fence);
    assert_eq!(acknowledge(&mut mount, b, &[&lost]).refused().code, "not-taken");
    acknowledge(&mut mount, c, &[&again]).done();
    assert_eq!(length(&mut mount).ready, 1);
}

#[test]
fn a_receipt_is_good_once_under_its_fence_and_in_its_session() {
    let (mut mount, a, b, _) = mounted();
    let _ = put(&mut mount, a, &["one"]);
    let taken = take(&mut mount, a);
    assert_eq!(acknowledge(&mut mount, b, &[&taken]).refused().code, "not-taken");
    let mut wrong = taken.clone();
    wrong.receipt.fence += 1;
    let refused = acknowledge(&mut mount, a, &[&wrong]).refused();
    let told: Vec<Receipt> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((refused.code.as_str(), told), ("not-taken", vec![wrong.receipt]));
    assert_eq!(acknowledge(&mut mount, a, &[&taken, &taken]).refused().code, "not-taken");
    acknowledge(&mut mount, a, &[&taken]).done();
    assert_eq!(acknowledge(&mut mount, a, &[&taken]).refused().code, "not-taken");
}

#[test]
fn acknowledging_is_all_or_nothing() {
    let (mut mount, a, ..) = mounted();
    let _ = put(&mut mount, a, &["one", "two"]);
    let taken = take_as(&mut mount, a, 2, None).done();
    acknowledge(&mut mount, a, &[&taken[0]]).done();
    let refused = acknowledge(&mut mount, a, &[&taken[1], &taken[0]]).refused();
    let told: Vec<Receipt> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told, [taken[0].receipt]);
    assert_eq!(length(&mut mount).taken, 1);
}

#[test]
fn every_delivery_of_an_item_has_a_greater_fence() {
    let (mut mount, a, b, _) = mounted_with(Config { deliveries_max: 0, ..Config::default() });
    let _ = put(&mut mount, a, &["one"]);
    let mut last = 0;
    for round in 1..10 {
        let session = [a, b][round % 2];
        let taken = take(&mut mount, session);
        assert!(taken.receipt.fence > last);
        assert_eq!(taken.deliveries as usize, round);
        last = taken.receipt.fence;
        fail(&mut mount, session, &taken, 0).done();
    }
}

#[test]
fn an_item_given_back_is_taken_again_at_its_place_or_later() {
    let (mut mount, a, b, _) = mounted();
    let _ = put(&mut mount, a, &["one", "two"]);
    let first = take(&mut mount, a);
    fail(&mut mount, a, &first, 0).done();
    let again = take(&mut mount, b);
    assert_eq!(text(&again.payload), "one");
    fail(&mut mount, b, &again, 1_000).done();
    let waiting = take_as(&mut mount, b, 5, None).done();
    assert_eq!(texts(&waiting), ["two"]);
    let delayed = take_as(&mut mount, a, 1, None).parked();
    mount.advance(999);
    assert_eq!(mount.pushed(delayed), None);
    mount.advance(1);
    assert_eq!(texts(&mount.pushed(delayed).unwrap().unwrap()), ["one"]);
}

#[test]
fn an_extension_counts_from_now_and_keeps_the_fence() {
    let (mut mount, a, ..) = mounted();
    let _ = put(&mut mount, a, &["one"]);
    let taken = take(&mut mount, a);
    mount.advance(29_000);
    let wanted = Extend { receipts: vec![taken.receipt], visibility_ms: Some(5_000) };
    let due_ms: u64 = mount.call(a, OBJECT, "extend", &wanted).done();
    assert_eq!(due_ms, mount.now_ms() + 5_000);
    mount.advance(4_999);
    assert_eq!(length(&mut mount).taken, 1);
    acknowledge(&mut mount, a, &[&taken]).done();
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn an_extension_may_also_shorten_and_is_refused_when_too_late() {
    let (mut mount, a, ..) = mounted();
    let _ = put(&mut mount, a, &["one"]);
    let taken = take(&mut mount, a);
    let extend = |visibility_ms| Extend { receipts: vec![taken.receipt], visibility_ms };
    let _: u64 = mount.call(a, OBJECT, "extend", &extend(Some(10))).done();
    mount.advance(10);
    assert_eq!(length(&mut mount).ready, 1);
    let late: Answer<u64> = mount.call(a, OBJECT, "extend", &extend(None));
    assert_eq!(late.refused().code, "not-taken");
    for wrong in [0, u64::MAX] {
        let refused: Answer<u64> = mount.call(a, OBJECT, "extend", &extend(Some(wrong)));
        assert_eq!(refused.refused().code, "out-of-range");
    }
}

#[test]
fn a_taker_may_say_how_long_it_needs() {
    let (mut mount, a, ..) = mounted();
    let _ = put(&mut mount, a, &["one"]);
    let wanted = Take { visibility_ms: Some(100), ..Take::default() };
    let taken: Vec<Delivery> = mount.call(a, OBJECT, "take", &wanted).done();
    assert_eq!(taken[0].due_ms, mount.now_ms() + 100);
    mount.advance(100);
    assert_eq!(length(&mut mount).ready, 1);
}

#[test]
fn the_end_of_a_takers_session_gives_its_items_back_at_once() {
    let (mut mount, a, b, c) = mounted();
    let _ = put(&mut mount, a, &["one", "two", "three"]);
    let lost = take_as(&mut mount, b, 2, None).done();
    let kept = take(&mut mount, c);
    let waiting = take_as(&mut mount, c, 5, None).parked();
    mount.close(b);
    let again = mount.pushed(waiting).unwrap().unwrap();
    assert_eq!(texts(&again), ["one", "two"]);
    assert!(again[0].receipt.fence > lost[0].receipt.fence);
    acknowledge(&mut mount, c, &[&kept, &again[0], &again[1]]).done();
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn a_session_that_ends_is_given_none_of_its_items_again() {
    let (mut mount, a, b, c) = mounted();
    let _ = put(&mut mount, a, &["one"]);
    let _ = take(&mut mount, b);
    let own = take_as(&mut mount, b, 1, None).parked();
    let other = take_as(&mut mount, c, 1, None).parked();
    mount.close(b);
    assert_eq!(mount.pushed(own), None);
    assert_eq!(texts(&mount.pushed(other).unwrap().unwrap()), ["one"]);
    assert_eq!(length(&mut mount), Lengths { taken: 1, ..Lengths::default() });
    assert!(mount.faults().is_empty());
}

#[test]
fn the_end_of_a_session_gives_back_as_many_items_as_it_may_hold() {
    let (mut mount, a, b, _) = mounted();
    let _ = put(&mut mount, a, &["x"; 100]);
    let _ = take_as(&mut mount, b, 100, None).done();
    let _ = put(&mut mount, a, &["y"]);
    assert_eq!(take_as(&mut mount, b, 1, None).refused().code, "too-many-taken");
    mount.close(b);
    assert_eq!(length(&mut mount), Lengths { ready: 101, ..Lengths::default() });
}

#[test]
fn a_waiting_taker_whose_session_holds_too_much_is_told() {
    let (mut mount, a, b, _) = mounted_with(Config { taken_max: 2, ..Config::default() });
    let first = take_as(&mut mount, b, 5, None).parked();
    let second = take_as(&mut mount, b, 5, None).parked();
    let _ = put(&mut mount, a, &["one", "two", "three"]);
    assert_eq!(texts(&mount.pushed(first).unwrap().unwrap()), ["one", "two"]);
    assert_eq!(mount.pushed(second).unwrap().unwrap_err().code, "too-many-taken");
    assert_eq!(length(&mut mount), Lengths { ready: 1, taken: 2, ..Lengths::default() });
}

#[test]
fn an_item_delivered_too_often_is_a_dead_letter() {
    let (mut mount, a, ..) = mounted_with(Config { deliveries_max: 3, ..Config::default() });
    let numbers = put(&mut mount, a, &["poison"]);
    let first = take(&mut mount, a);
    fail(&mut mount, a, &first, 0).done();
    let second = take(&mut mount, a);
    mount.advance(30_000);
    assert_eq!((second.deliveries, length(&mut mount).dead), (2, 0));
    let third = take(&mut mount, a);
    fail(&mut mount, a, &third, 60_000).done();
    assert_eq!(length(&mut mount), Lengths { dead: 1, ..Lengths::default() });
    let dead = dead_letters(&mut mount);
    assert_eq!((dead[0].item, dead[0].deliveries), (numbers[0], 3));
    assert_eq!((text(&dead[0].payload), dead[0].reason.as_str()), ("poison", "printer on fire"));
    assert_eq!(take_as(&mut mount, a, 1, Some(0)).refused().code, "empty");
}

#[test]
fn a_session_that_ends_and_a_time_that_is_over_count_as_deliveries() {
    let (mut mount, a, b, _) = mounted_with(Config { deliveries_max: 1, ..Config::default() });
    let _ = put(&mut mount, a, &["one", "two"]);
    let _ = take(&mut mount, a);
    mount.advance(30_000);
    let _ = take(&mut mount, b);
    mount.close(b);
    let reasons: Vec<String> =
        dead_letters(&mut mount).into_iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, ["its taker's time was over", "the session of its taker ended"]);
}

#[test]
fn dead_letters_are_redriven_to_their_old_places() {
    let (mut mount, a, b, _) = mounted_with(Config { deliveries_max: 1, ..Config::default() });
    let numbers = put(&mut mount, a, &["one", "two", "three"]);
    for delivery in take_as(&mut mount, a, 2, None).done() {
        fail(&mut mount, a, &delivery, 0).done();
    }
    let unknown = Selection { items: Some(vec![numbers[0], numbers[2]]) };
    let refused: Answer<u64> = mount.call(a, OBJECT, "redrive", &unknown);
    assert_eq!(refused.refused().code, "no-such-item");
    assert_eq!(length(&mut mount).dead, 2, "a refused redrive changes nothing");
    let one = Selection { items: Some(vec![numbers[1]]) };
    assert_eq!(mount.call::<u64>(a, OBJECT, "redrive", &one).done(), 1);
    assert_eq!(mount.call::<u64>(a, OBJECT, "redrive", &Selection::default()).done(), 1);
    let taken = take_as(&mut mount, b, 5, None).done();
    assert_eq!(texts(&taken), ["one", "two", "three"]);
    assert!(taken.iter().all(|delivery| delivery.deliveries == 1));
}

#[test]
fn a_redrive_wakes_those_who_wait() {
    let (mut mount, a, b, _) = mounted_with(Config { deliveries_max: 1, ..Config::default() });
    let _ = put(&mut mount, a, &["one"]);
    let taken = take(&mut mount, a);
    let waiting = take_as(&mut mount, b, 1, None).parked();
    fail(&mut mount, a, &taken, 0).done();
    assert_eq!(mount.pushed(waiting), None);
    let _: u64 = mount.call(a, OBJECT, "redrive", &Selection::default()).done();
    assert_eq!(texts(&mount.pushed(waiting).unwrap().unwrap()), ["one"]);
}

#[test]
fn dead_letters_count_until_they_are_discarded() {
    let config = Config { deliveries_max: 1, length_max: 2, ..Config::default() };
    let (mut mount, a, b, _) = mounted_with(config);
    let _ = put(&mut mount, a, &["one", "two"]);
    for delivery in take_as(&mut mount, a, 2, None).done() {
        fail(&mut mount, a, &delivery, 0).done();
    }
    let refused = put_within(&mut mount, a, &["three"], 0).refused();
    let told: Lengths = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((refused.code.as_str(), told.dead), ("full", 2));
    let waiting = put_within(&mut mount, b, &["three", "four"], 1_000).parked();
    let oldest = Selection { items: Some(vec![dead_letters(&mut mount)[0].item]) };
    assert_eq!(mount.call::<u64>(a, OBJECT, "discard", &oldest).done(), 1);
    assert_eq!(mount.pushed(waiting), None);
    assert_eq!(mount.call::<u64>(a, OBJECT, "discard", &Selection::default()).done(), 1);
    assert_eq!(mount.pushed(waiting).unwrap().unwrap().len(), 2);
    assert_eq!(texts(&take_as(&mut mount, a, 5, None).done()), ["three", "four"]);
}

#[test]
fn dead_letters_are_told_page_by_page() {
    let (mut mount, a, ..) = mounted_with(Config { deliveries_max: 1, ..Config::default() });
    let numbers = put(&mut mount, a, &["one", "two", "three"]);
    for delivery in take_as(&mut mount, a, 3, None).done() {
        fail(&mut mount, a, &delivery, 0).done();
    }
    let page = |after| DeadLetters { after, count: 2 };
    let first: Vec<DeadLetter> = mount.call(a, OBJECT, "dead-letters", &page(None)).done();
    assert_eq!((first[0].item, first[1].item), (numbers[0], numbers[1]));
    let rest = page(Some(first[1].item));
    let rest: Vec<DeadLetter> = mount.call(a, OBJECT, "dead-letters", &rest).done();
    assert_eq!(rest.iter().map(|letter| letter.item).collect::<Vec<_>>(), [numbers[2]]);
}

#[test]
fn a_full_queue_refuses_or_lets_wait_for_room() {
    let (mut mount, a, b, c) = mounted_with(Config { length_max: 2, ..Config::default() });
    let _ = put(&mut mount, a, &["one", "two"]);
    let taken = take(&mut mount, a);
    assert_eq!(put_within(&mut mount, a, &["three"], 0).refused().code, "full");
    let large = put_within(&mut mount, b, &["three", "four"], 5_000).parked();
    let small = put_within(&mut mount, c, &["five"], 5_000).parked();
    acknowledge(&mut mount, a, &[&taken]).done();
    assert_eq!(mount.pushed(small), None, "a put does not overtake");
    assert_eq!(put_within(&mut mount, a, &["six"], 0).refused().code, "full");
    let taken = take(&mut mount, a);
    acknowledge(&mut mount, a, &[&taken]).done();
    assert_eq!(mount.pushed(large).unwrap().unwrap().len(), 2);
    assert_eq!(mount.pushed(small), None);
    let taken = take(&mut mount, a);
    acknowledge(&mut mount, a, &[&taken]).done();
    assert_eq!(mount.pushed(small).unwrap().unwrap().len(), 1);
    assert_eq!(texts(&take_as(&mut mount, a, 9, None).done()), ["four", "five"]);
}

#[test]
fn a_put_whose_wait_ends_makes_way_for_the_next() {
    let (mut mount, a, b, c) = mounted_with(Config { length_max: 2, ..Config::default() });
    let _ = put(&mut mount, a, &["one"]);
    let large = put_within(&mut mount, b, &["two", "three"], 1_000).parked();
    let small = put_within(&mut mount, c, &["four"], 5_000).parked();
    let taker = take_as(&mut mount, a, 1, None).done();
    assert_eq!(texts(&taker), ["one"]);
    mount.advance(1_000);
    assert_eq!(mount.pushed(large).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.pushed(small).unwrap().unwrap().len(), 1);
    assert_eq!(length(&mut mount), Lengths { ready: 1, taken: 1, ..Lengths::default() });
}

#[test]
fn the_end_of_a_putters_session_makes_way_for_the_next() {
    let (mut mount, a, b, c) = mounted_with(Config { length_max: 1, ..Config::default() });
    let _ = put(&mut mount, a, &["one"]);
    let taken = take(&mut mount, a);
    let gone = put_within(&mut mount, b, &["two"], 60_000).parked();
    let next = put_within(&mut mount, c, &["three"], 60_000).parked();
    mount.close(b);
    assert_eq!(length(&mut mount).putters, 1);
    acknowledge(&mut mount, a, &[&taken]).done();
    assert_eq!(mount.pushed(gone), None);
    assert_eq!(mount.pushed(next).unwrap().unwrap().len(), 1);
    assert!(mount.faults().is_empty());
}

#[test]
fn one_session_may_be_putter_and_taker_and_end() {
    let (mut mount, a, b, _) = mounted_with(Config { length_max: 1, ..Config::default() });
    let _ = put(&mut mount, a, &["one"]);
    let _ = take(&mut mount, a);
    let own_put = put_within(&mut mount, a, &["two"], 60_000).parked();
    let own_take = take_as(&mut mount, a, 1, None).parked();
    let other = take_as(&mut mount, b, 1, None).parked();
    mount.close(a);
    assert_eq!((mount.pushed(own_put), mount.pushed(own_take)), (None, None));
    let taken = mount.pushed(other).unwrap().unwrap();
    acknowledge(&mut mount, b, &[&taken[0]]).done();
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn waiting_is_bounded_too() {
    let config = Config { length_max: 1, takers_max: 1, putters_max: 1, ..Config::default() };
    let (mut mount, a, b, _) = mounted_with(config);
    let taker = take_as(&mut mount, a, 1, None).parked();
    assert_eq!(take_as(&mut mount, b, 1, None).refused().code, "too-many-takers");
    let _ = put(&mut mount, a, &["one"]);
    let _ = mount.pushed(taker).unwrap().unwrap();
    let _ = put_within(&mut mount, a, &["two"], 9).parked();
    assert_eq!(put_within(&mut mount, b, &["two"], 9).refused().code, "too-many-putters");
}

#[test]
fn batches_and_payloads_are_bounded() {
    let (mut mount, a, ..) = mounted();
    let none: [&str; 0] = [];
    assert_eq!(put_within(&mut mount, a, &none, 0).refused().code, "out-of-range");
    assert_eq!(put_within(&mut mount, a, &["x"; 101], 0).refused().code, "out-of-range");
    assert_eq!(take_as(&mut mount, a, 0, None).refused().code, "out-of-range");
    assert_eq!(take_as(&mut mount, a, 101, None).refused().code, "out-of-range");
    let large = "x".repeat((64 << 10) + 1);
    assert_eq!(put_within(&mut mount, a, &[&large], 0).refused().code, "too-large");
    let fits = &large[1..];
    assert_eq!(put_within(&mut mount, a, &[fits; 4], 0).refused().code, "too-large");
    let _ = put(&mut mount, a, &[fits; 3]);
}

#[test]
fn a_batch_larger_than_the_queue_does_not_wait_for_ever() {
    let (mut mount, a, ..) = mounted_with(Config { length_max: 2, ..Config::default() });
    assert_eq!(put_within(&mut mount, a, &["x"; 3], 1_000).refused().code, "out-of-range");
}

#[test]
fn a_reply_holds_as_many_items_as_fit() {
    let (mut mount, a, ..) = mounted();
    let large = "x".repeat(60 << 10);
    for _ in 0..4 {
        let _ = put(&mut mount, a, &[&large]);
    }
    assert_eq!(take_as(&mut mount, a, 100, None).done().len(), 3);
    let ready: Vec<ReadyItem> = mount.call(a, OBJECT, "peek", &Peek { count: 100 }).done();
    assert_eq!(ready.len(), 1);
}

#[test]
fn what_one_run_cannot_do_the_next_one_does() {
    let (mut mount, a, b, _) = mounted_with(Config { length_max: 100, ..Config::default() });
    let _ = put(&mut mount, a, &["x"; 100]);
    let taken = take_as(&mut mount, a, 100, None).done();
    let large = "y".repeat(60 << 10);
    let puts: Vec<_> = (0..33)
        .map(|_| put_within(&mut mount, b, &[&large, &large, &large], 60_000).parked())
        .collect();
    acknowledge(&mut mount, a, &taken.iter().collect::<Vec<_>>()).done();
    let at_once = length(&mut mount);
    assert!(at_once.putters > 0, "{at_once:?}");
    mount.advance(100);
    assert_eq!(length(&mut mount), Lengths { ready: 99, ..Lengths::default() });
    for ticket in puts {
        assert_eq!(mount.pushed(ticket).unwrap().unwrap().len(), 3);
    }
    assert!(mount.faults().is_empty());
}

#[test]
fn a_peek_takes_nothing() {
    let (mut mount, a, ..) = mounted();
    let numbers = put(&mut mount, a, &["one", "two"]);
    let ready: Vec<ReadyItem> = mount.call(a, OBJECT, "peek", &Peek { count: 5 }).done();
    assert_eq!(ready.iter().map(|item| item.item).collect::<Vec<_>>(), numbers);
    assert_eq!((text(&ready[0].payload), ready[0].deliveries), ("one", 0));
    assert_eq!(length(&mut mount), Lengths { ready: 2, ..Lengths::default() });
    let none: Vec<ReadyItem> = mount.call(a, "nothing", "peek", &Peek { count: 5 }).done();
    assert_eq!(none, []);
}

#[test]
fn objects_are_queues_of_their_own() {
    let (mut mount, a, b, _) = mounted();
    let letter = Put { items: vec![item("one")], wait_ms: 0 };
    let _: Vec<u64> = mount.call(a, "one", "put", &letter).done();
    let _: Vec<u64> = mount.call(a, "two", "put", &letter).done();
    for object in ["one", "two"] {
        let taken: Vec<Delivery> = mount.call(b, object, "take", &Take::default()).done();
        assert_eq!(taken.len(), 1);
    }
    mount.close(b);
    for object in ["one", "two"] {
        let lengths: Lengths = mount.call(a, object, "length", &()).done();
        assert_eq!(lengths, Lengths { ready: 1, ..Lengths::default() });
    }
}

#[test]
fn a_configuration_that_no_run_could_keep_is_refused() {
    let (mut mount, ..) = mounted();
    let good = Config::default();
    let wrong = [
        Config { length_max: 0, ..good },
        Config { batch_max: 101, ..good },
        Config { batch_max: 0, ..good },
        Config { payload_bytes_max: 196_609, ..good },
        Config { taken_max: 101, ..good },
        Config { visibility_ms: 0, ..good },
        Config { visibility_ms_max: 29_999, ..good },
    ];
    for config in wrong {
        assert_eq!(mount.configure(&config).unwrap_err().code, "bad-config", "{config:?}");
    }
    mount.configure(&Config { length_max: 1, ..good }).unwrap();
}

#[test]
fn a_queue_made_shorter_keeps_what_it_has() {
    let (mut mount, a, ..) = mounted();
    let _ = put(&mut mount, a, &["one", "two", "three"]);
    mount.configure(&Config { length_max: 1, ..Config::default() }).unwrap();
    assert_eq!(put_within(&mut mount, a, &["four"], 0).refused().code, "full");
    assert_eq!(take_as(&mut mount, a, 9, None).done().len(), 3);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    #[derive(Serialize)]
    struct Misspelt {
        wait: u64,
    }
    let (mut mount, a, ..) = mounted();
    let answer: Answer<Vec<Delivery>> = mount.call(a, OBJECT, "take", &Misspelt { wait: 0 });
    assert_eq!(answer.refused().code, "bad-arguments");
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn a_reason_is_cut_between_letters() {
    let (mut mount, a, ..) = mounted_with(Config { deliveries_max: 1, ..Config::default() });
    let _ = put(&mut mount, a, &["one"]);
    let taken = take(&mut mount, a);
    let reason = format!("x{}", "é".repeat(200));
    let receipts = vec![taken.receipt];
    let failed = NegativeAcknowledge { receipts, delay_ms: 0, reason };
    mount.call::<()>(a, OBJECT, "negative-acknowledge", &failed).done();
    assert_eq!(dead_letters(&mut mount)[0].reason.len(), 255);
}

/// Who has what, by the deliveries seen from outside.
#[derive(Default)]
struct Model {
    put: Vec<u64>,
    acknowledged: Vec<u64>,
    held: Vec<(SessionId, Delivery)>,
    takers: Vec<(SessionId, Ticket<Vec<Delivery>>)>,
    putters: Vec<(SessionId, Ticket<Vec<u64>>)>,
    last_fence: std::collections::BTreeMap<u64, u64>,
}

impl Model {
    fn delivered(&mut self, session: SessionId, taken: Vec<Delivery>, now_ms: u64, seed: u64) {
        self.held.retain(|(_, delivery)| delivery.due_ms > now_ms);
        for delivery in taken {
            let Receipt { item, fence } = delivery.receipt;
            let is_held = self.held.iter().any(|(_, other)| other.receipt.item == item);
            assert!(!is_held, "item {item} is in two hands, seed {seed}");
            assert!(!self.acknowledged.contains(&item), "item {item} came again, seed {seed}");
            let last = self.last_fence.insert(item, fence);
            assert!(last < Some(fence), "a fence went back, seed {seed}");
            self.held.push((session, delivery));
        }
    }

    /// Takes in what was pushed, and compares the counts.
    fn settle(&mut self, mount: &mut TestMount<Queue>, seed: u64) {
        let now_ms = mount.now_ms();
        for (_, ticket) in &self.putters {
            if let Some(Ok(numbers)) = mount.pushed(*ticket) {
                self.put.extend(numbers);
            }
        }
        for (session, ticket) in std::mem::take(&mut self.takers) {
            match mount.pushed(ticket) {
                Some(Ok(taken)) => self.delivered(session, taken, now_ms, seed),
                Some(Err(refusal)) => assert_eq!(refusal.code, "timed-out", "seed {seed}"),
                None => self.takers.push((session, ticket)),
            }
        }
        self.held.retain(|(_, delivery)| delivery.due_ms > now_ms);
        let lengths = length(mount);
        assert_eq!(lengths.taken as usize, self.held.len(), "seed {seed}: {lengths:?}");
        let there = lengths.ready + lengths.delayed + lengths.taken + lengths.dead;
        assert_eq!(
            there as usize,
            self.put.len() - self.acknowledged.len(),
            "an item is lost or doubled, seed {seed}: {lengths:?}"
        );
        assert!(there <= 6, "longer than it may be, seed {seed}");
        assert!(lengths.ready == 0 || lengths.takers == 0, "somebody waits in vain, seed {seed}");
        assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
    }
}

#[test]
fn any_order_of_calls_ends_and_time_keeps_the_promises() {
    for seed in 0..60 {
        let mut state = seed;
        let config =
            Config { length_max: 6, deliveries_max: 3, visibility_ms: 2_000, ..Config::default() };
        let mut mount = TestMount::<Queue>::with_config(&config);
        let mut model = Model::default();
        let mut sessions: Vec<SessionId> = (0..4).map(|_| mount.session()).collect();
        for _ in 0..80 {
            let at = (splitmix64(&mut state) % sessions.len() as u64) as usize;
            let session = sessions[at];
            match splitmix64(&mut state) % 12 {
                0..=3 => step_put(&mut mount, &mut model, session, &mut state),
                4..=6 => step_take(&mut mount, &mut model, (session, seed), &mut state),
                7 | 8 => step_end(&mut mount, &mut model, &mut state),
                9 => mount.advance(splitmix64(&mut state) % 1_500),
                10 => {
                    let operation = ["redrive", "discard"][(splitmix64(&mut state) % 2) as usize];
                    let dead = dead_letters(&mut mount);
                    let count: u64 =
                        mount.call(session, OBJECT, operation, &Selection::default()).done();
                    assert_eq!(count as usize, dead.len(), "seed {seed}");
                    if operation == "discard" {
                        model.acknowledged.extend(dead.iter().map(|letter| letter.item));
                    }
                }
                _ => {
                    sessions[at] = mount.session();
                    mount.close(session);
                    model.held.retain(|(holder, _)| *holder != session);
                    model.takers.retain(|(taker, _)| *taker != session);
                    model.putters.retain(|(putter, _)| *putter != session);
                }
            }
            model.settle(&mut mount, seed);
        }
    }
}

fn step_put(mount: &mut TestMount<Queue>, model: &mut Model, session: SessionId, state: &mut u64) {
    let count = 1 + splitmix64(state) % 3;
    let mut new = |_| NewItem {
        priority: (splitmix64(state) % 3) as u16,
        delay_ms: [0, 0, 700][(splitmix64(state) % 3) as usize],
        ..item("x")
    };
    let items: Vec<NewItem> = (0..count).map(&mut new).collect();
    let wait_ms = [0, 1_000][(splitmix64(state) % 2) as usize];
    match mount.call(session, OBJECT, "put", &Put { items, wait_ms }) {
        Answer::Done(numbers) => model.put.extend::<Vec<u64>>(numbers),
        Answer::Parked(ticket) => model.putters.push((session, ticket)),
        Answer::Refused(failure) => assert_eq!(failure.code, "full"),
    }
}

fn step_take(
    mount: &mut TestMount<Queue>,
    model: &mut Model,
    (session, seed): (SessionId, u64),
    state: &mut u64,
) {
    let count = 1 + (splitmix64(state) % 3) as u32;
    let wait_ms = [Some(0), Some(900), None][(splitmix64(state) % 3) as usize];
    match take_as(mount, session, count, wait_ms) {
        Answer::Done(taken) => model.delivered(session, taken, mount.now_ms(), seed),
        Answer::Parked(ticket) => model.takers.push((session, ticket)),
        Answer::Refused(failure) => assert_eq!(failure.code, "empty", "seed {seed}"),
    }
}

fn step_end(mount: &mut TestMount<Queue>, model: &mut Model, state: &mut u64) {
    if model.held.is_empty() {
        return;
    }
    let at = (splitmix64(state) % model.held.len() as u64) as usize;
    let (session, delivery) = model.held.remove(at);
    if splitmix64(state).is_multiple_of(2) {
        acknowledge(mount, session, &[&delivery]).done();
        model.acknowledged.push(delivery.receipt.item);
    } else {
        fail(mount, session, &delivery, [0, 600][(splitmix64(state) % 2) as usize]).done();
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Queue>(folder);
}
