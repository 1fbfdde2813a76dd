//! The servers that an import is for, and where their data goes.
//!
//! Comes in: configurations. Goes out: every member of one new cluster with a folder each. Invariant: no
//! member is left out and no two share a folder: a server that began empty could be elected by another
//! one such, and the import would be lost. Must never choose a folder that was not named.

use crate::error::ImportError;
use quorate_server::configuration::ServerConfig;
use quorate_server::configuration::zoo_cfg::Takeover;
use quorate_types::ServerId;
use quorate_types::limits::Limits;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the configurations of the new servers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configurations {
    /// `quorate.toml` files.
    Files(Vec<PathBuf>),
    /// A ZooKeeper's `zoo.cfg` files.
    ZooCfgs(Vec<PathBuf>),
    /// The folder that `quorate cluster create` wrote.
    Cluster(PathBuf),
}

/// A server and the folder that gets its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewServer {
    /// Which.
    pub server: ServerId,
    /// Its data directory, or the folder that stands for it.
    pub folder: PathBuf,
    pub(crate) log_segment_bytes: u32,
}

/// The new cluster.
#[derive(Clone, Debug)]
pub(crate) struct NewCluster {
    pub(crate) cluster_id: u64,
    pub(crate) limits: Limits,
    pub(crate) servers: Vec<NewServer>,
}

/// A configuration and the file that it is from.
struct Configured {
    path: PathBuf,
    config: ServerConfig,
}

/// Folders of a ZooKeeper that a `zoo.cfg` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZooKeeperFolders {
    pub(crate) data: PathBuf,
    pub(crate) data_log: Option<PathBuf>,
}

impl Configurations {
    /// The folders of the ZooKeeper whose place a server takes with its own `zoo.cfg`.
    pub(crate) fn zookeeper_folders(&self) -> Result<Option<ZooKeeperFolders>, ImportError> {
        let Configurations::ZooCfgs(paths) = self else { return Ok(None) };
        let [path] = paths.as_slice() else { return Ok(None) };
        let Takeover { config, data_log_dir } = Takeover::load(path)?;
        Ok(Some(ZooKeeperFolders { data: config.data_dir, data_log: data_log_dir }))
    }

    /// Every server of the new cluster. `out`: a folder that gets the data of all of them, to be taken to
    /// their machines; one configuration is enough then.
    pub(crate) fn resolve(&self, out: Option<&Path>) -> Result<NewCluster, ImportError> {
        let all = self.load()?;
        let Some(first) = all.first() else {
            return Err(ImportError::Servers(String::from("there is no configuration")));
        };
        check_one_cluster(&all)?;
        let servers = match out {
            Some(out) => below(out, &first.config)?,
            None => in_place(&all)?,
        };
        let mut limits = first.config.limits;
        for Configured { config, .. } in &all {
            let least = |own: u32, other: u32| own.min(other);
            limits.znode_data_bytes_max =
                least(limits.znode_data_bytes_max, config.limits.znode_data_bytes_max);
            limits.children_reply_max =
                least(limits.children_reply_max, config.limits.children_reply_max);
        }
        Ok(NewCluster { cluster_id: first.config.cluster_id(), limits, servers })
    }

    fn load(&self) -> Result<Vec<Configured>, ImportError> {
        match self {
            Configurations::Files(paths) => paths.iter().map(|path| load_toml(path)).collect(),
            Configurations::ZooCfgs(paths) => paths
                .iter()
                .map(|path| {
                    let config = Takeover::load(path)?.config;
                    Ok(Configured { path: path.clone(), config })
                })
                .collect(),
            Configurations::Cluster(folder) => {
                let paths = files_of_cluster(folder)?;
                paths.iter().map(|path| load_toml(path)).collect()
            }
        }
    }
}

fn load_toml(path: &Path) -> Result<Configured, ImportError> {
    Ok(Configured { path: path.to_owned(), config: ServerConfig::load(path)? })
}

fn files_of_cluster(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let unreadable = |cause| ImportError::Unreadable { path: folder.to_owned(), cause };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path().join("quorate.toml"))).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    if paths.is_empty() {
        return Err(ImportError::Servers(format!(
            "there is no server-N/quorate.toml in {}: name the folder that `quorate cluster create --out` \
             or `quorate dev --dir` wrote",
            folder.display()
        )));
    }
    Ok(paths)
}

fn check_one_cluster(all: &[Configured]) -> Result<(), ImportError> {
    let (first, mut known) = (&all[0], BTreeMap::new());
    for one in all {
        let (path, config) = (&one.path, &one.config);
        if config.join {
            return Err(ImportError::Servers(format!(
                "{} joins a running cluster, which gives it everything: an import is for the servers that a \
                 cluster begins with",
                path.display()
            )));
        }
        if config.cluster != first.config.cluster || config.members != first.config.members {
            return Err(ImportError::Servers(format!(
                "{} and {} do not name the same cluster and members",
                first.path.display(),
                path.display()
            )));
        }
        if let Some(other) = known.insert(config.server, path) {
            return Err(ImportError::Servers(format!(
                "{} and {} are both for server {}",
                other.display(),
                path.display(),
                config.server
            )));
        }
    }
    Ok(())
}

fn below(out: &Path, config: &ServerConfig) -> Result<Vec<NewServer>, ImportError> {
    if out.exists() {
        return Err(ImportError::Servers(format!(
            "{} is there already: --out names a folder that is not",
            out.display()
        )));
    }
    let log_segment_bytes = config.limits.log_segment_bytes;
    let server = |server: ServerId| NewServer {
        server,
        folder: out.join(format!("server-{server}")),
        log_segment_bytes,
    };
    Ok(config.members.iter().map(|member| server(member.server)).collect())
}

fn in_place(all: &[Configured]) -> Result<Vec<NewServer>, ImportError> {
    let members = &all[0].config.members;
    let is_given = |server: ServerId| all.iter().any(|one| one.config.server == server);
    let missing: Vec<String> = members
        .iter()
        .filter(|member| !is_given(member.server))
        .map(|member| member.server.to_string())
        .collect();
    if !missing.is_empty() {
        return Err(ImportError::Servers(format!(
            "the configuration of server {} is not given, and every server must begin with the import: give \
             them all, or let --out FOLDER get the data of all servers, to be taken to their machines",
            missing.join(", ")
        )));
    }
    let mut folders: BTreeMap<PathBuf, ServerId> = BTreeMap::new();
    for Configured { config, .. } in all {
        if let Some(other) = folders.insert(config.data_dir.clone(), config.server) {
            return Err(ImportError::Servers(format!(
                "servers {other} and {} both keep their data in {}, so they are on different machines: let \
                 --out FOLDER get the data of all servers, to be taken there",
                config.server,
                config.data_dir.display()
            )));
        }
    }
    let server = |Configured { config, .. }: &Configured| NewServer {
        server: config.server,
        folder: config.data_dir.clone(),
        log_segment_bytes: config.limits.log_segment_bytes,
    };
    Ok(all.iter().map(server).collect())
}
