//! What the disk promises, what it forgets, and how each fault shows.

use quorate_faulty_disk::{Choices, Crash, DiskError, DiskFault, Fate, FaultyDisk, POWER_LOSSES};
use quorate_storage::DiskOperation;

fn create(file: &str, bytes: u64) -> DiskOperation {
    DiskOperation::CreateZeroed { file: file.to_owned(), bytes }
}

fn write(file: &str, offset: u64, bytes: &[u8]) -> DiskOperation {
    DiskOperation::WriteAt { file: file.to_owned(), offset, bytes: bytes.to_vec() }
}

fn sync(file: &str) -> DiskOperation {
    DiskOperation::Sync { file: file.to_owned() }
}

fn rename(from: &str, to: &str) -> DiskOperation {
    DiskOperation::Rename { from: from.to_owned(), to: to.to_owned() }
}

/// Two durable files of three sectors, `a` full of 1 and `b` full of 2.
fn disk() -> FaultyDisk {
    let files = [("a", 1), ("b", 2)].map(|(name, byte)| (name.to_owned(), vec![byte; 1_536]));
    FaultyDisk::holding(&files.into())
}

fn lose_power(disk: &mut FaultyDisk) {
    disk.crash(Crash::LoseUnsynced, &mut Choices(1));
}

#[test]
fn what_was_synced_survives_every_crash() {
    for (number, crash) in POWER_LOSSES.into_iter().chain([Crash::Kill]).enumerate() {
        let mut disk = disk();
        let steps = [
            create("c", 600),
            write("c", 100, &[7; 500]),
            sync("c"),
            write("a", 0, &[8; 700]),
            sync("a"),
            rename("c", "d"),
            DiskOperation::SyncDirectory,
        ];
        steps.iter().for_each(|step| disk.perform(step));
        let before = disk.files();
        disk.crash(crash, &mut Choices(number as u64));
        assert_eq!(disk.files(), before, "{crash:?}");
    }
}

#[test]
fn tears_follow_the_sector_size() {
    for (sector_bytes, sectors) in [(512, 9), (4_096, 2)] {
        let mut disk = FaultyDisk::default().with_sector_bytes(sector_bytes);
        [create("a", 8_192), sync("a"), DiskOperation::SyncDirectory]
            .iter()
            .for_each(|step| disk.perform(step));
        disk.perform(&write("a", 100, &[1; 4_100]));
        assert_eq!(disk.unsynced().len(), sectors);
        let mut first = true;
        disk.crash_with(&mut |_| if std::mem::take(&mut first) { Fate::Kept } else { Fate::Lost });
        let written = disk.files()["a"].iter().filter(|byte| **byte == 1).count();
        assert_eq!(written, sector_bytes - 100);
    }
}

#[test]
fn after_a_failed_sync_pages_read_back_until_power_is_lost_and_no_sync_saves_them() {
    let mut disk = disk();
    disk.perform(&write("a", 0, &[9; 10]));
    assert_eq!(disk.try_perform(&sync("a"), Some(DiskFault::FailedSync)), Err(DiskError::Io));
    disk.crash(Crash::Kill, &mut Choices(1));
    assert_eq!(disk.files()["a"][..10], [9; 10]);
    disk.perform(&sync("a"));
    assert_eq!(disk.files()["a"][..10], [9; 10]);
    let mut rewritten = disk.clone();
    disk.crash(Crash::KeepUnsynced, &mut Choices(1));
    assert_eq!(disk.files()["a"][..10], [1; 10]);
    rewritten.perform(&write("a", 0, &[9; 10]));
    rewritten.perform(&sync("a"));
    lose_power(&mut rewritten);
    assert_eq!(rewritten.files()["a"][..10], [9; 10]);
}

#[test]
fn lies_show_after_a_loss_of_power_only() {
    let lost = DiskFault::LostWrite;
    let misdirected = DiskFault::Misdirected { file: "b".to_owned(), offset: 1_000 };
    for (fault, expected_b) in [(lost, [2, 2]), (misdirected, [9, 2])] {
        let mut disk = disk();
        assert!(fault.is_lie());
        let write = write("a", 0, &[9; 512]);
        assert_eq!(disk.try_perform(&write, Some(fault.clone())), Ok(()));
        disk.perform(&sync("a"));
        assert_eq!((disk.files()["a"][0], disk.files()["b"][512]), (9, 2), "{fault:?}");
        lose_power(&mut disk);
        let files = disk.files();
        assert_eq!(files["a"], [1; 1_536], "{fault:?}");
        assert_eq!([files["b"][512], files["b"][1_024]], expected_b, "{fault:?}");
    }
}

#[test]
fn a_lost_directory_entry_is_there_until_power_is_lost() {
    let mut disk = disk();
    let renamed = disk.try_perform(&rename("a", "c"), Some(DiskFault::LostDirectoryEntry));
    assert_eq!(renamed, Ok(()));
    disk.perform(&DiskOperation::SyncDirectory);
    assert_eq!(disk.files()["c"], [1; 1_536]);
    lose_power(&mut disk);
    assert_eq!(disk.files().keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_failed_operation_changes_nothing_and_a_full_disk_keeps_a_part() {
    let operations = [
        create("c", 512),
        write("a", 0, &[9; 10]),
        sync("a"),
        rename("a", "c"),
        DiskOperation::Remove { file: "a".to_owned() },
        DiskOperation::SyncDirectory,
    ];
    for operation in operations {
        let mut disk = disk();
        let before = disk.files();
        let performed = disk.try_perform(&operation, Some(DiskFault::IoError));
        assert_eq!((performed, disk.files()), (Err(DiskError::Io), before));
    }
    let mut disk = disk();
    let full = |kept_bytes| Some(DiskFault::FullDisk { kept_bytes });
    assert_eq!(disk.try_perform(&write("a", 0, &[9; 10]), full(4)), Err(DiskError::Full));
    assert_eq!(disk.files()["a"][..6], [9, 9, 9, 9, 1, 1]);
    assert_eq!(disk.try_perform(&create("c", 10), full(99)), Err(DiskError::Full));
    assert_eq!(disk.files()["c"], [0; 9]);
}

#[test]
fn a_disk_with_a_capacity_fills_and_empties() {
    let mut disk = disk().with_capacity(4_000);
    assert_eq!(disk.try_perform(&create("c", 2_000), None), Err(DiskError::Full));
    assert_eq!(disk.used_bytes(), 4_000);
    disk.perform(&DiskOperation::Remove { file: "a".to_owned() });
    assert_eq!(disk.try_perform(&create("c", 2_000), None), Ok(()));
    disk.set_capacity(None);
    disk.perform(&create("e", 1_000_000));
}

#[test]
fn every_drawn_fault_fits_and_every_operation_can_suffer_one() {
    let mut choices = Choices(3);
    let operations =
        [create("c", 700), write("a", 0, &[9; 600]), sync("a"), DiskOperation::SyncDirectory];
    let (mut reported, mut lies) = (0, 0);
    for round in 0..400 {
        let mut disk = disk();
        let operation = &operations[round % operations.len()];
        let honest = DiskFault::draw_honest(operation, &mut choices);
        assert!(disk.clone().try_perform(operation, Some(honest.clone())).is_err(), "{honest:?}");
        reported += 1;
        if let Some(lie) = DiskFault::draw_lie(&disk, operation, &mut choices) {
            assert_eq!(disk.try_perform(operation, Some(lie)), Ok(()));
            lies += 1;
        }
    }
    assert_eq!((reported, lies), (400, 200));
}

#[test]
fn damage_at_rest_is_on_the_medium_and_in_the_page_cache() {
    for seed in 0..200 {
        let mut disk = disk();
        let before = disk.files();
        let file = disk.rot(&mut Choices(seed)).expect("there are files");
        let rotten = disk.files();
        let differ = |name: &&String| before[*name] != rotten[*name];
        let changed: Vec<&String> = before.keys().filter(differ).collect();
        assert_eq!(changed, [&file], "seed {seed}");
        lose_power(&mut disk);
        assert_eq!(disk.files(), rotten, "seed {seed}");
    }
    let mut disk = disk();
    disk.truncate_file("a", 100);
    disk.lose_file("b");
    assert_eq!(disk.files(), [("a".to_owned(), vec![1; 100])].into());
    lose_power(&mut disk);
    assert_eq!(disk.files(), [("a".to_owned(), vec![1; 100])].into());
    assert_eq!(FaultyDisk::default().rot(&mut Choices(1)), None);
}
