//! Every state that a loss of power can leave behind: nothing durable is missing, nothing is
//! invented, and no crash is taken for corruption.
//!
//! Comes in: seeds, and in `QUORATE_CRASH_STATES` how many different states to look at. Goes out:
//! counts. Invariant: what is read is a state between the newest durable batch and the newest begun
//! one, with its snapshot; a crash of the recovery changes nothing about that, and the log goes on
//! working. Must never: judge a state by what the log itself says it did.

mod history;

use history::{
    Batch, Completes, History, SETTINGS, State, Step, has_snapshot, perform_all, recover,
};
use quorate_faulty_disk::{
    Choices, Crash, DiskFault, Fate, FaultyDisk, POWER_LOSSES, Unsynced, UnsyncedPart,
};
use quorate_raft::{Entry, EntryKind, Index, Term};
use quorate_storage::{DiskOperation, Log, Recovered, RecoveryError};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

type Files = BTreeMap<String, Vec<u8>>;

/// Without a wish in the environment: takes some seconds.
const CRASH_STATES: usize = 10_000;
const ACTS: u64 = 60;

/// What a recovery after a crash may find.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    /// `states[durable..=begun]` are allowed; None: creation did not finish.
    states: &'a [State],
    durable: Option<usize>,
    begun: usize,
}

impl Bounds<'_> {
    /// The state that was read; None: the log was rightly found not to be there.
    fn check(&self, files: &Files, at: &str) -> Option<Recovered> {
        let read = match recover(files) {
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
        assert!(has_snapshot(files, &read.snapshot), "{at}: no file of {:?}", read.snapshot);
        Some(read)
    }
}

#[derive(Default, Debug)]
struct Counts {
    histories: u64,
    /// Places between two operations.
    crash_points: u64,
    /// Of them, in the operations of a recovery.
    crash_points_in_recovery: u64,
    crash_states: u64,
    different_states: usize,
    crashes_in_recovery: u64,
    torn_tails: u64,
    unfinished_creations: u64,
    continued: u64,
    segments_begun: u64,
    spares_used: u64,
    files_recycled: u64,
    files_removed: u64,
    snapshots_saved: u64,
    snapshots_installed: u64,
    truncations: u64,
}

struct Sweep {
    counts: Counts,
    /// Hashes of the files of every state looked at.
    different: HashSet<u64>,
    wanted: usize,
}

impl Sweep {
    fn wanting(wanted: usize) -> Sweep {
        Sweep { counts: Counts::default(), different: HashSet::new(), wanted }
    }

    fn is_done(&self) -> bool {
        self.different.len() >= self.wanted
    }

    fn note_operation(&mut self, operation: &DiskOperation) {
        let counts = &mut self.counts;
        match operation {
            DiskOperation::CreateZeroed { file, .. } if file.starts_with("segment") => {
                counts.segments_begun += 1;
            }
            DiskOperation::Rename { from, .. } if from.starts_with("spare") => {
                counts.spares_used += 1;
            }
            DiskOperation::Rename { from, .. } if from.starts_with("segment") => {
                counts.files_recycled += 1;
            }
            DiskOperation::Remove { .. } => counts.files_removed += 1,
            _ => {}
        }
    }

    /// Looks at every state that a crash now can leave.
    fn crash(&mut self, disk: &FaultyDisk, bounds: Bounds<'_>, at: &str, choices: &mut Choices) {
        self.counts.crash_points += 1;
        let mut looked_at = HashSet::new();
        self.judge(disk.clone(), bounds, &format!("{at}, killed"), choices);
        for (fates, what) in fates(disk, choices) {
            let mut fates = fates.into_iter();
            let mut crashed = disk.clone();
            crashed.crash_with(&mut |_| fates.next().expect("one for each"));
            self.counts.crash_states += 1;
            if looked_at.insert(fingerprint(&crashed.files())) {
                self.judge(crashed, bounds, &format!("{at}, {what}"), choices);
            }
        }
    }

    /// Recovers, crashing some recoveries too; then goes on with what was read.
    fn judge(&mut self, disk: FaultyDisk, bounds: Bounds<'_>, at: &str, choices: &mut Choices) {
        let mut disk = disk;
        let files = disk.files();
        self.different.insert(fingerprint(&files));
        let Some(mut read) = bounds.check(&files, at) else {
            self.counts.unfinished_creations += 1;
            return;
        };
        self.counts.torn_tails += u64::from(read.torn_bytes > 0);
        for _ in 0..choices.below(3) {
            let performed = choices.below(read.operations.len() as u64 + 1) as usize;
            read.operations[..performed].iter().for_each(|operation| disk.perform(operation));
            let again = draw_crash(choices);
            disk.crash(again, choices);
            self.counts.crashes_in_recovery += 1;
            let at = format!("{at}, then {again:?} after {performed} steps of recovery");
            let Some(again) = bounds.check(&disk.files(), &at) else {
                self.counts.unfinished_creations += 1;
                return;
            };
            read = again;
        }
        self.go_on(disk, &read, at, choices);
    }

    /// What was read is durable once recovery is done: it is there after the next loss of power
    /// too, and the log takes further batches.
    fn go_on(&mut self, disk: FaultyDisk, read: &Recovered, at: &str, choices: &mut Choices) {
        let mut disk = disk;
        let mut history = History::continued(read);
        perform_all(&mut history, &mut disk);
        for _ in 0..choices.below(4) {
            history.act(choices);
            perform_all(&mut history, &mut disk);
        }
        disk.crash(POWER_LOSSES[choices.below(5) as usize], choices);
        let last = history.states.len() - 1;
        let bounds = Bounds { states: &history.states, durable: Some(last), begun: last };
        let read = bounds.check(&disk.files(), at).expect("a log");
        assert_eq!(read.torn_bytes, 0, "{at}: nothing was on its way");
        self.counts.continued += 1;
    }

    /// Runs a history of several lives, and looks at every place between two of its operations.
    fn enumerate(&mut self, seed: u64) {
        let mut choices = Choices(seed);
        let sector_bytes = if seed.is_multiple_of(2) { 512 } else { 4_096 };
        let mut life = Life::begin(sector_bytes);
        self.counts.histories += 1;
        let mut acts_left = ACTS;
        loop {
            acts_left -= life.queue_acts(acts_left, &mut choices);
            let at = format!("seed {seed}, step {}", life.performed);
            let disk = life.disk.clone();
            self.counts.crash_points_in_recovery += u64::from(life.before.is_some());
            self.crash(&disk, life.bounds(), &at, &mut choices);
            if life.history.queue.is_empty() {
                break;
            }
            let step = life.perform_one(&mut choices);
            self.note_operation(&step.operation);
            if life.before.is_none() && choices.one_in(30) {
                self.note_batches(&life.history.states);
                life.end(&mut choices, &at);
            }
        }
        self.note_batches(&life.history.states);
        self.counts.different_states = self.different.len();
    }

    fn note_batches(&mut self, states: &[State]) {
        for pair in states.windows(2) {
            let [before, after] = pair else { continue };
            let marked = before.snapshot != after.snapshot;
            let installed = marked && after.snapshot.index > before.last_index();
            self.counts.snapshots_saved += u64::from(marked && !installed);
            self.counts.snapshots_installed += u64::from(installed);
            let shorter = after.last_index() < before.last_index();
            self.counts.truncations += u64::from(!marked && shorter);
        }
    }
}

/// A server between two losses of power, and what it may find of the life before.
struct Life {
    disk: FaultyDisk,
    history: History,
    begun: usize,
    performed: u64,
    /// While recovery is under way: the states that it may find, the newest durable and the newest
    /// begun one.
    before: Option<(Vec<State>, Option<usize>, usize)>,
}

impl Life {
    fn begin(sector_bytes: usize) -> Life {
        let disk = FaultyDisk::default().with_sector_bytes(sector_bytes);
        Life { disk, history: History::create(), begun: 0, performed: 0, before: None }
    }

    fn bounds(&self) -> Bounds<'_> {
        match &self.before {
            Some((states, durable, begun)) => Bounds { states, durable: *durable, begun: *begun },
            None => {
                let states = &self.history.states;
                Bounds { states, durable: self.history.durable, begun: self.begun }
            }
        }
    }

    /// Up to a few batches are on their way at once; none before a recovery is done.
    fn queue_acts(&mut self, acts_left: u64, choices: &mut Choices) -> u64 {
        let mut acts = 0;
        while acts < acts_left
            && self.before.is_none()
            && (self.history.queue.len() < 3 || choices.one_in(3))
        {
            self.history.act(choices);
            acts += 1;
        }
        if choices.one_in(2) {
            self.history.merge_syncs();
        }
        acts
    }

    fn perform_one(&mut self, choices: &mut Choices) -> Step {
        let step = self.history.queue.remove(0);
        self.disk.perform(&step.operation);
        self.performed += 1;
        self.begun = self.begun.max(step.batch);
        let told = self.history.performed(&step).filter(|_| choices.one_in(3));
        told.into_iter().for_each(|sequence| self.history.log.durable(sequence));
        if matches!(step.completes, Completes::Batch(_)) {
            self.before = None;
        }
        step
    }

    /// Power is lost, and the next life begins with a recovery.
    fn end(&mut self, choices: &mut Choices, at: &str) {
        let crash = draw_crash(choices);
        self.disk.crash(crash, choices);
        let read = self.bounds().check(&self.disk.files(), at);
        let Some(read) = read else {
            let sector_bytes = self.disk.sector_bytes();
            *self = Life::begin(sector_bytes);
            return;
        };
        let history = History::continued(&read);
        let ended = std::mem::replace(&mut self.history, history);
        self.before = Some((ended.states, ended.durable, self.begun));
        self.begun = 0;
    }
}

fn draw_crash(choices: &mut Choices) -> Crash {
    match choices.below(6) {
        0 => Crash::Kill,
        kind => POWER_LOSSES[kind as usize - 1],
    }
}

fn fingerprint(files: &Files) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

type Fates = Vec<Fate>;

/// The fates to try: nothing lost, everything lost, every prefix of the steps, the step behind it
/// torn at every sector and at bytes, every small subset of names, and random subsets.
fn fates(disk: &FaultyDisk, choices: &mut Choices) -> Vec<(Fates, String)> {
    let unsynced = disk.unsynced();
    let each = |fate: &mut dyn FnMut(usize, &Unsynced) -> Fate| -> Fates {
        unsynced.iter().enumerate().map(|(number, unsynced)| fate(number, unsynced)).collect()
    };
    let mut all = vec![
        (each(&mut |_, _| Fate::Lost), String::from("all lost")),
        (each(&mut |_, _| Fate::Kept), String::from("all kept")),
    ];
    let mut steps: Vec<u64> = unsynced.iter().map(|unsynced| unsynced.step).collect();
    steps.sort_unstable();
    steps.dedup();
    for step in steps {
        let sectors: Vec<usize> =
            (0..unsynced.len()).filter(|number| unsynced[*number].step == step).collect();
        let tear = |kept: usize, torn: Fate| {
            each(&mut |number, unsynced| match sectors.iter().position(|own| *own == number) {
                Some(place) if place == kept => torn,
                Some(place) if place < kept => Fate::Kept,
                None if unsynced.step < step => Fate::Kept,
                _ => Fate::Lost,
            })
        };
        for kept in 0..sectors.len() {
            let bytes = match unsynced[sectors[kept]].part {
                UnsyncedPart::Length { bytes } | UnsyncedPart::Sector { bytes } => bytes as u64,
                UnsyncedPart::Name => 0,
            };
            all.push((tear(kept, Fate::Lost), format!("kept {kept} sectors of step {step}")));
            let cut = Fate::Cut { bytes: choices.below(bytes + 1) as usize };
            all.push((tear(kept, cut), format!("{cut:?} of sector {kept} of step {step}")));
        }
    }
    let names: Vec<usize> =
        (0..unsynced.len()).filter(|number| unsynced[*number].part == UnsyncedPart::Name).collect();
    for subset in 0..(1u64 << names.len().min(4)) {
        for others in [Fate::Kept, Fate::Lost] {
            let fates =
                each(&mut |number, _| match names.iter().position(|name| *name == number) {
                    Some(place) if subset & (1 << place) == 0 => Fate::Lost,
                    Some(_) => Fate::Kept,
                    None => others,
                });
            all.push((fates, format!("names {subset:b} kept, others {others:?}")));
        }
    }
    for spoils in [false, true, false, true, false, true] {
        let fates = each(&mut |_, unsynced| draw_fate(unsynced, spoils, choices));
        all.push((fates, format!("a random subset, spoilt: {spoils}")));
    }
    all
}

fn draw_fate(unsynced: &Unsynced, spoils: bool, choices: &mut Choices) -> Fate {
    match unsynced.part {
        UnsyncedPart::Length { bytes } if choices.one_in(2) => {
            Fate::Cut { bytes: choices.below(bytes as u64 + 1) as usize }
        }
        UnsyncedPart::Sector { .. } if spoils && choices.one_in(4) => {
            Fate::Spoilt { seed: choices.next() }
        }
        _ if choices.one_in(2) => Fate::Kept,
        _ => Fate::Lost,
    }
}

#[test]
fn every_crash_state_of_random_histories_keeps_what_was_durable() {
    let wanted = std::env::var("QUORATE_CRASH_STATES").map_or(CRASH_STATES, |wanted| {
        wanted.parse().unwrap_or_else(|_| panic!("QUORATE_CRASH_STATES: `{wanted}` is no number"))
    });
    let mut sweep = Sweep::wanting(wanted);
    let mut seed = 0;
    while !sweep.is_done() {
        sweep.enumerate(seed);
        seed += 1;
    }
    let counts = sweep.counts;
    println!("seeds 0..{seed}, half with sectors of 512, half of 4096 bytes: {counts:#?}");
    let seen = [
        counts.crash_points_in_recovery,
        counts.torn_tails,
        counts.unfinished_creations,
        counts.segments_begun,
        counts.spares_used,
        counts.files_recycled,
        counts.files_removed,
        counts.snapshots_saved,
        counts.snapshots_installed,
        counts.truncations,
    ];
    assert!(seed < 10 || seen.iter().all(|seen| *seen > 0), "part of a log's life is not seen");
}

/// An operation that fails ends the process. What the page cache shows the next one need not be on
/// the disk, and no sync puts it there.
#[test]
fn a_failed_operation_costs_nothing_that_was_durable() {
    let mut sweep = Sweep::wanting(0);
    let mut failed = BTreeMap::new();
    for seed in 0..12 {
        let mut choices = Choices(seed);
        let mut life = Life::begin(if seed % 2 == 0 { 512 } else { 4_096 });
        let mut acts_left = ACTS;
        loop {
            acts_left -= life.queue_acts(acts_left, &mut choices);
            let Some(step) = life.history.queue.first() else { break };
            for _ in 0..4 {
                let fault = DiskFault::draw_honest(&step.operation, &mut choices);
                let at = format!("seed {seed}, step {}, {fault:?}", life.performed);
                let mut disk = life.disk.clone();
                *failed.entry(name(&fault)).or_insert(0) += 1;
                let performed = disk.try_perform(&step.operation, Some(fault));
                assert!(performed.is_err(), "{at}");
                let begun = life.begun.max(step.batch);
                let bounds = Bounds { begun, ..life.bounds() };
                sweep.judge(disk.clone(), bounds, &format!("{at}, killed"), &mut choices);
                disk.crash(POWER_LOSSES[choices.below(5) as usize], &mut choices);
                sweep.judge(disk, bounds, &format!("{at}, without power"), &mut choices);
            }
            life.perform_one(&mut choices);
        }
    }
    println!("{failed:?}");
    assert_eq!(failed.len(), 3);
}

/// A page cache that shows zeros says nothing about the disk.
#[test]
fn a_spare_whose_sync_failed_is_not_used_after_a_restart() {
    let mut disk = FaultyDisk::default();
    let mut history = History::create();
    let payload = || vec![7; 3_000].into();
    let entry = |index| Entry {
        index: Index(index),
        term: Term(1),
        kind: EntryKind::Command,
        payload: payload(),
    };
    for index in 1..=2 {
        history.append(&Batch { entries: vec![entry(index)], ..Batch::default() });
    }
    perform_all(&mut history, &mut disk);
    for operation in history.log.prepare_spare() {
        let is_sync = matches!(operation, DiskOperation::Sync { .. });
        let fault = is_sync.then_some(DiskFault::FailedSync);
        if disk.try_perform(&operation, fault).is_err() {
            break;
        }
    }
    let mut history = History::continued(&recover(&disk.files()).expect("a log"));
    history.append(&Batch { entries: vec![entry(3)], ..Batch::default() });
    perform_all(&mut history, &mut disk);
    disk.crash(Crash::LoseUnsynced, &mut Choices(1));
    let read = recover(&disk.files()).expect("a log");
    assert!(history.newest().is_log_of(&read), "{read:?}");
}

fn name(fault: &DiskFault) -> &'static str {
    match fault {
        DiskFault::IoError => "failed operations",
        DiskFault::FullDisk { .. } => "full disks",
        DiskFault::FailedSync => "failed syncs",
        _ => panic!("{fault:?} is not reported"),
    }
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
            let mut begun = 0;
            for _ in 0..choices.below(60) {
                history.act(&mut choices);
                let performed = choices.below(history.queue.len() as u64 + 1) as usize;
                let steps: Vec<Step> = history.queue.drain(..performed).collect();
                for step in steps {
                    disk.perform(&step.operation);
                    begun = begun.max(step.batch);
                    if let Some(sequence) = history.performed(&step) {
                        history.log.durable(sequence);
                    }
                }
            }
            let crash = draw_crash(&mut choices);
            disk.crash(crash, &mut choices);
            let at = format!("seed {seed}, life {life}, {crash:?}");
            let bounds = Bounds { states: &history.states, durable: history.durable, begun };
            let read = bounds.check(&disk.files(), &at).expect("a log");
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
    for kind in ["segment", "manifest", "snapshot", "directory"] {
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
        for step in std::mem::take(&mut history.queue) {
            if !is_left_out(&step.operation) {
                disk.perform(&step.operation);
            }
            history.performed(&step).into_iter().for_each(|sequence| history.log.durable(sequence));
        }
    }
    disk.crash(Crash::KeepSubset, &mut choices);
    let files = disk.files();
    match Log::recover(SETTINGS, &files) {
        Ok(read) => !history.newest().is_log_of(&read) || !has_snapshot(&files, &read.snapshot),
        Err(_) => true,
    }
}
