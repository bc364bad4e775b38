//! Access to the API server for every controller and process: client, requests, decoding, back-off, meaning of its
//! answers.

pub mod apply;
pub mod backoff;
pub mod classify;
pub mod client;
pub mod create_pod;
pub mod error;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod identity;
pub mod request;
pub mod status;
pub mod watch;
