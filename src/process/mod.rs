//! What every process has: leader election, probes and metrics over HTTP, shutdown, its own log.

pub mod background;
pub mod decide;
pub mod election;
pub mod health;
pub mod http_server;
pub mod shutdown;
pub mod telemetry;
