//! What the programs of the benchmarks share.

pub mod cpu;
pub mod statuses;
