//! The files of a stopped ZooKeeper: which there are, and their bytes.
//!
//! Comes in: the folders that its `zoo.cfg` names. Goes out: snapshots and logs by their first
//! transaction, and whole files, unpacked. Invariant: nothing is opened but for reading. Must never take
//! the files of a ZooKeeper that runs for those of one that does not, where that can be seen.

use crate::error::ImportError;
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where ZooKeeper's files are, below dataDir and dataLogDir.
const FILES_FOLDER: &str = "version-2";
/// Files of an ensemble's newest epochs, beside the snapshots.
const EPOCH_FILES: [&str; 2] = ["acceptedEpoch", "currentEpoch"];
/// The first bytes of a stream that snappy-java writes.
const SNAPPY_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version and the oldest version that can read it.
const SNAPPY_HEADER_BYTES: usize = 16;
/// Bytes that one block may claim to unpack to; snappy-java's blocks have 32 KiB.
const SNAPPY_BLOCK_BYTES_MAX: usize = 64 << 20;

/// A snapshot or a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredFile {
    /// The transaction in its name: a snapshot's last, a log's first.
    pub(crate) zxid: i64,
    pub(crate) path: PathBuf,
    /// Bytes and time of the last change, as listed.
    state: (u64, Option<SystemTime>),
}

/// What a ZooKeeper left behind.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) snapshot_folder: PathBuf,
    log_folder: PathBuf,
    /// Oldest first.
    pub(crate) snapshots: Vec<StoredFile>,
    /// Oldest first.
    pub(crate) logs: Vec<StoredFile>,
    /// The newest epoch that the ensemble agreed on, as far as this server knows; 0: unknown.
    pub(crate) epoch: u64,
}

impl Source {
    /// Lists the files below these folders.
    pub(crate) fn open(data: &Path, data_log: Option<&Path>) -> Result<Source, ImportError> {
        let snapshot_folder = files_folder(data);
        let log_folder = data_log.map_or_else(|| snapshot_folder.clone(), files_folder);
        let snapshots = list(&snapshot_folder, "snapshot.")?;
        let logs = list(&log_folder, "log.")?;
        if snapshots.is_empty() && logs.is_empty() {
            return Err(ImportError::NoData { path: data.to_owned() });
        }
        let epochs = EPOCH_FILES.iter().filter_map(|name| {
            let text = fs::read_to_string(snapshot_folder.join(name)).ok()?;
            text.trim().parse::<u64>().ok()
        });
        let epoch = epochs.max().unwrap_or(0);
        Ok(Source { snapshot_folder, log_folder, snapshots, logs, epoch })
    }

    /// Whether the files are as they were listed.
    pub(crate) fn check_unchanged(&self) -> Result<(), ImportError> {
        let now = [list(&self.snapshot_folder, "snapshot.")?, list(&self.log_folder, "log.")?];
        for (before, now) in [(&self.snapshots, &now[0]), (&self.logs, &now[1])] {
            let changed = now.iter().find(|file| !before.contains(file));
            let gone = before.iter().find(|file| !now.iter().any(|other| other.path == file.path));
            if let Some(file) = changed.or(gone) {
                return Err(ImportError::Changes { path: file.path.clone() });
            }
        }
        Ok(())
    }

    /// Fails if a process has one of the files open. What processes of other users have open is not
    /// seen without the rights of an administrator.
    pub(crate) fn check_stopped(&self) -> Result<(), ImportError> {
        let folders = [&self.snapshot_folder, &self.log_folder];
        let folders: Vec<PathBuf> =
            folders.into_iter().filter_map(|folder| fs::canonicalize(folder).ok()).collect();
        match open_file_below(&folders) {
            Some((process, path)) => Err(ImportError::Running { process, path }),
            None => Ok(()),
        }
    }
}

fn files_folder(folder: &Path) -> PathBuf {
    let inner = folder.join(FILES_FOLDER);
    if inner.is_dir() { inner } else { folder.to_owned() }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |cause| ImportError::Unreadable { path, cause }
}

fn list(folder: &Path, prefix: &str) -> Result<Vec<StoredFile>, ImportError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(zxid) = zxid_of(name, prefix) else { continue };
        let about = fs::metadata(&path).map_err(unreadable(&path))?;
        let state = (about.len(), about.modified().ok());
        files.push(StoredFile { zxid, path, state });
    }
    files.sort_by(|left, right| (left.zxid, &left.path).cmp(&(right.zxid, &right.path)));
    Ok(files)
}

/// The number in a name such as `log.100000001` or `snapshot.5.gz`.
fn zxid_of(name: &str, prefix: &str) -> Option<i64> {
    let rest = name.strip_prefix(prefix)?;
    let digits = rest.strip_suffix(".gz").or(rest.strip_suffix(".snappy")).unwrap_or(rest);
    let is_plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_plain).and_then(|zxid| zxid.try_into().ok())
}

/// The bytes of a file, unpacked as its name says.
pub(crate) fn read(path: &Path) -> Result<Bytes, ImportError> {
    let bytes = fs::read(path).map_err(unreadable(path))?;
    let packed = |cause| ImportError::Packed { path: path.to_owned(), cause };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            let mut unpacked = Vec::new();
            let mut reader = flate2::read::MultiGzDecoder::new(&bytes[..]);
            reader.read_to_end(&mut unpacked).map_err(packed)?;
            Ok(Bytes::from(unpacked))
        }
        Some("snappy") => unpack_snappy(&bytes).map(Bytes::from).map_err(packed),
        _ => Ok(Bytes::from(bytes)),
    }
}

/// The format of snappy-java: a header, then blocks, each with its length in front.
fn unpack_snappy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if !bytes.starts_with(SNAPPY_MAGIC) || bytes.len() < SNAPPY_HEADER_BYTES {
        return Err(wrong("it does not begin as snappy-java begins a stream"));
    }
    let mut rest = &bytes[SNAPPY_HEADER_BYTES..];
    let (mut unpacked, mut decoder) = (Vec::new(), snap::raw::Decoder::new());
    while !rest.is_empty() {
        let (length, behind) =
            rest.split_first_chunk().ok_or_else(|| wrong("it ends inside a length"))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(io::Error::other)?;
        let block = behind.get(..length).ok_or_else(|| wrong("it ends inside a block"))?;
        let claimed = snap::raw::decompress_len(block).map_err(io::Error::other)?;
        if claimed > SNAPPY_BLOCK_BYTES_MAX {
            return Err(wrong("a block claims more bytes than any has"));
        }
        unpacked.extend(decoder.decompress_vec(block).map_err(io::Error::other)?);
        rest = &behind[length..];
    }
    Ok(unpacked)
}

/// A process that has a file below one of the folders open, and that file.
fn open_file_below(folders: &[PathBuf]) -> Option<(u32, PathBuf)> {
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.into_iter().find_map(|process| {
        let id = process.file_name().to_str()?.parse::<u32>().ok()?;
        let open = fs::read_dir(process.path().join("fd")).ok()?.filter_map(Result::ok);
        let mut paths = open.filter_map(|file| fs::read_link(file.path()).ok());
        let is_below = |path: &PathBuf| folders.iter().any(|folder| path.starts_with(folder));
        (id != std::process::id()).then_some(())?;
        Some((id, paths.find(is_below)?))
    })
}

/// Makes a folder's names durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn names_say_the_transaction() {
        assert_eq!(zxid_of("log.100000001", "log."), Some(0x1_0000_0001));
        assert_eq!(zxid_of("snapshot.a.gz", "snapshot."), Some(10));
        assert_eq!(zxid_of("snapshot.b.snappy", "snapshot."), Some(11));
        for name in ["log.", "log.x", "log.+1", "log.1.new", "snapshot.1", "log.ffffffffffffffff"] {
            assert_eq!(zxid_of(name, "log."), None, "{name}");
        }
    }

    #[test]
    fn packed_files_are_unpacked_and_cut_ones_refused() {
        let folder = tempfile::tempdir().unwrap();
        let content = b"a tree, a tree, a tree".repeat(10_000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut snappy = SNAPPY_MAGIC.to_vec();
        snappy.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for block in content.chunks(32 << 10) {
            let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
            snappy.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
            snappy.extend(block);
        }
        for (name, bytes) in [("snapshot.1.gz", gzip), ("snapshot.1.snappy", snappy)] {
            let path = folder.path().join(name);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path).unwrap(), content, "{name}");
            fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
            assert!(matches!(read(&path), Err(ImportError::Packed { .. })), "{name} cut");
        }
    }

    #[test]
    fn a_file_that_a_process_has_open_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log.1");
        fs::write(&log, "").unwrap();
        let source = Source::open(folder.path(), None).unwrap();
        source.check_stopped().unwrap();
        let input = File::open(&log).unwrap();
        let mut other = std::process::Command::new("sleep").arg("60").stdin(input).spawn().unwrap();
        let seen = source.check_stopped();
        other.kill().unwrap();
        other.wait().unwrap();
        let Err(ImportError::Running { process, .. }) = seen else { panic!("{seen:?}") };
        assert_eq!(process, other.id());
    }
}
