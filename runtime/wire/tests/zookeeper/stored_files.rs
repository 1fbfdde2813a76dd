//! ZooKeeper's files: their bytes as its servers of 3.4 to 3.9 write them, and every kind of damage.

use crate::hex;
use bytes::Bytes;
use quorate_types::Permissions;
use quorate_wire::zookeeper::stored::{
    AclRow, ClosedSession, CreatedZnode, DataSet, Deleted, FileHeader, LOG_MAGIC, LogEnd,
    LogReader, LogStep, MultiItem, SnapshotEnd, SnapshotReader, StoredError, StoredFault,
    StoredMulti, StoredSession, StoredStat, StoredTransaction, StoredZnode, TransactionDigest,
    TransactionHeader, TreeDigest, write_log_entry, write_seal,
};
use quorate_wire::zookeeper::{Acl, DecodeError, Record};

/// Header, one session, one ACL, the root and `/a`, the end.
const SNAPSHOT: &str = "5a4b534e 00000002 ffffffffffffffff \
    00000001 0100000000000001 00007530 \
    00000001 0000000000000001 00000001 0000001f 00000005776f726c64 00000006616e796f6e65 \
    00000000 00000000 ffffffffffffffff \
        0000000000000000 0000000000000000 0000000000000000 0000000000000000 \
        00000000 00000001 00000000 0000000000000000 0000000000000007 \
    000000022f61 ffffffff 0000000000000001 \
        0000000000000007 0000000000000008 0000000000000064 0000000000000065 \
        00000002 00000000 00000003 ff000000000003e8 0000000000000007 \
    000000012f";
/// A create by 3.4: checksum, length, header, transaction, end mark.
const CREATE: &str = "0100000000000001 00000005 0000000000000007 0000000000000064 00000001 \
    000000022f61 000000026869 00000001 0000001f 00000005776f726c64 00000006616e796f6e65 \
    00 00000001";

/// The checksum as RFC 1950 defines it, apart from the library that is tested.
fn adler32(bytes: &[u8]) -> u32 {
    let sums = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    sums.1 << 16 | sums.0
}

fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let sum = u64::from(adler32(&file));
    file.extend(sum.to_be_bytes());
    file.extend_from_slice(&hex("000000012f"));
    file
}

fn framed(entry: &[u8]) -> Vec<u8> {
    let mut bytes = u64::from(adler32(entry)).to_be_bytes().to_vec();
    bytes.extend(u32::try_from(entry.len()).unwrap().to_be_bytes());
    bytes.extend(entry);
    bytes.push(b'B');
    bytes
}

fn read_snapshot(file: &[u8]) -> Result<(Vec<String>, SnapshotEnd), StoredError> {
    let file = Bytes::copy_from_slice(file);
    let (mut reader, _) = SnapshotReader::open(&file)?;
    let mut paths = Vec::new();
    while let Some((path, _)) = reader.next_znode()? {
        paths.push(path.to_owned());
    }
    Ok((paths, reader.finish()?))
}

/// The transactions that a log gives, and how it ends.
fn read_log(file: &[u8]) -> (Vec<i64>, Result<LogEnd, StoredError>) {
    let file = Bytes::copy_from_slice(file);
    let mut zxids = Vec::new();
    let mut reader = match LogReader::open(&file) {
        Ok(reader) => reader,
        Err(error) => return (zxids, Err(error)),
    };
    loop {
        match reader.step() {
            Ok(LogStep::Entry(entry)) => zxids.push(entry.header.zxid),
            Ok(LogStep::End(end)) => return (zxids, Ok(end)),
            Err(error) => return (zxids, Err(error)),
        }
    }
}

#[test]
fn a_snapshot_is_sessions_acls_znodes_and_a_seal() {
    let file = Bytes::from(sealed(hex(SNAPSHOT).to_vec()));
    let (mut reader, start) = SnapshotReader::open(&file).unwrap();
    assert_eq!(start.sessions, [StoredSession { id: 0x0100_0000_0000_0001, timeout_ms: 30_000 }]);
    let entry = Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" };
    assert_eq!(start.acls, [AclRow { number: 1, entries: vec![entry] }]);
    let (path, root) = reader.next_znode().unwrap().unwrap();
    assert_eq!((path, root.data, root.acl), ("", Some(Bytes::new()), -1));
    assert_eq!((root.stat.cversion, root.stat.pzxid), (1, 7));
    let (path, znode) = reader.next_znode().unwrap().unwrap();
    let stat = StoredStat {
        czxid: 7,
        mzxid: 8,
        ctime_ms: 100,
        mtime_ms: 101,
        version: 2,
        cversion: 0,
        aversion: 3,
        ephemeral_owner: 0xff00_0000_0000_03e8_u64.cast_signed(),
        pzxid: 7,
    };
    assert_eq!((path, znode), ("/a", StoredZnode { data: None, acl: 1, stat }));
    assert_eq!(reader.next_znode().unwrap(), None);
    assert_eq!(reader.finish(), Ok(SnapshotEnd::default()));
}

#[test]
fn newer_servers_add_a_digest_and_the_last_transaction_each_under_a_seal() {
    let oldest = sealed(hex(SNAPSHOT).to_vec());
    let mut file = oldest.clone();
    file.extend_from_slice(&hex("0000000000000009 00000002 00000000deadbeef"));
    let with_digest = sealed(file);
    let digest = Some(TreeDigest { zxid: 9, version: 2, digest: 0xdead_beef });
    let end = read_snapshot(&with_digest).unwrap().1;
    assert_eq!(end, SnapshotEnd { digest, last_zxid: None });

    let mut file = with_digest;
    file.extend_from_slice(&hex("000000000000000a"));
    let end = read_snapshot(&sealed(file)).unwrap().1;
    assert_eq!(end, SnapshotEnd { digest, last_zxid: Some(10) });

    let mut file = oldest.clone();
    file.extend_from_slice(&hex("000000000000000a"));
    let end = read_snapshot(&sealed(file)).unwrap().1;
    assert_eq!(end, SnapshotEnd { digest: None, last_zxid: Some(10) });

    let mut file = oldest;
    file.extend_from_slice(&hex("0000000000000009 00000001 00000004 64656164"));
    let end = read_snapshot(&sealed(file)).unwrap().1;
    assert_eq!(end.digest, Some(TreeDigest { zxid: 9, version: 1, digest: 0xdead }));
}

#[test]
fn a_snapshot_that_is_cut_or_spoilt_anywhere_is_refused() {
    let mut file = sealed(hex(SNAPSHOT).to_vec());
    file.extend_from_slice(&hex("0000000000000009 00000002 00000000deadbeef"));
    let file = sealed(file);
    let first_seal = sealed(hex(SNAPSHOT).to_vec()).len();
    for length in (0..file.len()).filter(|length| *length != first_seal) {
        assert!(read_snapshot(&file[..length]).is_err(), "cut to {length} bytes");
    }
    for at in 0..file.len() {
        let mut spoilt = file.clone();
        spoilt[at] ^= 0x10;
        // Nothing looks at the number of the database but the checksum.
        assert!(read_snapshot(&spoilt).is_err(), "byte {at}");
    }
    let error = read_snapshot(&file[..40]).unwrap_err();
    assert!(matches!(error.fault, StoredFault::Record(DecodeError::Short { .. })), "{error}");
    let mut longer = file;
    longer.push(0);
    assert!(read_snapshot(&longer).is_err(), "a byte more");
}

#[test]
fn a_log_is_frames_and_the_room_behind_them() {
    let mut file = Vec::new();
    FileHeader::of(LOG_MAGIC).write(&mut file);
    file.extend(framed(&hex(CREATE)));
    let acl = vec![Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" }];
    let created = StoredTransaction::Create(CreatedZnode {
        path: "/a",
        data: Some(Bytes::from_static(b"hi")),
        acl: acl.clone(),
        ephemeral: false,
        parent_cversion: Some(1),
    });
    let header = TransactionHeader {
        session: 0x0100_0000_0000_0001,
        cxid: 5,
        zxid: 7,
        time_ms: 100,
        opcode: 1,
    };
    {
        let file = Bytes::from(file.clone());
        let mut reader = LogReader::open(&file).unwrap();
        let Ok(LogStep::Entry(entry)) = reader.step() else { panic!("an entry") };
        assert_eq!((entry.at, entry.header, entry.digest), (16, header, None));
        assert_eq!(entry.transaction, created);
    }
    let mut written = Vec::new();
    FileHeader::of(LOG_MAGIC).write(&mut written);
    write_log_entry(&mut written, &header, &created, None);
    assert_eq!(written, file, "the writer writes what was written by hand");
    for room in [0, 5, 12, 4_096] {
        let mut padded = file.clone();
        padded.resize(file.len() + room, 0);
        assert_eq!(read_log(&padded), (vec![7], Ok(LogEnd::Whole)), "{room} bytes of room");
    }
    let mut spoilt = file.clone();
    spoilt.resize(file.len() + 4_096, 0);
    spoilt[file.len() + 3_000] = 1;
    let at = file.len() as u64;
    let error = StoredError { at, fault: StoredFault::AfterEnd };
    assert_eq!(read_log(&spoilt), (vec![7], Err(error)));
}

/// A log of these transactions, and where each begins.
fn log_of(zxids: &[i64]) -> (Vec<u8>, Vec<usize>) {
    let (mut file, mut starts) = (Vec::new(), Vec::new());
    FileHeader::of(LOG_MAGIC).write(&mut file);
    for zxid in zxids {
        starts.push(file.len());
        let transaction = StoredTransaction::SetData(DataSet {
            path: "/a",
            data: Some(Bytes::from(vec![7; 40])),
            version: 1,
        });
        let (session, cxid, time_ms, opcode) = (1, 2, 3, transaction.opcode());
        let header = TransactionHeader { session, cxid, zxid: *zxid, time_ms, opcode };
        write_log_entry(&mut file, &header, &transaction, None);
    }
    (file, starts)
}

#[test]
fn a_torn_end_is_told_from_damage() {
    let (file, starts) = log_of(&[1, 2, 3]);
    for length in starts[2] + 1..file.len() {
        let torn = Ok(LogEnd::Torn { at: starts[2] as u64 });
        // Less than checksum and length, all zeros: the checksum's upper half is.
        if file[starts[2]..length].iter().any(|byte| *byte != 0) {
            assert_eq!(read_log(&file[..length]), (vec![1, 2], torn), "cut to {length} bytes");
        }
        let mut with_room = file[..length].to_vec();
        with_room.resize(length + 64, 0);
        let (zxids, end) = read_log(&with_room);
        assert_eq!(zxids, [1, 2], "cut to {length} bytes, with room behind");
        let is_blank = file[starts[2]..length].iter().all(|byte| *byte == 0);
        assert!(is_blank || end == torn, "{end:?} for {length}");
    }
    for at in starts[1]..starts[2] {
        let mut spoilt = file.clone();
        spoilt[at] ^= 0x10;
        let (zxids, end) = read_log(&spoilt);
        let error = end.expect_err("a byte spoilt before another transaction");
        assert_eq!((zxids, error.at), (vec![1], starts[1] as u64), "byte {at}: {error}");
    }
    for at in starts[2] + 12..file.len() - 1 {
        let mut spoilt = file.clone();
        spoilt[at] ^= 0x10;
        let error = StoredError { at: starts[2] as u64, fault: StoredFault::Checksum };
        assert_eq!(read_log(&spoilt), (vec![1, 2], Err(error)), "byte {at} of the last one");
    }
}

#[test]
fn a_log_that_was_never_begun_is_torn_at_its_front() {
    for file in [&b""[..], b"ZKLG", &[0; 100]] {
        assert_eq!(read_log(file), (vec![], Ok(LogEnd::Torn { at: 0 })));
    }
    let snapshot = sealed(hex(SNAPSHOT).to_vec());
    let error = StoredError { at: 0, fault: StoredFault::Magic(0x5a4b_534e) };
    assert_eq!(read_log(&snapshot), (vec![], Err(error)));
}

fn step_of(entry: &[u8]) -> (StoredTransaction<'static>, Option<TransactionDigest>) {
    let mut file = Vec::new();
    FileHeader::of(LOG_MAGIC).write(&mut file);
    file.extend(framed(entry));
    // Text borrows from the file; a test may keep it.
    let file: &'static Bytes = Box::leak(Box::new(Bytes::from(file)));
    match LogReader::open(file).unwrap().step() {
        Ok(LogStep::Entry(entry)) => (entry.transaction, entry.digest),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_session_names_its_ephemerals_only_since_3_6() {
    let front = "0000000000000001 00000000 0000000000000009 0000000000000064 fffffff5";
    let digest = "00000002 0000000000000042";
    let closed = |paths| StoredTransaction::CloseSession(ClosedSession(paths));
    let known = Some(TransactionDigest { version: 2, digest: 0x42 });
    assert_eq!(step_of(&hex(front)), (closed(None), None));
    assert_eq!(step_of(&hex(&format!("{front} {digest}"))), (closed(None), known));
    let paths = "00000001 000000022f65";
    assert_eq!(step_of(&hex(&format!("{front} {paths}"))), (closed(Some(vec!["/e"])), None));
    let all = step_of(&hex(&format!("{front} {paths} {digest}")));
    assert_eq!(all, (closed(Some(vec!["/e"])), known));
    let none = step_of(&hex(&format!("{front} 00000000 {digest}")));
    assert_eq!(none, (closed(Some(vec![])), known));
}

#[test]
fn a_multi_holds_transactions_in_buffers_and_no_multi() {
    let front = "0000000000000001 00000000 0000000000000009 0000000000000064 0000000e";
    let items = "00000002 00000002 00000006 000000022f61 ffffffff 00000004 ffffff9b";
    let (multi, _) = step_of(&hex(&format!("{front} {items}")));
    let deleted = MultiItem(StoredTransaction::Delete(Deleted { path: "/a" }));
    let error = MultiItem(StoredTransaction::Error(-101));
    assert_eq!(multi, StoredTransaction::Multi(StoredMulti { items: vec![deleted, error] }));

    let mut file = Vec::new();
    FileHeader::of(LOG_MAGIC).write(&mut file);
    file.extend(framed(&hex(&format!("{front} 00000001 0000000e 00000004 00000000"))));
    let (_, end) = read_log(&file);
    let number = DecodeError::UnknownNumber { field: "StoredMulti.items", number: 14 };
    assert_eq!(end.unwrap_err().fault, StoredFault::Record(number));
}

#[test]
fn the_seal_that_is_written_is_the_one_that_is_read() {
    let mut file = hex(SNAPSHOT).to_vec();
    write_seal(&mut file);
    assert_eq!(file, sealed(hex(SNAPSHOT).to_vec()));
    assert_eq!(read_snapshot(&file).unwrap().0, ["", "/a"]);
}
