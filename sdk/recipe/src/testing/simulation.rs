//! Random calls and faults on one mount, by seed, with invariants after every step.
//!
//! Comes in: a recipe, a function that draws calls, invariants. Goes out: nothing, or a panic with the
//! seed, the step and the shortest trace found that breaks the same invariant. Invariant: a seed gives
//! one run. Must never: use a clock or entropy.

use super::draw::{Draw, NextCall};
use super::history::Seen;
use super::mounted::Version;
use super::simulated::{Simulated, Step, Violation};
use crate::codec;
use crate::contract::Recipe;
use serde::Serialize;
use std::marker::PhantomData;

/// A step with its place in the run and the number of its first transaction.
type NumberedStep = (usize, u64, Step);
type Steps = Vec<NumberedStep>;

/// Runs that are made to find a shorter trace.
const SHORTENING_RUNS_MAX: usize = 2_000;

type DrawCall = Box<dyn Fn(&mut Draw, &Seen<'_>) -> NextCall>;
type Invariant = Box<dyn Fn(&Seen<'_>) -> Result<(), String>>;

/// What every run of a simulation has in common.
pub(crate) struct Plan {
    pub(crate) version: Version,
    pub(crate) newer: Option<Version>,
    pub(crate) clients: usize,
    pub(crate) configs: Vec<Vec<u8>>,
    pub(crate) pause_ms_max: u64,
    pub(crate) draw: DrawCall,
    pub(crate) invariants: Vec<(String, Invariant)>,
    pub(crate) leaves_nothing: bool,
}

/// A recipe under random calls and seeded faults: sessions are lost, calls made again, given up, or
/// made with odd arguments; time passes, and timers fire late, never early; the mount gets another
/// configuration or another version of the recipe and goes back. After every step the invariants must
/// hold, no event handler may refuse and nothing may panic.
///
/// ```
/// use quorate_recipe::prelude::*;
/// use quorate_recipe::testing::{NextCall, Simulation};
///
/// pub struct Counter;
///
/// /// A number that grows.
/// #[recipe(name = "counter", version = "1.0.0", state = 1)]
/// impl Counter {
///     /// Adds to the number and gives the sum.
///     #[command]
///     pub fn add(call: &Call, by: u8) -> Result<u64> {
///         let sum = call.get::<u64>("")?.unwrap_or(0) + u64::from(by);
///         call.put("", &sum)?;
///         Ok(sum)
///     }
/// }
///
/// Simulation::<Counter>::new(|draw, _| {
///     let client = draw.below(3) as usize;
///     NextCall::new(client, "visits", "add", &draw.below(9))
/// })
/// .invariant("the number is the sum of what was added", |seen| {
///     let added = seen.history().calls().iter().filter(|call| call.is_done());
///     let sum: u64 = added.filter_map(|call| call.arguments::<u64>()).sum();
///     match seen.get::<u64>("visits").unwrap_or(0) {
///         number if number == sum => Ok(()),
///         number => Err(format!("{number}, not {sum}")),
///     }
/// })
/// .seeds(5)
/// .run();
/// ```
pub struct Simulation<R> {
    plan: Plan,
    steps: usize,
    seeds: u64,
    recipe: PhantomData<R>,
}

impl<R> std::fmt::Debug for Simulation<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Simulation { steps, seeds, .. } = self;
        f.debug_struct("Simulation").field("steps", steps).field("seeds", seeds).finish()
    }
}

impl<R: Recipe> Simulation<R> {
    /// A simulation of calls as `draw` draws them: by three clients, 20 seeds of 200 steps, without a
    /// configuration. What `draw` sees is what the clients could know and more; it must draw from
    /// nothing but its arguments.
    #[must_use]
    pub fn new(draw: impl Fn(&mut Draw, &Seen<'_>) -> NextCall + 'static) -> Simulation<R> {
        let plan = Plan {
            version: Version::of::<R>(),
            newer: None,
            clients: 3,
            configs: Vec::new(),
            pause_ms_max: 2_000,
            draw: Box::new(draw),
            invariants: Vec::new(),
            leaves_nothing: false,
        };
        Simulation { plan, steps: 200, seeds: 20, recipe: PhantomData }
    }

    /// How many clients there are, at least one. Each has a session at any time.
    #[must_use]
    pub fn clients(mut self, clients: usize) -> Self {
        self.plan.clients = clients.max(1);
        self
    }

    /// How many steps a run has.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// How many runs there are, of the seeds from 0 on.
    #[must_use]
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// The longest pause that is drawn while nothing is due soon, in milliseconds; at least 1.
    #[must_use]
    pub fn pauses(mut self, ms_max: u64) -> Self {
        self.plan.pause_ms_max = ms_max.max(1);
        self
    }

    /// A configuration; the first one is mounted, later ones and the first are given to the mount now
    /// and then.
    ///
    /// # Panics
    /// It has no CBOR form.
    #[must_use]
    #[track_caller]
    pub fn configuration(mut self, config: &impl Serialize) -> Self {
        self.plan.configs.push(codec::encode(config).expect("the configuration has a CBOR form"));
        self
    }

    /// A version of the recipe that takes the mount over now and then; it goes back too, unless its
    /// state version is higher.
    #[must_use]
    pub fn newer<Newer: Recipe>(mut self) -> Self {
        self.plan.newer = Some(Version::of::<Newer>());
        self
    }

    /// What must hold after every step; an error says how it does not.
    #[must_use]
    pub fn invariant(
        mut self,
        rule: &str,
        holds: impl Fn(&Seen<'_>) -> Result<(), String> + 'static,
    ) -> Self {
        self.plan.invariants.push((rule.into(), Box::new(holds)));
        self
    }

    /// At the end every session ends and every timer fires; then no znode, parked call or timer may be
    /// left.
    #[must_use]
    pub fn leaves_nothing(mut self) -> Self {
        self.plan.leaves_nothing = true;
        self
    }

    /// Runs every seed, or with `QUORATE_SEED=n` in the environment that one alone.
    ///
    /// # Panics
    /// Something does not hold: says what, the seed, the step, and the shortest trace found that shows
    /// it.
    #[track_caller]
    pub fn run(self) {
        let only = std::env::var("QUORATE_SEED").ok();
        let only = only.map(|seed| seed.parse().expect("QUORATE_SEED is a number"));
        if let Some(report) = self.find_violation(only) {
            panic!("{report}");
        }
    }

    /// The report of the first seed that does not hold, if one does not.
    fn find_violation(&self, only: Option<u64>) -> Option<String> {
        let seeds = only.map_or(0..self.seeds, |seed| seed..seed + 1);
        seeds.into_iter().find_map(|seed| self.report(seed))
    }

    fn report(&self, seed: u64) -> Option<String> {
        let (steps, violation) = self.run_seed(seed)?;
        let place = steps.len();
        let rule = violation.rule.clone();
        let shortest = self.shorten(steps, &rule);
        let (trace, violation) = self.replay(&shortest, &rule).unwrap_or_default();
        Some(format!(
            "seed {seed}, step {place}: {rule}: {violation}\n\
             the shortest trace found that shows it, {} steps:\n  {}\n\
             QUORATE_SEED={seed} repeats it",
            shortest.len(),
            trace.join("\n  "),
        ))
    }

    /// The steps up to the one that broke something, each with the number of its first transaction.
    fn run_seed(&self, seed: u64) -> Option<(Steps, Violation)> {
        let mut run = match Simulated::begin(&self.plan) {
            Ok(run) => run,
            Err(violation) => return Some((Vec::new(), violation)),
        };
        let mut draw = Draw::of(seed);
        let mut steps = Vec::new();
        for place in 0..=self.steps {
            let step = if place == self.steps { Step::End } else { run.draw(&mut draw) };
            steps.push((place, run.zxid(), step.clone()));
            if let Err(violation) = run.perform(place, &step) {
                return Some((steps, violation));
            }
        }
        None
    }

    /// The trace and the words of the violation, if these steps break the rule.
    fn replay(&self, steps: &[NumberedStep], rule: &str) -> Option<(Vec<String>, String)> {
        let mut run = match Simulated::begin(&self.plan) {
            Ok(run) => run,
            Err(violation) => return Some((Vec::new(), violation.how)),
        };
        for (place, zxid, step) in steps {
            run.skip_to(*zxid);
            match run.perform(*place, step) {
                Ok(()) => {}
                Err(violation) if violation.rule == rule => {
                    return Some((run.trace, violation.how));
                }
                Err(_) => return None,
            }
        }
        None
    }

    /// Leaves steps out, first many at once, as long as the rule is still broken.
    fn shorten(&self, mut steps: Steps, rule: &str) -> Steps {
        let mut runs = 0;
        let mut chunk = steps.len() / 2;
        while chunk > 0 && runs < SHORTENING_RUNS_MAX {
            let mut from = 0;
            let mut shortened = false;
            // The last step shows the violation.
            while from + chunk < steps.len() && runs < SHORTENING_RUNS_MAX {
                let fewer = [&steps[..from], &steps[from + chunk..]].concat();
                runs += 1;
                if self.replay(&fewer, rule).is_some() {
                    steps = fewer;
                    shortened = true;
                } else {
                    from += chunk;
                }
            }
            if !(shortened && chunk == 1) {
                chunk /= 2;
            }
        }
        steps
    }
}
