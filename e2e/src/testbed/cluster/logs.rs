//! Collecting everything that tells what happened in a cluster.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::testbed::{cache, kubectl::Kubectl};

/// Copies component logs (when there are any), objects, events and pod logs into `folder`.
///
/// What cannot be had is noted in its place, for this runs when something has gone wrong already.
pub(crate) fn collect(component_logs: Option<&Path>, kubectl: &Kubectl, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for log in component_logs
        .into_iter()
        .filter_map(|logs| fs::read_dir(logs).ok())
        .flatten()
        .flatten()
    {
        fs::copy(log.path(), folder.join(log.file_name())).with_context(|| format!("cannot copy {log:?}"))?;
    }
    let listings: [(&str, &[&str]); 4] = [
        (
            "objects.txt",
            &["get", "all", "--all-namespaces", "--output=wide"],
        ),
        (
            "events.txt",
            &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
        ),
        ("pods.yaml", &["get", "pods", "--all-namespaces", "--output=yaml"]),
        ("nodes.txt", &["describe", "nodes"]),
    ];
    for (file, args) in listings {
        cache::write(&folder.join(file), text(kubectl, args))?;
    }
    let template = r#"{range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}"#;
    let pods = text(
        kubectl,
        &[
            "get",
            "pods",
            "--all-namespaces",
            "--output",
            &format!("jsonpath={template}"),
        ],
    );
    for (namespace, pod) in pods.lines().filter_map(|line| line.split_once(' ')) {
        let select = [
            "logs",
            "--namespace",
            namespace,
            pod,
            "--all-containers",
            "--prefix",
        ];
        let log = text(kubectl, &select);
        cache::write(&folder.join(format!("pods/{namespace}_{pod}.log")), log)?;
        let earlier = kubectl.run(&[select.as_slice(), &["--previous"]].concat());
        if let Ok(log) = earlier {
            cache::write(&folder.join(format!("pods/{namespace}_{pod}.previous.log")), log)?;
        }
    }
    Ok(())
}

fn text(kubectl: &Kubectl, args: &[&str]) -> String {
    kubectl.run(args).unwrap_or_else(|error| format!("{error:#}\n"))
}
