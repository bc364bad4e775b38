//! A run in its own pod (pure): the objects built for it, and the evidence that the pod shows about its peon.

pub mod build;
pub mod death;
pub mod entrypoint;
pub mod evidence;
pub mod grace;
pub mod java_container;
pub mod log_plan;
pub mod payload_volume;
pub mod reachable;
pub mod run;
pub mod template;
