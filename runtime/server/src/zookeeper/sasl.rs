//! SASL DIGEST-MD5 (RFC 2831), as ZooKeeper clients with a JAAS configuration speak it.
//!
//! Comes in: a client's tokens, the users of the configuration. Goes out: the challenge, then who the
//! client is with the server's own proof, or that it is nobody. Invariant: a nonce is used for one
//! attempt on one connection; a password is in no error, log or debug print. Must never be taken for
//! strong: MD5 keeps honest clients apart, and TLS keeps eavesdroppers out.

use crate::entropy;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::fmt;

/// What ZooKeeper calls its realm.
const REALM: &str = "zk-sasl-md5";

/// A user who may prove itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslUser {
    /// Its name: the id in ACL entries of the scheme `sasl`.
    pub name: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for SaslUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One connection's attempt.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    nonce: Option<String>,
}

/// What becomes of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The client is to answer this.
    Challenge(String),
    /// The client is this user; it is shown that the server knows the password too.
    Proved { user: String, server_proof: String },
    /// It is nobody.
    Refused,
}

impl Attempt {
    /// Takes a client's token.
    pub(super) fn token(&mut self, token: &[u8], users: &[SaslUser]) -> Answer {
        match self.nonce.take() {
            None if token.is_empty() && !users.is_empty() => {
                let nonce = BASE64URL_NOPAD.encode(&entropy::random_bytes::<24>());
                let challenge = format!(
                    "realm=\"{REALM}\",nonce=\"{nonce}\",qop=\"auth\",charset=utf-8,algorithm=md5-sess"
                );
                self.nonce = Some(nonce);
                Answer::Challenge(challenge)
            }
            Some(nonce) => answer_to(&nonce, token, users).unwrap_or(Answer::Refused),
            None => Answer::Refused,
        }
    }
}

fn answer_to(nonce: &str, token: &[u8], users: &[SaslUser]) -> Option<Answer> {
    let response = Response::parse(std::str::from_utf8(token).ok()?)?;
    let own = users.iter().find(|user| user.name == response.of("username"));
    let is_ours = response.of("nonce") == nonce
        && response.of("realm") == REALM
        && response.of("nc") == "00000001"
        && matches!(response.of("qop"), "auth" | "")
        && matches!(response.of("authzid"), "" | "*")
            | (response.of("authzid") == response.of("username"));
    // A user who is not there costs as much time as one whose password is wrong.
    let nobody = SaslUser { name: String::new(), password: String::new() };
    let user = own.unwrap_or(&nobody);
    let expected = response.proof(&user.password, "AUTHENTICATE");
    let is_right = same(&expected, response.of("response"));
    if own.is_none() || !is_ours || !is_right {
        return None;
    }
    let server_proof = format!("rspauth={}", response.proof(&user.password, ""));
    Some(Answer::Proved { user: user.name.clone(), server_proof })
}

/// Compares without telling by its time how much is right.
fn same(expected: &str, given: &str) -> bool {
    let pairs = expected.bytes().zip(given.bytes());
    expected.len() == given.len() && pairs.fold(0, |wrong, (own, given)| wrong | (own ^ given)) == 0
}

/// The fields of a client's response.
struct Response(BTreeMap<String, String>);

impl Response {
    /// `name=value` or `name="value"`, with commas between them; `None`: it is none, or a field comes
    /// twice.
    fn parse(text: &str) -> Option<Response> {
        let mut fields = BTreeMap::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted_value(quoted)?,
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    (after[..end].trim_end().to_owned(), &after[end..])
                }
            };
            if fields.insert(name.trim().to_owned(), value).is_some() {
                return None;
            }
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if after.is_empty() => after,
                None => return None,
            };
        }
        Some(Response(fields))
    }

    fn of(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// RFC 2831, 2.1.2.1. `method`: `AUTHENTICATE` for the client's proof, nothing for the server's.
    fn proof(&self, password: &str, method: &str) -> String {
        let (nonce, cnonce) = (self.of("nonce"), self.of("cnonce"));
        let secret = hash(&[self.of("username"), self.of("realm"), password].join(":"));
        let mut first = Md5::new();
        first.update(secret);
        first.update(format!(":{nonce}:{cnonce}"));
        if !self.of("authzid").is_empty() {
            first.update(format!(":{}", self.of("authzid")));
        }
        let first = HEXLOWER.encode(&first.finalize());
        let second = HEXLOWER.encode(&hash(&format!("{method}:{}", self.of("digest-uri"))));
        let nc = self.of("nc");
        HEXLOWER.encode(&hash(&format!("{first}:{nonce}:{nc}:{cnonce}:auth:{second}")))
    }
}

/// A value up to its closing quote, and what follows it.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn hash(text: &str) -> [u8; 16] {
    Md5::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Vec<SaslUser> {
        vec![SaslUser { name: "chris".into(), password: "secret".into() }]
    }

    /// The example of RFC 2831, section 4, in our realm's place theirs.
    const EXAMPLE: &str = "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",\
        nonce=\"OA6MG9tEQGm2hh\",nc=00000001,cnonce=\"OA6MHXh6VqTrRk\",\
        digest-uri=\"imap/elwood.innosoft.com\",\
        response=d388dad90d4bbd760a152321f2143af7,qop=auth";

    #[test]
    fn proofs_are_those_of_the_rfc() {
        let response = Response::parse(EXAMPLE).unwrap();
        let proof = response.proof("secret", "AUTHENTICATE");
        assert_eq!(proof, "d388dad90d4bbd760a152321f2143af7");
        assert_eq!(response.proof("secret", ""), "ea40f60335c427b5527b84dbabcdfffd");
    }

    /// What a client with this password answers to a challenge.
    fn answer(challenge: &str, name: &str, password: &str) -> String {
        let fields = Response::parse(challenge).unwrap();
        let fields = format!(
            "username=\"{name}\",realm=\"{REALM}\",nonce=\"{}\",nc=00000001,cnonce=\"c\",\
             digest-uri=\"zookeeper/zk-sasl-md5\",qop=auth",
            fields.of("nonce")
        );
        let proof = Response::parse(&fields).unwrap().proof(password, "AUTHENTICATE");
        format!("{fields},response={proof}")
    }

    #[test]
    fn a_user_is_known_by_its_password_once_for_each_challenge() {
        let mut attempt = Attempt::default();
        let Answer::Challenge(challenge) = attempt.token(b"", &users()) else { panic!() };
        let right = answer(&challenge, "chris", "secret");
        let proved = attempt.token(right.as_bytes(), &users());
        assert!(matches!(proved, Answer::Proved { user, .. } if user == "chris"));
        // The nonce is used up.
        assert_eq!(attempt.token(right.as_bytes(), &users()), Answer::Refused);
    }

    #[test]
    fn whoever_knows_no_password_is_nobody() {
        for (name, password) in [("chris", "secreT"), ("", ""), ("ann", "secret")] {
            let mut attempt = Attempt::default();
            let Answer::Challenge(challenge) = attempt.token(b"", &users()) else { panic!() };
            let wrong = answer(&challenge, name, password);
            assert_eq!(attempt.token(wrong.as_bytes(), &users()), Answer::Refused, "{name}");
        }
        for token in [&b"\xff"[..], b"username", b"a=\"", b"a=b,a=c", b"=", b"response=x"] {
            let mut attempt = Attempt::default();
            attempt.token(b"", &users());
            assert_eq!(attempt.token(token, &users()), Answer::Refused);
        }
        assert_eq!(Attempt::default().token(b"", &[]), Answer::Refused);
    }

    #[test]
    fn a_debug_print_does_not_show_passwords() {
        assert!(!format!("{:?}", users()).contains("secret"));
    }
}
