//! Effects on the API server that every controller shares.

pub mod backoff;
pub mod chunks;
pub mod client;
pub mod decode;
pub mod error;
pub mod refusal;
pub mod written;
