//! The applied state.
#![allow(unused_variables, missing_docs)]
use crate::{Applied, Identity, RecipeCall, RecipeExecutor, Transaction};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::limits::Limits;
use quorate_types::recipe::OperationKind;
use quorate_types::*;

#[derive(Clone)]
pub struct Machine {}

/// What a second run of a call showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The transaction carries no call.
    NotACall,
    /// The same changes and reply.
    Agrees,
    /// Others: the recipe or an engine is not deterministic.
    Differs { logged: String, computed: String },
    /// The component is not compiled here.
    NotReady,
}

impl Machine {
    pub fn new() -> Machine { todo!() }
    /// A machine with other limits than production's; limits are not replicated.
    pub fn with_limits(limits: Limits) -> Machine { todo!() }
    pub fn set_limits(&mut self, limits: Limits) { todo!() }
    pub fn limits(&self) -> &Limits { todo!() }
    pub fn applied(&self) -> Zxid { todo!() }
    pub fn time_ms(&self) -> u64 { todo!() }
    pub fn digest(&self) -> u64 { todo!() }
    pub fn apply(&mut self, zxid: Zxid, transaction: &Transaction) -> Applied { todo!() }
    /// An entry without a transaction (a leader's no-op, a membership change) was applied.
    pub fn advance(&mut self, zxid: Zxid) { todo!() }
    pub fn read(&self, identity: &Identity, operation: &Operation) -> Outcome { todo!() }
    pub fn operation_kind(&self, object: &ZnodePath, operation: &str) -> Result<OperationKind, Refusal> { todo!() }
    pub fn query(&self, executor: &mut dyn RecipeExecutor, call: RecipeCall<'_>) -> Outcome { todo!() }
    pub fn verify(&self, executor: &mut dyn RecipeExecutor, zxid: Zxid, transaction: &Transaction) -> Verdict { todo!() }
    pub fn encode_image(&self) -> Vec<u8> { todo!() }
    pub fn decode_image(bytes: &[u8]) -> Result<Machine, LayoutError> { todo!() }
    pub fn next_deadline_ms(&self) -> Option<u64> { todo!() }
    pub fn component_bytes(&self, digest: &ComponentDigest) -> Option<Bytes> { todo!() }
    /// Completely uploaded components.
    pub fn components(&self) -> Vec<ComponentDigest> { todo!() }
    pub fn session(&self, session: SessionId) -> Option<SessionStatus> { todo!() }
    pub fn sessions(&self) -> Vec<SessionStatus> { todo!() }
    pub fn member(&self, server: ServerId) -> Option<Incarnation> { todo!() }
    pub fn znode_count(&self) -> u64 { todo!() }
    pub fn session_count(&self) -> u64 { todo!() }
    pub fn ticket_count(&self) -> u64 { todo!() }
    /// Names of mounts that are suspended, with the reason.
    pub fn suspended_mounts(&self) -> Vec<(ZnodePath, String)> { todo!() }
}

impl Default for Machine { fn default() -> Machine { Machine::new() } }

/// A session as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    pub session: SessionId,
    pub epoch: Zxid,
    pub timeout_ms: u32,
    pub identity: String,
}
