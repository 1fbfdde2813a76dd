//! A fixed 64-bit hash for the running digest.
//!
//! Comes in: bytes of one item. Goes out: a number that is equal on every server. The digest of a
//! state is the wrapping sum over its items, so that it follows changes without a walk. Must
//! never: be used against an adversary; it finds bugs and bit flips, not lies.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const SECRET: u64 = 0xd6e8_feb8_6659_fd93;

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    let low = u64::try_from(product & u128::from(u64::MAX)).expect("masked to 64 bits");
    let high = u64::try_from(product >> 64).expect("shifted to 64 bits");
    low ^ high
}

/// Mixes two numbers.
pub(crate) fn mix(left: u64, right: u64) -> u64 {
    fold(left ^ SECRET, right.wrapping_add(MULTIPLIER) | 1).wrapping_add(left.rotate_left(29))
}

/// Hashes bytes under a key.
pub(crate) fn hash_bytes(key: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(key, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let mut last = [0u8; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    mix(hash, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_length_or_key_changes_the_hash() {
        let base = hash_bytes(1, b"0123456789");
        assert_eq!(base, hash_bytes(1, b"0123456789"));
        assert_ne!(base, hash_bytes(2, b"0123456789"));
        assert_ne!(base, hash_bytes(1, b"0123456788"));
        assert_ne!(base, hash_bytes(1, b"0123456789\0"));
        assert_ne!(hash_bytes(1, b""), hash_bytes(1, b"\0"));
    }
}
