//! The API server as every controller and process uses it: client, decoding, back-off, what its answers mean.

pub mod classify;

pub mod backoff;
pub mod client;
pub mod error;
pub mod request;
pub mod watch;
