//! From the kubelet's stream to a log, and up to where it has been read (pure).

pub mod kubelet_stream;
pub mod log_mark;
pub mod reader;
