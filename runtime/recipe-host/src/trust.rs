//! Who may bring a recipe: listed digests, and signatures by listed keys.
//!
//! Comes in: a digest and perhaps a signature. Goes out: whether the component is let in, or why not.
//! Invariant: what was configured is closed: an empty list lets nothing in, only an absent one does
//! not count. Must never: read a file, or decide anything but whether a component may come in. The
//! formats are in `runtime/docs/recipe-signatures.md`.

use quorate_types::{ComponentDigest, RecipeSignature};
use ring::signature::{ED25519, UnparsedPublicKey};
use std::collections::BTreeSet;
use std::fmt;

/// What a signature begins with, so that it cannot be one of something else by the same key.
const DOMAIN: &[u8; 18] = b"quorate recipe v1\0";
/// DER of an ed25519 key as RFC 8410 has it, up to the key's 32 bytes.
const PUBLIC_KEY_DER: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The label of its PEM.
const PUBLIC_KEY_LABEL: &str = "PUBLIC KEY";

/// What a signer signs of a component.
#[must_use]
pub fn signed_message(digest: &ComponentDigest) -> Vec<u8> {
    [&DOMAIN[..], &digest.0].concat()
}

/// The public half of a signer's key: ed25519.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignerKey(pub [u8; 32]);

/// Why a text is no signer's key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No PEM.
    #[error("it is not PEM: {0}")]
    NotPem(String),
    /// PEM of something else, such as a private key or a certificate.
    #[error("it is PEM of a {found}, and should be of a {wanted}")]
    Label {
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A key of another kind.
    #[error("it is no ed25519 key: {0}")]
    NotEd25519(String),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes to make a key of")]
    NoEntropy,
}

impl SignerKey {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<SignerKey> {
        // The same form: 32 bytes.
        ComponentDigest::from_hex(text).map(|bytes| SignerKey(bytes.0))
    }

    /// Reads PEM of a public key, as `quorate recipe keygen` and `openssl pkey -pubout` write it.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_pem(text: &str) -> Result<SignerKey, KeyError> {
        let der = parse_pem(text, PUBLIC_KEY_LABEL)?;
        let key = der.strip_prefix(&PUBLIC_KEY_DER[..]).and_then(|key| key.try_into().ok());
        let other = || KeyError::NotEd25519("it is of another algorithm".to_owned());
        key.map(SignerKey).ok_or_else(other)
    }

    /// The PEM that [`SignerKey::from_pem`] reads.
    #[must_use]
    pub fn to_pem(self) -> String {
        write_pem(PUBLIC_KEY_LABEL, [&PUBLIC_KEY_DER[..], &self.0].concat())
    }

    fn has_signed(self, message: &[u8], signature: &RecipeSignature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, &signature.0).is_ok()
    }
}

impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&ComponentDigest(self.0), f)
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn parse_pem(text: &str, wanted: &'static str) -> Result<Vec<u8>, KeyError> {
    let parsed = pem::parse(text).map_err(|error| KeyError::NotPem(error.to_string()))?;
    if parsed.tag() != wanted {
        return Err(KeyError::Label { found: parsed.tag().to_owned(), wanted });
    }
    Ok(parsed.into_contents())
}

pub(crate) fn write_pem(label: &str, der: Vec<u8>) -> String {
    let ending = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), ending)
}

/// Which components are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    allowed: Option<BTreeSet<ComponentDigest>>,
    signers: Option<Vec<SignerKey>>,
}

impl Trust {
    /// Every component, from whomever may talk to the servers.
    #[must_use]
    pub fn any() -> Trust {
        Trust::default()
    }

    /// Those whose digest is allowed, and those that one of the signers has signed. `None`: that is
    /// not asked for; both `None`: every component.
    #[must_use]
    pub fn new(
        allowed: Option<BTreeSet<ComponentDigest>>,
        signers: Option<Vec<SignerKey>>,
    ) -> Trust {
        Trust { allowed, signers }
    }

    /// Whether a component is let in, and how many keys were tried to know it: each takes time.
    ///
    /// # Errors
    /// It is not; why, for a person.
    pub fn vouch(
        &self,
        digest: &ComponentDigest,
        signature: Option<&RecipeSignature>,
    ) -> (Result<(), String>, u64) {
        if self.allowed.is_none() && self.signers.is_none() {
            return (Ok(()), 0);
        }
        if self.allowed.as_ref().is_some_and(|allowed| allowed.contains(digest)) {
            return (Ok(()), 0);
        }
        let (signed, tried) = match (&self.signers, signature) {
            (Some(signers), Some(signature)) => tried(signers, digest, signature),
            _ => (false, 0),
        };
        if signed {
            return (Ok(()), tried);
        }
        (Err(self.reason(digest, signature)), tried)
    }

    fn reason(&self, digest: &ComponentDigest, signature: Option<&RecipeSignature>) -> String {
        let digest_words = "its digest is not among those allowed";
        let signature_words = match (&self.signers, signature) {
            (None, _) => return format!("{digest} is not let in here: {digest_words}"),
            (Some(_), None) => "it carries no signature",
            (Some(_), Some(_)) => {
                "its signature is by none of the signers trusted here, or of other bytes"
            }
        };
        match &self.allowed {
            None => format!("{digest} is not let in here: {signature_words}"),
            Some(_) => {
                format!("{digest} is not let in here: {digest_words}, and {signature_words}")
            }
        }
    }
}

/// Whether one of the keys has signed the component, and how many were tried.
fn tried(
    signers: &[SignerKey],
    digest: &ComponentDigest,
    signature: &RecipeSignature,
) -> (bool, u64) {
    let message = signed_message(digest);
    let found = signers.iter().position(|signer| signer.has_signed(&message, signature));
    (found.is_some(), found.map_or(signers.len(), |place| place + 1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SigningKey;
    use crate::{Catalogue, WasmExecutor};
    use quorate_machine::RecipeExecutor;
    use std::sync::Arc;

    const LISTED: ComponentDigest = ComponentDigest([1; 32]);
    const OTHER: ComponentDigest = ComponentDigest([2; 32]);

    /// Whom to trust with every combination of lists, and a good signer.
    fn signer() -> (SigningKey, Trust, Trust) {
        let key = SigningKey::generate().unwrap();
        let stranger = SigningKey::generate().unwrap().signer();
        let signers = vec![stranger, key.signer()];
        let signed = Trust::new(None, Some(signers.clone()));
        let both = Trust::new(Some([LISTED].into()), Some(signers));
        (key, signed, both)
    }

    fn is_in(
        trust: &Trust,
        digest: &ComponentDigest,
        signature: Option<&RecipeSignature>,
    ) -> Result<(), String> {
        trust.vouch(digest, signature).0
    }

    #[test]
    fn without_lists_every_component_is_let_in() {
        let nonsense = RecipeSignature([9; 64]);
        assert_eq!(Trust::any().vouch(&OTHER, None), (Ok(()), 0));
        assert_eq!(Trust::any().vouch(&OTHER, Some(&nonsense)), (Ok(()), 0));
    }

    #[test]
    fn an_allowed_digest_needs_no_signature_and_another_one_is_refused() {
        let trust = Trust::new(Some([LISTED].into()), None);
        assert_eq!(is_in(&trust, &LISTED, None), Ok(()));
        let refused = is_in(&trust, &OTHER, None).unwrap_err();
        assert!(refused.contains("not among those allowed"), "{refused}");
        assert!(refused.contains(&OTHER.to_string()), "{refused}");
        let (key, _, both) = signer();
        // A signature counts only where signers are given.
        assert!(is_in(&trust, &OTHER, Some(&key.sign(&OTHER))).is_err());
        assert_eq!(is_in(&both, &LISTED, None), Ok(()));
        assert_eq!(is_in(&both, &LISTED, Some(&RecipeSignature([9; 64]))), Ok(()));
    }

    #[test]
    fn a_crowd_of_bad_signatures_counts_as_work() {
        let (key, signed, _) = signer();
        let mut executor = WasmExecutor::new(Arc::new(Catalogue::new()));
        executor.vouch(&OTHER, None).expect("it lets everything in unless told otherwise");
        assert_eq!(executor.fuel_used(), 0);
        let mut executor = executor.trusting(signed);
        assert!(executor.vouch(&LISTED, Some(&key.sign(&OTHER))).is_err());
        let fuel_used = executor.fuel_used();
        assert!(fuel_used >= 2 * 100_000, "two keys were tried for {fuel_used} units");
        executor.vouch(&OTHER, Some(&key.sign(&OTHER))).expect("it is signed");
        assert_eq!(executor.fuel_used(), 2 * fuel_used);
    }

    #[test]
    fn an_empty_list_lets_nothing_in() {
        let (key, ..) = signer();
        let signature = key.sign(&OTHER);
        for trust in [
            Trust::new(Some(BTreeSet::new()), None),
            Trust::new(None, Some(Vec::new())),
            Trust::new(Some(BTreeSet::new()), Some(Vec::new())),
        ] {
            assert!(is_in(&trust, &OTHER, Some(&signature)).is_err(), "{trust:?}");
        }
    }

    #[test]
    fn a_signature_by_any_of_the_signers_lets_a_component_in() {
        let (key, signed, both) = signer();
        let signature = key.sign(&OTHER);
        assert_eq!(signed.vouch(&OTHER, Some(&signature)), (Ok(()), 2));
        assert_eq!(both.vouch(&OTHER, Some(&signature)), (Ok(()), 2));
    }

    #[test]
    fn a_component_without_a_signature_is_refused_without_trying_a_key() {
        let (_, signed, both) = signer();
        let (refused, tried) = signed.vouch(&OTHER, None);
        assert_eq!((refused.unwrap_err().contains("carries no signature"), tried), (true, 0));
        let refused = is_in(&both, &OTHER, None).unwrap_err();
        assert!(refused.contains("allowed, and it carries no signature"), "{refused}");
    }

    #[test]
    fn a_stranger_s_signature_is_refused() {
        let (_, signed, both) = signer();
        let signature = SigningKey::generate().unwrap().sign(&OTHER);
        for trust in [signed, both] {
            let (refused, tried) = trust.vouch(&OTHER, Some(&signature));
            assert!(refused.unwrap_err().contains("by none of the signers"));
            assert_eq!(tried, 2);
        }
    }

    #[test]
    fn a_signature_is_of_one_component_and_every_bit_of_it_counts() {
        let (key, signed, _) = signer();
        let signature = key.sign(&OTHER);
        assert!(is_in(&signed, &LISTED, Some(&signature)).is_err());
        for bit in 0..512 {
            let mut flipped = signature;
            flipped.0[bit / 8] ^= 1 << (bit % 8);
            assert!(is_in(&signed, &OTHER, Some(&flipped)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_signed_is_more_than_the_digest() {
        let message = signed_message(&OTHER);
        assert_eq!(message.len(), 50);
        assert!(message.starts_with(b"quorate recipe v1\0"));
        assert!(message.ends_with(&OTHER.0));
        // RFC 8032, 7.1, test 3: a good signature by this key of other bytes.
        let (key, signature) = rfc_8032();
        assert!(key.has_signed(&[0xaf, 0x82], &signature));
        assert!(!key.has_signed(&message, &signature));
    }

    fn rfc_8032() -> (SignerKey, RecipeSignature) {
        let key = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
        let halves = [
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ];
        let mut signature = [0; 64];
        for (place, half) in signature.chunks_exact_mut(32).zip(halves) {
            place.copy_from_slice(&SignerKey::from_hex(half).unwrap().0);
        }
        (SignerKey::from_hex(key).unwrap(), RecipeSignature(signature))
    }

    #[test]
    fn a_key_reads_back_and_what_is_none_is_refused_with_what_it_is() {
        let key = SigningKey::generate().unwrap();
        let signer = key.signer();
        assert_eq!(SignerKey::from_hex(&signer.to_string()), Some(signer));
        assert_eq!(SignerKey::from_pem(&signer.to_pem()), Ok(signer));
        assert_eq!(SignerKey::from_hex("00"), None);
        let said = |text: &str| SignerKey::from_pem(text).unwrap_err().to_string();
        assert!(said("not a key").contains("not PEM"));
        assert!(said(&key.to_pem()).contains("PEM of a PRIVATE KEY"));
        let cut = write_pem(PUBLIC_KEY_LABEL, vec![0x30; 43]);
        assert!(said(&cut).contains("no ed25519 key"));
    }
}
