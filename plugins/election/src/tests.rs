//! What the election promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "scheduler";

type Mount = TestMount<Election>;

fn campaign_as(mount: &mut Mount, session: SessionId, name: &str) -> Answer<Term> {
    let wanted = Campaign { name: Some(name.into()), value: value(name), wait_ms: None };
    mount.call(session, OBJECT, "campaign", &wanted)
}

fn campaign(mount: &mut Mount, session: SessionId) -> Answer<Term> {
    mount.call(session, OBJECT, "campaign", &Campaign::default())
}

fn value(text: &str) -> Blob {
    Blob(text.as_bytes().to_vec())
}

fn proclaim(mount: &mut Mount, session: SessionId, term: u64, text: &str) -> Answer<Revision> {
    mount.call(session, OBJECT, "proclaim", &Proclaim { term, value: value(text) })
}

fn resign(mount: &mut Mount, session: SessionId, term: u64) -> Answer<()> {
    mount.call(session, OBJECT, "resign", &Resign { term })
}

fn transfer(mount: &mut Mount, session: SessionId, term: u64, to: &str) -> Answer<Term> {
    mount.call(session, OBJECT, "transfer", &Transfer { term, to: to.into() })
}

fn observe(mount: &mut Mount, session: SessionId, after: u64) -> Answer<Standing> {
    mount.call(session, OBJECT, "observe", &Observe { after: Some(after), wait_ms: None })
}

fn standing(mount: &mut Mount) -> Standing {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "leader", &()).done()
}

fn leader(mount: &mut Mount) -> Leader {
    standing(mount).leader.expect("somebody leads")
}

fn line(mount: &mut Mount) -> Vec<String> {
    let anyone = mount.session();
    let places: Vec<Place> = mount.call(anyone, OBJECT, "candidates", &Page::default()).done();
    places.into_iter().map(|place| place.name).collect()
}

/// A mount, and three sessions.
fn mounted() -> (Mount, SessionId, SessionId, SessionId) {
    let mut mount = TestMount::new();
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

#[test]
fn the_first_candidate_leads_at_once() {
    let (mut mount, a, ..) = mounted();
    let begun = campaign_as(&mut mount, a, "alpha").done();
    let leader = leader(&mut mount);
    assert_eq!((leader.session, leader.term, leader.revision), (a, begun.term, begun.term));
    assert_eq!((leader.name.as_str(), leader.identity.as_str()), ("alpha", "user-1"));
    assert_eq!((leader.value, leader.since_ms), (value("alpha"), mount.now_ms()));
}

#[test]
fn an_election_nobody_stands_in_has_no_leader_and_no_znode() {
    let (mut mount, a, ..) = mounted();
    assert_eq!(standing(&mut mount), Standing { revision: 0, leader: None });
    assert_eq!(line(&mut mount), [""; 0]);
    let begun = campaign(&mut mount, a).done();
    resign(&mut mount, a, begun.term).done();
    assert_eq!(standing(&mut mount), Standing { revision: 0, leader: None });
    mount.assert_nothing_left();
}

#[test]
fn candidates_lead_in_order_of_arrival_and_terms_grow() {
    let (mut mount, first, ..) = mounted();
    let mut term = campaign(&mut mount, first).done().term;
    let mut owner = first;
    let sessions: Vec<SessionId> = (0..20).map(|_| mount.session()).collect();
    let tickets: Vec<_> =
        sessions.iter().map(|session| campaign(&mut mount, *session).parked()).collect();
    assert_eq!(line(&mut mount).len(), 20);
    for (position, ticket) in tickets.iter().enumerate() {
        assert_eq!(mount.pushed(*ticket), None, "nobody leads out of turn");
        resign(&mut mount, owner, term).done();
        let next = mount.pushed(*ticket).expect("the next in line").unwrap();
        assert!(next.term > term);
        (term, owner) = (next.term, sessions[position]);
        assert_eq!(leader(&mut mount).session, owner);
    }
    resign(&mut mount, owner, term).done();
    mount.assert_nothing_left();
}

#[test]
fn a_try_does_not_wait_and_says_who_leads() {
    let (mut mount, a, b, _) = mounted();
    campaign_as(&mut mount, a, "alpha").done();
    let wanted = Campaign { wait_ms: Some(0), ..Campaign::default() };
    let refused = mount.call::<Term>(b, OBJECT, "campaign", &wanted).refused();
    assert_eq!(refused.code, "led");
    let told: Option<Leader> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.unwrap().name, "alpha");
    assert_eq!((mount.paths().len(), mount.parked_count()), (2, 0));
}

#[test]
fn a_name_is_one_candidates_own() {
    let (mut mount, a, b, _) = mounted();
    campaign_as(&mut mount, a, "alpha").done();
    assert_eq!(campaign_as(&mut mount, b, "alpha").refused().code, "already-candidate");
    let waiting = campaign_as(&mut mount, b, "beta").parked();
    assert_eq!(campaign_as(&mut mount, a, "beta").refused().code, "already-candidate");
    mount.cancel(waiting);
    assert_eq!(line(&mut mount), [""; 0], "a name given up is free again");
    campaign_as(&mut mount, a, "beta").parked();
}

#[test]
fn without_a_name_a_session_stands_once() {
    let (mut mount, a, b, _) = mounted();
    let begun = campaign(&mut mount, a).done();
    assert_eq!(leader(&mut mount).name, a.to_string());
    assert_eq!(campaign(&mut mount, a).refused().code, "already-candidate");
    campaign(&mut mount, b).parked();
    assert_eq!(campaign(&mut mount, b).refused().code, "already-candidate");
    resign(&mut mount, a, begun.term).done();
    campaign(&mut mount, a).parked();
}

#[test]
fn names_that_are_no_part_of_a_path_are_refused() {
    let (mut mount, a, b, _) = mounted();
    let begun = campaign_as(&mut mount, a, "..").done();
    for name in ["", "a/b", "a\nb", &"n".repeat(201)] {
        assert_eq!(campaign_as(&mut mount, b, name).refused().code, "bad-name", "{name:?}");
        let refused = transfer(&mut mount, a, begun.term, name).refused();
        assert_eq!(refused.code, "no-candidate", "{name:?}");
    }
    campaign_as(&mut mount, b, &"n".repeat(200)).parked();
}

#[test]
fn the_leader_proclaims_and_nobody_else() {
    let (mut mount, a, b, _) = mounted();
    let begun = campaign_as(&mut mount, a, "alpha").done();
    campaign_as(&mut mount, b, "beta").parked();
    assert_eq!(proclaim(&mut mount, b, begun.term, "x").refused().code, "not-leader");
    assert_eq!(proclaim(&mut mount, a, begun.term - 1, "x").refused().code, "not-leader");
    let told = proclaim(&mut mount, a, begun.term, "new").done();
    let leader = leader(&mut mount);
    assert_eq!((leader.value, leader.revision), (value("new"), told.revision));
    assert_eq!(leader.term, begun.term, "it is still the same term");
    assert!(told.revision > begun.term);
}

#[test]
fn whoever_observes_hears_of_the_leader_of_its_values_and_of_its_end() {
    let (mut mount, a, b, _) = mounted();
    let none_yet = observe(&mut mount, b, 0).parked();
    let begun = campaign_as(&mut mount, a, "alpha").done();
    let seen = mount.pushed(none_yet).unwrap().unwrap();
    assert_eq!((seen.revision, seen.leader.unwrap().term), (begun.term, begun.term));
    let next = observe(&mut mount, b, seen.revision).parked();
    assert_eq!(mount.pushed(next), None);
    let told = proclaim(&mut mount, a, begun.term, "new").done();
    let seen = mount.pushed(next).unwrap().unwrap();
    assert_eq!((seen.revision, seen.leader.unwrap().value), (told.revision, value("new")));
    let next = observe(&mut mount, b, seen.revision).parked();
    resign(&mut mount, a, begun.term).done();
    let seen = mount.pushed(next).unwrap().unwrap();
    assert_eq!(seen, Standing { revision: 0, leader: None });
    mount.assert_nothing_left();
}

#[test]
fn what_changed_between_two_observations_is_told_at_once() {
    let (mut mount, a, b, _) = mounted();
    let begun = campaign(&mut mount, a).done();
    let seen = observe(&mut mount, b, 0).done();
    proclaim(&mut mount, a, begun.term, "one").done();
    let told = proclaim(&mut mount, a, begun.term, "two").done();
    let seen = observe(&mut mount, b, seen.revision).done();
    assert_eq!((seen.revision, seen.leader.unwrap().value), (told.revision, value("two")));
    mount.close(a);
    assert_eq!(observe(&mut mount, b, seen.revision).done().leader, None);
    let first: Standing = mount.call(b, OBJECT, "observe", &Observe::default()).done();
    assert_eq!(first.revision, 0, "without `after` the answer comes at once");
    mount.assert_nothing_left();
}

#[test]
fn a_handover_is_told_once_and_with_the_new_leader() {
    let (mut mount, a, b, c) = mounted();
    let begun = campaign_as(&mut mount, a, "alpha").done();
    campaign_as(&mut mount, b, "beta").parked();
    let watching = observe(&mut mount, c, begun.term).parked();
    mount.close(a);
    let seen = mount.pushed(watching).unwrap().unwrap();
    assert_eq!(seen.leader.unwrap().name, "beta");
}

#[test]
fn an_observation_that_may_not_wait_says_that_nothing_changed() {
    let (mut mount, a, ..) = mounted();
    let begun = campaign(&mut mount, a).done();
    let seen = Observe { after: Some(begun.term), wait_ms: Some(0) };
    let refused = mount.call::<Standing>(a, OBJECT, "observe", &seen).refused();
    assert_eq!(refused.code, "unchanged");
}

#[test]
fn many_observers_are_told_in_turn_and_none_is_forgotten() {
    let config = Config { answered_max: 2, ..Config::default() };
    let mut mount = TestMount::<Election>::with_config(&config);
    let (a, b) = (mount.session(), mount.session());
    let tickets: Vec<_> = (0..5).map(|_| observe(&mut mount, b, 0).parked()).collect();
    let begun = campaign(&mut mount, a).done();
    let told: Vec<bool> = tickets.iter().map(|t| mount.pushed(*t).is_some()).collect();
    assert_eq!(told, [true, true, false, false, false]);
    let late = observe(&mut mount, b, begun.term).parked();
    mount.advance(1);
    assert!(mount.pushed(tickets[2]).is_some() && mount.pushed(tickets[3]).is_some());
    let told = proclaim(&mut mount, a, begun.term, "new").done();
    let seen = mount.pushed(tickets[4]).unwrap().unwrap();
    assert_eq!(seen.revision, told.revision, "those told later are told of the last state");
    assert_eq!(mount.pushed(late).unwrap().unwrap().revision, told.revision);
    mount.advance(5);
    resign(&mut mount, a, begun.term).done();
    mount.assert_nothing_left();
}

#[test]
fn whoever_observes_the_new_state_is_not_told_of_it_again() {
    let config = Config { answered_max: 2, ..Config::default() };
    let mut mount = TestMount::<Election>::with_config(&config);
    let (a, b) = (mount.session(), mount.session());
    let tickets: Vec<_> = (0..3).map(|_| observe(&mut mount, b, 0).parked()).collect();
    let begun = campaign(&mut mount, a).done();
    let late = observe(&mut mount, b, begun.term).parked();
    mount.advance(10);
    assert!(tickets.into_iter().all(|ticket| mount.pushed(ticket).is_some()));
    assert_eq!(mount.pushed(late), None, "nothing has changed since");
    assert_eq!(mount.timers(), []);
    resign(&mut mount, a, begun.term).done();
    assert_eq!(mount.pushed(late).unwrap().unwrap().revision, 0);
    mount.assert_nothing_left();
}

#[test]
fn a_transfer_names_who_leads_next() {
    let (mut mount, a, b, c) = mounted();
    let begun = campaign_as(&mut mount, a, "alpha").done();
    let beta = campaign_as(&mut mount, b, "beta").parked();
    let gamma = campaign_as(&mut mount, c, "gamma").parked();
    let next = transfer(&mut mount, a, begun.term, "gamma").done();
    assert_eq!(mount.pushed(gamma), Some(Ok(next)));
    assert!(next.term > begun.term);
    assert_eq!(leader(&mut mount).name, "gamma");
    assert_eq!(line(&mut mount), ["beta"], "the others keep their places");
    resign(&mut mount, c, next.term).done();
    mount.pushed(beta).unwrap().unwrap();
}

#[test]
fn a_transfer_that_cannot_be_leaves_the_leader() {
    let (mut mount, a, b, _) = mounted();
    let begun = campaign_as(&mut mount, a, "alpha").done();
    let waiting = campaign_as(&mut mount, b, "beta").parked();
    assert_eq!(transfer(&mut mount, a, begun.term, "nobody").refused().code, "no-candidate");
    assert_eq!(transfer(&mut mount, a, begun.term, "alpha").refused().code, "no-candidate");
    assert_eq!(transfer(&mut mount, b, begun.term, "beta").refused().code, "not-leader");
    mount.cancel(waiting);
    assert_eq!(transfer(&mut mount, a, begun.term, "beta").refused().code, "no-candidate");
    assert_eq!(leader(&mut mount).term, begun.term);
}

#[test]
fn only_the_leader_resigns_and_only_its_term() {
    let (mut mount, a, b, _) = mounted();
    let begun = campaign_as(&mut mount, a, "alpha").done();
    let refused = resign(&mut mount, b, begun.term).refused();
    assert_eq!(refused.code, "not-leader");
    let told: Option<Leader> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.unwrap().name, "alpha");
    assert_eq!(resign(&mut mount, a, begun.term + 1).refused().code, "not-leader");
    resign(&mut mount, a, begun.term).done();
    assert_eq!(resign(&mut mount, a, begun.term).refused().code, "not-leader");
    let again = campaign_as(&mut mount, a, "alpha").done();
    assert_eq!(resign(&mut mount, a, begun.term).refused().code, "not-leader");
    assert_eq!(leader(&mut mount).term, again.term);
}

#[test]
fn the_end_of_the_leaders_session_passes_the_election_on() {
    let (mut mount, a, b, _) = mounted();
    let begun = campaign(&mut mount, a).done();
    let waiting = campaign(&mut mount, b).parked();
    mount.close(a);
    assert!(mount.pushed(waiting).unwrap().unwrap().term > begun.term);
    assert_eq!(leader(&mut mount).session, b);
    mount.close(b);
    mount.assert_nothing_left();
}

#[test]
fn the_end_of_a_waiting_session_moves_the_others_up() {
    let (mut mount, a, b, c) = mounted();
    let begun = campaign(&mut mount, a).done();
    campaign_as(&mut mount, b, "beta").parked();
    let waiting = campaign_as(&mut mount, c, "gamma").parked();
    let watching = observe(&mut mount, b, begun.term).parked();
    mount.close(b);
    assert_eq!(mount.pushed(waiting), None, "the leader still leads");
    assert_eq!(mount.pushed(watching), None);
    campaign_as(&mut mount, a, "beta").parked();
    resign(&mut mount, a, begun.term).done();
    mount.pushed(waiting).unwrap().unwrap();
}

#[test]
fn a_session_that_ends_leads_under_none_of_its_names() {
    let (mut mount, a, b, _) = mounted();
    campaign_as(&mut mount, a, "first").done();
    campaign_as(&mut mount, a, "second").parked();
    campaign_as(&mut mount, a, "third").parked();
    let other = campaign_as(&mut mount, b, "other").parked();
    mount.close(a);
    mount.pushed(other).unwrap().unwrap();
    assert_eq!(mount.paths(), ["scheduler", "scheduler/leader"]);
    mount.close(b);
    mount.assert_nothing_left();
}

#[test]
fn many_places_of_an_ending_session_are_passed_over_in_several_steps() {
    let (mut mount, a, b, c) = mounted();
    campaign_as(&mut mount, a, "leading").done();
    for number in 0..20 {
        campaign_as(&mut mount, a, &format!("own-{number}")).parked();
    }
    let other = campaign_as(&mut mount, b, "other").parked();
    mount.close(a);
    assert_eq!(standing(&mut mount).leader, None);
    let overtaking = campaign_as(&mut mount, c, "late").parked();
    let wanted = Campaign { wait_ms: Some(0), ..Campaign::default() };
    assert_eq!(mount.call::<Term>(c, OBJECT, "campaign", &wanted).refused().code, "led");
    mount.advance(1);
    mount.pushed(other).expect("nobody overtakes").unwrap();
    assert_eq!(mount.pushed(overtaking), None);
    mount.close(b);
    mount.pushed(overtaking).unwrap().unwrap();
    mount.close(c);
    mount.assert_nothing_left();
}

#[test]
fn a_candidate_that_finds_an_empty_line_leads_although_a_step_is_due() {
    let (mut mount, a, b, _) = mounted();
    campaign_as(&mut mount, a, "leading").done();
    for number in 0..9 {
        campaign_as(&mut mount, a, &format!("own-{number}")).parked();
    }
    mount.close(a);
    let begun = campaign_as(&mut mount, b, "other").done();
    mount.advance(1);
    assert_eq!(leader(&mut mount).term, begun.term);
    resign(&mut mount, b, begun.term).done();
    mount.assert_nothing_left();
}

#[test]
fn waits_end_at_their_limit_and_not_before() {
    let (mut mount, a, b, c) = mounted();
    let begun = campaign(&mut mount, a).done();
    let wanted = Campaign { wait_ms: Some(5_000), ..Campaign::default() };
    let waiting = mount.call::<Term>(b, OBJECT, "campaign", &wanted).parked();
    let seen = Observe { after: Some(begun.term), wait_ms: Some(5_000) };
    let watching = mount.call::<Standing>(c, OBJECT, "observe", &seen).parked();
    mount.advance(4_999);
    assert_eq!((mount.pushed(waiting), mount.pushed(watching)), (None, None));
    mount.advance(1);
    assert_eq!(mount.pushed(waiting).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.pushed(watching).unwrap().unwrap_err().code, "timed-out");
    assert_eq!(mount.paths(), ["scheduler", "scheduler/leader"]);
}

#[test]
fn a_wait_given_up_leaves_the_line() {
    let (mut mount, a, b, c) = mounted();
    let begun = campaign(&mut mount, a).done();
    let given_up = campaign(&mut mount, b).parked();
    let next = campaign(&mut mount, c).parked();
    let watching = observe(&mut mount, b, begun.term).parked();
    mount.cancel(given_up);
    mount.cancel(watching);
    assert_eq!(mount.pushed(given_up).unwrap().unwrap_err().code, "cancelled");
    resign(&mut mount, a, begun.term).done();
    let term = mount.pushed(next).unwrap().unwrap().term;
    resign(&mut mount, c, term).done();
    mount.assert_nothing_left();
}

#[test]
fn an_observers_session_may_end() {
    let (mut mount, a, b, _) = mounted();
    let watching = observe(&mut mount, b, 0).parked();
    mount.close(b);
    mount.assert_nothing_left();
    campaign(&mut mount, a).done();
    assert_eq!(mount.pushed(watching), None);
}

#[test]
fn a_leader_that_observes_itself_ends_cleanly() {
    let (mut mount, a, b, _) = mounted();
    let begun = campaign(&mut mount, a).done();
    let own = observe(&mut mount, a, begun.term).parked();
    let other = observe(&mut mount, b, begun.term).parked();
    mount.close(a);
    assert_eq!(mount.pushed(own), None);
    assert_eq!(mount.pushed(other).unwrap().unwrap().leader, None);
    mount.assert_nothing_left();
}

#[test]
fn lists_are_bounded_and_observers_leave_room_for_candidates() {
    let config = Config { candidates_max: 2, observers_max: 3, ..Config::default() };
    let mut mount = TestMount::<Election>::with_config(&config);
    let (a, b) = (mount.session(), mount.session());
    let begun = campaign_as(&mut mount, a, "leading").done();
    for _ in 0..3 {
        observe(&mut mount, b, begun.term).parked();
    }
    assert_eq!(observe(&mut mount, b, begun.term).refused().code, "observers-full");
    campaign_as(&mut mount, b, "one").parked();
    campaign_as(&mut mount, b, "two").parked();
    assert_eq!(campaign_as(&mut mount, b, "three").refused().code, "line-full");
    assert_eq!(line(&mut mount), ["one", "two"]);
}

#[test]
fn values_are_bounded() {
    let config = Config { value_bytes_max: 4, ..Config::default() };
    let mut mount = TestMount::<Election>::with_config(&config);
    let a = mount.session();
    assert_eq!(campaign_as(&mut mount, a, "alpha").refused().code, "value-too-large");
    mount.assert_nothing_left();
    let begun = campaign_as(&mut mount, a, "four").done();
    assert_eq!(proclaim(&mut mount, a, begun.term, "fifth").refused().code, "value-too-large");
    let huge = Config { value_bytes_max: (128 << 10) + 1, ..config };
    assert_eq!(mount.configure(&huge).unwrap_err().code, "bad-config");
    mount.configure(&Config { value_bytes_max: 128 << 10, ..config }).unwrap();
}

#[test]
fn the_line_is_shown_page_by_page() {
    let (mut mount, a, b, _) = mounted();
    campaign_as(&mut mount, a, "leading").done();
    for name in ["one", "two", "three"] {
        campaign_as(&mut mount, b, name).parked();
    }
    let seen = standing(&mut mount).revision;
    observe(&mut mount, b, seen).parked();
    let page = Page { after: None, limit: Some(2) };
    let first: Vec<Place> = mount.call(a, OBJECT, "candidates", &page).done();
    assert_eq!(first.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    let page = Page { after: Some(first[1].place), limit: None };
    let second: Vec<Place> = mount.call(a, OBJECT, "candidates", &page).done();
    assert_eq!(second.len(), 1);
    assert_eq!((second[0].name.as_str(), second[0].session), ("three", b));
}

#[test]
fn objects_are_elections_of_their_own() {
    let (mut mount, a, b, _) = mounted();
    for object in ["one", "two"] {
        mount.call::<Term>(a, object, "campaign", &Campaign::default()).done();
    }
    let mut waiting = Vec::new();
    for object in ["one", "two"] {
        waiting.push(mount.call::<Term>(b, object, "campaign", &Campaign::default()).parked());
    }
    mount.close(a);
    for ticket in waiting {
        mount.pushed(ticket).unwrap().unwrap();
    }
    mount.close(b);
    mount.assert_nothing_left();
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    let (mut mount, a, ..) = mounted();
    #[derive(Serialize)]
    struct Misspelt {
        wait: u64,
    }
    let answer: Answer<Term> = mount.call(a, OBJECT, "campaign", &Misspelt { wait: 0 });
    assert_eq!(answer.refused().code, "bad-arguments");
    mount.assert_nothing_left();
}

/// An election kept by the rules of the book: who leads, who is in line, who has seen what.
#[derive(Default)]
struct Model {
    leader: Option<(SessionId, u64)>,
    line: Vec<(SessionId, Ticket<Term>)>,
    observers: Vec<(SessionId, Ticket<Standing>, u64)>,
    last_term: u64,
}

impl Model {
    fn begins(&mut self, session: SessionId, term: u64) {
        assert!(term > self.last_term, "a term went back");
        (self.last_term, self.leader) = (term, Some((session, term)));
    }

    fn term_over(&mut self, mount: &mut Mount) {
        self.leader = None;
        if !self.line.is_empty() {
            let (session, ticket) = self.line.remove(0);
            let begun = mount.pushed(ticket).expect("the first in line leads").unwrap();
            self.begins(session, begun.term);
        }
    }

    /// Everyone else waits still; every observer that has not seen this state was told of it.
    fn check(&mut self, mount: &mut Mount, seed: u64) {
        mount.advance(60);
        let now = standing(mount);
        let listed = now.leader.as_ref().map(|leader| (leader.session, leader.term));
        assert_eq!(listed, self.leader, "seed {seed}");
        for (_, ticket) in &self.line {
            assert_eq!(mount.pushed(*ticket), None, "led out of turn, seed {seed}");
        }
        self.observers.retain(|(_, ticket, seen)| {
            let told = mount.pushed(*ticket).map(Result::unwrap);
            assert_eq!(told.is_some(), *seen != now.revision, "seed {seed}");
            told.is_none()
        });
        let znodes = usize::from(self.leader.is_some()) + 2 * self.line.len();
        let znodes = znodes + self.observers.len();
        assert_eq!(mount.paths().len(), znodes + usize::from(znodes > 0), "seed {seed}");
        assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
    }

    fn session_ends(&mut self, mount: &mut Mount, session: SessionId) {
        mount.close(session);
        self.line.retain(|(waiting, _)| *waiting != session);
        self.observers.retain(|(waiting, ..)| *waiting != session);
        if self.leader.is_some_and(|(leading, _)| leading == session) {
            self.term_over(mount);
        }
    }

    fn campaigns(&mut self, mount: &mut Mount, session: SessionId, number: u64) {
        match campaign_as(mount, session, &format!("candidate-{number}")) {
            Answer::Done(begun) => {
                assert_eq!(self.leader, None);
                self.begins(session, begun.term);
            }
            Answer::Parked(ticket) => self.line.push((session, ticket)),
            Answer::Refused(failure) => panic!("{failure}"),
        }
    }
}

#[test]
fn any_order_of_calls_and_ends_keeps_the_promises() {
    for seed in 0..60 {
        let mut state = seed;
        let mut mount = TestMount::<Election>::with_config(&Config {
            answered_max: 1 + u32::try_from(seed % 3).unwrap(),
            ..Config::default()
        });
        let mut model = Model::default();
        let mut sessions: Vec<SessionId> = (0..4).map(|_| mount.session()).collect();
        for number in 0..60 {
            let at = (splitmix64(&mut state) % 4) as usize;
            let session = sessions[at];
            match (splitmix64(&mut state) % 10, model.leader) {
                (0..=2, _) => model.campaigns(&mut mount, session, number),
                (3..=5, _) => {
                    let seen = standing(&mut mount).revision;
                    let ticket = observe(&mut mount, session, seen).parked();
                    model.observers.push((session, ticket, seen));
                }
                (6, Some((leading, term))) => {
                    proclaim(&mut mount, leading, term, "other").done();
                }
                (7, Some((leading, term))) => {
                    resign(&mut mount, leading, term).done();
                    model.term_over(&mut mount);
                }
                (8, _) if !model.line.is_empty() => {
                    let given_up = model.line.remove(at % model.line.len());
                    mount.cancel(given_up.1);
                }
                (9, _) => {
                    sessions[at] = mount.session();
                    model.session_ends(&mut mount, session);
                }
                _ => {}
            }
            model.check(&mut mount, seed);
        }
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Election>(folder);
}
