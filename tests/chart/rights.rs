//! Rights as a role grants them, and as the sections `# Access control` of the code document them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::render::read;

/// Group and resource, and a verb.
pub type Rights = BTreeSet<(String, String)>;

/// The rights of a role, each of which is granted once.
pub fn rights(role: &Value) -> Rights {
    collect(role, &mut |right| panic!("granted twice: {right:?}"))
}

/// The rights of a role that is put together from others.
pub fn rights_of(role: &Value) -> Rights {
    collect(role, &mut |_| {})
}

fn collect(role: &Value, twice: &mut dyn FnMut((String, String))) -> Rights {
    let strings = |v: &Value| -> Vec<String> { serde_json::from_value(v.clone()).unwrap() };
    let mut rights = Rights::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    assert!(!format!("{group}{resource}{verb}").contains('*'), "{rule}");
                    let right = (format!("{group}/{resource}"), verb);
                    if !rights.insert(right.clone()) {
                        twice(right);
                    }
                }
            }
        }
    }
    rights
}

/// The rights in rows of group and resource, and verbs.
pub fn table<'a>(rows: impl IntoIterator<Item = (&'a str, &'a [&'a str])>) -> Rights {
    let row = |(resource, verbs): (&str, &[&str])| {
        let resource = resource.to_owned();
        verbs
            .iter()
            .map(|verb| (resource.clone(), (*verb).to_owned()))
            .collect::<Vec<_>>()
    };
    rows.into_iter().flat_map(row).collect()
}

/// The rights in the sections `# Access control` of the files that are wanted below `folder`.
pub fn documented(folder: &Path, wanted: &dyn Fn(&Path) -> bool, rights: &mut Rights) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !wanted(&path) {
            continue;
        }
        if path.is_dir() {
            documented(&path, wanted, rights);
            continue;
        }
        let text = read(&path);
        for section in text.split("/// # Access control\n").skip(1) {
            let lines = section.lines().map(str::trim);
            let body = lines.map_while(|l| l.strip_prefix("/// "));
            let body = body.collect::<Vec<_>>().join(" ");
            for part in body.trim_end_matches('.').replace("; ", ". ").split(". ") {
                let (resources, verbs) = part
                    .split_once(": ")
                    .unwrap_or_else(|| panic!("{}: {part}", path.display()));
                for resource in resources.split(", ") {
                    let resource = qualified(resource);
                    rights.extend(verbs.split(", ").map(|v| (resource.clone(), v.to_owned())));
                }
            }
        }
    }
}

fn qualified(resource: &str) -> String {
    let group = match resource {
        "pods" | "pods/log" | "pods/resize" | "configmaps" | "secrets" | "nodes" | "services"
        | "serviceaccounts" => "",
        "peontasks"
        | "peontasks/status"
        | "peontemplates"
        | "peontemplates/status"
        | "virtualmiddlemanagers"
        | "virtualmiddlemanagers/status"
        | "indexerpools"
        | "indexerpools/status" => "peon.dev",
        "deployments" | "statefulsets" => "apps",
        "poddisruptionbudgets" => "policy",
        "roles" | "rolebindings" | "clusterroles" => "rbac.authorization.k8s.io",
        "leases" => "coordination.k8s.io",
        "events (core)" => return "/events".into(),
        "events (events.k8s.io)" => return "events.k8s.io/events".into(),
        other => panic!("the code uses {other}, which this test and the chart do not know"),
    };
    format!("{group}/{resource}")
}
