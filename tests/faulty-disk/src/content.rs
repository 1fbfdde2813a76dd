//! The bytes of one file: what the disk's medium holds, and what the page cache does.
//!
//! Comes in: writes, syncs, and the fate of each unsynced piece at a loss of power. Goes out: bytes
//! for each of the two. Invariant: the medium changes by syncs, fates and damage only; reading
//! gives the page cache.

use crate::Choices;
use std::ops::Range;

/// Where a piece goes once it is written out.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    Intended,
    /// Over the bytes of another content, or elsewhere in the same one.
    Elsewhere {
        content: usize,
        offset: usize,
    },
    Nowhere,
}

/// The part of one write that lies in one sector.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Number of the operation.
    pub(crate) step: u64,
    pub(crate) offset: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) landing: Landing,
}

/// What becomes of something unsynced at a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was written out in time.
    Kept,
    /// It was not.
    Lost,
    /// Its first bytes were; of a name, nothing was.
    Cut {
        /// How many; more than there are means all.
        bytes: usize,
    },
    /// The bytes that were about to change are anything; a length or a name is kept.
    Spoilt {
        /// For the bytes.
        seed: u64,
    },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) medium: Vec<u8>,
    pub(crate) cache: Vec<u8>,
    pub(crate) unsynced: Vec<Piece>,
    /// The step that gave the file its length, while that is not synced.
    pub(crate) unsynced_length: Option<u64>,
}

impl Content {
    pub(crate) fn durable(bytes: Vec<u8>) -> Content {
        Content { medium: bytes.clone(), cache: bytes, ..Content::default() }
    }

    pub(crate) fn zeroed(bytes: usize, step: u64) -> Content {
        Content { cache: vec![0; bytes], unsynced_length: Some(step), ..Content::default() }
    }

    /// Writes out a length.
    pub(crate) fn settle_length(&mut self, fate: Fate) {
        let bytes = match fate {
            Fate::Kept | Fate::Spoilt { .. } => self.cache.len(),
            Fate::Lost => return,
            Fate::Cut { bytes } => bytes.min(self.cache.len()),
        };
        if self.medium.len() < bytes {
            self.medium.resize(bytes, 0);
        }
    }

    /// Writes out these bytes, as far as their fate says; the file grows where it must.
    pub(crate) fn settle_bytes(&mut self, offset: usize, bytes: &[u8], fate: Fate) {
        let kept = match fate {
            Fate::Kept | Fate::Spoilt { .. } => bytes.len(),
            Fate::Lost => 0,
            Fate::Cut { bytes: cut } => cut.min(bytes.len()),
        };
        if kept == 0 {
            return;
        }
        if self.medium.len() < offset + kept {
            self.medium.resize(offset + kept, 0);
        }
        let place = &mut self.medium[offset..offset + kept];
        let Fate::Spoilt { seed } = fate else {
            place.copy_from_slice(&bytes[..kept]);
            return;
        };
        // Bytes that a write leaves as they were stay so (the disks' power-safe overwrite).
        let mut choices = Choices(seed);
        for (old, _) in place.iter_mut().zip(bytes).filter(|(old, new)| old != new) {
            *old = choices.next() as u8;
        }
    }

    /// As `settle_bytes`, over what is there already: a file never grows by a misdirected write.
    pub(crate) fn overwrite(&mut self, offset: usize, bytes: &[u8], fate: Fate) {
        let room = self.medium.len().saturating_sub(offset).min(bytes.len());
        self.settle_bytes(offset, &bytes[..room], fate);
    }

    /// A loss of power, or a cold start: only the medium is left.
    pub(crate) fn drop_cache(&mut self) {
        self.unsynced.clear();
        self.unsynced_length = None;
        self.cache.clone_from(&self.medium);
    }

    /// Writes everything out as it reads, before damage is done to both.
    pub(crate) fn flush(&mut self) {
        self.unsynced.clear();
        self.unsynced_length = None;
        self.medium.clone_from(&self.cache);
    }

    /// Changes these bytes wherever they are.
    pub(crate) fn damage(&mut self, places: Range<usize>, change: impl Fn(u8) -> u8) {
        for copy in [&mut self.medium, &mut self.cache] {
            let end = places.end.min(copy.len());
            let bytes = copy.get_mut(places.start..end).unwrap_or_default();
            bytes.iter_mut().for_each(|byte| *byte = change(*byte));
        }
    }

    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.medium.truncate(bytes);
        self.cache.truncate(bytes);
        self.unsynced.retain(|piece| piece.offset + piece.bytes.len() <= bytes);
    }

    /// Up to the last byte that is not zero: where damage is worth doing.
    pub(crate) fn used_bytes(&self) -> usize {
        self.cache.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }
}
