//! Payloads: in one object or in chunks, how they are created, read and checked.

pub mod chunks;
pub mod create;
pub mod read;
mod recent;
