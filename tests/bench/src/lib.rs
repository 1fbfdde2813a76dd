//! Benchmarks: `cargo bench -p quorate-bench` for the pure rooms, `quorate bench` for a cluster.
//!
//! They report; nothing here asserts on time. `README.md` beside this folder holds what was
//! measured, on which machine.
