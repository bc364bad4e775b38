//! From the kubelet's stream to a log, and the position up to which it was read (pure).

pub mod kubelet_stream;
pub mod log_mark;
pub mod reader;
pub mod recent_lines;
