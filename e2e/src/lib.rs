//! The test cluster of peon-operator: Kubernetes programs, container images, a cluster of one or two nodes and a
//! real Druid inside it, all on one machine without Docker or an image registry.
//!
//! Everything here is synchronous: it starts programs and waits for conditions. See `README.md` beside
//! this crate for how the cluster is put together and where its traps are.

pub mod bench;
pub mod cases;
pub mod demo;
pub mod suite;
pub mod testbed;
