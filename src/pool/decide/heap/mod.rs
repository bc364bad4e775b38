//! The heap of a shared Indexer: what its garbage collector says of it, and what follows (pure).

pub mod gc_log;
pub mod watchdog;
