//! `quorate.toml`: text comes in, a configuration that is valid as a whole goes out.
//!
//! Invariant: a `ServerConfig` made here has passed every check once; no other file looks at text
//! again. An unknown key is an error that names the key meant, because a misspelt limit that is
//! silently the default is found in an outage. Must never guess: what is wrong is refused with its
//! line. Every key is described in `runtime/docs/configuration.md`.

mod limits_section;
mod recipes_section;
mod section;
#[cfg(test)]
mod tests;
pub mod zoo_cfg;
mod zookeeper_section;

pub use recipes_section::{RecipesConfig, SignerError, SignerSource};

use crate::zookeeper::ZooKeeperConfig;
use quorate_types::ServerId;
use quorate_types::limits::Limits;
use section::{Origin, Section};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use toml::de::DeTable;
pub use zookeeper_section::{ZOOKEEPER_PORT, ZOOKEEPER_TLS_PORT};

/// Port of the native door unless configured.
pub const NATIVE_PORT: u16 = 7420;
/// Port of the peer door unless configured.
pub const PEER_PORT: u16 = 7421;

/// Everything a server is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Which member this server is.
    pub server: ServerId,
    /// Name of the cluster: lower-case letters, digits and dashes, at most 63.
    pub cluster: String,
    /// Whether an empty data directory waits to be added to a running cluster.
    pub join: bool,
    /// Folder of the log, the snapshots and the compiled components.
    pub data_dir: PathBuf,
    /// Where native clients connect, UDP.
    pub native_listen: SocketAddr,
    /// Where peers connect, UDP.
    pub peer_listen: SocketAddr,
    /// The door of ZooKeeper clients; `None`: there is none.
    pub zookeeper: Option<ZooKeeperConfig>,
    /// Whether a native client must prove who it is.
    pub client_certificates: ClientCertificates,
    /// The members of the new cluster, by id, or of the one to join; holds this server.
    pub members: Vec<MemberConfig>,
    /// Certificate files.
    pub tls: TlsPaths,
    /// Timeouts of consensus.
    pub timeouts: Timeouts,
    /// How many recipe calls followers run again to compare.
    pub verify: VerifyMode,
    /// Which recipes may be installed.
    pub recipes: RecipesConfig,
    /// All limits, the configured ones and the session timeouts among them.
    pub limits: Limits,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberConfig {
    /// Its id, 1 and up.
    pub server: ServerId,
    /// `host:port` where its peers reach it.
    pub peer_address: String,
    /// `host:port` where native clients reach it.
    pub native_address: String,
    /// `host:port` where ZooKeeper clients reach it, if they are to be told.
    pub zookeeper_address: Option<String>,
}

/// Where the certificate files are; PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPaths {
    /// Certificates of the cluster's authority; more than one while it is being replaced.
    pub authority: PathBuf,
    /// This server's certificate, then any between it and the authority's.
    pub certificate: PathBuf,
    /// The key of this server's certificate.
    pub key: PathBuf,
}

/// Whether native clients need a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Without one the connection is refused.
    #[default]
    Required,
    /// Without one the client is `anonymous`.
    Optional,
}

/// How many logged recipe calls followers run again at apply to compare the changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyMode {
    /// None.
    Off,
    /// One in 64.
    #[default]
    Sample,
    /// All.
    All,
}

/// Timeouts of consensus, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Without word from a leader for this long at least, a server asks to be elected.
    pub election_ms_min: u64,
    /// The longest such wait; each wait is drawn between the two.
    pub election_ms_max: u64,
    /// How often a leader reports to its followers.
    pub heartbeat_ms: u64,
}

impl Default for Timeouts {
    /// Suit servers a few milliseconds apart: writes resume well within 2 s after the loss of a leader.
    fn default() -> Timeouts {
        Timeouts { election_ms_min: 300, election_ms_max: 600, heartbeat_ms: 50 }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; pass its path with --config or --zoo-cfg", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is wrong here.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what to do about it.
        message: String,
    },
    /// A `zoo.cfg` is fine, but servers need certificates.
    #[error(
        "{} is missing: servers use TLS among themselves, always. Make the certificates of all servers \
         once, with `quorate cluster certificates --zoo-cfg {} --out certificates`, then copy \
         certificates/server-{server}/tls to {}",
        missing.display(), zoo_cfg.display(), folder.display()
    )]
    NoCertificates {
        /// The file that is not there.
        missing: PathBuf,
        /// The `zoo.cfg`.
        zoo_cfg: PathBuf,
        /// This server.
        server: ServerId,
        /// The folder of its certificates.
        folder: PathBuf,
    },
}

impl ServerConfig {
    /// Reads and checks a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn load(path: &Path) -> Result<ServerConfig, ConfigurationError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigurationError::Unreadable { path: path.to_owned(), source })?;
        ServerConfig::parse(&text, path)
    }

    /// Checks `text`. `path` is named in errors, and its folder is where relative paths start.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<ServerConfig, ConfigurationError> {
        let origin = Origin { path, text };
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            origin.error(at, error.message().to_owned())
        })?;
        let sections = [
            "server",
            "cluster",
            "members",
            "native",
            "peers",
            "zookeeper",
            "tls",
            "timeouts",
            "recipes",
            "limits",
        ];
        let root = Section::new(&origin, "", document.get_ref(), document.span(), &sections)?;
        let config = read_document(&root)?;
        check_whole(&config)
            .map_err(|(key, message)| origin.error(root.offset_of(key), message))?;
        Ok(config)
    }

    /// The id that servers of this cluster compare: a hash of its name. It catches mix-ups;
    /// strangers are kept out by certificates.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        // FNV-1a, 64 bits.
        self.cluster.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// The member that this server is.
    #[must_use]
    pub fn own_member(&self) -> &MemberConfig {
        let own = self.members.iter().find(|member| member.server == self.server);
        own.expect("checked when the configuration was made")
    }

    /// The configuration as text that [`ServerConfig::parse`] reads back; of the limits only
    /// the session timeouts and the size of a log segment are part of it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let quoted = |path: &Path| toml_string(&path.display().to_string());
        let _ = writeln!(text, "[server]\nid = {}", self.server);
        if self.join {
            let _ = writeln!(text, "join = true");
        }
        let _ = writeln!(text, "data_dir = {}\n", quoted(&self.data_dir));
        let _ = writeln!(text, "[cluster]\nname = {}", toml_string(&self.cluster));
        let _ = writeln!(text, "verify_recipes = \"{}\"\n", self.verify.name());
        let certificates = match self.client_certificates {
            ClientCertificates::Required => "required",
            ClientCertificates::Optional => "optional",
        };
        let _ = writeln!(text, "[native]\nlisten = \"{}\"", self.native_listen);
        let _ = writeln!(text, "client_certificates = \"{certificates}\"\n");
        let _ = writeln!(text, "[peers]\nlisten = \"{}\"\n", self.peer_listen);
        if let Some(zookeeper) = &self.zookeeper {
            let _ = writeln!(text, "{}", zookeeper_section::to_toml(zookeeper, &self.tls));
        }
        let _ = writeln!(text, "[tls]\nauthority = {}", quoted(&self.tls.authority));
        let _ = writeln!(text, "certificate = {}", quoted(&self.tls.certificate));
        let _ = writeln!(text, "key = {}\n", quoted(&self.tls.key));
        let Timeouts { election_ms_min, election_ms_max, heartbeat_ms } = self.timeouts;
        let _ = writeln!(text, "[timeouts]\nelection_ms_min = {election_ms_min}");
        let _ = writeln!(text, "election_ms_max = {election_ms_max}");
        let _ = writeln!(text, "heartbeat_ms = {heartbeat_ms}");
        let _ = writeln!(text, "session_ms_min = {}", self.limits.session_timeout_ms_min);
        let _ = writeln!(text, "session_ms_max = {}", self.limits.session_timeout_ms_max);
        self.recipes.write(&mut text);
        let segment_bytes = self.limits.log_segment_bytes;
        let _ = writeln!(text, "\n[limits]\nlog_segment_bytes = {segment_bytes}");
        for member in &self.members {
            let _ = writeln!(text, "\n[[members]]\nid = {}", member.server);
            let _ = writeln!(text, "peer_address = {}", toml_string(&member.peer_address));
            let _ = writeln!(text, "native_address = {}", toml_string(&member.native_address));
            if let Some(address) = &member.zookeeper_address {
                let _ = writeln!(text, "zookeeper_address = {}", toml_string(address));
            }
        }
        text
    }
}

impl VerifyMode {
    /// The word in `quorate.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            VerifyMode::Off => "off",
            VerifyMode::Sample => "sample",
            VerifyMode::All => "all",
        }
    }
}

fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

type Refused = ConfigurationError;

fn read_document(root: &Section<'_>) -> Result<ServerConfig, Refused> {
    let server =
        root.section("server", &["id", "data_dir", "join"])?.unwrap_or_else(|| root.empty());
    let cluster = root.section("cluster", &["name", "verify_recipes"])?;
    let cluster = cluster.unwrap_or_else(|| root.empty());
    let native = root.section("native", &["listen", "client_certificates"])?;
    let native = native.unwrap_or_else(|| root.empty());
    let peers = root.section("peers", &["listen"])?.unwrap_or_else(|| root.empty());
    let mut limits = Limits::PRODUCTION;
    limits_section::read(root, &mut limits)?;
    let timeouts = read_timeouts(root, &mut limits)?;
    let certificates =
        [("required", ClientCertificates::Required), ("optional", ClientCertificates::Optional)];
    let modes = [VerifyMode::Off, VerifyMode::Sample, VerifyMode::All];
    let tls = read_tls(root)?;
    Ok(ServerConfig {
        server: ServerId(
            server.required(server.integer("id", 1..=u64::from(u32::MAX))?, "server.id")?,
        ),
        join: server.boolean("join")?.unwrap_or(false),
        data_dir: server.required(server.path("data_dir")?, "server.data_dir")?,
        cluster: read_cluster_name(&cluster)?,
        verify: cluster
            .choice("verify_recipes", &modes.map(|mode| (mode.name(), mode)))?
            .unwrap_or_default(),
        native_listen: native.socket_address("listen")?.unwrap_or_else(|| any_address(NATIVE_PORT)),
        client_certificates: native
            .choice("client_certificates", &certificates)?
            .unwrap_or_default(),
        peer_listen: peers.socket_address("listen")?.unwrap_or_else(|| any_address(PEER_PORT)),
        zookeeper: zookeeper_section::read(root, &tls)?,
        members: read_members(root)?,
        tls,
        timeouts,
        recipes: recipes_section::read(root)?,
        limits,
    })
}

fn any_address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// Whether `name` can name a cluster or a client: it becomes part of a URI in certificates.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-')
}

/// What is said of a name that is not plain.
fn no_cluster_name(name: &str) -> String {
    let rule = "1 to 63 lower-case letters, digits and dashes, not beginning with a dash";
    format!("a cluster's name is {rule}, not `{name}`")
}

fn read_cluster_name(cluster: &Section<'_>) -> Result<String, Refused> {
    let name = cluster.required(cluster.string("name")?, "cluster.name")?;
    if !is_plain_name(name) {
        return Err(cluster.error("name", no_cluster_name(name)));
    }
    Ok(name.to_owned())
}

const MEMBER_KEYS: [&str; 4] = ["id", "peer_address", "native_address", "zookeeper_address"];

fn read_members(root: &Section<'_>) -> Result<Vec<MemberConfig>, Refused> {
    let mut members = Vec::new();
    for member in root.sections("members", &MEMBER_KEYS)? {
        let id = member.required(member.integer("id", 1..=u64::from(u32::MAX))?, "members.id")?;
        let peer =
            member.required(member.host_and_port("peer_address")?, "members.peer_address")?;
        let native =
            member.required(member.host_and_port("native_address")?, "members.native_address")?;
        members.push(MemberConfig {
            server: ServerId(id),
            peer_address: peer,
            native_address: native,
            zookeeper_address: member.host_and_port("zookeeper_address")?,
        });
    }
    members.sort_by_key(|member| member.server);
    Ok(members)
}

fn read_tls(root: &Section<'_>) -> Result<TlsPaths, Refused> {
    let tls = root.section("tls", &["authority", "certificate", "key"])?;
    let tls = tls.unwrap_or_else(|| root.empty());
    Ok(TlsPaths {
        authority: tls.required(tls.path("authority")?, "tls.authority")?,
        certificate: tls.required(tls.path("certificate")?, "tls.certificate")?,
        key: tls.required(tls.path("key")?, "tls.key")?,
    })
}

fn read_timeouts(root: &Section<'_>, limits: &mut Limits) -> Result<Timeouts, Refused> {
    let keys =
        ["election_ms_min", "election_ms_max", "heartbeat_ms", "session_ms_min", "session_ms_max"];
    let Some(section) = root.section("timeouts", &keys)? else {
        return Ok(Timeouts::default());
    };
    let ordinary = Timeouts::default();
    let session = |key, ordinary| section.integer_u32(key, 100..=86_400_000, ordinary);
    limits.session_timeout_ms_min = session("session_ms_min", limits.session_timeout_ms_min)?;
    limits.session_timeout_ms_max = session("session_ms_max", limits.session_timeout_ms_max)?;
    let consensus = |key, range, ordinary| Ok(section.integer(key, range)?.unwrap_or(ordinary));
    Ok(Timeouts {
        election_ms_min: consensus("election_ms_min", 50..=60_000, ordinary.election_ms_min)?,
        election_ms_max: consensus("election_ms_max", 50..=120_000, ordinary.election_ms_max)?,
        heartbeat_ms: consensus("heartbeat_ms", 5..=10_000, ordinary.heartbeat_ms)?,
    })
}

/// Checks that involve more than one key; an error names the section it is about.
fn check_whole(config: &ServerConfig) -> Result<(), (&'static str, String)> {
    let mut ids = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for member in &config.members {
        if !ids.insert(member.server) {
            let message = format!("two members have the id {}; ids are unique", member.server);
            return Err(("members", message));
        }
        for address in [&member.peer_address, &member.native_address] {
            if !addresses.insert(address) {
                return Err(("members", format!("the address {address} is given twice")));
            }
        }
    }
    if !ids.contains(&config.server) {
        let known = ids.iter().map(ServerId::to_string).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { String::from("none") } else { known };
        let message = format!(
            "server.id is {}, but [[members]] holds {known}; add a [[members]] entry with id = {}",
            config.server, config.server
        );
        return Err(("server", message));
    }
    if config.join && ids.len() == 1 {
        let message = "a server that joins names in [[members]] those of the cluster, or nobody is \
                       let in to contact it";
        return Err(("members", message.to_owned()));
    }
    let Timeouts { election_ms_min, election_ms_max, heartbeat_ms } = config.timeouts;
    if election_ms_max < election_ms_min + election_ms_min / 2 {
        let message = "election_ms_max must be at least one and a half times election_ms_min, or \
                       servers keep asking for votes at the same moment";
        return Err(("timeouts", message.to_owned()));
    }
    if heartbeat_ms * 3 > election_ms_min {
        let message = "heartbeat_ms must be at most a third of election_ms_min, or one late \
                       heartbeat ends a leader's term";
        return Err(("timeouts", message.to_owned()));
    }
    if config.limits.session_timeout_ms_min > config.limits.session_timeout_ms_max {
        return Err(("timeouts", String::from("session_ms_min is above session_ms_max")));
    }
    Ok(())
}
