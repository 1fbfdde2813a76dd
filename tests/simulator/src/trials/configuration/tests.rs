//! Each kind of breach is found, and what a configuration does is believed.

use super::super::said::{Said, answer};
use super::words::{Fate, RollOut, Text};
use super::*;

const SET: (&str, &str) = ("a", "set");
const GET: (&str, &str) = ("a", "get");
const STAGE: (&str, &str) = ("a", "stage");
const WIDEN: (&str, &str) = ("a", "widen");
const PROMOTE: (&str, &str) = ("a", "promote");
const ABORT: (&str, &str) = ("a", "abort");
const AWAIT: (&str, &str) = ("a", "await-change");
const DEFINE: (&str, &str) = ("a", "define");
const REMOVE: (&str, &str) = ("a", "remove");

fn said() -> Said {
    let config = Config { history_max: 2, document_bytes_max: 12, watchers_max: 2 };
    Said::to((TRIAL.promises)(&to_cbor(&config)))
}

fn set(document: &str, if_version: Option<u64>) -> Set {
    Set { document: document.into(), if_version, note: String::new() }
}

fn do_set(said: &mut Said, document: &str) -> u64 {
    let version = said.next();
    said.done(1, SET, &set(document, None), &version, vec![]).unwrap();
    version
}

fn stage(percentage: u8) -> Stage {
    let (document, note) = ("{}".into(), String::new());
    Stage { document, if_version: None, percentage, members: ["m0".into()].into(), note }
}

fn do_stage(said: &mut Said, percentage: u8) -> u64 {
    let version = said.next();
    said.done(1, STAGE, &stage(percentage), &version, vec![]).unwrap();
    version
}

fn text(said: &Said, version: u64, document: &str, fate: Fate) -> Text {
    let (identity, note) = (String::new(), String::new());
    Text { version, document: document.into(), since_ms: said.now_ms, identity, note, fate }
}

fn of_member(member: &str) -> Get {
    Get { member: Some(member.into()), version: None }
}

fn waits(version: u64, member: Option<&str>) -> AwaitChange {
    AwaitChange { version, member: member.map(str::to_owned), wait_ms: None }
}

fn told(said: &mut Said, get: &Get, text: &Text) -> super::Result {
    said.told(9, GET, get, Ok(to_cbor(text).to_vec()))
}

#[test]
fn what_a_configuration_does_is_believed() {
    let mut said = said();
    let first = do_set(&mut said, "one");
    let everybody = said.parked(8, AWAIT, &waits(first, None));
    let named = said.parked(9, AWAIT, &waits(first, Some("m0")));
    let second = said.next();
    let answers = vec![answer(&named, &Change { version: second })];
    said.done(1, STAGE, &stage(0), &second, answers).unwrap();
    let shown = text(&said, second, "{}", Fate::Staged);
    told(&mut said, &of_member("m0"), &shown).unwrap();
    let shown = text(&said, first, "one", Fate::Set);
    told(&mut said, &of_member("m1"), &shown).unwrap();
    let answers = vec![answer(&everybody, &Change { version: second })];
    said.done(1, PROMOTE, &Candidate { version: second }, &(), answers).unwrap();
    let third = said.next();
    let back = Rollback { to: first, if_version: Some(second), note: String::new() };
    said.done(1, ("a", "rollback"), &back, &third, vec![]).unwrap();
    let right = [
        text(&said, second, "{}", Fate::Promoted),
        text(&said, third, "one", Fate::RolledBackTo(first)),
    ];
    let right: Vec<Version> = right.iter().map(Text::facts).collect();
    let all = History { after: None, count: 10 };
    said.told(9, ("a", "history"), &all, Ok(to_cbor(&right).to_vec())).unwrap();
    said.done(1, REMOVE, &Remove { if_version: None }, &(), vec![]).unwrap();
    said.promises.finish(&[]).unwrap();
}

#[test]
fn updates_that_are_lost_or_do_not_fit_are_found() {
    let mut lost = said();
    let first = do_set(&mut lost, "one");
    do_set(&mut lost, "two");
    let version = lost.next();
    lost.done(1, SET, &set("3", Some(first)), &version, vec![]).unwrap_err();

    let mut busy = said();
    do_set(&mut busy, "one");
    do_stage(&mut busy, 10);
    let version = busy.next();
    busy.done(1, SET, &set("two", None), &version, vec![]).unwrap_err();
    let other = Candidate { version: busy.zxid + 9 };
    busy.done(1, PROMOTE, &other, &(), vec![]).unwrap_err();
    busy.done(1, REMOVE, &Remove { if_version: None }, &(), vec![]).unwrap_err();

    let mut large = said();
    let version = large.next();
    large.done(1, SET, &set("thirteen ....", None), &version, vec![]).unwrap_err();

    let mut unfit = said();
    let field = Field { path: "/port".into(), kind: "integer".into(), required: true };
    let definition = Some(Definition { fields: vec![field] });
    let define = Define { definition };
    unfit.done(1, DEFINE, &define, &(), vec![]).unwrap();
    do_set(&mut unfit, "{\"port\": 1}");
    let version = unfit.next();
    unfit.done(1, SET, &set("{\"port\": \"\"}", None), &version, vec![]).unwrap_err();

    let mut late = said();
    do_set(&mut late, "no JSON");
    late.done(1, DEFINE, &define, &(), vec![]).unwrap_err();

    let mut staged = said();
    do_set(&mut staged, "{\"port\": 1}");
    do_stage(&mut staged, 10);
    staged.done(1, DEFINE, &define, &(), vec![]).unwrap_err();
    staged.done(1, DEFINE, &Define { definition: None }, &(), vec![]).unwrap();
}

#[test]
fn members_that_run_something_else_are_found() {
    let mut said = said();
    let current = do_set(&mut said, "one");
    let first = text(&said, current, "one", Fate::Set);
    let version = do_stage(&mut said, 40);
    let staged = text(&said, version, "{}", Fate::Staged);
    told(&mut said, &of_member("m0"), &first).unwrap_err();
    told(&mut said, &of_member("m1"), &staged).unwrap();
    told(&mut said, &of_member("m1"), &first).unwrap_err();
    let get = Get { member: None, version: None };
    told(&mut said, &get, &staged).unwrap_err();
    // Whom 40 in a hundred reach, 60 reach too.
    let widen = Widen { version, percentage: 60, members: [].into() };
    said.done(1, WIDEN, &widen, &(), vec![]).unwrap();
    told(&mut said, &of_member("m1"), &first).unwrap_err();
    said.done(1, ABORT, &Candidate { version }, &(), vec![]).unwrap();
    told(&mut said, &of_member("m1"), &staged).unwrap_err();
    told(&mut said, &of_member("m1"), &first).unwrap();
}

#[test]
fn texts_and_histories_that_differ_are_found() {
    let mut said = said();
    let version = do_set(&mut said, "one");
    let mut shown = text(&said, version, "two", Fate::Set);
    let get = Get { member: None, version: Some(version) };
    told(&mut said, &get, &shown).unwrap_err();
    shown.document = "one".into();
    told(&mut said, &get, &shown).unwrap();
    let all = History { after: None, count: 10 };
    let nothing: [Version; 0] = [];
    let history = ("a", "history");
    said.told(9, history, &all, Ok(to_cbor(&nothing).to_vec())).unwrap_err();
    said.told(9, GET, &get, Err("no-such-version")).unwrap_err();
    said.told(9, GET, &get, Err("no-document")).unwrap_err();
    let status = Status { current: version, roll_out: None, versions: 2 };
    said.told(9, ("a", "status"), &(), Ok(to_cbor(&status).to_vec())).unwrap_err();
    said.promises.finish(&[]).unwrap_err();
}

#[test]
fn changes_that_are_missed_or_told_for_nothing_are_found() {
    let mut missed = said();
    missed.parked(9, AWAIT, &waits(0, None));
    let version = missed.next();
    missed.done(1, SET, &set("one", None), &version, vec![]).unwrap_err();

    let mut idle = said();
    let first = do_set(&mut idle, "one");
    let waiting = idle.parked(9, AWAIT, &waits(first, None));
    let version = idle.next();
    let answers = vec![answer(&waiting, &Change { version })];
    idle.done(1, STAGE, &stage(100), &version, answers).unwrap_err();

    let mut known = said();
    let first = do_set(&mut known, "one");
    let told = Change { version: first };
    known.done(9, AWAIT, &waits(first, None), &told, vec![]).unwrap_err();
}

#[test]
fn refusals_that_were_never_right_are_found() {
    let mut said = said();
    let current = do_set(&mut said, "one");
    let mut status = Status { current, roll_out: None, versions: 1 };
    let detail = to_cbor(&status);
    let refused = |said: &mut Said, if_version, word, detail: &Bytes| {
        said.told_with(1, SET, &set("two", if_version), Err(word), detail.clone())
    };
    refused(&mut said, Some(current), "version-conflict", &detail).unwrap_err();
    refused(&mut said, Some(0), "version-conflict", &detail).unwrap();
    refused(&mut said, None, "rolling-out", &detail).unwrap_err();
    refused(&mut said, None, "bad-document", &detail).unwrap_err();
    refused(&mut said, None, "too-large", &detail).unwrap_err();
    let version = do_stage(&mut said, 50);
    refused(&mut said, None, "rolling-out", &detail).unwrap_err();
    let since_ms = said.now_ms;
    let members = ["m0".into()].into();
    status.roll_out = Some(RollOut { version, percentage: 50, members, since_ms });
    status.versions = 2;
    let detail = to_cbor(&status);
    refused(&mut said, None, "rolling-out", &detail).unwrap();
    let abort = Candidate { version };
    said.told_with(1, ABORT, &abort, Err("not-rolling-out"), detail).unwrap_err();
    said.told(1, AWAIT, &waits(current, None), Err("too-many-watchers")).unwrap_err();
    let unchanged = AwaitChange { version: 0, member: None, wait_ms: Some(0) };
    said.told(1, AWAIT, &unchanged, Err("unchanged")).unwrap_err();
    said.told(1, REMOVE, &Remove { if_version: None }, Err("no-document")).unwrap_err();
}
