//! `quorate cluster`: configuration and certificates of a new cluster, or of one more server.
//!
//! Comes in: hosts. Goes out: a folder per server to copy there, the authority to keep safe, a
//! profile for clients. Must never overwrite anything, or change a running cluster.

use crate::arguments::{ClusterCommand, Reach};
use crate::certificates;
use crate::exit::Mistake;
use crate::output::Output;
use crate::profile::{self, Profile};
use anyhow::{Context, Result, bail};
use quorate_client::{MemberStatus, ask_status};
use quorate_server::certificates::{AUTHORITY_FILE, ClusterAuthority};
use quorate_server::configuration::{
    ClientCertificates, MemberConfig, NATIVE_PORT, RecipesConfig, ServerConfig, Timeouts, TlsPaths,
    VerifyMode,
};
use quorate_server::{ZooKeeperConfig, ZooKeeperTls};
use quorate_types::ServerId;
use quorate_types::limits::Limits;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where one server of a new cluster is reached and keeps its data.
#[derive(Clone, Debug)]
pub(crate) struct NewServer {
    pub(crate) host: String,
    pub(crate) listen: IpAddr,
    pub(crate) native_port: u16,
    pub(crate) peer_port: u16,
    /// `None`: ZooKeeper clients are not served.
    pub(crate) zookeeper_ports: Option<ZooKeeperPorts>,
    /// `None`: `data` beside its configuration.
    pub(crate) data_dir: Option<PathBuf>,
}

/// Where ZooKeeper clients connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ZooKeeperPorts {
    pub(crate) plain: u16,
    pub(crate) tls: u16,
}

/// A new cluster.
#[derive(Clone, Debug)]
pub(crate) struct NewCluster {
    pub(crate) name: String,
    pub(crate) servers: Vec<NewServer>,
    pub(crate) verify: VerifyMode,
    pub(crate) limits: Limits,
}

/// What was written.
#[derive(Clone, Debug)]
pub(crate) struct WrittenCluster {
    /// Configuration of each server, in the order of their ids.
    pub(crate) configurations: Vec<PathBuf>,
    pub(crate) profile: Profile,
    pub(crate) profile_path: PathBuf,
}

/// What the folder of one server is written from.
struct ServerFolder<'a> {
    id: ServerId,
    new: &'a NewServer,
    members: Vec<MemberConfig>,
    join: bool,
    verify: VerifyMode,
    limits: Limits,
}

pub(crate) async fn run(reach: &Reach, command: &ClusterCommand, output: Output) -> Result<()> {
    match command {
        ClusterCommand::AddServer { host, authority, out, id, data_dir } => {
            let new = new_server(host, data_dir)?;
            add_server(reach, (&new, *id), authority, out, output).await
        }
        ClusterCommand::Create { servers, out, name, data_dir } => {
            create(servers, out, name, data_dir, output)
        }
        ClusterCommand::Certificates { zoo_cfg, out } => {
            certificates::of_zoo_cfg(zoo_cfg, out, output)
        }
        ClusterCommand::Client { name, authority, out } => client(name, authority, out, output),
    }
}

fn create(
    servers: &[String],
    out: &Path,
    name: &str,
    data_dir: &Path,
    output: Output,
) -> Result<()> {
    if servers.len().is_multiple_of(2) {
        output.note("an even number of servers survives no more losses than one server fewer");
    }
    let servers = servers.iter().map(|text| new_server(text, data_dir)).collect::<Result<_>>()?;
    let verify = VerifyMode::Sample;
    let cluster = NewCluster { name: name.to_owned(), servers, verify, limits: Limits::PRODUCTION };
    let written = cluster.write(out)?;
    let text = format!(
        "wrote {}\n  server-1 …    copy each to its server, then: quorate serve --config quorate.toml\n  \
         authority     keep it safe: whoever has its key can join the cluster\n  \
         profile.toml  for clients: quorate --profile {} status",
        out.display(),
        written.profile_path.display()
    );
    let value = json!({
        "out": out.display().to_string(),
        "servers": written.configurations.len(),
        "profile": written.profile_path.display().to_string(),
    });
    output.print(&text, &value);
    Ok(())
}

pub(crate) fn new_server(text: &str, data_dir: &Path) -> Result<NewServer> {
    let (host, native_port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => {
            (host, port.parse().with_context(|| format!("`{text}` is no host:port"))?)
        }
        _ => (text, NATIVE_PORT),
    };
    if host.is_empty() {
        bail!("`{text}` names no host");
    }
    Ok(NewServer {
        host: host.to_owned(),
        listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        native_port,
        peer_port: native_port.checked_add(1).context("the peer port follows the native port")?,
        zookeeper_ports: None,
        data_dir: Some(data_dir.to_owned()),
    })
}

async fn add_server(
    reach: &Reach,
    (new, id): (&NewServer, Option<u64>),
    authority: &Path,
    out: &Path,
    output: Output,
) -> Result<()> {
    let authority = ClusterAuthority::load(authority)?;
    // The servers know better than any file who they are and which ids are used up.
    let profile = profile::resolve(reach)?;
    let status = ask_status(&profile::client_config(&profile, reach)?).await?;
    let used = status.members.iter().map(|member| member.server);
    let used: Vec<ServerId> = used.chain(status.removed_members.iter().copied()).collect();
    let free = used.iter().map(|server| server.0).max().unwrap_or(0) + 1;
    let id = ServerId(id.unwrap_or(free));
    if used.contains(&id) {
        bail!(Mistake::bad_arguments(format!(
            "the cluster has used the id {id}, and ids are never used again: take {free}"
        )));
    }
    let mut members: Vec<MemberConfig> = status.members.iter().map(configured).collect();
    members.push(new.member(id));
    let (verify, limits) = (VerifyMode::Sample, Limits::PRODUCTION);
    let folder = ServerFolder { id, new, members, join: true, verify, limits };
    refuse_existing(out)?;
    let path = folder.write(&authority, out)?;
    let native = new.native_address();
    let text = format!(
        "wrote {}: server {id}\n  copy it to {}, then there: quorate serve --config quorate.toml\n  \
         then: quorate member add {id} {native}\n  then: quorate member promote {id} --wait",
        out.display(),
        new.host
    );
    let value = json!({
        "server": id.0,
        "configuration": path.display().to_string(),
        "native_address": native,
        "peer_address": new.peer_address(),
    });
    output.print(&text, &value);
    Ok(())
}

fn configured(member: &MemberStatus) -> MemberConfig {
    MemberConfig {
        server: member.server,
        peer_address: member.peer_address.clone(),
        native_address: member.native_address.clone(),
        // Members have theirs on record, and this one is told with `quorate member add`.
        zookeeper_address: None,
    }
}

pub(crate) fn refuse_existing(out: &Path) -> Result<()> {
    if out.exists() {
        bail!("{} exists already: name a folder that does not", out.display());
    }
    Ok(())
}

fn client(name: &str, authority: &Path, out: &Path, output: Output) -> Result<()> {
    let authority = ClusterAuthority::load(authority)?;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let (certificate, key) = authority.issue_client(name)?.save(out, name)?;
    let text = format!("wrote {} and {}", certificate.display(), key.display());
    let value = json!({
        "certificate": certificate.display().to_string(),
        "key": key.display().to_string(),
    });
    output.print(&text, &value);
    Ok(())
}

impl NewCluster {
    /// Writes everything below `out`, which must not exist yet.
    pub(crate) fn write(&self, out: &Path) -> Result<WrittenCluster> {
        refuse_existing(out)?;
        let authority = ClusterAuthority::create(&self.name)?;
        authority.save(&out.join("authority"))?;
        let mut configurations = Vec::new();
        for (server, new) in (1..).zip(&self.servers) {
            let (id, members) = (ServerId(server), self.members());
            let (verify, limits) = (self.verify, self.limits);
            let folder = ServerFolder { id, new, members, join: false, verify, limits };
            let path = folder.write(&authority, &out.join(format!("server-{server}")))?;
            configurations.push(path);
        }
        let endpoints = self.servers.iter().map(NewServer::native_address).collect();
        let profile_path = certificates::write_profile(&authority, endpoints, out)?;
        let out = std::fs::canonicalize(out).with_context(|| out.display().to_string())?;
        let profile = Profile::load(&out.join("profile.toml"))?;
        Ok(WrittenCluster { configurations, profile, profile_path })
    }

    fn members(&self) -> Vec<MemberConfig> {
        (1..).zip(&self.servers).map(|(id, server)| server.member(ServerId(id))).collect()
    }
}

impl ServerFolder<'_> {
    /// Writes configuration and certificates; gives the path of the configuration.
    fn write(self, authority: &ClusterAuthority, folder: &Path) -> Result<PathBuf> {
        let ServerFolder { id, new, members, join, verify, limits } = self;
        certificates::write_server(authority, id, &new.host, folder)?;
        let tls = TlsPaths {
            authority: PathBuf::from(AUTHORITY_FILE),
            certificate: PathBuf::from("server.pem"),
            key: PathBuf::from("server-key.pem"),
        };
        let config = ServerConfig {
            server: id,
            join,
            cluster: authority.cluster().to_owned(),
            data_dir: new.data_dir.clone().unwrap_or_else(|| PathBuf::from("data")),
            native_listen: SocketAddr::new(new.listen, new.native_port),
            peer_listen: SocketAddr::new(new.listen, new.peer_port),
            zookeeper: new.zookeeper(&tls),
            client_certificates: ClientCertificates::Required,
            members,
            tls,
            timeouts: Timeouts::default(),
            verify,
            recipes: RecipesConfig::default(),
            limits,
        };
        let path = folder.join("quorate.toml");
        std::fs::write(&path, config.to_toml()).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl NewServer {
    fn member(&self, server: ServerId) -> MemberConfig {
        let (peer_address, native_address) = (self.peer_address(), self.native_address());
        let address = |ports: ZooKeeperPorts| format!("{}:{}", self.host, ports.plain);
        let zookeeper_address = self.zookeeper_ports.map(address);
        MemberConfig { server, peer_address, native_address, zookeeper_address }
    }

    /// The door of ZooKeeper clients. `tls`: the server's own files.
    fn zookeeper(&self, tls: &TlsPaths) -> Option<ZooKeeperConfig> {
        let ports = self.zookeeper_ports?;
        let mut config = ZooKeeperConfig::at(SocketAddr::new(self.listen, ports.plain));
        let secure = SocketAddr::new(self.listen, ports.tls);
        config.tls = Some(ZooKeeperTls::at(secure, tls.clone()));
        Some(config)
    }

    /// Where its peers reach it.
    pub(crate) fn peer_address(&self) -> String {
        format!("{}:{}", self.host, self.peer_port)
    }

    /// Where clients reach it.
    pub(crate) fn native_address(&self) -> String {
        format!("{}:{}", self.host, self.native_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_cluster_is_read_back_by_each_of_its_servers() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("cluster");
        let servers =
            ["10.0.0.1", "db2:7000"].map(|text| new_server(text, Path::new("/d")).unwrap());
        let cluster = NewCluster {
            name: "test".to_owned(),
            servers: servers.to_vec(),
            verify: VerifyMode::All,
            limits: Limits::PRODUCTION,
        };
        let written = cluster.write(&out).unwrap();
        assert_eq!(written.profile.endpoints, ["10.0.0.1:7420", "db2:7000"]);
        assert!(written.profile.ca.is_file());
        for (server, path) in written.configurations.iter().enumerate() {
            let config = ServerConfig::load(path).unwrap();
            assert_eq!(config.server.0, server as u64 + 1);
            assert_eq!(config.members.len(), 2);
            assert_eq!(config.members[1].peer_address, "db2:7001");
        }
        assert!(cluster.write(&out).is_err(), "an existing folder is never written to");
    }
}
