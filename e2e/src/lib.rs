//! The test cluster of peon-operator: Kubernetes programs, container images, a one-node cluster and a
//! real Druid inside it, all on one machine without Docker or an image registry.
//!
//! Everything here is synchronous: it starts programs and waits for conditions. See `README.md` beside
//! this crate for how the cluster is put together and where its traps are.

pub mod cache;
pub mod cluster;
pub mod druid;
pub mod exec;
pub mod images;
pub mod interrupt;
pub mod kubectl;
pub mod lock;
pub mod progress;
pub mod proxy;
pub mod target;
pub mod tools;
pub mod wait;
