//! What the double barrier promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "training";

type Mount = TestMount<DoubleBarrier>;

fn enter(mount: &mut Mount, session: SessionId, parties: u32) -> Answer<Entered> {
    mount.call(session, OBJECT, "enter", &Enter { parties, wait_ms: None })
}

fn leave(mount: &mut Mount, session: SessionId, member: u64) -> Answer<Generation> {
    mount.call(session, OBJECT, "leave", &Leave { member, wait_ms: None })
}

fn reset(mount: &mut Mount, session: SessionId) -> Answer<()> {
    mount.call(session, OBJECT, "reset", &Reset::default())
}

fn state(mount: &mut Mount) -> State {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "state", &()).done()
}

fn round(mount: &mut Mount) -> Round {
    state(mount).round.expect("there is a round")
}

/// A mount, and three sessions.
fn mounted() -> (Mount, [SessionId; 3]) {
    mounted_with(&Config::default())
}

fn mounted_with(config: &Config) -> (Mount, [SessionId; 3]) {
    let mut mount = TestMount::with_config(config);
    let sessions = [mount.session(), mount.session(), mount.session()];
    (mount, sessions)
}

/// A round of all three, inside.
fn inside(mount: &mut Mount, [a, b, c]: [SessionId; 3]) -> [Entered; 3] {
    let first = enter(mount, a, 3).parked();
    let second = enter(mount, b, 3).parked();
    let third = enter(mount, c, 3).done();
    [pushed(mount, first), pushed(mount, second), third]
}

#[track_caller]
fn pushed<T: serde::de::DeserializeOwned>(mount: &mut Mount, ticket: Ticket<T>) -> T {
    mount.pushed(ticket).expect("it was answered").unwrap()
}

#[track_caller]
fn assert_broken<T: serde::de::DeserializeOwned + std::fmt::Debug>(
    mount: &mut Mount,
    ticket: Ticket<T>,
    why: &str,
) {
    let refused = mount.pushed(ticket).expect("it was answered").unwrap_err();
    assert_eq!(refused.code, "broken");
    assert!(refused.message.contains(why), "{}", refused.message);
    let told: Round = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert!(told.generation > 0);
}

/// The round that goes with a refusal.
fn round_told(refused: &Failure) -> Option<Round> {
    quorate_recipe::codec::decode(&refused.detail).unwrap()
}

#[test]
fn nobody_is_in_before_all_are_and_nobody_out_before_all_are() {
    let (mut mount, [a, b, c]) = mounted();
    let first = enter(&mut mount, a, 3).parked();
    let second = enter(&mut mount, b, 3).parked();
    mount.advance(1_000_000);
    assert_eq!((mount.pushed(first), mount.pushed(second)), (None, None));
    let third = enter(&mut mount, c, 3).done();
    let (first, second) = (pushed(&mut mount, first), pushed(&mut mount, second));
    assert!(first.generation == third.generation && second.generation == third.generation);
    assert!(first.member < second.member && second.member < third.member);
    let out_second = leave(&mut mount, b, second.member).parked();
    let out_third = leave(&mut mount, c, third.member).parked();
    mount.advance(1_000_000);
    assert_eq!((mount.pushed(out_second), mount.pushed(out_third)), (None, None));
    let out = leave(&mut mount, a, first.member).done();
    assert_eq!(out.generation, first.generation);
    assert_eq!(pushed(&mut mount, out_second), out);
    assert_eq!(pushed(&mut mount, out_third), out);
    mount.assert_nothing_left();
}

#[test]
fn rounds_follow_one_another_with_growing_numbers() {
    let (mut mount, sessions) = mounted();
    let mut last = 0;
    for _ in 0..5 {
        let entered = inside(&mut mount, sessions);
        assert!(entered[0].generation > last);
        last = entered[0].generation;
        leave(&mut mount, sessions[0], entered[0].member).parked();
        leave(&mut mount, sessions[1], entered[1].member).parked();
        leave(&mut mount, sessions[2], entered[2].member).done();
        mount.assert_nothing_left();
    }
}

#[test]
fn a_round_of_one_waits_for_nobody() {
    let (mut mount, [a, ..]) = mounted();
    let entered = enter(&mut mount, a, 1).done();
    leave(&mut mount, a, entered.member).done();
    mount.assert_nothing_left();
}

#[test]
fn one_session_may_be_several_members() {
    let (mut mount, [a, ..]) = mounted();
    let first = enter(&mut mount, a, 2).parked();
    let second = enter(&mut mount, a, 2).done();
    let first = pushed(&mut mount, first);
    assert_ne!(first.member, second.member);
    let out = leave(&mut mount, a, first.member).parked();
    assert_eq!(leave(&mut mount, a, first.member).refused().code, "not-a-member");
    leave(&mut mount, a, second.member).done();
    pushed(&mut mount, out);
    mount.assert_nothing_left();
}

#[test]
fn the_parties_are_a_limit() {
    let (mut mount, sessions) = mounted();
    let entered = inside(&mut mount, sessions);
    let other = mount.session();
    let refused = enter(&mut mount, other, 3).refused();
    assert_eq!(refused.code, "full");
    let told: Round = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((told.generation, told.entered), (entered[0].generation, 3));
    leave(&mut mount, sessions[0], entered[0].member).parked();
    assert_eq!(enter(&mut mount, other, 3).refused().code, "full", "a place left is not free");
}

#[test]
fn all_say_the_same_number_of_parties() {
    let (mut mount, [a, b, _]) = mounted_with(&Config { parties_max: 5, ..Config::default() });
    assert_eq!(enter(&mut mount, a, 0).refused().code, "bad-parties");
    assert_eq!(enter(&mut mount, a, 6).refused().code, "bad-parties");
    mount.assert_nothing_left();
    enter(&mut mount, a, 5).parked();
    assert_eq!(enter(&mut mount, b, 4).refused().code, "other-parties");
    enter(&mut mount, b, 5).parked();
}

#[test]
fn a_mount_allows_so_many_parties_as_one_run_can_answer() {
    let (mut mount, _) = mounted();
    for parties_max in [0, PARTIES_MAX + 1] {
        let config = Config { parties_max, ..Config::default() };
        assert_eq!(mount.configure(&config).unwrap_err().code, "bad-config");
    }
    let sessions: Vec<SessionId> = (0..PARTIES_MAX).map(|_| mount.session()).collect();
    let (last, others) = sessions.split_last().unwrap();
    let tickets: Vec<_> =
        others.iter().map(|session| enter(&mut mount, *session, PARTIES_MAX).parked()).collect();
    enter(&mut mount, *last, PARTIES_MAX).done();
    for ticket in tickets {
        pushed(&mut mount, ticket);
    }
    mount.close(*last);
    assert_eq!(mount.paths(), ["training", "training/round"]);
}

#[test]
fn a_try_does_not_wait_and_changes_nothing() {
    let (mut mount, [a, b, _]) = mounted();
    let at_once = Enter { parties: 2, wait_ms: Some(0) };
    let refused = mount.call::<Entered>(a, OBJECT, "enter", &at_once).refused();
    assert_eq!(refused.code, "incomplete");
    assert_eq!(round_told(&refused), None, "who only tried is not counted");
    mount.assert_nothing_left();
    let waiting = enter(&mut mount, a, 2).parked();
    let second = mount.call::<Entered>(b, OBJECT, "enter", &at_once).done();
    let first = pushed(&mut mount, waiting);
    let at_once = Leave { member: first.member, wait_ms: Some(0) };
    let refused = mount.call::<Generation>(a, OBJECT, "leave", &at_once).refused();
    assert_eq!(refused.code, "incomplete");
    assert_eq!(round_told(&refused), Some(round(&mut mount)));
    assert_eq!(round(&mut mount).left, 0);
    leave(&mut mount, b, second.member).parked();
    mount.call::<Generation>(a, OBJECT, "leave", &at_once).done();
    mount.assert_nothing_left();
}

#[test]
fn a_session_that_ends_while_all_gather_breaks_the_round() {
    let (mut mount, [a, b, c]) = mounted();
    let first = enter(&mut mount, a, 3).parked();
    enter(&mut mount, b, 3).parked();
    mount.close(b);
    assert_broken(&mut mount, first, "session");
    assert_eq!(round(&mut mount).phase, Phase::Broken);
    assert_eq!(enter(&mut mount, c, 3).refused().code, "broken");
    assert!(mount.faults().is_empty());
}

#[test]
fn a_session_that_ends_inside_breaks_the_round_for_all() {
    let (mut mount, sessions) = mounted();
    let [a, b, c] = sessions;
    let entered = inside(&mut mount, sessions);
    let out = leave(&mut mount, a, entered[0].member).parked();
    mount.close(b);
    assert_broken(&mut mount, out, "session");
    assert_eq!(leave(&mut mount, c, entered[2].member).refused().code, "broken");
    assert_eq!(mount.paths(), ["training", "training/round"]);
    assert!(mount.faults().is_empty());
}

#[test]
fn a_session_that_ends_after_it_left_harms_nobody() {
    let (mut mount, sessions) = mounted();
    let [a, b, c] = sessions;
    let entered = inside(&mut mount, sessions);
    leave(&mut mount, a, entered[0].member).parked();
    mount.close(a);
    let out = leave(&mut mount, b, entered[1].member).parked();
    let last = leave(&mut mount, c, entered[2].member).done();
    assert_eq!(pushed(&mut mount, out), last);
    mount.assert_nothing_left();
}

#[test]
fn a_session_that_left_with_one_place_and_not_with_another_breaks_the_round() {
    let (mut mount, [a, b, _]) = mounted();
    let first = enter(&mut mount, a, 3).parked();
    let second = enter(&mut mount, b, 3).parked();
    enter(&mut mount, a, 3).done();
    let (first, second) = (pushed(&mut mount, first), pushed(&mut mount, second));
    leave(&mut mount, a, first.member).parked();
    let out = leave(&mut mount, b, second.member).parked();
    mount.close(a);
    assert_broken(&mut mount, out, "session");
}

#[test]
fn a_wait_that_is_over_breaks_the_round_at_its_time() {
    let (mut mount, [a, b, _]) = mounted();
    let limited = Enter { parties: 3, wait_ms: Some(5_000) };
    let short = mount.call::<Entered>(a, OBJECT, "enter", &limited).parked();
    let long = enter(&mut mount, b, 3).parked();
    mount.advance(4_999);
    assert_eq!((mount.pushed(short), mount.pushed(long)), (None, None));
    mount.advance(1);
    assert_eq!(mount.pushed(short).unwrap().unwrap_err().code, "timed-out");
    assert_broken(&mut mount, long, "wait");
    assert_eq!(round(&mut mount).broken.as_deref(), Some("the wait of a member was over"));
}

#[test]
fn a_wait_to_leave_that_is_over_breaks_the_round_for_the_others() {
    let (mut mount, sessions) = mounted();
    let [a, b, c] = sessions;
    let entered = inside(&mut mount, sessions);
    let limited = Leave { member: entered[0].member, wait_ms: Some(5_000) };
    let short = mount.call::<Generation>(a, OBJECT, "leave", &limited).parked();
    let long = leave(&mut mount, b, entered[1].member).parked();
    mount.advance(5_000);
    assert_eq!(mount.pushed(short).unwrap().unwrap_err().code, "timed-out");
    assert_broken(&mut mount, long, "wait");
    assert_eq!(leave(&mut mount, c, entered[2].member).refused().code, "broken");
}

#[test]
fn waits_that_end_in_one_instant_break_the_round_once() {
    let (mut mount, [a, b, c]) = mounted();
    let limited = Enter { parties: 4, wait_ms: Some(5_000) };
    let tickets = [a, b, c].map(|s| mount.call::<Entered>(s, OBJECT, "enter", &limited).parked());
    mount.advance(5_000);
    let codes = tickets.map(|ticket| mount.pushed(ticket).unwrap().unwrap_err().code);
    assert_eq!(codes, ["timed-out", "broken", "broken"]);
    assert!(mount.faults().is_empty());
}

#[test]
fn a_wait_given_up_breaks_the_round() {
    let (mut mount, [a, b, _]) = mounted();
    let given_up = enter(&mut mount, a, 3).parked();
    let other = enter(&mut mount, b, 3).parked();
    mount.cancel(given_up);
    assert_broken(&mut mount, other, "gave up");
}

#[test]
fn a_broken_round_stays_broken_until_it_is_reset() {
    let (mut mount, sessions) = mounted();
    let [a, b, _] = sessions;
    let given_up = enter(&mut mount, a, 3).parked();
    mount.cancel(given_up);
    let generation = round(&mut mount).generation;
    mount.advance(1_000_000);
    assert_eq!(enter(&mut mount, b, 3).refused().code, "broken");
    reset(&mut mount, b).done();
    mount.assert_nothing_left();
    let entered = inside(&mut mount, sessions);
    assert!(entered[0].generation > generation);
}

#[test]
fn a_broken_round_resets_itself_if_so_configured() {
    let (mut mount, sessions) = mounted_with(&Config { resets_itself: true, ..Config::default() });
    let [a, b, c] = sessions;
    let entered = inside(&mut mount, sessions);
    let out = leave(&mut mount, a, entered[0].member).parked();
    mount.close(b);
    assert_broken(&mut mount, out, "session");
    mount.assert_nothing_left();
    assert_eq!(leave(&mut mount, c, entered[2].member).refused().code, "not-a-member");
    enter(&mut mount, c, 2).parked();
    let next = enter(&mut mount, a, 2).done();
    assert!(next.generation > entered[0].generation);
    let refused = leave(&mut mount, c, entered[2].member).refused();
    assert_eq!(refused.code, "not-a-member", "the place was one of the round before");
}

#[test]
fn a_reset_ends_the_round_of_those_who_are_in_it() {
    let (mut mount, sessions) = mounted();
    let [a, b, c] = sessions;
    let waiting = enter(&mut mount, a, 3).parked();
    reset(&mut mount, c).done();
    assert_broken(&mut mount, waiting, "reset");
    mount.assert_nothing_left();
    let entered = inside(&mut mount, sessions);
    let out = leave(&mut mount, a, entered[0].member).parked();
    let late = Reset { generation: Some(entered[0].generation - 1) };
    let refused = mount.call::<()>(c, OBJECT, "reset", &late).refused();
    assert_eq!(refused.code, "other-generation");
    let meant = Reset { generation: Some(entered[0].generation) };
    mount.call::<()>(c, OBJECT, "reset", &meant).done();
    assert_broken(&mut mount, out, "reset");
    assert_eq!(leave(&mut mount, b, entered[1].member).refused().code, "not-a-member");
    reset(&mut mount, c).done();
    mount.assert_nothing_left();
}

#[test]
fn only_members_leave_and_only_once_all_are_in() {
    let (mut mount, sessions) = mounted();
    let [a, b, c] = sessions;
    assert_eq!(leave(&mut mount, a, 1).refused().code, "not-a-member");
    enter(&mut mount, a, 3).parked();
    let number = state(&mut mount).members[0].member;
    assert_eq!(leave(&mut mount, a, number).refused().code, "not-a-member");
    enter(&mut mount, b, 3).parked();
    let third = enter(&mut mount, c, 3).done();
    assert_eq!(leave(&mut mount, a, third.member).refused().code, "not-a-member");
    assert_eq!(round(&mut mount).left, 0);
    leave(&mut mount, a, number).parked();
    assert_eq!(leave(&mut mount, a, number).refused().code, "not-a-member");
    assert_eq!(round(&mut mount).left, 1);
}

#[test]
fn the_state_tells_how_far_the_round_is_and_who_is_in_it() {
    let (mut mount, sessions) = mounted();
    assert_eq!(state(&mut mount), State { round: None, members: Vec::new() });
    let entered = inside(&mut mount, sessions);
    leave(&mut mount, sessions[1], entered[1].member).parked();
    let state = state(&mut mount);
    let round = state.round.unwrap();
    assert_eq!((round.phase, round.entered, round.left), (Phase::Inside, 3, 1));
    let left: Vec<bool> = state.members.iter().map(|member| member.has_left).collect();
    assert_eq!(left, [false, true, false]);
    assert_eq!(state.members[2].session, sessions[2]);
    assert_eq!(state.members[2].identity, "user-3");
}

#[test]
fn objects_are_barriers_of_their_own() {
    let (mut mount, [a, b, _]) = mounted();
    let two = Enter { parties: 2, wait_ms: None };
    let one = mount.call::<Entered>(a, "one", "enter", &two).parked();
    let other = mount.call::<Entered>(a, "two", "enter", &two).parked();
    mount.call::<Entered>(b, "one", "enter", &two).done();
    pushed(&mut mount, one);
    assert_eq!(mount.pushed(other), None);
    mount.close(a);
    assert_eq!(mount.paths(), ["one", "one/round", "two", "two/round"]);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, [a, ..]) = mounted();
    #[derive(Serialize)]
    struct Misspelt {
        parties: u32,
        wait: u64,
    }
    let wanted = Misspelt { parties: 2, wait: 0 };
    let answer: Answer<Entered> = mount.call(a, OBJECT, "enter", &wanted);
    assert_eq!(answer.refused().code, "bad-arguments");
    mount.assert_nothing_left();
}

/// Where a member is.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    Outside,
    Entering(Ticket<Entered>),
    Inside(Entered),
    Leaving(Ticket<Generation>),
}

/// Hears what was pushed to the members; the parties as each of them sees them.
fn hear(mount: &mut Mount, members: &mut [(SessionId, Where)]) {
    for (_, place) in members {
        *place = match *place {
            Where::Entering(ticket) => match mount.pushed(ticket) {
                Some(Ok(entered)) => Where::Inside(entered),
                Some(Err(_)) => Where::Outside,
                None => *place,
            },
            Where::Leaving(ticket) => match mount.pushed(ticket) {
                Some(_) => Where::Outside,
                None => *place,
            },
            _ => *place,
        };
    }
}

fn check(mount: &mut Mount, members: &[(SessionId, Where)], seed: u64) {
    let state = state(mount);
    let count = |is: fn(&Where) -> bool| members.iter().filter(|(_, place)| is(place)).count();
    let entering = count(|place| matches!(place, Where::Entering(_)));
    let leaving = count(|place| matches!(place, Where::Leaving(_)));
    assert!(entering == 0 || leaving == 0, "two phases at once, seed {seed}");
    let waiting = mount.parked_count();
    assert_eq!(waiting, entering + leaving, "somebody waits for nothing, seed {seed}");
    match state.round {
        None => assert_eq!((waiting, mount.paths().len()), (0, 0), "seed {seed}"),
        Some(round) => {
            let (in_phase, waits) = match round.phase {
                Phase::Gathering => (round.entered < 3, round.entered as usize),
                Phase::Inside => (round.entered == 3 && round.left < 3, leaving),
                Phase::Broken => (state.members.is_empty(), 0),
            };
            assert!(in_phase && waits == waiting, "seed {seed}: {round:?}");
        }
    }
    assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
}

#[test]
fn any_order_of_calls_and_ends_keeps_the_promises() {
    let mut finished = 0;
    for seed in 0..80 {
        let mut random = seed;
        let config = Config { resets_itself: seed % 2 == 0, ..Config::default() };
        let (mut mount, sessions) = mounted_with(&config);
        let mut members = sessions.map(|session| (session, Where::Outside));
        for _ in 0..120 {
            let at = (splitmix64(&mut random) % 3) as usize;
            let (session, place) = members[at];
            match (splitmix64(&mut random) % 40, place) {
                (0, _) => {
                    mount.close(session);
                    members[at] = (mount.session(), Where::Outside);
                }
                (1, Where::Entering(ticket)) => mount.cancel(ticket),
                (2, Where::Leaving(ticket)) => mount.cancel(ticket),
                (3, _) => reset(&mut mount, session).done(),
                (_, Where::Outside) => {
                    members[at].1 = match enter(&mut mount, session, 3) {
                        Answer::Done(entered) => Where::Inside(entered),
                        Answer::Parked(ticket) => Where::Entering(ticket),
                        Answer::Refused(_) => Where::Outside,
                    };
                }
                (_, Where::Inside(entered)) => {
                    members[at].1 = match leave(&mut mount, session, entered.member) {
                        Answer::Done(_) => {
                            finished += 1;
                            Where::Outside
                        }
                        Answer::Parked(ticket) => Where::Leaving(ticket),
                        Answer::Refused(_) => Where::Outside,
                    };
                }
                _ => {}
            }
            hear(&mut mount, &mut members);
            check(&mut mount, &members, seed);
        }
    }
    assert!(finished > 100, "rounds come to their end: {finished}");
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<DoubleBarrier>(folder);
}
