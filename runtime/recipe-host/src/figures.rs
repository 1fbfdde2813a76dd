//! What recipes have cost on this server, by mount and operation.
//!
//! Comes in: how each run ended, its fuel and its time. Goes out: sums. Invariant: bounded, whatever
//! recipes and mounts there are; counts nothing that was run only to be compared. Must never decide
//! anything: figures differ between servers.

use quorate_machine::{RecipeEnd, RecipeFault, RecipeRun};
use quorate_types::ZnodePath;
use quorate_types::recipe::OperationFigures;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Rows that are kept; what would be one more is not counted.
const ROWS_MAX: usize = 20_000;

/// Sums by mount and operation, since the process began.
#[derive(Debug, Default)]
pub struct RecipeFigures {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    by_mount: BTreeMap<ZnodePath, BTreeMap<String, OperationFigures>>,
    count: usize,
}

impl Rows {
    /// The row of an operation; `None`: there is no room for one more. A row that is there is found
    /// without an allocation, for this is done in every call.
    fn of(&mut self, mount: &ZnodePath, operation: &str) -> Option<&mut OperationFigures> {
        let known = self.by_mount.get(mount).is_some_and(|rows| rows.contains_key(operation));
        if !known {
            if self.count >= ROWS_MAX {
                return None;
            }
            self.count += 1;
            let rows = self.by_mount.entry(mount.clone()).or_default();
            rows.insert(operation.to_owned(), OperationFigures::new(operation.to_owned()));
        }
        self.by_mount.get_mut(mount)?.get_mut(operation)
    }
}

impl RecipeFigures {
    /// Counts a run.
    pub(crate) fn count(
        &self,
        mount: &ZnodePath,
        run: RecipeRun<'_>,
        end: Result<&RecipeEnd, &RecipeFault>,
        (fuel, took): (u64, Duration),
    ) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = rows.of(mount, run.name()) else { return };
        row.runs += 1;
        match end {
            Ok(RecipeEnd::Refused(_)) => row.refused += 1,
            Ok(RecipeEnd::Parked(_)) => row.parked += 1,
            Ok(RecipeEnd::Done(_) | RecipeEnd::Handled) => {}
            Err(_) => row.faults += 1,
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        row.fuel = row.fuel.saturating_add(fuel);
        row.fuel_max = row.fuel_max.max(fuel);
        row.nanoseconds = row.nanoseconds.saturating_add(nanoseconds);
        row.nanoseconds_max = row.nanoseconds_max.max(nanoseconds);
    }

    /// The rows of a mount, by operation.
    #[must_use]
    pub fn of(&self, mount: &ZnodePath) -> Vec<OperationFigures> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.by_mount.get(mount).map(|rows| rows.values().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use quorate_machine::{RecipeFailure, RecipeFaultKind};
    use quorate_types::SessionId;

    fn invoke(operation: &str) -> RecipeRun<'_> {
        RecipeRun::Invoke {
            object: "a",
            operation,
            arguments: &[],
            session: SessionId(1),
            identity: "somebody",
        }
    }

    #[test]
    fn runs_are_summed_by_mount_and_operation() {
        let figures = RecipeFigures::default();
        let [locks, others] = ["/locks", "/locks2"].map(|text| ZnodePath::parse(text).unwrap());
        let done = RecipeEnd::Done(Bytes::new());
        let refused = RecipeEnd::Refused(RecipeFailure {
            code: "held".into(),
            message: String::new(),
            detail: Bytes::new(),
        });
        let trapped =
            RecipeFault { kind: RecipeFaultKind::Trap, message: String::new(), fuel_used: 30 };
        let cost = |fuel| (fuel, Duration::from_nanos(fuel * 2));
        figures.count(&locks, invoke("acquire"), Ok(&done), cost(10));
        figures.count(&locks, invoke("acquire"), Ok(&refused), cost(20));
        figures.count(&locks, invoke("acquire"), Err(&trapped), cost(30));
        figures.count(&locks, RecipeRun::Migrate { from_state_version: 1 }, Ok(&done), cost(1));
        figures.count(&others, invoke("acquire"), Ok(&done), cost(5));
        let rows = figures.of(&locks);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].operation, "(migrate)");
        let acquire = &rows[1];
        assert_eq!((acquire.runs, acquire.refused, acquire.faults), (3, 1, 1));
        assert_eq!((acquire.fuel, acquire.fuel_max), (60, 30));
        assert_eq!((acquire.nanoseconds, acquire.nanoseconds_max), (120, 60));
        assert_eq!(figures.of(&others)[0].runs, 1);
    }
}
