//! What the rate limiter promises, one test for each promise.

use super::*;
use quorate_recipe::Recipe;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "mailer";
/// One token comes in every 100 ms.
const TEN_A_SECOND: Rate = Rate { tokens: 10, per_ms: 1_000, burst: 5 };

type Mount = TestMount<RateLimiter>;

fn mounted(rate: Rate) -> (Mount, SessionId, SessionId, SessionId) {
    let mut mount = Mount::with_config(&Config { rate: Some(rate), ..Config::default() });
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

fn take(mount: &mut Mount, session: SessionId, tokens: u64, wait: Option<u64>) -> Answer<Taken> {
    mount.call(session, OBJECT, "take", &Take { tokens, wait_ms: wait })
}

fn lease(mount: &mut Mount, session: SessionId, tokens: u64, for_ms: u64) -> Answer<Quota> {
    mount.call(session, OBJECT, "lease", &Lease { tokens, for_ms, wait_ms: None })
}

fn give_back(mount: &mut Mount, session: SessionId, fence: u64, unspent: u64) -> Answer<Taken> {
    mount.call(session, OBJECT, "give-back", &GiveBack { fence, unspent })
}

fn configure(mount: &mut Mount, rate: Option<Rate>) -> Answer<Standing> {
    let operator = mount.session();
    mount.call(operator, OBJECT, "configure", &Configure { rate })
}

fn standing(mount: &mut Mount) -> Standing {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "standing", &()).done()
}

#[track_caller]
fn retry_after_ms(refusal: &Failure) -> u64 {
    assert_eq!(refusal.code, "limited");
    let told: RetryAfter = quorate_recipe::codec::decode(&refusal.detail).unwrap();
    told.retry_after_ms
}

#[track_caller]
fn pushed<T: serde::de::DeserializeOwned>(mount: &mut Mount, ticket: Ticket<T>) -> T {
    mount.pushed(ticket).expect("it is its turn").unwrap()
}

#[track_caller]
fn nothing_is_left(mount: &Mount) {
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!((mount.parked_count(), mount.timers().len()), (0, 0));
    assert!(mount.faults().is_empty(), "{:?}", mount.faults());
}

#[test]
fn a_full_bucket_gives_the_burst_and_then_the_rate() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    for left in (0..5).rev() {
        assert_eq!(take(&mut mount, a, 1, Some(0)).done(), Taken { left });
    }
    for _ in 0..3 {
        assert_eq!(retry_after_ms(&take(&mut mount, a, 1, Some(0)).refused()), 100);
        mount.advance(99);
        assert_eq!(retry_after_ms(&take(&mut mount, a, 1, Some(0)).refused()), 1);
        mount.advance(1);
        take(&mut mount, a, 1, Some(0)).done();
    }
}

#[test]
fn no_more_than_the_burst_and_what_comes_in_is_ever_taken() {
    let rate = Rate { tokens: 3, per_ms: 1_000, burst: 4 };
    let (mut mount, a, ..) = mounted(rate);
    let (mut taken, mut passed_ms) = (0, 0);
    for step in 0..500 {
        let tokens = 1 + step % 3;
        if let Answer::Done(_) = take(&mut mount, a, tokens, Some(0)) {
            taken += tokens;
        }
        assert!(taken <= 4 + passed_ms * 3 / 1_000, "{taken} in {passed_ms} ms");
        mount.advance(37);
        passed_ms += 37;
    }
    assert!(taken + 3 > passed_ms * 3 / 1_000, "and it is all given out");
}

#[test]
fn a_bucket_that_is_full_again_leaves_nothing() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 2, None).done();
    mount.advance(100);
    take(&mut mount, a, 2, None).done();
    mount.advance(299);
    assert_eq!(standing(&mut mount).left, 4);
    assert_eq!(mount.paths(), ["mailer", "mailer/bucket"]);
    mount.advance(1);
    nothing_is_left(&mount);
    assert_eq!(standing(&mut mount), Standing { rate: Some(TEN_A_SECOND), left: 5 });
}

#[test]
fn a_bucket_that_is_emptied_as_it_fills_is_looked_at_again() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 5, None).done();
    let waiting = take(&mut mount, a, 5, None).parked();
    mount.advance(500);
    pushed(&mut mount, waiting);
    mount.advance(499);
    assert_eq!(standing(&mut mount).left, 4);
    mount.advance(1);
    nothing_is_left(&mount);
}

#[test]
fn callers_wait_in_line_until_their_tokens_are_there() {
    let (mut mount, a, b, c) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 5, None).done();
    let large = take(&mut mount, a, 4, None).parked();
    let small = take(&mut mount, b, 1, None).parked();
    let leased = lease(&mut mount, c, 2, 1_000).parked();
    mount.advance(399);
    assert_eq!((mount.pushed(large), mount.pushed(small)), (None, None));
    mount.advance(1);
    assert_eq!(pushed(&mut mount, large), Taken { left: 0 });
    assert_eq!(mount.pushed(small), None);
    mount.advance(100);
    pushed(&mut mount, small);
    mount.advance(199);
    assert_eq!(mount.pushed(leased), None);
    mount.advance(1);
    let quota = pushed(&mut mount, leased);
    assert_eq!((quota.tokens, quota.ends_at_ms), (2, mount.now_ms() + 1_000));
    mount.advance(1_000);
    nothing_is_left(&mount);
}

#[test]
fn nobody_passes_those_in_line() {
    let (mut mount, a, b, _) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 5, None).done();
    let large = take(&mut mount, a, 5, None).parked();
    mount.advance(300);
    let refused = take(&mut mount, b, 1, Some(0)).refused();
    assert_eq!(retry_after_ms(&refused), 300, "two more for the first, and one");
    let small = take(&mut mount, b, 1, None).parked();
    mount.advance(200);
    pushed(&mut mount, large);
    assert_eq!(mount.pushed(small), None);
    mount.advance(100);
    pushed(&mut mount, small);
}

#[test]
fn a_wait_that_would_be_in_vain_is_refused_at_once() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 5, None).done();
    assert_eq!(retry_after_ms(&take(&mut mount, a, 3, Some(299)).refused()), 300);
    assert_eq!(retry_after_ms(&take(&mut mount, a, 3, Some(300)).refused()), 300);
    let waiting = take(&mut mount, a, 3, Some(301)).parked();
    mount.advance(300);
    pushed(&mut mount, waiting);
}

#[test]
fn a_wait_ends_at_its_limit_and_lets_others_go_on() {
    let (mut mount, a, b, c) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 5, None).done();
    let first = take(&mut mount, a, 5, None).parked();
    let second = take(&mut mount, b, 1, Some(601)).parked();
    let third = take(&mut mount, c, 1, None).parked();
    configure(&mut mount, Some(Rate { tokens: 1, ..TEN_A_SECOND })).done();
    mount.advance(600);
    assert_eq!(mount.pushed(second), None);
    mount.advance(1);
    assert_eq!(mount.pushed(second).unwrap().unwrap_err().code, "timed-out");
    mount.advance(399);
    assert_eq!(mount.pushed(third), None);
    mount.cancel(first);
    assert_eq!(mount.pushed(first).unwrap().unwrap_err().code, "cancelled");
    pushed(&mut mount, third);
}

#[test]
fn the_end_of_a_waiting_session_moves_the_others_up() {
    let (mut mount, a, b, _) = mounted(TEN_A_SECOND);
    take(&mut mount, b, 4, None).done();
    take(&mut mount, a, 5, None).parked();
    lease(&mut mount, a, 5, 50).parked();
    let small = take(&mut mount, b, 1, None).parked();
    mount.close(a);
    pushed(&mut mount, small);
    mount.advance(500);
    nothing_is_left(&mount);
}

#[test]
fn a_lease_is_spent_unless_it_is_given_back_in_time() {
    let (mut mount, a, b, _) = mounted(TEN_A_SECOND);
    let quota = lease(&mut mount, a, 5, 50).done();
    assert_eq!((quota.tokens, quota.ends_at_ms), (5, mount.now_ms() + 50));
    let waiting = take(&mut mount, b, 2, None).parked();
    let refused = give_back(&mut mount, b, quota.fence, 1).refused();
    assert_eq!(refused.code, "no-lease", "it is another's");
    assert_eq!(give_back(&mut mount, a, quota.fence, 6).refused().code, "out-of-range");
    assert_eq!(give_back(&mut mount, a, quota.fence, 3).done(), Taken { left: 1 });
    pushed(&mut mount, waiting);
    assert_eq!(give_back(&mut mount, a, quota.fence, 1).refused().code, "no-lease", "once");
    let quota = lease(&mut mount, a, 1, 50).done();
    mount.advance(49);
    assert_eq!(standing(&mut mount).left, 0);
    mount.advance(1);
    assert_eq!(give_back(&mut mount, a, quota.fence, 1).refused().code, "no-lease", "too late");
    mount.advance(450);
    nothing_is_left(&mount);
}

#[test]
fn what_is_given_back_does_not_pass_the_burst() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    let quota = lease(&mut mount, a, 4, 1_000).done();
    mount.advance(300);
    assert_eq!(give_back(&mut mount, a, quota.fence, 4).done(), Taken { left: 5 });
    nothing_is_left(&mount);
}

#[test]
fn leases_of_one_session_end_each_at_its_time() {
    let (mut mount, a, b, _) = mounted(TEN_A_SECOND);
    let late = lease(&mut mount, a, 1, 300).done();
    let early = lease(&mut mount, a, 1, 100).done();
    let middle = lease(&mut mount, a, 1, 200).done();
    mount.advance(100);
    assert_eq!(give_back(&mut mount, a, early.fence, 0).refused().code, "no-lease");
    give_back(&mut mount, a, middle.fence, 0).done();
    mount.advance(199);
    give_back(&mut mount, a, late.fence, 0).done();
    lease(&mut mount, b, 1, 1_000).done();
    mount.close(b);
    mount.advance(1_000);
    nothing_is_left(&mount);
}

#[test]
fn the_end_of_a_session_leaves_its_leases_spent() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    lease(&mut mount, a, 3, 3_600_000).done();
    mount.close(a);
    assert_eq!(standing(&mut mount).left, 2);
    mount.advance(300);
    nothing_is_left(&mount);
}

#[test]
fn leases_of_one_session_have_fences_of_their_own() {
    let (mut mount, a, b, _) = mounted(TEN_A_SECOND);
    let all = lease(&mut mount, b, 5, 1_000).done();
    let line: Vec<_> = (0..3).map(|_| lease(&mut mount, a, 1, 1_000).parked()).collect();
    give_back(&mut mount, b, all.fence, 5).done();
    let mut fences = Vec::new();
    for ticket in line {
        fences.push(pushed(&mut mount, ticket).fence);
        mount.advance(1);
    }
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
    for fence in fences {
        give_back(&mut mount, a, fence, 1).done();
    }
    nothing_is_left(&mount);
}

#[test]
fn a_run_serves_so_many_and_the_next_ones_follow() {
    let config = Config { rate: Some(TEN_A_SECOND), grants_max: 2, ..Config::default() };
    let mut mount = Mount::with_config(&config);
    let a = mount.session();
    let all = lease(&mut mount, a, 5, 1_000).done();
    let line: Vec<_> = (0..5).map(|_| take(&mut mount, a, 1, None).parked()).collect();
    give_back(&mut mount, a, all.fence, 5).done();
    let refused = take(&mut mount, a, 1, Some(0)).refused();
    assert_eq!(retry_after_ms(&refused), 1, "tokens are there, and others before");
    for (place, ticket) in line.into_iter().enumerate() {
        if place == 2 || place == 4 {
            assert_eq!(mount.pushed(ticket), None);
            mount.advance(1);
        }
        pushed(&mut mount, ticket);
    }
}

#[test]
fn an_object_may_have_a_rate_of_its_own() {
    let mut mount = Mount::new();
    let a = mount.session();
    assert_eq!(take(&mut mount, a, 1, None).refused().code, "not-configured");
    assert_eq!(standing(&mut mount), Standing { rate: None, left: 0 });
    nothing_is_left(&mount);
    let told = configure(&mut mount, Some(TEN_A_SECOND)).done();
    assert_eq!(told, Standing { rate: Some(TEN_A_SECOND), left: 5 });
    take(&mut mount, a, 5, None).done();
    mount.advance(500);
    assert_eq!(mount.paths(), ["mailer", "mailer/rate"], "what was configured stays");
    let quota = lease(&mut mount, a, 5, 1_000).done();
    let waiting = take(&mut mount, a, 1, None).parked();
    assert_eq!(configure(&mut mount, None).done(), Standing { rate: None, left: 0 });
    assert_eq!(mount.pushed(waiting).unwrap().unwrap_err().code, "not-configured");
    assert_eq!(give_back(&mut mount, a, quota.fence, 2).done(), Taken { left: 0 });
    nothing_is_left(&mount);
}

#[test]
fn a_new_rate_keeps_what_is_there_and_refuses_what_can_never_be() {
    let (mut mount, a, b, _) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 4, None).done();
    let large = take(&mut mount, a, 5, None).parked();
    let small = take(&mut mount, b, 2, None).parked();
    let slow = Rate { tokens: 1, per_ms: 10_000, burst: 3 };
    let told = configure(&mut mount, Some(slow)).done();
    assert_eq!(told, Standing { rate: Some(slow), left: 1 });
    assert_eq!(mount.pushed(large).unwrap().unwrap_err().code, "over-burst");
    mount.advance(9_999);
    assert_eq!(mount.pushed(small), None);
    mount.advance(1);
    pushed(&mut mount, small);
    let fast = Rate { tokens: 1, per_ms: 10, burst: 100 };
    let waiting = take(&mut mount, a, 3, None).parked();
    configure(&mut mount, Some(fast)).done();
    mount.advance(30);
    pushed(&mut mount, waiting);
    let wrong = Rate { burst: 0, ..fast };
    assert_eq!(configure(&mut mount, Some(wrong)).refused().code, "out-of-range");
    assert_eq!(standing(&mut mount).rate, Some(fast));
}

#[test]
fn a_full_bucket_stays_full_under_a_larger_burst() {
    let (mut mount, ..) = mounted(TEN_A_SECOND);
    let larger = Rate { burst: 50, ..TEN_A_SECOND };
    assert_eq!(configure(&mut mount, Some(larger)).done().left, 50);
}

#[test]
fn the_mounts_rate_may_change_and_must_be_right() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 5, None).done();
    let slow = Rate { tokens: 1, ..TEN_A_SECOND };
    mount.configure(&Config { rate: Some(slow), ..Config::default() }).unwrap();
    assert_eq!(retry_after_ms(&take(&mut mount, a, 1, Some(0)).refused()), 1_000);
    mount.advance(500);
    assert_eq!(mount.timers(), [(OBJECT, FULL_TIMER, mount.now_ms() + 4_500)]);
    let wrong = Config { rate: Some(Rate { per_ms: 0, ..slow }), ..Config::default() };
    assert_eq!(mount.configure(&wrong).unwrap_err().code, "out-of-range");
    mount.advance(4_500);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn out_of_range_is_refused() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    assert_eq!(take(&mut mount, a, 0, None).refused().code, "out-of-range");
    assert_eq!(take(&mut mount, a, 6, None).refused().code, "over-burst");
    assert_eq!(take(&mut mount, a, u64::MAX, Some(0)).refused().code, "over-burst");
    assert_eq!(lease(&mut mount, a, 1, 0).refused().code, "out-of-range");
    assert_eq!(lease(&mut mount, a, 1, 3_600_001).refused().code, "out-of-range");
    nothing_is_left(&mount);
}

#[test]
fn waiters_and_leases_are_bounded() {
    let config =
        Config { rate: Some(TEN_A_SECOND), claims_max: 2, leases_max: 2, ..Config::default() };
    let mut mount = Mount::with_config(&config);
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    let first = lease(&mut mount, a, 1, 10_000).done();
    lease(&mut mount, a, 1, 10_000).done();
    assert_eq!(lease(&mut mount, a, 1, 10_000).refused().code, "too-many-leases");
    lease(&mut mount, b, 3, 10_000).done();
    assert_eq!(lease(&mut mount, c, 1, 10_000).refused().code, "full");
    assert_eq!(take(&mut mount, c, 1, None).refused().code, "full");
    mount.configure(&Config { claims_max: 10, ..config }).unwrap();
    give_back(&mut mount, a, first.fence, 0).done();
    let waiting = [1, 1].map(|tokens| lease(&mut mount, a, tokens, 10_000).parked());
    let behind = take(&mut mount, c, 1, None).parked();
    mount.advance(100);
    pushed(&mut mount, waiting[0]);
    assert_eq!(mount.pushed(waiting[1]).unwrap().unwrap_err().code, "too-many-leases");
    assert_eq!(mount.pushed(behind), None);
    mount.advance(100);
    pushed(&mut mount, behind);
}

#[test]
fn objects_are_buckets_of_their_own() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    let wanted = Take { tokens: 5, wait_ms: Some(0) };
    let _: Taken = mount.call(a, "one", "take", &wanted).done();
    let _: Taken = mount.call(a, "two", "take", &wanted).done();
    let refused = mount.call::<Taken>(a, "one", "take", &wanted).refused();
    assert_eq!(refused.code, "limited");
    mount.advance(500);
    nothing_is_left(&mount);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a, ..) = mounted(TEN_A_SECOND);
    #[derive(Serialize)]
    struct Misspelt {
        token: u64,
    }
    let answer: Answer<Taken> = mount.call(a, OBJECT, "take", &Misspelt { token: 1 });
    assert_eq!(answer.refused().code, "bad-arguments");
    let outcome = mount.call_bytes(a, OBJECT, "take", &[]).unwrap();
    assert!(matches!(outcome, quorate_recipe::Outcome::Done(_)), "all arguments have defaults");
}

/// In charge while nobody hears of ends, as while a mount is suspended.
struct Deaf;

#[recipe(name = "rate-limiter", version = "0.9.0", state = 1)]
impl Deaf {
    /// A recipe has an operation.
    #[query]
    fn nothing(_call: &Call) -> Result<()> {
        Ok(())
    }
}

#[test]
fn ends_that_were_not_heard_of_do_not_hold_the_line_up() {
    let (mut mount, a, b, c) = mounted(TEN_A_SECOND);
    take(&mut mount, a, 5, None).done();
    let given_up = take(&mut mount, b, 2, None).parked();
    let abandoned = lease(&mut mount, b, 2, 100).parked();
    take(&mut mount, c, 5, None).parked();
    let last = take(&mut mount, a, 3, None).parked();
    let mut deaf = mount.upgrade::<Deaf>().unwrap();
    deaf.cancel(given_up);
    deaf.cancel(abandoned);
    deaf.close(c);
    let mut mount = deaf.upgrade::<RateLimiter>().unwrap();
    mount.advance(299);
    assert_eq!(mount.pushed(last), None);
    mount.advance(1);
    pushed(&mut mount, last);
    mount.advance(500);
    nothing_is_left(&mount);
}

#[test]
fn any_order_of_calls_ends_and_time_keeps_to_the_rate_and_to_the_line() {
    for seed in 0..150 {
        let mut state = seed;
        let (mut mount, a, b, c) = mounted(TEN_A_SECOND);
        let (mut sessions, start_ms) = ([a, b, c], mount.now_ms());
        let mut line: Vec<(SessionId, u64, Ticket<Taken>)> = Vec::new();
        let mut taken = 0;
        for _ in 0..80 {
            let at = (splitmix64(&mut state) % 3) as usize;
            let tokens = 1 + splitmix64(&mut state) % 5;
            match splitmix64(&mut state) % 10 {
                0..=5 => match take(&mut mount, sessions[at], tokens, None) {
                    Answer::Done(_) => {
                        assert!(line.is_empty(), "seed {seed}: it passed the line");
                        taken += tokens;
                    }
                    Answer::Parked(ticket) => line.push((sessions[at], tokens, ticket)),
                    Answer::Refused(failure) => panic!("seed {seed}: {failure}"),
                },
                6 if !line.is_empty() => {
                    let given_up = (splitmix64(&mut state) % line.len() as u64) as usize;
                    mount.cancel(line.remove(given_up).2);
                }
                7 => {
                    let ended = std::mem::replace(&mut sessions[at], mount.session());
                    mount.close(ended);
                    line.retain(|(session, ..)| *session != ended);
                }
                _ => mount.advance(splitmix64(&mut state) % 400),
            }
            while let Some((_, tokens, ticket)) = line.first().copied()
                && let Some(answer) = mount.pushed(ticket)
            {
                answer.unwrap();
                taken += tokens;
                line.remove(0);
            }
            for (_, _, ticket) in &line {
                assert_eq!(mount.pushed(*ticket), None, "seed {seed}: told out of turn");
            }
            let come_in = (mount.now_ms() - start_ms) / 100;
            assert!(taken <= 5 + come_in, "seed {seed}: {taken} of 5 and {come_in}");
            assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
        }
        let asked: u64 = line.iter().map(|(_, tokens, _)| tokens).sum();
        mount.advance(asked * 100);
        for (_, _, ticket) in line {
            pushed(&mut mount, ticket);
        }
        mount.advance(500);
        nothing_is_left(&mount);
    }
}

#[test]
fn it_says_what_it_takes_and_gives() {
    let described = RateLimiter::describe();
    let names: Vec<_> = described.operations.iter().map(|operation| operation.name).collect();
    assert_eq!(names, ["take", "lease", "give-back", "configure", "standing"]);
    assert!(described.config_schema.contains("lease_ms_max"));
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<RateLimiter>(folder);
}
