//! Composition: the command line, the process of the operator and that of the workers.

pub mod operator;
pub mod options;
pub mod self_test;
pub mod uninstall_check;
pub mod workers;
