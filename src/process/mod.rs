//! Parts of every process: leader election, probes and metrics over HTTP, shutdown, the log of the process.

pub mod background;
pub mod decide;
pub mod election;
pub mod health;
pub mod http_server;
pub mod leadership;
pub mod shutdown;
pub mod telemetry;
