//! Proofs of identity that ZooKeeper clients show: `digest` and `ip`.
//!
//! Comes in: a scheme and a proof. Goes out: identities for ACLs, or that it proves nothing.
//! Invariant: a password is hashed at once and is in no identity, log or error.

use data_encoding::BASE64;
use quorate_replica::zookeeper::Proved;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What the proof proves of a client at this address; `None`: nothing. `super_digest`: whose password
/// makes an administrator.
pub(super) fn check_proof(
    scheme: &str,
    proof: &[u8],
    (address, super_digest): (&str, Option<&str>),
) -> Option<Vec<Proved>> {
    match scheme {
        "digest" => {
            let text = std::str::from_utf8(proof).ok()?;
            let user = text.split(':').next().unwrap_or("");
            let id = digest_id(user, text);
            let is_super = super_digest == Some(id.as_str());
            let administrator = is_super.then(Proved::administrator);
            let own = Proved { scheme: String::from("digest"), name: user.to_owned(), id };
            Some(administrator.into_iter().chain([own]).collect())
        }
        "ip" => Some(vec![Proved::address(address)]),
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
        let own = Proved { scheme: "digest".into(), id: SUPER.into(), name: "super".into() };
        assert_eq!(proof, std::slice::from_ref(&own));
        let proof = check_proof("digest", b"super:test", ("::1", Some(SUPER))).unwrap();
        assert_eq!(proof, [Proved::administrator(), own]);
        let other = check_proof("digest", b"super:tesd", ("::1", Some(SUPER))).unwrap();
        assert_eq!(other.len(), 1);
    }

    #[test]
    fn what_is_no_scheme_proves_nothing() {
        for (scheme, proof) in [("sasl", &b"x"[..]), ("world", b"anyone"), ("digest", b"\xff:a")] {
            assert_eq!(check_proof(scheme, proof, ("::1", None)), None, "{scheme}");
        }
    }
}
