//! The worker protocol over HTTP.

pub mod backend;
pub(crate) mod body;
pub mod body_budget;
pub(crate) mod http_error;
pub mod routes;
