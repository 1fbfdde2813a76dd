//! The section `[zookeeper]`: the door of ZooKeeper clients. Without it there is none.
//!
//! Comes in: the table. Goes out: what the door is told. Invariant: what is not said is as in
//! ZooKeeper.

use super::section::Section;
use super::{ConfigurationError, TlsPaths, toml_string};
use crate::zookeeper::{SaslUser, ShownCertificates, ZooKeeperConfig, ZooKeeperTls};
use quorate_wire::zookeeper::FourLetterWord;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Port of the door unless configured.
pub const ZOOKEEPER_PORT: u16 = 2181;
/// The usual port of the door's TLS.
pub const ZOOKEEPER_TLS_PORT: u16 = 2281;

/// Bytes of a request at most: what the limit may be.
pub(super) const REQUEST_BYTES: RangeInclusive<u32> = 1_024..=4 << 20;

const KEYS: [&str; 15] = [
    "read_only_mode",
    "listen",
    "listen_tls",
    "port_unification",
    "client_certificates",
    "authority",
    "certificate",
    "key",
    "x509_super_user",
    "connections_per_address_max",
    "four_letter_words",
    "super_digest",
    "request_bytes_max",
    "reconfig_enabled",
    "users",
];

/// Keys that are about TLS only.
const TLS_KEYS: [&str; 5] =
    ["client_certificates", "authority", "certificate", "key", "x509_super_user"];

/// `own`: the files of the server itself.
pub(super) fn read(
    root: &Section<'_>,
    own: &TlsPaths,
) -> Result<Option<ZooKeeperConfig>, ConfigurationError> {
    let Some(section) = root.section("zookeeper", &KEYS)? else { return Ok(None) };
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, ZOOKEEPER_PORT));
    let mut config = ZooKeeperConfig::at(any);
    config.tls = read_tls(&section, own)?;
    config.listen = match section.socket_address("listen")? {
        None if config.tls.as_ref().is_some_and(|tls| !tls.port_unification) => None,
        given => Some(given.unwrap_or(any)),
    };
    config.connections_per_address_max = section.integer_u32(
        "connections_per_address_max",
        0..=1_000_000,
        config.connections_per_address_max,
    )?;
    config.frame_bytes_max =
        section.integer_u32("request_bytes_max", REQUEST_BYTES, config.frame_bytes_max)?;
    config.read_only_mode = section.boolean("read_only_mode")?.unwrap_or(false);
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

fn read_tls(
    section: &Section<'_>,
    own: &TlsPaths,
) -> Result<Option<ZooKeeperTls>, ConfigurationError> {
    let listen = section.socket_address("listen_tls")?;
    let port_unification = section.boolean("port_unification")?.unwrap_or(false);
    if listen.is_none() && !port_unification {
        let in_vain = TLS_KEYS.iter().find(|key| section.has(key));
        return in_vain.map_or(Ok(None), |key| {
            let message = format!(
                "`{key}` is about clients with TLS, and no port takes them: say where with `listen_tls`, \
                 or `port_unification = true` for `listen`"
            );
            Err(section.error(key, message))
        });
    }
    let file = |key, own: &std::path::PathBuf| {
        Ok::<_, ConfigurationError>(section.path(key)?.unwrap_or_else(|| own.clone()))
    };
    let super_user = section.string("x509_super_user")?.map(str::to_owned);
    Ok(Some(ZooKeeperTls {
        listen,
        port_unification,
        client_certificates: section
            .choice("client_certificates", &ShownCertificates::WORDS)?
            .unwrap_or_default(),
        files: TlsPaths {
            authority: file("authority", &own.authority)?,
            certificate: file("certificate", &own.certificate)?,
            key: file("key", &own.key)?,
        },
        super_user: super_user.filter(|subject| !subject.is_empty()),
    }))
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

/// `own`: the files of the server itself, which need not be named.
pub(super) fn to_toml(config: &ZooKeeperConfig, own: &TlsPaths) -> String {
    let mut text = String::from("[zookeeper]\n");
    let words = config.words.iter().map(|word| word.letters()).collect::<Vec<_>>().join(",");
    if let Some(listen) = config.listen {
        let _ = writeln!(text, "listen = \"{listen}\"");
    }
    if let Some(tls) = &config.tls {
        write_tls(&mut text, tls, own);
    }
    let most = config.connections_per_address_max;
    let _ = writeln!(text, "connections_per_address_max = {most}");
    let _ = writeln!(text, "four_letter_words = {}", toml_string(&words));
    let _ = writeln!(text, "request_bytes_max = {}", config.frame_bytes_max);
    if config.read_only_mode {
        let _ = writeln!(text, "read_only_mode = true");
    }
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

fn write_tls(text: &mut String, tls: &ZooKeeperTls, own: &TlsPaths) {
    if let Some(listen) = tls.listen {
        let _ = writeln!(text, "listen_tls = \"{listen}\"");
    }
    if tls.port_unification {
        let _ = writeln!(text, "port_unification = true");
    }
    let _ = writeln!(text, "client_certificates = \"{}\"", tls.client_certificates.name());
    for (key, path, own) in [
        ("authority", &tls.files.authority, &own.authority),
        ("certificate", &tls.files.certificate, &own.certificate),
        ("key", &tls.files.key, &own.key),
    ] {
        if path != own {
            let _ = writeln!(text, "{key} = {}", toml_string(&path.display().to_string()));
        }
    }
    if let Some(subject) = &tls.super_user {
        let _ = writeln!(text, "x509_super_user = {}", toml_string(subject));
    }
}
