//! The network between the nodes: a switch, which is a bridge on the first node, and a cable to the second.
//!
//! Pulling the cable out of the switch is a partition as machines see it: packets vanish on both sides, and nobody is
//! told. Taking a link down would also take its routes away, and then everybody's next packet is refused at once.

use std::process::Command;

use anyhow::Result;

use super::{layout::NodeLayout, sandbox};
use crate::testbed::exec;

/// The switch, in the cluster's network namespace.
const SWITCH: &str = "switch";
/// Its address, and with it the first node's on it.
const SWITCH_IP: &str = "10.200.254.1";
/// The second node's end of the cable.
const PLUG_IP: &str = "10.200.254.2";
/// The second node's name for that end.
const PLUG: &str = "uplink";

/// Lays the cable between a node whose namespaces are new and the switch, which is made when there is none.
pub(super) fn connect(first: &NodeLayout, second: &NodeLayout) -> Result<()> {
    let (here, there) = (sandbox::first(first)?, sandbox::first(second)?);
    if ip(here, &["link", "show", SWITCH]).is_err() {
        ip(here, &["link", "add", SWITCH, "type", "bridge"])?;
        let address = format!("{SWITCH_IP}/24");
        ip(here, &["address", "add", &address, "dev", SWITCH])?;
        ip(here, &["link", "set", SWITCH, "up"])?;
        ip(here, &["route", "add", second.pods, "via", PLUG_IP])?;
    }
    // The cable of a node that lost its power goes with its namespace, which takes a moment.
    let _ = ip(here, &["link", "delete", second.name]);
    let inside = there.to_string();
    ip(
        here,
        &[
            "link",
            "add",
            second.name,
            "type",
            "veth",
            "peer",
            "name",
            PLUG,
            "netns",
            &inside,
        ],
    )?;
    ip(here, &["link", "set", second.name, "master", SWITCH, "up"])?;
    let address = format!("{PLUG_IP}/24");
    ip(there, &["address", "add", &address, "dev", PLUG])?;
    ip(there, &["link", "set", PLUG, "up"])?;
    // What the node says of itself comes from its own address.
    ip(
        there,
        &["route", "add", "default", "via", SWITCH_IP, "src", second.ip],
    )?;
    Ok(())
}

/// Pulls the cable out of the switch.
pub(super) fn unplug(first: &NodeLayout, second: &NodeLayout) -> Result<()> {
    ip(sandbox::first(first)?, &["link", "set", second.name, "nomaster"]).map(drop)
}

/// Plugs it in again.
pub(super) fn plug(first: &NodeLayout, second: &NodeLayout) -> Result<()> {
    ip(
        sandbox::first(first)?,
        &["link", "set", second.name, "master", SWITCH],
    )
    .map(drop)
}

/// Removes cable and switch.
pub(super) fn remove(first: &NodeLayout, second: &NodeLayout) -> Result<()> {
    let here = sandbox::first(first)?;
    for device in [second.name, SWITCH] {
        // The cable may go by itself at this very moment.
        let _ = ip(here, &["link", "delete", device]);
    }
    let left = devices(first, second)?;
    anyhow::ensure!(left.is_empty(), "cannot remove {}", left.join(", "));
    Ok(())
}

/// Which of switch and cable there are.
pub(super) fn devices(first: &NodeLayout, second: &NodeLayout) -> Result<Vec<&'static str>> {
    let all = ip(sandbox::first(first)?, &["-oneline", "link", "show"])?;
    let exists = |device: &str| {
        let names = all.lines().filter_map(|line| line.split_whitespace().nth(1));
        names
            .filter_map(|name| name.split(['@', ':']).next())
            .any(|name| name == device)
    };
    Ok([second.name, SWITCH]
        .into_iter()
        .filter(|device| exists(device))
        .collect())
}

/// `ip` in a network namespace. The process namespace stays the machine's, for `ip` is told its process ids.
fn ip(namespaces: i32, args: &[&str]) -> Result<String> {
    let target = namespaces.to_string();
    let mut command = Command::new("nsenter");
    exec::output(
        command
            .args(["--target", &target, "--net", "--", "ip"])
            .args(args),
    )
}
