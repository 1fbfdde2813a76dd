//! Short ways to say what tests ask for.

use crate::lock_recipe::{COMPONENT, component_digest};
use bytes::Bytes;
use quorate_types::request::CreateMode;
use quorate_types::{ErrorCode, Operation, Outcome, Reply, ZnodePath};

pub fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).expect("tests name proper paths")
}

pub fn create(at: &str, data: impl Into<Bytes>, mode: CreateMode) -> Operation {
    Operation::Create { path: path(at), data: data.into(), mode, acl: None }
}

pub fn persistent(at: &str, data: impl Into<Bytes>) -> Operation {
    create(at, data, CreateMode::Persistent)
}

pub fn set(at: &str, data: impl Into<Bytes>, expected_version: Option<i32>) -> Operation {
    Operation::SetData { path: path(at), data: data.into(), expected_version }
}

pub fn get(at: &str) -> Operation {
    Operation::Get { path: path(at), watch: false }
}

pub fn children(at: &str, after: Option<String>) -> Operation {
    Operation::Children { path: path(at), after, limit: None, watch: false }
}

pub fn call(object: &str, operation: &str) -> Operation {
    call_with(object, operation, Bytes::new())
}

pub fn call_with(object: &str, operation: &str, arguments: Bytes) -> Operation {
    Operation::Call { object: path(object), operation: operation.into(), arguments }
}

pub fn upload() -> Operation {
    Operation::UploadComponent {
        digest: component_digest(),
        total_bytes: COMPONENT.len() as u32,
        offset: 0,
        bytes: Bytes::from_static(COMPONENT),
    }
}

pub fn install() -> Operation {
    Operation::InstallRecipe { digest: component_digest() }
}

pub fn mount(at: &str) -> Operation {
    let (digest, config) = (component_digest(), Bytes::new());
    Operation::Mount { path: path(at), digest, config, open: false, fuel: None }
}

/// The fencing token of a granted lock.
pub fn token(outcome: &Outcome) -> u64 {
    let Ok(Reply::Called(bytes)) = outcome else { panic!("not granted: {outcome:?}") };
    u64::from_be_bytes(bytes[..].try_into().expect("a token has eight bytes"))
}

pub fn data(outcome: &Outcome) -> Bytes {
    let Ok(Reply::Data(data, _)) = outcome else { panic!("no data: {outcome:?}") };
    data.clone()
}

pub fn code(outcome: &Outcome) -> Option<ErrorCode> {
    outcome.as_ref().err().map(|refusal| refusal.code)
}
