//! A signer's private key: made, kept as PEM, and used to sign components.
//!
//! Comes in: a digest. Goes out: a signature of it. Only the command line signs; a server has no
//! such key. Must never: print the key other than as the PEM that is asked for.

use crate::trust::{KeyError, SignerKey, parse_pem, signed_message, write_pem};
use quorate_types::{ComponentDigest, RecipeSignature};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::fmt;

/// The label of PKCS#8 in PEM.
const PRIVATE_KEY_LABEL: &str = "PRIVATE KEY";

/// An ed25519 key pair.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

impl SigningKey {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn generate() -> Result<SigningKey, KeyError> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        SigningKey::from_pkcs8(made.map_err(|_| KeyError::NoEntropy)?.as_ref().to_vec())
    }

    /// Reads PKCS#8 in PEM, as [`SigningKey::to_pem`] and `openssl genpkey` write it.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_pem(text: &str) -> Result<SigningKey, KeyError> {
        SigningKey::from_pkcs8(parse_pem(text, PRIVATE_KEY_LABEL)?)
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<SigningKey, KeyError> {
        // OpenSSL leaves the public half out; it follows from the private one.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8)
            .map_err(|error| KeyError::NotEd25519(error.to_string()))?;
        Ok(SigningKey { pair, pkcs8 })
    }

    /// The private key as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        write_pem(PRIVATE_KEY_LABEL, self.pkcs8.clone())
    }

    /// The half that servers are told.
    #[must_use]
    pub fn signer(&self) -> SignerKey {
        let key = self.pair.public_key().as_ref().try_into();
        SignerKey(key.expect("an ed25519 key has 32 bytes"))
    }

    /// Signs a component.
    #[must_use]
    pub fn sign(&self, digest: &ComponentDigest) -> RecipeSignature {
        let signature = self.pair.sign(&signed_message(digest));
        let bytes = RecipeSignature::try_from(signature.as_ref());
        bytes.expect("an ed25519 signature has 64 bytes")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {}", self.signer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_written_signs_as_before() {
        let key = SigningKey::generate().unwrap();
        let read = SigningKey::from_pem(&key.to_pem()).unwrap();
        let digest = ComponentDigest([3; 32]);
        assert_eq!((read.signer(), read.sign(&digest)), (key.signer(), key.sign(&digest)));
        assert_ne!(SigningKey::generate().unwrap().signer(), key.signer());
    }

    #[test]
    fn a_key_without_its_public_half_is_read() {
        // As `openssl genpkey -algorithm ed25519` writes it.
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend([7; 32]);
        let read = SigningKey::from_pem(&write_pem(PRIVATE_KEY_LABEL, der)).unwrap();
        assert!(!format!("{read:?}").contains("0707"), "the private key is not shown");
    }

    #[test]
    fn what_is_no_private_key_is_refused_with_what_it_is() {
        let key = SigningKey::generate().unwrap();
        let said = |text: &str| SigningKey::from_pem(text).unwrap_err().to_string();
        assert!(said("").contains("not PEM"));
        assert!(said(&key.signer().to_pem()).contains("PEM of a PUBLIC KEY"));
        assert!(said(&write_pem(PRIVATE_KEY_LABEL, vec![0; 48])).contains("no ed25519 key"));
    }
}
