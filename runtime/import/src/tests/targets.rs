//! Where an import goes: all servers of a new cluster, or none.

use super::written::{
    OldServer, SESSION, create, create_ephemeral, log, set, snapshot, system, znode,
};
use crate::{Configurations, Import, ImportError, Report};
use bytes::Bytes;
use quorate_machine::{Machine, ZnodeKind};
use quorate_server::configuration::zoo_cfg::ZooCfg;
use quorate_storage::snapshot as files;
use quorate_types::Zxid;
use quorate_wire::zookeeper::stored::{StoredStat, StoredTransaction, StoredZnode};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Configurations of three servers, each with a data directory of its own.
fn cluster() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for server in 1..=3 {
        configure(folder.path(), server, "data");
    }
    folder
}

fn configure(folder: &Path, server: u64, data_dir: &str) {
    let own = folder.join(format!("server-{server}"));
    fs::create_dir_all(&own).unwrap();
    let mut text = format!(
        "[server]\nid = {server}\ndata_dir = \"{data_dir}\"\n[cluster]\nname = \"test\"\n\
         [limits]\nlog_segment_bytes = 65536\nznode_data_bytes_max = 1024\n\
         [tls]\nauthority = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n"
    );
    for member in 1..=3 {
        text += &format!(
            "[[members]]\nid = {member}\npeer_address = \"h{member}:1\"\nnative_address = \"h{member}:2\"\n"
        );
    }
    fs::write(own.join("quorate.toml"), text).unwrap();
}

/// An ensemble in its fifth epoch that lost its server while a session was open.
fn old_server() -> OldServer {
    let server = OldServer::new();
    let mut znodes = system();
    let config = "/zookeeper/config";
    znodes.push((config, znode(StoredStat::default())));
    server.put("snapshot.500000000", &snapshot(&[SESSION], &znodes));
    let epoch = 5_i64 << 32;
    let entries = [
        create("/a", 1),
        create("/a/kept-0000000000", 1),
        create_ephemeral("/a/gone-0000000001", 2),
        set("/a", "data", 1),
    ];
    let entries: Vec<(i64, StoredTransaction<'_>)> = (epoch + 1..).zip(entries).collect();
    server.put("log.500000001", &log(&entries));
    server.put("currentEpoch", b"6\n").put("acceptedEpoch", b"7");
    server
}

fn import(server: &OldServer, cluster: &Path) -> Import {
    Import {
        data_dir: Some(server.path().to_owned()),
        configurations: Some(Configurations::Cluster(cluster.to_owned())),
        ..Import::default()
    }
}

fn run(import: &Import) -> Result<Report, ImportError> {
    import.run(&mut |_| {})
}

/// The snapshot in a server's folder.
fn snapshot_in(state: &Path) -> Vec<u8> {
    let names = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> =
        names.filter(|path| path.extension().is_some_and(|one| one == "qsnap")).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    fs::read(&found[0]).unwrap()
}

fn assert_nothing_written(cluster: &Path) {
    for server in 1..=3 {
        let own = cluster.join(format!("server-{server}"));
        let names: Vec<PathBuf> =
            fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, [own.join("quorate.toml")]);
    }
}

#[test]
fn every_server_begins_with_the_same_state_above_all_old_zxids() {
    let (server, cluster) = (old_server(), cluster());
    let mut import = import(&server, cluster.path());
    import.check = true;
    let checked = run(&import).unwrap();
    assert_nothing_written(cluster.path());
    import.check = false;
    let report = run(&import).unwrap();
    assert_eq!(report.first_zxid, Zxid(8 << 32), "above the accepted epoch");
    assert_eq!(
        (checked.figures, checked.state_digest),
        (report.figures.clone(), report.state_digest)
    );
    assert_eq!(report.figures.znodes, 5, "the configuration of the old servers does not count");
    assert_eq!(report.transfer.sessions, 1);
    let dropped: Vec<&str> =
        report.transfer.ephemerals.iter().map(|dropped| dropped.path.as_str()).collect();
    assert_eq!(dropped, ["/a/gone-0000000001"]);

    let files: Vec<Vec<u8>> = (1..=3)
        .map(|server| snapshot_in(&cluster.path().join(format!("server-{server}/data/state"))))
        .collect();
    assert!(files.iter().all(|file| *file == files[0]));
    let (mark, image) = files::decode(&files[0]).unwrap();
    assert_eq!((mark.index.0, mark.membership.voters.len()), (8 << 32, 3));
    let machine = Machine::decode_image(&image).unwrap();
    assert_eq!((machine.applied(), machine.digest()), (Zxid(8 << 32), report.state_digest));
    let mut a = None;
    machine.each_znode(|znode| a = (znode.path.as_str() == "/a").then_some(znode).or(a.take()));
    let a = a.expect("/a came over");
    let epoch = 5_u64 << 32;
    assert_eq!((a.czxid, a.mzxid), (Zxid(epoch + 1), Zxid(epoch + 4)));
    assert_eq!(a.pzxid, report.first_zxid, "its ephemeral went with the first transaction");
    assert_eq!((a.children_created, a.version, a.kind), (2, 1, ZnodeKind::Persistent));
    assert_eq!((a.data, machine.time_ms()), ("data".into(), 1_040));

    let again = run(&import).unwrap_err();
    assert!(matches!(&again, ImportError::NotEmpty { .. }), "{again}");
}

#[test]
fn what_does_not_fit_is_listed_and_nothing_is_written() {
    let (server, cluster) = (OldServer::new(), cluster());
    let mut znodes = system();
    let large =
        StoredZnode { data: Some(Bytes::from(vec![0; 1_025])), ..znode(StoredStat::default()) };
    let long = format!("/{}", "x".repeat(5_000));
    let unexplained = StoredZnode { acl: 9, ..znode(StoredStat::default()) };
    let odd = znode(StoredStat { czxid: -5, ..StoredStat::default() });
    znodes.push(("/large", large));
    znodes.push((long.as_str(), znode(StoredStat::default())));
    znodes.push(("/unexplained", unexplained));
    znodes.push(("/odd", odd));
    server.put("snapshot.0", &snapshot(&[], &znodes));
    let error = run(&import(&server, cluster.path())).unwrap_err();
    let ImportError::OverLimits { list } = &error else { panic!("{error}") };
    assert_eq!(list.len(), 4);
    for part in ["/large: 1025 bytes of data", "at most 4096 bytes", "ACL, number 9", "czxid is -5"]
    {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_nothing_written(cluster.path());
}

#[test]
fn a_failure_after_servers_were_written_leaves_none_of_them() {
    let (server, cluster) = (old_server(), cluster());
    // A server that runs holds this lock; the import meets it last.
    let third = cluster.path().join("server-3/data");
    fs::create_dir(&third).unwrap();
    let lock = fs::File::create(third.join(quorate_server::LOCK_FILE)).unwrap();
    lock.lock().unwrap();
    let error = run(&import(&server, cluster.path())).unwrap_err();
    assert!(matches!(error, ImportError::ServerRuns { .. }), "{error}");
    let left: Vec<PathBuf> =
        fs::read_dir(&third).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [third.join(quorate_server::LOCK_FILE)]);
    fs::remove_dir_all(&third).unwrap();
    assert_nothing_written(cluster.path());
}

#[test]
fn servers_that_are_left_out_or_share_a_folder_are_refused() {
    let (server, folder) = (old_server(), cluster());
    let files = |servers: &[u64]| {
        let path = |server: &u64| folder.path().join(format!("server-{server}/quorate.toml"));
        Import {
            configurations: Some(Configurations::Files(servers.iter().map(path).collect())),
            ..import(&server, folder.path())
        }
    };
    let error = run(&files(&[1, 3])).unwrap_err().to_string();
    assert!(error.contains("server 2 is not given") && error.contains("--out"), "{error}");
    let error = run(&files(&[1, 1, 2])).unwrap_err().to_string();
    assert!(error.contains("are both for server 1"), "{error}");

    let shared = tempfile::tempdir().unwrap();
    for server in 1..=3 {
        configure(shared.path(), server, "/somewhere/data");
    }
    let mut import = import(&server, shared.path());
    let error = run(&import).unwrap_err().to_string();
    assert!(error.contains("keep their data in /somewhere/data"), "{error}");
    assert_nothing_written(shared.path());

    let out = shared.path().join("out");
    import.out = Some(out.clone());
    run(&import).unwrap();
    let first = snapshot_in(&out.join("server-1/state"));
    assert_eq!(first, snapshot_in(&out.join("server-3/state")));
    let error = run(&import).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
}

#[test]
fn too_high_an_epoch_is_refused() {
    let (server, cluster) = (old_server(), cluster());
    server.put("acceptedEpoch", b"40000");
    let error = run(&import(&server, cluster.path())).unwrap_err();
    assert!(matches!(error, ImportError::Epoch { epoch: 40_000, .. }), "{error}");
    assert_nothing_written(cluster.path());
}

#[test]
fn a_server_takes_the_zookeepers_place_in_its_own_folder() {
    let server = old_server();
    let zoo_cfg = server.path().join("zoo.cfg");
    let data_dir = server.path().display();
    fs::write(&zoo_cfg, format!("tickTime=2000\ndataDir={data_dir}\nclientPort=2181\n")).unwrap();
    let refused = ZooCfg::load(&zoo_cfg).unwrap_err().to_string();
    assert!(refused.contains("quorate import zookeeper --zoo-cfg"), "{refused}");
    let import = Import {
        configurations: Some(Configurations::ZooCfgs(vec![zoo_cfg.clone()])),
        ..Import::default()
    };
    let report = run(&import).unwrap();
    assert_eq!(report.servers.len(), 1);
    let (mark, _) = files::decode(&snapshot_in(&server.path().join("state"))).unwrap();
    assert_eq!(mark.index.0, report.first_zxid.0);
    ZooCfg::load(&zoo_cfg).unwrap();
    let without = Import { configurations: None, check: true, ..import };
    let error = run(&without).unwrap_err().to_string();
    assert!(error.contains("--data-dir"), "{error}");
}
