//! What a measurement needs: the fake node, custom resources, access rights, and the objects of a sample task.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Plan, operator::Operator, payload, pool::Size, way::Way};
use crate::bench::optimised;
use crate::testbed::{
    cluster::{Cluster, Component},
    exec,
    helm::Helm,
    json::list,
    kubectl::Kubectl,
    kwok::FakeNode,
    outside::write_kubeconfig,
};

/// Namespace of service accounts and lease.
pub(super) const SYSTEM: &str = "bench-system";
/// Template of tasks whose pods run until they are told to end.
pub(super) const LIVE: &str = "live";
/// The task whose ConfigMap and pod are the samples.
const SAMPLE: &str = "sample-of-the-bench";
const FAKE_NODE: &str = "fake-node";

/// The Job controller with as many requests and workers as it can use: its defaults are for small clusters.
const CONTROLLERS: [&str; 3] = [
    "--kube-api-qps=2000",
    "--kube-api-burst=4000",
    "--concurrent-job-syncs=50",
];

/// A cluster that is ready to be measured.
pub(super) struct Ground<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) kubectl: Kubectl,
    pub(super) node: FakeNode,
    pub(super) folder: PathBuf,
    /// The operator's program, and another build of it.
    operator: PathBuf,
    other: Option<PathBuf>,
    /// With the rights that the chart gives the operator.
    pub(super) kubeconfig: PathBuf,
    /// With all rights, by a token as the operator's.
    client: PathBuf,
    /// The Druid task that is run.
    task: Value,
    /// Of the pool.
    pub(super) size: Size,
}

impl<'a> Ground<'a> {
    pub(super) fn prepare(cluster: &'a Cluster, plan: &Plan) -> Result<Self> {
        cluster.restart_with(Component::ControllerManager, &CONTROLLERS)?;
        let kubectl = cluster.kubectl();
        let folder = cluster.scratch("bench")?;
        let helm = Helm::on(cluster);
        let values = [
            "serviceAccount.name=operator",
            "fullnameOverride=operator",
            "replicas=1",
        ];
        // It runs on the machine; only its rights are wanted.
        helm.install_unready("operator", SYSTEM, "no-image:none", &values)?;
        kubectl.run(&[
            "scale",
            "deployment",
            "operator",
            "--replicas=0",
            "--namespace",
            SYSTEM,
        ])?;
        kubectl.apply(&access().to_string())?;
        let ground = Self {
            operator: optimised("peon-operator")?,
            other: plan.other.clone(),
            kubeconfig: folder.join("operator"),
            client: folder.join("client"),
            node: FakeNode::start_on_loopback(cluster)?,
            task: payload::task(plan.payload),
            size: plan.pool,
            cluster,
            kubectl,
            folder,
        };
        for (account, file) in [("operator", &ground.kubeconfig), ("bench", &ground.client)] {
            ground.act_as(account, SYSTEM, file)?;
        }
        ground.kubectl.apply(&trivial_kind().to_string())?;
        for way in Way::ALL {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": way.namespace()}});
            ground.kubectl.apply(&namespace.to_string())?;
        }
        ground.template(Way::Operator, "default", true)?;
        ground.template(Way::Operator, LIVE, false)?;
        ground.template(Way::Pool, "default", true)?;
        ground.write_objects("none", &json!({}), &json!({}))?;
        ground.take_samples()?;
        Ok(ground)
    }

    /// The operator that a way runs.
    pub(super) fn program(&self, way: Way) -> &Path {
        match &self.other {
            Some(other) if way == Way::Other => other,
            _ => &self.operator,
        }
    }

    /// Writes a kubeconfig with the rights of this service account.
    pub(super) fn act_as(&self, account: &str, namespace: &str, file: &Path) -> Result<()> {
        let token = [
            "create",
            "token",
            account,
            "--duration=8h",
            "--namespace",
            namespace,
        ];
        let token = self.kubectl.run(&token)?;
        write_kubeconfig(&self.cluster.kubeconfig(), token.trim(), file)
    }

    /// `run_tasks` with these arguments; what it prints.
    pub(super) fn run_tasks(&self, args: &[&str]) -> Result<Value> {
        run_tasks_as(&self.client, args)
    }

    /// Deletes all that a way made.
    pub(super) fn clean(&self, way: Way) -> Result<()> {
        self.run_tasks(&["clean", way.name(), &way.namespace()]).map(drop)
    }

    /// The file with the objects of tasks: of usual ones, or of those that run until they are told to end.
    pub(super) fn objects(&self, live: bool) -> String {
        let name = if live { "live.json" } else { "objects.json" };
        self.folder.join(name).display().to_string()
    }

    fn template(&self, way: Way, name: &str, ends: bool) -> Result<()> {
        let mut pod = json!({});
        self.node.place(&mut pod, ends);
        // No scheduler takes part.
        pod["spec"]["nodeName"] = json!(FAKE_NODE);
        let spec = json!({
            "image": "docker.io/apache/druid:33.0.0",
            "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "512Mi", "cpu": "1"}},
            // A pod that runs nothing has no log.
            "logs": {"collect": "None"},
            "template": pod,
        });
        let metadata = json!({"name": name, "namespace": way.namespace()});
        let template = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": metadata, "spec": spec,
        });
        self.kubectl.apply(&template.to_string())
    }

    fn write_objects(&self, name: &str, pod: &Value, config_map: &Value) -> Result<()> {
        for live in [false, true] {
            let mut spec = json!({"task": self.task});
            if live {
                spec["templateRef"] = json!({"name": LIVE});
            }
            let task = json!({
                "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": name}, "spec": spec,
            });
            let objects = json!({
                "name": name, "peonTask": task.to_string(), "pod": pod.to_string(), "configMap": config_map.to_string(),
            });
            fs::write(self.objects(live), objects.to_string())?;
        }
        Ok(())
    }

    /// Has the operator run a task, and takes its pod and its ConfigMap for those of all other ways.
    fn take_samples(&self) -> Result<()> {
        let mut operator = Operator::start(self, Way::Operator)?;
        let namespace = Way::Operator.namespace();
        let objects = self.objects(false);
        let args = ["run", "operator", &namespace, "1", "--prefix", SAMPLE];
        self.run_tasks(&[&args[..], &["--objects", &objects]].concat())?;
        let one = |kind: &str| -> Result<Value> {
            let args = [kind, "--namespace", &namespace];
            let found = list(&self.kubectl.get_json(&args)?["items"]);
            let of_task = |object: &Value| {
                let owners = list(&object["metadata"]["ownerReferences"]);
                owners.iter().any(|owner| owner["kind"] == "PeonTask")
            };
            let found = found.into_iter().find(of_task);
            found
                .map(bare)
                .with_context(|| format!("the sample has no {kind}"))
        };
        self.write_objects(&format!("{SAMPLE}-0"), &one("pod")?, &one("configmap")?)?;
        self.clean(Way::Operator)?;
        operator.stop()
    }
}

/// `run_tasks` with these arguments and the rights of this kubeconfig; what it prints.
pub(super) fn run_tasks_as(kubeconfig: &Path, args: &[&str]) -> Result<Value> {
    let mut program = Command::new(optimised("run_tasks")?);
    program.env("KUBECONFIG", kubeconfig).args(args);
    let said = exec::output(&mut program)?;
    serde_json::from_str(&said).context(said)
}

/// Without what the API server and kwok have set.
fn bare(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| ["name", "labels", "annotations"].contains(&field.as_str()));
    }
    object
}

/// The service account of `run_tasks`.
fn access() -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bench", "namespace": SYSTEM}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "bench", "namespace": SYSTEM}],
        },
    ]})
}

/// The custom resource of the way with trivial objects: any spec, any status, no rules.
fn trivial_kind() -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "benchtasks.bench.peon.dev"},
        "spec": {
            "group": "bench.peon.dev", "scope": "Namespaced",
            "names": {"plural": "benchtasks", "singular": "benchtask", "kind": "BenchTask", "listKind": "BenchTaskList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    })
}
