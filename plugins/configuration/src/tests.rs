//! What the configuration promises, one test for each promise.

use super::*;
use quorate_recipe::testing::{Answer, TestMount};
use std::collections::BTreeSet;

const OBJECT: &str = "web";

type Mount = TestMount<Configuration>;

fn set(mount: &mut Mount, session: SessionId, document: &str) -> u64 {
    set_if(mount, session, document, None).done()
}

fn set_if(
    mount: &mut Mount,
    session: SessionId,
    document: &str,
    if_version: Option<u64>,
) -> Answer<u64> {
    let wanted = Set { document: document.into(), if_version, note: String::new() };
    mount.call(session, OBJECT, "set", &wanted)
}

fn stage(mount: &mut Mount, session: SessionId, percentage: u8, members: &[&str]) -> u64 {
    let members = members.iter().map(ToString::to_string).collect();
    let wanted = Stage { document: "new".into(), percentage, members, ..Stage::default() };
    mount.call(session, OBJECT, "stage", &wanted).done()
}

fn get(mount: &mut Mount, wanted: Get) -> Answer<Document> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "get", &wanted)
}

fn current(mount: &mut Mount) -> Document {
    get(mount, Get::default()).done()
}

fn for_member(mount: &mut Mount, member: &str) -> u64 {
    get(mount, Get { member: Some(member.into()), version: None }).done().version
}

fn status(mount: &mut Mount) -> Status {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "status", &()).done()
}

fn history(mount: &mut Mount) -> Vec<Version> {
    let anyone = mount.session();
    mount.call(anyone, OBJECT, "history", &History::default()).done()
}

fn end(mount: &mut Mount, session: SessionId, operation: &str, version: u64) -> Answer<()> {
    mount.call(session, OBJECT, operation, &Candidate { version })
}

fn await_change(
    mount: &mut Mount,
    session: SessionId,
    version: u64,
    member: Option<&str>,
) -> Answer<Change> {
    let member = member.map(ToOwned::to_owned);
    let wanted = AwaitChange { version, member, wait_ms: Some(60_000) };
    mount.call(session, OBJECT, "await-change", &wanted)
}

fn remove(mount: &mut Mount, session: SessionId) {
    mount.call::<()>(session, OBJECT, "remove", &Remove::default()).done();
}

/// A mount, and two sessions.
fn mounted() -> (Mount, SessionId, SessionId) {
    mounted_with(Config::default())
}

fn mounted_with(config: Config) -> (Mount, SessionId, SessionId) {
    let mut mount = TestMount::with_config(&config);
    let (a, b) = (mount.session(), mount.session());
    (mount, a, b)
}

#[test]
fn what_was_set_is_what_everybody_gets() {
    let (mut mount, a, _) = mounted();
    let wanted = Set { document: "port = 80".into(), if_version: None, note: "first".into() };
    let version: u64 = mount.call(a, OBJECT, "set", &wanted).done();
    let told = current(&mut mount);
    let expected = Document {
        version,
        document: "port = 80".into(),
        since_ms: mount.now_ms(),
        identity: "user-1".into(),
        note: "first".into(),
        fate: Fate::Set,
    };
    assert_eq!(told, expected);
    assert_eq!(for_member(&mut mount, "any"), version);
}

#[test]
fn versions_grow_also_over_a_removal() {
    let (mut mount, a, _) = mounted();
    let first = set(&mut mount, a, "one");
    let second = set(&mut mount, a, "two");
    remove(&mut mount, a);
    let third = set(&mut mount, a, "three");
    assert!(first < second && second < third);
}

#[test]
fn there_is_nothing_before_the_first_version_and_after_removal() {
    let (mut mount, a, _) = mounted();
    assert_eq!(get(&mut mount, Get::default()).refused().code, "no-document");
    assert_eq!(status(&mut mount), Status::default());
    let refused: Answer<()> = mount.call(a, OBJECT, "remove", &Remove::default());
    assert_eq!(refused.refused().code, "no-document");
    set(&mut mount, a, "one");
    let typed = Field { path: String::new(), kind: FieldType::Any, required: true };
    let define = Define { definition: Some(Definition { fields: vec![typed] }) };
    assert_eq!(mount.call::<()>(a, OBJECT, "define", &define).refused().code, "bad-document");
    set(&mut mount, a, "1");
    mount.call::<()>(a, OBJECT, "define", &define).done();
    remove(&mut mount, a);
    assert_eq!(mount.paths(), [""; 0]);
    let refused: Answer<Vec<Version>> = mount.call(a, OBJECT, "history", &History::default());
    assert_eq!(refused.refused().code, "no-document");
}

#[test]
fn a_set_may_ask_for_the_version_it_replaces() {
    let (mut mount, a, _) = mounted();
    let first = set_if(&mut mount, a, "one", Some(0)).done();
    let refused = set_if(&mut mount, a, "two", Some(0)).refused();
    let told: Status = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!((refused.code.as_str(), told.current), ("version-conflict", first));
    let second = set_if(&mut mount, a, "two", Some(first)).done();
    assert_eq!(set_if(&mut mount, a, "three", Some(first)).refused().code, "version-conflict");
    assert_eq!(current(&mut mount).version, second);
}

#[test]
fn every_operation_that_replaces_may_ask_for_the_version() {
    let (mut mount, a, _) = mounted();
    let version = set(&mut mount, a, "one");
    let if_version = Some(version + 1);
    let rollback = Rollback { to: version, if_version, note: String::new() };
    let staged = Stage { document: "two".into(), if_version, ..Stage::default() };
    let refused = [
        mount.call::<u64>(a, OBJECT, "rollback", &rollback).refused(),
        mount.call::<u64>(a, OBJECT, "stage", &staged).refused(),
        mount.call::<()>(a, OBJECT, "remove", &Remove { if_version }).refused(),
    ];
    assert!(refused.iter().all(|failure| failure.code == "version-conflict"));
}

#[test]
fn a_rollback_is_a_new_version_with_the_old_text() {
    let (mut mount, a, _) = mounted();
    let first = set(&mut mount, a, "one");
    let second = set(&mut mount, a, "two");
    let wanted = Rollback { to: first, if_version: Some(second), note: "two is bad".into() };
    let third: u64 = mount.call(a, OBJECT, "rollback", &wanted).done();
    let told = current(&mut mount);
    assert_eq!((told.version, told.document.as_str()), (third, "one"));
    assert_eq!((told.fate, told.note.as_str()), (Fate::RolledBackTo(first), "two is bad"));
    assert!(third > second);
    let unknown = Rollback { to: second + 1_000, if_version: None, note: String::new() };
    let refused: Answer<u64> = mount.call(a, OBJECT, "rollback", &unknown);
    assert_eq!(refused.refused().code, "no-such-version");
}

#[test]
fn any_version_in_the_history_can_be_read() {
    let (mut mount, a, _) = mounted();
    let first = set(&mut mount, a, "one");
    set(&mut mount, a, "two");
    let wanted = |version| Get { member: None, version: Some(version) };
    assert_eq!(get(&mut mount, wanted(first)).done().document, "one");
    assert_eq!(get(&mut mount, wanted(first + 77)).refused().code, "no-such-version");
    let both = Get { member: Some("m".into()), version: Some(first) };
    assert_eq!(get(&mut mount, both).refused().code, "bad-arguments");
}

#[test]
fn the_history_is_bounded_and_told_page_by_page() {
    let (mut mount, a, _) = mounted_with(Config { history_max: 3, ..Config::default() });
    let versions: Vec<u64> = (0..5).map(|at| set(&mut mount, a, &"x".repeat(at))).collect();
    let told = history(&mut mount);
    assert_eq!(told.iter().map(|version| version.version).collect::<Vec<_>>(), versions[2..]);
    assert_eq!(told[2].bytes, 4);
    assert_eq!(mount.paths().len(), 1 + 1 + 2 + 2 * 3, "object, head, folders, versions");
    let page = History { after: Some(versions[2]), count: 1 };
    let page: Vec<Version> = mount.call(a, OBJECT, "history", &page).done();
    assert_eq!(page.iter().map(|version| version.version).collect::<Vec<_>>(), [versions[3]]);
    let gone = Rollback { to: versions[1], if_version: None, note: String::new() };
    let refused: Answer<u64> = mount.call(a, OBJECT, "rollback", &gone);
    assert_eq!(refused.refused().code, "no-such-version");
}

#[test]
fn a_shorter_history_is_reached_step_by_step() {
    let (mut mount, a, _) = mounted();
    for _ in 0..40 {
        set(&mut mount, a, "x");
    }
    mount.configure(&Config { history_max: 2, ..Config::default() }).unwrap();
    let kept: Vec<u32> = (0..5)
        .map(|_| {
            set(&mut mount, a, "x");
            status(&mut mount).versions
        })
        .collect();
    assert_eq!(kept, [31, 22, 13, 4, 2]);
    assert_eq!(history(&mut mount).len(), 2);
}

#[test]
fn what_is_current_or_rolled_out_is_never_dropped() {
    let (mut mount, a, _) = mounted_with(Config { history_max: 1, ..Config::default() });
    let old = set(&mut mount, a, "old");
    let new = stage(&mut mount, a, 0, &["m"]);
    assert_eq!((for_member(&mut mount, "x"), for_member(&mut mount, "m")), (old, new));
    end(&mut mount, a, "abort", new).done();
    assert_eq!(current(&mut mount).document, "old");
    let last = set(&mut mount, a, "last");
    assert_eq!(history(&mut mount).iter().map(|v| v.version).collect::<Vec<_>>(), [last]);
}

#[test]
fn a_roll_out_reaches_the_members_it_names() {
    let (mut mount, a, _) = mounted();
    let old = set(&mut mount, a, "old");
    let new = stage(&mut mount, a, 0, &["web-1", "web-2"]);
    assert_eq!(for_member(&mut mount, "web-1"), new);
    assert_eq!(for_member(&mut mount, "web-2"), new);
    assert_eq!(for_member(&mut mount, "web-3"), old);
    assert_eq!(current(&mut mount).version, old);
    let told = status(&mut mount).roll_out.unwrap();
    assert_eq!((told.version, told.since_ms), (new, mount.now_ms()));
}

fn reached(mount: &mut Mount, version: u64) -> BTreeSet<usize> {
    (0..300).filter(|at| for_member(mount, &format!("web-{at}")) == version).collect()
}

#[test]
fn a_percentage_reaches_about_as_many_and_grows_without_changing_its_mind() {
    let (mut mount, a, _) = mounted();
    set(&mut mount, a, "old");
    let version = stage(&mut mount, a, 0, &[]);
    let mut before = reached(&mut mount, version);
    assert_eq!(before.len(), 0);
    for percentage in [10, 50, 100] {
        let wanted = Widen { version, percentage, members: BTreeSet::new() };
        mount.call::<()>(a, OBJECT, "widen", &wanted).done();
        let after = reached(&mut mount, version);
        assert!(before.is_subset(&after));
        let expected = 3 * usize::from(percentage);
        assert!(after.len().abs_diff(expected) <= 30, "{} of {expected}", after.len());
        before = after;
    }
    assert_eq!(before.len(), 300);
}

#[test]
fn another_roll_out_reaches_others_first() {
    let (mut mount, a, _) = mounted();
    set(&mut mount, a, "old");
    let first = stage(&mut mount, a, 20, &[]);
    let reached_first = reached(&mut mount, first);
    end(&mut mount, a, "abort", first).done();
    let second = stage(&mut mount, a, 20, &[]);
    assert_ne!(reached(&mut mount, second), reached_first);
}

#[test]
fn a_promoted_version_is_everybodys() {
    let (mut mount, a, _) = mounted();
    set(&mut mount, a, "old");
    let new = stage(&mut mount, a, 0, &["m"]);
    end(&mut mount, a, "promote", new).done();
    assert_eq!(for_member(&mut mount, "x"), new);
    let told = current(&mut mount);
    assert_eq!((told.document.as_str(), told.fate), ("new", Fate::Promoted));
    assert_eq!(status(&mut mount).roll_out, None);
}

#[test]
fn an_aborted_version_is_nobodys_and_stays_in_the_history() {
    let (mut mount, a, _) = mounted();
    let old = set(&mut mount, a, "old");
    let new = stage(&mut mount, a, 100, &["m"]);
    end(&mut mount, a, "abort", new).done();
    assert_eq!(for_member(&mut mount, "m"), old);
    let fates: Vec<Fate> = history(&mut mount).into_iter().map(|version| version.fate).collect();
    assert_eq!(fates, [Fate::Set, Fate::Aborted]);
}

#[test]
fn during_a_roll_out_nothing_else_is_set() {
    let (mut mount, a, _) = mounted();
    let old = set(&mut mount, a, "old");
    let new = stage(&mut mount, a, 10, &[]);
    let rollback = Rollback { to: old, if_version: None, note: String::new() };
    let staged = Stage { document: "two".into(), ..Stage::default() };
    let refused = [
        set_if(&mut mount, a, "x", None).refused(),
        mount.call::<u64>(a, OBJECT, "rollback", &rollback).refused(),
        mount.call::<u64>(a, OBJECT, "stage", &staged).refused(),
        mount.call::<()>(a, OBJECT, "remove", &Remove::default()).refused(),
    ];
    assert!(refused.iter().all(|failure| failure.code == "rolling-out"));
    end(&mut mount, a, "promote", new).done();
    set(&mut mount, a, "x");
}

#[test]
fn a_roll_out_is_ended_by_its_version() {
    let (mut mount, a, _) = mounted();
    let staged = Stage { document: "two".into(), ..Stage::default() };
    let refused: Answer<u64> = mount.call(a, OBJECT, "stage", &staged);
    assert_eq!(refused.refused().code, "no-document");
    let old = set(&mut mount, a, "old");
    for operation in ["promote", "abort"] {
        assert_eq!(end(&mut mount, a, operation, old).refused().code, "not-rolling-out");
    }
    let new = stage(&mut mount, a, 10, &[]);
    let refused = end(&mut mount, a, "promote", old).refused();
    let told: Status = quorate_recipe::codec::decode(&refused.detail).unwrap();
    assert_eq!(told.roll_out.unwrap().version, new);
    let widen = Widen { version: old, percentage: 20, members: BTreeSet::new() };
    let refused: Answer<()> = mount.call(a, OBJECT, "widen", &widen);
    assert_eq!(refused.refused().code, "not-rolling-out");
}

#[test]
fn whom_a_roll_out_reaches_is_bounded() {
    let (mut mount, a, _) = mounted();
    set(&mut mount, a, "old");
    let wanted = Stage { document: "x".into(), percentage: 101, ..Stage::default() };
    let refused: Answer<u64> = mount.call(a, OBJECT, "stage", &wanted);
    assert_eq!(refused.refused().code, "out-of-range");
    let members: BTreeSet<String> = (0..101).map(|at| at.to_string()).collect();
    let wanted = Stage { document: "x".into(), members, ..Stage::default() };
    let refused: Answer<u64> = mount.call(a, OBJECT, "stage", &wanted);
    assert_eq!(refused.refused().code, "out-of-range");
    let members = BTreeSet::from(["m".repeat(257)]);
    let wanted = Stage { document: "x".into(), members, ..Stage::default() };
    let refused: Answer<u64> = mount.call(a, OBJECT, "stage", &wanted);
    assert_eq!(refused.refused().code, "too-large");
}

#[test]
fn a_wait_is_answered_by_the_next_version() {
    let (mut mount, a, b) = mounted();
    let waiting = await_change(&mut mount, b, 0, None).parked();
    let first = set(&mut mount, a, "one");
    assert_eq!(mount.pushed(waiting), Some(Ok(Change { version: first })));
    assert_eq!(await_change(&mut mount, b, 0, None).done().version, first);
    let waiting = await_change(&mut mount, b, first, Some("m")).parked();
    let second = set(&mut mount, a, "two");
    assert_eq!(mount.pushed(waiting), Some(Ok(Change { version: second })));
}

#[test]
fn a_roll_out_wakes_whom_it_reaches_and_nobody_else() {
    let (mut mount, a, b) = mounted();
    let old = set(&mut mount, a, "old");
    let named = await_change(&mut mount, b, old, Some("m")).parked();
    let other = await_change(&mut mount, b, old, Some("x")).parked();
    let anybody = await_change(&mut mount, b, old, None).parked();
    let new = stage(&mut mount, a, 0, &["m"]);
    assert_eq!(mount.pushed(named), Some(Ok(Change { version: new })));
    assert_eq!((mount.pushed(other), mount.pushed(anybody)), (None, None));
    let back = await_change(&mut mount, b, new, Some("m")).parked();
    end(&mut mount, a, "abort", new).done();
    assert_eq!(mount.pushed(back), Some(Ok(Change { version: old })));
    assert_eq!((mount.pushed(other), mount.pushed(anybody)), (None, None));
    let new = stage(&mut mount, a, 0, &["x"]);
    assert_eq!(mount.pushed(other), Some(Ok(Change { version: new })));
    end(&mut mount, a, "promote", new).done();
    assert_eq!(mount.pushed(anybody), Some(Ok(Change { version: new })));
}

#[test]
fn a_removal_is_a_change() {
    let (mut mount, a, b) = mounted();
    let version = set(&mut mount, a, "one");
    let waiting = await_change(&mut mount, b, version, None).parked();
    remove(&mut mount, a);
    assert_eq!(mount.pushed(waiting), Some(Ok(Change { version: 0 })));
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn a_wait_that_may_not_wait_is_refused() {
    let (mut mount, a, _) = mounted();
    let version = set(&mut mount, a, "one");
    let wanted = AwaitChange { version, member: None, wait_ms: Some(0) };
    let refused: Answer<Change> = mount.call(a, OBJECT, "await-change", &wanted);
    assert_eq!(refused.refused().code, "unchanged");
}

#[test]
fn waits_end_at_their_limit_by_cancel_and_with_their_session() {
    let (mut mount, a, b) = mounted();
    let ended = await_change(&mut mount, a, 0, None).parked();
    mount.advance(59_999);
    assert_eq!(mount.pushed(ended), None);
    mount.advance(1);
    assert_eq!(mount.pushed(ended).unwrap().unwrap_err().code, "timed-out");
    let given_up = await_change(&mut mount, a, 0, None).parked();
    mount.cancel(given_up);
    let _ = await_change(&mut mount, b, 0, None).parked();
    assert_eq!(mount.paths().len(), 2);
    mount.close(b);
    assert_eq!(mount.paths(), [""; 0]);
    assert!(mount.faults().is_empty());
}

#[test]
fn those_who_wait_are_bounded() {
    let (mut mount, a, b) = mounted_with(Config { watchers_max: 2, ..Config::default() });
    let version = set(&mut mount, a, "one");
    let first = await_change(&mut mount, a, version, None).parked();
    let _ = await_change(&mut mount, b, version, None).parked();
    assert_eq!(await_change(&mut mount, b, version, None).refused().code, "too-many-watchers");
    mount.cancel(first);
    let _ = await_change(&mut mount, b, version, None).parked();
}

#[test]
fn many_are_told_in_steps_and_all_are_told_the_newest() {
    let (mut mount, a, b) = mounted();
    let version = set(&mut mount, a, "one");
    let waiting: Vec<_> =
        (0..600).map(|_| await_change(&mut mount, b, version, None).parked()).collect();
    let second = set(&mut mount, a, "two");
    assert_eq!(mount.parked_count(), 600 - SWEEP_MAX as usize, "one run tells a bounded number");
    let third = set(&mut mount, a, "three");
    mount.advance(5);
    assert_eq!((mount.parked_count(), mount.timers().len()), (0, 0));
    for (place, ticket) in waiting.iter().enumerate() {
        let told = mount.pushed(*ticket).unwrap().unwrap().version;
        assert_eq!(told, if place < SWEEP_MAX as usize { second } else { third });
    }
    assert!(!mount.paths().iter().any(|path| path.contains(SWEEP)));
}

#[test]
fn those_whom_a_change_does_not_concern_do_not_hide_others() {
    let (mut mount, a, b) = mounted();
    let old = set(&mut mount, a, "old");
    for _ in 0..2 * SWEEP_MAX {
        let _ = await_change(&mut mount, b, old, None).parked();
    }
    let named = await_change(&mut mount, b, old, Some("m")).parked();
    let new = stage(&mut mount, a, 0, &["m"]);
    mount.advance(5);
    assert_eq!(mount.pushed(named), Some(Ok(Change { version: new })));
    assert_eq!(mount.parked_count(), 2 * SWEEP_MAX as usize);
    assert_eq!(mount.timers(), []);
}

fn field(path: &str, kind: FieldType, required: bool) -> Field {
    Field { path: path.into(), kind, required }
}

fn defined() -> (Mount, SessionId) {
    let (mut mount, a, _) = mounted();
    let fields = vec![
        field("/server/port", FieldType::Integer, true),
        field("/server/name", FieldType::String, true),
        field("/debug", FieldType::Boolean, false),
        field("/hosts", FieldType::Array, false),
        field("/ratio", FieldType::Number, false),
        field("/a~1b", FieldType::Null, false),
    ];
    let definition = Some(Definition { fields });
    mount.call::<()>(a, OBJECT, "define", &Define { definition }).done();
    (mount, a)
}

#[test]
fn a_document_that_fits_its_definition_is_set() {
    let (mut mount, a) = defined();
    for document in [
        r#"{"server": {"port": 80, "name": "é\u00e9\ud83d\ude00"}}"#,
        r#" {"server":{"port":-1,"name":"","more":[1,{"x":[]}]},"debug":true,"hosts":[]} "#,
        r#"{"server":{"port":0,"name":"\"\\\/\b\n"},"ratio":1.5e-7,"a/b":null,"other":{}}"#,
        r#"{"server":{"port":1,"name":"x"},"ratio":2}"#,
    ] {
        set(&mut mount, a, document);
        assert_eq!(current(&mut mount).document, document, "a document is kept as it is");
    }
}

#[test]
fn a_document_that_differs_is_refused_with_all_that_is_wrong() {
    let (mut mount, a) = defined();
    let document = r#"{"server": {"port": 80.5}, "debug": "yes", "hosts": {}}"#;
    let refused = set_if(&mut mount, a, document, None).refused();
    assert_eq!(refused.code, "bad-document");
    let problems: Vec<Problem> = quorate_recipe::codec::decode(&refused.detail).unwrap();
    let told: Vec<(&str, &str)> =
        problems.iter().map(|problem| (problem.path.as_str(), problem.wrong.as_str())).collect();
    let expected = [
        ("/server/port", "is a number"),
        ("/server/name", "is missing"),
        ("/debug", "is a string"),
        ("/hosts", "is an object"),
    ];
    assert_eq!(told, expected);
    assert_eq!(status(&mut mount).current, 0);
    let staged = Stage { document: "{}".into(), ..Stage::default() };
    set(&mut mount, a, r#"{"server": {"port": 80, "name": "x"}}"#);
    assert_eq!(mount.call::<u64>(a, OBJECT, "stage", &staged).refused().code, "bad-document");
}

#[test]
fn text_that_is_not_json_is_refused() {
    let (mut mount, a) = defined();
    let deep = "[".repeat(100_000);
    for document in [
        "",
        "{",
        "}",
        "nul",
        "truth",
        "01",
        "1.",
        "-",
        "1e",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "[1,]",
        "[1 2]",
        "1 2",
        "\"\t\"",
        "{\"a\":1,\"a\":2}",
        &deep[..60_000],
    ] {
        let refused = set_if(&mut mount, a, document, None).refused();
        assert_eq!(refused.code, "bad-document");
        assert!(refused.message.contains("not JSON"), "{document:.20}: {}", refused.message);
    }
}

#[test]
fn without_a_definition_any_text_is_set() {
    let (mut mount, a) = defined();
    mount.call::<()>(a, OBJECT, "define", &Define::default()).done();
    assert_eq!(mount.paths(), [""; 0]);
    set(&mut mount, a, "{ this is not JSON");
    let definition: Option<Definition> = mount.call(a, OBJECT, "definition", &()).done();
    assert_eq!(definition, None);
}

#[test]
fn a_definition_must_fit_what_is_there() {
    let (mut mount, a, _) = mounted();
    set(&mut mount, a, "{}");
    let new = {
        let wanted = Stage { document: "[]".into(), ..Stage::default() };
        mount.call::<u64>(a, OBJECT, "stage", &wanted).done()
    };
    let object = Definition { fields: vec![field("", FieldType::Object, true)] };
    let define = Define { definition: Some(object.clone()) };
    assert_eq!(mount.call::<()>(a, OBJECT, "define", &define).refused().code, "rolling-out");
    end(&mut mount, a, "abort", new).done();
    let list = Definition { fields: vec![field("", FieldType::Array, true)] };
    let other = Define { definition: Some(list) };
    assert_eq!(mount.call::<()>(a, OBJECT, "define", &other).refused().code, "bad-document");
    mount.call::<()>(a, OBJECT, "define", &define).done();
    let told: Option<Definition> = mount.call(a, OBJECT, "definition", &()).done();
    assert_eq!(told, Some(object));
    let rollback = Rollback { to: new, if_version: None, note: String::new() };
    let refused: Answer<u64> = mount.call(a, OBJECT, "rollback", &rollback);
    assert_eq!(refused.refused().code, "bad-document", "also an older one must fit");
}

#[test]
fn a_definition_that_is_none_is_refused() {
    let (mut mount, a, _) = mounted();
    let wrong = [
        vec![field("server", FieldType::Any, true)],
        vec![field(&"/x".repeat(200), FieldType::Any, true)],
        vec![field("/x", FieldType::Any, true); 101],
    ];
    for fields in wrong {
        let define = Define { definition: Some(Definition { fields }) };
        assert_eq!(mount.call::<()>(a, OBJECT, "define", &define).refused().code, "bad-definition");
    }
}

#[test]
fn documents_and_notes_are_bounded() {
    let (mut mount, a, _) = mounted();
    let large = "x".repeat((64 << 10) + 1);
    assert_eq!(set_if(&mut mount, a, &large, None).refused().code, "too-large");
    set(&mut mount, a, &large[1..]);
    let wanted = Set { document: "x".into(), if_version: None, note: "n".repeat(257) };
    assert_eq!(mount.call::<u64>(a, OBJECT, "set", &wanted).refused().code, "too-large");
}

#[test]
fn objects_are_documents_of_their_own() {
    let (mut mount, a, b) = mounted();
    let document = |text: &str| Set { document: text.into(), if_version: None, note: "".into() };
    let one: u64 = mount.call(a, "one", "set", &document("1")).done();
    let wanted = AwaitChange::default();
    let waiting: Ticket<Change> = mount.call(b, "two", "await-change", &wanted).parked();
    let _: u64 = mount.call(a, "one", "set", &document("2")).done();
    assert_eq!(mount.pushed(waiting), None);
    let two: u64 = mount.call(a, "two", "set", &document("3")).done();
    assert_eq!(mount.pushed(waiting), Some(Ok(Change { version: two })));
    assert!(one < two);
}

#[test]
fn a_configuration_that_no_run_could_keep_is_refused() {
    let (mut mount, ..) = mounted();
    let good = Config::default();
    for config in [
        Config { history_max: 0, ..good },
        Config { history_max: 201, ..good },
        Config { document_bytes_max: 131_073, ..good },
        Config { document_bytes_max: 0, ..good },
    ] {
        assert_eq!(mount.configure(&config).unwrap_err().code, "bad-config");
    }
}

#[test]
fn the_longest_history_is_removed_at_once() {
    let (mut mount, a, _) = mounted_with(Config { history_max: 200, ..Config::default() });
    for _ in 0..205 {
        set(&mut mount, a, "x");
    }
    assert_eq!(history(&mut mount).len(), 200);
    remove(&mut mount, a);
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn arguments_that_are_not_known_are_refused() {
    #[derive(Serialize)]
    struct Misspelt {
        document: String,
        if_revision: u64,
    }
    let (mut mount, a, _) = mounted();
    let wanted = Misspelt { document: "x".into(), if_revision: 0 };
    let refused: Answer<u64> = mount.call(a, OBJECT, "set", &wanted);
    assert_eq!(refused.refused().code, "bad-arguments");
    assert_eq!(mount.paths(), [""; 0]);
}

#[test]
fn scenarios_leave_their_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    quorate_recipe::testing::run_scenarios::<Configuration>(folder);
}
