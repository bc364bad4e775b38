//! What the controller does to the API server, and its reads past all caches.

pub mod act;
pub mod live_read;
