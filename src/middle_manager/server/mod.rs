//! The process behind a `VirtualMiddleManager`: its ports, its configuration, its part of the status.

pub mod background;
pub mod decide;
pub mod listener;
pub mod mounted_config;
pub mod options;
pub mod secret_watch;
pub(crate) mod status_writer;
