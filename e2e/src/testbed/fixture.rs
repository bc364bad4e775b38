//! What the cases share: a cluster with a real Druid, the operator installed by its chart, and a run's own names.

mod templates;

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::testbed::{
    cache::Cache,
    cluster::{Cluster, SecondNode},
    druid::{Druid, STORAGE_PATH, Settings, samples},
    exec,
    helm::Helm,
    images::Image,
    kubectl::{self, Kubectl},
    progress::Progress,
    target::Target,
};

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "peon-e2e-system";
/// Release of the operator.
pub const RELEASE: &str = "peon-operator";
/// Namespace of the Druid that all cases use but those of lanes, and of the tasks beside it.
pub const NAMESPACE: &str = "peon-e2e";

/// What names of lanes begin with, after the namespace of all others.
const LANE: &str = "lane-";

/// `druid.indexer.logs.directory` of Druid and of the operator.
const LOGS_DIRECTORY: &str = "/opt/druid/var/druid-storage/indexing-logs";

/// Label of the namespaces of single cases.
const OF_A_CASE: &str = "peon.dev/e2e-case";

/// Deadline for anything that involves a peon. Generous: two cores may be shared with other things.
pub const LIMIT: Duration = Duration::from_secs(900);

/// Everything that a case needs.
#[derive(Debug)]
pub struct Fixture {
    /// The cluster.
    pub target: Arc<Target>,
    /// kubectl with the administrator's rights.
    pub kubectl: Kubectl,
    /// helm.
    pub helm: Helm,
    /// The real Druid.
    pub druid: Druid,
    /// Name of the operator's image.
    pub operator_image: String,
    /// Name of the Druid image.
    pub druid_image: String,
    /// Whether the JVMs of tasks use the class-data archive of the Druid image.
    class_archive: bool,
    /// A part for names of this run. An overlord never forgets an id, and a task that it thinks pending holds its
    /// interval's lock for ever, so ids and datasources must be new in each run.
    pub run: String,
}

impl Fixture {
    /// Builds images and deploys Druid into a cluster that is up.
    ///
    /// # Errors
    /// When any of it fails.
    pub fn prepare(target: Target, cache: &Cache, progress: &Progress) -> Result<Self> {
        let kubectl = target.kubectl().reading_through_a_proxy()?;
        let helm = Helm::of(&target);
        if target.own().is_none() {
            for namespace in [NAMESPACE, OPERATOR_NAMESPACE] {
                if kubectl.run(&["get", "namespace", namespace]).is_ok() {
                    bail!("the namespace {namespace} exists: if an earlier run left it, delete it first");
                }
            }
        }
        let druid_image = target.image(Image::Druid, cache, progress)?;
        let operator_image = target.image(Image::Operator, cache, progress)?;
        let druid = Druid::deploy(&target, NAMESPACE, &druid_image, progress)?;
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let run = format!("{seconds:x}");
        Ok(Self {
            target: Arc::new(target),
            kubectl,
            helm,
            druid,
            operator_image,
            druid_image,
            class_archive: false,
            run,
        })
    }

    /// Has the JVMs of tasks start with the class-data archive of the Druid image, which takes less of the machine; one
    /// that is not there is ignored. Demo and benches do without: no published image has it.
    #[must_use]
    pub fn with_class_archive(mut self) -> Self {
        self.class_archive = true;
        self
    }

    /// A lane: the same cluster, operator and images, with a namespace and a Druid of its own, so that cases which change
    /// or kill workers or overlord run beside cases that need them. Logs and segments are where those of all others are.
    ///
    /// # Errors
    /// When its Druid does not start.
    pub fn lane(&self, name: &str) -> Result<Self> {
        let namespace = format!("{NAMESPACE}-{LANE}{name}");
        let settings = Settings {
            storage: NAMESPACE,
            // An assignment that was lost with a process is given up after this; other assignments take a second.
            assignment_timeout: "PT1M",
            // All lanes and the peons of their cases are on one node. Where they request more than it has, operator and
            // workers have peons evicted (`Preempted`).
            overlord_cpu: "100m",
            zookeeper_cpu: "10m",
        };
        let lane = Self {
            target: Arc::clone(&self.target),
            kubectl: self.kubectl.clone(),
            helm: self.helm.clone(),
            druid: Druid::deploy_with(&self.target, &namespace, &self.druid_image, &settings)?,
            operator_image: self.operator_image.clone(),
            druid_image: self.druid_image.clone(),
            class_archive: self.class_archive,
            run: self.run.clone(),
        };
        let mut template = lane.sample()?;
        template["spec"]["resources"]["requests"]["cpu"] = json!("50m");
        lane.apply(&namespace, &template)?;
        Ok(lane)
    }

    /// Ends the Druids of all lanes, so that cases after theirs have the machine for themselves.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn end_lanes(&self) -> Result<()> {
        let namespaces = self.kubectl.run(&["get", "namespaces", "-o", "name"])?;
        let of_lane = |name: &&str| name.starts_with(&format!("namespace/{NAMESPACE}-{LANE}"));
        for namespace in namespaces.lines().filter(of_lane) {
            let namespace = namespace.trim_start_matches("namespace/");
            let end = ["scale", "deployment", "overlord", "zookeeper", "--replicas=0"];
            self.kubectl
                .run(&[&end[..], &["--namespace", namespace]].concat())?;
        }
        Ok(())
    }

    /// Namespace of its Druid and of the tasks beside that.
    #[must_use]
    pub fn home(&self) -> &str {
        self.druid.namespace()
    }

    /// Gives the cluster back.
    ///
    /// # Errors
    /// When a lane still has it.
    pub fn into_target(self) -> Result<Target> {
        let Self { target, druid, .. } = self;
        // Its connection ends with it, before the cluster does.
        drop(druid);
        Arc::into_inner(target).context("a lane still uses the cluster")
    }

    /// Installs the operator by its chart, and the template that tasks beside Druid use.
    ///
    /// # Errors
    /// When helm or the API server refuse.
    pub fn install(&self, progress: &Progress) -> Result<()> {
        let step = progress.step("peon-operator");
        let logs = self.logs()?;
        // As much of a busy machine as a peon has: the operator renews its lease beside peons that start.
        let mut values = vec![
            "replicas=1",
            "resources.requests.cpu=250m",
            "middleManagers.submissions=true",
            "middleManagers.kubernetesDiscovery=true",
        ];
        values.extend(logs.iter().map(String::as_str));
        self.helm
            .install(RELEASE, OPERATOR_NAMESPACE, &self.operator_image, &values)?;
        step.done("installed by helm");
        self.apply(self.home(), &self.sample()?)
    }

    /// The chart's values by which logs are archived where the overlord reads them; none on a foreign cluster, where the
    /// operator cannot mount the overlord's volume.
    fn logs(&self) -> Result<Vec<String>> {
        let Some(own) = self.target.own() else {
            return Ok(Vec::new());
        };
        let folder = Self::storage_folder_in(own)?;
        let volume = json!({"hostPath": {"path": folder, "type": "Directory"}});
        let properties = format!(
            "{}\ndruid.indexer.logs.type=file\ndruid.indexer.logs.directory={LOGS_DIRECTORY}\n",
            include_str!("../../../config/runtime.properties")
        );
        Ok(vec![
            format!("logs.volume={volume}"),
            format!("logs.mountPath={STORAGE_PATH}"),
            "logs.flushSeconds=2".to_owned(),
            // Files of one user: the sidecars' is the peons'.
            "podSecurityContext.runAsUser=1000".to_owned(),
            "podSecurityContext.runAsGroup=1000".to_owned(),
            format!("runtimeProperties={}", json!(properties)),
        ])
    }

    /// What is in the log, or report, that was archived for a task; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn archived(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let folder = self.logs_folder()?;
        match std::fs::read(folder.join(file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(file.to_owned()),
        }
    }

    /// The folder of archived logs, on this machine.
    ///
    /// # Errors
    /// When the cluster is not our own.
    pub fn logs_folder(&self) -> Result<PathBuf> {
        let folder = self.storage_folder()?;
        let logs = LOGS_DIRECTORY
            .strip_prefix(STORAGE_PATH)
            .context("another folder")?;
        Ok(folder.join(logs.trim_start_matches('/')))
    }

    /// The folder of this machine with the deep storage of the Druids of all cases.
    ///
    /// # Errors
    /// When the cluster is not our own.
    pub fn storage_folder(&self) -> Result<PathBuf> {
        let own = self.target.own().context("no cluster of our own")?;
        Self::storage_folder_in(own)
    }

    fn storage_folder_in(own: &Cluster) -> Result<PathBuf> {
        Druid::storage_folder(own, NAMESPACE)
    }

    /// Leaves a foreign cluster as it was, but for the CRDs, which may hold other people's tasks.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self, progress: &Progress) -> Result<()> {
        let step = progress.step("what this run made");
        self.kubectl.delete(&["namespace", "--selector", OF_A_CASE])?;
        self.kubectl.delete(&["namespace", NAMESPACE])?;
        self.helm.uninstall(RELEASE, OPERATOR_NAMESPACE)?;
        self.kubectl.delete(&["namespace", OPERATOR_NAMESPACE])?;
        step.done("removed (the custom resource definitions stay)");
        Ok(())
    }

    /// Creates a namespace of its own for a case, at the `restricted` Pod Security level, with the template
    /// `default`, which has no deep storage.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn namespace(&self, name: &str) -> Result<String> {
        let name = format!("{name}-{}", self.run);
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", OF_A_CASE: "true"});
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        self.kubectl.apply(&namespace.to_string())?;
        self.apply(&name, &self.bare_sample()?)?;
        Ok(name)
    }

    /// The second node of our own cluster, for as long as the value lives.
    ///
    /// # Errors
    /// When it cannot be brought up.
    pub fn second_node(&self) -> Result<SecondNode<'_>> {
        self.target.own().context("no cluster of our own")?.second_node()
    }

    /// Applies an object in a namespace.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn apply(&self, namespace: &str, object: &Value) -> Result<()> {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!(namespace);
        self.kubectl.apply(&object.to_string())
    }

    /// Applies a PeonTask with this spec.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn task(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        let task = json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": name}, "spec": spec});
        self.apply(namespace, &task)
    }

    /// Runs `kubectl peon` of this checkout and returns what it prints.
    ///
    /// # Errors
    /// When it fails; the error holds its standard error.
    pub fn peon(&self, args: &[&str]) -> Result<String> {
        exec::output(self.peon_command()?.args(args))
    }

    /// Runs `kubectl peon` with `input` on its standard input.
    ///
    /// # Errors
    /// As [`Self::peon`].
    pub fn peon_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        exec::output_with_input(self.peon_command()?.args(args), input)
    }

    /// `kubectl peon` of this checkout, to be completed and run.
    ///
    /// # Errors
    /// When this program does not know where it is.
    pub fn peon_command(&self) -> Result<Command> {
        let mut command = Command::new(env::current_exe()?.with_file_name("kubectl-peon"));
        if let Some(own) = self.target.own() {
            command.env("KUBECONFIG", own.kubeconfig());
        }
        command.env("PEON_OPERATOR_NAMESPACE", OPERATOR_NAMESPACE);
        Ok(command)
    }

    /// Changes the spec of a PeonTask.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn change(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.change_of("peontask", namespace, name, spec)
    }

    /// As [`Self::change`], of an object of this kind.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub(crate) fn change_of(&self, kind: &str, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        let patch = json!({ "spec": spec }).to_string();
        let args = [
            "patch",
            kind,
            name,
            "--type=merge",
            "--patch",
            &patch,
            "--namespace",
            namespace,
        ];
        self.kubectl.run(&args).map(drop)
    }

    /// The pod of a task's current attempt.
    ///
    /// # Errors
    /// When it has none.
    pub fn pod_of(&self, namespace: &str, name: &str) -> Result<Value> {
        let task = self.get(namespace, name)?;
        let pod = task["status"]["run"]["pod"]
            .as_str()
            .context("no status.run.pod")?;
        self.kubectl.get_json(&["pod", pod, "--namespace", namespace])
    }

    /// Evicts a pod through the eviction API, as `kubectl drain` does.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn evict(&self, namespace: &str, pod: &str) -> Result<()> {
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        self.kubectl
            .run_with_input(&["create", "--raw", &path, "-f", "-"], &eviction.to_string())
            .map(drop)
    }

    /// A PeonTask as it is now.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, namespace: &str, name: &str) -> Result<Value> {
        self.kubectl
            .get_json(&["peontask", name, "--namespace", namespace])
    }

    /// Waits until a PeonTask is as wanted.
    ///
    /// # Errors
    /// After [`LIMIT`], with its last status.
    pub fn until(&self, namespace: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let args = ["peontask", name, "--namespace", namespace];
        self.kubectl
            .wait_for(&args, LIMIT, |task| wanted(&task["status"]))
    }

    /// Waits until a PeonTask runs.
    ///
    /// # Errors
    /// After [`LIMIT`], and at once when the task ends first.
    pub fn until_running(&self, namespace: &str, name: &str) -> Result<Value> {
        let task = self.until(namespace, name, |s| s["phase"] == "Running" || ended(s))?;
        ensure!(
            task["status"]["phase"] == "Running",
            "{name} ended: {}",
            task["status"]
        );
        Ok(task)
    }

    /// Waits until a task has no pod.
    ///
    /// # Errors
    /// After [`LIMIT`].
    pub fn until_no_pod(&self, namespace: &str, task: &str) -> Result<()> {
        let selector = format!("peon.dev/task={task}");
        let pods = ["pod", "--namespace", namespace, "--selector", &selector];
        self.kubectl
            .wait_for(&pods, LIMIT, |p| p["items"] == json!([]))
            .map(drop)
    }

    /// Waits for the reason of a task's status.
    ///
    /// # Errors
    /// After [`LIMIT`], and at once when the task ends with another reason.
    pub fn until_reason(&self, namespace: &str, name: &str, reason: &str) -> Result<Value> {
        let task = self.until(namespace, name, |status| {
            status["reason"] == reason || ended(status)
        })?;
        let status = &task["status"];
        if status["reason"] != reason {
            bail!(
                "{name} ended with {} instead of {reason}: {status}",
                status["reason"]
            );
        }
        Ok(task)
    }

    /// The message of a condition that is `True`, or `False`, or `Unknown`, as said.
    ///
    /// # Errors
    /// When there is no such condition, or it is something else.
    pub fn message(task: &Value, condition: &str, is: &str) -> Result<String> {
        let found = kubectl::condition(&task["status"], condition, is);
        let found = found.with_context(|| format!("{condition} is not {is} in {}", task["status"]))?;
        Ok(found["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Submits the sample ingestion to the overlord and applies it as a PeonTask; returns its id and datasource.
    /// `change` may alter the PeonTask before.
    ///
    /// # Errors
    /// When overlord or API server refuse.
    pub fn ingest(&self, name: &str, change: impl FnOnce(&mut Value)) -> Result<(String, String)> {
        let datasource = format!("{name}_{}", self.run);
        let id = format!("index_parallel_{datasource}_2026-11-21T00:00:00.000Z");
        let mut task = samples::index_parallel(name, &id, &datasource)?;
        change(&mut task);
        self.druid.submit(&task["spec"]["task"])?;
        self.apply(self.home(), &task)?;
        Ok((id, datasource))
    }
}

/// Whether a PeonTask with this status has ended.
fn ended(status: &Value) -> bool {
    matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"))
}
