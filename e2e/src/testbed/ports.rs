//! Ports of this machine.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// An address of this machine at which nothing listens. A program that takes the port meanwhile makes the one end that was
/// to listen there, and cases notice that.
pub(crate) fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr()?)
}
