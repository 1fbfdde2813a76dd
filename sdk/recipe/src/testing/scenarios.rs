//! Scenario files, run natively.
//!
//! Comes in: a folder of scripts. Goes out: a panic that says what differs, or, with
//! `QUORATE_REWRITE=1` in the environment, the files with the traces that were seen.

use super::mounted::{Mounted, Version};
use super::served::{CallNumber, Kept, Served};
use crate::contract::Recipe;
use crate::failure::Failure;
use crate::object::SessionId;
use quorate_recipe_scenario::{
    Answer, CallId, Happened, MOUNT_ZXID, Refused, Stage, Znode, check_file, scenarios_in,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Runs every `*.txt` of a folder, each on a mount of its own. `quorate recipe test` runs the same
/// files through the component in the server's code, and both must leave the same traces.
///
/// With `QUORATE_REWRITE=1` in the environment the traces in the files are replaced by those seen:
/// read what that changed before you keep it.
///
/// # Panics
/// A trace differs, a line is not understood, or there is no file.
#[track_caller]
pub fn run_scenarios<R: Recipe>(folder: impl AsRef<Path>) {
    let folder = folder.as_ref();
    let paths = scenarios_in(folder).unwrap_or_else(|error| panic!("{error}"));
    assert!(!paths.is_empty(), "{} holds no scenario", folder.display());
    let rewriting = std::env::var("QUORATE_REWRITE").is_ok_and(|value| value == "1");
    let mut report = String::new();
    for path in paths {
        let mut stage = NativeStage::of::<R>();
        if let Err(error) = check_file(&path, &mut stage, rewriting) {
            report.push_str(&format!("{error}\n"));
        }
    }
    assert!(report.is_empty(), "scenarios differ (QUORATE_REWRITE=1 rewrites them):\n{report}");
}

/// A recipe's own code under the rules of [`super::TestMount`].
struct NativeStage {
    served: Served,
    version: Version,
    faults_told: usize,
}

impl NativeStage {
    fn of<R: Recipe>() -> NativeStage {
        let version = Version::of::<R>();
        let served = Served::new(Mounted::unmounted(version, MOUNT_ZXID));
        NativeStage { served, version, faults_told: 0 }
    }

    /// A panic ends the call as a trap ends it on the server: nothing is changed. One that says that
    /// the recipe is not deterministic is no trap there, and goes on.
    fn call_or_trap(
        &mut self,
        session: SessionId,
        called: (&str, &str),
        arguments: &[u8],
    ) -> (CallNumber, Kept) {
        let before = self.served.clone();
        let made = catch_unwind(AssertUnwindSafe(|| self.served.call(session, called, arguments)));
        let panic = match made {
            Ok(made) => return made,
            Err(panic) => panic,
        };
        let said = panic.downcast_ref::<String>().map(String::as_str);
        if said.is_some_and(|said| said.contains("not deterministic")) {
            resume_unwind(panic);
        }
        self.served = before;
        if !self.served.mounted.is_query(called.1) {
            self.served.mounted.commit();
        }
        let trapped = Failure::new("recipe-trapped", "the recipe trapped");
        self.served.keep(session, Err(trapped))
    }
}

fn refused(failure: Failure) -> Refused {
    Refused { code: failure.code, message: failure.message, detail: failure.detail }
}

fn answer_of(kept: Kept) -> Answer {
    match kept {
        Kept::Waiting(_) => Answer::Parked,
        Kept::Answered(Ok(reply)) => Answer::Done(reply),
        Kept::Answered(Err(failure)) => Answer::Refused(refused(failure)),
    }
}

impl Stage for NativeStage {
    fn mount(&mut self, config: &[u8]) -> Result<(), Refused> {
        self.served.mounted.mount(config.to_vec()).map_err(refused)
    }

    fn open(&mut self, identity: &str) -> u64 {
        self.served.mounted.open_session(Some(identity)).0
    }

    fn call(
        &mut self,
        session: u64,
        object: &str,
        operation: &str,
        arguments: &[u8],
    ) -> (CallId, Answer) {
        let (call, kept) = self.call_or_trap(SessionId(session), (object, operation), arguments);
        (call, answer_of(kept))
    }

    fn retry(&mut self, session: u64, call: CallId) -> Answer {
        answer_of(self.served.retry(SessionId(session), call))
    }

    fn cancel(&mut self, session: u64, call: CallId) {
        if let Kept::Waiting(ticket) = self.served.retry(SessionId(session), call) {
            self.served.mounted.cancel(ticket);
        }
    }

    fn close(&mut self, session: u64) {
        self.served.close(SessionId(session));
    }

    fn advance(&mut self, ms: u64) {
        self.served.mounted.advance(ms);
    }

    fn jump(&mut self, ms: u64) {
        self.served.mounted.jump(ms);
    }

    fn configure(&mut self, config: &[u8]) -> Result<(), Refused> {
        self.served.mounted.configure(config.to_vec()).map_err(refused)
    }

    fn upgrade(&mut self) -> Result<(), Refused> {
        self.served.mounted.upgrade(self.version).map_err(refused)
    }

    fn znodes(&self) -> Vec<Znode> {
        let below = self.served.mounted.world.znodes.iter().filter(|(path, _)| !path.is_empty());
        let told = below.map(|(path, znode)| Znode {
            path: path.clone(),
            data: znode.data.clone(),
            owner: znode.owner.map(|owner| owner.0),
            version: znode.version,
            created: znode.created,
            modified: znode.modified,
        });
        told.collect()
    }

    fn take_happened(&mut self) -> Vec<Happened> {
        let pushed = self.served.take_pushed().into_iter().map(|(session, call, answer)| {
            let (session, answer) = (session.0, answer.map_err(refused));
            Happened::Pushed { session, call, answer }
        });
        let faults = &self.served.mounted.faults[self.faults_told..];
        let told = faults.iter().cloned().map(|failure| Happened::HandlerRefused(refused(failure)));
        let happened = pushed.chain(told).collect();
        self.faults_told = self.served.mounted.faults.len();
        happened
    }
}
