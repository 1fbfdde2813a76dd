//! What the lock promises, one test for each promise.

use super::*;
use quorate_recipe::Recipe;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "catalogue";

type Mount = TestMount<ReadWriteLock>;

fn acquire(mount: &mut Mount, session: SessionId, mode: Mode, wait: Option<u64>) -> Answer<Grant> {
    let wanted = Acquire { mode, wait_ms: wait, note: "n".into() };
    mount.call(session, OBJECT, "acquire", &wanted)
}

fn read(mount: &mut Mount, session: SessionId) -> Answer<Grant> {
    acquire(mount, session, Mode::Read, None)
}

fn write(mount: &mut Mount, session: SessionId) -> Answer<Grant> {
    acquire(mount, session, Mode::Write, None)
}

fn release(mount: &mut Mount, session: SessionId, grant: Grant) -> Answer<()> {
    mount.call(session, OBJECT, "release", &Hold { fence: grant.fence })
}

fn turn(mount: &mut Mount, session: SessionId, how: &str, grant: Grant) -> Answer<Grant> {
    mount.call(session, OBJECT, how, &Hold { fence: grant.fence })
}

fn holders(mount: &mut Mount) -> Vec<Holder> {
    let anyone = mount.session();
    let mut page = Page::default();
    let mut found = Vec::new();
    loop {
        let listed: Holders = mount.call(anyone, OBJECT, "holders", &page).done();
        found.extend(listed.holders);
        page.after = listed.next;
        if page.after.is_none() {
            return found;
        }
    }
}

fn pushed(mount: &mut Mount, ticket: Ticket<Grant>) -> Grant {
    mount.pushed(ticket).expect("it is its turn").unwrap()
}

#[track_caller]
fn nothing_is_left(mount: &Mount) {
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!((mount.parked_count(), mount.timers().len()), (0, 0));
    assert!(mount.faults().is_empty(), "{:?}", mount.faults());
}

fn mounted() -> (Mount, SessionId, SessionId, SessionId) {
    let mut mount = Mount::new();
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    let (mut mount, a, b, c) = mounted();
    let first = read(&mut mount, a).done();
    let second = read(&mut mount, b).done();
    let writing = write(&mut mount, c).parked();
    assert_eq!(holders(&mut mount).len(), 2);
    release(&mut mount, a, first).done();
    assert_eq!(mount.pushed(writing), None, "one still reads");
    release(&mut mount, b, second).done();
    let writer = pushed(&mut mount, writing);
    let listed = holders(&mut mount);
    assert_eq!((listed[0].mode, listed[0].session), (Mode::Write, c));
    assert_eq!((listed[0].fence, listed[0].since_ms), (writer.fence, mount.now_ms()));
    assert_eq!((listed[0].identity.as_str(), listed[0].note.as_str()), ("user-3", "n"));
    let reading = read(&mut mount, a).parked();
    let writing = write(&mut mount, b).parked();
    release(&mut mount, c, writer).done();
    let reader = pushed(&mut mount, reading);
    assert_eq!(mount.pushed(writing), None);
    release(&mut mount, a, reader).done();
    let writer = pushed(&mut mount, writing);
    release(&mut mount, b, writer).done();
    nothing_is_left(&mount);
}

#[test]
fn a_writer_in_line_stops_later_readers() {
    let (mut mount, a, b, c) = mounted();
    let first = read(&mut mount, a).done();
    let writing = write(&mut mount, b).parked();
    let late = read(&mut mount, c).parked();
    assert_eq!(acquire(&mut mount, c, Mode::Read, Some(0)).refused().code, "held");
    release(&mut mount, a, first).done();
    let writer = pushed(&mut mount, writing);
    assert_eq!(mount.pushed(late), None);
    release(&mut mount, b, writer).done();
    assert!(pushed(&mut mount, late).fence > writer.fence);
}

#[test]
fn readers_between_two_writers_are_admitted_together_and_no_others() {
    let (mut mount, a, b, c) = mounted();
    let writer = write(&mut mount, a).done();
    let readers = [read(&mut mount, b).parked(), read(&mut mount, c).parked()];
    let next = write(&mut mount, a).parked();
    let behind = read(&mut mount, b).parked();
    release(&mut mount, a, writer).done();
    let granted = readers.map(|ticket| pushed(&mut mount, ticket));
    assert_eq!(granted[0].fence, granted[1].fence, "one transaction admits them");
    assert_eq!((mount.pushed(next), mount.pushed(behind)), (None, None));
    release(&mut mount, b, granted[0]).done();
    release(&mut mount, c, granted[1]).done();
    let writer = pushed(&mut mount, next);
    release(&mut mount, a, writer).done();
    let last = pushed(&mut mount, behind);
    release(&mut mount, b, last).done();
    nothing_is_left(&mount);
}

#[test]
fn claims_of_one_session_admitted_together_are_released_one_by_one() {
    let (mut mount, a, b, _) = mounted();
    let writer = write(&mut mount, a).done();
    let readers = [read(&mut mount, b).parked(), read(&mut mount, b).parked()];
    let behind = write(&mut mount, a).parked();
    release(&mut mount, a, writer).done();
    let granted = readers.map(|ticket| pushed(&mut mount, ticket));
    assert_eq!(holders(&mut mount)[0].claims, 2);
    let refused = turn(&mut mount, b, "try-upgrade", granted[0]).refused();
    assert_eq!(refused.code, "other-readers", "the session reads twice");
    release(&mut mount, b, granted[0]).done();
    assert_eq!(mount.pushed(behind), None);
    release(&mut mount, b, granted[1]).done();
    pushed(&mut mount, behind);
    assert_eq!(release(&mut mount, b, granted[1]).refused().code, "not-holder");
}

#[test]
fn a_run_admits_so_many_and_the_next_ones_follow() {
    let config = Config { grants_max: 2, ..Config::default() };
    let mut mount = Mount::with_config(&config);
    let (a, b) = (mount.session(), mount.session());
    let writer = write(&mut mount, a).done();
    let readers: Vec<_> = (0..5).map(|_| read(&mut mount, b).parked()).collect();
    let behind = write(&mut mount, a).parked();
    release(&mut mount, a, writer).done();
    let mut fences = Vec::new();
    for (place, ticket) in readers.iter().enumerate() {
        if place % 2 == 0 && place > 0 {
            assert_eq!(mount.pushed(*ticket), None);
            mount.advance(1);
        }
        fences.push(pushed(&mut mount, *ticket));
    }
    assert!(mount.timers().is_empty());
    for grant in fences {
        assert_eq!(mount.pushed(behind), None);
        release(&mut mount, b, grant).done();
    }
    let writer = pushed(&mut mount, behind);
    release(&mut mount, a, writer).done();
    nothing_is_left(&mount);
}

#[test]
fn a_session_reads_as_often_as_it_asks() {
    let (mut mount, a, b, _) = mounted();
    let granted: Vec<Grant> = (0..3).map(|_| read(&mut mount, a).done()).collect();
    let writing = write(&mut mount, b).parked();
    for grant in &granted {
        assert_eq!(mount.pushed(writing), None);
        release(&mut mount, a, *grant).done();
    }
    pushed(&mut mount, writing);
}

#[test]
fn a_writers_fence_is_greater_than_every_fence_before() {
    let (mut mount, a, b, _) = mounted();
    let mut last = 0;
    for _ in 0..5 {
        let reader = read(&mut mount, a).done();
        let writing = write(&mut mount, b).parked();
        release(&mut mount, a, reader).done();
        let writer = pushed(&mut mount, writing);
        assert!(last < reader.fence && reader.fence < writer.fence);
        let reader = turn(&mut mount, b, "downgrade", writer).done();
        let again = turn(&mut mount, b, "try-upgrade", reader).done();
        assert!(writer.fence < reader.fence && reader.fence < again.fence);
        last = again.fence;
        release(&mut mount, b, again).done();
    }
}

#[test]
fn a_downgrade_lets_no_writer_between_and_lets_readers_follow() {
    let (mut mount, a, b, c) = mounted();
    let writer = write(&mut mount, a).done();
    let reading = read(&mut mount, b).parked();
    let writing = write(&mut mount, c).parked();
    let reader = turn(&mut mount, a, "downgrade", writer).done();
    let follower = pushed(&mut mount, reading);
    assert_eq!(mount.pushed(writing), None);
    let refused = release(&mut mount, a, writer).refused();
    assert_eq!(refused.code, "not-holder", "the old fence is no hold any more");
    let refused = turn(&mut mount, a, "downgrade", reader).refused();
    assert_eq!(refused.code, "not-holder", "a reader has nothing to turn down");
    release(&mut mount, a, reader).done();
    release(&mut mount, b, follower).done();
    pushed(&mut mount, writing);
}

#[test]
fn the_only_reader_is_upgraded_before_writers_in_line() {
    let (mut mount, a, b, _) = mounted();
    let reader = read(&mut mount, a).done();
    let writing = write(&mut mount, b).parked();
    let writer = turn(&mut mount, a, "try-upgrade", reader).done();
    assert_eq!(holders(&mut mount)[0].mode, Mode::Write);
    assert_eq!(mount.pushed(writing), None);
    assert_eq!(turn(&mut mount, a, "try-upgrade", writer).refused().code, "not-holder");
    release(&mut mount, a, writer).done();
    pushed(&mut mount, writing);
}

#[test]
fn an_upgrade_beside_other_readers_is_refused_and_changes_nothing() {
    for upgraded in 0..3 {
        let (mut mount, a, b, c) = mounted();
        let readers = [a, b, c].map(|session| (session, read(&mut mount, session).done()));
        let before = holders(&mut mount);
        let (session, grant) = readers[upgraded];
        let refused = turn(&mut mount, session, "try-upgrade", grant).refused();
        assert_eq!(refused.code, "other-readers", "reader {upgraded}");
        assert_eq!(holders(&mut mount), before);
        for (other, _) in readers.iter().filter(|(other, _)| *other != session) {
            mount.close(*other);
        }
        turn(&mut mount, session, "try-upgrade", grant).done();
    }
}

#[test]
fn only_the_holder_releases_and_only_under_its_fence() {
    let (mut mount, a, b, _) = mounted();
    for mode in [Mode::Read, Mode::Write] {
        let granted = acquire(&mut mount, a, mode, None).done();
        let wrong = Grant { fence: granted.fence + 1 };
        for how in ["release", "downgrade", "try-upgrade"] {
            for (session, grant) in [(b, granted), (a, wrong)] {
                let answer: Answer<serde::de::IgnoredAny> =
                    mount.call(session, OBJECT, how, &Hold { fence: grant.fence });
                assert_eq!(answer.refused().code, "not-holder", "{how} {mode:?}");
            }
        }
        release(&mut mount, a, granted).done();
        assert_eq!(release(&mut mount, a, granted).refused().code, "not-holder");
    }
    nothing_is_left(&mount);
}

#[test]
fn a_try_does_not_wait_and_says_who_is_in_the_way() {
    let (mut mount, a, b, _) = mounted();
    for (held, tried) in
        [(Mode::Read, Mode::Write), (Mode::Write, Mode::Read), (Mode::Write, Mode::Write)]
    {
        let granted = acquire(&mut mount, a, held, None).done();
        let refused = acquire(&mut mount, b, tried, Some(0)).refused();
        assert_eq!(refused.code, "held");
        let told: Option<Holder> = quorate_recipe::codec::decode(&refused.detail).unwrap();
        assert_eq!(told.map(|holder| (holder.session, holder.mode)), Some((a, held)));
        assert_eq!(mount.parked_count(), 0);
        release(&mut mount, a, granted).done();
    }
    let reader = read(&mut mount, a).done();
    let beside = acquire(&mut mount, b, Mode::Read, Some(0)).done();
    release(&mut mount, a, reader).done();
    release(&mut mount, b, beside).done();
    nothing_is_left(&mount);
}

#[test]
fn a_writers_wait_that_ends_admits_the_readers_behind() {
    let (mut mount, a, b, c) = mounted();
    let reader = read(&mut mount, a).done();
    let writing = acquire(&mut mount, b, Mode::Write, Some(5_000)).parked();
    let reading = read(&mut mount, c).parked();
    mount.advance(4_999);
    assert_eq!((mount.pushed(writing), mount.pushed(reading)), (None, None));
    mount.advance(1);
    assert_eq!(mount.pushed(writing).unwrap().unwrap_err().code, "timed-out");
    let follower = pushed(&mut mount, reading);
    let writing = write(&mut mount, b).parked();
    let reading = read(&mut mount, c).parked();
    mount.cancel(writing);
    assert_eq!(mount.pushed(writing).unwrap().unwrap_err().code, "cancelled");
    let last = pushed(&mut mount, reading);
    for (session, grant) in [(a, reader), (c, follower), (c, last)] {
        release(&mut mount, session, grant).done();
    }
    nothing_is_left(&mount);
}

#[test]
fn a_readers_wait_that_ends_leaves_the_line() {
    let (mut mount, a, b, _) = mounted();
    let writer = write(&mut mount, a).done();
    let reading = acquire(&mut mount, b, Mode::Read, Some(1)).parked();
    mount.advance(1);
    assert_eq!(mount.pushed(reading).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.paths(), ["catalogue", "catalogue/holder-write"]);
    release(&mut mount, a, writer).done();
    nothing_is_left(&mount);
}

#[test]
fn the_end_of_a_session_gives_back_all_it_holds() {
    let (mut mount, a, b, c) = mounted();
    for _ in 0..3 {
        read(&mut mount, a).done();
    }
    let other = read(&mut mount, b).done();
    let writing = write(&mut mount, c).parked();
    mount.close(a);
    assert_eq!(mount.pushed(writing), None, "one still reads");
    release(&mut mount, b, other).done();
    pushed(&mut mount, writing);
    let reading = read(&mut mount, b).parked();
    mount.close(c);
    pushed(&mut mount, reading);
    mount.close(b);
    nothing_is_left(&mount);
}

#[test]
fn the_end_of_a_session_is_seen_past_the_holds_of_others() {
    for ending in 0..3 {
        let (mut mount, a, b, c) = mounted();
        let writer = mount.session();
        let sessions = [a, b, c];
        for session in sessions {
            read(&mut mount, session).done();
            read(&mut mount, session).done();
        }
        let writing = write(&mut mount, writer).parked();
        let others = (0..3).filter(|place| *place != ending);
        for place in others.chain([ending]) {
            assert_eq!(mount.pushed(writing), None);
            mount.close(sessions[place]);
        }
        pushed(&mut mount, writing);
    }
}

#[test]
fn a_session_that_ends_gets_none_of_its_claims_in_line() {
    let (mut mount, a, b, _) = mounted();
    let writer = write(&mut mount, a).done();
    let own = [read(&mut mount, a).parked(), write(&mut mount, a).parked()];
    let reading = read(&mut mount, b).parked();
    mount.close(a);
    for ticket in own {
        assert_eq!(mount.pushed(ticket), None);
    }
    let reader = pushed(&mut mount, reading);
    assert!(reader.fence > writer.fence);
    assert_eq!(holders(&mut mount).len(), 1);
    release(&mut mount, b, reader).done();
    nothing_is_left(&mount);
}

#[test]
fn the_end_of_a_waiting_writers_session_admits_the_readers_behind() {
    let (mut mount, a, b, c) = mounted();
    read(&mut mount, a).done();
    write(&mut mount, b).parked();
    let reading = read(&mut mount, c).parked();
    mount.close(b);
    pushed(&mut mount, reading);
    assert_eq!(holders(&mut mount).len(), 2);
}

#[test]
fn holders_and_waiters_are_bounded() {
    let config = Config { claims_max: 3, note_bytes_max: 4, ..Config::default() };
    let mut mount = Mount::with_config(&config);
    let (a, b) = (mount.session(), mount.session());
    let first = read(&mut mount, a).done();
    read(&mut mount, a).done();
    let writing = write(&mut mount, b).parked();
    for mode in [Mode::Read, Mode::Write] {
        assert_eq!(acquire(&mut mount, b, mode, None).refused().code, "full");
    }
    release(&mut mount, a, first).done();
    assert_eq!(mount.pushed(writing), None);
    read(&mut mount, a).parked();
    let wanted = Acquire { mode: Mode::Read, wait_ms: None, note: "words".into() };
    let refused = mount.call::<Grant>(a, "other", "acquire", &wanted).refused();
    assert_eq!(refused.code, "note-too-long");
    assert_eq!(mount.paths().iter().filter(|path| path.starts_with("other")).count(), 0);
}

#[test]
fn holders_are_listed_by_pages() {
    let (mut mount, a, b, c) = mounted();
    let sessions = [a, b, c];
    for session in sessions {
        read(&mut mount, session).done();
    }
    write(&mut mount, a).parked();
    let mut page = Page { after: None, limit: Some(2) };
    let first: Holders = mount.call(a, OBJECT, "holders", &page).done();
    page.after = first.next;
    let second: Holders = mount.call(a, OBJECT, "holders", &page).done();
    let listed = first.holders.iter().chain(&second.holders).map(|holder| holder.session);
    assert_eq!(listed.collect::<Vec<_>>(), sessions);
    assert_eq!(second.next, None);
}

#[test]
fn a_free_lock_has_no_holders_and_no_znodes() {
    let (mut mount, a, ..) = mounted();
    assert_eq!(holders(&mut mount), []);
    nothing_is_left(&mount);
    let granted = write(&mut mount, a).done();
    assert_eq!(mount.paths(), ["catalogue", "catalogue/holder-write"]);
    release(&mut mount, a, granted).done();
    nothing_is_left(&mount);
}

#[test]
fn objects_are_locks_of_their_own() {
    let (mut mount, a, b, _) = mounted();
    let wanted = Acquire { mode: Mode::Write, wait_ms: None, note: String::new() };
    let one: Grant = mount.call(a, "one", "acquire", &wanted).done();
    let _: Grant = mount.call(b, "two", "acquire", &wanted).done();
    let refused = mount.call::<()>(a, "two", "release", &Hold { fence: one.fence }).refused();
    assert_eq!(refused.code, "not-holder");
    let waits = mount.call::<Grant>(b, "one", "acquire", &wanted).parked();
    mount.close(a);
    pushed(&mut mount, waits);
    mount.close(b);
    nothing_is_left(&mount);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a, ..) = mounted();
    #[derive(Serialize)]
    struct Misspelt {
        mode: Mode,
        wait: u64,
    }
    let misspelt = Misspelt { mode: Mode::Read, wait: 0 };
    let refused = mount.call::<Grant>(a, OBJECT, "acquire", &misspelt).refused();
    assert_eq!(refused.code, "bad-arguments");
    nothing_is_left(&mount);
}

/// In charge while nobody hears of ends, as while a mount is suspended.
struct Deaf;

#[recipe(name = "read-write-lock", version = "0.9.0", state = 1)]
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
    write(&mut mount, a).done();
    let reading = read(&mut mount, b).parked();
    let given_up = write(&mut mount, b).parked();
    let mut deaf = mount.upgrade::<Deaf>().unwrap();
    deaf.close(a);
    deaf.cancel(given_up);
    let mut mount = deaf.upgrade::<ReadWriteLock>().unwrap();
    assert_eq!(mount.pushed(reading), None);
    let last = read(&mut mount, c).parked();
    let reader = pushed(&mut mount, reading);
    release(&mut mount, b, reader).done();
    pushed(&mut mount, last);
    assert_eq!(holders(&mut mount).len(), 1);
}

/// A lock kept by the rules of the book.
#[derive(Default)]
struct Model {
    holds: Vec<(SessionId, Mode, u64)>,
    line: Vec<(SessionId, Mode, Ticket<Grant>, Option<u64>)>,
    newest_fence: u64,
}

impl Model {
    fn fits(&self, mode: Mode) -> bool {
        match mode {
            Mode::Read => self.holds.iter().all(|(_, held, _)| *held == Mode::Read),
            Mode::Write => self.holds.is_empty(),
        }
    }

    fn granted(&mut self, session: SessionId, mode: Mode, grant: Grant) {
        let is_newer = grant.fence > self.newest_fence;
        let may_share = mode == Mode::Read && grant.fence == self.newest_fence;
        assert!(is_newer || may_share, "{mode:?} under {} is not new", grant.fence);
        self.newest_fence = grant.fence;
        self.holds.push((session, mode, grant.fence));
    }

    /// Whoever fits at the head has been told.
    fn admit(&mut self, mount: &mut Mount) {
        while let Some((session, mode, ticket, _)) = self.line.first().copied() {
            if !self.fits(mode) {
                break;
            }
            self.line.remove(0);
            let grant = pushed(mount, ticket);
            self.granted(session, mode, grant);
        }
    }

    /// Whoever fits at the head has been told, and nobody else.
    fn settle(&mut self, mount: &mut Mount) {
        self.admit(mount);
        for (_, _, ticket, _) in &self.line {
            assert_eq!(mount.pushed(*ticket), None, "told out of turn");
        }
        let mut expected: Vec<_> = self.holds.clone();
        expected.sort_by_key(|(session, mode, fence)| (*session, *fence, *mode == Mode::Write));
        let mut listed = Vec::new();
        for holder in holders(mount) {
            let hold = (holder.session, holder.mode, holder.fence);
            listed.extend((0..holder.claims).map(|_| hold));
        }
        assert_eq!(listed, expected);
        let waiters = mount.paths().iter().filter(|path| path.contains("waiter")).count();
        assert_eq!(waiters, self.line.len());
        assert_eq!(mount.paths().is_empty(), expected.is_empty());
        assert!(mount.faults().is_empty(), "{:?}", mount.faults());
    }
}

#[test]
fn any_order_of_calls_ends_and_time_keeps_the_promises() {
    for seed in 0..150 {
        let mut state = seed;
        let mut mount = Mount::new();
        let mut model = Model::default();
        let mut sessions: Vec<SessionId> = (0..4).map(|_| mount.session()).collect();
        for _ in 0..60 {
            let at = (splitmix64(&mut state) % sessions.len() as u64) as usize;
            match splitmix64(&mut state) % 12 {
                0..=5 => step_acquire(&mut mount, &mut model, sessions[at], &mut state),
                6..=8 => step_end_hold(&mut mount, &mut model, &mut state),
                9 => step_advance(&mut mount, &mut model),
                10 if !model.line.is_empty() => {
                    let at = (splitmix64(&mut state) % model.line.len() as u64) as usize;
                    mount.cancel(model.line.remove(at).2);
                }
                10 => {}
                _ => {
                    let ended = std::mem::replace(&mut sessions[at], mount.session());
                    mount.close(ended);
                    model.line.retain(|(session, ..)| *session != ended);
                    model.holds.retain(|(session, ..)| *session != ended);
                }
            }
            model.settle(&mut mount);
        }
    }
}

fn step_acquire(mount: &mut Mount, model: &mut Model, session: SessionId, state: &mut u64) {
    let wait_ms = [None, Some(0), Some(1_000), Some(3_000)][(splitmix64(state) % 4) as usize];
    let mode = if splitmix64(state).is_multiple_of(3) { Mode::Write } else { Mode::Read };
    let is_next = model.line.is_empty() && model.fits(mode);
    match acquire(mount, session, mode, wait_ms) {
        Answer::Done(grant) => {
            assert!(is_next);
            model.granted(session, mode, grant);
        }
        Answer::Parked(ticket) => {
            assert!(!is_next);
            let deadline_ms = wait_ms.map(|wait_ms| mount.now_ms() + wait_ms);
            model.line.push((session, mode, ticket, deadline_ms));
        }
        Answer::Refused(failure) => {
            assert!(!is_next);
            assert_eq!((failure.code.as_str(), wait_ms), ("held", Some(0)));
        }
    }
}

/// Releases a hold, or turns it into one of the other kind.
fn step_end_hold(mount: &mut Mount, model: &mut Model, state: &mut u64) {
    if model.holds.is_empty() {
        return;
    }
    let at = (splitmix64(state) % model.holds.len() as u64) as usize;
    let (session, mode, fence) = model.holds[at];
    let is_turned = splitmix64(state).is_multiple_of(3);
    let grant = Grant { fence };
    if !is_turned {
        release(mount, session, grant).done();
        model.holds.remove(at);
    } else if mode == Mode::Write {
        let turned = turn(mount, session, "downgrade", grant).done();
        model.holds.clear();
        model.granted(session, Mode::Read, turned);
    } else if model.holds.len() == 1 {
        let turned = turn(mount, session, "try-upgrade", grant).done();
        model.holds.clear();
        model.granted(session, Mode::Write, turned);
    } else {
        let refused = turn(mount, session, "try-upgrade", grant).refused();
        assert_eq!(refused.code, "other-readers");
    }
}

fn step_advance(mount: &mut Mount, model: &mut Model) {
    let end_ms = mount.now_ms() + 700;
    let next_ms = |model: &Model| model.line.iter().filter_map(|waiter| waiter.3).min();
    while let Some(at_ms) = next_ms(model).filter(|at_ms| *at_ms <= end_ms) {
        mount.advance(at_ms - mount.now_ms());
        // One wait ends after the other, and who fits then is granted the lock before the next ends.
        while let Some(place) = model.line.iter().position(|waiter| waiter.3 == Some(at_ms)) {
            let (_, _, ticket, _) = model.line.remove(place);
            assert_eq!(mount.pushed(ticket).unwrap().unwrap_err().code, "timed-out");
            model.admit(mount);
        }
        model.settle(mount);
    }
    mount.advance(end_ms - mount.now_ms());
}

#[test]
fn it_says_what_it_takes_and_gives() {
    let described = ReadWriteLock::describe();
    let names: Vec<_> = described.operations.iter().map(|operation| operation.name).collect();
    assert_eq!(names, ["acquire", "release", "downgrade", "try-upgrade", "holders"]);
    assert!(described.config_schema.contains("claims_max"));
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<ReadWriteLock>(folder);
}
