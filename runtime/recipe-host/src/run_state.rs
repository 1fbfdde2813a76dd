//! What belongs to one run of a guest: its memory budget, its log lines, and how its faults are named.
//!
//! Comes in: limits. Goes out: a fault with a kind and a message for people.
//! Invariant: every way in which a guest can end badly maps to one kind; the same guest on the same
//! input gets the same one everywhere. Must never: blame a guest for a shortage of the host.

use crate::view_slot::ViewSlot;
use quorate_machine::{LogLevel, RecipeFaultKind};
use quorate_types::recipe::RecipeLimits;
use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Trap};

/// Bytes of a fault's message.
const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// Bytes counted for each line logged, besides its text. The view of a run counts as many; where there
/// is none, in the trial run, this is the only count.
const LINE_FIXED_BYTES: usize = 64;

/// Elements of all tables of one run.
const TABLE_ELEMENTS_MAX: usize = crate::engine::TABLE_ELEMENTS_MAX;

/// The data of a run's store.
pub(crate) struct Run {
    pub(crate) view: ViewSlot,
    pub(crate) memory: MemoryBudget,
    pub(crate) log: RunLog,
    /// Functions of the contract that the guest has called.
    pub(crate) host_calls: u64,
    fuel: u64,
}

/// Lines that the guest wrote in this run.
pub(crate) struct RunLog {
    pub(crate) lines: Vec<(LogLevel, String)>,
    bytes_left: usize,
    bytes_max: u32,
}

/// A fault by its kind, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    pub(crate) kind: RecipeFaultKind,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(kind: RecipeFaultKind, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into() }
    }
}

impl Run {
    pub(crate) fn new(limits: &RecipeLimits) -> Run {
        Run {
            view: ViewSlot::default(),
            memory: MemoryBudget {
                bytes_left: limits.memory_bytes as usize,
                bytes_max: limits.memory_bytes,
                elements_left: TABLE_ELEMENTS_MAX,
            },
            log: RunLog {
                lines: Vec::new(),
                bytes_left: limits.log_bytes as usize,
                bytes_max: limits.log_bytes,
            },
            host_calls: 0,
            fuel: limits.fuel,
        }
    }

    /// Names the fault that ended the run.
    pub(crate) fn fault(&self, error: &wasmtime::Error) -> Fault {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Fault::new(fault.kind, self.described(&fault.message));
        }
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return self.trap_fault(*trap);
        }
        if error.is::<PoolConcurrencyLimitError>() || error.is::<wasmtime::OutOfMemory>() {
            tracing::error!(%error, "no room for a recipe instance");
            return Fault::new(
                RecipeFaultKind::NotReady,
                "this server has no room for an instance",
            );
        }
        Fault::new(RecipeFaultKind::Trap, self.described(&format!("{error:#}")))
    }

    fn trap_fault(&self, trap: Trap) -> Fault {
        match trap {
            Trap::OutOfFuel => Fault::new(
                RecipeFaultKind::OutOfFuel,
                self.described(&format!("all {} units of fuel are used", self.fuel)),
            ),
            Trap::StackOverflow => Fault::new(
                RecipeFaultKind::Trap,
                self.described("call stack exhausted: recursion too deep"),
            ),
            // A guest's own stack lies at the bottom of its memory, and grows down.
            Trap::MemoryOutOfBounds => Fault::new(
                RecipeFaultKind::Trap,
                self.described("out of bounds memory access: a wild index, or recursion too deep"),
            ),
            other => Fault::new(RecipeFaultKind::Trap, self.described(&other.to_string())),
        }
    }

    /// The fault together with the last error that the guest logged: a panic says there what it was.
    fn described(&self, fault: &str) -> String {
        let last_error = self.log.lines.iter().rev().find(|(level, _)| *level == LogLevel::Error);
        let mut described = match last_error {
            Some((_, line)) => format!("{} ({fault})", line.trim_end()),
            None => fault.to_owned(),
        };
        if described.len() > MESSAGE_BYTES_MAX {
            described.truncate(described.floor_char_boundary(MESSAGE_BYTES_MAX - '…'.len_utf8()));
            described.push('…');
        }
        described
    }
}

impl RunLog {
    /// Takes a line in, or refuses it when the run has logged too much.
    pub(crate) fn write(&mut self, level: LogLevel, line: String) -> Result<(), Fault> {
        let bytes = LINE_FIXED_BYTES + line.len();
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            let limit = self.bytes_max;
            let message = format!("the recipe logs more than {limit} bytes in one run");
            Fault::new(RecipeFaultKind::OverLimit, message)
        })?;
        self.lines.push((level, line));
        Ok(())
    }
}

/// What one run may allocate, over all memories and tables of its instance.
pub(crate) struct MemoryBudget {
    bytes_left: usize,
    bytes_max: u32,
    elements_left: usize,
}

impl ResourceLimiter for MemoryBudget {
    /// Refusal ends the run, rather than letting the guest see -1: which guests survive that
    /// differs between allocators, and the caller learns the true cause.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let Some(left) = self.bytes_left.checked_sub(desired.saturating_sub(current)) else {
            let message = format!("the recipe asks for more than {} bytes", self.bytes_max);
            return Err(Fault::new(RecipeFaultKind::OutOfMemory, message).into());
        };
        self.bytes_left = left;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let Some(left) = self.elements_left.checked_sub(desired.saturating_sub(current)) else {
            let message = format!("the recipe asks for more than {TABLE_ELEMENTS_MAX} elements");
            return Err(Fault::new(RecipeFaultKind::OutOfMemory, message).into());
        };
        self.elements_left = left;
        Ok(true)
    }

    fn instances(&self) -> usize {
        crate::engine::CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        crate::engine::TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        crate::engine::MEMORIES_MAX as usize
    }
}
