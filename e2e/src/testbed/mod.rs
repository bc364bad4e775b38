//! The test bed: the cluster, its images and tools, and a real Druid; nothing here says what must hold.

pub mod audit;
pub(crate) mod background;
pub mod cache;
pub(crate) mod changes;
pub mod cluster;
pub mod druid;
pub mod exec;
pub mod fixture;
pub mod gate;
pub mod helm;
pub mod images;
pub mod interrupt;
pub(crate) mod java_runtimes;
pub(crate) mod json;
pub mod kubectl;
pub mod kwok;
pub mod lock;
pub mod object_stores;
pub mod outside;
pub mod peons;
pub mod progress;
pub mod proxy;
pub(crate) mod resource;
pub mod target;
pub mod tools;
pub mod wait;
