//! Makes bytes wrong, the way that hurts decoders.
//!
//! Comes in: good bytes. Goes out: the same, spoilt in a few places. Must never make them longer than
//! [`BYTES_MAX`] allows.

use crate::random::Random;

/// Longest input, in bytes.
pub const BYTES_MAX: usize = 8_192;

/// Numbers that lengths, counts and opcodes go wrong with.
const NUMBERS: [i32; 18] = [
    0,
    1,
    -1,
    -2,
    2,
    4,
    15,
    22,
    100,
    107,
    255,
    256,
    65_535,
    65_536,
    0x000f_ffff,
    0x0010_0000,
    i32::MAX,
    i32::MIN,
];

/// Spoils `bytes` in 1 to 6 places. `other` is where parts are taken from.
pub fn spoil(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(6) {
        spoil_once(random, bytes, other);
    }
    bytes.truncate(BYTES_MAX);
}

fn spoil_once(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len() + 1);
    match random.below(9) {
        0 => change(bytes, at, |byte| byte ^ (1 << random.below(8))),
        1 => change(bytes, at, |_| random.next() as u8),
        2 => {
            let number = random.of(&NUMBERS);
            overwrite(bytes, at, &number.to_be_bytes());
        }
        3 => {
            // A length about as long as what is there.
            let length = (bytes.len() + random.below(9)) as i32 - 8 - at as i32;
            overwrite(bytes, at, &length.to_be_bytes());
        }
        4 => bytes.truncate(at),
        5 => {
            let end = (at + random.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        6 => {
            let piece: Vec<u8> = (0..random.below(16)).map(|_| random.next() as u8).collect();
            bytes.splice(at..at, piece);
        }
        7 => {
            let end = (at + random.below(64)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

fn change(bytes: &mut [u8], at: usize, to: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = to(*byte);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + with.len()) {
        place.copy_from_slice(with);
    }
}
