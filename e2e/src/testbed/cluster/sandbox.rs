//! The namespaces that the whole cluster lives in.
//!
//! A process namespace makes ending the cluster one `kill`: containers and shims go with its first
//! process. A mount and a network namespace take the mounts, bridges, iptables rules and kernel settings
//! with them. What is left to undo on the machine is one network cable, cgroups and files.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    Component,
    layout::{
        ALL_PODS, Layout, MACHINE_IP, MACHINE_LINK, MARKER, NODE_MARKER, NodeLayout, SERVICES, UPLINK_IP,
    },
    processes,
};
use crate::testbed::{cache, exec, interrupt, wait::wait_until};

const SCRIPT: &str = include_str!("../../../cluster/sandbox.sh");

/// Makes the cluster's namespaces and the cable.
pub(super) fn create(layout: &Layout) -> Result<()> {
    check_addresses_free()?;
    let first = unshare(&layout.first, Command::new("setsid"))?;
    connect(first)
}

/// Makes the namespaces of a further node inside those of the cluster; returns the machine's id of their first
/// process. Ending that is as turning the node's power off.
pub(super) fn create_inside(layout: &Layout, node: &NodeLayout) -> Result<i32> {
    let outer = enter(first(&layout.first)?, "setsid");
    unshare(node, outer)
}

/// The machine's id of the first process of a node's namespaces.
pub(super) fn first(node: &NodeLayout) -> Result<i32> {
    processes::first_in_namespaces(node).with_context(|| format!("{} is not up", node.name))
}

/// Makes the namespaces of a node, with `setsid` for a session of its own: a Ctrl-C at the terminal is not for the
/// cluster.
fn unshare(node: &NodeLayout, mut setsid: Command) -> Result<i32> {
    let log = node.log("sandbox");
    let file = File::options().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    let copy = file.try_clone().context("cannot duplicate a file handle")?;
    let ready = node.path("sandbox-ready");
    cache::remove(&ready)?;
    let mut child = interrupt::starting(|| {
        setsid.args([
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        setsid.args(["--propagation", "slave", "sh", "-c", SCRIPT]);
        setsid
            .env(MARKER, node.marker())
            .env(NODE_MARKER, node.name)
            .env("RUN", &node.folder)
            .env("CGROUP", &node.cgroup)
            .env("NODE_IP", node.ip);
        setsid
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .current_dir("/");
        setsid.spawn().context("cannot make namespaces with `unshare`")
    })?;
    wait_until(Duration::from_secs(20), "the namespaces", || {
        if let Some(status) = child.try_wait().context("lost `unshare`")? {
            bail!(
                "cannot make namespaces ({status}): this needs root; {}",
                exec::tail(&log, 5)
            );
        }
        Ok(ready.exists().then_some(()))
    })?;
    first(node)
}

/// Lays the cable: from the machine, pods, services and the API server are reached through it.
fn connect(first: i32) -> Result<()> {
    let inside = first.to_string();
    let machine = format!("{MACHINE_IP}/30");
    ip(&[
        "link",
        "add",
        MACHINE_LINK,
        "type",
        "veth",
        "peer",
        "name",
        "uplink",
        "netns",
        &inside,
    ])?;
    ip(&["addr", "add", &machine, "dev", MACHINE_LINK])?;
    ip(&["link", "set", MACHINE_LINK, "up"])?;
    let uplink = format!("ip addr add {UPLINK_IP}/30 dev uplink && ip link set uplink up");
    exec::output(enter(first, "sh").args(["-c", &uplink]))?;
    for range in [ALL_PODS, SERVICES] {
        ip(&["route", "add", range, "via", UPLINK_IP])?;
    }
    Ok(())
}

/// A command that runs inside a node's namespaces, which `first` is the first process of.
pub(super) fn enter(first: i32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args([
        "--target",
        &first.to_string(),
        "--mount",
        "--net",
        "--pid",
        "--",
        program,
    ]);
    command
}

/// Starts a component on its node, such that it outlives this process, with what it says in its log. Returns once
/// the program runs.
pub(super) fn start(layout: &Layout, node: &NodeLayout, component: Component) -> Result<()> {
    start_with(layout, node, component, &[])
}

/// As [`start`], with further arguments, which override the usual ones.
pub(super) fn start_with(
    layout: &Layout,
    node: &NodeLayout,
    component: Component,
    more: &[&str],
) -> Result<()> {
    let program = component.program();
    let mut args = component.arguments(layout, node);
    args.extend(more.iter().map(|argument| (*argument).to_owned()));
    let log = node.log(program);
    let file = File::options().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    let copy = file.try_clone().context("cannot duplicate a file handle")?;
    let own = layout.program(program);
    let path = if own.is_file() {
        own.display().to_string()
    } else {
        program.to_owned()
    };
    let first = first(node)?;
    let mut child = interrupt::starting(|| {
        let entering = enter(first, &path);
        let mut command = Command::new("setsid");
        command
            .arg(entering.get_program())
            .args(entering.get_args())
            .args(args);
        command
            .env(MARKER, node.marker())
            .env(NODE_MARKER, node.name)
            .current_dir("/");
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        command.spawn().with_context(|| format!("cannot start {program}"))
    })?;
    // `setsid` becomes `nsenter`, and that starts the program.
    wait_until(Duration::from_secs(20), program, || {
        if let Some(status) = child.try_wait().with_context(|| format!("lost {program}"))? {
            bail!("{program} ended at once ({status}); {}", exec::tail(&log, 15));
        }
        Ok(processes::find(node, program).map(drop))
    })
}

/// Takes the cable away, should it have outlived the namespaces.
pub(super) fn disconnect() -> Result<()> {
    if fs::exists(format!("/sys/class/net/{MACHINE_LINK}")).unwrap_or_default() {
        // It may go by itself at this very moment.
        let _ = ip(&["link", "delete", MACHINE_LINK]);
    }
    anyhow::ensure!(
        !fs::exists(format!("/sys/class/net/{MACHINE_LINK}"))?,
        "cannot remove the link {MACHINE_LINK}"
    );
    Ok(())
}

fn ip(args: &[&str]) -> Result<()> {
    exec::output(Command::new("ip").args(args)).map(drop)
}

/// Somebody else's 10.200.0.0/15 would be cut off: rather fail.
fn check_addresses_free() -> Result<()> {
    let routes = exec::output(Command::new("ip").args(["-4", "-o", "route", "show"]))?;
    for route in routes.lines() {
        let Some((address, _)) = route.split_whitespace().next().and_then(|to| to.split_once('/')) else {
            continue;
        };
        if let Ok(address) = address.parse::<Ipv4Addr>()
            && matches!(address.octets(), [10, 200 | 201, ..])
        {
            bail!("this machine already uses addresses of the test cluster (10.200.0.0/15): `{route}`");
        }
    }
    Ok(())
}
