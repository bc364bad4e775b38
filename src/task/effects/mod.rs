//! The controller's requests to the API server: writes, and reads past all caches.

pub mod act;
pub mod live_read;
