//! The section `[zookeeper]`: the door of ZooKeeper clients. Without it there is none.
//!
//! Comes in: the table. Goes out: what the door is told. Invariant: what is not said is as in
//! ZooKeeper.

use super::section::Section;
use super::{ConfigurationError, toml_string};
use crate::zookeeper::{SaslUser, ZooKeeperConfig};
use quorate_wire::zookeeper::FourLetterWord;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Port of the door unless configured.
pub const ZOOKEEPER_PORT: u16 = 2181;

/// Bytes of a request at most: what the limit may be.
pub(super) const REQUEST_BYTES: RangeInclusive<u32> = 1_024..=4 << 20;

const KEYS: [&str; 7] = [
    "listen",
    "connections_per_address_max",
    "four_letter_words",
    "super_digest",
    "request_bytes_max",
    "reconfig_enabled",
    "users",
];

pub(super) fn read(root: &Section<'_>) -> Result<Option<ZooKeeperConfig>, ConfigurationError> {
    let Some(section) = root.section("zookeeper", &KEYS)? else { return Ok(None) };
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, ZOOKEEPER_PORT));
    let mut config = ZooKeeperConfig::at(section.socket_address("listen")?.unwrap_or(any));
    config.connections_per_address_max = section.integer_u32(
        "connections_per_address_max",
        0..=1_000_000,
        config.connections_per_address_max,
    )?;
    config.frame_bytes_max =
        section.integer_u32("request_bytes_max", REQUEST_BYTES, config.frame_bytes_max)?;
    config.reconfig_enabled = section.boolean("reconfig_enabled")?.unwrap_or(false);
    if let Some(words) = section.string("four_letter_words")? {
        config.words = read_words(&section, words)?;
    }
    if let Some(digest) = section.string("super_digest")? {
        if !is_digest(digest) {
            let message = "`super_digest` is `user:hash`, the hash as ZooKeeper's DigestAuthenticationProvider \
                           makes it";
            return Err(section.error("super_digest", message.to_owned()));
        }
        config.super_digest = Some(digest.to_owned());
    }
    for user in section.sections("users", &["name", "password"])? {
        let name = user.required(user.string("name")?, "zookeeper.users.name")?;
        let password = user.required(user.string("password")?, "zookeeper.users.password")?;
        if name.is_empty() || config.sasl_users.iter().any(|known| known.name == name) {
            let message = format!("`{name}` cannot name another user: names are unique");
            return Err(user.error("name", message));
        }
        config.sasl_users.push(SaslUser { name: name.to_owned(), password: password.to_owned() });
    }
    Ok(Some(config))
}

/// Whether it has the form `user:hash`.
pub(super) fn is_digest(text: &str) -> bool {
    text.split(':').count() == 2
}

/// Words with commas between them, or `*` for all.
fn read_words(
    section: &Section<'_>,
    words: &str,
) -> Result<Vec<FourLetterWord>, ConfigurationError> {
    let mut known = Vec::new();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if word == "*" {
            return Ok(FourLetterWord::ALL.to_vec());
        }
        let Some(found) = FourLetterWord::from_letters(word.as_bytes()) else {
            let all = FourLetterWord::ALL.iter().map(|word| word.letters()).collect::<Vec<_>>();
            let message = format!("`{word}` is no four-letter word; known: {}", all.join(", "));
            return Err(section.error("four_letter_words", message));
        };
        known.push(found);
    }
    Ok(known)
}

pub(super) fn to_toml(config: &ZooKeeperConfig) -> String {
    let mut text = String::new();
    let words = config.words.iter().map(|word| word.letters()).collect::<Vec<_>>().join(",");
    let _ = writeln!(text, "[zookeeper]\nlisten = \"{}\"", config.listen);
    let most = config.connections_per_address_max;
    let _ = writeln!(text, "connections_per_address_max = {most}");
    let _ = writeln!(text, "four_letter_words = {}", toml_string(&words));
    let _ = writeln!(text, "request_bytes_max = {}", config.frame_bytes_max);
    if config.reconfig_enabled {
        let _ = writeln!(text, "reconfig_enabled = true");
    }
    if let Some(digest) = &config.super_digest {
        let _ = writeln!(text, "super_digest = {}", toml_string(digest));
    }
    for SaslUser { name, password } in &config.sasl_users {
        let _ = writeln!(text, "\n[[zookeeper.users]]\nname = {}", toml_string(name));
        let _ = writeln!(text, "password = {}", toml_string(password));
    }
    text
}
