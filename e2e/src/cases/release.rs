//! The chart's life: upgrade, uninstall and reinstall while a task runs.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, case};
use crate::{
    fixture::{Fixture, NAMESPACE, OPERATOR_NAMESPACE, RELEASE},
    samples,
};

pub(super) const CASES: [Case; 1] =
    [case("release::tasks_survive_upgrade_uninstall_and_reinstall", survives).alone()];

fn survives(fixture: &Fixture) -> Result<()> {
    let install = |values: &[&str]| {
        fixture
            .helm
            .install(RELEASE, OPERATOR_NAMESPACE, &fixture.operator_image, values)
    };
    install(&["replicas=1"])?;
    let name = "outlives-the-chart";
    let mut task = samples::noop(name)?;
    task["spec"]["task"]["runTime"] = json!(40_000);
    fixture.apply(NAMESPACE, &task)?;
    let task = fixture.until(NAMESPACE, name, |s| s["phase"] == "Running")?;
    let pod_name = task["status"]["podName"]
        .as_str()
        .context("no podName")?
        .to_owned();
    let pod = || {
        fixture
            .kubectl
            .get_json(&["pod", &pod_name, "--namespace", NAMESPACE])
    };
    let crds = || -> Result<Vec<Value>> {
        let crds = fixture
            .kubectl
            .get_json(&["crd", "peontasks.peon.dev", "peontemplates.peon.dev"])?;
        Ok(crds["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| c["metadata"]["uid"].clone())
            .collect())
    };
    let pod_uid = pod()?["metadata"]["uid"].clone();
    let crd_uids = crds()?;
    let running = |when: &str| -> Result<()> {
        let pod = pod().with_context(|| format!("the pod is gone {when}"))?;
        ensure!(
            pod["metadata"]["uid"] == pod_uid && pod["status"]["phase"] == "Running",
            "{when}: {}",
            pod["status"]
        );
        ensure!(crds()? == crd_uids, "the CRDs are others {when}");
        Ok(())
    };
    install(&["replicas=2", "log.format=json"])?;
    running("after the upgrade")?;
    fixture.helm.uninstall(RELEASE, OPERATOR_NAMESPACE)?;
    running("after uninstalling")?;
    let task = fixture.get(NAMESPACE, name)?;
    ensure!(
        task["status"]["phase"] == "Running",
        "after uninstalling: {}",
        task["status"]
    );
    install(&["replicas=2"])?;
    running("after reinstalling")?;
    let task = fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    ensure!(
        task["status"]["podUid"] == pod_uid,
        "another pod: {}",
        task["status"]
    );
    Ok(())
}
