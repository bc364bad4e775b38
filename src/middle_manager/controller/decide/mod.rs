//! What a `VirtualMiddleManager` consists of, what is to be done for it, and whether it is served (pure).

pub mod objects;
pub mod plan;
pub mod ready_condition;
pub mod snapshot;
