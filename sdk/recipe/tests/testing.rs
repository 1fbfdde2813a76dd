//! The mount in memory keeps the server's rules.

use quorate_recipe::prelude::*;
use quorate_recipe::testing::TestMount;
use std::cell::Cell;

/// A recipe that does whatever a test asks for.
struct Probe;

/// What [`Probe`] can be asked for.
#[derive(Serialize, Deserialize, Schema)]
enum Ask {
    Create(String),
    CreateOwned(String),
    CreateSequential(String),
    Delete(String),
    SetTimer(String, u64),
    TouchSibling(String),
    RefuseAfterCreating(String),
    DifferEachTime,
}

#[derive(Default, Serialize, Deserialize, Schema)]
struct ProbeConfig {
    refuse: bool,
}

thread_local! {
    /// What no recipe can have on a server: something that outlives a run.
    static OUTSIDE: Cell<u64> = const { Cell::new(0) };
}

fn note(run: &Run, what: &str) -> Result<()> {
    run.log(Level::Info, format!("{what} {:?}", run.path()));
    Ok(())
}

/// Tests the tests.
#[recipe(name = "probe", version = "1.2.3", state = 2)]
impl Probe {
    /// Does as it is told.
    #[command]
    fn act(call: &Call, asks: Vec<Ask>) -> Result<Vec<String>> {
        asks.into_iter().map(|ask| act(call, ask)).collect()
    }

    #[command]
    fn wait(call: &Call, wait_ms: Option<u64>) -> Result<Reply<u64>> {
        Ok(Reply::Parked(call.park(wait_ms)))
    }

    #[command]
    fn wake(call: &Call, ticket: Ticket<u64>) -> Result<bool> {
        call.complete(ticket, &call.zxid())
    }

    #[query]
    fn names(call: &Call) -> Result<Vec<String>> {
        let children = call.scan::<()>("", None, u32::MAX)?;
        Ok(children.into_iter().map(|(name, ())| name).collect())
    }

    #[query]
    fn write_in_a_query(call: &Call) -> Result<()> {
        call.create("x", &())
    }

    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        note(run, "mounted")
    }

    #[on(object_created)]
    fn object_created(run: &Run) -> Result<()> {
        note(run, "created")
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: ProbeConfig) -> Result<()> {
        if run.config::<ProbeConfig>()?.refuse {
            return Err(Failure::new("no", "as configured"));
        }
        Ok(())
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        assert!(!run.is_live(session), "it is ending");
        run.create("after-close", &())?;
        if run.exists("fail") {
            return Err(Failure::new("no", "fails while a session ends"));
        }
        note(run, "closed")
    }

    #[on(timer)]
    fn timer(run: &Run, name: &str) -> Result<()> {
        note(run, &format!("timer {name} at {}", run.now_ms()))
    }
}

fn act(call: &Call, ask: Ask) -> Result<String> {
    match ask {
        Ask::Create(path) => call.create(&path, &()).map(|()| path),
        Ask::CreateOwned(path) => call.create_owned(&path, &(), call.session()).map(|()| path),
        Ask::CreateSequential(prefix) => call.create_sequential(&prefix, &(), None),
        Ask::Delete(path) => call.delete(&path).map(|deleted| deleted.to_string()),
        Ask::SetTimer(name, in_ms) => {
            call.set_timer(&name, call.now_ms() + in_ms);
            Ok(name)
        }
        Ask::TouchSibling(name) => {
            let sibling = call.sibling(&name)?;
            sibling.ensure()?;
            sibling.create("touched", &()).map(|()| sibling.path().into())
        }
        Ask::RefuseAfterCreating(path) => {
            call.create(&path, &())?;
            Err(Failure::new("refused", "after creating"))
        }
        Ask::DifferEachTime => {
            OUTSIDE.set(OUTSIDE.get() + 1);
            Ok(OUTSIDE.get().to_string())
        }
    }
}

fn ask(mount: &mut TestMount<Probe>, session: SessionId, asks: Vec<Ask>) -> Vec<String> {
    mount.call(session, "object", "act", &asks).done()
}

fn logged(mount: &TestMount<Probe>) -> Vec<String> {
    mount.log().iter().map(|(_, line)| line.clone()).collect()
}

#[test]
fn an_object_comes_with_its_first_command_and_goes_when_empty() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    ask(&mut mount, session, vec![Ask::Create("a".into())]);
    assert_eq!(mount.paths(), ["object", "object/a"]);
    ask(&mut mount, session, vec![Ask::Delete("a".into())]);
    assert_eq!(mount.paths(), [""; 0]);
    ask(&mut mount, session, vec![]);
    assert_eq!(mount.paths(), [""; 0], "a command that leaves nothing leaves no object");
    assert_eq!(logged(&mount), ["mounted \"\"", "created \"object\"", "created \"object\""]);
}

#[test]
fn an_empty_object_stays_while_a_call_is_parked_or_a_timer_set() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    let parked = mount.call::<u64>(session, "object", "wait", &()).parked();
    assert_eq!(mount.paths(), ["object"]);
    assert!(mount.call::<bool>(session, "object", "wake", &parked).done());
    assert_eq!(mount.paths(), [""; 0]);
    ask(&mut mount, session, vec![Ask::SetTimer("tick".into(), 0)]);
    assert_eq!(mount.paths(), ["object"]);
    assert_eq!(mount.timers(), [("object", "tick", mount.now_ms() + 1)]);
    mount.advance(1);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn a_refused_call_changes_nothing_and_makes_no_object() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    let asks = vec![Ask::Create("a".into()), Ask::RefuseAfterCreating("b".into())];
    let refused = mount.call::<Vec<String>>(session, "object", "act", &asks).refused();
    assert_eq!(refused.code, "refused");
    assert_eq!(mount.paths(), [""; 0]);
    assert_eq!(logged(&mount), ["mounted \"\""]);
}

#[test]
fn a_query_sees_and_cannot_write_and_makes_no_object() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    ask(&mut mount, session, vec![Ask::Create("b".into()), Ask::Create("a".into())]);
    let names: Vec<String> = mount.call(session, "object", "names", &()).done();
    assert_eq!(names, ["a", "b"]);
    let refused = mount.call::<()>(session, "object", "write-in-a-query", &()).refused();
    assert_eq!(refused.code, "read-only");
    let refused = mount.call::<Vec<String>>(session, "nowhere", "names", &()).refused();
    assert_eq!(refused.code, "no-node");
}

#[test]
fn operations_and_arguments_that_are_not_known_are_refused() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    let refused = mount.call::<()>(session, "object", "fly", &()).refused();
    assert_eq!(refused.code, "unknown-operation");
    let refused = mount.call::<()>(session, "object", "names", &7u8).refused();
    assert_eq!(refused.code, "bad-arguments");
    let refused = mount.call::<()>(session, "object", "act", &"text").refused();
    assert_eq!(refused.code, "bad-arguments");
    let refused = mount.call::<()>(session, "a/b", "act", &Vec::<Ask>::new()).refused();
    assert_eq!(refused.code, "bad-arguments");
}

#[test]
fn sequential_names_grow_also_after_deletes() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    let next = || Ask::CreateSequential("n-".into());
    let names = ask(&mut mount, session, vec![Ask::Create("keep".into()), next(), next()]);
    ask(&mut mount, session, vec![Ask::Delete(names[2].clone())]);
    let last = ask(&mut mount, session, vec![next()]);
    assert!(names[1] < names[2] && names[2] < last[0], "{names:?} {last:?}");
}

#[test]
fn siblings_are_written_in_the_same_run() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    ask(&mut mount, session, vec![Ask::TouchSibling("other".into())]);
    assert_eq!(mount.paths(), ["other", "other/touched"]);
    let asks = vec![Ask::TouchSibling("a/b".into())];
    let refused = mount.call::<Vec<String>>(session, "object", "act", &asks).refused();
    assert_eq!(refused.code, "bad-path");
}

#[test]
fn paths_do_not_leave_the_object() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    for path in ["../other", "/other", "a//b", ".", "a/"] {
        let asks = vec![Ask::Create(path.into())];
        let refused = mount.call::<Vec<String>>(session, "object", "act", &asks).refused();
        assert_eq!(refused.code, "bad-path", "{path}");
    }
}

#[test]
fn a_session_that_ends_is_told_per_object_and_takes_what_it_owns() {
    let mut mount = TestMount::<Probe>::new();
    let (ending, other) = (mount.session(), mount.session());
    for object in ["b", "a"] {
        let asks = vec![Ask::CreateOwned("mine".into())];
        let _: Vec<String> = mount.call(ending, object, "act", &asks).done();
    }
    let parked = mount.call::<u64>(ending, "c", "wait", &()).parked();
    mount.close(ending);
    let after = ["a", "a/after-close", "b", "b/after-close", "c", "c/after-close"];
    assert_eq!(mount.paths(), after);
    assert_eq!((mount.parked_count(), mount.faults().len()), (0, 0));
    let told: Vec<String> =
        logged(&mount).into_iter().filter(|line| line.starts_with("closed")).collect();
    assert_eq!(told, ["closed \"a\"", "closed \"b\"", "closed \"c\""]);
    assert!(!mount.call::<bool>(other, "a", "wake", &parked).done(), "its caller has gone");
}

#[test]
fn a_handler_that_fails_is_rolled_back_alone_and_the_session_still_ends() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    let own = || Ask::CreateOwned("mine".into());
    let failing = vec![own(), Ask::Create("fail".into())];
    let _: Vec<String> = mount.call(session, "a", "act", &failing).done();
    let _: Vec<String> = mount.call(session, "b", "act", &vec![own()]).done();
    mount.close(session);
    assert_eq!(mount.paths(), ["a", "a/fail", "b", "b/after-close"]);
    assert_eq!(mount.faults().len(), 1);
}

#[test]
fn timers_fire_in_order_of_their_times_each_at_its_own() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    let start_ms = mount.now_ms();
    let timer = |name: &str, in_ms| Ask::SetTimer(name.into(), in_ms);
    let keep = Ask::Create("keep".into());
    ask(&mut mount, session, vec![keep, timer("late", 300), timer("early", 100)]);
    ask(&mut mount, session, vec![timer("moved", 150), timer("moved", 200)]);
    mount.advance(250);
    mount.advance(250);
    let fired: Vec<String> =
        logged(&mount).into_iter().filter(|line| line.starts_with("timer")).collect();
    let expected = [("early", 100), ("moved", 200), ("late", 300)]
        .map(|(name, in_ms)| format!("timer {name} at {} \"object\"", start_ms + in_ms));
    assert_eq!(fired, expected);
    assert_eq!((mount.timers().len(), mount.now_ms()), (0, start_ms + 500));
}

#[test]
fn a_parked_call_is_answered_once() {
    let mut mount = TestMount::<Probe>::new();
    let session = mount.session();
    ask(&mut mount, session, vec![Ask::Create("keep".into())]);
    let ticket = mount.call::<u64>(session, "object", "wait", &Some(50u64)).parked();
    assert!(mount.call::<bool>(session, "object", "wake", &ticket).done());
    assert!(!mount.call::<bool>(session, "object", "wake", &ticket).done());
    assert!(mount.pushed(ticket).unwrap().unwrap() > 0);
    assert_eq!(mount.pushed(ticket), None);
    mount.advance(100);
    assert_eq!(mount.pushed(ticket), None, "the deadline of an answered call is over");
}

#[test]
fn a_configuration_that_is_refused_does_not_stay() {
    let mut mount = TestMount::<Probe>::with_config(&ProbeConfig { refuse: false });
    assert_eq!(mount.configure(&ProbeConfig { refuse: true }).unwrap_err().code, "no");
    assert!(mount.configure(&ProbeConfig { refuse: false }).is_ok());
}

#[test]
fn a_recipe_that_is_not_deterministic_is_found_out() {
    let panicked = std::panic::catch_unwind(|| {
        let mut mount = TestMount::<Probe>::new();
        let session = mount.session();
        ask(&mut mount, session, vec![Ask::DifferEachTime]);
    });
    let message = *panicked.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("not deterministic"), "{message}");
}

/// The version before [`Probe`].
struct Older;

#[recipe(name = "probe", version = "1.0.0")]
impl Older {
    #[command]
    fn put(call: &Call, number: u64) -> Result<()> {
        call.put("number", &number)
    }
}

/// The version after [`Probe`], which knows what [`Older`] left.
struct Newer;

#[recipe(name = "probe", version = "3.0.0", state = 3)]
impl Newer {
    #[query]
    fn read(call: &Call) -> Result<Option<String>> {
        call.get("number")
    }

    #[migrate]
    fn migrate(run: &Run, from_state_version: u32) -> Result<()> {
        assert_eq!(from_state_version, 1);
        let object = run.sibling("object")?;
        if let Some(number) = object.get::<u64>("number")? {
            object.set("number", &number.to_string())?;
        }
        Ok(())
    }
}

#[test]
fn a_newer_version_migrates_what_the_older_one_left() {
    let mut mount = TestMount::<Older>::new();
    let session = mount.session();
    mount.call::<()>(session, "object", "put", &7u64).done();
    let mut mount = mount.upgrade::<Newer>().unwrap();
    let read: Option<String> = mount.call(session, "object", "read", &()).done();
    assert_eq!(read.as_deref(), Some("7"));
}

#[test]
fn a_version_that_cannot_migrate_says_so() {
    let refused = TestMount::<Older>::new().upgrade::<Probe>().unwrap_err();
    assert_eq!(refused.code, "no-migration");
}

#[test]
fn what_a_recipe_says_of_itself_comes_from_its_source() {
    use quorate_recipe::{OperationKind, Recipe};
    let descriptor = Probe::describe();
    assert_eq!((descriptor.name, descriptor.version), ("probe", "1.2.3"));
    assert_eq!((descriptor.state_version, descriptor.doc), (2, "Tests the tests."));
    let act = &descriptor.operations[0];
    assert_eq!((act.name, act.kind), ("act", OperationKind::Command));
    assert_eq!(act.doc, "Does as it is told.");
    assert!(descriptor.operations.iter().any(|known| known.name == "write-in-a-query"));
}
