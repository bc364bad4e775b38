//! Composition: the command line, the process of the operator and those of a VirtualMiddleManager.

pub mod announcing_pod;
pub mod operator;
pub mod options;
pub mod self_test;
pub mod uninstall_check;
pub mod workers;
