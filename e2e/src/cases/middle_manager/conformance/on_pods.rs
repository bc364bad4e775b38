//! Druid's own client finds the workers on pods, with the rights that Druid's pods have. What it finds them with follows the
//! rules of Druid's extension (`druid/hrtr/PodDiscovery.java`), which the central Maven repository does not have.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Client, PASSWORD, Registry, USER, Workers, cluster, runs, text};
use crate::{
    cases::full,
    testbed::{
        fixture::{Fixture, LIMIT},
        images::Classes,
    },
};

/// The page with the service account of peons; overlords need two verbs more.
const PAGE: &str = include_str!("../../../../../docs/kubernetes-discovery.md");
/// Its name on that page.
const ACCOUNT: &str = "druid-peon";

/// With the classes of the Druid that all other cases use.
pub(super) fn all(fixture: &Fixture) -> Result<()> {
    run(fixture, Classes::Tested)
}

/// With those of the newest Druid that can be fetched.
pub(super) fn newest(fixture: &Fixture) -> Result<()> {
    run(fixture, Classes::Newest)
}

fn run(fixture: &Fixture, classes: Classes) -> Result<()> {
    let each = if full() { 100 } else { 5 };
    let workers = Workers::start_on_pods(fixture)?;
    let account = account(&workers)?;
    let registry = Registry::Pods(&account);
    let mut client = Client::start(classes, cluster(fixture)?, registry, (USER, PASSWORD), None)?;
    runs::exercise(&workers, &mut client, each, full())
}

/// Makes the service account of the page with the rights of an overlord; returns a folder with what a pod has of it.
fn account(workers: &Workers) -> Result<PathBuf> {
    let (fixture, namespace) = (workers.fixture, &workers.namespace);
    for mut object in documented()? {
        for rule in object
            .get_mut("rules")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if rule["resources"] == json!(["configmaps"]) {
                // It takes part in elections.
                rule["verbs"] = json!(["get", "list", "watch", "create", "update"]);
            }
        }
        fixture.apply(namespace, &object)?;
    }
    let at = ["--namespace", namespace];
    let token = fixture
        .kubectl
        .run(&[&["create", "token", ACCOUNT], &at[..]].concat())?;
    let authority = fixture.kubectl.wait_for(
        &[&["configmap", "kube-root-ca.crt"], &at[..]].concat(),
        LIMIT,
        |found| found["data"]["ca.crt"].is_string(),
    )?;
    let folder = cluster(fixture)?.scratch("hrtr-account")?;
    for (file, content) in [
        ("ca.crt", text(&authority["data"]["ca.crt"])),
        ("namespace", namespace.as_str()),
        ("token", token.trim()),
    ] {
        fs::write(folder.join(file), content)?;
    }
    Ok(folder)
}

/// The objects of the page: a service account, its role and its binding.
fn documented() -> Result<Vec<Value>> {
    let mut blocks = PAGE
        .split("```yaml\n")
        .filter_map(|rest| rest.split("```").next());
    let block = blocks
        .find(|block| block.contains("kind: ServiceAccount"))
        .context("the page has no service account")?;
    serde_yaml::from_multiple(block).context("the objects of the page are not YAML")
}
