//! Figures of many runs together.
//!
//! Comes in: the figures of each run. Goes out: text for people, JSON for tools, a ledger's row.

use crate::run::Figures;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub runs: u64,
    pub sum: Figures,
    judged: BTreeMap<&'static str, u64>,
}

impl Totals {
    pub fn add(&mut self, figures: &Figures) {
        self.runs += 1;
        let sum = &mut self.sum;
        sum.virtual_ms += figures.virtual_ms;
        sum.operations += figures.operations;
        sum.answered += figures.answered;
        sum.refused += figures.refused;
        sum.unknown += figures.unknown;
        sum.entries += figures.entries;
        sum.sessions_lost += figures.sessions_lost;
        let (counts, more) = (&mut sum.counts, &figures.counts);
        counts.events += more.events;
        counts.messages += more.messages;
        counts.lost += more.lost;
        counts.doubled += more.doubled;
        counts.overtaken += more.overtaken;
        counts.disk_batches += more.disk_batches;
        counts.disk_faults += more.disk_faults;
        counts.disk_errors += more.disk_errors;
        counts.damage_found += more.damage_found;
        counts.damage_refused += more.damage_refused;
        counts.damage_harmless += more.damage_harmless;
        counts.damage_hidden += more.damage_hidden;
        counts.starts += more.starts;
        counts.snapshots_saved += more.snapshots_saved;
        counts.snapshots_sent += more.snapshots_sent;
        counts.connections += more.connections;
        counts.installs += more.installs;
        for (fault, times) in &figures.occurrences {
            *sum.occurrences.entry(*fault).or_insert(0) += times;
        }
        for (checker, judged) in &figures.judged {
            *self.judged.entry(checker).or_insert(0) += judged;
        }
    }

    #[must_use]
    pub fn hours(&self) -> f64 {
        self.sum.virtual_ms as f64 / 3_600_000.0
    }

    /// Operations that ended with an answer and were looked at by every checker.
    #[must_use]
    pub fn operations_checked(&self) -> u64 {
        self.sum.answered
    }

    /// # Panics
    /// Never: writing to a text cannot fail.
    #[must_use]
    pub fn json(&self, failures: usize, took: Duration) -> String {
        let mut text = format!(
            "{{\"runs\":{},\"failures\":{failures},\"hours\":{:.3},\"seconds\":{:.1},\
             \"operations\":{},\"answered\":{},\"entries\":{},\"events\":{}",
            self.runs,
            self.hours(),
            took.as_secs_f64(),
            self.sum.operations,
            self.sum.answered,
            self.sum.entries,
            self.sum.counts.events,
        );
        for (checker, judged) in &self.judged {
            write!(text, ",\"judged_{checker}\":{judged}").expect("a text takes all");
        }
        text.push('}');
        text
    }

    /// A row for LEDGER.md; the date and the commit are the caller's to fill in.
    #[must_use]
    pub fn ledger_row(&self, first_seed: u64, failures: usize) -> String {
        format!(
            "| DATE | COMMIT | {first_seed}..{} | {:.0} | {} | {failures} |",
            first_seed + self.runs - 1,
            self.hours(),
            self.operations_checked(),
        )
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sum, counts) = (&self.sum, &self.sum.counts);
        writeln!(
            f,
            "{} runs, {:.2} hours; {} operations: {} answered ({} refused), {} unknown; {} entries, \
             {} sessions lost",
            self.runs,
            self.hours(),
            sum.operations,
            sum.answered,
            sum.refused,
            sum.unknown,
            sum.entries,
            sum.sessions_lost
        )?;
        writeln!(
            f,
            "{} events, {} messages ({} lost, {} doubled, {} overtaken), {} disk batches, {} disk \
             faults, {} starts, snapshots {} saved {} sent {} installed, {} connections",
            counts.events,
            counts.messages,
            counts.lost,
            counts.doubled,
            counts.overtaken,
            counts.disk_batches,
            counts.disk_faults,
            counts.starts,
            counts.snapshots_saved,
            counts.snapshots_sent,
            counts.installs,
            counts.connections
        )?;
        writeln!(
            f,
            "{} processes ended by their disk; damaged disks: {} noticed and fetched again, {} \
             refused, {} without consequence, {} beyond notice (undone)",
            counts.disk_errors,
            counts.damage_found,
            counts.damage_refused,
            counts.damage_harmless,
            counts.damage_hidden
        )?;
        write!(f, "faults:")?;
        for (fault, times) in &sum.occurrences {
            write!(f, " {fault} {times}")?;
        }
        write!(f, "\njudged:")?;
        for (checker, judged) in &self.judged {
            write!(f, " {checker} {judged}")?;
        }
        Ok(())
    }
}
