//! Watches of every kind: what fires, what is told of it and when, what is left.

use crate::explained;
use crate::step::*;
use quorate_wire::zookeeper::Request;

const CHILDREN_KIND: i32 = 1;
const DATA_KIND: i32 = 2;
const ANY_KIND: i32 = 3;
const PERSISTENT_KIND: i32 = 4;
const RECURSIVE_KIND: i32 = 5;
const ONE_ZNODE: i32 = 0;
const RECURSIVE: i32 = 1;

pub(super) fn steps() -> Vec<Step> {
    [
        one_shot(),
        own_changes(),
        several_at_once(),
        persistent(),
        recursive(),
        mixed(),
        removed(),
        removed_by_any(),
        restored(),
        restored_persistent(),
        unreadable(),
        ephemerals(),
    ]
    .concat()
}

fn one_shot() -> Vec<Step> {
    vec![
        act("eve", Act::Connect(30_000)),
        on("eve", exists("/w", true)),
        on("eve", get("/w", true)),
        on("eve", children("/w", true)),
        ann(create("/w", "0", PERSISTENT)),
        ann(set("/w", "1", ANY)),
        on("eve", get("/w", true)),
        on("eve", get("/w", true)),
        on("eve", exists("/w", true)),
        ann(set_acl("/w", OPEN, ANY)),
        ann(create("/w/a", "", PERSISTENT)),
        ann(set("/w", "2", 99)),
        ann(set("/w", "2", ANY)),
        ann(set("/w", "3", ANY)),
        on("eve", children("/w", true)),
        on("eve", children2("/w", true)),
        ann(set("/w/a", "x", ANY)),
        ann(create("/w/a/deep", "", PERSISTENT)),
        ann(create("/w/b", "", PERSISTENT)),
        ann(create("/w/c", "", PERSISTENT)),
        on("eve", children("/w", true)),
        ann(delete("/w/c", ANY)),
        on("eve", exists("/w/b", true)),
        ann(delete("/w/b", ANY)),
        on("eve", exists("/w/new", true)),
        ann(create("/w/new", "", EPHEMERAL)),
        on("eve", get("/w/new", true)),
        on("eve", children("/w/new", true)),
        ann(delete("/w/new", ANY)),
        on("eve", exists("/w/new", true)),
        ann(create("/w/new/", "", SEQUENTIAL)),
        ann(create("/w/new", "", SEQUENTIAL)),
        ann(create("/w/new", "", PERSISTENT)),
        on("eve", exists("bad", true)),
        on("eve", get("/nobody", true)),
        on("eve", check_watches("/nobody", DATA_KIND)),
        on("eve", multi_read([r_get("/w")])),
        on("eve", check_watches("/w", ANY_KIND)),
    ]
}

/// Told before the reply to the change that fired it.
fn own_changes() -> Vec<Step> {
    vec![
        on("eve", get("/w", true)),
        on("eve", set("/w", "own", ANY)),
        on("eve", exists("/w/own", true)),
        on("eve", children("/w", true)),
        on("eve", create("/w/own", "", PERSISTENT)),
        on("eve", get("/w/own", true)),
        on("eve", children("/w/own", true)),
        on("eve", children("/w", true)),
        on("eve", delete("/w/own", ANY)),
        on("eve", get("/w", true)),
        on("eve", exists("/w/m", true)),
        on("eve", children("/w", true)),
        on("eve", multi([m_create("/w/m", PERSISTENT), m_set("/w", ANY), m_delete("/w/m", ANY)])),
        on("eve", get("/w", true)),
        on("eve", multi([m_set("/w", ANY), m_set("/w", ANY), m_check("/w", 0)])),
        on("eve", check_watches("/w", DATA_KIND)),
        on("eve", set("/w", "fires", ANY)),
    ]
}

fn several_at_once() -> Vec<Step> {
    vec![
        on("eve", get("/w", true)),
        bob(get("/w", true)),
        ann(get("/w", true)),
        ann(set("/w", "all", ANY)),
        on("eve", children("/w", true)),
        bob(exists("/w/x", true)),
        ann(create("/w/x", "", PERSISTENT)),
        bob(get("/w/x", true)),
        on("eve", children("/w/x", true)),
        on("eve", children("/w", true)),
        on("eve", exists("/w/x", true)),
        ann(delete("/w/x", ANY)),
        on("eve", exists("/w/p", true)),
        on("eve", exists("/w/p/q", true)),
        on("eve", children("/w", true)),
        ann(multi([m_create("/w/p", PERSISTENT), m_create("/w/p/q", PERSISTENT)])),
        ann(multi([m_delete("/w/p/q", ANY), m_delete("/w/p", ANY)])),
    ]
}

fn persistent() -> Vec<Step> {
    vec![
        on("eve", add_watch("/pw", ONE_ZNODE)),
        on("eve", add_watch("/pw", ONE_ZNODE)),
        on("eve", add_watch("bad", ONE_ZNODE)),
        on("eve", add_watch("", ONE_ZNODE)),
        on("eve", add_watch("/pw", 2)),
        on("eve", add_watch("/pw", -1)),
        on("eve", add_watch("bad", 7)),
        ann(create("/pw", "", PERSISTENT)),
        ann(set("/pw", "1", ANY)),
        ann(set("/pw", "2", ANY)),
        ann(create("/pw/a", "", PERSISTENT)),
        ann(create("/pw/a/b", "", PERSISTENT)),
        ann(set("/pw/a", "x", ANY)),
        ann(set_acl("/pw", OPEN, ANY)),
        ann(delete("/pw/a/b", ANY)),
        ann(delete("/pw/a", ANY)),
        ann(set("/pw", "3", ANY)),
        ann(create("/pw/c", "", PERSISTENT)),
        ann(delete("/pw/c", ANY)),
        ann(delete("/pw", ANY)),
        ann(create("/pw", "", PERSISTENT)),
        on("eve", set("/pw", "own", ANY)),
        ann(multi([m_set("/pw", ANY), m_create("/pw/m", PERSISTENT), m_set("/pw", ANY)])),
        on("eve", check_watches("/pw", PERSISTENT_KIND)).explained(explained::WATCH_KINDS),
        on("eve", check_watches("/pw", RECURSIVE_KIND)).explained(explained::WATCH_KINDS),
        on("eve", remove_watches("/pw", ANY_KIND)),
        on("eve", remove_watches("/pw", ANY_KIND)),
        ann(set("/pw", "4", ANY)),
    ]
}

fn recursive() -> Vec<Step> {
    vec![
        on("eve", add_watch("/rw", RECURSIVE)),
        ann(create("/rw", "", PERSISTENT)),
        ann(create("/rw/a", "", PERSISTENT)),
        ann(create("/rw/a/b", "", PERSISTENT)),
        ann(create("/rwx", "", PERSISTENT)),
        ann(set("/rw/a/b", "x", ANY)),
        ann(set("/rw", "x", ANY)),
        ann(set_acl("/rw/a", OPEN, ANY)),
        ann(delete("/rw/a/b", ANY)),
        on("eve", get("/rw/a", true)),
        on("eve", children("/rw", true)),
        ann(set("/rw/a", "both", ANY)),
        ann(create("/rw/c", "", EPHEMERAL)),
        on("eve", add_watch("/rw/a", RECURSIVE)),
        ann(set("/rw/a", "twice", ANY)),
        ann(create("/rw/a/d", "", PERSISTENT)),
        on("eve", set("/rw/a/d", "own", ANY)),
        ann(multi([m_create("/rw/m", PERSISTENT), m_create("/rw/m/n", PERSISTENT)])),
        ann(multi([m_delete("/rw/m/n", ANY), m_delete("/rw/m", ANY)])),
        ann(delete("/rw/a/d", ANY)),
        ann(delete("/rw/a", ANY)),
        ann(delete("/rw/c", ANY)),
        ann(delete("/rw", ANY)),
        ann(create("/rw", "", PERSISTENT)),
        on("eve", remove_watches("/rw/a", ANY_KIND)),
        on("eve", remove_watches("/rw", ANY_KIND)),
        on("eve", remove_watches("/rw", ANY_KIND)),
        ann(set("/rw", "y", ANY)),
        on("eve", add_watch("/", RECURSIVE)),
        ann(create("/rw/root", "", PERSISTENT)),
        ann(delete("/rw/root", ANY)),
        on("eve", remove_watches("/", ANY_KIND)),
    ]
}

/// Both kinds on one path: the second takes the place of the first, or not.
fn mixed() -> Vec<Step> {
    vec![
        ann(create("/mix", "", PERSISTENT)),
        on("eve", add_watch("/mix", ONE_ZNODE)),
        on("eve", add_watch("/mix", RECURSIVE)),
        on("eve", check_watches("/mix", PERSISTENT_KIND)).explained(explained::WATCH_KINDS),
        on("eve", check_watches("/mix", RECURSIVE_KIND)).explained(explained::WATCH_KINDS),
        ann(create("/mix/a", "", PERSISTENT)).explained(explained::WATCH_MODES),
        ann(set("/mix", "x", ANY)),
        on("eve", add_watch("/mix", ONE_ZNODE)),
        on("eve", check_watches("/mix", PERSISTENT_KIND)).explained(explained::WATCH_KINDS),
        on("eve", check_watches("/mix", RECURSIVE_KIND)).explained(explained::WATCH_KINDS),
        ann(create("/mix/b", "", PERSISTENT)).explained(explained::WATCH_MODES),
        ann(set("/mix/b", "x", ANY)).explained(explained::WATCH_MODES),
        on("eve", get("/mix", true)),
        ann(set("/mix", "y", ANY)),
        ann(set("/mix", "z", ANY)).explained(explained::WATCH_MODES),
        on("eve", remove_watches("/mix", ANY_KIND)),
        on("eve", check_watches("/mix", ANY_KIND)),
        on("eve", get("/mix", true)),
        on("eve", add_watch("/mix", RECURSIVE)),
        ann(set("/mix", "1", ANY)),
        ann(set("/mix", "2", ANY)),
        on("eve", remove_watches("/mix", ANY_KIND)),
        on("eve", children("/mix", true)),
        on("eve", add_watch("/mix", ONE_ZNODE)),
        ann(create("/mix/c", "", PERSISTENT)),
        ann(create("/mix/d", "", PERSISTENT)),
        on("eve", remove_watches("/mix", ANY_KIND)),
    ]
}

fn removed() -> Vec<Step> {
    let mut steps = vec![ann(create("/un", "", PERSISTENT))];
    for kind in [CHILDREN_KIND, DATA_KIND, ANY_KIND, PERSISTENT_KIND, RECURSIVE_KIND, 0, 6, -1] {
        let tried = [on("eve", check_watches("/un", kind)), on("eve", remove_watches("/un", kind))];
        let is_new = matches!(kind, PERSISTENT_KIND | RECURSIVE_KIND);
        let reason = is_new.then_some(explained::WATCH_KINDS);
        steps.extend(tried.map(|step| Step { explained: reason, ..step }));
    }
    steps.extend([
        on("eve", check_watches("bad", ANY_KIND)).explained(explained::WATCH_ON_NO_PATH),
        on("eve", remove_watches("bad", DATA_KIND)).explained(explained::WATCH_ON_NO_PATH),
        on("eve", get("/un", true)),
        bob(check_watches("/un", DATA_KIND)).explained(explained::OTHERS_WATCHES),
        on("eve", check_watches("/un", CHILDREN_KIND)),
        on("eve", check_watches("/un", DATA_KIND)),
        on("eve", check_watches("/un", ANY_KIND)),
        on("eve", check_watches("/un", PERSISTENT_KIND)).explained(explained::WATCH_KINDS),
        on("eve", check_watches("/un", RECURSIVE_KIND)).explained(explained::WATCH_KINDS),
        on("eve", remove_watches("/un", CHILDREN_KIND)),
        on("eve", remove_watches("/un", DATA_KIND)),
        on("eve", check_watches("/un", DATA_KIND)),
        ann(set("/un", "x", ANY)),
        on("eve", children("/un", true)),
        on("eve", check_watches("/un", DATA_KIND)),
        on("eve", check_watches("/un", CHILDREN_KIND)),
        on("eve", remove_watches("/un", CHILDREN_KIND)),
        ann(create("/un/a", "", PERSISTENT)),
        on("eve", exists("/un/none", true)),
        on("eve", check_watches("/un/none", DATA_KIND)),
        on("eve", remove_watches("/un/none", DATA_KIND)),
        ann(create("/un/none", "", PERSISTENT)),
    ]);
    steps
}

fn removed_by_any() -> Vec<Step> {
    let mut steps = vec![
        on("eve", get("/un", true)),
        on("eve", children("/un", true)),
        on("eve", remove_watches("/un", ANY_KIND)),
        on("eve", check_watches("/un", ANY_KIND)),
        ann(set("/un", "y", ANY)),
    ];
    for mode in [ONE_ZNODE, RECURSIVE] {
        steps.push(on("eve", add_watch("/un", mode)));
        for kind in [CHILDREN_KIND, DATA_KIND, PERSISTENT_KIND, RECURSIVE_KIND, ANY_KIND] {
            let reason = match kind {
                ANY_KIND => None,
                CHILDREN_KIND | DATA_KIND => Some(explained::OTHERS_WATCHES),
                _ => Some(explained::WATCH_KINDS),
            };
            let step = on("eve", check_watches("/un", kind));
            steps.push(Step { explained: reason, ..step });
        }
        steps.extend([
            ann(set("/un", "y", ANY)),
            on("eve", remove_watches("/un", ANY_KIND)),
            ann(set("/un", "z", ANY)),
        ]);
    }
    steps
}

fn restored() -> Vec<Step> {
    let all: [Paths; 3] = [
        &["/sw", "/sw/gone", "/sw/same"],
        &["/sw/came", "/sw/absent"],
        &["/sw", "/sw/gone", "/sw/same"],
    ];
    vec![
        ann(create("/sw", "", PERSISTENT)),
        ann(create("/sw/gone", "", PERSISTENT)),
        ann(create("/sw/same", "", PERSISTENT)),
        act("ann", Act::Mark),
        ann(set("/sw", "new", ANY)),
        ann(delete("/sw/gone", ANY)),
        ann(create("/sw/came", "", PERSISTENT)),
        act("eve", Act::Restore(set_watches(all), Seen::Mark)),
        ann(set("/sw/same", "x", ANY)),
        ann(create("/sw/same/x", "", PERSISTENT)),
        ann(create("/sw/absent", "", PERSISTENT)),
        ann(create("/sw/gone", "", PERSISTENT)),
        ann(set("/sw", "newer", ANY)),
        act("eve", Act::Restore(set_watches(all), Seen::Newest)),
        ann(set("/sw", "fires", ANY)),
        ann(create("/sw/child", "", PERSISTENT)),
        act("eve", Act::Restore(set_watches(all), Seen::Nothing)),
        act("eve", Act::Restore(set_watches([&[], &[], &[]]), Seen::Mark)),
        act("eve", Act::Restore(set_watches([&["bad", ""], &["/x/"], &["//"]]), Seen::Mark))
            .explained(explained::WATCH_ON_NO_PATH),
        act("eve", Act::Restore(set_watches([&["/sw"], &["/sw"], &["/sw"]]), Seen::Newest)),
        ann(delete("/sw/child", ANY)),
        ann(set("/sw", "last", ANY)),
    ]
}

fn restored_persistent() -> Vec<Step> {
    let all: [Paths; 5] = [&["/sw2"], &["/sw2/no"], &["/sw2"], &["/sw2/p"], &["/sw2"]];
    vec![
        ann(create("/sw2", "", PERSISTENT)),
        ann(create("/sw2/p", "", PERSISTENT)),
        act("ann", Act::Mark),
        ann(set("/sw2/p", "new", ANY)),
        act("eve", Act::Restore(set_watches2(all), Seen::Mark)),
        ann(set("/sw2/p", "newer", ANY)),
        ann(create("/sw2/p/x", "", PERSISTENT)),
        ann(create("/sw2/no", "", PERSISTENT)).explained(explained::WATCH_MODES),
        ann(set("/sw2", "newer", ANY)),
        ann(delete("/sw2/no", ANY)),
        on("eve", check_watches("/sw2", RECURSIVE_KIND)).explained(explained::WATCH_KINDS),
        on("eve", check_watches("/sw2/p", PERSISTENT_KIND)).explained(explained::WATCH_KINDS),
        on("eve", remove_watches("/sw2", ANY_KIND)),
        on("eve", remove_watches("/sw2/p", ANY_KIND)),
        act("eve", Act::Restore(set_watches2([&[], &[], &[], &[], &[]]), Seen::Nothing)),
        act(
            "eve",
            Act::Restore(set_watches2([&["/sw2/no"], &[], &[], &["/sw2/no"], &[]]), Seen::Mark),
        ),
        on("eve", remove_watches("/sw2/no", ANY_KIND)),
    ]
}

/// Who may not read a znode hears nothing of it.
fn unreadable() -> Vec<Step> {
    let mine: &[Entry] = &[(ALL, "auth", "")];
    vec![
        ann(create("/hid", "", PERSISTENT)),
        on("eve", add_watch("/hid", RECURSIVE)),
        on("eve", children("/hid", true)),
        ann(create_with("/hid/a", mine)),
        ann(set("/hid/a", "secret", ANY)),
        ann(create("/hid/a/b", "", PERSISTENT)),
        ann(delete("/hid/a/b", ANY)),
        ann(delete("/hid/a", ANY)),
        on("eve", remove_watches("/hid", ANY_KIND)),
        on("eve", add_watch("/hid", ONE_ZNODE)),
        ann(set_acl("/hid", mine, ANY)),
        ann(set("/hid", "secret", ANY)),
        ann(create("/hid/c", "", PERSISTENT)),
        ann(set_acl("/hid", OPEN, ANY)),
        ann(set("/hid", "open", ANY)),
        on("eve", remove_watches("/hid", ANY_KIND)),
        on("eve", get("/hid", true)),
        on("eve", children("/hid", true)),
        ann(set_acl("/hid", mine, ANY)),
        ann(set("/hid", "secret", ANY)),
        ann(delete("/hid/c", ANY)),
        on("eve", check_watches("/hid", DATA_KIND)).explained(explained::KEPT_WATCH),
        on("eve", check_watches("/hid", CHILDREN_KIND)).explained(explained::KEPT_WATCH),
        ann(set_acl("/hid", OPEN, ANY)),
        ann(set("/hid", "open", ANY)).explained(explained::KEPT_WATCH),
        ann(delete("/hid", ANY)).explained(explained::KEPT_WATCH),
    ]
}

/// What goes with a session fires too.
fn ephemerals() -> Vec<Step> {
    vec![
        act("gone", Act::Connect(30_000)),
        ann(create("/we", "", PERSISTENT)),
        on("gone", create("/we/a", "", EPHEMERAL)),
        on("gone", create("/we/b", "", EPHEMERAL)),
        on("eve", get("/we/a", true)),
        bob(children("/we", true)),
        ann(add_watch("/we", ONE_ZNODE)),
        on("gone", get("/we/a", true)),
        on("gone", Request::CloseSession),
        ann(children2("/we", false)),
        ann(remove_watches("/we", ANY_KIND)),
    ]
}
