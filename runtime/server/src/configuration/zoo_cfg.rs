//! `zoo.cfg`, ZooKeeper's configuration: text comes in, a configuration that is valid as a whole goes
//! out, with a warning for everything that has no effect here.
//!
//! Invariant: a key is honoured, mapped to what comes nearest, warned about or refused, as the table
//! in `keys` says; ZooKeeper's own fatal checks are fatal here. A misspelt key is a warning, not an
//! error as in `quorate.toml`: ZooKeeper starts with it. Must never take the data of a ZooKeeper for
//! an empty folder. Documents: `runtime/docs/zoo-cfg.md`.

mod given;
mod keys;
mod properties;
#[cfg(test)]
mod tests;
mod tls_keys;

use super::zookeeper_section::{REQUEST_BYTES, is_digest};
use super::{
    ClientCertificates, ConfigurationError, MemberConfig, NATIVE_PORT, PEER_PORT, RecipesConfig,
    ServerConfig, Timeouts, TlsPaths, VerifyMode, check_whole, is_plain_name, no_cluster_name,
};
use crate::certificates::AUTHORITY_FILE;
use crate::disk::STATE_FOLDER;
use crate::zookeeper::ZooKeeperConfig;
use given::Given;
pub use keys::{Class, count_of, table};
use quorate_types::ServerId;
use quorate_types::limits::Limits;
use quorate_wire::zookeeper::{FourLetterWord, ServerLine};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// Name of the cluster if the file does not say it.
const CLUSTER: &str = "zookeeper";
/// Folder of the certificates, in dataDir.
pub const TLS_FOLDER: &str = "tls";
/// Folder of the authority among the certificates of a server that made them for itself.
pub const AUTHORITY_FOLDER: &str = "authority";
/// Length of a tick if the file does not say it, as in ZooKeeper.
const TICK_MS: u32 = 3_000;
/// Session timeouts that a server can keep.
const SESSION_MS: (u32, u32) = (100, 86_400_000);
/// Added to the client port of a server without server lines for its peer port, which nobody uses.
const LONE_PEER_PORT_STEP: u16 = 10_000;

/// A configuration from a `zoo.cfg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooCfg {
    /// What the server is told.
    pub config: ServerConfig,
    /// What in the file has no effect, with file and line.
    pub warnings: Vec<String>,
    /// Whether this server is alone and has no certificates yet: it may make them for itself.
    pub wants_own_certificates: bool,
}

/// The servers that a `zoo.cfg` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    /// Name of the cluster.
    pub cluster: String,
    /// Each server with the host that it is reached by.
    pub servers: Vec<(MemberConfig, String)>,
}

/// What an import needs to know of a `zoo.cfg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// What the server will be told; its certificates may still be missing.
    pub config: ServerConfig,
    /// Where the ZooKeeper keeps its logs, if not in dataDir.
    pub data_log_dir: Option<PathBuf>,
}

impl Takeover {
    /// Reads and checks a file whose dataDir may hold the data of a ZooKeeper.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn load(path: &Path) -> Result<Takeover, ConfigurationError> {
        let mut reading = Reading::new(&read(path, &ThisMachine)?, path, &ThisMachine)?;
        reading.takes_over = true;
        let config = reading.config()?;
        let data_log_dir = reading.given.unread("dataLogDir").map(PathBuf::from);
        Ok(Takeover { config, data_log_dir })
    }
}

/// What a `zoo.cfg` refers to: files and names. A test gives its own.
pub trait Surroundings {
    /// The bytes of a file.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Whether there is a file or folder.
    fn exists(&self, path: &Path) -> bool;
    /// The address of a host; `None`: it has none now.
    fn resolve(&self, host: &str) -> Option<IpAddr>;
}

/// The machine that this process runs on.
pub struct ThisMachine;

impl Surroundings for ThisMachine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn resolve(&self, host: &str) -> Option<IpAddr> {
        let found = host.parse().ok();
        found.or_else(|| Some((host, 0).to_socket_addrs().ok()?.next()?.ip()))
    }
}

impl ZooCfg {
    /// Reads and checks a file and those that it refers to.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn load(path: &Path) -> Result<ZooCfg, ConfigurationError> {
        ZooCfg::parse(&read(path, &ThisMachine)?, path, &ThisMachine)
    }

    /// As [`ZooCfg::load`], of these bytes.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(
        bytes: &[u8],
        path: &Path,
        surroundings: &impl Surroundings,
    ) -> Result<ZooCfg, ConfigurationError> {
        let mut reading = Reading::new(bytes, path, surroundings)?;
        let config = reading.config()?;
        let wants_own_certificates = reading.check_certificates(&config)?;
        let warnings = reading.given.into_warnings();
        Ok(ZooCfg { config, warnings, wants_own_certificates })
    }

    /// Puts every warning into the log.
    pub fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

impl Ensemble {
    /// Reads the servers of a file, on whatever machine: nothing in dataDir needs to be there.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn load(path: &Path) -> Result<Ensemble, ConfigurationError> {
        let reading = Reading::new(&read(path, &ThisMachine)?, path, &ThisMachine)?;
        let cluster = reading.cluster()?;
        let mut servers = reading.servers.clone();
        if servers.is_empty() {
            let server = reading.read_myid(&reading.data_dir()?)?.unwrap_or(ServerId(1));
            servers.insert(server, reading.lone_server()?);
        }
        let named = servers.iter().map(|(server, line)| (member(*server, line), line.host.clone()));
        Ok(Ensemble { cluster, servers: named.collect() })
    }
}

fn member(server: ServerId, line: &ServerLine) -> MemberConfig {
    let address = line.address();
    MemberConfig {
        server,
        peer_address: address.peer,
        native_address: address.native,
        zookeeper_address: address.zookeeper,
    }
}

fn read(path: &Path, surroundings: &impl Surroundings) -> Result<Vec<u8>, ConfigurationError> {
    surroundings
        .read(path)
        .map_err(|source| ConfigurationError::Unreadable { path: path.to_owned(), source })
}

/// A file that is being read.
struct Reading<'a, S> {
    path: &'a Path,
    given: Given<'a>,
    /// The server lines of this file or of its dynamic one.
    servers: BTreeMap<ServerId, ServerLine>,
    surroundings: &'a S,
    /// Whether the data of a ZooKeeper is known to be in dataDir.
    takes_over: bool,
}

impl<'a, S: Surroundings> Reading<'a, S> {
    fn new(
        bytes: &[u8],
        path: &'a Path,
        surroundings: &'a S,
    ) -> Result<Reading<'a, S>, ConfigurationError> {
        let mut given = Given::read(bytes, path)?;
        given.judge()?;
        let servers = match given.path("dynamicConfigFile") {
            Some(dynamic) => {
                if let Some((key, _)) = given.numbered("server").first() {
                    let message = format!("`{key}` belongs into dynamicConfigFile, which is given");
                    return Err(given.error(key, message));
                }
                let bytes = surroundings.read(&dynamic).map_err(|source| {
                    let message = format!("cannot read `{}`: {source}", dynamic.display());
                    given.error("dynamicConfigFile", message)
                })?;
                read_dynamic(&bytes, &dynamic)?
            }
            None => read_servers(&given)?,
        };
        if servers.len() > 1 && servers.len().is_multiple_of(2) {
            let message = "an even number of servers survives no more losses than one server fewer";
            given.warn("", message);
        }
        Ok(Reading { path, given, servers, surroundings, takes_over: false })
    }

    /// An error about no key that is there.
    fn error(&self, message: &str) -> ConfigurationError {
        self.given.error_at(1, message.to_owned())
    }

    fn config(&mut self) -> Result<ServerConfig, ConfigurationError> {
        let data_dir = self.data_dir()?;
        self.check_data_dir(&data_dir)?;
        self.check_limits()?;
        let server = self.own_id(&data_dir)?;
        if self.servers.is_empty() {
            let line = self.lone_server()?;
            self.servers.insert(server, line);
        }
        let own = self.servers.get(&server).cloned().ok_or_else(|| self.no_line(server))?;
        let listen = self.listen_ip(&own)?;
        let mut limits = Limits::PRODUCTION;
        self.read_limits(&mut limits)?;
        let tls = self.tls(&data_dir);
        let config = ServerConfig {
            server,
            cluster: self.cluster()?,
            join: self.given.boolean("quorate.join")?,
            native_listen: SocketAddr::new(listen, own.election_port),
            peer_listen: SocketAddr::new(listen, own.quorum_port),
            zookeeper: self.zookeeper(&own, tls.clone())?,
            client_certificates: ClientCertificates::Required,
            members: self.servers.iter().map(|(server, line)| member(*server, line)).collect(),
            tls,
            data_dir,
            timeouts: Timeouts::default(),
            verify: VerifyMode::Sample,
            recipes: RecipesConfig::default(),
            limits,
        };
        if config.join && config.members.len() == 1 {
            let message = "a server that joins needs the server lines of the cluster, or nobody is let in \
                           to contact it";
            return Err(self.given.error("quorate.join", message.to_owned()));
        }
        check_whole(&config).map_err(|(_, message)| self.error(&message))?;
        Ok(config)
    }

    fn data_dir(&self) -> Result<PathBuf, ConfigurationError> {
        self.given.path("dataDir").ok_or_else(|| self.error("`dataDir` is missing"))
    }

    fn check_data_dir(&mut self, data_dir: &Path) -> Result<(), ConfigurationError> {
        if data_dir.is_relative() && !data_dir.starts_with(".") {
            let message = "`dataDir` is relative to the folder that the server is started in; write ./ \
                           before it if that is meant";
            self.given.warn("dataDir", message);
        }
        let may_make = self.given.text("datadir.autocreate") != Some("false");
        if !may_make && !self.surroundings.exists(data_dir) {
            let message =
                "`dataDir` is not there, and datadir.autocreate=false says not to make it";
            return Err(self.given.error("dataDir", message.to_owned()));
        }
        let logs = self.given.unread("dataLogDir").map(PathBuf::from);
        let is_known = self.takes_over || self.surroundings.exists(&data_dir.join(STATE_FOLDER));
        for folder in [Some(data_dir.to_owned()), logs].into_iter().flatten() {
            let theirs = folder.join("version-2");
            if !is_known && self.surroundings.exists(&theirs) {
                let message = format!(
                    "{} is data of a ZooKeeper, and this server would begin with an empty tree: `quorate \
                     import zookeeper --zoo-cfg {}` brings the znodes over. To begin without them, name \
                     another dataDir, with `myid` in it",
                    theirs.display(),
                    self.path.display()
                );
                return Err(self.given.error("dataDir", message));
            }
        }
        Ok(())
    }

    /// What ZooKeeper insists on though it has no effect here: a file that it does not start on is
    /// probably not the one that is meant.
    fn check_limits(&self) -> Result<(), ConfigurationError> {
        for key in ["initLimit", "syncLimit"] {
            match self.given.unread(key).map(|text| (text, text.parse::<i32>())) {
                Some((_, Ok(ticks))) if ticks > 0 => {}
                Some((text, _)) if self.servers.len() > 1 => {
                    let message =
                        format!("`{key}` must be a number of ticks above 0, not `{text}`");
                    return Err(self.given.error(key, message));
                }
                None if self.servers.len() > 1 => {
                    let message = format!("`{key}` is missing: several servers need it");
                    return Err(self.error(&message));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_myid(&self, data_dir: &Path) -> Result<Option<ServerId>, ConfigurationError> {
        let path = data_dir.join("myid");
        let bytes = match self.surroundings.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ConfigurationError::Unreadable { path, source }),
        };
        let text = properties::decode(&bytes);
        let text = text.trim();
        let number = text.parse::<u32>().ok().filter(|number| *number != 0);
        let id = number.map(|number| ServerId(u64::from(number)));
        id.map(Some).ok_or_else(|| ConfigurationError::Invalid {
            path,
            line: 1,
            message: format!("the file holds this server's number, from 1, not `{text}`"),
        })
    }

    /// By `myid`; one server alone needs none.
    fn own_id(&self, data_dir: &Path) -> Result<ServerId, ConfigurationError> {
        if let Some(server) = self.read_myid(data_dir)? {
            return Ok(server);
        }
        let mut known = self.servers.keys();
        match (known.next(), known.next()) {
            (None, _) => Ok(ServerId(1)),
            (Some(only), None) => Ok(*only),
            _ => Err(self.error(&format!(
                "{} is missing: it holds the N of this server's line `server.N`",
                data_dir.join("myid").display()
            ))),
        }
    }

    fn no_line(&self, server: ServerId) -> ConfigurationError {
        let known = self.servers.keys().map(ServerId::to_string).collect::<Vec<_>>().join(", ");
        self.error(&format!(
            "myid says that this is server {server}, but there are lines for {known} only"
        ))
    }

    /// A server without server lines is reached on this machine only, but for ZooKeeper clients.
    fn lone_server(&self) -> Result<ServerLine, ConfigurationError> {
        let (election_port, quorum_port) = match self.client_port()? {
            // Of UDP, where nobody else is likely to be.
            Some(port) => {
                let peer = port.checked_add(LONE_PEER_PORT_STEP);
                (port, peer.unwrap_or_else(|| port.wrapping_sub(LONE_PEER_PORT_STEP)))
            }
            None => (NATIVE_PORT, PEER_PORT),
        };
        let host = Ipv4Addr::LOCALHOST.to_string();
        Ok(ServerLine {
            host,
            quorum_port,
            election_port,
            has_election_port: true,
            is_observer: false,
            client: None,
        })
    }

    fn listen_ip(&mut self, own: &ServerLine) -> Result<IpAddr, ConfigurationError> {
        if self.given.boolean("quorumListenOnAllIPs")? {
            return Ok(any_ip());
        }
        let found = self.surroundings.resolve(&own.host);
        if found.is_none() {
            let message = format!(
                "`{}`, this server's own host, has no address now: peers and native clients reach it on \
                 all of this machine's",
                own.host
            );
            self.given.warn("", &message);
        }
        Ok(found.unwrap_or_else(any_ip))
    }

    fn client_port(&self) -> Result<Option<u16>, ConfigurationError> {
        self.port("clientPort")
    }

    /// `None`: it is not given, or 0.
    fn port(&self, key: &str) -> Result<Option<u16>, ConfigurationError> {
        let Some(number) = self.given.number(key)? else { return Ok(None) };
        let port = u16::try_from(number).map_err(|_| {
            let message = format!("`{key}` must be a port, 1 to 65535, not {number}");
            self.given.error(key, message)
        })?;
        Ok(Some(port).filter(|port| *port != 0))
    }

    /// Where ZooKeeper clients connect: by `clientPort` or by the server's own line. `with_tls`: they can
    /// elsewhere too.
    fn client_address(
        &mut self,
        own: &ServerLine,
        with_tls: bool,
    ) -> Result<Option<SocketAddr>, ConfigurationError> {
        let port = self.client_port()?;
        let host = self.given.text("clientPortAddress").map(str::to_owned);
        let (line_host, line_port) =
            own.client.clone().map_or((None, None), |(host, port)| (host, Some(port)));
        if let (Some(port), Some(line_port)) = (port, line_port)
            && port != line_port
        {
            let message =
                format!("`clientPort` is {port}, but this server's line says {line_port}");
            return Err(self.given.error("clientPort", message));
        }
        if let (Some(host), Some(line_host)) = (&host, &line_host)
            && host != line_host
        {
            let message =
                format!("`clientPortAddress` is {host}, but this server's line says {line_host}");
            return Err(self.given.error("clientPortAddress", message));
        }
        let Some(port) = port.or(line_port) else {
            if host.is_some() {
                let message = String::from("`clientPortAddress` is given without `clientPort`");
                return Err(self.given.error("clientPortAddress", message));
            }
            if !with_tls {
                let message = "there is no `clientPort`: ZooKeeper clients are not served";
                self.given.warn("clientPort", message);
            }
            return Ok(None);
        };
        let Some(host) = host.or(line_host) else {
            return Ok(Some(SocketAddr::new(any_ip(), port)));
        };
        let ip = self.client_ip("clientPortAddress", &host)?;
        Ok(Some(SocketAddr::new(ip, port)))
    }

    fn client_ip(&self, key: &str, host: &str) -> Result<IpAddr, ConfigurationError> {
        self.surroundings.resolve(host).ok_or_else(|| {
            let message =
                format!("`{host}`, where ZooKeeper clients are to connect, has no address");
            self.given.error(key, message)
        })
    }

    fn zookeeper(
        &mut self,
        own: &ServerLine,
        files: TlsPaths,
    ) -> Result<Option<ZooKeeperConfig>, ConfigurationError> {
        let mut config = ZooKeeperConfig::at(SocketAddr::new(any_ip(), 0));
        config.tls = self.client_tls(files)?;
        let with_tls = config.tls.as_ref().is_some_and(|tls| tls.listen.is_some());
        config.listen = self.client_address(own, with_tls)?;
        self.check_unification(&mut config);
        // A number below 0 is none at all for `number`; 0 and -1 both mean any number.
        if self.given.has("maxClientCnxns") {
            let most = self.given.number("maxClientCnxns")?;
            config.connections_per_address_max = most.unwrap_or(0);
        }
        if let Some(text) = self.given.text("jute.maxbuffer") {
            let number = match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => text.parse::<u32>().ok(),
            };
            config.frame_bytes_max =
                number.filter(|number| REQUEST_BYTES.contains(number)).ok_or_else(|| {
                    let message =
                        format!("`jute.maxbuffer` must be from 1024 to 4194304, not `{text}`");
                    self.given.error("jute.maxbuffer", message)
                })?;
        }
        if let Some(digest) = self.given.text("DigestAuthenticationProvider.superDigest") {
            let key = "DigestAuthenticationProvider.superDigest";
            if !is_digest(digest) {
                let message = format!(
                    "`{key}` is `user:hash`, the hash as ZooKeeper's `zkDigest` tool makes it"
                );
                return Err(self.given.error(key, message));
            }
            config.super_digest = Some(digest.to_owned());
        }
        config.read_only_mode = self.given.boolean("readonlymode.enabled")?;
        config.reconfig_enabled = self.given.boolean("reconfigEnabled")?;
        self.read_words(&mut config);
        Ok(Some(config).filter(|config| config.listen.is_some() || with_tls))
    }

    fn read_words(&mut self, config: &mut ZooKeeperConfig) {
        let key = "4lw.commands.whitelist";
        let Some(text) = self.given.text(key).map(str::to_owned) else { return };
        config.words.clear();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match FourLetterWord::from_letters(word.as_bytes()) {
                _ if word == "*" => config.words = FourLetterWord::ALL.to_vec(),
                Some(known) => config.words.push(known),
                None => {
                    let message = format!("`{word}` is no four-letter word, so nobody can say it");
                    self.given.warn(key, &message);
                }
            }
        }
    }

    fn read_limits(&mut self, limits: &mut Limits) -> Result<(), ConfigurationError> {
        limits.enforces_quotas = self.given.boolean("enforceQuota")?;
        let tick_ms = match self.given.number("tickTime")? {
            None if !self.given.has("tickTime") => TICK_MS,
            None | Some(0) => {
                return Err(self
                    .given
                    .error("tickTime", String::from("`tickTime` must be above 0")));
            }
            Some(tick_ms) => tick_ms,
        };
        let ticks = |count: u64| u64::from(tick_ms) * count;
        let session_ms = |given: Option<u32>, count| given.map_or(ticks(count), u64::from);
        let least = session_ms(self.given.number("minSessionTimeout")?, 2);
        let most = session_ms(self.given.number("maxSessionTimeout")?, 20);
        if least > most {
            let message = format!(
                "`minSessionTimeout` is {least} and `maxSessionTimeout` {most}: the least must not be above \
                 the most; they are 2 and 20 ticks if not given"
            );
            let key = if self.given.has("minSessionTimeout") {
                "minSessionTimeout"
            } else {
                "maxSessionTimeout"
            };
            return Err(self.given.error(key, message));
        }
        limits.session_timeout_ms_min = self.given.clamp("minSessionTimeout", least, SESSION_MS);
        limits.session_timeout_ms_max = self.given.clamp("maxSessionTimeout", most, SESSION_MS);
        if let Some(most) = self.given.number("maxCnxns")? {
            let most = if most == 0 { 1_000_000 } else { most };
            limits.connections_max = self.given.clamp("maxCnxns", u64::from(most), (1, 1_000_000));
        }
        for key in ["preAllocSize", "txnLogSizeLimitInKb"] {
            if let Some(kib) = self.given.number(key)? {
                let bytes = u64::from(kib) << 10;
                limits.log_segment_bytes = self.given.clamp(key, bytes, (65_536, 1 << 30));
            }
        }
        if let Some(kib) = self.given.number("snapSizeLimitInKb")? {
            let bytes = u64::from(kib) << 10;
            let range = (1 << 20, 1 << 30);
            limits.snapshot_log_bytes = self.given.clamp("snapSizeLimitInKb", bytes, range);
        }
        let _ = self.given.boolean("standaloneEnabled")?;
        Ok(())
    }

    fn cluster(&self) -> Result<String, ConfigurationError> {
        let name = self.given.text("quorate.cluster").unwrap_or(CLUSTER);
        if !is_plain_name(name) {
            return Err(self.given.error("quorate.cluster", no_cluster_name(name)));
        }
        Ok(name.to_owned())
    }

    fn tls(&self, data_dir: &Path) -> TlsPaths {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let file = |key: &str, ordinary: &str| match self.given.path(key) {
            Some(path) => folder.join(path),
            None => data_dir.join(TLS_FOLDER).join(ordinary),
        };
        TlsPaths {
            authority: file("quorate.tls.authority", AUTHORITY_FILE),
            certificate: file("quorate.tls.certificate", "server.pem"),
            key: file("quorate.tls.key", "server-key.pem"),
        }
    }

    /// Whether this server is to make its own certificates. If there are none and it must not, that is
    /// an error here already: this is who knows what to do about it.
    fn check_certificates(&self, config: &ServerConfig) -> Result<bool, ConfigurationError> {
        let own_authority = config.data_dir.join(TLS_FOLDER).join(AUTHORITY_FOLDER);
        if config.members.len() > 1 && self.surroundings.exists(&own_authority) {
            let message = format!(
                "this server was alone: it made {}, and stays a cluster of one whatever lines are added, \
                 beside the cluster that the others would make. Add them to it with `quorate member add`, \
                 or begin anew with an empty dataDir",
                own_authority.display()
            );
            return Err(self.error(&message));
        }
        let TlsPaths { authority, certificate, key } = &config.tls;
        let missing = [authority, certificate, key].map(|path| !self.surroundings.exists(path));
        if missing == [false; 3] {
            return Ok(false);
        }
        let is_named = ["quorate.tls.authority", "quorate.tls.certificate", "quorate.tls.key"]
            .iter()
            .any(|key| self.given.has(key));
        let is_alone = config.members.len() == 1 && config.peer_listen.ip().is_loopback();
        if is_alone && !is_named && missing == [true; 3] {
            return Ok(true);
        }
        let missing = [authority, certificate, key].into_iter().zip(missing);
        let first = missing.filter(|(_, is_missing)| *is_missing).map(|(path, _)| path).next();
        Err(ConfigurationError::NoCertificates {
            missing: first.unwrap_or(authority).clone(),
            zoo_cfg: self.path.to_owned(),
            server: config.server,
            folder: config.data_dir.join(TLS_FOLDER),
        })
    }
}

fn any_ip() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

/// The server lines of a dynamic file, which holds nothing else.
fn read_dynamic(
    bytes: &[u8],
    path: &Path,
) -> Result<BTreeMap<ServerId, ServerLine>, ConfigurationError> {
    let mut given = Given::read(bytes, path)?;
    given.judge()?;
    if let Some((line, key)) = given.first_but(&["server.", "group.", "weight.", "version"]) {
        let message =
            format!("`{key}` does not belong into a dynamic file, which holds server lines only");
        return Err(given.error_at(line, message));
    }
    read_servers(&given)
}

fn read_servers(given: &Given<'_>) -> Result<BTreeMap<ServerId, ServerLine>, ConfigurationError> {
    let mut servers = BTreeMap::new();
    let lines = given.numbered("server");
    let are_several = lines.len() > 1;
    for (key, value) in lines {
        let refuse = |message: String| given.error(&key, message);
        let number = key.strip_prefix("server.").and_then(|number| number.parse::<u32>().ok());
        let number = number.filter(|number| *number != 0);
        let number = number.ok_or_else(|| {
            refuse(format!("`{key}`: servers have numbers from 1 to {}", u32::MAX))
        })?;
        let line =
            ServerLine::parse(value).map_err(|wrong| refuse(format!("`{key}={value}` {wrong}")))?;
        if line.is_observer {
            return Err(refuse(format!(
                "`{key}` is an observer, and a cluster begins with voters only: remove the line, and add \
                 that server with quorate.join=true in its own zoo.cfg and `quorate member add` later"
            )));
        }
        if line.is_unspecified() && are_several {
            return Err(refuse(format!(
                "`{key}` has the host {}, and the other servers are told it: write the host by which \
                 they reach this one; quorumListenOnAllIPs=true listens everywhere",
                line.host
            )));
        }
        if servers.insert(ServerId(u64::from(number)), line).is_some() {
            return Err(refuse(format!("`{key}`: another line is for the same server")));
        }
    }
    Ok(servers)
}
