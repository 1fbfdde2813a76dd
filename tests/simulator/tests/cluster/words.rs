//! Short ways to say what scripts ask for, and to read what they are answered.

use bytes::Bytes;
use quorate_simulator::executor::Component;
use quorate_simulator::work::{self, Acquire, Grant, grant_of, path, to_cbor};
use quorate_simulator::world::address;
use quorate_types::request::CreateMode;
use quorate_types::{ErrorCode, Operation, Outcome, Reply, ServerId, ZnodeData};

pub fn create(at: &str, data: impl Into<ZnodeData>, mode: CreateMode) -> Operation {
    Operation::Create { path: path(at), data: data.into(), mode, acl: None }
}

pub fn persistent(at: &str, data: impl Into<ZnodeData>) -> Operation {
    create(at, data, CreateMode::Persistent)
}

pub fn set(at: &str, data: impl Into<ZnodeData>, expected_version: Option<i32>) -> Operation {
    Operation::SetData { path: path(at), data: data.into(), expected_version }
}

pub fn delete(at: &str) -> Operation {
    Operation::Delete { path: path(at), expected_version: None }
}

pub fn get(at: &str) -> Operation {
    Operation::Get { path: path(at), watch: false }
}

pub fn children(at: &str) -> Operation {
    Operation::Children { path: path(at), after: None, limit: None, watch: false }
}

/// Takes a lock, or waits in line for it.
pub fn acquire(lock: &str) -> Operation {
    work::call(lock, "acquire", to_cbor(&Acquire { wait_ms: None, note: String::new() }))
}

/// Gives a lock back that was granted with this fence.
pub fn release(lock: &str, fence: u64) -> Operation {
    work::call(lock, "release", to_cbor(&Grant { fence }))
}

pub fn holder(lock: &str) -> Operation {
    work::call(lock, "holder", Bytes::new())
}

/// Uploads a component in chunks, installs it and mounts it.
pub fn installation(component: &Component, chunk_bytes: usize, at: &str) -> Vec<Operation> {
    let digest = component.digest;
    let bytes_of = |count: usize| u32::try_from(count).expect("components are small");
    let total_bytes = bytes_of(component.bytes.len());
    let chunks = component.bytes.chunks(chunk_bytes).enumerate();
    let upload = |(place, part): (usize, &[u8])| {
        let (offset, bytes) = (bytes_of(place * chunk_bytes), Bytes::copy_from_slice(part));
        Operation::UploadComponent { digest, total_bytes, offset, bytes, signature: None }
    };
    let (path, config) = (path(at), Bytes::new());
    let mount = Operation::Mount { path, digest, config, open: false, fuel: None };
    chunks
        .map(upload)
        .chain([Operation::InstallRecipe { digest, signature: None }, mount])
        .collect()
}

pub fn add_member(id: u64) -> Operation {
    let at = address(id);
    Operation::AddMember {
        server: ServerId(id),
        peer_address: at.peer,
        native_address: at.native,
        zookeeper_address: at.zookeeper,
    }
}

pub fn promote_member(id: u64) -> Operation {
    Operation::PromoteMember { server: ServerId(id) }
}

pub fn remove_member(id: u64) -> Operation {
    Operation::RemoveMember { server: ServerId(id) }
}

/// The fence of a lock that was granted, or of the grant that its holder has.
pub fn fence(outcome: &Outcome) -> u64 {
    let grant = outcome.as_ref().ok().and_then(grant_of);
    grant.unwrap_or_else(|| panic!("not granted: {outcome:?}")).fence
}

pub fn data(outcome: &Outcome) -> Bytes {
    let Ok(Reply::Data(data, _)) = outcome else { panic!("no data: {outcome:?}") };
    data.to_bytes()
}

pub fn code(outcome: &Outcome) -> Option<ErrorCode> {
    outcome.as_ref().err().map(|refusal| refusal.code)
}
