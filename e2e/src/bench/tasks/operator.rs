//! The operator as a process on this machine.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    ground::{Ground, SYSTEM},
    pool,
    way::Way,
};
use crate::testbed::{background::Background, ports};

const LIMIT: Duration = Duration::from_secs(120);
const PROPERTIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/runtime.properties");

/// It is killed when this value goes away.
pub(super) struct Operator {
    process: Background,
    address: SocketAddr,
}

impl Operator {
    /// Starts it as the chart does, and waits until it is ready.
    pub(super) fn start(ground: &Ground, way: Way) -> Result<Self> {
        let address = ports::free()?;
        let mut command = Command::new(ground.program(way));
        command.env("KUBECONFIG", &ground.kubeconfig).args([
            "--runtime-properties",
            PROPERTIES,
            "--lease-namespace",
            SYSTEM,
            "--lease-name",
            "operator",
            "--archive-listen",
            "127.0.0.1:0",
            "--log",
            "info,kube_runtime=warn",
            "--listen",
            &address.to_string(),
        ]);
        if way == Way::Pool {
            command.args(pool::OPERATOR);
        }
        let log = ground.folder.join("operator.log");
        let mut operator = Self {
            process: Background::start(&mut command, &log)?,
            address,
        };
        operator.process.until(LIMIT, "the operator", || {
            Ok(is_ready(address).unwrap_or_default().then_some(()))
        })?;
        Ok(operator)
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as kubelet does.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.process
            .terminate(LIMIT)
            .with_context(|| format!("the operator at {}", self.address))
    }

    /// MiB that are resident now, and at most since its start.
    pub(super) fn memory(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let of = |field| mebibytes(&status, field).with_context(|| format!("no {field}"));
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }
}

fn is_ready(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// A field of `/proc/PID/status`, which is in kB.
fn mebibytes(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_process() {
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(mebibytes(status, "VmRSS:"), Some(1.0));
        assert_eq!(mebibytes(status, "VmHWM:"), Some(2.0));
        assert_eq!(mebibytes(status, "VmSwap:"), None);
    }
}
