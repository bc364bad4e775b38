//! Finding and ending the cluster's processes.
//!
//! They are known by a variable in their environment, not by recorded process ids: that survives a crash
//! of whoever started them and cannot hit a stranger that got a recycled id.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Component,
    layout::{MARKER, NODE, NODE_MARKER, NodeLayout},
};
use crate::testbed::wait::wait_even_if_interrupted;

/// A running process of the cluster, as seen from the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: i32,
    pub(super) program: String,
    /// The node that it belongs to; the first one's are those of the whole cluster too.
    pub(super) node: String,
}

/// All processes that carry the marker.
pub(super) fn marked(marker: &str) -> Vec<Process> {
    let mut found: Vec<Process> = all()
        .filter_map(|id| {
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            let value = |name: &str| {
                let values = environment.split(|byte| *byte == 0);
                let mut values = values.filter_map(|v| v.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
                values.next().map(String::from_utf8_lossy)
            };
            if value(MARKER)? != marker {
                return None;
            }
            Some(Process {
                id,
                program: program(id)?,
                node: value(NODE_MARKER).map_or_else(|| NODE.to_owned(), String::from),
            })
        })
        .collect();
    found.sort_by_key(|process| process.id);
    found
}

/// All processes of one node, but those in its containers.
pub(super) fn of_node(node: &NodeLayout) -> Vec<Process> {
    let mut found = marked(&node.marker());
    found.retain(|process| process.node == node.name);
    found
}

/// The first process of a node that runs `program`.
pub(super) fn find(node: &NodeLayout, program: &str) -> Option<Process> {
    of_node(node)
        .into_iter()
        .find(|process| process.program == program)
}

/// Whether a node runs a component.
pub(super) fn runs(node: &NodeLayout, component: Component) -> bool {
    find(node, component.program()).is_some()
}

/// The process that unshared a node's namespaces has one child: their first process.
pub(super) fn first_in_namespaces(node: &NodeLayout) -> Option<i32> {
    let outer = find(node, "unshare")?;
    all().find(|id| parent(*id) == Some(outer.id))
}

/// What a process runs; a process that just ended has no program any more.
pub(super) fn program(id: i32) -> Option<String> {
    let program = fs::read_link(format!("/proc/{id}/exe")).ok()?;
    Some(program.file_name()?.to_string_lossy().into_owned())
}

/// Ends one process: a polite request, then force after `patience`.
pub(super) fn stop(process: &Process, patience: Duration) -> Result<()> {
    let id = Pid::from_raw(process.id);
    let _ = kill(id, Signal::SIGTERM);
    if wait_even_if_interrupted(patience, "it to end", || Ok((!alive(process.id)).then_some(()))).is_err() {
        let _ = kill(id, Signal::SIGKILL);
        wait_even_if_interrupted(Duration::from_secs(10), &process.program, || {
            Ok((!alive(process.id)).then_some(()))
        })?;
    }
    Ok(())
}

/// Kills these at once and waits until they are gone.
pub(super) fn kill_all(processes: &[Process]) -> Result<()> {
    for process in processes {
        let _ = kill(Pid::from_raw(process.id), Signal::SIGKILL);
    }
    for process in processes {
        let what = format!("process {} ({}) to end", process.id, process.program);
        wait_even_if_interrupted(Duration::from_secs(30), &what, || {
            Ok((!alive(process.id)).then_some(()))
        })?;
    }
    Ok(())
}

/// Whether a process exists and is more than a zombie that nobody has reaped.
pub(super) fn alive(id: i32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
        && stat_field(id, 0).is_some_and(|state| state != "Z" && state != "X")
}

fn parent(id: i32) -> Option<i32> {
    stat_field(id, 1)?.parse().ok()
}

/// A field of `/proc/ID/stat` after the program name, which may itself hold blanks and parentheses.
fn stat_field(id: i32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(index).map(str::to_owned)
}

/// Ids of all processes of the machine.
pub(super) fn all() -> impl Iterator<Item = i32> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok())
}
