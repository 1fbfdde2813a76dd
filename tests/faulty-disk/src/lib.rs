//! A disk that forgets, fails and lies: what tests perform disk operations on.
//!
//! Comes in: disk operations, faults for single ones, crashes, and damage. Goes out: the files that
//! a server finds afterwards. Invariant: without a lie, synced content and synced names survive
//! every crash; of what is not synced, any part may. Writes reach the disk in sectors, in any
//! order, and each may be cut at any byte. Must never: let a test pass by keeping more than a real
//! disk promises.
#![allow(missing_docs, reason = "a tool of this workspace's tests")]

mod choices;
mod content;
mod fault;

pub use choices::Choices;
pub use content::Fate;
pub use fault::{DiskError, DiskFault};

use content::{Content, Landing, Piece};
use quorate_storage::DiskOperation;
use std::collections::{BTreeMap, BTreeSet};

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

/// Something that a loss of power may or may not take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsynced {
    /// Number of the operation that made it; they ascend.
    pub step: u64,
    pub part: UnsyncedPart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsyncedPart {
    /// Of a created file.
    Length { bytes: usize },
    /// The part of one write that lies in one sector.
    Sector { bytes: usize },
    /// A creation, rename or removal.
    Name,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, content: usize },
    Rename { from: String, to: String },
    Remove { name: String },
}

#[derive(Clone, Debug)]
struct UnsyncedName {
    step: u64,
    change: NameChange,
    /// The disk will say that it is durable, and forget it.
    is_lost: bool,
}

#[derive(Clone, Debug)]
pub struct FaultyDisk {
    sector_bytes: usize,
    capacity_bytes: Option<u64>,
    contents: BTreeMap<usize, Content>,
    next_content: usize,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<UnsyncedName>,
    steps: u64,
}

impl Default for FaultyDisk {
    fn default() -> FaultyDisk {
        FaultyDisk {
            sector_bytes: 512,
            capacity_bytes: None,
            contents: BTreeMap::new(),
            next_content: 0,
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            steps: 0,
        }
    }
}

impl FaultyDisk {
    /// A disk on which these files are durable.
    pub fn holding(files: &BTreeMap<String, Vec<u8>>) -> FaultyDisk {
        let mut disk = FaultyDisk::default();
        for (name, bytes) in files {
            let content = disk.add_content(Content::durable(bytes.clone()));
            disk.names.insert(name.clone(), content);
        }
        disk.synced_names = disk.names.clone();
        disk
    }

    /// Bytes that the disk writes at once, from here on: 512 or 4096; without this, 512.
    pub fn with_sector_bytes(mut self, bytes: usize) -> FaultyDisk {
        assert!(matches!(bytes, 512 | 4_096), "no disk has sectors of {bytes} bytes");
        self.sector_bytes = bytes;
        self
    }

    pub fn sector_bytes(&self) -> usize {
        self.sector_bytes
    }

    /// A disk that holds no more than this; without this, it never fills.
    pub fn with_capacity(mut self, bytes: u64) -> FaultyDisk {
        self.set_capacity(Some(bytes));
        self
    }

    /// Somebody makes room, or takes it; None: there is no end of it.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity_bytes = bytes;
    }

    /// Length of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.names.values().map(|content| self.contents[content].cache.len() as u64).sum()
    }

    /// What reading every file gives now.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let read = |(name, content): (&String, &usize)| {
            (name.clone(), self.contents[content].cache.clone())
        };
        self.names.iter().map(read).collect()
    }

    /// Performs what cannot fail.
    ///
    /// # Panics
    /// When the disk has a capacity and is full, or the operation names a file that is not there.
    pub fn perform(&mut self, operation: &DiskOperation) {
        let performed = self.try_perform(operation, None);
        performed.unwrap_or_else(|error| panic!("{operation:?}: {error}"));
    }

    /// Performs the operation, with this going wrong. After an error the server must stop.
    ///
    /// # Errors
    /// When the fault is one that is reported, or there is no room for a new file.
    ///
    /// # Panics
    /// When the fault does not fit the operation, or that names a file that is not there.
    pub fn try_perform(
        &mut self,
        operation: &DiskOperation,
        fault: Option<DiskFault>,
    ) -> Result<(), DiskError> {
        let fits = fault.as_ref().is_none_or(|fault| fault.fits(operation));
        assert!(fits, "{operation:?} cannot suffer {fault:?}");
        self.steps += 1;
        if fault == Some(DiskFault::IoError) {
            return Err(DiskError::Io);
        }
        match operation {
            DiskOperation::CreateZeroed { file, bytes } => self.create(file, *bytes, fault),
            DiskOperation::WriteAt { file, offset, bytes } => {
                self.write(file, *offset as usize, bytes, fault)
            }
            DiskOperation::Sync { file } => self.sync(file, fault),
            DiskOperation::Rename { from, to } => self.rename(from, to, fault),
            DiskOperation::Remove { file } => self.remove(file, fault),
            DiskOperation::SyncDirectory => self.sync_directory(fault),
        }
    }

    fn add_content(&mut self, content: Content) -> usize {
        let number = self.next_content;
        self.next_content += 1;
        self.contents.insert(number, content);
        number
    }

    fn create(
        &mut self,
        file: &str,
        wanted: u64,
        fault: Option<DiskFault>,
    ) -> Result<(), DiskError> {
        let emptied = self.names.get(file).map_or(0, |content| self.contents[content].cache.len());
        let used = self.used_bytes() - emptied as u64;
        let room = self.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(used));
        let mut bytes = wanted.min(room);
        if let Some(DiskFault::FullDisk { kept_bytes }) = fault {
            bytes = bytes.min(kept_bytes).min(wanted.saturating_sub(1));
        }
        let content = self.add_content(Content::zeroed(bytes as usize, self.steps));
        self.names.insert(file.to_owned(), content);
        self.change_name(NameChange::Create { name: file.to_owned(), content }, fault.as_ref());
        let is_whole = bytes == wanted && !matches!(fault, Some(DiskFault::FullDisk { .. }));
        if is_whole { Ok(()) } else { Err(DiskError::Full) }
    }

    fn write(
        &mut self,
        file: &str,
        offset: usize,
        bytes: &[u8],
        fault: Option<DiskFault>,
    ) -> Result<(), DiskError> {
        let (step, sector_bytes) = (self.steps, self.sector_bytes);
        let (mut written, mut outcome) = (bytes, Ok(()));
        if let Some(DiskFault::FullDisk { kept_bytes }) = fault {
            let kept = (kept_bytes as usize).min(bytes.len().saturating_sub(1));
            (written, outcome) = (&bytes[..kept], Err(DiskError::Full));
        }
        let elsewhere = match &fault {
            Some(DiskFault::Misdirected { file, offset: place }) => {
                let within = offset % sector_bytes;
                Some((self.number(file), *place as usize / sector_bytes * sector_bytes + within))
            }
            _ => None,
        };
        let content = self.content(file);
        let end = offset + bytes.len();
        assert!(end <= content.cache.len(), "a write beyond the end of {file}");
        content.cache[offset..offset + written.len()].copy_from_slice(written);
        let mut place = offset;
        while !written.is_empty() {
            let in_sector = sector_bytes - place % sector_bytes;
            let (piece, after) = written.split_at(written.len().min(in_sector));
            let landing = match (elsewhere, &fault) {
                (Some((content, start)), _) => {
                    Landing::Elsewhere { content, offset: start + place - offset }
                }
                (None, Some(DiskFault::LostWrite)) => Landing::Nowhere,
                (None, _) => Landing::Intended,
            };
            content.unsynced.push(Piece { step, offset: place, bytes: piece.to_vec(), landing });
            place += piece.len();
            written = after;
        }
        outcome
    }

    fn sync(&mut self, file: &str, fault: Option<DiskFault>) -> Result<(), DiskError> {
        let number = self.number(file);
        let content = self.content(file);
        let pieces = std::mem::take(&mut content.unsynced);
        let length = content.unsynced_length.take();
        if fault.is_some() {
            return Err(DiskError::Io);
        }
        if length.is_some() {
            content.settle_length(Fate::Kept);
        }
        for piece in pieces {
            self.land(number, &piece, Fate::Kept);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str, fault: Option<DiskFault>) -> Result<(), DiskError> {
        if matches!(fault, Some(DiskFault::FullDisk { .. })) {
            return Err(DiskError::Full);
        }
        let content = self.names.remove(from).expect("a file that is renamed is there");
        self.names.insert(to.to_owned(), content);
        let change = NameChange::Rename { from: from.to_owned(), to: to.to_owned() };
        self.change_name(change, fault.as_ref());
        Ok(())
    }

    fn remove(&mut self, file: &str, fault: Option<DiskFault>) -> Result<(), DiskError> {
        self.names.remove(file).expect("a file that is removed is there");
        self.change_name(NameChange::Remove { name: file.to_owned() }, fault.as_ref());
        Ok(())
    }

    fn change_name(&mut self, change: NameChange, fault: Option<&DiskFault>) {
        let is_lost = fault == Some(&DiskFault::LostDirectoryEntry);
        self.unsynced_names.push(UnsyncedName { step: self.steps, change, is_lost });
    }

    fn sync_directory(&mut self, fault: Option<DiskFault>) -> Result<(), DiskError> {
        if fault.is_some() {
            return Err(DiskError::Io);
        }
        for name in std::mem::take(&mut self.unsynced_names) {
            if !name.is_lost {
                apply_name(&mut self.synced_names, name.change);
            }
        }
        self.forget_unnamed();
        Ok(())
    }

    fn number(&self, file: &str) -> usize {
        *self.names.get(file).unwrap_or_else(|| panic!("{file} is not there"))
    }

    fn content(&mut self, file: &str) -> &mut Content {
        let number = self.number(file);
        self.contents.get_mut(&number).expect("what is named is there")
    }

    /// Writes out a piece of the content `home`.
    fn land(&mut self, home: usize, piece: &Piece, fate: Fate) {
        match piece.landing {
            Landing::Nowhere => {}
            Landing::Intended => {
                let content = self.contents.get_mut(&home).expect("a piece has a content");
                content.settle_bytes(piece.offset, &piece.bytes, fate);
            }
            Landing::Elsewhere { content, offset } => {
                if let Some(content) = self.contents.get_mut(&content) {
                    content.overwrite(offset, &piece.bytes, fate);
                }
            }
        }
    }

    /// Drops contents that no name can lead to any more.
    fn forget_unnamed(&mut self) {
        let created = self.unsynced_names.iter().filter_map(|name| match &name.change {
            NameChange::Create { content, .. } => Some(*content),
            NameChange::Rename { .. } | NameChange::Remove { .. } => None,
        });
        let named: BTreeSet<usize> =
            self.names.values().chain(self.synced_names.values()).copied().chain(created).collect();
        self.contents.retain(|number, _| named.contains(number));
    }
}

/// Crashes.
impl FaultyDisk {
    /// Everything that a loss of power may take away, in the order in which `crash_with` asks.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        let mut all = Vec::new();
        let mut copy = self.clone();
        copy.crash_with(&mut |unsynced| {
            all.push(*unsynced);
            Fate::Kept
        });
        all
    }

    /// Power is lost; the fate of each unsynced thing is asked for.
    pub fn crash_with(&mut self, fate_of: &mut dyn FnMut(&Unsynced) -> Fate) {
        let numbers: Vec<usize> = self.contents.keys().copied().collect();
        for number in numbers {
            let content = self.contents.get_mut(&number).expect("listed above");
            let pieces = std::mem::take(&mut content.unsynced);
            if let Some(step) = content.unsynced_length.take() {
                let part = UnsyncedPart::Length { bytes: content.cache.len() };
                content.settle_length(fate_of(&Unsynced { step, part }));
            }
            for piece in pieces {
                let part = UnsyncedPart::Sector { bytes: piece.bytes.len() };
                let fate = fate_of(&Unsynced { step: piece.step, part });
                self.land(number, &piece, fate);
            }
        }
        for name in std::mem::take(&mut self.unsynced_names) {
            let fate = fate_of(&Unsynced { step: name.step, part: UnsyncedPart::Name });
            if matches!(fate, Fate::Kept | Fate::Spoilt { .. }) && !name.is_lost {
                apply_name(&mut self.synced_names, name.change);
            }
        }
        self.names = self.synced_names.clone();
        self.contents.values_mut().for_each(Content::drop_cache);
        self.forget_unnamed();
    }

    /// Stops the server; afterwards the disk holds what the next one finds.
    pub fn crash(&mut self, crash: Crash, choices: &mut Choices) {
        if crash == Crash::Kill {
            return;
        }
        let oldest = self.oldest_unsynced().unwrap_or(self.steps);
        let last_kept = oldest + choices.below(self.steps - oldest + 1);
        self.crash_with(&mut |unsynced| match crash {
            Crash::Kill | Crash::KeepUnsynced => Fate::Kept,
            Crash::LoseUnsynced => Fate::Lost,
            Crash::KeepPrefix => draw_prefix(unsynced, last_kept, choices),
            Crash::KeepSubset => draw_subset(unsynced, choices),
            Crash::SpoilInFlight => match draw_subset(unsynced, choices) {
                Fate::Kept if choices.one_in(4) => Fate::Spoilt { seed: choices.next() },
                fate => fate,
            },
        });
    }

    fn oldest_unsynced(&self) -> Option<u64> {
        let pieces = self.contents.values().flat_map(|content| &content.unsynced);
        let names = self.unsynced_names.iter().map(|name| name.step);
        pieces.map(|piece| piece.step).chain(names).min()
    }
}

/// Everything before the last step is kept, and that one up to some byte. Lengths keep no order.
fn draw_prefix(unsynced: &Unsynced, last_kept: u64, choices: &mut Choices) -> Fate {
    match unsynced.part {
        UnsyncedPart::Length { bytes } => draw_length(bytes, choices),
        _ if unsynced.step < last_kept => Fate::Kept,
        _ if unsynced.step > last_kept => Fate::Lost,
        UnsyncedPart::Name => Fate::Kept,
        UnsyncedPart::Sector { bytes } => {
            Fate::Cut { bytes: choices.below(bytes as u64 + 1) as usize }
        }
    }
}

fn draw_subset(unsynced: &Unsynced, choices: &mut Choices) -> Fate {
    match unsynced.part {
        UnsyncedPart::Length { bytes } => draw_length(bytes, choices),
        _ if choices.one_in(2) => Fate::Kept,
        _ => Fate::Lost,
    }
}

fn draw_length(bytes: usize, choices: &mut Choices) -> Fate {
    if choices.one_in(2) {
        return Fate::Kept;
    }
    Fate::Cut { bytes: choices.below(bytes as u64 + 1) as usize }
}

/// Damage to files at rest, on the medium and in the page cache alike.
impl FaultyDisk {
    /// Changes a file behind the server's back. Its unsynced bytes count as written out, as a kernel
    /// may do at any time.
    pub fn spoil(&mut self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let content = self.content(file);
        change(&mut content.cache);
        content.flush();
    }

    /// Flips one to eight bits of a file, or zeroes one of its sectors, mostly where something was
    /// written; gives the file's name, or None when there is nothing to spoil. Bytes that are still
    /// unsynced heal the medium when they are written out.
    pub fn rot(&mut self, choices: &mut Choices) -> Option<String> {
        let (file, place) = self.draw_place(choices)?;
        self.rot_at(&file, place, choices);
        Some(file)
    }

    /// As `rot`, in this file; false when it has no bytes.
    pub fn rot_file(&mut self, file: &str, choices: &mut Choices) -> bool {
        let place = self.draw_offset(file, choices);
        place.inspect(|place| self.rot_at(file, *place, choices)).is_some()
    }

    fn rot_at(&mut self, file: &str, place: u64, choices: &mut Choices) {
        let (place, sector_bytes) = (place as usize, self.sector_bytes);
        let content = self.content(file);
        let start = place / sector_bytes * sector_bytes;
        let end = (start + sector_bytes).min(content.cache.len());
        let is_blank = content.cache[start..end].iter().all(|byte| *byte == 0);
        if !is_blank && choices.one_in(4) {
            return content.damage(start..end, |_| 0);
        }
        let mut bits = BTreeSet::from([place * 8 + choices.below(8) as usize]);
        for _ in 0..choices.below(8) {
            bits.insert(start * 8 + choices.below((end - start) as u64 * 8) as usize);
        }
        for bit in bits {
            content.damage(bit / 8..bit / 8 + 1, |byte| byte ^ (1 << (bit % 8)));
        }
    }

    /// A byte of a file; of any file that has some.
    pub(crate) fn draw_place(&self, choices: &mut Choices) -> Option<(String, u64)> {
        let with_bytes = self.names.iter().filter(|(_, content)| {
            let content = &self.contents[*content];
            !content.cache.is_empty()
        });
        let files: Vec<&String> = with_bytes.map(|(file, _)| file).collect();
        if files.is_empty() {
            return None;
        }
        let file = files[choices.below(files.len() as u64) as usize];
        Some((file.clone(), self.draw_offset(file, choices)?))
    }

    fn draw_offset(&self, file: &str, choices: &mut Choices) -> Option<u64> {
        let content = &self.contents[&self.number(file)];
        let (used, whole) = (content.used_bytes() as u64, content.cache.len() as u64);
        let end = if used > 0 && !choices.one_in(8) { used } else { whole };
        (end > 0).then(|| choices.below(end))
    }

    /// Cuts a file off at `bytes`, if it is longer.
    pub fn truncate_file(&mut self, file: &str, bytes: u64) {
        self.content(file).truncate(bytes as usize);
    }

    /// A file is gone, for good. Names that were not synced count as written out before.
    pub fn lose_file(&mut self, file: &str) {
        self.number(file);
        for name in std::mem::take(&mut self.unsynced_names) {
            if !name.is_lost {
                apply_name(&mut self.synced_names, name.change);
            }
        }
        self.names.remove(file);
        self.synced_names.remove(file);
        self.forget_unnamed();
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
