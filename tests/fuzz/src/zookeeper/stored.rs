//! ZooKeeper's files as a target: snapshots and logs, spoilt before and after they got their checksums.
//!
//! Comes in: an input of one byte, which says how to read it, and a file or what becomes one. Goes out:
//! whether it is whole, or the promise broken. The promises: a transaction that was read is itself when
//! written and read again; a reader ends, and what it says after its end is the end again.

use super::sample::{acl, buffer, int, long, text, texts};
use crate::random::Random;
use crate::spoil::BYTES_MAX;
use crate::target::Target;
use bytes::Bytes;
use quorate_wire::zookeeper::Record;
use quorate_wire::zookeeper::stored::{
    AclRow, ClosedSession, CreatedContainer, CreatedTtl, CreatedZnode, DataSet, Deleted,
    FileHeader, LOG_MAGIC, LogEntry, LogReader, LogStep, MultiItem, SNAPSHOT_MAGIC, SnapshotReader,
    StoredAclSet, StoredMulti, StoredSession, StoredStat, StoredTransaction, StoredZnode,
    TransactionDigest, TransactionHeader, VersionChecked, write_log_entry, write_seal,
};

/// The row of the table of targets.
pub const TARGET: Target = Target {
    name: "zookeeper-files",
    corpus,
    execute,
    // An item of a multi is 8 bytes or more in a file and about 100 in memory, and every transaction is
    // there once more, read again.
    memory_factor: 96,
    memory_base: 4_096,
};

/// First byte of an input, modulo 4.
const SNAPSHOT: u8 = 0;
const LOG: u8 = 1;
/// What stands in front of a seal.
const UNSEALED: u8 = 2;
/// A transaction without its checksum.
const ENTRY: u8 = 3;
/// Inputs of each kind in the corpus.
const SAMPLES: usize = 200;

fn corpus(random: &mut Random) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for _ in 0..SAMPLES {
        let mut snapshot = unsealed(random);
        inputs.push(input(UNSEALED, &snapshot));
        write_seal(&mut snapshot);
        if random.once_in(2) {
            long(random).write(&mut snapshot);
            2_i32.write(&mut snapshot);
            long(random).write(&mut snapshot);
            write_seal(&mut snapshot);
        }
        inputs.push(input(SNAPSHOT, &snapshot));
        let mut log = Vec::new();
        FileHeader::of(LOG_MAGIC).write(&mut log);
        for _ in 0..random.below(4) {
            let start = log.len();
            let (header, transaction) = entry(random);
            write_log_entry(&mut log, &header, &transaction, digest(random));
            inputs.push(input(ENTRY, log.get(start + 12..log.len() - 1).unwrap_or_default()));
        }
        log.resize(log.len() + random.below(30), 0);
        inputs.push(input(LOG, &log));
    }
    inputs
}

fn input(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(rest);
    bytes.truncate(BYTES_MAX);
    bytes
}

fn digest(random: &mut Random) -> Option<TransactionDigest> {
    random.option(|random| TransactionDigest { version: 2, digest: long(random) })
}

fn unsealed(random: &mut Random) -> Vec<u8> {
    let mut file = Vec::new();
    FileHeader::of(SNAPSHOT_MAGIC).write(&mut file);
    let sessions =
        random.list(|random| StoredSession { id: long(random), timeout_ms: int(random) });
    sessions.write(&mut file);
    let acls = random.list(|random| AclRow { number: long(random), entries: acl(random) });
    acls.write(&mut file);
    for _ in 0..random.below(5) {
        let stat =
            StoredStat { czxid: long(random), version: int(random), ..StoredStat::default() };
        text(random).write(&mut file);
        StoredZnode { data: buffer(random), acl: long(random), stat }.write(&mut file);
    }
    "/".write(&mut file);
    file
}

fn entry(random: &mut Random) -> (TransactionHeader, StoredTransaction<'static>) {
    let transaction = match random.below(4) {
        0 => StoredTransaction::Multi(StoredMulti {
            items: random.list(|random| MultiItem(single(random))),
        }),
        1 => StoredTransaction::CloseSession(ClosedSession(random.option(texts))),
        2 => StoredTransaction::CreateSession(int(random)),
        _ => single(random),
    };
    let (session, cxid, zxid) = (long(random), int(random), long(random));
    let (time_ms, opcode) = (long(random), transaction.opcode());
    (TransactionHeader { session, cxid, zxid, time_ms, opcode }, transaction)
}

fn single(random: &mut Random) -> StoredTransaction<'static> {
    let (path, data, version) = (text(random), buffer(random), int(random));
    let created = |random: &mut Random| CreatedZnode {
        path,
        data: buffer(random),
        acl: acl(random),
        ephemeral: random.once_in(2),
        parent_cversion: Some(int(random)),
    };
    match random.below(11) {
        0 => StoredTransaction::Create(created(random)),
        1 => StoredTransaction::Create2(created(random)),
        2 => StoredTransaction::CreateTtl(CreatedTtl {
            path,
            data,
            acl: acl(random),
            parent_cversion: version,
            ttl_ms: long(random),
        }),
        3 => StoredTransaction::CreateContainer(CreatedContainer {
            path,
            data,
            acl: acl(random),
            parent_cversion: version,
        }),
        4 => StoredTransaction::Delete(Deleted { path }),
        5 => StoredTransaction::DeleteContainer(Deleted { path }),
        6 => StoredTransaction::SetData(DataSet { path, data, version }),
        7 => StoredTransaction::Reconfig(DataSet { path, data, version }),
        8 => StoredTransaction::SetAcl(StoredAclSet { path, acl: acl(random), version }),
        9 => StoredTransaction::Check(VersionChecked { path, version }),
        _ => StoredTransaction::Error(version),
    }
}

fn execute(input: &Bytes) -> Result<bool, String> {
    let [kind, ..] = **input else { return Ok(false) };
    let rest = input.slice(1..);
    match kind % 4 {
        SNAPSHOT => Ok(snapshot(&rest)),
        LOG => log(&rest),
        UNSEALED => {
            let mut file = rest.to_vec();
            write_seal(&mut file);
            Ok(snapshot(&Bytes::from(file)))
        }
        _ => {
            let mut file = Vec::new();
            FileHeader::of(LOG_MAGIC).write(&mut file);
            i64::from(adler32(&rest)).write(&mut file);
            (rest.len() as i32).write(&mut file);
            file.extend_from_slice(&rest);
            file.push(b'B');
            log(&Bytes::from(file))
        }
    }
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in bytes {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    high << 16 | low
}

fn snapshot(file: &Bytes) -> bool {
    let Ok((mut reader, _)) = SnapshotReader::open(file) else { return false };
    loop {
        match reader.next_znode() {
            Ok(Some(_)) => {}
            Ok(None) => return reader.finish().is_ok(),
            Err(_) => return false,
        }
    }
}

fn log(file: &Bytes) -> Result<bool, String> {
    let Ok(mut reader) = LogReader::open(file) else { return Ok(false) };
    let mut any = false;
    loop {
        match reader.step() {
            Ok(LogStep::Entry(entry)) => {
                read_again(&entry)?;
                any = true;
            }
            Ok(end @ LogStep::End(_)) if reader.step() == Ok(end.clone()) => return Ok(any),
            Ok(end) => return Err(format!("the log ends only once: {end:?}")),
            Err(error) if error.at > file.len() as u64 => {
                return Err(format!("an error beyond the file: {error}"));
            }
            Err(_) => return Ok(any),
        }
    }
}

fn read_again(entry: &LogEntry<'_>) -> Result<(), String> {
    let LogEntry { header, transaction, digest, .. } = entry;
    let mut file = Vec::new();
    FileHeader::of(LOG_MAGIC).write(&mut file);
    write_log_entry(&mut file, header, transaction, *digest);
    let file = Bytes::from(file);
    let mut reader = LogReader::open(&file).map_err(|error| error.to_string())?;
    match reader.step() {
        Ok(LogStep::Entry(again))
            if (again.header, &again.transaction, again.digest)
                == (*header, transaction, *digest) =>
        {
            Ok(())
        }
        other => Err(format!("written and read again {entry:?} is {other:?}")),
    }
}
