//! Random bytes from the operating system, for passwords, seeds and incarnations.
//!
//! Invariant: the only source of entropy in this room. Must never fall back to anything weaker.

use quorate_types::Incarnation;

/// Fresh random bytes.
///
/// # Panics
/// When the operating system has none, in which case no password would be safe.
pub(crate) fn random_bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A fresh random number.
pub(crate) fn random_number() -> u64 {
    u64::from_le_bytes(random_bytes())
}

/// A number for a data directory that is being made.
#[must_use]
pub fn new_incarnation() -> Incarnation {
    Incarnation(random_number())
}
