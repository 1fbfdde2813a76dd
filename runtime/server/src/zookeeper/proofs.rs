//! Proofs of identity that ZooKeeper clients show: `digest` and `ip`.
//!
//! Comes in: a scheme and a proof. Goes out: identities for ACLs, or that it proves nothing.
//! Invariant: a password is hashed at once and is in no identity, log or error.

use data_encoding::BASE64;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What a proof proves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// For ACLs: scheme and id.
    pub(super) identities: Vec<(String, String)>,
    /// For the client to see: scheme and name.
    pub(super) shown: Vec<(String, String)>,
}

/// What the proof proves of a client at this address; `None`: nothing. `super_digest`: whose password
/// makes an administrator.
pub(super) fn check_proof(
    scheme: &str,
    proof: &[u8],
    (address, super_digest): (&str, Option<&str>),
) -> Option<Proof> {
    match scheme {
        "digest" => {
            let text = std::str::from_utf8(proof).ok()?;
            let user = text.split(':').next().unwrap_or("");
            let id = digest_id(user, text);
            let is_super = super_digest == Some(id.as_str());
            let administrator = is_super.then(|| (String::from("super"), String::new()));
            let own = (String::from("digest"), id);
            let shown = vec![(String::from("digest"), user.to_owned())];
            Some(Proof { identities: administrator.into_iter().chain([own]).collect(), shown })
        }
        "ip" => {
            let identity = (String::from("ip"), address.to_owned());
            Some(Proof { identities: vec![identity.clone()], shown: vec![identity] })
        }
        _ => None,
    }
}

/// ZooKeeper's `user:hash`: the SHA-1 of `user:password`, in base 64.
fn digest_id(user: &str, proof: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, proof.as_bytes());
    format!("{user}:{}", BASE64.encode(hash.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `DigestAuthenticationProvider.generateDigest("super:test")` of ZooKeeper, as many pages show it.
    const SUPER: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

    #[test]
    fn a_digest_is_zookeepers() {
        let proof = check_proof("digest", b"super:test", ("::1", None)).unwrap();
        assert_eq!(proof.identities, [("digest".into(), SUPER.into())]);
        assert_eq!(proof.shown, [("digest".into(), "super".into())]);
        let proof = check_proof("digest", b"super:test", ("::1", Some(SUPER))).unwrap();
        assert_eq!(proof.identities[0], ("super".into(), String::new()));
        let other = check_proof("digest", b"super:tesd", ("::1", Some(SUPER))).unwrap();
        assert_eq!(other.identities.len(), 1);
    }

    #[test]
    fn what_is_no_scheme_proves_nothing() {
        for (scheme, proof) in [("sasl", &b"x"[..]), ("world", b"anyone"), ("digest", b"\xff:a")] {
            assert_eq!(check_proof(scheme, proof, ("::1", None)), None, "{scheme}");
        }
    }
}
