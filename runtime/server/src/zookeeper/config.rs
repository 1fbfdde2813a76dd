//! What the ZooKeeper door is told before it opens.
//!
//! Comes in: a checked configuration of either kind. Goes out: plain data. Invariant: what is not said
//! is as in ZooKeeper. Must never read a file.

use super::SaslUser;
use crate::configuration::TlsPaths;
use quorate_wire::zookeeper::FourLetterWord;
use std::net::SocketAddr;

/// What the ZooKeeper door is told before it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperConfig {
    /// Where ZooKeeper clients connect, TCP; `None`: only where `tls` says.
    pub listen: Option<SocketAddr>,
    /// How they connect with TLS; `None`: they cannot.
    pub tls: Option<ZooKeeperTls>,
    /// Connections from one address at most; 0: any number. ZooKeeper's `maxClientCnxns`.
    pub connections_per_address_max: u32,
    /// Four-letter words that are answered. ZooKeeper's `4lw.commands.whitelist`.
    pub words: Vec<FourLetterWord>,
    /// `user:hash` whose password makes an administrator; ZooKeeper's `superDigest`.
    pub super_digest: Option<String>,
    /// Who may prove itself by SASL DIGEST-MD5.
    pub sasl_users: Vec<SaslUser>,
    /// Bytes of a request at most; ZooKeeper's `jute.maxbuffer`.
    pub frame_bytes_max: u32,
    /// Whether this server, cut off from a quorum, serves reads to clients that are content with them;
    /// ZooKeeper's `readonlymode.enabled`.
    pub read_only_mode: bool,
    /// Whether `reconfig` is not refused; ZooKeeper's `reconfigEnabled`.
    pub reconfig_enabled: bool,
}

impl ZooKeeperConfig {
    /// A door at this address, with what ZooKeeper has if nothing is said.
    #[must_use]
    pub fn at(listen: SocketAddr) -> ZooKeeperConfig {
        ZooKeeperConfig {
            listen: Some(listen),
            tls: None,
            connections_per_address_max: 60,
            words: vec![FourLetterWord::Srvr, FourLetterWord::Isro],
            super_digest: None,
            sasl_users: Vec::new(),
            frame_bytes_max: 1_048_575,
            read_only_mode: false,
            reconfig_enabled: false,
        }
    }
}

/// How ZooKeeper clients connect with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperTls {
    /// Where, TCP; `None`: only at [`ZooKeeperConfig::listen`].
    pub listen: Option<SocketAddr>,
    /// Whether [`ZooKeeperConfig::listen`] takes clients with TLS and without; ZooKeeper's
    /// `client.portUnification`.
    pub port_unification: bool,
    /// What clients show of themselves; ZooKeeper's `ssl.clientAuth`.
    pub client_certificates: ShownCertificates,
    /// The certificates that clients are shown, and who signs for clients.
    pub files: TlsPaths,
    /// Subject of the certificate whose owner is an administrator; ZooKeeper's
    /// `X509AuthenticationProvider.superUser`.
    pub super_user: Option<String>,
}

impl ZooKeeperTls {
    /// A port of its own at this address, with these files and what ZooKeeper has if nothing is said.
    #[must_use]
    pub fn at(listen: SocketAddr, files: TlsPaths) -> ZooKeeperTls {
        ZooKeeperTls {
            listen: Some(listen),
            port_unification: false,
            client_certificates: ShownCertificates::default(),
            files,
            super_user: None,
        }
    }
}

/// Whether ZooKeeper clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShownCertificates {
    /// They are not asked.
    None,
    /// They may: one that is shown has to be good.
    Want,
    /// Without one the connection is refused.
    #[default]
    Need,
}

impl ShownCertificates {
    /// All of them, by the word that configurations have for them.
    pub(crate) const WORDS: [(&str, ShownCertificates); 3] = [
        ("none", ShownCertificates::None),
        ("want", ShownCertificates::Want),
        ("need", ShownCertificates::Need),
    ];

    /// The word in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = ShownCertificates::WORDS.iter().find(|(_, shown)| *shown == self);
        found.map_or("", |(word, _)| word)
    }
}
