//! Access to the API server for every controller and process: client, requests, decoding, back-off, meaning of its
//! answers.

pub mod classify;

pub mod apply;
pub mod backoff;
pub mod client;
pub mod error;
pub mod request;
pub mod watch;
