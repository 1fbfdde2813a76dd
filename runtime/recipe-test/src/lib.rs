//! Scenarios of recipes as the servers run them: the component, in the real host, on the real machine.
//!
//! Comes in: a component and the folder of its scenarios. Goes out: what differs from the traces in the
//! files, which are the ones that the recipe's own code leaves natively, and what each operation cost.
//! For authors (`quorate recipe test`) and for this workspace's tests. Invariant: one replica in memory
//! decides and applies exactly as servers do; only network, disk and elections are missing. Must
//! never: rewrite a trace.

mod one_server;
mod report;
mod wasm_stage;

pub use one_server::{COMPILER, OneServer, RunFigures, path};
pub use report::{Figures, Report, ReportError, ScenarioOutcome, run_scenarios};
