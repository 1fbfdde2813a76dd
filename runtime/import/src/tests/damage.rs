//! Files that are cut, spoilt or missing: each is told from what a crash leaves behind.

use super::written::{OldServer, create, log, log_with_digest, set, snapshot, system};
use crate::reading::{self, Choice, DigestCheck, Origin};
use crate::source::Source;
use crate::{Import, ImportError};
use quorate_wire::zookeeper::stored::{StoredFault, StoredTransaction, TransactionDigest};

fn read_from(server: &OldServer, choice: &Choice<'_>) -> Result<Origin, ImportError> {
    let source = Source::open(server.path(), None)?;
    reading::read(&source, choice, &mut |_| {}).map(|(_, origin)| origin)
}

fn read(server: &OldServer) -> Result<Origin, ImportError> {
    read_from(server, &Choice::default())
}

/// Creates of `/N` under these numbers.
fn creates(zxids: std::ops::RangeInclusive<i64>) -> Vec<(i64, StoredTransaction<'static>)> {
    const PATHS: [&str; 10] = ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"];
    zxids.map(|zxid| (zxid, create(PATHS[zxid as usize % 10], zxid as i32))).collect()
}

#[test]
fn a_missing_transaction_is_an_error_that_says_where() {
    let server = OldServer::begun();
    server.put("log.1", &log(&creates(1..=3))).put("log.6", &log(&creates(6..=8)));
    let error = read(&server).unwrap_err();
    let ImportError::Gap { after: 3, next: 6, path, at: 16 } = &error else { panic!("{error}") };
    assert!(path.ends_with("version-2/log.6"));
    assert!(
        error.to_string().contains("after transaction 0x3 comes 0x6, at byte 16 of"),
        "{error}"
    );

    let server = OldServer::new();
    server.put("snapshot.5", &snapshot(&[], &system())).put("log.7", &log(&creates(7..=8)));
    assert!(matches!(read(&server), Err(ImportError::Gap { after: 5, next: 7, .. })));

    let server = OldServer::new();
    server.put("log.2", &log(&creates(2..=8)));
    assert!(matches!(read(&server), Err(ImportError::Gap { after: 0, next: 2, .. })));
}

#[test]
fn an_epoch_begins_with_its_first_transaction() {
    let epoch = |number: i64, counter: i64| number << 32 | counter;
    let of_epochs = |second: i64| {
        let server = OldServer::begun();
        let first = [(epoch(1, 1), create("/1", 1)), (epoch(1, 2), create("/2", 2))];
        server.put("log.100000001", &log(&first));
        server.put("log.300000001", &log(&[(epoch(3, second), create("/3", 3))]));
        read(&server)
    };
    assert_eq!(of_epochs(1).unwrap().last_zxid, epoch(3, 1));
    assert!(matches!(of_epochs(2), Err(ImportError::Gap { .. })));
}

#[test]
fn an_unfinished_transaction_ends_the_last_log_only() {
    let whole = log(&creates(1..=3));
    let torn = &whole[..whole.len() - 5];
    let server = OldServer::begun();
    server.put("log.1", torn);
    assert_eq!(read(&server).unwrap().last_zxid, 2);

    // The server wrote it again after its start: nothing is lost.
    server.put("log.3", &log(&creates(3..=4)));
    assert_eq!(read(&server).unwrap().last_zxid, 4);

    let server = OldServer::begun();
    server.put("log.1", torn).put("log.4", &log(&creates(4..=5)));
    let error = read(&server).unwrap_err();
    let ImportError::LogCut { path, after: 2, next: 4, .. } = &error else { panic!("{error}") };
    assert!(path.ends_with("version-2/log.1"));
    assert!(error.to_string().contains("is cut off at byte"), "{error}");

    let server = OldServer::begun();
    let new_epoch = [((1 << 32) + 1, create("/3", 3))];
    server.put("log.1", torn).put("log.100000001", &log(&new_epoch));
    assert!(matches!(read(&server), Err(ImportError::LogCut { .. })));
}

#[test]
fn a_spoilt_byte_is_an_error_that_names_file_and_place() {
    let mut spoilt = log(&creates(1..=3));
    spoilt[40] ^= 1;
    let server = OldServer::begun();
    server.put("log.1", &spoilt);
    let error = read(&server).unwrap_err();
    let ImportError::LogDamaged { path, error: inner } = &error else { panic!("{error}") };
    assert!(path.ends_with("version-2/log.1"));
    assert_eq!((inner.at, inner.fault), (16, StoredFault::Checksum));
    assert!(error.to_string().contains("log.1 is damaged at byte 16"), "{error}");

    let good = snapshot(&[], &system());
    for (bytes, what) in [(&good[..good.len() - 20], "cut"), (&good[..good.len() - 1], "cut a bit")]
    {
        let server = OldServer::new();
        server.put("snapshot.0", bytes);
        assert!(matches!(read(&server), Err(ImportError::SnapshotDamaged { .. })), "{what}");
    }
    let mut spoilt = good.clone();
    spoilt[60] ^= 1;
    let server = OldServer::new();
    server.put("snapshot.0", &spoilt);
    let error = read(&server).unwrap_err();
    assert!(error.to_string().contains("version-2/snapshot.0 is damaged at byte"), "{error}");
}

#[test]
fn an_older_snapshot_serves_where_the_logs_since_are_there() {
    let server = OldServer::begun();
    server.put("log.1", &log(&creates(1..=3))).put("snapshot.3", b"cut");
    let error = read(&server).unwrap_err();
    assert!(error.to_string().contains("--snapshot NAME"), "{error}");
    let older = Choice { snapshot: Some("snapshot.0"), ..Choice::default() };
    assert_eq!(read_from(&server, &older).unwrap().last_zxid, 3);

    server.put("log.1", &log(&creates(1..=2)));
    let error = read_from(&server, &older).unwrap_err();
    assert!(matches!(error, ImportError::LogEndsEarly { needed: 3, last: 2, .. }), "{error}");
    let unknown = Choice { snapshot: Some("snapshot.7"), ..Choice::default() };
    let error = read_from(&server, &unknown).unwrap_err();
    assert!(error.to_string().contains("there are snapshot.0, snapshot.3"), "{error}");
}

#[test]
fn a_tree_that_is_not_zookeepers_is_refused_unless_told() {
    let server = OldServer::begun();
    let entries = [(1, create("/1", 1)), (2, set("/1", "x", 1))];
    server.put("log.1", &log(&entries));
    let source = Source::open(server.path(), None).unwrap();
    let (tree, _) = reading::read(&source, &Choice::default(), &mut |_| {}).unwrap();
    let with = |digest| {
        let digest = Some(TransactionDigest { version: 2, digest });
        server.put("log.1", &log_with_digest(&entries, digest));
    };
    with(tree.digest());
    assert_eq!(read(&server).unwrap().digest, DigestCheck::Equal);
    with(tree.digest() + 1);
    let error = read(&server).unwrap_err();
    assert!(matches!(error, ImportError::Digest { zxid: 2, .. }), "{error}");
    let ignoring = Choice { ignore_digest: true, ..Choice::default() };
    assert_eq!(read_from(&server, &ignoring).unwrap().digest, DigestCheck::Ignored);
}

#[test]
fn a_folder_without_data_says_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    let import =
        Import { data_dir: Some(folder.path().to_owned()), check: true, ..Import::default() };
    let error = import.run(&mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("`dataDir`"), "{error}");
}
