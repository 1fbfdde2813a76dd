//! The counter (plugins/counter/README.md): every change once and on the number as it is, blocks apart,
//! no overflow, waits answered when their number is there.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: changes and waits; the first
//! promise broken. Invariant: the number is known after every entry, and who must be answered in it.

use super::waits::{Waits, check_wait_ended};
use super::{
    Answered, EndedCall, LoggedCall, Promises, RecipeEntry, Result, Timeline, Told, Trial, Turn,
    Work,
};
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use quorate_types::{TicketId, Zxid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const TRIAL: Trial = Trial {
    name: "counter",
    config: draw_config,
    work: |config| Box::new(CounterWork::new(read_config(config).initial)),
    promises: |config| {
        let (config, counters) = (read_config(config), BTreeMap::new());
        Box::new(CounterPromises { config, counters, judged: 0 })
    },
};

const COUNTERS: [&str; 2] = ["a", "b"];

/// Waiters that one transaction answers, whatever the mount says.
const ANSWERED_MAX: usize = 300;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    initial: i64,
    only_grows: bool,
    block_max: u64,
    waiters_max: u64,
    answered_max: usize,
}

fn read_config(config: &[u8]) -> Config {
    serde_cbor::from_slice(config).expect("the trial drew it")
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        // With the last one, numbers end soon.
        initial: [0, -7, i64::MAX - 60][choices.below(3) as usize],
        only_grows: choices.one_in(3),
        block_max: [4, 1_000_000][choices.below(2) as usize],
        waiters_max: [2, 10_000][choices.below(2) as usize],
        answered_max: [1, 2, 200][choices.below(3) as usize],
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Add {
    by: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Set {
    number: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct CompareAndSet {
    expected: i64,
    number: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Changed {
    before: i64,
    after: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reserve {
    count: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Block {
    first: i64,
    last: i64,
    count: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Await {
    at_least: i64,
    wait_ms: Option<u64>,
}

/// What one client does.
struct CounterWork {
    initial: i64,
    /// The newest number that it was told, of each counter.
    seen: [i64; 2],
    /// It has done what it does at the end.
    is_over: bool,
}

impl CounterWork {
    fn new(initial: i64) -> CounterWork {
        CounterWork { initial, seen: [initial; 2], is_over: false }
    }
}

/// A number from the first on, not far.
fn near(turn: &mut Turn<'_>, first: i64, span: u64) -> i64 {
    first.saturating_add_unsigned(turn.choices().below(span))
}

impl Work for CounterWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let at = turn.choices().below(2) as usize;
        let (counter, seen) = (COUNTERS[at], self.seen[at]);
        match turn.choices().below(16) {
            0..=3 => {
                let by = match turn.choices().below(8) {
                    0 => Some([i64::MAX, i64::MIN][turn.choices().below(2) as usize]),
                    1 => None,
                    2 | 3 => Some(near(turn, -4, 4)),
                    _ => Some(near(turn, 0, 5)),
                };
                turn.call(counter, "add", &Add { by });
            }
            4 => {
                let number = near(turn, self.initial.saturating_sub(10), 30);
                turn.call(counter, "set", &Set { number });
            }
            5 | 6 => {
                let expected = near(turn, seen, 2);
                let number = near(turn, seen.saturating_sub(2), 6);
                turn.call(counter, "compare-and-set", &CompareAndSet { expected, number });
            }
            7 | 8 => {
                let count = turn.choices().below(7);
                turn.call(counter, "reserve", &Reserve { count });
            }
            9..=12 => {
                let at_least = near(turn, seen.saturating_sub(1), 9);
                let wait_ms = turn.draw_wait_ms();
                turn.call(counter, "await", &Await { at_least, wait_ms });
            }
            13 | 14 => drop(turn.query(counter, "get", Bytes::new())),
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, _: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let told = match ended.operation {
            "add" | "set" | "compare-and-set" => ended.reply().map(|told: Changed| told.after),
            "reserve" => ended.reply().map(|told: Block| told.last),
            _ => ended.reply(),
        };
        let place = COUNTERS.iter().position(|counter| *counter == ended.object);
        if let (Some(place), Some(number)) = (place, told) {
            self.seen[place] = number;
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        if eager {
            return;
        }
        if !self.is_over {
            self.is_over = true;
            let counter = COUNTERS[turn.choices().below(2) as usize];
            turn.call(counter, "set", &Set { number: self.initial });
        }
        if turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {}

    fn is_at_rest(&self) -> bool {
        true
    }
}

/// A counter as callers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    number: i64,
    waiting: u64,
}

#[derive(Debug)]
struct Counter {
    number: i64,
    /// Who waits for which number.
    waits: Waits<i64>,
    shown: Timeline<Shown>,
}

impl Counter {
    /// Carries out a change that was answered with the numbers before and after it.
    fn change(&mut self, config: &Config, told: Changed, after: Option<i64>) -> Result {
        let Some(after) = after else {
            return Err(format!("{told:?} goes beyond 64 bits from {}", self.number));
        };
        if told != (Changed { before: self.number, after }) {
            return Err(format!("told is {told:?}, from {} to {after} it is", self.number));
        }
        if config.only_grows && after < self.number {
            return Err(format!("{told:?} goes back"));
        }
        self.number = after;
        Ok(())
    }

    /// A change of the number by this call; `false`: it is none.
    fn called(&mut self, config: &Config, time_ms: u64, call: &LoggedCall<'_>) -> Result<bool> {
        let number = self.number;
        if call.operation == "await" {
            let Await { at_least, wait_ms } = call.arguments()?;
            match call.reply::<i64>()? {
                None if number < at_least => {
                    self.waits.begin(time_ms, call, (wait_ms, config.waiters_max), at_least)?;
                }
                Some(told) if told == number && number >= at_least => {}
                told => return Err(format!("{told:?} for {at_least}, the number is {number}")),
            }
            return Ok(false);
        }
        if call.operation == "reserve" {
            let Reserve { count } = call.arguments()?;
            let after = number.checked_add_unsigned(count);
            let last = after.unwrap_or(number).wrapping_sub(1);
            let block = Block { first: number, last, count };
            if call.reply()? != Some(block) || !(1..=config.block_max).contains(&count) {
                let told: Option<Block> = call.reply()?;
                return Err(format!("{told:?} is a block of {count} from {number}"));
            }
            let told = Changed { before: number, after: last.wrapping_add(1) };
            return self.change(config, told, after).map(|()| true);
        }
        let after = match call.operation {
            "add" => number.checked_add(call.arguments::<Add>()?.by.unwrap_or(1)),
            "set" => Some(call.arguments::<Set>()?.number),
            "compare-and-set" => {
                let wanted: CompareAndSet = call.arguments()?;
                if wanted.expected != number {
                    return Err(format!("{wanted:?} is done at {number}"));
                }
                Some(wanted.number)
            }
            other => return Err(format!("the counter has no command {other}")),
        };
        let Some(told) = call.reply()? else { return Err("a change waits".into()) };
        self.change(config, told, after).map(|()| true)
    }

    /// Those of the waiters answered whom it was the turn of: who waits for the lowest number, and of
    /// those who came first. `must`: they must be answered now, as many as one transaction may.
    fn check_answers(&mut self, config: &Config, must: bool, answers: &[&Answered]) -> Result {
        let mut reached: Vec<(i64, TicketId)> = self
            .waits
            .iter()
            .filter(|(_, at_least)| **at_least <= self.number)
            .map(|(ticket, at_least)| (*at_least, ticket))
            .collect();
        reached.sort_unstable();
        reached.truncate(config.answered_max.clamp(1, ANSWERED_MAX));
        let answered = answers.iter().map(|answered| answered.ticket);
        if (must || !answers.is_empty()) && !answered.eq(reached.iter().map(|(_, ticket)| *ticket))
        {
            return Err(format!("at {} {answers:?} are answered, not {reached:?}", self.number));
        }
        for answered in answers {
            self.waits.end(answered.ticket)?;
            let told: Option<i64> = answered.reply()?;
            if told != Some(self.number) {
                return Err(format!("{answered:?} is told {told:?} at {}", self.number));
            }
        }
        Ok(())
    }
}

struct CounterPromises {
    config: Config,
    counters: BTreeMap<String, Counter>,
    judged: u64,
}

impl CounterPromises {
    fn counter(&mut self, name: &str) -> &mut Counter {
        let number = self.config.initial;
        self.counters.entry(name.into()).or_insert_with(|| {
            let mut shown = Timeline::default();
            shown.note(Zxid(0), Shown { number, waiting: 0 });
            Counter { number, waits: Waits::default(), shown }
        })
    }
}

/// Whether a refusal of a command is right as things stand.
fn is_right(config: &Config, told: &Told<'_>, word: &str, shown: &Shown) -> Result<bool> {
    let Shown { number, waiting } = *shown;
    let is_told = |is_right: bool| Ok(is_right && told.detail::<i64>()? == number);
    match (told.operation, word) {
        ("add", "overflow" | "only-grows") => {
            let by = told.arguments::<Add>()?.by.unwrap_or(1);
            match number.checked_add(by) {
                None => is_told(word == "overflow"),
                Some(after) => is_told(word == "only-grows" && config.only_grows && after < number),
            }
        }
        ("set", "only-grows") => {
            is_told(config.only_grows && told.arguments::<Set>()?.number < number)
        }
        ("compare-and-set", _) => {
            let wanted: CompareAndSet = told.arguments()?;
            match word {
                "other-number" => is_told(number != wanted.expected),
                "only-grows" if number == wanted.expected => {
                    is_told(config.only_grows && wanted.number < number)
                }
                _ => Ok(false),
            }
        }
        ("reserve", "bad-count") => {
            Ok(!(1..=config.block_max).contains(&told.arguments::<Reserve>()?.count))
        }
        ("reserve", "overflow") => {
            let count = told.arguments::<Reserve>()?.count;
            is_told(number.checked_add_unsigned(count).is_none())
        }
        ("await", _) => {
            let Await { at_least, wait_ms } = told.arguments()?;
            match word {
                "below" => is_told(number < at_least && wait_ms == Some(0)),
                "waiters-full" => {
                    Ok(number < at_least && wait_ms != Some(0) && waiting >= config.waiters_max)
                }
                _ => Ok(false),
            }
        }
        _ => Ok(false),
    }
}

impl Promises for CounterPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        let config = self.config;
        self.judged += u64::from(entry.call.is_some() || !entry.answered.is_empty());
        let mut answers: BTreeMap<&str, Vec<&Answered>> = BTreeMap::new();
        for answered in &entry.answered {
            let object = &answered.call.object;
            if answered.outcome.is_ok() {
                answers.entry(object).or_default().push(answered);
            } else {
                check_wait_ended(entry, answered)?;
                self.counter(object).waits.end(answered.ticket)?;
            }
        }
        let mut changed = None;
        if let Some(call) = &entry.call
            && self.counter(call.object).called(&config, entry.time_ms, call)?
        {
            changed = Some(call.object);
        }
        for (name, counter) in &mut self.counters {
            let answers = answers.remove(name.as_str()).unwrap_or_default();
            counter.check_answers(&config, changed == Some(name), &answers)?;
            let number = counter.number;
            counter.shown.note(entry.zxid, Shown { number, waiting: counter.waits.len() });
            counter.waits.check_overdue(entry, |_, at_least| *at_least <= number)?;
        }
        match answers.first_key_value() {
            None => Ok(()),
            Some((object, _)) => Err(format!("{object} is no counter, and its callers wait")),
        }
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let config = self.config;
        let shown = &self.counter(told.object).shown;
        match (told.operation, told.refusal()) {
            ("get", None) => {
                let number = shown.at(told.zxid).map(|shown| shown.number);
                let seen: Option<i64> = told.reply()?;
                if seen == number {
                    return Ok(());
                }
                Err(format!("shows {seen:?} at {}, it was {number:?}", told.zxid))
            }
            (operation, Some(word)) => {
                for shown in shown.within(told.from, told.zxid).flatten() {
                    if is_right(&config, told, word, shown)? {
                        return Ok(());
                    }
                }
                Err(format!("{operation} is refused {word}, and that was never right"))
            }
            (operation, None) => Err(format!("{operation} is answered and not in the log")),
        }
    }

    fn finish(&mut self, left: &[String]) -> Result {
        let mut expected = Vec::new();
        for (name, counter) in &self.counters {
            if counter.number != self.config.initial {
                expected.extend([name.clone(), format!("{name}/number")]);
            }
        }
        if left == expected { Ok(()) } else { Err(format!("left are {left:?}, not {expected:?}")) }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::{Said, answer, end};
    use super::*;
    use quorate_types::ErrorCode;

    const ADD: (&str, &str) = ("a", "add");
    const SET: (&str, &str) = ("a", "set");
    const AWAIT: (&str, &str) = ("a", "await");

    fn said(only_grows: bool) -> Said {
        let config =
            Config { initial: 0, only_grows, block_max: 5, waiters_max: 2, answered_max: 1 };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn changed(before: i64, after: i64) -> Changed {
        Changed { before, after }
    }

    fn wait_for(at_least: i64) -> Await {
        Await { at_least, wait_ms: None }
    }

    #[test]
    fn what_a_counter_does_is_believed() {
        let mut said = said(false);
        said.done(1, ADD, &Add { by: None }, &changed(0, 1), vec![]).unwrap();
        let block = Block { first: 1, last: 3, count: 3 };
        said.done(1, ("a", "reserve"), &Reserve { count: 3 }, &block, vec![]).unwrap();
        let high = said.parked(2, AWAIT, &wait_for(7));
        let low = said.parked(2, AWAIT, &wait_for(6));
        let set = Set { number: 8 };
        said.done(1, SET, &set, &changed(4, 8), vec![answer(&low, &8)]).unwrap();
        said.event(&[], vec![answer(&high, &8)]).unwrap();
        said.told(1, ("a", "get"), &(), Ok(to_cbor(&8).to_vec())).unwrap();
        said.promises.finish(&["a".into(), "a/number".into()]).unwrap();
    }

    #[test]
    fn changes_of_another_number_are_found() {
        let mut lost = said(false);
        lost.done(1, ADD, &Add { by: None }, &changed(0, 1), vec![]).unwrap();
        lost.done(2, ADD, &Add { by: None }, &changed(0, 1), vec![]).unwrap_err();

        let mut overlapping = said(false);
        let block = Block { first: 0, last: 2, count: 3 };
        let reserve = ("a", "reserve");
        overlapping.done(1, reserve, &Reserve { count: 3 }, &block, vec![]).unwrap();
        overlapping.done(2, reserve, &Reserve { count: 3 }, &block, vec![]).unwrap_err();

        let mut wrapped = said(false);
        let most = Set { number: i64::MAX };
        wrapped.done(1, SET, &most, &changed(0, i64::MAX), vec![]).unwrap();
        let told = changed(i64::MAX, i64::MIN);
        wrapped.done(1, ADD, &Add { by: None }, &told, vec![]).unwrap_err();

        let mut back = said(true);
        back.done(1, SET, &Set { number: -1 }, &changed(0, -1), vec![]).unwrap_err();

        let mut blind = said(false);
        let wanted = CompareAndSet { expected: 1, number: 2 };
        blind.done(1, ("a", "compare-and-set"), &wanted, &changed(0, 2), vec![]).unwrap_err();
    }

    #[test]
    fn waits_that_are_answered_early_late_or_out_of_turn_are_found() {
        let mut early = said(false);
        let waits = early.parked(2, AWAIT, &wait_for(3));
        early.event(&[], vec![answer(&waits, &3)]).unwrap_err();

        let mut forgotten = said(false);
        forgotten.parked(2, AWAIT, &wait_for(3));
        forgotten.done(1, SET, &Set { number: 3 }, &changed(0, 3), vec![]).unwrap_err();

        let mut jumped = said(false);
        jumped.parked(2, AWAIT, &wait_for(2));
        let high = jumped.parked(2, AWAIT, &wait_for(3));
        let answers = vec![answer(&high, &3)];
        jumped.done(1, SET, &Set { number: 3 }, &changed(0, 3), answers).unwrap_err();

        let mut left = said(false);
        let first = left.parked(2, AWAIT, &wait_for(2));
        left.parked(2, AWAIT, &wait_for(3));
        let answers = vec![answer(&first, &3)];
        left.done(1, SET, &Set { number: 3 }, &changed(0, 3), answers).unwrap();
        left.event(&[], vec![]).unwrap();
        left.now_ms += 10_000;
        left.zxid += 100;
        left.event(&[], vec![]).unwrap_err();
    }

    #[test]
    fn waits_that_end_without_reason_are_found() {
        let mut said = said(false);
        let waits = said.parked(2, AWAIT, &wait_for(3));
        said.event(&[1], vec![end(&waits, ErrorCode::SessionExpired)]).unwrap_err();
        let mut timed = waits;
        timed.0.deadline_ms = Some(said.now_ms + 1);
        said.event(&[], vec![end(&timed, ErrorCode::TimedOut)]).unwrap_err();
        said.now_ms += 1;
        said.event(&[], vec![end(&timed, ErrorCode::TimedOut)]).unwrap();
    }

    #[test]
    fn refusals_and_numbers_that_were_never_right_are_found() {
        let mut said = said(true);
        let detail = to_cbor(&0);
        let below = Await { at_least: 0, wait_ms: Some(0) };
        said.told_with(1, AWAIT, &below, Err("below"), detail.clone()).unwrap_err();
        let below = Await { at_least: 1, wait_ms: Some(0) };
        said.told_with(1, AWAIT, &below, Err("below"), to_cbor(&-1)).unwrap_err();
        said.told_with(1, AWAIT, &below, Err("below"), detail.clone()).unwrap();
        said.told(1, AWAIT, &wait_for(1), Err("waiters-full")).unwrap_err();
        let set = Set { number: 0 };
        said.told_with(1, SET, &set, Err("only-grows"), detail.clone()).unwrap_err();
        said.told_with(1, ADD, &Add { by: None }, Err("overflow"), detail).unwrap_err();
        said.told(1, ("a", "reserve"), &Reserve { count: 5 }, Err("bad-count")).unwrap_err();
        said.told(1, ("a", "get"), &(), Ok(to_cbor(&1).to_vec())).unwrap_err();
        assert!(said.promises.finish(&["a".into()]).is_err());
    }
}
