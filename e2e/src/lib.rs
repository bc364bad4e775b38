//! The test cluster of peon-operator: Kubernetes programs, container images, a cluster of one or two nodes and a
//! real Druid inside it, all on one machine without Docker or an image registry.
//!
//! Everything here is synchronous: it starts programs and waits for conditions. See `README.md` beside
//! this crate for how the cluster is put together and where its traps are.

pub mod audit;
mod background;
pub mod bench_logs;
pub mod bench_middle_manager;
pub mod cache;
pub mod cases;
mod changes;
pub mod cluster;
pub mod demo;
pub mod druid;
pub mod exec;
pub mod fixture;
pub mod gate;
pub mod helm;
pub mod images;
pub mod interrupt;
mod json;
mod jvm;
pub mod kafka;
pub mod kubectl;
pub mod kwok;
pub mod lock;
mod middle_manager;
pub mod object_stores;
pub mod outside;
pub mod peons;
pub mod progress;
pub mod proxy;
pub mod samples;
pub mod segments;
pub mod selftest;
mod stock_middle_manager;
pub mod suite;
pub mod target;
pub mod tools;
pub mod wait;
pub mod zookeeper;
