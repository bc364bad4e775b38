//! The chart's life: upgrade, uninstall and reinstall while a task runs.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::testbed::{
    druid::samples,
    fixture::{Fixture, LIMIT, NAMESPACE, OPERATOR_NAMESPACE, RELEASE},
    proxy::Proxy,
    wait::wait_until,
};

pub(super) const CASES: [Case; 3] = [
    case(
        "release::an_operator_without_custom_resources_waits_for_them",
        waits_for_crds,
    )
    .turn(Turn::First),
    case("release::nothing_is_stuck_without_an_operator", nothing_stuck).turn(Turn::Alone),
    case("release::tasks_survive_upgrade_uninstall_and_reinstall", survives).turn(Turn::Alone),
];

fn waits_for_crds(fixture: &Fixture) -> Result<()> {
    fixture.helm.install_unready(
        RELEASE,
        OPERATOR_NAMESPACE,
        &fixture.operator_image,
        &["replicas=1", "crds.install=false"],
    )?;
    let args = [
        "pod",
        "--selector=app.kubernetes.io/name=peon-operator",
        "--namespace",
        OPERATOR_NAMESPACE,
    ];
    let running =
        |pods: &Value| pods["items"][0]["status"]["containerStatuses"][0]["state"]["running"].is_object();
    let pods = fixture.kubectl.wait_for(&args, LIMIT, running)?;
    let pod = pods["items"][0]["metadata"]["name"]
        .as_str()
        .context("no pod")?
        .to_owned();
    let probe = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod}:8080/proxy");
    // `kubectl get --raw` would not show what a refusal says.
    let proxy = Proxy::start(&fixture.kubectl)?;
    let get = |path: &str| proxy.request("GET", &format!("{probe}{path}"), None);
    wait_until(LIMIT, "/livez", || Ok(get("/livez").ok()))?;
    wait_until(LIMIT, "/readyz to name the custom resources", || {
        match get("/readyz") {
            Ok(said) => bail!("ready without custom resources: {said}"),
            Err(error) => Ok(format!("{error:#}").contains("not installed").then_some(())),
        }
    })?;
    fixture.helm.install(
        RELEASE,
        OPERATOR_NAMESPACE,
        &fixture.operator_image,
        &["replicas=1"],
    )?;
    wait_until(LIMIT, "/readyz", || Ok(get("/readyz").ok()))?;
    let pods = fixture
        .kubectl
        .get_json(&["pod", &pod, "--namespace", OPERATOR_NAMESPACE])?;
    let restarts = &pods["status"]["containerStatuses"][0]["restartCount"];
    ensure!(*restarts == 0, "it was restarted {restarts} times");
    let metrics = get("/metrics")?;
    ensure!(
        metrics.contains("peon_operator_leader") && metrics.contains("peon_operator_api_requests_total"),
        "{metrics}"
    );
    Ok(())
}

fn survives(fixture: &Fixture) -> Result<()> {
    let install = |values: &[&str]| {
        fixture
            .helm
            .install(RELEASE, OPERATOR_NAMESPACE, &fixture.operator_image, values)
    };
    install(&["replicas=1"])?;
    let name = "outlives-the-chart";
    let mut task = samples::noop(name)?;
    task["spec"]["task"]["runTime"] = json!(90_000);
    fixture.apply(NAMESPACE, &task)?;
    let task = fixture.until_running(NAMESPACE, name)?;
    let pod_name = task["status"]["run"]["pod"]
        .as_str()
        .context("no status.run.pod")?
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
        task["status"]["run"]["podUID"] == pod_uid,
        "another pod: {}",
        task["status"]
    );
    Ok(())
}

/// Two namespaces full of tasks: one goes while the operator runs, the other when the chart is gone, and the operator was
/// down before that.
fn nothing_stuck(fixture: &Fixture) -> Result<()> {
    let install = || {
        fixture.helm.install(
            RELEASE,
            OPERATOR_NAMESPACE,
            &fixture.operator_image,
            &["replicas=1"],
        )
    };
    install()?;
    let fill = |name: &str| -> Result<String> {
        let namespace = fixture.namespace(name)?;
        for at in 0..2 {
            let mut task = samples::noop(&format!("running-{at}"))?;
            task["spec"]["task"]["runTime"] = json!(600_000);
            fixture.apply(&namespace, &task)?;
        }
        Ok(namespace)
    };
    let until_full = |namespace: &str| -> Result<()> {
        for at in 0..2 {
            let running = |s: &Value| s["phase"] == "Running";
            fixture.until(namespace, &format!("running-{at}"), running)?;
        }
        Ok(())
    };
    let gone = |namespace: &str| -> Result<()> {
        fixture
            .kubectl
            .delete(&["namespace", namespace, "--wait=false"])?;
        wait_until(LIMIT, &format!("{namespace} to go"), || {
            let args = ["get", "namespace", namespace, "--ignore-not-found", "-o", "name"];
            Ok(fixture.kubectl.run(&args)?.is_empty().then_some(()))
        })
    };
    // All their peons start at the same time.
    let (first, orphaned) = (fill("with-operator")?, fill("without-operator")?);
    until_full(&first)?;
    until_full(&orphaned)?;
    gone(&first)?;
    let scale = [
        "scale",
        "deployment",
        RELEASE,
        "--replicas=0",
        "--namespace",
        OPERATOR_NAMESPACE,
    ];
    fixture.kubectl.run(&scale)?;
    fixture.helm.uninstall(RELEASE, OPERATOR_NAMESPACE)?;
    let one = ["peontask", "running-0", "--namespace", &orphaned];
    fixture.kubectl.delete(&one)?;
    gone(&orphaned)?;
    install()
}
