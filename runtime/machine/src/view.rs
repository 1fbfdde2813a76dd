//! What a running recipe sees: the znodes below its mount, sessions, the clock, tickets, timers.
#![allow(unused_variables, missing_docs)]
use crate::executor::RecipeFailure;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::{SessionId, TicketId, ZnodePath, Zxid};

/// Mirrors the contract's `tree-error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeError {
    NoNode,
    NodeExists,
    NotEmpty,
    BadVersion(i32),
    BadPath,
    NoSession,
    NoChildrenForEphemerals,
    ReadOnly,
    Other(String),
}

/// Why a host function did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// Told to the recipe. Where the contract gives the function no error, it is a trap.
    Tree(TreeError),
    /// A limit of the call is passed: the run ends with `RecipeFaultKind::OverLimit`.
    OverLimit(String),
    /// The recipe broke the contract: the run ends with `RecipeFaultKind::Trap`.
    Misuse(String),
}

/// A znode's stat as recipes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewStat {
    pub created: Zxid,
    pub modified: Zxid,
    pub version: i32,
    pub owner: Option<SessionId>,
    pub children: u32,
}

/// A znode as recipes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewZnode {
    pub data: Bytes,
    pub stat: ViewStat,
}

/// A child as recipes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedZnode {
    pub name: String,
    pub data: Bytes,
    pub stat: ViewStat,
}

/// A session as recipes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    pub session: SessionId,
    pub identity: String,
    pub timeout_ms: u32,
}

/// As in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// One line a recipe logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub mount: ZnodePath,
    pub level: LogLevel,
    pub message: String,
}

/// What a running recipe sees.
pub struct RecipeView<'a> {
    mount: &'a ZnodePath,
}

impl RecipeView<'_> {
    pub fn mount_path(&self) -> &ZnodePath { self.mount }
    pub fn config(&self) -> Bytes { todo!() }
    pub fn get(&mut self, path: &str) -> Result<Option<ViewZnode>, ViewError> { todo!() }
    pub fn exists(&mut self, path: &str) -> bool { todo!() }
    pub fn count(&mut self, path: &str) -> Result<u32, ViewError> { todo!() }
    pub fn scan(&mut self, path: &str, after: Option<&str>, limit: u32) -> Result<Vec<NamedZnode>, ViewError> { todo!() }
    pub fn create(&mut self, path: &str, data: &[u8], owner: Option<SessionId>) -> Result<(), ViewError> { todo!() }
    /// Gives the name: the last segment.
    pub fn create_sequential(&mut self, prefix: &str, data: &[u8], owner: Option<SessionId>) -> Result<String, ViewError> { todo!() }
    pub fn set(&mut self, path: &str, data: &[u8], expected: Option<i32>) -> Result<i32, ViewError> { todo!() }
    pub fn delete(&mut self, path: &str, expected: Option<i32>) -> Result<(), ViewError> { todo!() }
    pub fn session(&self, session: SessionId) -> Option<SessionFacts> { todo!() }
    pub fn now_ms(&self) -> u64 { todo!() }
    pub fn zxid(&self) -> Zxid { todo!() }
    pub fn seed(&self) -> (u64, u64) { todo!() }
    pub fn park(&mut self, deadline_ms: Option<u64>) -> Result<TicketId, ViewError> { todo!() }
    pub fn complete(&mut self, ticket: TicketId, outcome: Result<Bytes, RecipeFailure>) -> Result<bool, ViewError> { todo!() }
    pub fn timer_set(&mut self, name: &str, at_ms: u64) -> Result<(), ViewError> { todo!() }
    pub fn timer_cancel(&mut self, name: &str) -> Result<bool, ViewError> { todo!() }
    pub fn log(&mut self, level: LogLevel, message: &str) -> Result<(), ViewError> { todo!() }
}
