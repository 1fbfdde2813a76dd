//! What the assignment promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "orders";

type Mount = TestMount<Assigner>;

fn define(mount: &mut Mount, session: SessionId, count: u32) -> u64 {
    let partitions = Partitions::Count(count);
    mount.call(session, OBJECT, "define", &Define { partitions }).done()
}

fn define_names(mount: &mut Mount, session: SessionId, names: &[&str]) -> u64 {
    let partitions = Partitions::Names(set(names));
    mount.call(session, OBJECT, "define", &Define { partitions }).done()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn member(name: &str) -> MemberName {
    MemberName { name: name.into() }
}

fn join(mount: &mut Mount, session: SessionId, name: &str) -> Assignment {
    mount.call(session, OBJECT, "join", &member(name)).done()
}

fn leave(mount: &mut Mount, session: SessionId, name: &str) {
    let _: u64 = mount.call(session, OBJECT, "leave", &member(name)).done();
}

fn of(mount: &mut Mount, name: &str) -> Assignment {
    let anyone = mount.session();
    let told: Option<Assignment> = mount.call(anyone, OBJECT, "assignment", &member(name)).done();
    told.unwrap()
}

fn all(mount: &mut Mount) -> Assignments {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "assignments", &()).done()
}

fn granted(assignment: &Assignment) -> Vec<&str> {
    assignment.granted.keys().map(String::as_str).collect()
}

fn revoking(assignment: &Assignment) -> Vec<&str> {
    assignment.revoking.iter().map(String::as_str).collect()
}

fn acknowledge(
    mount: &mut Mount,
    session: SessionId,
    name: &str,
    assignment: &Assignment,
) -> Answer<Assignment> {
    let (generation, partitions) = (assignment.generation, assignment.revoking.clone());
    let given_up = Acknowledge { name: name.into(), generation, partitions };
    mount.call(session, OBJECT, "acknowledge", &given_up)
}

fn give_up(mount: &mut Mount, session: SessionId, name: &str) -> Assignment {
    let told = of(mount, name);
    acknowledge(mount, session, name, &told).done()
}

fn wait(mount: &mut Mount, session: SessionId, name: &str, after: u64) -> Answer<Assignment> {
    let wanted = AwaitAssignment { name: name.into(), after, wait_ms: Some(60_000) };
    mount.call(session, OBJECT, "await-assignment", &wanted)
}

/// A mount, and three sessions.
fn mounted() -> (Mount, SessionId, SessionId, SessionId) {
    mounted_with(Config::default())
}

fn mounted_with(config: Config) -> (Mount, SessionId, SessionId, SessionId) {
    let mut mount = TestMount::with_config(&config);
    let (a, b, c) = (mount.session(), mount.session(), mount.session());
    (mount, a, b, c)
}

#[test]
fn the_first_member_gets_all() {
    let (mut mount, a, ..) = mounted();
    define(&mut mount, a, 3);
    assert_eq!(all(&mut mount).free, set(&["0", "1", "2"]));
    let told = join(&mut mount, a, "alpha");
    assert_eq!(granted(&told), ["0", "1", "2"]);
    assert!(told.granted.values().all(|fence| *fence == told.generation));
    assert_eq!(of(&mut mount, "alpha"), told);
    assert_eq!(all(&mut mount).free, set(&[]));
}

#[test]
fn members_may_come_before_partitions() {
    let (mut mount, a, b, _) = mounted();
    assert_eq!(granted(&join(&mut mount, a, "alpha")), [""; 0]);
    join(&mut mount, b, "beta");
    define_names(&mut mount, a, &["north", "south", "west"]);
    assert_eq!(granted(&of(&mut mount, "alpha")), ["north", "south"]);
    assert_eq!(granted(&of(&mut mount, "beta")), ["west"]);
}

#[test]
fn a_partition_passes_on_only_after_it_is_acknowledged() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 4);
    join(&mut mount, a, "alpha");
    let told = join(&mut mount, b, "beta");
    assert_eq!((granted(&told).len(), told.revoking.len()), (0, 0));
    let losing = of(&mut mount, "alpha");
    assert_eq!((granted(&losing), revoking(&losing)), (vec!["0", "1"], vec!["2", "3"]));
    let left = acknowledge(&mut mount, a, "alpha", &losing).done();
    assert_eq!((granted(&left), revoking(&left)), (vec!["0", "1"], vec![]));
    assert_eq!(granted(&of(&mut mount, "beta")), ["2", "3"]);
}

#[test]
fn partitions_may_be_given_up_one_by_one() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 4);
    join(&mut mount, a, "alpha");
    join(&mut mount, b, "beta");
    let generation = of(&mut mount, "alpha").generation;
    let one = |generation, partition| {
        let partitions = set(&[partition]);
        Acknowledge { name: "alpha".into(), generation, partitions }
    };
    let told: Assignment = mount.call(a, OBJECT, "acknowledge", &one(generation, "3")).done();
    assert_eq!(revoking(&told), ["2"]);
    assert_eq!(granted(&of(&mut mount, "beta")), ["3"]);
    let refused: Answer<Assignment> =
        mount.call(a, OBJECT, "acknowledge", &one(told.generation, "3"));
    assert_eq!(refused.refused().code, "not-revoked");
    let _: Assignment = mount.call(a, OBJECT, "acknowledge", &one(told.generation, "2")).done();
    assert_eq!(granted(&of(&mut mount, "beta")), ["2", "3"]);
}

#[test]
fn acknowledging_nothing_changes_nothing() {
    let (mut mount, a, ..) = mounted();
    define(&mut mount, a, 4);
    let told = join(&mut mount, a, "alpha");
    let before = all(&mut mount);
    assert_eq!(acknowledge(&mut mount, a, "alpha", &told).done(), told);
    assert_eq!(all(&mut mount), before);
}

#[test]
fn an_acknowledgement_of_another_generation_is_refused() {
    let (mut mount, a, b, c) = mounted();
    define(&mut mount, a, 6);
    join(&mut mount, a, "alpha");
    join(&mut mount, b, "beta");
    let old = of(&mut mount, "alpha");
    join(&mut mount, c, "gamma");
    let refused = acknowledge(&mut mount, a, "alpha", &old).refused();
    let told: Assignment = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(refused.code, "stale-generation");
    assert_eq!(told, of(&mut mount, "alpha"));
    assert!(told.generation > old.generation && told.revoking.len() > old.revoking.len());
}

#[test]
fn what_is_granted_is_not_given_up_by_acknowledging() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 2);
    let told = join(&mut mount, a, "alpha");
    let partitions = set(&["0"]);
    let given_up = Acknowledge { name: "alpha".into(), generation: told.generation, partitions };
    let refused: Answer<Assignment> = mount.call(a, OBJECT, "acknowledge", &given_up);
    assert_eq!(refused.refused().code, "not-revoked");
    let refused: Answer<Assignment> = mount.call(b, OBJECT, "acknowledge", &given_up);
    assert_eq!(refused.refused().code, "not-member");
}

#[test]
fn the_end_of_a_session_passes_its_partitions_on_at_once() {
    let (mut mount, a, b, c) = mounted();
    define(&mut mount, a, 4);
    join(&mut mount, b, "alpha");
    let told = join(&mut mount, c, "beta");
    let waiting = wait(&mut mount, c, "beta", told.generation).parked();
    mount.close(b);
    let told = mount.pushed(waiting).unwrap().unwrap();
    assert_eq!(granted(&told), ["0", "1", "2", "3"]);
    assert!(told.granted.values().all(|fence| *fence == told.generation));
    assert!(mount.faults().is_empty());
}

#[test]
fn a_member_that_leaves_passes_its_partitions_on_at_once() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 4);
    join(&mut mount, a, "alpha");
    join(&mut mount, b, "beta");
    leave(&mut mount, a, "alpha");
    assert_eq!(granted(&of(&mut mount, "beta")).len(), 4);
    leave(&mut mount, b, "beta");
    assert_eq!(all(&mut mount).free.len(), 4);
}

#[test]
fn little_moves_when_a_member_comes_or_goes() {
    let (mut mount, a, b, c) = mounted();
    define(&mut mount, a, 7);
    join(&mut mount, a, "alpha");
    join(&mut mount, b, "beta");
    give_up(&mut mount, a, "alpha");
    let before = [of(&mut mount, "alpha"), of(&mut mount, "beta")];
    assert_eq!((before[0].granted.len(), before[1].granted.len()), (4, 3));
    join(&mut mount, c, "gamma");
    let after = [of(&mut mount, "alpha"), of(&mut mount, "beta")];
    let revoked: usize = after.iter().map(|told| told.revoking.len()).sum();
    assert_eq!(revoked, 2, "as many as the newcomer gets");
    for (after, before) in after.iter().zip(&before) {
        assert!(after.granted.iter().all(|(name, fence)| before.granted.get(name) == Some(fence)));
    }
    mount.close(c);
    assert_eq!(of(&mut mount, "alpha").granted, before[0].granted, "what may stay after all");
    assert_eq!(of(&mut mount, "beta").granted, before[1].granted);
}

#[test]
fn a_revocation_taken_back_is_not_acknowledged_any_more() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 4);
    let first = join(&mut mount, a, "alpha");
    join(&mut mount, b, "beta");
    let revoked = of(&mut mount, "alpha");
    leave(&mut mount, b, "beta");
    let refused = acknowledge(&mut mount, a, "alpha", &revoked).refused();
    assert_eq!(refused.code, "stale-generation");
    let told = of(&mut mount, "alpha");
    assert_eq!(told.granted, first.granted, "with the fences it had");
    assert!(told.generation > revoked.generation);
}

#[test]
fn every_grant_of_a_partition_has_a_greater_fence() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 1);
    let mut last = 0;
    for round in 0..6 {
        let (session, name) = [(a, "alpha"), (b, "beta")][round % 2];
        let told = join(&mut mount, session, name);
        assert!(told.granted["0"] > last);
        last = told.granted["0"];
        leave(&mut mount, session, name);
    }
}

#[test]
fn partitions_that_are_no_more_are_revoked_and_new_ones_granted() {
    let (mut mount, a, ..) = mounted();
    define_names(&mut mount, a, &["north", "south"]);
    join(&mut mount, a, "alpha");
    define_names(&mut mount, a, &["south", "west"]);
    let told = of(&mut mount, "alpha");
    assert_eq!((granted(&told), revoking(&told)), (vec!["south", "west"], vec!["north"]));
    let told = acknowledge(&mut mount, a, "alpha", &told).done();
    assert_eq!((granted(&told), revoking(&told)), (vec!["south", "west"], vec![]));
    assert_eq!(all(&mut mount).free, set(&[]));
}

#[test]
fn a_partition_that_comes_again_is_still_in_one_hand() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 2);
    let first = join(&mut mount, a, "alpha");
    join(&mut mount, b, "beta");
    give_up(&mut mount, a, "alpha");
    let zero = of(&mut mount, "alpha").granted["0"];
    define_names(&mut mount, a, &["1"]);
    assert_eq!(revoking(&of(&mut mount, "alpha")), ["0"]);
    define(&mut mount, a, 2);
    let told = of(&mut mount, "alpha");
    assert_eq!((told.granted.get("0"), zero), (Some(&zero), first.granted["0"]));
    assert_eq!(granted(&of(&mut mount, "beta")), ["1"]);
}

#[test]
fn more_members_than_partitions_leave_some_without() {
    let (mut mount, a, b, c) = mounted();
    define(&mut mount, a, 2);
    for (session, name) in [(a, "alpha"), (b, "beta"), (c, "gamma")] {
        join(&mut mount, session, name);
    }
    give_up(&mut mount, a, "alpha");
    let counts: Vec<usize> =
        all(&mut mount).members.iter().map(|share| share.assignment.granted.len()).collect();
    assert_eq!(counts, [1, 1, 0]);
    mount.close(a);
    assert_eq!(granted(&of(&mut mount, "gamma")), ["0"]);
}

#[test]
fn a_wait_is_answered_by_what_concerns_the_member_and_nothing_else() {
    let (mut mount, a, b, c) = mounted();
    define(&mut mount, a, 2);
    let told = join(&mut mount, a, "alpha");
    let waiting = wait(&mut mount, a, "alpha", told.generation).parked();
    join(&mut mount, b, "beta");
    let told = mount.pushed(waiting).unwrap().unwrap();
    assert_eq!((granted(&told), revoking(&told)), (vec!["0"], vec!["1"]));
    let waiting = wait(&mut mount, a, "alpha", told.generation).parked();
    join(&mut mount, c, "gamma");
    assert_eq!(mount.pushed(waiting), None, "gamma gets none and takes none");
    assert_eq!(wait(&mut mount, b, "beta", 0).done(), of(&mut mount, "beta"));
    give_up(&mut mount, a, "alpha");
    assert_eq!(granted(&mount.pushed(waiting).unwrap().unwrap()), ["0"]);
}

#[test]
fn a_later_wait_replaces_an_earlier_one() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 2);
    let told = join(&mut mount, a, "alpha");
    let first = wait(&mut mount, a, "alpha", told.generation).parked();
    let second = wait(&mut mount, a, "alpha", told.generation).parked();
    assert_eq!(mount.pushed(first).unwrap().unwrap_err().code, "replaced");
    join(&mut mount, b, "beta");
    assert!(mount.pushed(second).unwrap().is_ok());
}

#[test]
fn waits_end_at_their_limit_by_cancel_and_with_their_member() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 2);
    let told = join(&mut mount, a, "alpha");
    let ended = wait(&mut mount, a, "alpha", told.generation).parked();
    mount.advance(59_999);
    assert_eq!(mount.pushed(ended), None);
    mount.advance(1);
    assert_eq!(mount.pushed(ended).unwrap().unwrap_err().code, "timed-out");
    let given_up = wait(&mut mount, a, "alpha", told.generation).parked();
    mount.cancel(given_up);
    assert_eq!(mount.pushed(given_up).unwrap().unwrap_err().code, "cancelled");
    let last = wait(&mut mount, a, "alpha", told.generation).parked();
    leave(&mut mount, a, "alpha");
    assert_eq!(mount.pushed(last).unwrap().unwrap_err().code, "not-member");
    let told = join(&mut mount, b, "beta");
    let _ = wait(&mut mount, b, "beta", told.generation).parked();
    mount.close(b);
    assert_eq!(mount.parked_count(), 0);
    assert!(mount.faults().is_empty());
}

#[test]
fn a_wait_that_may_not_wait_is_refused() {
    let (mut mount, a, b, _) = mounted();
    let told = join(&mut mount, a, "alpha");
    let wanted = AwaitAssignment { name: "alpha".into(), after: told.generation, wait_ms: Some(0) };
    let refused: Answer<Assignment> = mount.call(a, OBJECT, "await-assignment", &wanted);
    assert_eq!(refused.refused().code, "unchanged");
    let refused: Answer<Assignment> = mount.call(b, OBJECT, "await-assignment", &wanted);
    assert_eq!(refused.refused().code, "not-member");
}

#[test]
fn a_name_is_one_members() {
    let (mut mount, a, b, _) = mounted();
    join(&mut mount, a, "alpha");
    for session in [a, b] {
        let refused: Answer<Assignment> = mount.call(session, OBJECT, "join", &member("alpha"));
        assert_eq!(refused.refused().code, "name-taken");
    }
    let refused: Answer<u64> = mount.call(b, OBJECT, "leave", &member("alpha"));
    assert_eq!(refused.refused().code, "not-member");
}

#[test]
fn one_session_may_have_several_members() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 4);
    join(&mut mount, b, "one");
    join(&mut mount, b, "two");
    assert_eq!(of(&mut mount, "one").revoking.len(), 2);
    give_up(&mut mount, b, "one");
    assert_eq!(of(&mut mount, "two").granted.len(), 2);
    mount.close(b);
    assert_eq!(all(&mut mount).free.len(), 4);
}

#[test]
fn nothing_is_left_without_members_and_partitions() {
    let (mut mount, a, b, _) = mounted();
    define(&mut mount, a, 3);
    join(&mut mount, b, "alpha");
    define(&mut mount, a, 0);
    assert_eq!(revoking(&of(&mut mount, "alpha")), ["0", "1", "2"]);
    mount.close(b);
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!(all(&mut mount), Assignments::default());
    join(&mut mount, a, "alpha");
    leave(&mut mount, a, "alpha");
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn members_partitions_and_names_are_bounded() {
    let config = Config { members_max: 2, partitions_max: 3 };
    let (mut mount, a, b, c) = mounted_with(config);
    join(&mut mount, a, "one");
    join(&mut mount, b, "two");
    let refused: Answer<Assignment> = mount.call(c, OBJECT, "join", &member("three"));
    assert_eq!(refused.refused().code, "too-many-members");
    let many = [Partitions::Count(4), Partitions::Names(set(&["a", "b", "c", "d"]))];
    for partitions in many {
        let refused: Answer<u64> = mount.call(a, OBJECT, "define", &Define { partitions });
        assert_eq!(refused.refused().code, "too-many-partitions");
    }
    for name in ["", "a/b", "a\nb", &"x".repeat(65)] {
        let refused: Answer<Assignment> = mount.call(a, OBJECT, "join", &member(name));
        assert_eq!(refused.refused().code, "bad-name");
        let partitions = Partitions::Names(set(&[name]));
        let refused: Answer<u64> = mount.call(a, OBJECT, "define", &Define { partitions });
        assert_eq!(refused.refused().code, "bad-name");
    }
}

#[test]
fn a_configuration_that_no_run_could_keep_is_refused() {
    let (mut mount, ..) = mounted();
    for config in [
        Config { members_max: 65, ..Config::default() },
        Config { partitions_max: 161, ..Config::default() },
    ] {
        assert_eq!(mount.configure(&config).unwrap_err().code, "bad-config");
    }
    mount.configure(&Config { members_max: 64, partitions_max: 160 }).unwrap();
}

#[test]
fn objects_are_dealt_out_each_by_itself() {
    let (mut mount, a, b, _) = mounted();
    let partitions = Partitions::Count(2);
    for object in ["one", "two"] {
        let wanted = Define { partitions: partitions.clone() };
        let _: u64 = mount.call(a, object, "define", &wanted).done();
    }
    let one: Assignment = mount.call(a, "one", "join", &member("alpha")).done();
    let two: Assignment = mount.call(b, "two", "join", &member("alpha")).done();
    assert_eq!((one.granted.len(), two.granted.len()), (2, 2));
    mount.close(a);
    let told: Assignments = mount.call(b, "one", "assignments", &()).done();
    assert_eq!(told.free.len(), 2);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    #[derive(Serialize)]
    struct Misspelt {
        member: &'static str,
    }
    let (mut mount, a, ..) = mounted();
    let refused: Answer<Assignment> = mount.call(a, OBJECT, "join", &Misspelt { member: "alpha" });
    assert_eq!(refused.refused().code, "bad-arguments");
    assert_eq!(mount.paths(), [""; 0]);
}

/// Who worked on which partition when last looked at, and under which fence.
#[derive(Default)]
struct Model {
    defined: BTreeSet<String>,
    hands: BTreeMap<String, (String, u64)>,
    fences: BTreeMap<String, u64>,
    generation: u64,
}

impl Model {
    /// `freed`: the member that has gone, or the partitions that were acknowledged.
    fn look(&mut self, mount: &mut Mount, freed: (Option<&str>, &BTreeSet<String>), seed: u64) {
        let told = all(mount);
        let is_empty = told == Assignments::default();
        assert!(is_empty || told.generation >= self.generation, "seed {seed}");
        self.generation = told.generation;
        let mut hands = BTreeMap::new();
        let mut is_settled = true;
        for share in &told.members {
            let Assignment { granted, revoking, .. } = &share.assignment;
            is_settled &= revoking.is_empty();
            for partition in granted.keys().chain(revoking) {
                let fence = granted.get(partition).copied().unwrap_or(0);
                let other = hands.insert(partition.clone(), (share.name.clone(), fence));
                assert_eq!(other, None, "{partition} in two hands, seed {seed}");
                let before = self.hands.get(partition);
                let passed_on = before.is_some_and(|(name, _)| *name != share.name);
                if passed_on {
                    let gone = before.map(|(name, _)| name.as_str());
                    let is_free = freed.1.contains(partition) || gone == freed.0;
                    assert!(is_free, "{partition} was taken from its holder, seed {seed}");
                }
            }
            for (partition, fence) in granted {
                assert!(self.defined.contains(partition), "seed {seed}");
                let last = self.fences.insert(partition.clone(), *fence).unwrap_or(0);
                let is_kept =
                    self.hands.get(partition).is_some_and(|(name, _)| *name == share.name);
                let is_greater = last < *fence || (is_kept && last == *fence);
                assert!(is_greater, "a fence went back, seed {seed}");
            }
        }
        if is_settled && !told.members.is_empty() {
            let counts = || told.members.iter().map(|share| share.assignment.granted.len());
            let (most, least) = (counts().max().unwrap(), counts().min().unwrap());
            assert!(most - least <= 1, "not balanced, seed {seed}: {told:?}");
            assert!(told.free.is_empty(), "something lies idle, seed {seed}: {told:?}");
        }
        self.hands = hands;
        assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
    }
}

#[test]
fn any_order_of_calls_and_ends_keeps_the_promises() {
    let none = BTreeSet::new();
    for seed in 0..80 {
        let mut state = seed;
        let (mut mount, admin, ..) = mounted();
        let mut model = Model::default();
        let mut sessions: BTreeMap<&str, SessionId> = BTreeMap::new();
        for _ in 0..80 {
            let name = ["a", "b", "c", "d", "e"][(splitmix64(&mut state) % 5) as usize];
            let session = sessions.get(name).copied();
            match (splitmix64(&mut state) % 10, session) {
                (0, _) => {
                    let count = (splitmix64(&mut state) % 12) as u32;
                    define(&mut mount, admin, count);
                    model.defined = (0..count).map(|at| at.to_string()).collect();
                    model.look(&mut mount, (None, &none), seed);
                }
                (1..=3, None) => {
                    sessions.insert(name, mount.session());
                    join(&mut mount, sessions[name], name);
                    model.look(&mut mount, (None, &none), seed);
                }
                (4, Some(session)) => {
                    leave(&mut mount, session, name);
                    sessions.remove(name);
                    model.look(&mut mount, (Some(name), &none), seed);
                }
                (5, Some(session)) => {
                    mount.close(session);
                    sessions.remove(name);
                    model.look(&mut mount, (Some(name), &none), seed);
                }
                (_, Some(session)) => {
                    let mut told = of(&mut mount, name);
                    if splitmix64(&mut state).is_multiple_of(2) {
                        told.revoking.pop_first();
                    }
                    let freed = told.revoking.clone();
                    acknowledge(&mut mount, session, name, &told).done();
                    model.look(&mut mount, (None, &freed), seed);
                }
                _ => {}
            }
        }
        settle(&mut mount, &mut model, &sessions, seed);
    }
}

/// When everybody acknowledges, it ends, balanced.
fn settle(mount: &mut Mount, model: &mut Model, sessions: &BTreeMap<&str, SessionId>, seed: u64) {
    for _ in 0..3 {
        for (name, session) in sessions {
            let told = of(mount, name);
            acknowledge(mount, *session, name, &told).done();
            model.look(mount, (None, &told.revoking), seed);
        }
    }
    let told = all(mount);
    assert!(told.members.iter().all(|share| share.assignment.revoking.is_empty()), "seed {seed}");
}

#[test]
fn balancing_again_changes_nothing() {
    for seed in 0..2_000 {
        let mut state = seed;
        let mut hands: Vec<Hands> =
            (0..1 + splitmix64(&mut state) % 6).map(|_| Hands::default()).collect();
        let partitions: BTreeSet<String> =
            (0..splitmix64(&mut state) % 20).map(|at| at.to_string()).collect();
        for partition in partitions.iter().cloned().chain(["gone".to_owned()]) {
            let at = (splitmix64(&mut state) % hands.len() as u64) as usize;
            match splitmix64(&mut state) % 3 {
                0 => drop(hands[at].granted.insert(partition, 1)),
                1 => drop(hands[at].revoking.insert(partition, 1)),
                _ => {}
            }
        }
        balance(&mut hands.iter_mut().collect::<Vec<_>>(), &partitions, 2);
        let once = hands.clone();
        balance(&mut hands.iter_mut().collect::<Vec<_>>(), &partitions, 3);
        assert_eq!(hands, once, "seed {seed}");
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Assigner>(folder);
}
