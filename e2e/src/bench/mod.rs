//! What things cost, measured on the test cluster.

pub mod assign;
pub mod logs;
pub mod middle_manager;
pub mod pool;
pub mod schema;
