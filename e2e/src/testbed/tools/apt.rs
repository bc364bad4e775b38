//! The Debian packages.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::testbed::{cache::Cache, exec, progress::Progress};

/// A package and a file that tells that it is there, however it was installed.
struct Package {
    name: &'static str,
    gives: Gives,
}

enum Gives {
    Program(&'static str),
    File(&'static str),
}

const PACKAGES: &[Package] = &[
    program("buildah", "buildah"),
    program("conntrack", "conntrack"),
    program("containerd", "containerd"),
    Package {
        name: "containernetworking-plugins",
        gives: Gives::File("/usr/lib/cni/bridge"),
    },
    Package {
        name: "ca-certificates",
        gives: Gives::File("/etc/ssl/certs/ca-certificates.crt"),
    },
    program("iproute2", "ip"),
    program("iptables", "iptables-save"),
    program("jq", "jq"),
    program("maven", "mvn"),
    program("mmdebstrap", "mmdebstrap"),
    // For azurite, an object store of the cases.
    program("nodejs", "node"),
    program("npm", "npm"),
    program("openjdk-17-jdk-headless", "javac"),
    program("procps", "ps"),
    // For the runtimes of Java.
    program("python3-pip", "pip3"),
    program("runc", "runc"),
    program("util-linux", "nsenter"),
];

const fn program(name: &'static str, program: &'static str) -> Package {
    Package {
        name,
        gives: Gives::Program(program),
    }
}

impl Package {
    fn missing(&self) -> bool {
        match self.gives {
            Gives::Program(program) => !exec::on_path(program),
            Gives::File(file) => !Path::new(file).exists(),
        }
    }
}

/// Installs the packages that are missing and says which.
pub(super) fn install_missing(cache: &Cache, progress: &Progress) -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().filter(|p| p.missing()).map(|p| p.name).collect();
    if missing.is_empty() {
        progress.say("Debian packages … all there");
        return Ok(());
    }
    if !exec::on_path("apt-get") {
        bail!(
            "this machine has no apt-get; install what these Debian packages hold: {}",
            missing.join(" ")
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "run `apt-get install --no-install-recommends {}` as root, then again",
            missing.join(" ")
        );
    }
    let log = cache.path("apt.log");
    let ran_before = containerd_service();
    let step = progress.slow_step(
        "Debian packages",
        format_args!("installing {}", missing.join(" ")),
    );
    exec::logged(apt().arg("update"), &log).context("cannot read the package lists")?;
    exec::logged(
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing),
        &log,
    )
    .context("cannot install packages")?;
    step.done("installed");
    if !ran_before && containerd_service() {
        // The package starts a service that nothing here uses: the cluster runs a containerd of its own.
        exec::output(Command::new("systemctl").args(["disable", "--now", "containerd"]))?;
        progress.say("stopped and disabled the containerd service that the package had started");
    }
    Ok(())
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // Runlevel 1 keeps maintainer scripts that ask for it from starting services.
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .arg("--quiet");
    apt
}

fn containerd_service() -> bool {
    Path::new("/run/systemd/system").exists()
        && Command::new("systemctl")
            .args(["is-active", "--quiet", "containerd"])
            .status()
            .is_ok_and(|status| status.success())
}
