//! What the group promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount, splitmix64};

const OBJECT: &str = "workers";

type Mount = TestMount<Group>;

fn join(mount: &mut Mount, session: SessionId, name: &str) -> u64 {
    try_join(mount, session, name, "").done()
}

fn try_join(mount: &mut Mount, session: SessionId, name: &str, metadata: &str) -> Answer<u64> {
    let (name, metadata) = (name.into(), metadata.into());
    mount.call(session, OBJECT, "join", &Join { name, metadata })
}

fn leave(mount: &mut Mount, session: SessionId, name: &str) -> Answer<u64> {
    mount.call(session, OBJECT, "leave", &Leave { name: name.into() })
}

fn update(mount: &mut Mount, session: SessionId, name: &str, metadata: &str) -> Answer<u64> {
    let (name, metadata) = (name.into(), metadata.into());
    mount.call(session, OBJECT, "update", &Update { name, metadata })
}

fn members(mount: &mut Mount) -> Members {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "members", &()).done()
}

fn names(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| member.name.as_str()).collect()
}

fn await_change(mount: &mut Mount, session: SessionId, after: u64) -> Answer<Change> {
    let wanted = AwaitChange { after, wait_ms: Some(60_000) };
    mount.call(session, OBJECT, "await-change", &wanted)
}

#[track_caller]
fn difference(change: Change) -> Difference {
    match change {
        Change::Difference(difference) => difference,
        Change::Gap(all) => panic!("a gap: {all:?}"),
    }
}

#[track_caller]
fn gap(change: Change) -> Members {
    match change {
        Change::Gap(all) => all,
        Change::Difference(difference) => panic!("no gap: {difference:?}"),
    }
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
fn who_joined_is_listed_with_what_it_says() {
    let (mut mount, a, b, _) = mounted();
    let first = try_join(&mut mount, b, "beta", "port 2").done();
    let second = try_join(&mut mount, a, "alpha", "port 1").done();
    let listed = members(&mut mount);
    assert_eq!((listed.generation, names(&listed.members)), (second, vec!["alpha", "beta"]));
    let expected = Member {
        name: "beta".into(),
        metadata: "port 2".into(),
        session: b,
        identity: "user-2".into(),
        joined: first,
        updated: first,
        since_ms: mount.now_ms(),
    };
    assert_eq!(listed.members[1], expected);
}

#[test]
fn the_generation_grows_with_every_change() {
    let (mut mount, a, b, _) = mounted();
    let generations = [
        join(&mut mount, a, "alpha"),
        join(&mut mount, b, "beta"),
        update(&mut mount, a, "alpha", "x").done(),
        leave(&mut mount, a, "alpha").done(),
    ];
    assert!(generations.windows(2).all(|pair| pair[0] < pair[1]));
    let before = members(&mut mount).generation;
    assert_eq!(before, generations[3]);
    leave(&mut mount, b, "beta").done();
    assert!(join(&mut mount, a, "alpha") > before, "also over an empty group");
}

#[test]
fn a_name_is_one_members() {
    let (mut mount, a, b, _) = mounted();
    join(&mut mount, a, "alpha");
    for session in [a, b] {
        let refused = try_join(&mut mount, session, "alpha", "").refused();
        let told: Member = quorate_recipe::codec::decode(&refused.detail).unwrap();
        assert_eq!((refused.code.as_str(), told.session), ("name-taken", a));
    }
    leave(&mut mount, a, "alpha").done();
    join(&mut mount, b, "alpha");
}

#[test]
fn only_the_session_of_a_member_changes_it() {
    let (mut mount, a, b, _) = mounted();
    join(&mut mount, a, "alpha");
    assert_eq!(leave(&mut mount, b, "alpha").refused().code, "not-member");
    assert_eq!(update(&mut mount, b, "alpha", "x").refused().code, "not-member");
    assert_eq!(leave(&mut mount, b, "nobody").refused().code, "not-member");
    assert_eq!(members(&mut mount).members.len(), 1);
}

#[test]
fn an_update_keeps_the_member_and_its_fence() {
    let (mut mount, a, ..) = mounted();
    let joined = join(&mut mount, a, "alpha");
    mount.advance(5);
    let updated = update(&mut mount, a, "alpha", "draining").done();
    let member = members(&mut mount).members.remove(0);
    assert_eq!((member.joined, member.updated), (joined, updated));
    assert_eq!((member.metadata.as_str(), member.since_ms), ("draining", mount.now_ms() - 5));
}

#[test]
fn members_go_with_their_session() {
    let (mut mount, a, b, _) = mounted();
    join(&mut mount, a, "one");
    join(&mut mount, a, "two");
    let before = join(&mut mount, b, "three");
    let waiting = await_change(&mut mount, b, before).parked();
    mount.close(a);
    let told = difference(mount.pushed(waiting).unwrap().unwrap());
    assert_eq!(told.left, ["one", "two"]);
    assert_eq!(told.generation, members(&mut mount).generation);
    assert_eq!(names(&members(&mut mount).members), ["three"]);
    mount.close(b);
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn an_empty_group_leaves_nothing() {
    let (mut mount, a, ..) = mounted();
    join(&mut mount, a, "alpha");
    update(&mut mount, a, "alpha", "x").done();
    leave(&mut mount, a, "alpha").done();
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!(members(&mut mount), Members::default());
}

#[test]
fn a_wait_is_answered_with_what_changed() {
    let (mut mount, a, b, c) = mounted();
    let first = join(&mut mount, a, "alpha");
    let waiting = await_change(&mut mount, c, first).parked();
    let second = join(&mut mount, b, "beta");
    let told = difference(mount.pushed(waiting).unwrap().unwrap());
    assert_eq!((told.generation, names(&told.joined)), (second, vec!["beta"]));
    assert!(told.left.is_empty() && told.updated.is_empty());
    let waiting = await_change(&mut mount, c, second).parked();
    let third = update(&mut mount, b, "beta", "x").done();
    let told = difference(mount.pushed(waiting).unwrap().unwrap());
    assert_eq!((told.generation, names(&told.updated)), (third, vec!["beta"]));
    assert_eq!(told.updated[0].metadata, "x");
}

#[test]
fn a_caller_who_is_behind_gets_the_sum_of_the_changes() {
    let (mut mount, a, b, c) = mounted();
    join(&mut mount, a, "stays");
    join(&mut mount, a, "updated");
    join(&mut mount, a, "leaves");
    let known = join(&mut mount, a, "comes-back");
    update(&mut mount, a, "updated", "1").done();
    update(&mut mount, a, "updated", "2").done();
    update(&mut mount, a, "leaves", "last words").done();
    leave(&mut mount, a, "leaves").done();
    leave(&mut mount, a, "comes-back").done();
    join(&mut mount, b, "comes-back");
    join(&mut mount, b, "new");
    update(&mut mount, b, "new", "x").done();
    join(&mut mount, b, "short");
    leave(&mut mount, b, "short").done();
    let told = difference(await_change(&mut mount, c, known).done());
    assert_eq!(names(&told.joined), ["comes-back", "new"]);
    assert_eq!(told.left, ["comes-back", "leaves"]);
    assert_eq!(names(&told.updated), ["updated"]);
    assert_eq!(told.generation, members(&mut mount).generation);
}

#[test]
fn who_knows_nothing_gets_the_whole_list() {
    let (mut mount, a, _, c) = mounted();
    let waiting = await_change(&mut mount, c, 0).parked();
    let _ = join(&mut mount, a, "alpha");
    let _ = mount.pushed(waiting).unwrap().unwrap();
    join(&mut mount, a, "beta");
    let told = gap(await_change(&mut mount, c, 0).done());
    assert_eq!(told, members(&mut mount));
}

#[test]
fn when_the_history_is_gone_a_gap_is_told_with_the_whole_list() {
    let (mut mount, a, _, c) = mounted_with(Config { history_max: 3, ..Config::default() });
    let first = join(&mut mount, a, "alpha");
    let mut last = 0;
    for text in ["1", "2", "3"] {
        last = update(&mut mount, a, "alpha", text).done();
    }
    assert_eq!(difference(await_change(&mut mount, c, first).done()).generation, last);
    update(&mut mount, a, "alpha", "4").done();
    assert_eq!(gap(await_change(&mut mount, c, first).done()), members(&mut mount));
    let steps = mount.paths().iter().filter(|path| path.contains("/history/")).count();
    assert_eq!(steps, 3);
}

#[test]
fn an_empty_group_is_told_and_then_known() {
    let (mut mount, a, _, c) = mounted();
    let generation = join(&mut mount, a, "alpha");
    let waiting = await_change(&mut mount, c, generation).parked();
    let left = leave(&mut mount, a, "alpha").done();
    let told = difference(mount.pushed(waiting).unwrap().unwrap());
    assert_eq!((told.generation, told.left), (left, vec!["alpha".to_owned()]));
    assert_eq!(gap(await_change(&mut mount, c, left).done()), Members::default());
    let waiting = await_change(&mut mount, c, 0).parked();
    join(&mut mount, a, "beta");
    assert!(mount.pushed(waiting).is_some());
}

#[test]
fn a_wait_that_may_not_wait_is_refused() {
    let (mut mount, a, ..) = mounted();
    let after = join(&mut mount, a, "alpha");
    let wanted = AwaitChange { after, wait_ms: Some(0) };
    let refused: Answer<Change> = mount.call(a, OBJECT, "await-change", &wanted);
    assert_eq!(refused.refused().code, "unchanged");
}

#[test]
fn waits_end_at_their_limit_by_cancel_and_with_their_session() {
    let (mut mount, a, b, _) = mounted();
    let ended = await_change(&mut mount, a, 0).parked();
    mount.advance(59_999);
    assert_eq!(mount.pushed(ended), None);
    mount.advance(1);
    assert_eq!(mount.pushed(ended).unwrap().unwrap_err().code, "timed-out");
    let given_up = await_change(&mut mount, a, 0).parked();
    mount.cancel(given_up);
    let _ = await_change(&mut mount, b, 0).parked();
    assert_eq!(mount.paths().len(), 2);
    mount.close(b);
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn a_member_may_wait_and_end() {
    let (mut mount, a, b, _) = mounted();
    join(&mut mount, a, "alpha");
    let after = join(&mut mount, b, "beta");
    let own = await_change(&mut mount, a, after).parked();
    let other = await_change(&mut mount, b, after).parked();
    mount.close(a);
    assert_eq!(mount.pushed(own), None);
    assert_eq!(difference(mount.pushed(other).unwrap().unwrap()).left, ["alpha"]);
    assert!(mount.faults().is_empty());
}

#[test]
fn members_and_those_who_wait_are_bounded() {
    let config = Config { members_max: 2, watchers_max: 1, ..Config::default() };
    let (mut mount, a, b, _) = mounted_with(config);
    join(&mut mount, a, "one");
    let after = join(&mut mount, b, "two");
    assert_eq!(try_join(&mut mount, b, "three", "").refused().code, "too-many-members");
    let waiting = await_change(&mut mount, a, after).parked();
    assert_eq!(await_change(&mut mount, b, after).refused().code, "too-many-watchers");
    mount.cancel(waiting);
    let _ = await_change(&mut mount, b, after).parked();
}

#[test]
fn names_and_metadata_are_bounded() {
    let (mut mount, a, ..) = mounted();
    for name in ["", "a/b", "a\nb", ".", "..", &"x".repeat(129)] {
        assert_eq!(try_join(&mut mount, a, name, "").refused().code, "bad-name");
    }
    let large = "x".repeat(1_025);
    assert_eq!(try_join(&mut mount, a, "alpha", &large).refused().code, "too-large");
    try_join(&mut mount, a, "alpha", &large[1..]).done();
    assert_eq!(update(&mut mount, a, "alpha", &large).refused().code, "too-large");
    for odd in ["...", "-", "~", "é ü"] {
        join(&mut mount, a, odd);
        leave(&mut mount, a, odd).done();
    }
}

#[test]
fn the_whole_list_fits_one_reply() {
    let config = Config { metadata_bytes_max: 16 << 10, ..Config::default() };
    let (mut mount, a, ..) = mounted_with(config);
    let metadata = "x".repeat(16 << 10);
    let mut count = 0;
    while let Answer::Done(_) = try_join(&mut mount, a, &format!("m{count}"), &metadata) {
        count += 1;
    }
    assert_eq!(try_join(&mut mount, a, "more", &metadata).refused().code, "too-large");
    assert_eq!((count, members(&mut mount).members.len()), (11, 11));
    update(&mut mount, a, "m0", "").done();
    try_join(&mut mount, a, "more", &metadata).done();
}

#[test]
fn one_session_may_have_so_many_members_and_its_end_takes_them_all() {
    let (mut mount, a, b, _) = mounted();
    for at in 0..SESSION_MEMBERS_MAX {
        join(&mut mount, a, &format!("m{at}"));
    }
    assert_eq!(try_join(&mut mount, a, "more", "").refused().code, "too-many-members");
    join(&mut mount, b, "other");
    mount.close(a);
    assert_eq!(names(&members(&mut mount).members), ["other"]);
    leave(&mut mount, b, "other").done();
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn many_are_told_in_steps_and_each_what_it_lacks() {
    let (mut mount, a, b, _) = mounted();
    let first = join(&mut mount, a, "alpha");
    let early: Vec<_> = (0..400).map(|_| await_change(&mut mount, b, first).parked()).collect();
    let second = join(&mut mount, a, "beta");
    assert_eq!(mount.parked_count(), 400 - SWEEP_MAX as usize, "one run tells a bounded number");
    let late = await_change(&mut mount, b, second).parked();
    mount.advance(10);
    for ticket in early {
        let told = difference(mount.pushed(ticket).unwrap().unwrap());
        assert_eq!((told.generation, names(&told.joined)), (second, vec!["beta"]));
    }
    assert_eq!(mount.pushed(late), None);
    assert_eq!((mount.parked_count(), mount.timers().len()), (1, 0));
}

#[test]
fn those_not_told_yet_get_what_is_new_by_then() {
    let (mut mount, a, b, _) = mounted();
    let first = join(&mut mount, a, "alpha");
    let waiting: Vec<_> = (0..200).map(|_| await_change(&mut mount, b, first).parked()).collect();
    join(&mut mount, a, "beta");
    leave(&mut mount, a, "beta").done();
    leave(&mut mount, a, "alpha").done();
    mount.advance(10);
    let last = mount.pushed(waiting[199]).unwrap().unwrap();
    assert_eq!(difference(last).left, [""; 0]);
    assert_eq!(mount.parked_count(), 0);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn objects_are_groups_of_their_own() {
    let (mut mount, a, ..) = mounted();
    let alpha = Join { name: "alpha".into(), metadata: String::new() };
    let one: u64 = mount.call(a, "one", "join", &alpha).done();
    let two: u64 = mount.call(a, "two", "join", &alpha).done();
    assert!(one < two);
    let _: u64 = mount.call(a, "one", "leave", &Leave { name: "alpha".into() }).done();
    let listed: Members = mount.call(a, "two", "members", &()).done();
    assert_eq!(listed.generation, two);
    mount.close(a);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn a_configuration_that_no_run_could_keep_is_refused() {
    let (mut mount, ..) = mounted();
    for history_max in [0, 201] {
        let config = Config { history_max, ..Config::default() };
        assert_eq!(mount.configure(&config).unwrap_err().code, "bad-config");
    }
    mount.configure(&Config { history_max: 1, ..Config::default() }).unwrap();
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    #[derive(Serialize)]
    struct Misspelt {
        member: &'static str,
    }
    let (mut mount, a, ..) = mounted();
    let refused: Answer<u64> = mount.call(a, OBJECT, "join", &Misspelt { member: "alpha" });
    assert_eq!(refused.refused().code, "bad-arguments");
    assert_eq!(mount.paths(), [""; 0]);
}

/// A list kept by what was told.
#[derive(Default)]
struct Copy {
    list: Members,
    waiting: Option<Ticket<Change>>,
}

impl Copy {
    fn apply(&mut self, change: Change) {
        let difference = match change {
            Change::Gap(all) => return self.list = all,
            Change::Difference(difference) => difference,
        };
        self.list.generation = difference.generation;
        let list = &mut self.list.members;
        for name in difference.left {
            let before = list.len();
            list.retain(|member| member.name != name);
            assert_eq!(list.len() + 1, before, "{name} left and was not there");
        }
        for member in difference.updated {
            let known = list.iter_mut().find(|known| known.name == member.name).unwrap();
            assert_eq!(known.session, member.session);
            *known = member;
        }
        for member in difference.joined {
            assert!(list.iter().all(|known| known.name != member.name), "joined twice");
            list.push(member);
        }
        list.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Takes what was pushed, or asks.
    fn follow(&mut self, mount: &mut Mount, session: SessionId) {
        if let Some(ticket) = self.waiting {
            let Some(told) = mount.pushed(ticket) else { return };
            self.waiting = None;
            return self.apply(told.unwrap());
        }
        let wanted = AwaitChange { after: self.list.generation, wait_ms: None };
        match mount.call(session, OBJECT, "await-change", &wanted) {
            Answer::Done(change) => self.apply(change),
            Answer::Parked(ticket) => self.waiting = Some(ticket),
            Answer::Refused(failure) => panic!("{failure}"),
        }
    }
}

#[test]
fn a_list_kept_by_differences_is_the_list() {
    for seed in 0..40 {
        let mut state = seed;
        let history_max = 1 + (splitmix64(&mut state) % 12) as u32;
        let (mut mount, watching, ..) = mounted_with(Config { history_max, ..Config::default() });
        let mut sessions: Vec<SessionId> = (0..3).map(|_| mount.session()).collect();
        let mut copies = [Copy::default(), Copy::default()];
        for _ in 0..80 {
            let at = (splitmix64(&mut state) % 3) as usize;
            let name = ["a", "b", "c", "d"][(splitmix64(&mut state) % 4) as usize];
            match splitmix64(&mut state) % 9 {
                0..=3 => drop(try_join(&mut mount, sessions[at], name, "x")),
                4 | 5 => drop(update(&mut mount, sessions[at], name, &state.to_string())),
                6 | 7 => drop(leave(&mut mount, sessions[at], name)),
                _ => {
                    mount.close(sessions[at]);
                    sessions[at] = mount.session();
                }
            }
            copies[0].follow(&mut mount, watching);
            if splitmix64(&mut state).is_multiple_of(6) {
                copies[1].follow(&mut mount, watching);
            }
            assert!(mount.faults().is_empty(), "seed {seed}: {:?}", mount.faults());
        }
        let expected = members(&mut mount);
        for copy in &mut copies {
            for _ in 0..3 {
                copy.follow(&mut mount, watching);
            }
            assert_eq!(copy.list.members, expected.members, "seed {seed}");
        }
    }
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Group>(folder);
}
