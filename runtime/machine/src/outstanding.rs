//! What the leader has proposed and not yet applied.
#![allow(unused_variables, missing_docs)]
use crate::{LogLine, Machine, Prepared, RecipeExecutor, Request, Stamp};
use alloc::vec::Vec;
use quorate_types::{Zxid, ZnodePath};

pub struct Outstanding {}

impl Outstanding {
    pub fn new() -> Outstanding { todo!() }
    /// Whether transactions carry the call they came from, for `verify`. On at first.
    pub fn set_record_calls(&mut self, record: bool) { todo!() }
    /// A transaction must be proposed under exactly `stamp.zxid` or this `Outstanding` dropped.
    pub fn prepare(&mut self, machine: &Machine, executor: &mut dyn RecipeExecutor, stamp: Stamp, request: Request) -> Prepared { todo!() }
    /// Everything up to `zxid` is applied: forget it here.
    pub fn applied(&mut self, zxid: Zxid) { todo!() }
    /// The newest transaction prepared and not yet applied.
    pub fn tip(&self) -> Option<Zxid> { todo!() }
    pub fn next_deadline_ms(&self, machine: &Machine) -> Option<u64> { todo!() }
    /// Faults of a mount since its last run that went well.
    pub fn faults(&self, mount: &ZnodePath) -> u32 { todo!() }
    /// What recipes logged since the last call.
    pub fn take_log(&mut self) -> Vec<LogLine> { todo!() }
}

impl Default for Outstanding { fn default() -> Outstanding { Outstanding::new() } }
