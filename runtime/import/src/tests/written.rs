//! A ZooKeeper's folder, written record by record.
//!
//! Comes in: transactions, znodes. Goes out: files as ZooKeeper 3.4 leaves them: no digests, sessions
//! closed without naming their ephemerals.

use bytes::Bytes;
use quorate_types::Permissions;
use quorate_wire::zookeeper::stored::{
    AclRow, ClosedSession, CreatedZnode, DataSet, Deleted, FileHeader, LOG_MAGIC, SNAPSHOT_MAGIC,
    StoredSession, StoredStat, StoredTransaction, StoredZnode, TransactionDigest,
    TransactionHeader, write_log_entry, write_seal,
};
use quorate_wire::zookeeper::{Acl, Record};
use std::path::Path;
use tempfile::TempDir;

/// The session that every transaction here is of.
pub(crate) const SESSION: i64 = 0x0100_0000_0000_0001;
/// Everything for everyone.
pub(crate) const OPEN: Acl<'static> =
    Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" };

/// A folder with `version-2` in it.
pub(crate) struct OldServer {
    folder: TempDir,
}

impl OldServer {
    pub(crate) fn new() -> OldServer {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("version-2")).unwrap();
        OldServer { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> &OldServer {
        std::fs::write(self.path().join("version-2").join(name), bytes).unwrap();
        self
    }

    /// With the snapshot of an empty tree.
    pub(crate) fn begun() -> OldServer {
        let server = OldServer::new();
        server.put("snapshot.0", &snapshot(&[], &system()));
        server
    }
}

/// The znodes of a new ensemble.
pub(crate) fn system() -> Vec<(&'static str, StoredZnode)> {
    ["", "/zookeeper", "/zookeeper/quota"].map(|path| (path, znode(StoredStat::default()))).into()
}

pub(crate) fn znode(stat: StoredStat) -> StoredZnode {
    StoredZnode { data: Some(Bytes::new()), acl: -1, stat }
}

pub(crate) fn snapshot(sessions: &[i64], znodes: &[(&str, StoredZnode)]) -> Vec<u8> {
    let mut file = Vec::new();
    FileHeader::of(SNAPSHOT_MAGIC).write(&mut file);
    let session = |id: &i64| StoredSession { id: *id, timeout_ms: 30_000 };
    sessions.iter().map(session).collect::<Vec<_>>().write(&mut file);
    let auth = Acl { permissions: Permissions::READ, scheme: "digest", id: "a:hash" };
    vec![AclRow { number: 1, entries: vec![auth] }].write(&mut file);
    for (path, znode) in znodes {
        path.write(&mut file);
        znode.write(&mut file);
    }
    "/".write(&mut file);
    write_seal(&mut file);
    file
}

/// A log of these transactions, each 10 ms after the one before.
pub(crate) fn log(entries: &[(i64, StoredTransaction<'_>)]) -> Vec<u8> {
    log_with_digest(entries, None)
}

/// As [`log`]; the last transaction has a digest.
pub(crate) fn log_with_digest(
    entries: &[(i64, StoredTransaction<'_>)],
    digest: Option<TransactionDigest>,
) -> Vec<u8> {
    let mut file = Vec::new();
    FileHeader::of(LOG_MAGIC).write(&mut file);
    for (place, (zxid, transaction)) in entries.iter().enumerate() {
        let (zxid, opcode) = (*zxid, transaction.opcode());
        let time_ms = 1_000 + 10 * (zxid & 0xffff_ffff);
        let header = TransactionHeader { session: SESSION, cxid: 1, zxid, time_ms, opcode };
        let digest = digest.filter(|_| place + 1 == entries.len());
        write_log_entry(&mut file, &header, transaction, digest);
    }
    file
}

pub(crate) fn create<'a>(path: &'a str, parent_cversion: i32) -> StoredTransaction<'a> {
    StoredTransaction::Create(CreatedZnode {
        path,
        data: Some(Bytes::copy_from_slice(path.as_bytes())),
        acl: vec![OPEN],
        ephemeral: false,
        parent_cversion: Some(parent_cversion),
    })
}

pub(crate) fn create_ephemeral(path: &str, parent_cversion: i32) -> StoredTransaction<'_> {
    let StoredTransaction::Create(created) = create(path, parent_cversion) else { unreachable!() };
    StoredTransaction::Create(CreatedZnode { ephemeral: true, ..created })
}

pub(crate) fn delete(path: &str) -> StoredTransaction<'_> {
    StoredTransaction::Delete(Deleted { path })
}

pub(crate) fn set<'a>(path: &'a str, data: &'static str, version: i32) -> StoredTransaction<'a> {
    StoredTransaction::SetData(DataSet {
        path,
        data: Some(Bytes::from_static(data.as_bytes())),
        version,
    })
}

pub(crate) fn close_session() -> StoredTransaction<'static> {
    StoredTransaction::CloseSession(ClosedSession(None))
}
