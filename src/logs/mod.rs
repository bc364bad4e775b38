//! Logs and reports that outlive their pods.
//!
//! Either the operator's **follower** reads a peon's log through the API server, or a **sidecar** in the pod reads it
//! from a file that the peon writes. Both archive it where a stock overlord looks for it.

pub mod cut;
pub mod mark;
pub mod reader;
pub mod report;
pub mod sidecar_config;
pub mod source;
pub mod spool;
pub mod verdict;
