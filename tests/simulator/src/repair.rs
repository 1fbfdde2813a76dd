//! Servers' files are damaged one after another, and every server must come back as it was.
//!
//! Comes in: how many damages, a seed. Goes out: what came of each, counted, and the first that broke
//! a promise. Invariant: one damage at a time, to a stopped server, and only when every server has
//! everything; what follows depends on nothing but the seed. Must never: count a damage as survived
//! before the server holds, znode by znode, what the others do and what was acknowledged.

mod cluster;
mod damage;

pub use cluster::Outcome;
pub use damage::{Damage, DamageKind};

use crate::executor::Recipes;
use crate::run::take_panic;
use cluster::DamagedCluster;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Damages to one cluster: its history grows with each.
pub const DAMAGES_PER_CLUSTER: u64 = 500;

/// What came of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It was noticed, and nothing was lost: another copy on the same disk was whole.
    Repaired,
    /// It was noticed, and the peers gave back what was lost.
    Refetched,
    /// Nothing that counts was touched.
    Harmless,
    /// The server did not start and said which file is at fault; somebody restored its files.
    Refused,
    /// As `Refused`, but what is at fault is named by its place in the log and not by its file.
    RefusedWithoutFile,
    /// A newest frame that no later one vouches for cannot be told from one that was never written
    /// whole; somebody restored the files.
    BeyondNotice,
}

impl Verdict {
    pub const ALL: [Verdict; 6] = [
        Verdict::Repaired,
        Verdict::Refetched,
        Verdict::Harmless,
        Verdict::Refused,
        Verdict::RefusedWithoutFile,
        Verdict::BeyondNotice,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Repaired => "repaired",
            Verdict::Refetched => "refetched",
            Verdict::Harmless => "harmless",
            Verdict::Refused => "refused",
            Verdict::RefusedWithoutFile => "refused, no file named",
            Verdict::BeyondNotice => "beyond notice",
        }
    }
}

/// Damages by what was done, where, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<(&'static str, &'static str, Verdict), u64>,
    /// What damage beyond notice cost one server at most, and how often a term or vote.
    pub hidden_entries_max: u64,
    pub hidden_frames_max: u64,
    pub hidden_votes: u64,
    pub writes: u64,
    pub virtual_ms: u64,
}

impl Tally {
    #[must_use]
    pub fn damages(&self) -> u64 {
        self.counts.values().sum()
    }

    fn count(&mut self, damage: &Damage, outcome: Outcome) {
        let key = (damage.kind.name(), damage.part(), outcome.verdict);
        *self.counts.entry(key).or_insert(0) += 1;
        self.hidden_entries_max = self.hidden_entries_max.max(outcome.hidden.entries);
        self.hidden_frames_max = self.hidden_frames_max.max(outcome.hidden.frames);
        self.hidden_votes += u64::from(outcome.hidden.vote);
    }

    pub fn add(&mut self, other: &Tally) {
        for (key, count) in &other.counts {
            *self.counts.entry(*key).or_insert(0) += count;
        }
        self.hidden_entries_max = self.hidden_entries_max.max(other.hidden_entries_max);
        self.hidden_frames_max = self.hidden_frames_max.max(other.hidden_frames_max);
        self.hidden_votes += other.hidden_votes;
        self.writes += other.writes;
        self.virtual_ms += other.virtual_ms;
    }

    fn row(&self, holds: impl Fn(&'static str, &'static str) -> bool) -> String {
        let of = |verdict: Verdict| -> u64 {
            let fits = self
                .counts
                .iter()
                .filter(|((kind, part, known), _)| *known == verdict && holds(kind, part));
            fits.map(|(_, count)| count).sum()
        };
        Verdict::ALL.map(|verdict| format!("{:>23}", of(verdict))).concat()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = Verdict::ALL.map(|verdict| format!("{:>23}", verdict.name())).concat();
        writeln!(f, "{:20}{heads}", "")?;
        let kinds: std::collections::BTreeSet<_> = self.counts.keys().map(|key| key.0).collect();
        for wanted in kinds {
            writeln!(f, "{wanted:20}{}", self.row(|kind, _| kind == wanted))?;
        }
        let parts: std::collections::BTreeSet<_> = self.counts.keys().map(|key| key.1).collect();
        for wanted in parts {
            let head = format!("in a {wanted}");
            writeln!(f, "{head:20}{}", self.row(|_, part| part == wanted))?;
        }
        writeln!(f, "{:20}{}", "all", self.row(|_, _| true))?;
        write!(
            f,
            "{} damages, {} writes served, {:.1} h simulated; damage beyond notice cost one server at \
             most {} entries in {} frames, and {} times an older term or vote was read",
            self.damages(),
            self.writes,
            self.virtual_ms as f64 / 3_600_000.0,
            self.hidden_entries_max,
            self.hidden_frames_max,
            self.hidden_votes
        )
    }
}

/// Damages one cluster's servers so many times.
///
/// # Errors
/// What promise was broken, with all that repeats it.
pub fn damage_cluster(
    seed: u64,
    damages: u64,
    recipes: &Arc<Recipes>,
) -> (Tally, Result<(), String>) {
    let mut tally = Tally::default();
    let mut last = String::from("preparation");
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut cluster = DamagedCluster::prepare(seed, Arc::clone(recipes))?;
        for number in 0..damages {
            let (id, damage) = cluster.damage_next(number)?;
            last = format!("damage {number}, server {id}: {damage}");
            let outcome = cluster.judge_and_start(id, &damage)?;
            tally.count(&damage, outcome);
            tally.virtual_ms = cluster.now_ms();
            tally.writes = cluster.writes();
        }
        cluster.finish()
    }));
    let ended = ended.unwrap_or_else(|_| Err(take_panic()));
    (tally, ended.map_err(|text| format!("seed {seed}, {last}: {text}")))
}
