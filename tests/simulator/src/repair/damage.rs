//! One damage to a disk at rest.
//!
//! Comes in: a disk, choices. Goes out: the disk with other bytes or files, and words for what was
//! done. Invariant: something differs afterwards; the place is drawn over every file and every offset,
//! half of the time among the bytes that were written to.

use quorate_faulty_disk::{Choices, FaultyDisk};
use quorate_storage::snapshot;
use std::collections::BTreeMap;
use std::fmt;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    BitFlipped,
    ByteChanged,
    SectorZeroed,
    SectorsExchanged,
    Truncated,
    Missing,
}

impl DamageKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DamageKind::BitFlipped => "bit flipped",
            DamageKind::ByteChanged => "byte changed",
            DamageKind::SectorZeroed => "sector zeroed",
            DamageKind::SectorsExchanged => "sectors exchanged",
            DamageKind::Truncated => "file truncated",
            DamageKind::Missing => "file missing",
        }
    }

    /// Single bits and bytes are the most, for there are the most places for them.
    fn draw(choices: &mut Choices) -> DamageKind {
        match choices.below(16) {
            0..=5 => DamageKind::BitFlipped,
            6..=8 => DamageKind::ByteChanged,
            9..=11 => DamageKind::SectorZeroed,
            12..=13 => DamageKind::SectorsExchanged,
            14 => DamageKind::Truncated,
            _ => DamageKind::Missing,
        }
    }
}

/// What was done, and where.
#[derive(Clone, Debug)]
pub struct Damage {
    pub kind: DamageKind,
    pub file: String,
    /// What befell it, in words.
    pub text: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.kind.name(), self.file, self.text)
    }
}

type Files = BTreeMap<String, Vec<u8>>;

impl Damage {
    /// Damages the disk.
    ///
    /// # Panics
    /// When the disk holds no bytes that could be damaged.
    pub fn inflict(disk: &mut FaultyDisk, choices: &mut Choices) -> Damage {
        let before = disk.files();
        loop {
            let damage = Damage::try_one(disk, &before, choices);
            if disk.files() != before {
                return damage;
            }
        }
    }

    /// Which part of a data directory it struck.
    #[must_use]
    pub fn part(&self) -> &'static str {
        if snapshot::parse_file_name(&self.file).is_some() {
            return "snapshot";
        }
        ["segment", "spare", "manifest", "identity"]
            .into_iter()
            .find(|part| self.file.starts_with(part))
            .unwrap_or("other file")
    }

    fn try_one(disk: &mut FaultyDisk, files: &Files, choices: &mut Choices) -> Damage {
        let kind = DamageKind::draw(choices);
        let (file, place) = draw_place(files, choices);
        let sector_bytes = [512, 4_096][choices.below(2) as usize];
        let text = match kind {
            DamageKind::BitFlipped => {
                let bit = choices.below(8);
                disk.spoil(&file, |bytes| bytes[place] ^= 1 << bit);
                format!("bit {bit} of byte {place}")
            }
            DamageKind::ByteChanged => {
                let by = 1 + choices.below(255) as u8;
                disk.spoil(&file, |bytes| bytes[place] ^= by);
                format!("byte {place}, by {by:#04x}")
            }
            DamageKind::SectorZeroed => {
                let start = place / sector_bytes * sector_bytes;
                disk.spoil(&file, |bytes| {
                    let end = (start + sector_bytes).min(bytes.len());
                    bytes[start..end].fill(0);
                });
                format!("{sector_bytes} bytes from {start} on")
            }
            DamageKind::SectorsExchanged => {
                exchange(disk, files, (&file, place), sector_bytes, choices)
            }
            DamageKind::Truncated => {
                disk.truncate_file(&file, place as u64);
                format!("at byte {place}")
            }
            DamageKind::Missing => {
                disk.lose_file(&file);
                String::from("as a whole")
            }
        };
        Damage { kind, file, text }
    }
}

/// A file and an offset in it.
fn draw_place(files: &Files, choices: &mut Choices) -> (String, usize) {
    let with_bytes: Vec<_> = files.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    let (file, bytes) = with_bytes[choices.below(with_bytes.len() as u64) as usize];
    let used_bytes = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let end = if used_bytes > 0 && choices.one_in(2) { used_bytes } else { bytes.len() };
    (file.clone(), choices.below(end as u64) as usize)
}

/// Exchanges the sector at this place with another, of any file.
fn exchange(
    disk: &mut FaultyDisk,
    files: &Files,
    (file, place): (&str, usize),
    sector_bytes: usize,
    choices: &mut Choices,
) -> String {
    let (other, other_place) = draw_place(files, choices);
    let start = |place: usize| place / sector_bytes * sector_bytes;
    let (from, to) = (start(place), start(other_place));
    let length = sector_bytes.min(files[file].len() - from).min(files[&other].len() - to);
    disk.spoil(file, |bytes| {
        bytes[from..from + length].copy_from_slice(&files[&other][to..to + length]);
    });
    disk.spoil(&other, |bytes| {
        bytes[to..to + length].copy_from_slice(&files[file][from..from + length]);
    });
    format!("{length} bytes at {from} for those at {to} of {other}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_changes_something_and_every_kind_is_drawn() {
        let files = BTreeMap::from([
            (String::from("manifest"), vec![7; 300]),
            (String::from("segment-1"), [vec![1; 600], vec![0; 9_000]].concat()),
        ]);
        let mut choices = Choices(5);
        let mut kinds = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let mut disk = FaultyDisk::holding(&files);
            let damage = Damage::inflict(&mut disk, &mut choices);
            assert_ne!(disk.files(), files, "{damage}");
            kinds.insert((damage.kind.name(), damage.part()));
        }
        assert_eq!(kinds.len(), 12, "{kinds:?}");
    }
}
