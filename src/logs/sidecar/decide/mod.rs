//! When the sidecar archives (pure).

pub mod flush_policy;
