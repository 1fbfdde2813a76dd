//! The only `wasmtime::Config` of the server: how components are compiled and where they live.
//!
//! Goes out: an engine whose behaviour is the same on every server of one release, except where a
//! comment says otherwise. Invariant: no wall clock, thread or random choice can influence what a
//! component computes. Must never: turn on a proposal that a recipe does not need; most published
//! faults of engines were in those.

use crate::error::RecipeError;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OperatorCost, OptLevel, PoolingAllocationConfig,
    Strategy,
};

/// Native stack that guest code may use, in bytes. The thread that runs recipes needs this and
/// 512 KiB more; threads of std have 2 MiB.
pub const GUEST_STACK_BYTES: usize = 1 << 20;

/// Largest linear memory of one guest, in bytes.
pub const MEMORY_BYTES_MAX: usize = 16 << 20;

/// Linear memories of one component. JavaScript guests have three.
pub const MEMORIES_MAX: u32 = 6;

/// Tables of one component.
pub const TABLES_MAX: u32 = 16;

/// Elements of one table.
pub const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Core instances of one component. A plain recipe has three.
pub const CORE_INSTANCES_MAX: u32 = 16;

/// Components that may run at once: the replica, trial runs on compile threads, tests.
const COMPONENT_INSTANCES_MAX: u32 = 64;

/// Bytes of a memory that are cleared by hand instead of given back to the system: instantiation
/// takes 7 µs with, 30 µs without. A guest made by the SDK has 128 KiB.
const RESIDENT_BYTES: usize = 256 << 10;

/// Makes an engine.
///
/// # Errors
/// When the system refuses the address space for the pool, or the processor is not supported.
pub(crate) fn engine() -> Result<Engine, RecipeError> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // Processors differ in the bits of a NaN that an operation makes.
        .cranelift_nan_canonicalization(true)
        // On by default, and its results differ between processors.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .consume_fuel(true)
        .operator_cost(operator_cost())
        // Fuel bounds guests already; epochs follow the wall clock.
        .epoch_interruption(false)
        .concurrency_support(false)
        .memory_init_cow(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .memory_reservation(MEMORY_BYTES_MAX as u64)
        .memory_guard_size(64 << 10)
        .wasm_backtrace_max_frames(None)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    Engine::new(&config).map_err(|error| RecipeError::Engine(format!("{error:#}")))
}

/// Fuel of the operators that leave the guest's code for the engine. At the price of an addition, a
/// loop of them makes 10 million units last half a second, longer than an election takes to begin;
/// with these no unit takes more than about 5 ns.
fn operator_cost() -> OperatorCost {
    let mut cost = OperatorCost::new();
    cost.RefFunc = 50;
    cost.MemoryGrow = 50;
    cost.TableGrow = 50;
    cost.TableInit = 20;
    cost.TableSet = 10;
    cost.ElemDrop = 10;
    cost.DataDrop = 10;
    cost
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(COMPONENT_INSTANCES_MAX)
        .total_core_instances(COMPONENT_INSTANCES_MAX * 8)
        .total_memories(COMPONENT_INSTANCES_MAX * 4)
        .total_tables(COMPONENT_INSTANCES_MAX * 8)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(64 << 10);
    pool
}
