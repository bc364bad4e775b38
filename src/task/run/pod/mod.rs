//! A run in a pod of its own (pure): what the pod is built from, and what it shows of its peon.

pub mod build;
pub mod entrypoint;
pub mod evidence;
pub mod grace;
pub mod log_plan;
pub mod payload_volume;
pub mod template;
