//! Formats of everything stored: names of objects in the store, parts, claims, reports, records (pure).

pub mod attempt_parts;

pub mod claim;
pub mod layout;
pub mod location;
pub mod own_lines;
pub mod parts;
pub mod properties;
pub mod published;
pub mod rebuild;
pub mod record;
pub mod report;
pub mod shared_log;
pub mod sidecar_config;
pub mod sidecar_message;
pub mod sidecar_parts;
pub mod state;
pub mod success;
