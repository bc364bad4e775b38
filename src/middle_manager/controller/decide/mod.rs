//! What a `VirtualMiddleManager` consists of, and whether it is served (pure).

pub mod objects;
pub mod ready_condition;
