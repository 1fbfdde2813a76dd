//! A ZooKeeper's data in a new cluster: what Debian's ZooKeeper 3.8 had when it was killed, three servers
//! have, znode by znode.
//!
//! The ZooKeeper is killed while a session with ephemerals is open, its folder is copied, and it is
//! started again on its own folder to be asked. Both sides are asked over the ZooKeeper protocol.

use crate::differential::name_administrator;
use crate::original::{self, Original};
use crate::tree::{Seen, become_administrator, done, take_in};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use quorate_conformance::{
    Cluster, Recipes, Tool, ZooKeeperClient, ZooKeeperSession, on_cluster, word,
};
use quorate_types::Permissions;
use quorate_wire::zookeeper::{
    Acl, Create, CreateMode, CreateTtl, Multi, MultiOperation, PathVersion, Reply, Request, SetAcl,
    SetData,
};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Between half as many and as many transactions lie between two snapshots.
const SNAPSHOT_TRANSACTIONS: u32 = 400;
/// Groups of znodes; each is 20 znodes and some changes.
const GROUPS: usize = 150;
const SESSION_MS: i32 = 60_000;
const OPEN: Acl<'static> = Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" };
/// Ten hours: none goes while the test runs.
const TTL_MS: i64 = 36_000_000;
/// A folder with the data of a ZooKeeper.
const OLD_DATA: &str = "old/data";

#[test]
fn a_zookeepers_data_is_imported_znode_by_znode() {
    if let Err(reason) = original::is_installed() {
        eprintln!("SKIPPED: {reason}");
        return;
    }
    on_cluster(Recipes::None, async |cluster| {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join(OLD_DATA);
        fs::create_dir_all(&data)?;
        let copy = folder.path().join("copy");
        let original = Original::start_on(&data, SNAPSHOT_TRANSACTIONS).await?;
        let address = original.address();
        blocking(move || fill(address)).await?;
        refused_while_it_runs(&data)?;
        drop(original);
        copy_folder(&data, &copy)?;

        name_administrator(cluster).await?;
        let report = import(cluster, &copy).await?;
        let original = Original::start_on(&data, SNAPSHOT_TRANSACTIONS).await?;
        let old = original.address();
        let expected = blocking(move || ask(old)).await?;
        let ephemerals: Vec<String> = of_sessions(&expected).collect();
        ensure!(expected.len() > 20 * GROUPS, "{} znodes are too few", expected.len());
        ensure!(ephemerals.len() == 3, "{ephemerals:?}");
        let listed = report["dropped_ephemerals"].as_array().context("a list")?;
        ensure!(listed.iter().all(|one| ephemerals.iter().any(|path| one["path"] == **path)));
        ensure!(listed.len() == ephemerals.len(), "{listed:?}");
        ensure!(report["zookeeper_digest"] == "equal", "{report}");
        ensure!(report["znodes"] == expected.len() - 1 - ephemerals.len(), "{report}");

        let first = report["first_zxid"].as_i64().context("a number")?;
        for server in cluster.servers() {
            let new = cluster.zookeeper_address(server)?;
            let given = blocking(move || ask(new)).await?;
            compare(&expected, &given, first)?;
        }
        cluster.assert_equal().await?;
        let leader = cluster.leader().await?;
        let new = cluster.zookeeper_address(leader)?;
        blocking(move || goes_on(old, new, first)).await
    });
}

#[test]
fn damaged_data_is_refused_and_nothing_is_written() {
    if let Err(reason) = original::is_installed() {
        eprintln!("SKIPPED: {reason}");
        return;
    }
    on_cluster(Recipes::None, async |cluster| {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join(OLD_DATA);
        fs::create_dir_all(&data)?;
        let original = Original::start_on(&data, SNAPSHOT_TRANSACTIONS).await?;
        let address = original.address();
        blocking(move || fill(address)).await?;
        drop(original);
        empty(cluster).await?;
        let servers = cluster.servers();
        let copies = Copies {
            folder: folder.path().to_owned(),
            data,
            target: cluster_folder(cluster),
            empty: servers.iter().map(|server| cluster.data_folder(*server)).collect(),
            tool: Tool::bare()?,
        };
        copies.snapshots()?;
        copies.logs()
    });
}

/// Copies of a ZooKeeper's folder, each damaged in one way.
struct Copies {
    folder: PathBuf,
    data: PathBuf,
    target: PathBuf,
    /// Folders that nothing may be written to.
    empty: Vec<PathBuf>,
    tool: Tool,
}

impl Copies {
    /// The damaged file. `place`: which of its kind, from the oldest; the newest if there are fewer.
    fn damage(
        &self,
        name: &str,
        (kind, place): (&str, usize),
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(PathBuf, PathBuf)> {
        let copy = self.folder.join(name);
        copy_folder(&self.data, &copy)?;
        let files = files_of(&copy, kind)?;
        let path = files.get(place).or(files.last()).context("a file")?.clone();
        let mut bytes = fs::read(&path)?;
        change(&mut bytes);
        fs::write(&path, bytes)?;
        Ok((copy, path))
    }

    /// An import of this copy is refused with these words.
    fn refuse(&self, copy: &Path, more: &[&str], wanted: &[&str]) -> Result<()> {
        let target = word(&self.target)?;
        let words = ["import", "zookeeper", "--data-dir", word(copy)?, "--cluster", target];
        let said = self.tool.refused(&[&words, more].concat())?.error;
        ensure!(wanted.iter().all(|part| said.contains(part)), "{said}, not {wanted:?}");
        ensure!(self.empty.iter().all(|folder| !folder.exists()), "something was written");
        Ok(())
    }

    fn snapshots(&self) -> Result<()> {
        let newest = ("snapshot.", usize::MAX);
        let (copy, path) = self.damage("cut-snapshot", newest, |bytes| {
            bytes.truncate(bytes.len() / 2);
        })?;
        self.refuse(&copy, &[], &[word(&path)?, "the file ends inside"])?;
        let (copy, path) = self.damage("spoilt-snapshot", newest, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        })?;
        self.refuse(&copy, &[], &[word(&path)?, "is damaged at byte", "--snapshot NAME"])
    }

    /// Read from the oldest snapshot on, so that all logs count.
    fn logs(&self) -> Result<()> {
        let oldest = files_of(&self.data, "snapshot.")?.first().context("a snapshot")?.clone();
        let oldest = oldest.file_name().and_then(|name| name.to_str()).context("a name")?;
        let from_oldest = ["--snapshot", oldest];
        let (copy, path) = self.damage("cut-log", ("log.", 1), |bytes| {
            // Inside a transaction: behind its content a log has room set aside.
            let content = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            bytes.truncate(content - 7);
        })?;
        self.refuse(&copy, &from_oldest, &[word(&path)?, "is cut off at byte"])?;
        let (copy, path) = self.damage("spoilt-log", ("log.", 1), |bytes| bytes[300] ^= 4)?;
        self.refuse(&copy, &from_oldest, &[word(&path)?, "is damaged at byte"])?;
        let copy = self.folder.join("lost-log");
        copy_folder(&self.data, &copy)?;
        fs::remove_file(files_of(&copy, "log.")?.get(1).context("a second log")?)?;
        self.refuse(&copy, &from_oldest, &["those between are missing"])?;

        // Undamaged, the oldest snapshot and all logs say what the newest does.
        let check = |more: &[&str]| {
            let words = ["import", "zookeeper", "--check", "--data-dir", word(&self.data)?];
            self.tool.done(&[&words, more].concat())
        };
        let (newest, oldest) = (check(&[])?, check(&from_oldest)?);
        ensure!(newest["sha256"] == oldest["sha256"], "{newest} {oldest}");
        ensure!(oldest["transactions"].as_u64() > newest["transactions"].as_u64(), "{oldest}");
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn connect(address: SocketAddr) -> Result<ZooKeeperClient> {
    let mut client = ZooKeeperClient::connect(address, SESSION_MS)?;
    become_administrator(&mut client)?;
    Ok(client)
}

fn ask(address: SocketAddr) -> Result<BTreeMap<String, Seen>> {
    take_in(&mut connect(address)?)
}

fn creation<'a>(path: &'a str, data: Option<&str>, mode: CreateMode) -> Create<'a> {
    let data = data.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    Create { path, data, acl: vec![OPEN], mode: mode.number() }
}

fn create(client: &mut ZooKeeperClient, create: Create<'_>) -> Result<String> {
    done(client, &Request::Create(create), |reply| match reply {
        Reply::Path(path) => Some(path.to_owned()),
        _ => None,
    })
}

fn write(client: &mut ZooKeeperClient, request: &Request<'_>) -> Result<()> {
    done(client, request, |_| Some(()))
}

/// Every kind of znode and of change, and three ephemerals of a session that stays open.
fn fill(address: SocketAddr) -> Result<()> {
    let mut client = connect(address)?;
    for path in ["/groups", "/queue", "/watched", "/zookeeper/quota/groups"] {
        create(&mut client, creation(path, Some(path), CreateMode::Persistent))?;
    }
    let limits = Some("count=100000,bytes=-1");
    let quota = "/zookeeper/quota/groups/zookeeper_limits";
    create(&mut client, creation(quota, limits, CreateMode::Persistent))?;
    for group in 0..GROUPS {
        fill_group(&mut client, group)?;
    }
    let mut passing = connect(address)?;
    for name in ["/watched/passing-", "/queue/passing-"] {
        create(&mut passing, creation(name, None, CreateMode::EphemeralSequential))?;
    }
    write(&mut passing, &Request::CloseSession)?;
    // Its session stays open: the ZooKeeper is killed before it expires.
    for name in ["/watched/here", "/watched/there", "/queue/last"] {
        create(&mut client, creation(name, Some("owned"), CreateMode::Ephemeral))?;
    }
    Ok(())
}

fn fill_group(client: &mut ZooKeeperClient, group: usize) -> Result<()> {
    let top = format!("/groups/group-{group}");
    create(client, creation(&top, Some(&"x".repeat(group)), CreateMode::Persistent))?;
    let paths: Vec<String> = (0..12).map(|number| format!("{top}/{number}")).collect();
    let created = paths.iter().map(|path| {
        let data = (!group.is_multiple_of(3)).then_some(path.as_str());
        MultiOperation::Create(creation(path, data, CreateMode::Persistent))
    });
    write(client, &Request::Multi(Multi(created.collect())))?;
    for (place, data) in [(0, Some("set")), (1, Some("")), (2, None)] {
        let data = data.map(|text| Bytes::from_static(str::as_bytes(text)));
        let path = paths[place].as_str();
        write(client, &Request::SetData(SetData { path, data, version: -1 }))?;
    }
    let id = format!("user-{}:cMJXwDmZ9Gq1rTBl3uYyIHBGKmE=", group % 7);
    let digest = Acl { permissions: Permissions::READ, scheme: "digest", id: &id };
    let ip = Acl { permissions: Permissions::ALL, scheme: "ip", id: "127.0.0.0/8" };
    let acl = vec![digest, ip];
    write(client, &Request::SetAcl(SetAcl { path: &paths[3], acl, version: -1 }))?;
    for path in [&paths[4], &paths[5]] {
        write(client, &Request::Delete(PathVersion { path, version: -1 }))?;
    }
    let container = format!("{top}/container");
    create_other(
        client,
        &Request::CreateContainer(creation(&container, None, CreateMode::Container)),
    )?;
    create(client, creation(&format!("{container}/child"), None, CreateMode::Persistent))?;
    let (path, data, acl) = (format!("{top}/ttl"), None, vec![OPEN]);
    let (mode, ttl_ms) = (CreateMode::PersistentTtl.number(), TTL_MS);
    create_other(client, &Request::CreateTtl(CreateTtl { path: &path, data, acl, mode, ttl_ms }))?;
    for name in ["job-", "job-", "other-"] {
        let (inner, shared) = (format!("{top}/{name}"), format!("/queue/{name}"));
        for path in [&inner, &shared, &inner] {
            create(client, creation(path, Some("job"), CreateMode::PersistentSequential))?;
        }
    }
    // None of a multi that fails is done.
    let wrong = [
        MultiOperation::Create(creation(&paths[4], None, CreateMode::Persistent)),
        MultiOperation::Delete(PathVersion { path: "/absent", version: -1 }),
    ];
    write(client, &Request::Multi(Multi(wrong.to_vec())))
}

fn create_other(client: &mut ZooKeeperClient, request: &Request<'_>) -> Result<()> {
    done(client, request, |reply| matches!(reply, Reply::PathStat(_)).then_some(()))
}

fn refused_while_it_runs(data: &Path) -> Result<()> {
    let tool = Tool::bare()?;
    let folder = tempfile::tempdir()?;
    let made = folder.path().join("cluster");
    tool.done(&["cluster", "create", "--servers", "a,b,c", "--out", word(&made)?])?;
    let out = folder.path().join("out");
    let refused = tool.refused(&[
        "import",
        "zookeeper",
        "--data-dir",
        word(data)?,
        "--cluster",
        word(&made)?,
        "--out",
        word(&out)?,
    ])?;
    ensure!(refused.error.contains("stop that ZooKeeper first"), "{}", refused.error);
    ensure!(!out.exists(), "something was written");
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Files of one kind, oldest first.
fn files_of(data: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(data.join("version-2"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
        if let Some(digits) = name.strip_prefix(kind) {
            files.push((u64::from_str_radix(digits, 16)?, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn cluster_folder(cluster: &Cluster) -> PathBuf {
    let first = cluster.server_folder(cluster.servers()[0]);
    first.parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Stops all servers and takes away what they have.
async fn empty(cluster: &mut Cluster) -> Result<()> {
    for server in cluster.servers() {
        cluster.take(server)?.terminate().await?;
        fs::remove_dir_all(cluster.data_folder(server))?;
    }
    Ok(())
}

/// Imports into the servers of a cluster that forget what they had, and starts them.
async fn import(cluster: &mut Cluster, data: &Path) -> Result<serde_json::Value> {
    let target = cluster_folder(cluster);
    let tool = Tool::bare()?;
    let words = ["import", "zookeeper", "--data-dir", word(data)?, "--cluster", word(&target)?];
    let refused = tool.refused(&words)?;
    ensure!(refused.error.contains("never started"), "{}", refused.error);
    empty(cluster).await?;
    let report = tool.done(&words)?;
    for server in cluster.servers() {
        cluster.start_server(server)?;
    }
    for server in cluster.servers() {
        cluster.wait_until_ready(server).await?;
    }
    Ok(report)
}

fn of_sessions(tree: &BTreeMap<String, Seen>) -> impl Iterator<Item = String> {
    let owned = tree.iter().filter(|(_, seen)| seen.stat.ephemeral_owner != 0);
    owned.map(|(path, _)| path.clone())
}

/// The new servers have everything, but that the open session's ephemerals went with the first
/// transaction, and have a configuration of their own.
fn compare(
    old: &BTreeMap<String, Seen>,
    new: &BTreeMap<String, Seen>,
    first_zxid: i64,
) -> Result<()> {
    let mut expected = old.clone();
    for path in of_sessions(old) {
        expected.remove(&path);
        let (parent, name) = path.rsplit_once('/').context("a path")?;
        let parent = expected.get_mut(parent).context("a parent")?;
        parent.children.remove(name);
        parent.stat.pzxid = first_zxid;
        parent.stat.children_count -= 1;
        parent.stat.cversion += 1;
    }
    let mut given = new.clone();
    for tree in [&mut expected, &mut given] {
        tree.remove("/zookeeper/config");
    }
    for (path, expected) in &expected {
        let given = given.get(path).with_context(|| format!("{path} did not come over"))?;
        ensure!(given == expected, "{path} was {expected:?} and is {given:?}");
    }
    let more: Vec<&String> = given.keys().filter(|path| !expected.contains_key(*path)).collect();
    ensure!(more.is_empty(), "nobody made {more:?}");
    Ok(())
}

/// Clients go on where they were: the next sequential name follows, and what a client has seen of the
/// old servers is not beyond the new ones.
fn goes_on(old: SocketAddr, new: SocketAddr, first_zxid: i64) -> Result<()> {
    let (mut before, mut after) = (connect(old)?, connect(new)?);
    let next = |client: &mut ZooKeeperClient, path: &str| {
        create(client, creation(path, None, CreateMode::PersistentSequential))
    };
    for parent in ["/queue", "/groups/group-7", "/groups/group-0/3"] {
        let path = format!("{parent}/next-");
        let (before, after) = (next(&mut before, &path)?, next(&mut after, &path)?);
        ensure!(before == after, "after {before} comes {after}");
    }
    let header = before.ask(&Request::Sync("/"))?.context("an answer")?.header()?;
    ensure!(header.zxid < first_zxid, "{} is not below {first_zxid}", header.zxid);
    let none = ZooKeeperSession { id: 0, password: Bytes::from_static(&[0; 16]) };
    let resumed = ZooKeeperClient::resume(new, SESSION_MS, &none, header.zxid)?;
    ensure!(resumed.is_some_and(|client| client.timeout_ms() > 0), "a client was not let in");
    let later = ZooKeeperClient::resume(new, SESSION_MS, &none, first_zxid + (1 << 32))?;
    ensure!(later.is_none(), "the new cluster is beyond what it has made");
    let gone = ZooKeeperClient::resume(new, SESSION_MS, before.session(), header.zxid)?;
    ensure!(gone.is_some_and(|client| client.timeout_ms() == 0), "an old session lives on");
    Ok(())
}
