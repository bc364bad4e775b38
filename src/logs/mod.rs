//! Logs and reports that outlive their pods.

pub mod cut;
pub mod mark;
