//! Certificates as files: of a server, of the administrator, of every server that a `zoo.cfg` names.
//!
//! Comes in: an authority, servers with their hosts. Goes out: folders to copy and a profile for
//! clients. Must never overwrite a key.

use crate::cluster::refuse_existing;
use crate::output::Output;
use crate::profile::Profile;
use anyhow::{Context, Result};
use quorate_server::ServerConfig;
use quorate_server::certificates::{AUTHORITY_FILE, ClusterAuthority};
use quorate_server::configuration::zoo_cfg::{AUTHORITY_FOLDER, Ensemble, TLS_FOLDER};
use quorate_types::ServerId;
use serde_json::json;
use std::path::{Path, PathBuf};

/// `quorate cluster certificates`.
pub(crate) fn of_zoo_cfg(zoo_cfg: &Path, out: &Path, output: Output) -> Result<()> {
    let Ensemble { cluster, servers } = Ensemble::load(zoo_cfg)?;
    refuse_existing(out)?;
    let authority = ClusterAuthority::create(&cluster)?;
    authority.save(&out.join(AUTHORITY_FOLDER))?;
    for (member, host) in &servers {
        let folder = out.join(format!("server-{}", member.server)).join(TLS_FOLDER);
        write_server(&authority, member.server, host, &folder)?;
    }
    let endpoints = servers.iter().map(|(member, _)| member.native_address.clone()).collect();
    let profile = write_profile(&authority, endpoints, out)?;
    let text = format!(
        "wrote {}\n  server-N/tls  copy each to its server's dataDir, then there: quorate serve --zoo-cfg {}\n  \
         authority     keep it safe: whoever has its key can join the cluster\n  \
         profile.toml  for clients: quorate --profile {} status",
        out.display(),
        zoo_cfg.display(),
        profile.display()
    );
    let value = json!({
        "out": out.display().to_string(),
        "servers": servers.iter().map(|(member, _)| member.server.0).collect::<Vec<_>>(),
        "profile": profile.display().to_string(),
    });
    output.print(&text, &value);
    Ok(())
}

/// Makes the certificates of a server that is a cluster by itself, in the folder where its
/// configuration looks for them.
pub(crate) fn make_own(config: &ServerConfig, output: Output) -> Result<()> {
    let member = config.own_member();
    let host = config.peer_listen.ip().to_string();
    let folder = config.data_dir.join(TLS_FOLDER);
    // Under another name until all is there: the next start must not find half of it.
    let unfinished = config.data_dir.join("tls.unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
    }
    let authority = ClusterAuthority::create(&config.cluster)?;
    authority.save(&unfinished.join(AUTHORITY_FOLDER))?;
    write_server(&authority, member.server, &host, &unfinished)?;
    write_profile(&authority, vec![member.native_address.clone()], &unfinished)?;
    std::fs::rename(&unfinished, &folder).with_context(|| folder.display().to_string())?;
    let profile = folder.join("profile.toml");
    output.note(&format!(
        "made certificates in {}; quorate's own clients: quorate --profile {} status",
        folder.display(),
        profile.display()
    ));
    Ok(())
}

/// Writes what a server needs into `folder`, which is made if it is not there.
pub(crate) fn write_server(
    authority: &ClusterAuthority,
    server: ServerId,
    host: &str,
    folder: &Path,
) -> Result<()> {
    write_authority(authority, folder)?;
    authority.issue_server(server, &[host.to_owned()])?.save(folder, "server")?;
    Ok(())
}

/// Writes the administrator's certificate and `profile.toml` into `out`; gives the profile's path.
pub(crate) fn write_profile(
    authority: &ClusterAuthority,
    endpoints: Vec<String>,
    out: &Path,
) -> Result<PathBuf> {
    let clients = out.join("client");
    let ca = write_authority(authority, &clients)?;
    let (certificate, key) = authority.issue_client("admin")?.save(&clients, "admin")?;
    let relative = |path: &Path| path.strip_prefix(out).unwrap_or(path).to_path_buf();
    let profile = Profile {
        endpoints,
        ca: relative(&ca),
        certificate: Some(relative(&certificate)),
        key: Some(relative(&key)),
        written_by: None,
    };
    let path = out.join("profile.toml");
    profile.save(&path)?;
    Ok(path)
}

fn write_authority(authority: &ClusterAuthority, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = folder.join(AUTHORITY_FILE);
    std::fs::write(&path, authority.certificate_pem())
        .with_context(|| path.display().to_string())?;
    Ok(path)
}
