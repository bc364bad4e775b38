//! The API server as every controller and process uses it: client, requests, decoding, back-off, what its answers mean.

pub mod classify;

pub mod apply;
pub mod backoff;
pub mod client;
pub mod error;
pub mod request;
pub mod watch;
