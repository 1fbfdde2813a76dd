//! `quorate cluster`: configuration and certificates of a new cluster.
//!
//! Comes in: hosts. Goes out: a folder per server to copy there, the authority to keep safe, a
//! profile for clients. Must never overwrite anything.

use crate::arguments::ClusterCommand;
use crate::output::Output;
use crate::profile::Profile;
use anyhow::{Context, Result, bail};
use quorate_server::certificates::{AUTHORITY_FILE, ClusterAuthority};
use quorate_server::configuration::{
    ClientCertificates, MemberConfig, NATIVE_PORT, ServerConfig, Timeouts, TlsPaths, VerifyMode,
};
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
    /// `None`: `data` beside its configuration.
    pub(crate) data_dir: Option<PathBuf>,
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

pub(crate) fn run(command: &ClusterCommand, output: Output) -> Result<()> {
    match command {
        ClusterCommand::Create { servers, out, name, data_dir } => {
            create(servers, out, name, data_dir, output)
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

fn new_server(text: &str, data_dir: &Path) -> Result<NewServer> {
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
        data_dir: Some(data_dir.to_owned()),
    })
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
        if out.exists() {
            bail!("{} exists already: name a folder that does not", out.display());
        }
        let authority = ClusterAuthority::create(&self.name)?;
        authority.save(&out.join("authority"))?;
        let mut configurations = Vec::new();
        for server in 1..=self.servers.len() {
            let folder = out.join(format!("server-{server}"));
            configurations.push(self.write_server(&authority, server, &folder)?);
        }
        let clients = out.join("client");
        std::fs::create_dir_all(&clients).with_context(|| clients.display().to_string())?;
        let ca = clients.join(AUTHORITY_FILE);
        std::fs::write(&ca, authority.certificate_pem())
            .with_context(|| ca.display().to_string())?;
        let (certificate, key) = authority.issue_client("admin")?.save(&clients, "admin")?;
        let profile_path = out.join("profile.toml");
        let relative = |path: &Path| path.strip_prefix(out).unwrap_or(path).to_path_buf();
        let profile = Profile {
            endpoints: self.servers.iter().map(NewServer::native_address).collect(),
            ca: relative(&ca),
            certificate: Some(relative(&certificate)),
            key: Some(relative(&key)),
            written_by: None,
        };
        profile.save(&profile_path)?;
        let out = std::fs::canonicalize(out).with_context(|| out.display().to_string())?;
        let profile = Profile::load(&out.join("profile.toml"))?;
        Ok(WrittenCluster { configurations, profile, profile_path })
    }

    fn write_server(
        &self,
        authority: &ClusterAuthority,
        server: usize,
        folder: &Path,
    ) -> Result<PathBuf> {
        let id = ServerId(u64::try_from(server)?);
        let new = &self.servers[server - 1];
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let ca = folder.join(AUTHORITY_FILE);
        std::fs::write(&ca, authority.certificate_pem())
            .with_context(|| ca.display().to_string())?;
        authority.issue_server(id, std::slice::from_ref(&new.host))?.save(folder, "server")?;
        let config = ServerConfig {
            server: id,
            cluster: self.name.clone(),
            data_dir: new.data_dir.clone().unwrap_or_else(|| PathBuf::from("data")),
            native_listen: SocketAddr::new(new.listen, new.native_port),
            peer_listen: SocketAddr::new(new.listen, new.peer_port),
            client_certificates: ClientCertificates::Required,
            members: self.members(),
            tls: TlsPaths {
                authority: PathBuf::from(AUTHORITY_FILE),
                certificate: PathBuf::from("server.pem"),
                key: PathBuf::from("server-key.pem"),
            },
            timeouts: Timeouts::default(),
            verify: self.verify,
            limits: self.limits,
        };
        let path = folder.join("quorate.toml");
        std::fs::write(&path, config.to_toml()).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    fn members(&self) -> Vec<MemberConfig> {
        (1..)
            .zip(&self.servers)
            .map(|(id, server)| MemberConfig {
                server: ServerId(id),
                peer_address: format!("{}:{}", server.host, server.peer_port),
                native_address: server.native_address(),
            })
            .collect()
    }
}

impl NewServer {
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
