//! The history: one small object for each finished task.

pub mod reader;
pub mod writer;
