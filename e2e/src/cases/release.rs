//! The chart's life: upgrade, uninstall and reinstall while a task runs.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::testbed::{
    druid::{
        middle_manager::{MiddleManager, NAME},
        samples,
    },
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
    case(
        "release::tasks_survive_the_chart_and_nothing_is_stuck_without_it",
        survives,
    )
    .turn(Turn::Alone),
    case(
        "release::an_administrator_of_a_namespace_may_create_all_of_its_part",
        installed_by_an_administrator_of_a_namespace,
    )
    .turn(Turn::Alone),
];

/// Identities of the VirtualMiddleManager.
const IDENTITIES: usize = 2;
/// Tasks in a namespace that goes.
const FILL: usize = 2;

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

/// One task outlives an upgrade, the removal and the return of the chart, which is not removed while an overlord has workers.
/// Meanwhile two namespaces full of tasks go: one while the operator runs, the other when the chart is gone, and the operator
/// was down before that.
fn survives(fixture: &Fixture) -> Result<()> {
    let install = |values: &[&str]| {
        fixture
            .helm
            .install(RELEASE, OPERATOR_NAMESPACE, &fixture.operator_image, values)
    };
    install(&["replicas=1"])?;
    let said = fixture.helm.test(RELEASE, OPERATOR_NAMESPACE)?;
    ensure!(said.contains("Phase:          Succeeded"), "{said}");
    // All their peons start at the same time.
    let (first, orphaned) = (
        fill(fixture, "with-operator")?,
        fill(fixture, "without-operator")?,
    );
    for namespace in [&first, &orphaned] {
        for at in 0..FILL {
            fixture.until_running(namespace, &format!("running-{at}"))?;
        }
    }
    until_gone(fixture, &first)?;
    let name = "outlives-the-chart";
    let mut task = samples::noop(name)?;
    task["spec"]["task"]["runTime"] = json!(60_000);
    fixture.apply(NAMESPACE, &task)?;
    let task = fixture.until_running(NAMESPACE, name)?;
    let outliving = Outliving::of(fixture, &task)?;
    install(&["replicas=2", "log.format=json"])?;
    outliving.is_untouched("after the upgrade")?;
    stays_while_it_is_needed(fixture)?;
    outliving.is_untouched("after an attempt to uninstall")?;
    fixture.kubectl.run(&[
        "scale",
        "deployment",
        RELEASE,
        "--replicas=0",
        "--namespace",
        OPERATOR_NAMESPACE,
    ])?;
    fixture.helm.uninstall(RELEASE, OPERATOR_NAMESPACE)?;
    outliving.is_untouched("after uninstalling")?;
    let task = fixture.get(NAMESPACE, name)?;
    ensure!(
        task["status"]["phase"] == "Running",
        "after uninstalling: {}",
        task["status"]
    );
    fixture
        .kubectl
        .delete(&["peontask", "running-0", "--namespace", &orphaned])?;
    until_gone(fixture, &orphaned)?;
    install(&["replicas=2"])?;
    drop(MiddleManager::start(fixture)?);
    // It may have ended while there was no operator.
    ensure!(
        crds(fixture)? == outliving.crds,
        "the CRDs are others after reinstalling"
    );
    let task = fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    ensure!(
        task["status"]["run"]["podUID"] == outliving.uid,
        "another pod: {}",
        task["status"]
    );
    Ok(())
}

/// With a VirtualMiddleManager and a pool, the chart stays, and so do the overlord's workers. Without them nothing is
/// announced.
fn stays_while_it_is_needed(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let workers = manager.until_workers(IDENTITIES)?;
    let spec = json!({
        "templateRef": {"name": "default"}, "middleManagerRef": {"name": NAME}, "replicas": 0, "maxIndexers": 1,
        "resources": {"limits": {"memory": "640Mi", "cpu": "1"}},
    });
    fixture.apply(NAMESPACE, &samples::pool("idle", &spec))?;
    let Err(refused) = fixture.helm.uninstall(RELEASE, OPERATOR_NAMESPACE) else {
        bail!("uninstalled while an overlord has workers");
    };
    let hook = format!("{RELEASE}-uninstall-check");
    ensure!(refused.to_string().contains(&hook), "{refused:#}");
    let log = ["logs", &hook, "--namespace", OPERATOR_NAMESPACE];
    let said = fixture.kubectl.run(&log)?;
    for kind in ["VirtualMiddleManager", "IndexerPool"] {
        ensure!(said.contains(&format!("{kind} {NAMESPACE}/")), "{said}");
    }
    ensure!(
        manager.until_workers(IDENTITIES)?.len() == workers.len(),
        "other workers"
    );
    fixture
        .kubectl
        .delete(&["indexerpool", "idle", "--namespace", NAMESPACE])?;
    drop(manager);
    wait_until(LIMIT, "the overlord to have no workers", || {
        let workers = fixture.druid.get("/druid/indexer/v1/workers")?;
        Ok(workers.as_array().is_some_and(Vec::is_empty).then_some(()))
    })
}

/// The API server decides about rights, and about the rights that a role gives, in a dry run as well: no second operator
/// is needed.
fn installed_by_an_administrator_of_a_namespace(fixture: &Fixture) -> Result<()> {
    fixture.helm.install(
        RELEASE,
        OPERATOR_NAMESPACE,
        &fixture.operator_image,
        &["replicas=1"],
    )?;
    let (kubectl, run) = (&fixture.kubectl, &fixture.run);
    let namespace = fixture.namespace("by-its-admin")?;
    let user = format!("admin-{run}");
    let cluster = format!("part-{run}");
    let role = [
        "--show-only",
        "templates/installer.yaml",
        "--set",
        "parts=cluster",
    ];
    kubectl.apply(&fixture.helm.template(&cluster, OPERATOR_NAMESPACE, &role)?)?;
    let installer = format!("{cluster}-peon-operator-installer");
    let bind = |role: &str| {
        let (role, user) = (format!("--clusterrole={role}"), format!("--user={user}"));
        let name = format!("{}-{run}", role.trim_start_matches("--clusterrole="));
        let args = [
            "create",
            "rolebinding",
            &name,
            &role,
            &user,
            "--namespace",
            &namespace,
        ];
        kubectl.run(&args).map(drop)
    };
    bind("admin")?;
    let part = ["--set", "parts=namespace,scope=namespace"];
    let part = fixture.helm.template("peons", &namespace, &part)?;
    let create = ["create", "--dry-run=server", "--as", &user, "--filename", "-"];
    let refused = kubectl.run_with_input(&create, &part);
    let said = format!("{refused:?}");
    ensure!(refused.is_err() && said.contains("attempting to grant"), "{said}");
    bind(&installer)?;
    // A right holds a moment after it was given.
    let created = wait_until(LIMIT, "all objects to be allowed", || {
        Ok(kubectl.run_with_input(&create, &part).ok())
    })?;
    ensure!(
        created.contains("deployment.apps/peons-peon-operator"),
        "{created}"
    );
    kubectl.run(&["delete", "clusterrole", &installer]).map(drop)
}

/// A namespace with tasks that run for long.
fn fill(fixture: &Fixture, name: &str) -> Result<String> {
    let namespace = fixture.namespace(name)?;
    // A noop heeds no signal.
    let mut template = fixture.bare_sample()?;
    template["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(2);
    fixture.apply(&namespace, &template)?;
    for at in 0..FILL {
        let mut task = samples::noop(&format!("running-{at}"))?;
        task["spec"]["task"]["runTime"] = json!(600_000);
        fixture.apply(&namespace, &task)?;
    }
    Ok(namespace)
}

fn until_gone(fixture: &Fixture, namespace: &str) -> Result<()> {
    fixture
        .kubectl
        .delete(&["namespace", namespace, "--wait=false"])?;
    wait_until(LIMIT, &format!("{namespace} to go"), || {
        let args = ["get", "namespace", namespace, "--ignore-not-found", "-o", "name"];
        Ok(fixture.kubectl.run(&args)?.is_empty().then_some(()))
    })
}

/// The pod of a task that runs on, whatever happens to the chart.
struct Outliving<'a> {
    fixture: &'a Fixture,
    name: String,
    uid: Value,
    crds: Vec<Value>,
}

impl<'a> Outliving<'a> {
    fn of(fixture: &'a Fixture, task: &Value) -> Result<Self> {
        let name = task["status"]["run"]["pod"]
            .as_str()
            .context("no status.run.pod")?;
        let mut outliving = Self {
            fixture,
            name: name.to_owned(),
            uid: Value::Null,
            crds: crds(fixture)?,
        };
        outliving.uid = outliving.pod()?["metadata"]["uid"].clone();
        Ok(outliving)
    }

    fn pod(&self) -> Result<Value> {
        self.fixture
            .kubectl
            .get_json(&["pod", &self.name, "--namespace", NAMESPACE])
    }

    fn is_untouched(&self, when: &str) -> Result<()> {
        let pod = self.pod().with_context(|| format!("the pod is gone {when}"))?;
        ensure!(
            pod["metadata"]["uid"] == self.uid && pod["status"]["phase"] == "Running",
            "{when}: {}",
            pod["status"]
        );
        ensure!(crds(self.fixture)? == self.crds, "the CRDs are others {when}");
        Ok(())
    }
}

fn crds(fixture: &Fixture) -> Result<Vec<Value>> {
    let crds = fixture
        .kubectl
        .get_json(&["crd", "peontasks.peon.dev", "peontemplates.peon.dev"])?;
    let all = crds["items"].as_array().into_iter().flatten();
    Ok(all.map(|c| c["metadata"]["uid"].clone()).collect())
}
