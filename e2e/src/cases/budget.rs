//! What a task costs the API server, and with which rights, from the audit log.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Case, Turn, case};
use crate::testbed::{
    audit::{self, Request},
    druid::samples,
    fixture::{Fixture, LIMIT, NAMESPACE, OPERATOR_NAMESPACE, RELEASE},
    wait::wait_until,
};

/// Most write requests of the operator for a task that succeeds, Events included.
const MOST_WRITES: usize = 6;

pub(super) const CASES: [Case; 1] = [case(
    "budget::a_clean_run_writes_at_most_six_times_and_reads_nothing",
    clean_run,
)
.turn(Turn::Alone)
.own()];

pub(super) const RIGHTS: Case = case(
    "budget::every_right_of_the_chart_is_used_and_no_other_is_missed",
    rights,
)
.turn(Turn::Last)
.own();

/// The operator's requests about a task, its ConfigMap, its pod and its Events; leases are the process' own.
fn about<'a>(
    requests: &'a [Request],
    namespace: &'a str,
    task: &'a str,
) -> impl Iterator<Item = &'a Request> {
    requests.iter().filter(move |r| {
        let own_name =
            r.name == task || r.name == format!("{task}-1") || r.name.starts_with(&format!("{task}."));
        // A list names no object, and Events are created without a name in the URL.
        let nameless = r.name.is_empty() && r.verb != "watch";
        r.namespace == namespace && r.resource != "leases" && (own_name || nameless)
    })
}

fn clean_run(fixture: &Fixture) -> Result<()> {
    let name = "clean-run";
    let own = fixture.target.own().context("no cluster of our own")?;
    let before = audit::of_operator(own)?.len();
    fixture.apply(NAMESPACE, &samples::noop(name)?)?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    // The answer that made the verdict visible may be logged a moment later.
    let status = |r: &&Request| r.name == name && r.resource == "peontasks/status";
    wait_until(LIMIT, "the audit log", || {
        let seen = audit::of_operator(own)?
            .split_off(before)
            .iter()
            .filter(status)
            .count();
        Ok((seen >= 3).then_some(()))
    })?;
    fixture
        .kubectl
        .delete(&["peontask", name, "--namespace", NAMESPACE])?;
    fixture.until_no_pod(NAMESPACE, name)?;
    let requests = audit::of_operator(own)?.split_off(before);
    let ours: Vec<&Request> = about(&requests, NAMESPACE, name).collect();
    let line = |r: &&Request| format!("{} {} {} -> {}", r.verb, r.resource, r.name, r.code);
    let writes: Vec<String> = ours.iter().filter(|r| r.is_write()).map(line).collect();
    println!(
        "write requests of a clean run: {}\n  {}",
        writes.len(),
        writes.join("\n  ")
    );
    ensure!(
        (5..=MOST_WRITES).contains(&writes.len()),
        "{} writes: {writes:?}",
        writes.len()
    );
    let refused: Vec<_> = ours.iter().filter(|r| r.code >= 400).map(line).collect();
    ensure!(refused.is_empty(), "requests for nothing: {refused:?}");
    let reads: Vec<_> = ours
        .iter()
        .filter(|r| matches!(r.verb.as_str(), "get" | "list"))
        .map(line)
        .collect();
    let stream = format!("get pods/log {name}-1 -> 200");
    ensure!(
        reads == [stream],
        "reads on the happy path, where the log's stream is the only one: {reads:?}"
    );
    Ok(())
}

type Right = (String, String, String);

/// What the release's roles grant to the operator.
fn granted(fixture: &Fixture) -> Result<BTreeSet<Right>> {
    let manifests = fixture.helm.manifests(RELEASE, OPERATOR_NAMESPACE)?;
    let documents: Vec<Value> =
        serde_yaml::from_multiple(&manifests).context("the chart's manifests are not YAML")?;
    let strings = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    // Other roles are for people, and bound to nobody.
    let bound: Vec<&Value> = documents
        .iter()
        .filter(|d| matches!(d["kind"].as_str(), Some("RoleBinding" | "ClusterRoleBinding")))
        .map(|binding| &binding["roleRef"])
        .collect();
    let is_bound = |role: &Value| {
        bound
            .iter()
            .any(|b| b["kind"] == role["kind"] && b["name"] == role["metadata"]["name"])
    };
    let mut rights = BTreeSet::new();
    for document in documents.iter().filter(|d| is_bound(d)) {
        for rule in document["rules"].as_array().into_iter().flatten() {
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    for verb in strings(&rule["verbs"]) {
                        rights.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    Ok(rights)
}

fn rights(fixture: &Fixture) -> Result<()> {
    let own = fixture.target.own().context("no cluster of our own")?;
    let requests = audit::of_operator(own)?;
    let is_of = |r: &Request| {
        (
            r.user.clone(),
            r.group.clone(),
            r.resource.clone(),
            r.verb.clone(),
        )
    };
    let allowed: BTreeSet<_> = requests.iter().filter(|r| !r.forbidden).map(is_of).collect();
    // With a VirtualMiddleManager its role binding goes, too, perhaps before its pod does: what a pod could do before is
    // no right that is missing.
    let is_missed =
        |r: &&Request| r.forbidden && (r.namespace == OPERATOR_NAMESPACE || !allowed.contains(&is_of(r)));
    let forbidden: Vec<&Request> = requests.iter().filter(is_missed).collect();
    ensure!(forbidden.is_empty(), "rights are missing: {forbidden:?}");
    let users: BTreeSet<&str> = requests.iter().map(|r| r.user.as_str()).collect();
    ensure!(
        users.iter().all(|u| u.starts_with("system:serviceaccount:")),
        "the operator ran with more than the chart's rights: {users:?}"
    );
    let right = |r: &Request, verb: &str| (r.group.clone(), r.resource.clone(), verb.to_owned());
    let mut used: BTreeSet<Right> = requests.iter().map(|r| right(r, &r.verb)).collect();
    // An apply that creates is a patch in the log, and takes the right to create.
    let created = requests.iter().filter(|r| r.verb == "patch" && r.code == 201);
    used.extend(created.map(|r| right(r, "create")));
    // Who creates a binding takes the right to bind its role; there is no request of that name.
    let rbac = "rbac.authorization.k8s.io".to_owned();
    if used.contains(&(rbac.clone(), "rolebindings".to_owned(), "create".to_owned())) {
        used.insert((rbac, "clusterroles".to_owned(), "bind".to_owned()));
    }
    let granted = granted(fixture)?;
    ensure!(
        granted.len() > 10,
        "the chart's roles were not found: {granted:?}"
    );
    let unused: Vec<&Right> = granted.difference(&used).collect();
    ensure!(unused.is_empty(), "granted and never used: {unused:?}");
    Ok(())
}
