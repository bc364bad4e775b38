//! The process: configuration, leader election, health, metrics, shutdown.

pub mod archive_server;
pub mod background;
pub mod clock;
pub mod config;
pub mod election;
pub mod health;
pub mod http_server;
pub mod lease;
pub mod log_metrics;
pub mod metrics;
pub mod process;
pub mod shutdown;
pub mod telemetry;
