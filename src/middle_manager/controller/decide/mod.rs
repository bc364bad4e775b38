//! The objects of a `VirtualMiddleManager`, the next step for it, and whether it is served (pure).

pub mod announcing_pods;
pub mod objects;
pub mod plan;
pub mod ready_condition;
pub mod snapshot;
