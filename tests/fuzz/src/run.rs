//! Many executions of one target.
//!
//! Comes in: a target, a seed, and which executions. Goes out: figures, or the first failure with all
//! that repeats it. Invariant: an execution does the same alone as among millions.

use crate::allocation::peak_of;
use crate::random::Random;
use crate::spoil::spoil;
use crate::target::Target;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What executions have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Executions done.
    pub executions: u64,
    /// Those whose input was a message.
    pub messages: u64,
    /// The most memory that one had at one moment, in bytes.
    pub memory_max: usize,
    /// The longest input, in bytes.
    pub input_max: usize,
}

/// A promise that a decoder broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The target's name.
    pub target: &'static str,
    /// The seed.
    pub seed: u64,
    /// Which execution.
    pub execution: u64,
    /// What was wrong.
    pub what: String,
    /// The input.
    pub input: Bytes,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { target, seed, execution, what, input } = self;
        writeln!(f, "{what}\ninput: {input:02x?}")?;
        write!(
            f,
            "repeat it with: cargo xtask fuzz {target} --seed {seed} --first {execution} --executions 1"
        )
    }
}

/// Runs the executions numbered so, and tells how far it is now and then.
///
/// # Errors
/// The first failure.
pub fn run(
    target: &Target,
    seed: u64,
    executions: Range<u64>,
    mut progress: impl FnMut(u64),
) -> Result<Figures, Box<Failure>> {
    let corpus = (target.corpus)(&mut Random::new(seed));
    let mut figures = Figures::default();
    for execution in executions {
        let mut random = Random::of_execution(seed, execution);
        let mut bytes = corpus[random.below(corpus.len())].clone();
        // One in 64 stays good, so that the promises about messages are held too.
        if !random.once_in(64) {
            let other = random.below(corpus.len());
            spoil(&mut random, &mut bytes, &corpus[other]);
        }
        let input = Bytes::from(bytes);
        if let Err(what) = execute(target, &input, &mut figures) {
            let target = target.name;
            return Err(Box::new(Failure { target, seed, execution, what, input }));
        }
        if figures.executions % 4_096 == 0 {
            progress(figures.executions);
        }
    }
    Ok(figures)
}

fn execute(target: &Target, input: &Bytes, figures: &mut Figures) -> Result<(), String> {
    let (caught, memory) = peak_of(|| catch_unwind(AssertUnwindSafe(|| (target.execute)(input))));
    let message = caught.map_err(|_| String::from("a panic, see above"))??;
    let allowed = target.memory_factor * input.len() + target.memory_base;
    if memory > allowed {
        let bytes = input.len();
        return Err(format!("{memory} bytes of memory for {bytes} bytes of input"));
    }
    figures.executions += 1;
    figures.messages += u64::from(message);
    figures.memory_max = figures.memory_max.max(memory);
    figures.input_max = figures.input_max.max(input.len());
    Ok(())
}
