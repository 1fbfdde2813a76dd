//! A disk that forgets: what tests perform disk operations on.
//!
//! Comes in: disk operations, and crashes. Goes out: the files that a server finds afterwards.
//! Invariant: synced content and synced names survive every crash; of what is not synced, any part
//! may. Writes reach the disk in sectors of 512 bytes, in any order, and the last one may be cut at
//! any byte. Must never: let a test pass by keeping more than a real disk promises.
#![allow(missing_docs, reason = "a tool of this workspace's tests")]

use quorate_storage::DiskOperation;
use std::collections::BTreeMap;

/// Bytes that a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// A seeded source of choices (splitmix64).
#[derive(Clone, Debug)]
pub struct Choices(pub u64);

impl Choices {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// How a server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends; the operating system keeps everything, synced or not.
    Kill,
    /// Power is lost; nothing that was not synced survives.
    LoseUnsynced,
    /// Power is lost; everything happened to be written just before.
    KeepUnsynced,
    /// Power is lost; unsynced steps survive up to one of them, and that one up to some byte.
    KeepPrefix,
    /// Power is lost; of the unsynced sectors and names, any survive.
    KeepSubset,
    /// As `KeepSubset`, and bytes on their way may become anything.
    SpoilInFlight,
}

pub const POWER_LOSSES: [Crash; 5] = [
    Crash::LoseUnsynced,
    Crash::KeepUnsynced,
    Crash::KeepPrefix,
    Crash::KeepSubset,
    Crash::SpoilInFlight,
];

/// One unsynced step, numbered in the order of all steps.
#[derive(Clone, Debug)]
struct Piece {
    step: u64,
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    synced: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Piece>,
    /// Length that is not synced yet.
    unsynced_length: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, content: usize },
    Rename { from: String, to: String },
    Remove { name: String },
}

#[derive(Clone, Debug, Default)]
pub struct FaultyDisk {
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<(u64, NameChange)>,
    steps: u64,
}

impl FaultyDisk {
    /// A disk on which these files are durable.
    pub fn holding(files: &BTreeMap<String, Vec<u8>>) -> FaultyDisk {
        let mut disk = FaultyDisk::default();
        for (name, bytes) in files {
            let content = disk.contents.len();
            let synced = bytes.clone();
            disk.contents.push(Content { synced, current: bytes.clone(), ..Content::default() });
            disk.names.insert(name.clone(), content);
        }
        disk.synced_names = disk.names.clone();
        disk
    }

    /// What reading every file gives now.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let read = |(name, content): (&String, &usize)| {
            (name.clone(), self.contents[*content].current.clone())
        };
        self.names.iter().map(read).collect()
    }

    pub fn perform(&mut self, operation: &DiskOperation) {
        self.steps += 1;
        match operation {
            DiskOperation::CreateZeroed { file, bytes } => self.create(file, *bytes as usize),
            DiskOperation::WriteAt { file, offset, bytes } => self.write(file, *offset, bytes),
            DiskOperation::Sync { file } => self.sync(file),
            DiskOperation::Rename { from, to } => self.rename(from, to),
            DiskOperation::Remove { file } => self.remove(file),
            DiskOperation::SyncDirectory => self.sync_directory(),
        }
    }

    fn create(&mut self, file: &str, bytes: usize) {
        let content = self.contents.len();
        self.contents.push(Content {
            current: vec![0; bytes],
            unsynced_length: true,
            ..Content::default()
        });
        self.names.insert(file.to_owned(), content);
        self.change_name(NameChange::Create { name: file.to_owned(), content });
    }

    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) {
        let step = self.steps;
        let content = self.content(file);
        let mut offset = offset as usize;
        let mut rest = bytes;
        assert!(offset + rest.len() <= content.current.len(), "a write beyond the end of {file}");
        while !rest.is_empty() {
            let (piece, after) =
                rest.split_at(rest.len().min(SECTOR_BYTES - offset % SECTOR_BYTES));
            content.current[offset..offset + piece.len()].copy_from_slice(piece);
            content.unsynced.push(Piece { step, offset, bytes: piece.to_vec() });
            offset += piece.len();
            rest = after;
        }
    }

    fn sync(&mut self, file: &str) {
        let content = self.content(file);
        content.synced = content.current.clone();
        content.unsynced.clear();
        content.unsynced_length = false;
    }

    fn rename(&mut self, from: &str, to: &str) {
        let content = self.names.remove(from).expect("a file that is renamed is there");
        self.names.insert(to.to_owned(), content);
        self.change_name(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    fn remove(&mut self, file: &str) {
        self.names.remove(file).expect("a file that is removed is there");
        self.change_name(NameChange::Remove { name: file.to_owned() });
    }

    fn change_name(&mut self, change: NameChange) {
        self.unsynced_names.push((self.steps, change));
    }

    fn sync_directory(&mut self) {
        self.synced_names = self.names.clone();
        self.unsynced_names.clear();
    }

    fn content(&mut self, file: &str) -> &mut Content {
        let content = *self.names.get(file).unwrap_or_else(|| panic!("{file} is not there"));
        &mut self.contents[content]
    }

    /// Stops the server; afterwards the disk holds what the next one finds.
    pub fn crash(&mut self, crash: Crash, choices: &mut Choices) {
        if crash == Crash::Kill {
            return;
        }
        let oldest = self.oldest_unsynced().unwrap_or(self.steps);
        let last_kept = oldest + choices.below(self.steps - oldest + 1);
        for content in &mut self.contents {
            settle(content, crash, last_kept, choices);
        }
        let mut names = std::mem::take(&mut self.synced_names);
        for (step, change) in std::mem::take(&mut self.unsynced_names) {
            let survives = match crash {
                Crash::Kill | Crash::KeepUnsynced => true,
                Crash::LoseUnsynced => false,
                Crash::KeepPrefix => step <= last_kept,
                Crash::KeepSubset | Crash::SpoilInFlight => choices.one_in(2),
            };
            if survives {
                apply_name(&mut names, change);
            }
        }
        self.names = names.clone();
        self.synced_names = names;
    }

    fn oldest_unsynced(&self) -> Option<u64> {
        let pieces = self.contents.iter().flat_map(|content| &content.unsynced);
        let names = self.unsynced_names.iter().map(|(step, _)| *step);
        pieces.map(|piece| piece.step).chain(names).min()
    }

    /// Changes a file behind the server's back.
    pub fn spoil(&mut self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let content = self.content(file);
        change(&mut content.current);
        content.synced = content.current.clone();
        content.unsynced.clear();
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Create { name, content } => drop(names.insert(name, content)),
        NameChange::Remove { name } => drop(names.remove(&name)),
        NameChange::Rename { from, to } => {
            if let Some(content) = names.remove(&from) {
                names.insert(to, content);
            }
        }
    }
}

/// Decides which unsynced bytes of a file survive.
fn settle(content: &mut Content, crash: Crash, last_kept: u64, choices: &mut Choices) {
    let whole = content.current.len();
    let mut bytes = std::mem::take(&mut content.synced);
    if content.unsynced_length {
        let length = match crash {
            Crash::LoseUnsynced => 0,
            Crash::KeepUnsynced => whole,
            _ if choices.one_in(2) => whole,
            _ => choices.below(whole as u64 + 1) as usize,
        };
        bytes.resize(length, 0);
    }
    for piece in std::mem::take(&mut content.unsynced) {
        let kept = match crash {
            Crash::LoseUnsynced => 0,
            Crash::Kill | Crash::KeepUnsynced => piece.bytes.len(),
            Crash::KeepPrefix if piece.step < last_kept => piece.bytes.len(),
            Crash::KeepPrefix if piece.step > last_kept => 0,
            Crash::KeepPrefix => choices.below(piece.bytes.len() as u64 + 1) as usize,
            _ if choices.one_in(2) => piece.bytes.len(),
            _ => 0,
        };
        if kept == 0 {
            continue;
        }
        if bytes.len() < piece.offset + kept {
            bytes.resize(piece.offset + kept, 0);
        }
        let place = &mut bytes[piece.offset..piece.offset + kept];
        // Bytes that a write leaves as they were stay so (the disks' power-safe overwrite).
        if crash == Crash::SpoilInFlight && place != piece.bytes && choices.one_in(4) {
            let spoilt = place.iter_mut().zip(&piece.bytes);
            for (old, _) in spoilt.filter(|(old, new)| old != new) {
                *old = choices.next() as u8;
            }
        } else {
            place.copy_from_slice(&piece.bytes[..kept]);
        }
    }
    content.current = bytes.clone();
    content.synced = bytes;
    content.unsynced_length = false;
}
