//! How a lock is held: reentrantly, for so long, until revoked or broken, and what is kept after the
//! end of a session.

use super::*;

type Mount = TestMount<Lock>;

fn ask(mount: &mut Mount, session: SessionId, wanted: Acquire) -> Answer<Grant> {
    mount.call(session, OBJECT, "acquire", &wanted)
}

fn reentrant() -> Acquire {
    Acquire { reentrant: true, ..Acquire::default() }
}

fn for_ms(hold_ms: u64) -> Acquire {
    Acquire { hold_ms: Some(hold_ms), ..Acquire::default() }
}

fn revoke(mount: &mut Mount, within_ms: u64) -> Answer<Holder> {
    let other = mount.session();
    mount.call(other, OBJECT, "revoke", &Revoke { within_ms, fence: None })
}

fn break_it(mount: &mut Mount) -> Answer<Option<Holder>> {
    let operator = mount.session();
    mount.call(operator, OBJECT, "break", &Break::default())
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
fn a_reentrant_hold_is_released_as_often_as_it_was_taken() {
    let (mut mount, a, b, _) = mounted();
    let first = ask(&mut mount, a, reentrant()).done();
    let waiting = acquire(&mut mount, b).parked();
    let second = ask(&mut mount, a, reentrant()).done();
    assert_eq!(second, first, "it is one grant");
    assert_eq!(holder(&mut mount).unwrap().depth, 2);
    release(&mut mount, a, first.fence).done();
    assert_eq!(mount.pushed(waiting), None);
    release(&mut mount, a, first.fence).done();
    let next = pushed(&mut mount, waiting);
    assert_eq!(release(&mut mount, a, first.fence).refused().code, "not-holder");
    release(&mut mount, b, next.fence).done();
    nothing_is_left(&mount);
}

#[test]
fn only_reentrant_acquires_of_the_holding_session_are_counted() {
    let (mut mount, a, b, c) = mounted();
    let first = ask(&mut mount, a, reentrant()).done();
    let line = [
        acquire(&mut mount, a).parked(),
        ask(&mut mount, b, reentrant()).parked(),
        acquire(&mut mount, c).parked(),
    ];
    release(&mut mount, a, first.fence).done();
    let plain = pushed(&mut mount, line[0]);
    assert_eq!(holder(&mut mount).unwrap().depth, 0);
    let again = ask(&mut mount, a, reentrant()).parked();
    release(&mut mount, a, plain.fence).done();
    let waited = pushed(&mut mount, line[1]);
    let counted = ask(&mut mount, b, reentrant()).done();
    assert_eq!(counted, waited, "also of one that had to wait");
    mount.close(b);
    pushed(&mut mount, line[2]);
    mount.close(c);
    pushed(&mut mount, again);
}

#[test]
fn a_hold_ends_at_its_limit_and_not_before() {
    let (mut mount, a, b, _) = mounted();
    let held = ask(&mut mount, a, for_ms(1_000)).done();
    assert_eq!(holder(&mut mount).unwrap().ends_at_ms, Some(mount.now_ms() + 1_000));
    let waiting = ask(&mut mount, b, for_ms(500)).parked();
    mount.advance(999);
    assert_eq!(mount.pushed(waiting), None);
    mount.advance(1);
    let next = pushed(&mut mount, waiting);
    assert!(next.fence > held.fence);
    assert_eq!(release(&mut mount, a, held.fence).refused().code, "not-holder");
    assert_eq!(
        holder(&mut mount).unwrap().ends_at_ms,
        Some(mount.now_ms() + 500),
        "from its grant"
    );
    mount.advance(500);
    nothing_is_left(&mount);
}

#[test]
fn a_hold_released_before_its_limit_leaves_nothing() {
    let (mut mount, a, ..) = mounted();
    let held = ask(&mut mount, a, for_ms(1_000)).done();
    release(&mut mount, a, held.fence).done();
    nothing_is_left(&mount);
    ask(&mut mount, a, for_ms(1_000)).done();
    mount.close(a);
    nothing_is_left(&mount);
}

#[test]
fn a_limit_of_nothing_is_refused_and_one_without_end_is_none() {
    let (mut mount, a, ..) = mounted();
    assert_eq!(ask(&mut mount, a, for_ms(0)).refused().code, "out-of-range");
    ask(&mut mount, a, for_ms(u64::MAX)).done();
    mount.advance(1_000_000_000);
    assert_eq!(holder(&mut mount).unwrap().session, a);
}

#[test]
fn a_reentrant_acquire_puts_the_limit_off_and_never_brings_it_forward() {
    let (mut mount, a, ..) = mounted();
    let hold = |hold_ms| Acquire { hold_ms, ..reentrant() };
    ask(&mut mount, a, hold(Some(1_000))).done();
    mount.advance(500);
    ask(&mut mount, a, hold(Some(100))).done();
    ask(&mut mount, a, hold(None)).done();
    assert_eq!(holder(&mut mount).unwrap().ends_at_ms, Some(mount.now_ms() + 500));
    ask(&mut mount, a, hold(Some(800))).done();
    mount.advance(799);
    assert_eq!(holder(&mut mount).unwrap().depth, 4);
    mount.advance(1);
    nothing_is_left(&mount);
    let endless = ask(&mut mount, a, hold(None)).done();
    ask(&mut mount, a, hold(Some(10))).done();
    assert_eq!(holder(&mut mount).unwrap().ends_at_ms, None);
    release(&mut mount, a, endless.fence).done();
    release(&mut mount, a, endless.fence).done();
    nothing_is_left(&mount);
}

#[test]
fn a_revoked_holder_is_told_by_when_and_then_displaced() {
    let (mut mount, a, b, _) = mounted();
    let held = acquire(&mut mount, a).done();
    let waiting = acquire(&mut mount, b).parked();
    let told = revoke(&mut mount, 2_000).done();
    let at_ms = mount.now_ms() + 2_000;
    assert_eq!((told.session, told.revoke_at_ms), (a, Some(at_ms)));
    assert_eq!(holder(&mut mount).unwrap(), told, "whoever asks or watches sees it");
    mount.advance(1_000);
    assert_eq!(revoke(&mut mount, 5_000).done().revoke_at_ms, Some(at_ms), "never later");
    mount.advance(999);
    assert_eq!(mount.pushed(waiting), None);
    mount.advance(1);
    pushed(&mut mount, waiting);
    assert_eq!(release(&mut mount, a, held.fence).refused().code, "not-holder");
    assert_eq!(holder(&mut mount).unwrap().revoke_at_ms, None, "the next one is not asked");
    mount.close(b);
    nothing_is_left(&mount);
}

#[test]
fn a_revoked_holder_that_releases_in_time_is_not_displaced() {
    let (mut mount, a, b, _) = mounted();
    let held = acquire(&mut mount, a).done();
    revoke(&mut mount, 2_000).done();
    revoke(&mut mount, 1_000).done();
    release(&mut mount, a, held.fence).done();
    nothing_is_left(&mount);
    acquire(&mut mount, b).done();
    mount.advance(10_000);
    assert_eq!(holder(&mut mount).unwrap().session, b);
}

#[test]
fn the_earlier_of_limit_and_revocation_counts() {
    for (hold_ms, revoke_ms) in [(1_000, 2_000), (2_000, 1_000)] {
        let (mut mount, a, ..) = mounted();
        ask(&mut mount, a, for_ms(hold_ms)).done();
        revoke(&mut mount, revoke_ms).done();
        mount.advance(999);
        assert!(holder(&mut mount).is_some());
        mount.advance(1);
        nothing_is_left(&mount);
    }
}

#[test]
fn one_that_is_not_meant_is_neither_revoked_nor_broken() {
    let (mut mount, a, b, _) = mounted();
    assert_eq!(revoke(&mut mount, 1).refused().code, "free");
    assert_eq!(break_it(&mut mount).refused().code, "free");
    let held = acquire(&mut mount, a).done();
    let fence = Some(held.fence - 1);
    let revoked: Answer<Holder> = mount.call(b, OBJECT, "revoke", &Revoke { within_ms: 1, fence });
    let refused = revoked.refused();
    assert_eq!(refused.code, "other-holder");
    let told: Option<Holder> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.unwrap().fence, held.fence);
    let broken: Answer<Option<Holder>> = mount.call(b, OBJECT, "break", &Break { fence });
    assert_eq!(broken.refused().code, "other-holder");
    let fence = Some(held.fence);
    let _: Holder = mount.call(b, OBJECT, "revoke", &Revoke { within_ms: 1, fence }).done();
    let broken: Option<Holder> = mount.call(b, OBJECT, "break", &Break { fence }).done();
    assert_eq!(broken.unwrap().session, a);
    nothing_is_left(&mount);
}

#[test]
fn a_broken_lock_passes_on_and_says_who_was_displaced() {
    let (mut mount, a, b, _) = mounted();
    let held = ask(&mut mount, a, reentrant()).done();
    ask(&mut mount, a, reentrant()).done();
    let waiting = acquire(&mut mount, b).parked();
    let displaced = break_it(&mut mount).done().unwrap();
    assert_eq!((displaced.session, displaced.fence), (a, held.fence));
    let next = pushed(&mut mount, waiting);
    assert!(next.fence > held.fence);
    assert_eq!(release(&mut mount, a, held.fence).refused().code, "not-holder");
}

#[test]
fn only_admins_break_where_the_mount_names_them() {
    let config = Config { admins: vec!["user-2".into()], ..Config::default() };
    let mut mount = Mount::with_config(&config);
    let (a, admin) = (mount.session(), mount.session());
    acquire(&mut mount, a).done();
    let refused: Answer<Option<Holder>> = mount.call(a, OBJECT, "break", &Break::default());
    assert_eq!(refused.refused().code, "not-admin");
    let displaced: Option<Holder> = mount.call(admin, OBJECT, "break", &Break::default()).done();
    assert_eq!(displaced.unwrap().session, a);
}

#[test]
fn after_the_end_of_a_session_the_lock_is_kept_for_the_delay() {
    let mut mount = Mount::with_config(&Config { delay_ms: 15_000, ..Config::default() });
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    acquire(&mut mount, a).done();
    let waiting = acquire(&mut mount, b).parked();
    mount.close(a);
    assert_eq!(holder(&mut mount), None);
    let refused = acquire_within(&mut mount, c, 0).refused();
    assert_eq!(refused.code, "held");
    let told: Option<Holder> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told, None);
    let behind = acquire(&mut mount, c).parked();
    mount.advance(14_999);
    assert_eq!(mount.pushed(waiting), None);
    mount.advance(1);
    let next = pushed(&mut mount, waiting);
    release(&mut mount, b, next.fence).done();
    let last = pushed(&mut mount, behind);
    release(&mut mount, c, last.fence).done();
    nothing_is_left(&mount);
}

#[test]
fn a_release_a_limit_and_a_break_know_no_delay() {
    let mut mount = Mount::with_config(&Config { delay_ms: 15_000, ..Config::default() });
    let a = mount.session();
    let held = acquire(&mut mount, a).done();
    release(&mut mount, a, held.fence).done();
    ask(&mut mount, a, for_ms(10)).done();
    mount.advance(10);
    acquire(&mut mount, a).done();
    break_it(&mut mount).done();
    nothing_is_left(&mount);
}

#[test]
fn a_holder_may_say_how_long_its_lock_is_kept() {
    for (of_mount, own, kept_ms) in [(0, Some(700), 700), (15_000, Some(0), 0), (300, None, 300)] {
        let mut mount = Mount::with_config(&Config { delay_ms: of_mount, ..Config::default() });
        let a = mount.session();
        let wanted = Acquire { delay_ms: own, ..Acquire::default() };
        ask(&mut mount, a, wanted).done();
        mount.close(a);
        if kept_ms > 0 {
            assert_eq!(mount.timers(), [(OBJECT, "deadline-orders", mount.now_ms() + kept_ms)]);
            mount.advance(kept_ms - 1);
            assert_eq!(mount.paths(), ["orders", "orders/delay"]);
            mount.advance(1);
        }
        nothing_is_left(&mount);
    }
}

#[test]
fn a_waiter_that_leaves_or_ends_during_the_delay_gets_nothing() {
    let mut mount = Mount::with_config(&Config { delay_ms: 1_000, ..Config::default() });
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    acquire(&mut mount, a).done();
    acquire(&mut mount, b).parked();
    let short = acquire_within(&mut mount, c, 500).parked();
    let long = acquire(&mut mount, c).parked();
    mount.close(a);
    mount.close(b);
    mount.advance(999);
    assert_eq!(mount.pushed(short).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.pushed(long), None);
    mount.advance(1);
    pushed(&mut mount, long);
}

#[test]
fn a_break_ends_the_delay() {
    let mut mount = Mount::with_config(&Config { delay_ms: 15_000, ..Config::default() });
    let (a, b) = (mount.session(), mount.session());
    acquire(&mut mount, a).done();
    let waiting = acquire(&mut mount, b).parked();
    mount.close(a);
    assert_eq!(break_it(&mut mount).done(), None, "nobody was displaced");
    let next = pushed(&mut mount, waiting);
    release(&mut mount, b, next.fence).done();
    nothing_is_left(&mount);
}

#[test]
fn callers_in_line_are_bounded() {
    let mut mount = Mount::with_config(&Config { waiters_max: 2, ..Config::default() });
    let (a, b) = (mount.session(), mount.session());
    let held = acquire(&mut mount, a).done();
    acquire(&mut mount, b).parked();
    acquire(&mut mount, b).parked();
    assert_eq!(acquire(&mut mount, b).refused().code, "line-full");
    release(&mut mount, a, held.fence).done();
    acquire(&mut mount, a).parked();
}

#[test]
fn state_written_before_there_was_more_to_say_is_read() {
    #[derive(Serialize)]
    struct Before {
        session: SessionId,
        identity: String,
        fence: u64,
        note: String,
        since_ms: u64,
    }
    let before = Before {
        session: SessionId(1),
        identity: "user-1".into(),
        fence: 7,
        note: "n".into(),
        since_ms: 3,
    };
    let bytes = quorate_recipe::codec::encode(&before).unwrap();
    let read: Holder = quorate_recipe::codec::decode(&bytes).unwrap();
    assert_eq!((read.session, read.fence, read.depth), (SessionId(1), 7, 0));
    assert_eq!((read.deadline_ms(), read.delay_ms, read.with.len()), (None, None, 0));
}

/// In charge while nobody hears of ends, as while a mount is suspended.
struct Deaf;

#[recipe(name = "lock", version = "0.9.0", state = 1)]
impl Deaf {
    /// A recipe has an operation.
    #[query]
    fn nothing(_call: &Call) -> Result<()> {
        Ok(())
    }
}

#[test]
fn ends_that_were_not_heard_of_are_made_good_by_the_next_in_line() {
    let (mut mount, a, b, c) = mounted();
    acquire(&mut mount, a).done();
    let given_up = acquire(&mut mount, b).parked();
    let waiting = acquire(&mut mount, b).parked();
    let mut deaf = mount.upgrade::<Deaf>().unwrap();
    deaf.close(a);
    deaf.cancel(given_up);
    let mut mount = deaf.upgrade::<Lock>().unwrap();
    let last = acquire(&mut mount, c).parked();
    let next = pushed(&mut mount, waiting);
    assert_eq!(mount.pushed(last), None);
    release(&mut mount, b, next.fence).done();
    let last = pushed(&mut mount, last);
    release(&mut mount, c, last.fence).done();
    nothing_is_left(&mount);
}
