//! Shadow runs: the next calls of a mount are also run by another version, to see what it would do.
//!
//! Comes in: which version, for how many calls. Goes out: a report of what differed. Invariant: a
//! shadow changes nothing, refuses nothing and is told to no caller; what it did is taken back
//! before the version that governs runs. It lives as long as its leader leads.

use crate::change::{AclSource, Change};
use crate::executor::{ComponentStatus, RecipeEnd, RecipeExecutor, RecipeFault, RecipeRun};
use crate::items::Mount;
use crate::prepare::{Work, descriptor_of, refusal_of_failure, refusal_of_fault, refuse};
use crate::request::Identity;
use crate::tables::{Mounts, State};
use crate::view::ViewMode;
use crate::{Machine, acl};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use quorate_types::recipe::{ShadowDifference, ShadowReport, ShadowRun};
use quorate_types::{ComponentDigest, ErrorCode, Outcome, Permissions, Refusal, Reply, ZnodePath};

/// Calls that one shadow is asked for at most.
const CALLS_MAX: u32 = 1_000_000;
/// Differences that are kept; more are counted.
const DIFFERENCES_MAX: usize = 20;
/// Changes of one run that are told in a difference.
const CHANGES_TOLD_MAX: usize = 50;

/// A version on trial beside the one that governs.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    mount: Arc<Mount>,
    /// The state version that it has to migrate from, for each call anew.
    migrates_from: Option<u32>,
    report: ShadowReport,
}

/// What the shadow did, to be compared.
pub(crate) struct ShadowEnd {
    end: Result<RecipeEnd, RecipeFault>,
    changes: Vec<Change>,
    fuel: u64,
}

impl Shadow {
    /// Checks what is asked for.
    pub(crate) fn begin(
        (machine, executor): (&Machine, &dyn RecipeExecutor),
        identity: &Identity,
        path: &ZnodePath,
        (digest, calls): (ComponentDigest, u32),
    ) -> Result<Shadow, Refusal> {
        let mount = governed(machine, identity, path)?;
        if calls > CALLS_MAX {
            return refuse(
                ErrorCode::BadArguments,
                format!("a shadow runs 1 to {CALLS_MAX} calls"),
            );
        }
        let Some(next) = descriptor_of(&*machine.tables, &digest) else {
            return refuse(ErrorCode::NoRecipe, format!("{digest} is not installed"));
        };
        let present = descriptor_of(&*machine.tables, &mount.digest).expect("it is installed");
        let (name, version) = (next.name, next.state_version);
        let (governing, from) = (present.name, present.state_version);
        if name != governing {
            let message = format!("{path} is governed by recipe {governing}, not by {name}");
            return refuse(ErrorCode::RecipeInUse, message);
        }
        if version < from {
            let message = format!("the state has version {from}, the recipe knows {version}");
            return refuse(ErrorCode::RecipeInvalid, message);
        }
        match executor.status(&digest) {
            ComponentStatus::Ready(_) => {}
            ComponentStatus::Loading => {
                return refuse(ErrorCode::RecipeLoading, "the leader still compiles it: try again");
            }
            ComponentStatus::Invalid(why) => return refuse(ErrorCode::RecipeInvalid, why),
        }
        let before = mount.digest;
        Ok(Shadow {
            mount: Arc::new(Mount { digest, ..(*mount).clone() }),
            migrates_from: (version != from).then_some(from),
            report: ShadowReport::new(before, digest, calls),
        })
    }

    fn is_over(&self) -> bool {
        self.report.compared >= self.report.wanted
    }
}

/// The mount, for somebody who may change it.
fn governed(
    machine: &Machine,
    identity: &Identity,
    path: &ZnodePath,
) -> Result<Arc<Mount>, Refusal> {
    let Some(mount) = machine.tables.get::<Mounts>(path) else {
        return refuse(ErrorCode::NoMount, format!("no recipe is mounted at {path}"));
    };
    let znode = machine.tables.znode(path).expect("a mount's znode is there");
    acl::check(&znode, path, identity, &[Permissions::ADMIN])?;
    Ok(mount)
}

/// What the shadow of a mount has seen so far; none: there is none.
pub(crate) fn report(
    machine: &Machine,
    identity: &Identity,
    path: &ZnodePath,
    shadow: Option<&Shadow>,
) -> Outcome {
    let mount = governed(machine, identity, path)?;
    // A shadow of what does not govern any more says nothing.
    let shadow = shadow.filter(|shadow| shadow.report.before == mount.digest);
    Ok(Reply::Shadow(shadow.map(|shadow| shadow.report.clone())))
}

impl Work {
    /// Lets the shadow of a mount run a call, and takes everything back. The run after it finds all
    /// as if there was none: also its seed, which counts runs.
    pub(crate) fn run_shadow(
        &mut self,
        executor: &mut dyn RecipeExecutor,
        (path, mount): (&ZnodePath, &Arc<Mount>),
        run: RecipeRun<'_>,
        mode: ViewMode,
    ) -> Option<ShadowEnd> {
        let shadow = self.shadows.get(path)?;
        if shadow.is_over() || shadow.report.before != mount.digest {
            return None;
        }
        let (trial, migrates_from) = (Arc::clone(&shadow.mount), shadow.migrates_from);
        let savepoint = self.savepoint();
        let (runs, parked, log) = (self.runs, self.tickets_parked, self.log.len());
        let fuel_used = self.fuel_used;
        let touched = self.touched.clone();
        executor.set_counted(false);
        let end = self.migrate_and_run(executor, (path, &trial), (run, mode), migrates_from);
        executor.set_counted(true);
        self.rollback(&savepoint);
        (self.runs, self.tickets_parked, self.fuel_used) = (runs, parked, fuel_used);
        self.log.truncate(log);
        self.touched = touched;
        Some(end)
    }

    fn migrate_and_run(
        &mut self,
        executor: &mut dyn RecipeExecutor,
        mount: (&ZnodePath, &Arc<Mount>),
        (run, mode): (RecipeRun<'_>, ViewMode),
        migrates_from: Option<u32>,
    ) -> ShadowEnd {
        let fuel_before = self.fuel_used;
        if let Some(from_state_version) = migrates_from {
            let migration = RecipeRun::Migrate { from_state_version };
            let end = self.run_uncounted(executor, mount, migration, ViewMode::Event);
            if !matches!(end, Ok(RecipeEnd::Handled)) {
                let fuel = self.fuel_used - fuel_before;
                return ShadowEnd { end, changes: Vec::new(), fuel };
            }
            // As if it had run in a transaction before.
            self.runs -= 1;
        }
        let before = self.changes.len();
        let end = self.run_uncounted(executor, mount, run, mode);
        let changes = self.changes[before..].to_vec();
        ShadowEnd { end, changes, fuel: self.fuel_used - fuel_before }
    }

    /// Compares the shadow's run with that of the version that governs, whose changes begin at
    /// `since`.
    pub(crate) fn compare_shadow(
        &mut self,
        path: &ZnodePath,
        (object, operation): (&str, &str),
        shadowed: Option<ShadowEnd>,
        (end, since, fuel): (&Result<RecipeEnd, RecipeFault>, usize, u64),
    ) {
        let Some(trial) = shadowed else { return };
        let Some(shadow) = self.shadows.get_mut(path) else { return };
        let changes = &self.changes[since.min(self.changes.len())..];
        let report = &mut shadow.report;
        report.compared += 1;
        report.fuel_before += fuel;
        report.fuel_after += trial.fuel;
        // Migrated state is laid out otherwise: only what callers are told can be the same.
        let same_changes = shadow.migrates_from.is_some() || changes == trial.changes;
        if same_changes && outcome_of(end) == outcome_of(&trial.end) {
            report.equal += 1;
        } else if report.differences.len() < DIFFERENCES_MAX {
            report.differences.push(ShadowDifference {
                zxid: self.stamp.zxid,
                object: String::from(object),
                operation: String::from(operation),
                before: told(end, changes),
                after: told(&trial.end, &trial.changes),
            });
        }
    }
}

fn outcome_of(end: &Result<RecipeEnd, RecipeFault>) -> Outcome {
    match end {
        Ok(RecipeEnd::Done(bytes)) => Ok(Reply::Called(bytes.clone())),
        Ok(RecipeEnd::Parked(ticket)) => Ok(Reply::Parked(*ticket)),
        Ok(RecipeEnd::Handled) => Ok(Reply::Done),
        Ok(RecipeEnd::Refused(failure)) => Err(refusal_of_failure(failure.clone())),
        Err(fault) => Err(refusal_of_fault(fault)),
    }
}

fn told(end: &Result<RecipeEnd, RecipeFault>, changes: &[Change]) -> ShadowRun {
    let mut lines: Vec<String> = changes.iter().take(CHANGES_TOLD_MAX).map(line_of).collect();
    if changes.len() > CHANGES_TOLD_MAX {
        lines.push(format!("and {} more", changes.len() - CHANGES_TOLD_MAX));
    }
    ShadowRun { outcome: outcome_of(end), changes: lines }
}

/// A change that a recipe can make, for a person.
fn line_of(change: &Change) -> String {
    match change {
        Change::CreateZnode { path, data, acl: AclSource::Parent, kind } => {
            format!("create {path} {kind:?} with {}", hex(data))
        }
        Change::SetData { path, data, .. } => format!("set {path} to {}", hex(data)),
        Change::DeleteZnode { path } => format!("delete {path}"),
        Change::Park { ticket, deadline_ms, .. } => match deadline_ms {
            Some(at_ms) => format!("park the caller as {ticket} until {at_ms}"),
            None => format!("park the caller as {ticket}"),
        },
        Change::Complete { ticket, outcome } => match outcome {
            Ok(Reply::Called(bytes)) => format!("answer {ticket} with {}", hex(bytes)),
            other => format!("answer {ticket} with {other:?}"),
        },
        Change::SetTimer { object, name, at_ms, .. } => {
            format!("set timer {name} of {object} to {at_ms}")
        }
        Change::CancelTimer { object, name, .. } => format!("cancel timer {name} of {object}"),
        other => format!("{other:?}"),
    }
}

/// CBOR for a person's eye: its first bytes.
fn hex(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > 64 { "…" } else { "" };
    format!("{} bytes {shown}{more}", bytes.len())
}
