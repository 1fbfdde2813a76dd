//! Identifiers as newtypes, so that two of them cannot be swapped in silence.
//!
//! Comes in: numbers from the log, the wire and configuration. Goes out: the same numbers, typed.
//! Must never: give an identifier a meaning beyond equality and, where said, order.

use bytes::Bytes;
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id! {
    /// A configured member of the cluster, 1 and up. Never reused after removal.
    ServerId
}
number_id! {
    /// A client's replicated identity: the zxid that created it, so it is unique for ever.
    SessionId
}
number_id! {
    /// Number of a transaction: strictly growing, one per transaction. Zero: before the first.
    Zxid
}
number_id! {
    /// A parked call: `zxid << 16 | n`, unique for ever, sorts by arrival.
    TicketId
}
number_id! {
    /// Drawn at random when a data directory is made. Another one under the same server id means
    /// that the disk was lost.
    Incarnation
}

impl Zxid {
    /// The transaction after this one.
    #[must_use]
    pub fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }
}

impl TicketId {
    /// The `ordinal`-th ticket of the transaction `zxid`; `ordinal` counts from zero.
    #[must_use]
    pub fn of(zxid: Zxid, ordinal: u16) -> TicketId {
        assert!(zxid.0 < 1 << 48, "zxid {zxid} leaves no room for ticket ordinals");
        TicketId(zxid.0 << 16 | u64::from(ordinal))
    }
}

/// The sha-256 of a Wasm component: its name in the catalogue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComponentDigest(pub [u8; 32]);

impl ComponentDigest {
    /// Reads 64 lower- or upper-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<ComponentDigest> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut digest = [0u8; 32];
        for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(*pair.first()?).to_digit(16)?;
            let low = char::from(*pair.get(1)?).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(ComponentDigest(digest))
    }
}

impl fmt::Display for ComponentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ComponentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An ed25519 signature of a component, by whom it does not say. What is signed:
/// `runtime/docs/recipe-signatures.md`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Bytes", try_from = "Bytes")]
pub struct RecipeSignature(pub [u8; 64]);

impl fmt::Debug for RecipeSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<RecipeSignature> for Bytes {
    fn from(signature: RecipeSignature) -> Bytes {
        Bytes::copy_from_slice(&signature.0)
    }
}

/// Bytes that cannot be a signature: there are so many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSignature(pub usize);

impl fmt::Display for NoSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a signature has 64 bytes, not {}", self.0)
    }
}

impl core::error::Error for NoSignature {}

impl TryFrom<Bytes> for RecipeSignature {
    type Error = NoSignature;
    fn try_from(bytes: Bytes) -> Result<RecipeSignature, NoSignature> {
        RecipeSignature::try_from(&*bytes)
    }
}

impl TryFrom<&[u8]> for RecipeSignature {
    type Error = NoSignature;
    fn try_from(bytes: &[u8]) -> Result<RecipeSignature, NoSignature> {
        bytes.try_into().map(RecipeSignature).map_err(|_| NoSignature(bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_digest_reads_back_what_it_prints() {
        let digest = ComponentDigest([0xa5; 32]);
        assert_eq!(ComponentDigest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(ComponentDigest::from_hex("a5"), None);
        assert_eq!(ComponentDigest::from_hex(&"g".repeat(64)), None);
    }

    #[test]
    fn a_signature_has_64_bytes() {
        let signature = RecipeSignature([7; 64]);
        assert_eq!(RecipeSignature::try_from(Bytes::from(signature)), Ok(signature));
        assert_eq!(RecipeSignature::try_from(&[7; 63][..]), Err(NoSignature(63)));
        assert_eq!(RecipeSignature::try_from(&[][..]), Err(NoSignature(0)));
    }

    #[test]
    fn tickets_sort_by_arrival() {
        let first = TicketId::of(Zxid(7), u16::MAX);
        let second = TicketId::of(Zxid(8), 0);
        assert!(first < second);
    }
}
