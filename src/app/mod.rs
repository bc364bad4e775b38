//! Composition: the command line, the process of the operator and that of the workers.

pub mod workers;

pub mod operator;
pub mod options;
