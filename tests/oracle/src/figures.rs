//! What is counted in a run, and the table that compares two candidates.
//!
//! Comes in: counts. Goes out: text, and whether the ratios hold. Invariant: a message counts once,
//! when it leaves, whether or not it arrives. Must never leave a kind of message out.

use std::fmt::Write;

use crate::candidate::Kind;

/// Our share of what the oracle commits must not be less.
pub const COMMITTED_RATIO_MIN: f64 = 0.9;
/// Our share of what the oracle sends must not be more.
pub const MESSAGES_RATIO_MAX: f64 = 1.5;

/// The counts of one run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Times at which clients wanted to propose.
    pub slots: u64,
    /// Those at which nobody awake believed to lead.
    pub slots_leaderless: u64,
    /// Entries that a leader took.
    pub proposed: u64,
    /// Clients' entries committed.
    pub committed: u64,
    /// Terms that had a leader.
    pub elections: u64,
    messages: [u64; Kind::ALL.len()],
}

impl Figures {
    /// Counts a message that leaves.
    pub fn count(&mut self, kind: Kind) {
        self.messages[kind as usize] += 1;
    }

    /// All messages that left.
    pub fn messages(&self) -> u64 {
        self.messages.iter().sum()
    }

    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Self) {
        self.slots += other.slots;
        self.slots_leaderless += other.slots_leaderless;
        self.proposed += other.proposed;
        self.committed += other.committed;
        self.elections += other.elections;
        for (sum, more) in self.messages.iter_mut().zip(other.messages) {
            *sum += more;
        }
    }
}

/// The figures of both candidates over the same seeds.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Of our Raft.
    pub ours: Figures,
    /// Of the oracle.
    pub theirs: Figures,
    committed_ratios: Vec<f64>,
    messages_ratios: Vec<f64>,
}

impl Comparison {
    /// Adds one seed.
    pub fn add(&mut self, ours: &Figures, theirs: &Figures) {
        self.ours.add(ours);
        self.theirs.add(theirs);
        self.committed_ratios.push(ratio(ours.committed, theirs.committed));
        self.messages_ratios.push(ratio(ours.messages(), theirs.messages()));
    }

    /// Entries committed, ours to theirs.
    pub fn committed_ratio(&self) -> f64 {
        ratio(self.ours.committed, self.theirs.committed)
    }

    /// Messages sent, ours to theirs.
    pub fn messages_ratio(&self) -> f64 {
        ratio(self.ours.messages(), self.theirs.messages())
    }

    /// Whether both ratios are within bounds.
    pub fn holds(&self) -> bool {
        self.committed_ratio() >= COMMITTED_RATIO_MIN && self.messages_ratio() <= MESSAGES_RATIO_MAX
    }

    /// A table of every figure.
    pub fn table(&self) -> String {
        let mut text = format!("{:<24}{:>12}{:>12}{:>9}\n", "", "ours", "theirs", "ratio");
        let (ours, theirs) = (&self.ours, &self.theirs);
        let mut row = |name: &str, ours: u64, theirs: u64| {
            let ratio = ratio(ours, theirs);
            writeln!(text, "{name:<24}{ours:>12}{theirs:>12}{ratio:>9.3}").expect("text");
        };
        row("committed", ours.committed, theirs.committed);
        row("messages", ours.messages(), theirs.messages());
        row("elections", ours.elections, theirs.elections);
        row("slots without leader", ours.slots_leaderless, theirs.slots_leaderless);
        row("slots", ours.slots, theirs.slots);
        row("proposed", ours.proposed, theirs.proposed);
        for kind in Kind::ALL {
            let position = kind as usize;
            row(kind.name(), ours.messages[position], theirs.messages[position]);
        }
        writeln!(text, "committed, ratios of seeds: {}", spread(&self.committed_ratios))
            .expect("text");
        writeln!(text, "messages, ratios of seeds:  {}", spread(&self.messages_ratios))
            .expect("text");
        text
    }
}

/// Nothing to nothing is one to one.
pub fn ratio(ours: u64, theirs: u64) -> f64 {
    if ours == theirs { 1.0 } else { ours as f64 / theirs as f64 }
}

fn spread(ratios: &[f64]) -> String {
    let mut ratios = ratios.to_vec();
    ratios.sort_by(f64::total_cmp);
    let at = |percent: usize| ratios[(ratios.len() - 1) * percent / 100];
    format!(
        "least {:.3}, 5 % {:.3}, median {:.3}, 95 % {:.3}, most {:.3}",
        at(0),
        at(5),
        at(50),
        at(95),
        at(100)
    )
}
