//! Every point at which a server can stop, with every kind of loss: nothing durable is missing,
//! nothing is invented, and no crash is taken for corruption.

mod history;

use history::{History, SETTINGS, State, perform_all};
use quorate_faulty_disk::{Choices, Crash, FaultyDisk, POWER_LOSSES};
use quorate_storage::{DiskOperation, Log, Recovered, RecoveryError};

/// What a recovery after a crash may find.
struct Bounds<'a> {
    /// `states[durable..=begun]` are allowed; None: creation did not finish.
    states: &'a [State],
    durable: Option<usize>,
    begun: usize,
}

impl Bounds<'_> {
    /// The state that was read; None: the log was rightly found not to be there.
    fn check(&self, read: Result<Recovered, RecoveryError>, at: &str) -> Option<Recovered> {
        let read = match read {
            Ok(read) => read,
            Err(RecoveryError::NotCreated) if self.durable.is_none() => return None,
            Err(error) => panic!("{at}: {error:?}"),
        };
        assert_eq!(read.damage, None, "{at}: a crash was taken for corruption");
        let durable = self.durable.unwrap_or(0);
        let found = (durable..=self.begun).find(|place| self.states[*place].is_log_of(&read));
        let Some(found) = found else {
            panic!(
                "{at}: {read:?} is none of {durable}..={}: {:?}",
                self.begun,
                &self.states[durable..=self.begun]
            );
        };
        let votes = &self.states[found..=self.begun];
        assert!(
            votes.iter().any(|state| state.hard_state == read.hard_state),
            "{at}: {:?} is older than durable",
            read.hard_state
        );
        Some(read)
    }
}

#[derive(Default, Debug)]
struct Counts {
    crash_points: u64,
    crash_states: u64,
    crashes_in_recovery: u64,
    torn_tails: u64,
    unfinished_creations: u64,
    continued: u64,
}

/// Crashes a copy of the disk, and crashes the recovery too; then goes on with what was read.
fn crash_and_recover(
    disk: &FaultyDisk,
    crash: Crash,
    bounds: &Bounds<'_>,
    (choices, counts, at): (&mut Choices, &mut Counts, &str),
) {
    let mut disk = disk.clone();
    disk.crash(crash, choices);
    counts.crash_states += 1;
    let Some(mut read) = bounds.check(Log::recover(SETTINGS, &disk.files()), at) else {
        counts.unfinished_creations += 1;
        return;
    };
    counts.torn_tails += u64::from(read.torn_bytes > 0);
    for _ in 0..choices.below(3) {
        let performed = choices.below(read.operations.len() as u64 + 1) as usize;
        read.operations[..performed].iter().for_each(|operation| disk.perform(operation));
        let again = match choices.below(6) {
            0 => Crash::Kill,
            kind => POWER_LOSSES[kind as usize - 1],
        };
        disk.crash(again, choices);
        counts.crashes_in_recovery += 1;
        let at = format!("{at}, then {again:?} after {performed} steps of recovery");
        let Some(again) = bounds.check(Log::recover(SETTINGS, &disk.files()), &at) else {
            counts.unfinished_creations += 1;
            return;
        };
        read = again;
    }
    go_on(disk, &read, (choices, counts, at));
}

/// What was read is durable once recovery is done: it is there after the next loss of power too.
fn go_on(
    mut disk: FaultyDisk,
    read: &Recovered,
    (choices, counts, at): (&mut Choices, &mut Counts, &str),
) {
    let mut history = History::continued(read);
    perform_all(&mut history, &mut disk);
    for _ in 0..choices.below(4) {
        history.act(choices);
        perform_all(&mut history, &mut disk);
    }
    disk.crash(POWER_LOSSES[choices.below(5) as usize], choices);
    let last = history.states.len() - 1;
    let bounds = Bounds { states: &history.states, durable: Some(last), begun: last };
    let read = bounds.check(Log::recover(SETTINGS, &disk.files()), at).expect("a log");
    assert_eq!(read.torn_bytes, 0, "{at}: nothing was on its way");
    counts.continued += 1;
}

/// Runs a history, and at each of its steps tries every kind of crash.
fn enumerate(seed: u64, acts: u64, counts: &mut Counts) {
    let mut choices = Choices(seed);
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    let (mut durable, mut begun) = (None, 0);
    let mut acts_left = acts;
    loop {
        // Up to a few batches are on their way at once.
        while acts_left > 0 && (history.queue.len() < 3 || choices.one_in(3)) {
            history.act(&mut choices);
            acts_left -= 1;
        }
        if choices.one_in(2) {
            history.merge_syncs();
        }
        counts.crash_points += 1;
        for crash in [Crash::Kill].iter().chain(&POWER_LOSSES) {
            let repeats =
                if matches!(crash, Crash::KeepSubset | Crash::SpoilInFlight) { 3 } else { 1 };
            for _ in 0..repeats {
                let at = format!("seed {seed}, step {}, {crash:?}", counts.crash_points);
                let bounds = Bounds { states: &history.states, durable, begun };
                crash_and_recover(&disk, *crash, &bounds, (&mut choices, counts, &at));
            }
        }
        if history.queue.is_empty() {
            break;
        }
        let step = history.queue.remove(0);
        disk.perform(&step.operation);
        begun = begun.max(step.batch);
        if let Some(sequence) = step.completes {
            durable = Some(step.batch);
            if choices.one_in(3) {
                history.log.durable(sequence);
            }
        }
    }
}

#[test]
fn every_crash_point_of_random_histories_keeps_what_was_durable() {
    let mut counts = Counts::default();
    for seed in 0..60 {
        enumerate(seed, 40, &mut counts);
    }
    println!("{counts:?}");
    assert!(counts.torn_tails > 1_000, "the crashes tore too little: {counts:?}");
    assert!(counts.unfinished_creations > 100, "{counts:?}");
}

#[test]
fn many_lives_in_a_row_keep_what_was_durable() {
    let (mut lives, mut batches) = (0, 0);
    for seed in 1_000..1_100 {
        let mut choices = Choices(seed);
        let mut disk = FaultyDisk::default();
        let mut history = History::create();
        perform_all(&mut history, &mut disk);
        for life in 0..40 {
            let (mut durable, mut begun) = (0, 0);
            for _ in 0..choices.below(60) {
                history.act(&mut choices);
                let performed = choices.below(history.queue.len() as u64 + 1) as usize;
                for step in history.queue.drain(..performed) {
                    disk.perform(&step.operation);
                    begun = begun.max(step.batch);
                    if let Some(sequence) = step.completes {
                        durable = step.batch;
                        history.log.durable(sequence);
                    }
                }
            }
            let crash = match choices.below(6) {
                0 => Crash::Kill,
                kind => POWER_LOSSES[kind as usize - 1],
            };
            disk.crash(crash, &mut choices);
            let at = format!("seed {seed}, life {life}, {crash:?}");
            let bounds = Bounds { states: &history.states, durable: Some(durable), begun };
            let read = bounds.check(Log::recover(SETTINGS, &disk.files()), &at).expect("a log");
            lives += 1;
            batches += history.states.len();
            history = History::continued(&read);
            perform_all(&mut history, &mut disk);
        }
    }
    println!("{lives} lives, {batches} batches");
}

/// The model has teeth: a shell that leaves out a step loses data, and the check sees it.
#[test]
fn leaving_out_any_kind_of_sync_is_noticed() {
    for kind in ["segment", "manifest", "directory"] {
        let is_left_out = |operation: &DiskOperation| match operation {
            DiskOperation::Sync { file } => file.starts_with(kind),
            DiskOperation::SyncDirectory => kind == "directory",
            _ => false,
        };
        let noticed = (0..200).filter(|seed| loses_without(*seed, &is_left_out)).count();
        println!("without the sync of a {kind}: {noticed} of 200 histories lost something");
        assert!(noticed > 0, "without the sync of a {kind} nothing was lost");
    }
}

fn loses_without(seed: u64, is_left_out: &dyn Fn(&DiskOperation) -> bool) -> bool {
    let mut choices = Choices(seed);
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    perform_all(&mut history, &mut disk);
    for _ in 0..30 {
        history.act(&mut choices);
    }
    for step in std::mem::take(&mut history.queue) {
        if !is_left_out(&step.operation) {
            disk.perform(&step.operation);
        }
    }
    disk.crash(Crash::KeepSubset, &mut choices);
    match Log::recover(SETTINGS, &disk.files()) {
        Ok(read) => !history.newest().is_log_of(&read),
        Err(_) => true,
    }
}
