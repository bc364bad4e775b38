//! Composition: the command line, and the operator's process from start to end.

pub mod operator;
pub mod options;
