//! What the semaphore promises, one test for each promise.

mod simulated;

use super::*;
use quorate_recipe::Recipe;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "database";

type Mount = TestMount<Semaphore>;

/// A mount whose semaphores have this capacity, and three sessions.
fn mounted(capacity: u64) -> (Mount, SessionId, SessionId, SessionId) {
    let config = Config { capacity: Some(capacity), ..Config::default() };
    let mut mount = Mount::with_config(&config);
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

fn ask(mount: &mut Mount, session: SessionId, wanted: Acquire) -> Answer<Grant> {
    mount.call(session, OBJECT, "acquire", &wanted)
}

fn acquire(mount: &mut Mount, session: SessionId, quantity: u64) -> Answer<Grant> {
    ask(mount, session, Acquire { quantity, ..Acquire::default() })
}

fn acquire_within(mount: &mut Mount, session: SessionId, quantity: u64, ms: u64) -> Answer<Grant> {
    ask(mount, session, Acquire { quantity, wait_ms: Some(ms), ..Acquire::default() })
}

fn acquire_for(mount: &mut Mount, session: SessionId, quantity: u64, ms: u64) -> Grant {
    ask(mount, session, Acquire { quantity, ttl_ms: Some(ms), ..Acquire::default() }).done()
}

fn release(mount: &mut Mount, session: SessionId, grant: Grant) -> Answer<()> {
    mount.call(session, OBJECT, "release", &Release { fence: grant.fence })
}

fn renew(mount: &mut Mount, session: SessionId, grant: Grant, ms: Option<u64>) -> Answer<Grant> {
    mount.call(session, OBJECT, "renew", &Renew { fence: grant.fence, ttl_ms: ms })
}

fn resize(mount: &mut Mount, capacity: Option<u64>) -> Option<Pool> {
    let operator = mount.session();
    mount.call(operator, OBJECT, "resize", &Resize { capacity }).done()
}

fn listed(mount: &mut Mount) -> Leases {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "leases", &Page::default()).done()
}

fn taken(mount: &mut Mount) -> u64 {
    listed(mount).pool.map_or(0, |pool| pool.taken)
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
fn no_more_is_granted_than_there_is() {
    let (mut mount, a, b, c) = mounted(10);
    let seven = acquire(&mut mount, a, 7).done();
    let three = acquire(&mut mount, b, 3).done();
    let one = acquire(&mut mount, c, 1).parked();
    assert_eq!(taken(&mut mount), 10);
    release(&mut mount, b, three).done();
    let one = pushed(&mut mount, one);
    assert_eq!(taken(&mut mount), 8);
    release(&mut mount, a, seven).done();
    release(&mut mount, c, one).done();
    nothing_is_left(&mount);
}

#[test]
fn a_quantity_is_granted_whole_or_not_at_all() {
    let (mut mount, a, b, _) = mounted(10);
    let five = acquire(&mut mount, a, 5).done();
    let six = acquire(&mut mount, b, 6).parked();
    assert_eq!(taken(&mut mount), 5);
    release(&mut mount, a, five).done();
    pushed(&mut mount, six);
    assert_eq!(taken(&mut mount), 6);
}

#[test]
fn a_large_request_is_not_passed_by_small_ones() {
    let (mut mount, a, b, c) = mounted(10);
    let held: Vec<Grant> = (0..10).map(|_| acquire(&mut mount, a, 1).done()).collect();
    let large = acquire(&mut mount, b, 10).parked();
    let small = acquire(&mut mount, c, 1).parked();
    for grant in held {
        assert_eq!((mount.pushed(large), mount.pushed(small)), (None, None));
        let refused = acquire_within(&mut mount, c, 1, 0).refused();
        assert_eq!(refused.code, "unavailable", "nor does one that does not wait pass it");
        release(&mut mount, a, grant).done();
    }
    let large = pushed(&mut mount, large);
    assert_eq!(mount.pushed(small), None);
    release(&mut mount, b, large).done();
    pushed(&mut mount, small);
}

#[test]
fn callers_are_served_in_order_of_arrival() {
    let (mut mount, a, ..) = mounted(1);
    let mut owner = (a, acquire(&mut mount, a, 1).done());
    let sessions: Vec<SessionId> = (0..20).map(|_| mount.session()).collect();
    let line: Vec<_> = sessions.iter().map(|own| acquire(&mut mount, *own, 1).parked()).collect();
    for (session, ticket) in sessions.iter().zip(line) {
        assert_eq!(mount.pushed(ticket), None);
        release(&mut mount, owner.0, owner.1).done();
        let grant = pushed(&mut mount, ticket);
        assert!(grant.fence > owner.1.fence);
        owner = (*session, grant);
    }
    release(&mut mount, owner.0, owner.1).done();
    nothing_is_left(&mount);
}

#[test]
fn one_release_serves_as_many_as_fit() {
    let (mut mount, a, b, c) = mounted(10);
    let all = acquire(&mut mount, a, 10).done();
    let line = [(b, 4), (c, 5), (a, 2), (b, 1)]
        .map(|(session, quantity)| acquire(&mut mount, session, quantity).parked());
    release(&mut mount, a, all).done();
    pushed(&mut mount, line[0]);
    pushed(&mut mount, line[1]);
    assert_eq!((mount.pushed(line[2]), mount.pushed(line[3])), (None, None));
    assert_eq!(taken(&mut mount), 9);
}

#[test]
fn leases_of_one_session_have_fences_of_their_own() {
    let (mut mount, a, b, _) = mounted(3);
    let all = acquire(&mut mount, a, 3).done();
    let line: Vec<_> = (0..3).map(|_| acquire(&mut mount, b, 1).parked()).collect();
    release(&mut mount, a, all).done();
    let mut granted = Vec::new();
    for ticket in line {
        granted.push(pushed(&mut mount, ticket));
        mount.advance(1);
    }
    assert!(granted.is_sorted_by(|one, next| one.fence < next.fence));
    assert_eq!(taken(&mut mount), 3);
    for grant in granted {
        release(&mut mount, b, grant).done();
        assert_eq!(release(&mut mount, b, grant).refused().code, "no-lease");
    }
    nothing_is_left(&mount);
}

#[test]
fn a_run_serves_so_many_and_the_next_ones_follow() {
    let config = Config { capacity: Some(5), grants_max: 2, ..Config::default() };
    let mut mount = Mount::with_config(&config);
    let a = mount.session();
    let all = acquire(&mut mount, a, 5).done();
    let sessions: Vec<SessionId> = (0..5).map(|_| mount.session()).collect();
    let line: Vec<_> = sessions.iter().map(|own| acquire(&mut mount, *own, 1).parked()).collect();
    release(&mut mount, a, all).done();
    for (place, ticket) in line.into_iter().enumerate() {
        if place == 2 || place == 4 {
            assert_eq!(mount.pushed(ticket), None);
            mount.advance(1);
        }
        pushed(&mut mount, ticket);
    }
    assert!(mount.timers().is_empty());
}

#[test]
fn the_first_use_sets_the_capacity_where_the_mount_does_not() {
    let mut mount = Mount::new();
    let (a, b) = (mount.session(), mount.session());
    assert_eq!(acquire(&mut mount, a, 1).refused().code, "no-capacity");
    let of = |capacity| Acquire { capacity: Some(capacity), ..Acquire::default() };
    let first = ask(&mut mount, a, of(2)).done();
    let second = acquire(&mut mount, b, 1).done();
    let refused = ask(&mut mount, b, of(3)).refused();
    assert_eq!(refused.code, "capacity-differs");
    let told: Pool = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((told.capacity, told.taken), (2, 2));
    release(&mut mount, a, first).done();
    release(&mut mount, b, second).done();
    nothing_is_left(&mount);
    let other = ask(&mut mount, a, of(3)).done();
    assert_eq!(listed(&mut mount).pool.unwrap().capacity, 3);
    release(&mut mount, a, other).done();
}

#[test]
fn the_mounts_capacity_is_followed_when_it_changes() {
    let (mut mount, a, b, _) = mounted(1);
    acquire(&mut mount, a, 1).done();
    let waiting = acquire(&mut mount, b, 1).parked();
    let refused = ask(&mut mount, b, Acquire { capacity: Some(2), ..Acquire::default() }).refused();
    assert_eq!(refused.code, "capacity-differs");
    mount.configure(&Config { capacity: Some(3), ..Config::default() }).unwrap();
    let next = acquire(&mut mount, b, 1).parked();
    pushed(&mut mount, waiting);
    mount.advance(1);
    pushed(&mut mount, next);
    assert_eq!(listed(&mut mount).pool, Some(Pool { capacity: 3, taken: 3, resized: false }));
    let line = [acquire(&mut mount, b, 1).parked(), acquire(&mut mount, a, 1).parked()];
    mount.configure(&Config { capacity: Some(4), ..Config::default() }).unwrap();
    mount.cancel(line[0]);
    pushed(&mut mount, line[1]);
}

#[test]
fn more_than_there_is_in_all_is_refused_at_once() {
    let (mut mount, a, ..) = mounted(3);
    assert_eq!(acquire(&mut mount, a, 4).refused().code, "over-capacity");
    assert_eq!(acquire(&mut mount, a, u64::MAX).refused().code, "over-capacity");
    assert_eq!(acquire(&mut mount, a, 0).refused().code, "out-of-range");
    nothing_is_left(&mount);
}

#[test]
fn a_try_does_not_wait_and_says_how_much_is_taken() {
    let (mut mount, a, b, _) = mounted(3);
    acquire(&mut mount, a, 2).done();
    let refused = acquire_within(&mut mount, b, 2, 0).refused();
    assert_eq!(refused.code, "unavailable");
    let told: Pool = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told, Pool { capacity: 3, taken: 2, resized: false });
    assert_eq!(mount.parked_count(), 0);
    acquire_within(&mut mount, b, 1, 0).done();
}

#[test]
fn a_larger_capacity_serves_those_who_wait() {
    let (mut mount, a, b, _) = mounted(1);
    let first = acquire(&mut mount, a, 1).done();
    let waiting = acquire(&mut mount, b, 1).parked();
    let pool = resize(&mut mount, Some(2)).unwrap();
    assert_eq!((pool.capacity, pool.taken, pool.resized), (2, 2, true));
    let second = pushed(&mut mount, waiting);
    release(&mut mount, a, first).done();
    release(&mut mount, b, second).done();
    assert_eq!(mount.paths(), ["database", "database/pool"], "what was set stays");
    assert_eq!(resize(&mut mount, None), None);
    nothing_is_left(&mount);
    assert_eq!(acquire(&mut mount, a, 2).refused().code, "over-capacity");
}

#[test]
fn a_smaller_capacity_leaves_leases_and_refuses_what_can_never_be() {
    let (mut mount, a, b, c) = mounted(10);
    let all = acquire(&mut mount, a, 10).done();
    let small = acquire(&mut mount, b, 2).parked();
    let large = acquire(&mut mount, b, 5).parked();
    let last = acquire(&mut mount, c, 1).parked();
    resize(&mut mount, Some(3));
    assert_eq!(listed(&mut mount).pool, Some(Pool { capacity: 3, taken: 10, resized: true }));
    assert_eq!((mount.pushed(small), mount.pushed(large)), (None, None));
    release(&mut mount, a, all).done();
    pushed(&mut mount, small);
    assert_eq!(mount.pushed(large).unwrap().unwrap_err().code, "over-capacity");
    pushed(&mut mount, last);
    let operator = mount.session();
    let nothing = Resize { capacity: Some(0) };
    let refused = mount.call::<Option<Pool>>(operator, OBJECT, "resize", &nothing).refused();
    assert_eq!(refused.code, "out-of-range");
}

#[test]
fn callers_own_capacity_does_not_count_after_a_resize() {
    let mut mount = Mount::new();
    let a = mount.session();
    resize(&mut mount, Some(5));
    let wanted = Acquire { quantity: 5, capacity: Some(2), ..Acquire::default() };
    let grant = ask(&mut mount, a, wanted).done();
    assert_eq!(resize(&mut mount, None).unwrap().capacity, 5, "it stays while it is used");
    release(&mut mount, a, grant).done();
    nothing_is_left(&mount);
    assert_eq!(resize(&mut mount, None), None, "and nothing comes into being");
    nothing_is_left(&mount);
}

#[test]
fn a_lease_ends_when_it_says_unless_it_is_renewed() {
    let (mut mount, a, b, _) = mounted(1);
    let lease = acquire_for(&mut mount, a, 1, 1_000);
    assert_eq!(lease.ends_at_ms, Some(mount.now_ms() + 1_000));
    let waiting = acquire(&mut mount, b, 1).parked();
    mount.advance(999);
    let renewed = renew(&mut mount, a, lease, Some(500)).done();
    assert_eq!((renewed.fence, renewed.ends_at_ms), (lease.fence, Some(mount.now_ms() + 500)));
    mount.advance(499);
    assert_eq!(mount.pushed(waiting), None);
    mount.advance(1);
    let next = pushed(&mut mount, waiting);
    assert!(next.fence > lease.fence);
    assert_eq!(renew(&mut mount, a, lease, None).refused().code, "no-lease");
    assert_eq!(release(&mut mount, a, lease).refused().code, "no-lease");
    release(&mut mount, b, next).done();
    nothing_is_left(&mount);
}

#[test]
fn leases_of_one_session_end_each_at_its_time() {
    let (mut mount, a, ..) = mounted(100);
    acquire_for(&mut mount, a, 1, 300);
    let middle = acquire_for(&mut mount, a, 10, 200);
    acquire_for(&mut mount, a, 20, 100);
    let endless = acquire(&mut mount, a, 40).done();
    assert_eq!(taken(&mut mount), 71);
    mount.advance(100);
    assert_eq!(taken(&mut mount), 51);
    renew(&mut mount, a, middle, None).done();
    mount.advance(200);
    assert_eq!(taken(&mut mount), 50);
    assert!(mount.timers().is_empty(), "what is left ends with the session");
    renew(&mut mount, a, endless, Some(5)).done();
    mount.advance(5);
    assert_eq!(taken(&mut mount), 10);
    mount.close(a);
    nothing_is_left(&mount);
}

#[test]
fn a_lease_with_an_end_is_released_before_it() {
    let (mut mount, a, ..) = mounted(1);
    let lease = acquire_for(&mut mount, a, 1, 1_000);
    release(&mut mount, a, lease).done();
    nothing_is_left(&mount);
    let nothing = Acquire { ttl_ms: Some(0), ..Acquire::default() };
    assert_eq!(ask(&mut mount, a, nothing).refused().code, "out-of-range");
    let lease = acquire_for(&mut mount, a, 1, u64::MAX);
    assert_eq!(renew(&mut mount, a, lease, Some(0)).refused().code, "out-of-range");
    assert_eq!(lease.ends_at_ms, Some(u64::MAX));
}

#[test]
fn a_waiters_lease_lasts_from_its_grant_on() {
    let (mut mount, a, b, _) = mounted(1);
    let first = acquire(&mut mount, a, 1).done();
    let wanted = Acquire { ttl_ms: Some(100), ..Acquire::default() };
    let waiting = ask(&mut mount, b, wanted).parked();
    mount.advance(1_000);
    release(&mut mount, a, first).done();
    let grant = pushed(&mut mount, waiting);
    assert_eq!(grant.ends_at_ms, Some(mount.now_ms() + 100));
    mount.advance(100);
    nothing_is_left(&mount);
}

#[test]
fn the_end_of_a_session_gives_back_all_its_leases() {
    let (mut mount, a, b, c) = mounted(10);
    acquire(&mut mount, a, 3).done();
    acquire_for(&mut mount, a, 4, 1_000);
    acquire(&mut mount, b, 3).done();
    let waiting = acquire(&mut mount, c, 7).parked();
    mount.close(a);
    pushed(&mut mount, waiting);
    assert_eq!(taken(&mut mount), 10);
    mount.close(b);
    mount.close(c);
    nothing_is_left(&mount);
}

#[test]
fn a_session_that_ends_gets_none_of_its_claims_in_line() {
    let (mut mount, a, b, _) = mounted(2);
    acquire(&mut mount, a, 2).done();
    let own = [1, 2, 1].map(|quantity| acquire(&mut mount, a, quantity).parked());
    let other = acquire(&mut mount, b, 2).parked();
    mount.close(a);
    for ticket in own {
        assert_eq!(mount.pushed(ticket), None);
    }
    let grant = pushed(&mut mount, other);
    assert_eq!(taken(&mut mount), 2);
    release(&mut mount, b, grant).done();
    nothing_is_left(&mount);
}

#[test]
fn the_end_of_a_waiter_moves_the_others_up() {
    let (mut mount, a, b, c) = mounted(4);
    acquire(&mut mount, a, 2).done();
    let large = acquire_within(&mut mount, b, 4, 1_000).parked();
    let small = acquire(&mut mount, c, 1).parked();
    mount.advance(999);
    assert_eq!((mount.pushed(large), mount.pushed(small)), (None, None));
    mount.advance(1);
    assert_eq!(mount.pushed(large).unwrap().unwrap_err().code, "timed-out");
    pushed(&mut mount, small);
    let large = acquire(&mut mount, b, 4).parked();
    let small = acquire(&mut mount, c, 1).parked();
    mount.cancel(large);
    assert_eq!(mount.pushed(large).unwrap().unwrap_err().code, "cancelled");
    pushed(&mut mount, small);
    acquire(&mut mount, b, 4).parked();
    mount.close(c);
    let small = acquire(&mut mount, a, 1).parked();
    mount.close(b);
    pushed(&mut mount, small);
    mount.close(a);
    nothing_is_left(&mount);
}

#[test]
fn sessions_waiters_leases_and_notes_are_bounded() {
    let config = Config {
        capacity: Some(9),
        claims_max: 2,
        leases_max: 2,
        note_bytes_max: 4,
        ..Config::default()
    };
    let mut mount = Mount::with_config(&config);
    let (a, b) = (mount.session(), mount.session());
    let first = acquire(&mut mount, a, 4).done();
    let waiting = [6, 1].map(|quantity| acquire(&mut mount, a, quantity));
    let [Answer::Parked(six), Answer::Refused(full)] = waiting else { panic!("{waiting:?}") };
    assert_eq!(full.code, "full");
    let note = Acquire { note: "words".into(), ..Acquire::default() };
    assert_eq!(ask(&mut mount, b, note).refused().code, "note-too-long");
    mount.cancel(six);
    acquire(&mut mount, a, 1).done();
    assert_eq!(acquire(&mut mount, a, 1).refused().code, "too-many-leases");
    let config = Config { claims_max: 10, ..config };
    mount.configure(&config).unwrap();
    release(&mut mount, a, first).done();
    let waiting = [9, 1].map(|quantity| acquire(&mut mount, a, quantity).parked());
    let behind = acquire(&mut mount, b, 1).parked();
    mount.configure(&Config { leases_max: 1, ..config }).unwrap();
    mount.cancel(waiting[0]);
    assert_eq!(mount.pushed(waiting[1]).unwrap().unwrap_err().code, "too-many-leases");
    pushed(&mut mount, behind);
}

#[test]
fn leases_are_listed_by_pages() {
    let (mut mount, a, b, c) = mounted(100);
    for (session, quantity) in [(a, 1), (a, 2), (b, 3), (c, 4)] {
        acquire(&mut mount, session, quantity).done();
    }
    acquire(&mut mount, a, 100).parked();
    let mut page = Page { after: None, limit: Some(2) };
    let first: Leases = mount.call(a, OBJECT, "leases", &page).done();
    assert_eq!(first.pool.unwrap().taken, 10);
    assert_eq!((first.holders.len(), first.next), (1, Some(a)));
    assert_eq!(first.holders[0].identity, "user-1");
    page.after = first.next;
    let second: Leases = mount.call(a, OBJECT, "leases", &page).done();
    let quantities: Vec<u64> = second.holders.iter().map(|own| own.leases[0].quantity).collect();
    assert_eq!((quantities, second.next), (vec![3, 4], None));
    let unused: Leases = mount.call(a, "unused", "leases", &Page::default()).done();
    assert_eq!(unused, Leases { pool: None, holders: Vec::new(), next: None });
}

#[test]
fn objects_are_semaphores_of_their_own() {
    let (mut mount, a, b, _) = mounted(1);
    let wanted = Acquire::default();
    let one: Grant = mount.call(a, "one", "acquire", &wanted).done();
    let _: Grant = mount.call(a, "two", "acquire", &wanted).done();
    let waiting: Ticket<Grant> = mount.call(b, "one", "acquire", &wanted).parked();
    let answer: Answer<()> = mount.call(a, "two", "release", &Release { fence: one.fence });
    assert_eq!(answer.refused().code, "no-lease");
    mount.close(a);
    pushed(&mut mount, waiting);
    mount.close(b);
    nothing_is_left(&mount);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a, ..) = mounted(1);
    #[derive(Serialize)]
    struct Misspelt {
        quantities: u64,
    }
    let answer: Answer<Grant> = mount.call(a, OBJECT, "acquire", &Misspelt { quantities: 1 });
    assert_eq!(answer.refused().code, "bad-arguments");
    nothing_is_left(&mount);
    let outcome = mount.call_bytes(a, OBJECT, "acquire", &[]).unwrap();
    assert!(matches!(outcome, quorate_recipe::Outcome::Done(_)), "all arguments have defaults");
}

/// In charge while nobody hears of ends, as while a mount is suspended.
struct Deaf;

#[recipe(name = "semaphore", version = "0.9.0", state = 1)]
impl Deaf {
    /// A recipe has an operation.
    #[query]
    fn nothing(_call: &Call) -> Result<()> {
        Ok(())
    }
}

#[test]
fn ends_that_were_not_heard_of_are_made_good_when_nobody_has_a_lease() {
    let (mut mount, a, b, _) = mounted(2);
    acquire(&mut mount, a, 2).done();
    let waiting = acquire(&mut mount, b, 2).parked();
    let given_up = acquire(&mut mount, b, 1).parked();
    let mut deaf = mount.upgrade::<Deaf>().unwrap();
    deaf.close(a);
    deaf.cancel(given_up);
    let mut mount = deaf.upgrade::<Semaphore>().unwrap();
    let last = acquire(&mut mount, b, 1).parked();
    let grant = pushed(&mut mount, waiting);
    release(&mut mount, b, grant).done();
    let grant = pushed(&mut mount, last);
    release(&mut mount, b, grant).done();
    nothing_is_left(&mount);
}

#[derive(Clone, Copy)]
struct Asked {
    session: SessionId,
    quantity: u64,
    ticket: Ticket<Grant>,
    ttl_ms: Option<u64>,
}

/// A semaphore kept by the rules of the book.
struct Model {
    capacity: u64,
    leases: Vec<(SessionId, u64, Grant)>,
    line: Vec<Asked>,
}

impl Model {
    fn taken(&self) -> u64 {
        self.leases.iter().map(|(_, quantity, _)| quantity).sum()
    }

    fn fits(&self, quantity: u64) -> bool {
        self.taken() + quantity <= self.capacity
    }

    /// Whoever fits at the head is told, and nobody else.
    fn settle(&mut self, mount: &mut Mount) {
        while let Some(first) = self.line.first().copied().filter(|own| self.fits(own.quantity)) {
            self.line.remove(0);
            let grant = match mount.pushed(first.ticket) {
                Some(grant) => grant.unwrap(),
                // Grants to one session take a millisecond each.
                None => {
                    mount.advance(1);
                    self.end_leases(mount.now_ms());
                    pushed(mount, first.ticket)
                }
            };
            let is_known = |(session, _, known): &(SessionId, u64, Grant)| {
                *session == first.session && known.fence == grant.fence
            };
            assert!(!self.leases.iter().any(is_known), "a fence twice");
            assert_eq!(grant.ends_at_ms, first.ttl_ms.map(|ttl_ms| mount.now_ms() + ttl_ms));
            self.leases.push((first.session, first.quantity, grant));
        }
        for waiting in &self.line {
            assert_eq!(mount.pushed(waiting.ticket), None, "told out of turn");
        }
        assert_eq!(taken(mount), self.taken());
        let listed = listed(mount);
        let found: Vec<&Lease> = listed.holders.iter().flat_map(|own| &own.leases).collect();
        assert_eq!(found.len(), self.leases.len());
        assert_eq!(mount.paths().is_empty(), self.leases.is_empty() && self.line.is_empty());
        assert!(mount.faults().is_empty(), "{:?}", mount.faults());
    }

    fn end_leases(&mut self, now_ms: u64) {
        self.leases.retain(|(_, _, grant)| grant.ends_at_ms.is_none_or(|at_ms| at_ms > now_ms));
    }
}

#[test]
fn any_order_of_calls_ends_and_time_keeps_the_promises() {
    for seed in 0..150 {
        let mut state = seed;
        let (mut mount, a, b, c) = mounted(6);
        let mut sessions = [a, b, c];
        let mut model = Model { capacity: 6, leases: Vec::new(), line: Vec::new() };
        for _ in 0..60 {
            let at = (splitmix64(&mut state) % 3) as usize;
            let chosen = splitmix64(&mut state) as usize;
            match splitmix64(&mut state) % 12 {
                0..=5 => step_acquire(&mut mount, &mut model, sessions[at], &mut state),
                6..=8 if !model.leases.is_empty() => {
                    let (session, _, grant) = model.leases.remove(chosen % model.leases.len());
                    release(&mut mount, session, grant).done();
                }
                9 if !model.line.is_empty() => {
                    mount.cancel(model.line.remove(chosen % model.line.len()).ticket);
                }
                10 => {
                    let ended = std::mem::replace(&mut sessions[at], mount.session());
                    mount.close(ended);
                    model.line.retain(|waiting| waiting.session != ended);
                    model.leases.retain(|(session, ..)| *session != ended);
                }
                _ => step_advance(&mut mount, &mut model),
            }
            model.settle(&mut mount);
        }
    }
}

fn step_acquire(mount: &mut Mount, model: &mut Model, session: SessionId, state: &mut u64) {
    let quantity = 1 + splitmix64(state) % 6;
    let wait_ms = if splitmix64(state).is_multiple_of(4) { Some(0) } else { None };
    let ttl_ms = [None, Some(300), Some(900)][(splitmix64(state) % 3) as usize];
    let is_next = model.line.is_empty() && model.fits(quantity);
    let wanted = Acquire { quantity, wait_ms, ttl_ms, ..Acquire::default() };
    match ask(mount, session, wanted) {
        Answer::Done(grant) => {
            assert!(is_next);
            model.leases.push((session, quantity, grant));
        }
        Answer::Parked(ticket) => {
            assert!(!is_next);
            model.line.push(Asked { session, quantity, ticket, ttl_ms });
        }
        Answer::Refused(failure) => {
            assert!(!is_next);
            assert_eq!((failure.code.as_str(), wait_ms), ("unavailable", Some(0)));
        }
    }
}

/// Time passes, and each lease ends at its own.
fn step_advance(mount: &mut Mount, model: &mut Model) {
    let end_ms = mount.now_ms() + 200;
    while mount.now_ms() < end_ms {
        let ends = model.leases.iter().filter_map(|(_, _, grant)| grant.ends_at_ms);
        let next_ms = ends.min().unwrap_or(end_ms).clamp(mount.now_ms() + 1, end_ms);
        mount.advance(next_ms - mount.now_ms());
        model.end_leases(mount.now_ms());
        model.settle(mount);
    }
}

#[test]
fn it_says_what_it_takes_and_gives() {
    let described = Semaphore::describe();
    let names: Vec<_> = described.operations.iter().map(|operation| operation.name).collect();
    assert_eq!(names, ["acquire", "release", "renew", "resize", "leases"]);
    assert!(described.config_schema.contains("leases_max"));
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Semaphore>(folder);
}
