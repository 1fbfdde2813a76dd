//! One run of a simulation: what is done to the mount, step by step, and what must hold after each.
//!
//! Comes in: steps. Goes out: a violation, if there is one, and a trace for people. Invariant: a step
//! takes the numbers it took when it was drawn, also when steps before it are left out, so that what
//! one call told another (fences, sessions) stays right while a trace is made shorter.

use super::draw::{Draw, NextCall};
use super::history::{History, Seen};
use super::mounted::Mounted;
use super::served::{Kept, Served};
use super::simulation::Plan;
use crate::failure::Result;
use quorate_recipe_scenario::json_cbor;
use serde_json::{Value, json};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// The number of the transaction that the mount of every run is.
const FIRST_ZXID: u64 = 1;
/// Times that timers may fire after every session has ended.
const LAST_TIMERS_MAX: usize = 1_000;

/// Arguments that no operation means; the recipe may refuse or take them, and no more.
const ODD_ARGUMENTS: [&[u8]; 6] = [b"\xf6", b"\x07", b"\xa0", b"\x80", b"\x61x", b"\xff"];

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Call(NextCall),
    /// The call of that step again.
    Retry(usize),
    /// The call of that step is given up.
    Cancel(usize),
    /// The client's session ends, and it opens another.
    Lose(usize),
    Advance(u64),
    Jump(u64),
    Configure(usize),
    ChangeVersion,
    /// Every session ends, and the timers that are left fire.
    End,
}

/// What must not be.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// Which rule; the same one must be broken by a shorter trace.
    pub(crate) rule: String,
    pub(crate) how: String,
}

pub(crate) struct Simulated<'plan> {
    plan: &'plan Plan,
    served: Served,
    history: History,
    is_newer: bool,
    pub(crate) trace: Vec<String>,
}

type Checked = std::result::Result<(), Violation>;

fn violated(rule: &str, how: impl Into<String>) -> Checked {
    Err(Violation { rule: rule.into(), how: how.into() })
}

impl<'plan> Simulated<'plan> {
    /// Mounts the recipe and opens a session for each client.
    pub(crate) fn begin(plan: &'plan Plan) -> std::result::Result<Simulated<'plan>, Violation> {
        let mut mounted = Mounted::unmounted(plan.version, FIRST_ZXID);
        let config = plan.configs.first().cloned().unwrap_or_default();
        if let Err(failure) = mounted.mount(config) {
            let how = format!("the first configuration: {failure}");
            return Err(Violation { rule: String::from("it can be mounted"), how });
        }
        let mut history = History::default();
        let mut served = Served::new(mounted);
        for client in 0..plan.clients {
            history.opened(client, served.mounted.open_session(None));
        }
        Ok(Simulated { plan, served, history, is_newer: false, trace: Vec::new() })
    }

    /// The number of the next transaction.
    pub(crate) fn zxid(&self) -> u64 {
        self.served.mounted.world.zxid
    }

    /// Leaves numbers out, as the steps did that were left out.
    pub(crate) fn skip_to(&mut self, zxid: u64) {
        let world = &mut self.served.mounted.world;
        world.zxid = world.zxid.max(zxid);
    }

    fn seen(&self) -> Seen<'_> {
        Seen::new(&self.served.mounted, &self.history)
    }

    /// Draws what to do next.
    pub(crate) fn draw(&self, draw: &mut Draw) -> Step {
        match draw.below(100) {
            0..60 => Step::Call((self.plan.draw)(draw, &self.seen())),
            60..64 => {
                let mut call = (self.plan.draw)(draw, &self.seen());
                call.arguments = draw.one_of(&ODD_ARGUMENTS).to_vec();
                Step::Call(call)
            }
            64..70 => match self.history.calls() {
                [] => Step::Advance(1),
                calls => Step::Retry(draw.one_of(calls).step),
            },
            70..76 => match &self.history.waiting()[..] {
                [] => Step::Advance(1),
                waiting => Step::Cancel(*draw.one_of(waiting)),
            },
            76..81 => Step::Lose(draw.below(self.history.client_count() as u64) as usize),
            81..91 => Step::Advance(self.draw_ms(draw)),
            91..94 => Step::Jump(self.draw_ms(draw)),
            94..97 if self.plan.configs.len() > 1 => {
                Step::Configure(draw.below(self.plan.configs.len() as u64) as usize)
            }
            97..100 if self.plan.newer.is_some() => Step::ChangeVersion,
            _ => Step::Call((self.plan.draw)(draw, &self.seen())),
        }
    }

    /// Often just before, at or after what is due next, else some time.
    fn draw_ms(&self, draw: &mut Draw) -> u64 {
        let mounted = &self.served.mounted;
        let until_due =
            mounted.next_due_ms().map(|at_ms| at_ms.saturating_sub(mounted.world.now_ms));
        match until_due.filter(|_| draw.chance(60)) {
            Some(until_due) => (until_due + draw.below(3)).saturating_sub(1),
            None => draw.below(self.plan.pause_ms_max),
        }
    }

    /// Performs a step and checks everything; a panic is a violation too.
    pub(crate) fn perform(&mut self, place: usize, step: &Step) -> Checked {
        let performed = silently(|| {
            self.do_step(place, step)?;
            self.check(matches!(step, Step::End))
        });
        match performed {
            Ok(checked) => checked,
            Err(panic) => {
                let how = words_of(&*panic);
                self.trace.push(format!("panic: {how}"));
                violated("no panic", how)
            }
        }
    }

    fn do_step(&mut self, place: usize, step: &Step) -> Checked {
        match step {
            Step::Call(call) => self.call(place, call),
            Step::Retry(of) => self.retry(*of)?,
            Step::Cancel(of) => self.cancel(*of),
            Step::Lose(client) => {
                self.close(*client);
                let session = self.served.mounted.open_session(None);
                self.history.opened(*client, session);
            }
            Step::Advance(ms) => {
                self.trace.push(format!("advance {ms}"));
                self.advance(*ms);
            }
            Step::Jump(ms) => {
                self.trace.push(format!("jump {ms}"));
                self.served.mounted.jump(*ms);
            }
            Step::Configure(which) => {
                let config = self.plan.configs[*which].clone();
                let text = format!("configure {}", shown(&config));
                let done = self.served.mounted.configure(config);
                self.settled(text, &done);
            }
            Step::ChangeVersion => self.change_version(),
            Step::End => self.end(),
        }
        self.take_pushed();
        Ok(())
    }

    /// Stops wherever something is due, so that answers are noted at the time they were given.
    fn advance(&mut self, ms: u64) {
        let end_ms = self.served.mounted.world.now_ms + ms;
        while let Some(at_ms) = self.served.mounted.next_due_ms().filter(|at_ms| *at_ms <= end_ms) {
            let now_ms = self.served.mounted.world.now_ms;
            self.served.mounted.advance(at_ms.saturating_sub(now_ms));
            self.take_pushed();
        }
        self.served.mounted.world.now_ms = end_ms;
    }

    fn call(&mut self, place: usize, call: &NextCall) {
        let session = self.history.session_of(call.client);
        let called = (call.object.as_str(), call.operation.as_str());
        let (number, kept) = self.served.call(session, called, &call.arguments);
        let now_ms = self.served.mounted.world.now_ms;
        self.history.called((place, number), call, now_ms);
        let arguments = shown(&call.arguments);
        let what = format!(
            "step {place}: client {} (session {session}): {} {} {arguments}",
            call.client, call.object, call.operation
        );
        match kept {
            Kept::Waiting(_) => self.trace.push(format!("{what} → parked")),
            Kept::Answered(answer) => {
                self.trace.push(format!("{what} → {}", in_words(&answer)));
                self.history.answer((session, number), answer, now_ms);
            }
        }
    }

    /// A client that calls again gets its first answer, and nothing happens.
    fn retry(&mut self, of: usize) -> Checked {
        let Some(call) = self.history.made_at(of) else { return Ok(()) };
        if !self.history.is_open(call.session) {
            return Ok(());
        }
        let before = self.served.mounted.world.clone();
        let kept = self.served.retry(call.session, call.number);
        let same = match &kept {
            Kept::Waiting(_) => call.answer().is_none(),
            Kept::Answered(answer) => call.answer() == Some(answer),
        };
        if !same || self.served.mounted.world != before {
            return violated(
                "a call is done once",
                format!("the call of step {of} again: {kept:?}"),
            );
        }
        Ok(())
    }

    fn cancel(&mut self, of: usize) {
        let Some(call) = self.history.made_at(of) else { return };
        if let Kept::Waiting(ticket) = self.served.retry(call.session, call.number) {
            self.trace.push(format!("cancel the call of step {of}"));
            self.served.mounted.cancel(ticket);
        }
    }

    fn close(&mut self, client: usize) {
        let session = self.history.session_of(client);
        self.trace.push(format!("client {client} loses its session {session}"));
        self.served.close(session);
        self.history.ended(session);
    }

    fn change_version(&mut self) {
        let Some(newer) = self.plan.newer else { return };
        let (version, text) = if self.is_newer {
            (self.plan.version, "back to the older version")
        } else {
            (newer, "upgrade to the newer version")
        };
        let changed = self.served.mounted.upgrade(version);
        self.is_newer ^= changed.is_ok();
        self.settled(String::from(text), &changed);
    }

    fn end(&mut self) {
        for client in 0..self.history.client_count() {
            self.close(client);
        }
        for _ in 0..LAST_TIMERS_MAX {
            let Some(at_ms) = self.served.mounted.next_due_ms() else { break };
            let wait_ms = at_ms.saturating_sub(self.served.mounted.world.now_ms);
            self.served.mounted.advance(wait_ms);
        }
        self.trace.push(String::from("every session has ended and every timer has fired"));
    }

    fn settled(&mut self, what: String, done: &Result<()>) {
        let outcome =
            done.as_ref().map_or_else(|failure| format!("refused {failure}"), |()| "done".into());
        self.trace.push(format!("{what} → {outcome}"));
    }

    fn take_pushed(&mut self) {
        let now_ms = self.served.mounted.world.now_ms;
        for (session, number, answer) in self.served.take_pushed() {
            let text = in_words(&answer);
            let call = self.history.answer((session, number), answer, now_ms);
            let line = format!("  pushed to client {}, step {}: {text}", call.client, call.step);
            self.trace.push(line);
        }
    }

    fn check(&self, at_end: bool) -> Checked {
        if let Some(failure) = self.served.mounted.faults.first() {
            return violated("no event handler refuses", failure.to_string());
        }
        for (rule, holds) in &self.plan.invariants {
            if let Err(how) = holds(&self.seen()) {
                return violated(rule, how);
            }
        }
        let world = &self.served.mounted.world;
        if !at_end || !self.plan.leaves_nothing {
            return Ok(());
        }
        let (paths, timers) = (self.seen().paths(), world.timers.len());
        if !paths.is_empty() || timers > 0 || !world.tickets.is_empty() {
            let how = format!("{paths:?}, {timers} timers, {} parked calls", world.tickets.len());
            return violated("nothing is left", how);
        }
        Ok(())
    }
}

fn shown(cbor: &[u8]) -> Value {
    json_cbor::to_json(cbor).unwrap_or_else(|_| json!({ "bytes": json_cbor::hex(cbor) }))
}

fn in_words(answer: &Result<Vec<u8>>) -> String {
    match answer {
        Ok(reply) => shown(reply).to_string(),
        Err(failure) => format!("refused {failure}"),
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| String::from("without words"))
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic of this thread without a word on the standard error: a run that is made shorter
/// panics many times.
fn silently<T>(act: impl FnOnce() -> T) -> std::thread::Result<T> {
    static QUIETED: Once = Once::new();
    QUIETED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !SILENT.get() {
                before(panic);
            }
        }));
    });
    SILENT.set(true);
    let done = catch_unwind(AssertUnwindSafe(act));
    SILENT.set(false);
    done
}
