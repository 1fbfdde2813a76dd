//! Linearizability from outside (Wing and Gong 1993, with the state cache of Lowe 2017): is there an
//! order of what clients asked for, agreeing with what they were told and when, at each znode?
//!
//! Comes in: requests and answers, and when they were sent and seen. Never looks at a zxid, the log or a
//! server, so that one that lies is caught. Linearizability is local: each znode below `/d` is judged by
//! itself, and of a multi only what it does there. What has no answer may have been done at any time
//! until its session was attached elsewhere, or never. The search goes window by window, cut where
//! nothing is under way; one that is too large is skipped, and the next begins in any state.

use crate::history::{History, OperationId};
use crate::observation::{Checker, Observation, Rest};
use quorate_types::request::{MultiOperation, MultiReply, ReadLevel};
use quorate_types::{
    ErrorCode, Operation, Outcome, Refusal, Reply, SessionId, ZnodeData, ZnodePath,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Calls in one window.
const WINDOW_CALLS_MAX: usize = 60;
/// Steps of the search in one window.
const WINDOW_STEPS_MAX: usize = 40_000;
/// Ways out of one window.
const STANDINGS_MAX: usize = 64;

#[derive(Default)]
pub struct BlackBox {
    /// The first final answers, and when they were seen.
    answers: BTreeMap<OperationId, (u64, Outcome)>,
    /// Sent in a session and not answered.
    open: BTreeMap<SessionId, BTreeSet<OperationId>>,
    /// When the session of an unanswered operation was attached elsewhere, without it.
    left: BTreeMap<OperationId, u64>,
    judged: u64,
    skipped: u64,
}

/// A znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    /// Nothing is known.
    Any,
    Absent,
    /// `data` names what it holds, if that is known.
    There {
        version: i32,
        data: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Create(u32),
    Set(u32, Option<i32>),
    Delete(Option<i32>),
    Check(Option<i32>),
    Read,
}

/// What the caller was told of an action.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// Done; the version afterwards if it was told.
    Done(Option<i32>),
    Refused(ErrorCode),
    Shown {
        version: i32,
        data: Option<u32>,
    },
    NotThere,
}

/// What one operation does at one znode.
#[derive(Clone, Debug)]
struct Call {
    id: usize,
    sent: u64,
    /// `u64::MAX`: it may still be done.
    ended: u64,
    /// It may not have been done at all.
    optional: bool,
    /// It was refused as a whole: what it did is taken back.
    undone: bool,
    actions: Vec<(Action, Told)>,
}

fn fits(version: i32, expected: Option<i32>) -> bool {
    expected.is_none_or(|expected| expected == -1 || expected == version)
}

/// The state after an action that was told this; `None`: it cannot have been told this here.
fn after(state: State, action: Action, told: Told) -> Option<State> {
    match told {
        Told::Done(version) => after_done(state, action, version),
        Told::Shown { version, data } => match state {
            State::Any => Some(State::There { version, data }),
            State::Absent => None,
            State::There { version: own, data: known } => {
                let same = known.is_none() || data.is_none() || known == data;
                let data = known.or(data);
                (own == version && same).then_some(State::There { version, data })
            }
        },
        Told::NotThere | Told::Refused(ErrorCode::NoNode) => match state {
            State::Any | State::Absent => Some(State::Absent),
            State::There { .. } => None,
        },
        Told::Refused(code) => allows(state, action, code).then_some(state),
    }
}

fn after_done(state: State, action: Action, told: Option<i32>) -> Option<State> {
    match (action, state) {
        (Action::Create(_), State::There { .. }) | (Action::Read, _) => None,
        (Action::Create(data), State::Any | State::Absent) => {
            let done = State::There { version: 0, data: Some(data) };
            told.is_none_or(|told| told == 0).then_some(done)
        }
        (_, State::Absent) => None,
        (Action::Set(data, _), State::Any) => {
            Some(told.map_or(State::Any, |version| State::There { version, data: Some(data) }))
        }
        (Action::Set(data, expected), State::There { version, .. }) => {
            let next = version + 1;
            let possible = fits(version, expected) && told.is_none_or(|told| told == next);
            possible.then_some(State::There { version: next, data: Some(data) })
        }
        (Action::Delete(_), State::Any) => Some(State::Absent),
        (Action::Delete(expected), State::There { version, .. }) => {
            fits(version, expected).then_some(State::Absent)
        }
        (Action::Check(_), State::Any) => Some(State::Any),
        (Action::Check(expected), State::There { version, .. }) => {
            fits(version, expected).then_some(state)
        }
    }
}

/// Whether a znode that is there is a reason for this refusal.
fn allows(state: State, action: Action, code: ErrorCode) -> bool {
    let State::There { version, .. } = state else { return state == State::Any };
    match (code, action) {
        (ErrorCode::NodeExists, Action::Create(_)) => true,
        (ErrorCode::NotEmpty, Action::Delete(expected)) => fits(version, expected),
        (
            ErrorCode::BadVersion,
            Action::Set(_, expected) | Action::Delete(expected) | Action::Check(expected),
        ) => !fits(version, expected),
        _ => false,
    }
}

impl Call {
    fn apply(&self, state: State) -> Option<State> {
        let mut now = state;
        for (action, told) in &self.actions {
            now = after(now, *action, *told)?;
        }
        Some(if self.undone { state } else { now })
    }
}

/// Where a search stands between two windows: the state, and the optional calls that were done.
type Standing = (State, BTreeSet<usize>);

/// The search of one window.
struct Window<'a> {
    calls: &'a [&'a Call],
    optional: &'a [&'a Call],
    cache: HashSet<(u64, Vec<usize>, State)>,
    steps: usize,
    ends: BTreeSet<Standing>,
}

impl Window<'_> {
    /// Every way through the window from here. `false`: too many steps.
    fn search(&mut self, standings: &BTreeSet<Standing>) -> bool {
        let mut open: Vec<(u64, BTreeSet<usize>, State)> =
            standings.iter().map(|(state, used)| (0, used.clone(), *state)).collect();
        while let Some((done, used, state)) = open.pop() {
            self.steps += 1;
            if self.steps > WINDOW_STEPS_MAX {
                return false;
            }
            let key = (done, used.iter().copied().collect(), state);
            if !self.cache.insert(key) {
                continue;
            }
            if done.count_ones() as usize == self.calls.len() {
                self.ends.insert((state, used.clone()));
            }
            self.branch(done, &used, state, &mut open);
        }
        true
    }

    /// Whatever may be next.
    fn branch(
        &self,
        done: u64,
        used: &BTreeSet<usize>,
        state: State,
        open: &mut Vec<(u64, BTreeSet<usize>, State)>,
    ) {
        let is_done = |place: usize| done & (1 << place) != 0;
        let pending = || (0..self.calls.len()).filter(|place| !is_done(*place));
        let first_end = pending().map(|place| self.calls[place].ended).min().unwrap_or(u64::MAX);
        let last_start = (0..self.calls.len())
            .filter(|place| is_done(*place))
            .map(|place| self.calls[place].sent)
            .max()
            .unwrap_or(0);
        let unused = || self.optional.iter().filter(|call| !used.contains(&call.id));
        let mut next = Vec::new();
        for place in pending().filter(|place| self.calls[*place].sent < first_end) {
            let Some(after) = self.calls[place].apply(state) else { continue };
            let step = (done | (1 << place), used.clone(), after);
            // What changes nothing can as well come at once, unless it ends the time of another.
            let sent = self.calls[place].sent;
            if after == state && unused().all(|call| call.ended > sent) {
                open.push(step);
                return;
            }
            next.push(step);
        }
        for call in unused().filter(|call| call.sent < first_end && call.ended > last_start) {
            if let Some(after) = call.apply(state).filter(|after| *after != state) {
                let mut used = used.clone();
                used.insert(call.id);
                next.push((done, used, after));
            }
        }
        open.extend(next);
    }
}

/// The ends from which nothing is possible that is not possible from another are dropped.
fn keep_least(ends: BTreeSet<Standing>) -> BTreeSet<Standing> {
    let mut kept: BTreeSet<Standing> = BTreeSet::new();
    let mut by_size: Vec<Standing> = ends.into_iter().collect();
    by_size.sort_by_key(|(_, used)| used.len());
    for (state, used) in by_size {
        if !kept.iter().any(|(known, less)| *known == state && less.is_subset(&used)) {
            kept.insert((state, used));
        }
    }
    kept
}

/// Where the window that begins with this call ends: where nothing is under way.
fn window_end(required: &[&Call], first: usize) -> usize {
    let mut last_end = required[first].ended;
    let mut next = first + 1;
    while next < required.len() && required[next].sent < last_end {
        last_end = last_end.max(required[next].ended);
        next += 1;
    }
    next
}

/// How many calls were judged and skipped, or the calls for which there is no order.
fn judge(mut calls: Vec<Call>) -> Result<(u64, u64), (BTreeSet<Standing>, Vec<Call>)> {
    calls.sort_by_key(|call| call.sent);
    let required: Vec<&Call> = calls.iter().filter(|call| !call.optional).collect();
    let optional: Vec<&Call> = calls.iter().filter(|call| call.optional).collect();
    let mut standings = BTreeSet::from([(State::Absent, BTreeSet::new())]);
    let (mut judged, mut skipped) = (0, 0);
    // An empty window comes first: what has no answer may have been done before all that has.
    let (mut first, mut next) = (0, 0);
    loop {
        let window = &required[first..next];
        let from = window.first().map_or(0, |call| call.sent);
        // Between two windows something without an answer may have been done.
        let until = required.get(next).map_or(u64::MAX, |call| call.sent);
        let alive: Vec<&Call> = optional
            .iter()
            .copied()
            .filter(|call| call.sent < until && call.ended > from)
            .collect();
        // What was done before this window is over for those whose time is up.
        let used_now = |used: &BTreeSet<usize>| -> BTreeSet<usize> {
            used.iter().copied().filter(|id| alive.iter().any(|call| call.id == *id)).collect()
        };
        let begin = standings.iter().map(|(state, used)| (*state, used_now(used))).collect();
        let mut search = Window {
            calls: window,
            optional: &alive,
            cache: HashSet::new(),
            steps: 0,
            ends: BTreeSet::new(),
        };
        let whole = window.len() <= WINDOW_CALLS_MAX && search.search(&begin);
        standings = keep_least(search.ends);
        if !whole || standings.len() > STANDINGS_MAX {
            skipped += window.len() as u64;
            standings = BTreeSet::from([(State::Any, BTreeSet::new())]);
        } else if standings.is_empty() {
            let told = window.iter().chain(&alive).map(|call| (*call).clone()).collect();
            return Err((begin, told));
        } else {
            judged += window.len() as u64;
        }
        if next == required.len() {
            return Ok((judged, skipped));
        }
        (first, next) = (next, window_end(&required, next));
    }
}

/// Turns operations into calls at each znode.
#[derive(Default)]
struct Sorting {
    data: HashMap<ZnodeData, u32>,
    calls: BTreeMap<ZnodePath, Vec<Call>>,
}

fn is_sampled(path: &ZnodePath) -> bool {
    path.as_str().starts_with("/d/")
}

impl Sorting {
    fn name(&mut self, data: &ZnodeData) -> u32 {
        let next = u32::try_from(self.data.len()).expect("a run has few values");
        *self.data.entry(data.clone()).or_insert(next)
    }

    fn part(&mut self, part: &MultiOperation) -> Option<(ZnodePath, Action)> {
        let (path, action) = match part {
            MultiOperation::Create { path, data, mode, .. } if !mode.is_sequential() => {
                (path, Action::Create(self.name(data)))
            }
            MultiOperation::Create { .. } => return None,
            MultiOperation::Delete { path, expected_version } => {
                (path, Action::Delete(*expected_version))
            }
            MultiOperation::SetData { path, data, expected_version } => {
                (path, Action::Set(self.name(data), *expected_version))
            }
            MultiOperation::Check { path, expected_version } => {
                (path, Action::Check(*expected_version))
            }
        };
        is_sampled(path).then(|| (path.clone(), action))
    }

    /// A single write or read at one znode.
    fn single(&mut self, operation: &Operation) -> Option<(ZnodePath, Action)> {
        let (path, action) = match operation {
            Operation::Create { path, data, mode, .. } if !mode.is_sequential() => {
                (path, Action::Create(self.name(data)))
            }
            Operation::Delete { path, expected_version } => {
                (path, Action::Delete(*expected_version))
            }
            Operation::SetData { path, data, expected_version } => {
                (path, Action::Set(self.name(data), *expected_version))
            }
            Operation::Get { path, .. }
            | Operation::Exists { path, .. }
            | Operation::GetAcl { path } => (path, Action::Read),
            _ => return None,
        };
        is_sampled(path).then(|| (path.clone(), action))
    }

    fn told(&mut self, outcome: &Outcome) -> Option<Told> {
        match outcome {
            Ok(Reply::Done) => Some(Told::Done(None)),
            Ok(Reply::Created(_, stat) | Reply::Stat(stat)) => Some(Told::Done(Some(stat.version))),
            Ok(Reply::Data(data, stat)) => {
                Some(Told::Shown { version: stat.version, data: Some(self.name(data)) })
            }
            Ok(Reply::Exists(Some(stat)) | Reply::Acl(_, stat)) => {
                Some(Told::Shown { version: stat.version, data: None })
            }
            Ok(Reply::Exists(None)) => Some(Told::NotThere),
            Ok(_) => None,
            Err(refusal) => refused(refusal),
        }
    }

    /// Adds an operation; `times`: when it was sent and ended.
    fn add(
        &mut self,
        id: usize,
        (sent, ended): (u64, u64),
        operation: &Operation,
        outcome: Option<&Outcome>,
    ) {
        let call = |actions, undone| Call {
            id,
            sent,
            ended,
            optional: outcome.is_none(),
            undone,
            actions,
        };
        if let Operation::Multi { operations } = operation {
            let mut undone = false;
            for (path, actions) in self.parts(operations, outcome, &mut undone) {
                self.calls.entry(path).or_default().push(call(actions, undone));
            }
            return;
        }
        let Some((path, action)) = self.single(operation) else { return };
        let told = match outcome {
            Some(outcome) => self.told(outcome),
            None => (!matches!(action, Action::Read)).then_some(Told::Done(None)),
        };
        if let Some(told) = told {
            self.calls.entry(path).or_default().push(call(vec![(action, told)], false));
        }
    }

    /// What a multi does at each znode. Refused, it was tried up to the part that failed.
    fn parts(
        &mut self,
        operations: &[MultiOperation],
        outcome: Option<&Outcome>,
        undone: &mut bool,
    ) -> BTreeMap<ZnodePath, Vec<(Action, Told)>> {
        let mut found: BTreeMap<ZnodePath, Vec<(Action, Told)>> = BTreeMap::new();
        let failed = match outcome {
            Some(Err(refusal)) => match (refusal.failed_operation, refused(refusal)) {
                (Some(place), Some(told)) => Some((place as usize, told)),
                _ => return found,
            },
            _ => None,
        };
        *undone = failed.is_some();
        for (place, part) in operations.iter().enumerate() {
            let told = match (failed, outcome) {
                (Some((last, _)), _) if place > last => break,
                (Some((last, told)), _) if place == last => told,
                (None, Some(Ok(Reply::Multi(replies)))) => match replies.get(place) {
                    Some(MultiReply::Created(_, stat) | MultiReply::Set(stat)) => {
                        Told::Done(Some(stat.version))
                    }
                    _ => Told::Done(None),
                },
                _ => Told::Done(None),
            };
            if let Some((path, action)) = self.part(part) {
                found.entry(path).or_default().push((action, told));
            }
        }
        found
    }
}

/// Refusals that say something of the znode.
fn refused(refusal: &Refusal) -> Option<Told> {
    let says = matches!(
        refusal.code,
        ErrorCode::NoNode | ErrorCode::NodeExists | ErrorCode::BadVersion | ErrorCode::NotEmpty
    );
    says.then_some(Told::Refused(refusal.code))
}

impl BlackBox {
    fn on_answer(&mut self, history: &History, request: (SessionId, u64), outcome: &Outcome) {
        let Some(id) = history.by_request.get(&request) else { return };
        let is_final = match outcome {
            Ok(Reply::Parked(_)) => false,
            Ok(_) => true,
            Err(refusal) => {
                let ends = [ErrorCode::SessionMoved, ErrorCode::SessionExpired];
                !refusal.code.is_transient() && !ends.contains(&refusal.code)
            }
        };
        if is_final && touches(&history.operation(*id).operation) {
            self.answers.entry(*id).or_insert_with(|| (history.now.number, outcome.clone()));
            if let Some(open) = self.open.get_mut(&request.0) {
                open.remove(id);
            }
        }
    }

    fn on_sent(&mut self, history: &History, id: OperationId) {
        let known = history.operation(id);
        self.left.remove(&id);
        if let Some((session, _)) = known.request.filter(|_| touches(&known.operation)) {
            self.open.entry(session).or_default().insert(id);
        }
    }

    fn on_connected(&mut self, history: &History, session: SessionId) {
        for id in self.open.get(&session).into_iter().flatten() {
            self.left.entry(*id).or_insert(history.now.number);
        }
    }
}

/// Whether the operation is one that is judged: cheap, and wrong only in taking too many.
fn touches(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Create { .. }
            | Operation::Delete { .. }
            | Operation::SetData { .. }
            | Operation::Multi { .. }
            | Operation::Get { .. }
            | Operation::Exists { .. }
            | Operation::GetAcl { .. }
    )
}

impl Checker for BlackBox {
    fn name(&self) -> &'static str {
        "black_box"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Sent { id, .. } => self.on_sent(history, *id),
            Observation::AnswerSeen { session, sequence, outcome, .. } => {
                self.on_answer(history, (*session, *sequence), outcome);
            }
            Observation::Connected { session, .. } => self.on_connected(history, *session),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, history: &History, _: &Rest<'_>) -> Result<(), String> {
        let mut sorting = Sorting::default();
        for (place, known) in history.operations.iter().enumerate() {
            let Some(sent) = known.first_sent else { continue };
            let is_read = !known.operation.is_write();
            if is_read && known.level != ReadLevel::Linearizable {
                continue;
            }
            let id = OperationId(place);
            let answer = self.answers.get(&id);
            let ended = match answer {
                Some((ended, _)) => *ended,
                None => self.left.get(&id).copied().unwrap_or(u64::MAX),
            };
            let outcome = answer.map(|(_, outcome)| outcome);
            sorting.add(place, (sent.number, ended), &known.operation, outcome);
        }
        for (path, calls) in sorting.calls {
            match judge(calls) {
                Ok((judged, skipped)) => {
                    self.judged += judged;
                    self.skipped += skipped;
                }
                Err((begin, calls)) => {
                    let asked: Vec<_> =
                        calls.iter().map(|call| &history.operations[call.id]).collect();
                    return Err(format!(
                        "{path}: no order explains what clients were told ({} calls elsewhere were \
                         too many to judge). It began as one of {begin:?}, then came {calls:?}: \
                         {asked:?}",
                        self.skipped
                    ));
                }
            }
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: usize, times: (u64, u64), action: Action, told: Told) -> Call {
        let (sent, ended) = times;
        Call { id, sent, ended, optional: false, undone: false, actions: vec![(action, told)] }
    }

    fn unknown(id: usize, times: (u64, u64), action: Action) -> Call {
        Call { optional: true, ..call(id, times, action, Told::Done(None)) }
    }

    fn shown(version: i32, data: u32) -> Told {
        Told::Shown { version, data: Some(data) }
    }

    const MADE: Told = Told::Done(Some(0));
    const SET: Action = Action::Set(1, None);

    fn holds(calls: Vec<Call>) -> bool {
        judge(calls).is_ok()
    }

    #[test]
    fn a_read_sees_what_was_written_before_it() {
        let create = || call(0, (1, 2), Action::Create(0), MADE);
        assert!(holds(vec![create(), call(1, (3, 4), Action::Read, shown(0, 0))]));
        assert!(!holds(vec![create(), call(1, (3, 4), Action::Read, Told::NotThere)]));
        assert!(!holds(vec![create(), call(1, (3, 4), Action::Read, shown(0, 7))]));
    }

    #[test]
    fn concurrent_calls_may_come_in_any_order() {
        let create = || call(0, (1, 10), Action::Create(0), MADE);
        let early = |told| call(1, (2, 5), Action::Read, told);
        let late = |told| call(2, (6, 9), Action::Read, told);
        assert!(holds(vec![create(), early(Told::NotThere), late(shown(0, 0))]));
        assert!(holds(vec![create(), early(shown(0, 0)), late(shown(0, 0))]));
        assert!(!holds(vec![create(), early(shown(0, 0)), late(Told::NotThere)]));
    }

    #[test]
    fn two_sets_of_one_version_are_one_too_many() {
        let create = || call(0, (1, 2), Action::Create(0), MADE);
        let set = |id, told| call(id, (3, 9), Action::Set(id as u32, Some(0)), told);
        let done = Told::Done(Some(1));
        let refused = Told::Refused(ErrorCode::BadVersion);
        assert!(holds(vec![create(), set(1, done), set(2, refused)]));
        assert!(!holds(vec![create(), set(1, done), set(2, done)]));
        assert!(!holds(vec![create(), set(1, refused), set(2, refused)]));
    }

    #[test]
    fn what_has_no_answer_may_be_done_later_or_never_but_not_twice() {
        let create = || call(0, (1, 2), Action::Create(0), MADE);
        let set = || unknown(1, (3, u64::MAX), SET);
        let read =
            |id: usize, told| call(id, (id as u64 * 10, id as u64 * 10 + 1), Action::Read, told);
        assert!(holds(vec![create(), set(), read(2, shown(0, 0)), read(3, shown(0, 0))]));
        assert!(holds(vec![create(), set(), read(2, shown(0, 0)), read(3, shown(1, 1))]));
        assert!(!holds(vec![create(), set(), read(2, shown(1, 1)), read(3, shown(0, 0))]));
        assert!(!holds(vec![create(), set(), read(2, shown(1, 1)), read(3, shown(2, 1))]));
    }

    #[test]
    fn what_has_no_answer_is_over_once_its_session_is_elsewhere() {
        let create = || call(0, (1, 2), Action::Create(0), MADE);
        let set = || unknown(1, (3, 15), SET);
        let read =
            |id: usize, told| call(id, (id as u64 * 10, id as u64 * 10 + 1), Action::Read, told);
        assert!(holds(vec![create(), set(), read(2, shown(1, 1))]));
        assert!(holds(vec![create(), set(), read(1, shown(0, 0)), read(2, shown(1, 1))]));
        assert!(!holds(vec![create(), set(), read(2, shown(0, 0)), read(3, shown(1, 1))]));
    }

    #[test]
    fn what_has_no_answer_and_is_over_may_have_been_done_before_everything_else() {
        let create = |times| unknown(0, times, Action::Create(0));
        let read = |told| call(1, (6, 7), Action::Read, told);
        assert!(holds(vec![create((1, 5)), read(shown(0, 0))]));
        assert!(holds(vec![create((1, 5)), read(Told::NotThere)]));
        assert!(!holds(vec![create((8, 9)), read(shown(0, 0))]));
    }

    #[test]
    fn a_refused_multi_changes_nothing_and_is_right_about_what_it_saw() {
        let create = || call(0, (1, 2), Action::Create(0), MADE);
        let multi = |expected| Call {
            undone: true,
            actions: vec![
                (SET, Told::Done(None)),
                (Action::Check(Some(expected)), Told::Refused(ErrorCode::BadVersion)),
            ],
            ..call(1, (3, 4), Action::Read, Told::NotThere)
        };
        let read = || call(2, (5, 6), Action::Read, shown(0, 0));
        assert!(holds(vec![create(), multi(0), read()]));
        assert!(!holds(vec![create(), multi(1), read()]));
    }

    #[test]
    fn a_window_that_is_too_large_is_skipped_and_the_next_is_judged() {
        let many = WINDOW_CALLS_MAX + 1;
        let read = |id| call(id, (1, 10), Action::Read, shown(5, 5));
        let mut calls: Vec<Call> = (0..many).map(read).collect();
        calls.push(call(many, (11, 12), Action::Read, shown(3, 3)));
        assert_eq!(judge(calls.clone()).unwrap(), (1, many as u64));
        calls.push(call(many + 1, (13, 14), Action::Read, Told::NotThere));
        assert!(!holds(calls));
    }
}
