//! A real Druid in the cluster: ZooKeeper, and Coordinator and Overlord in one process.
//!
//! It works on any cluster: its API is reached through the API server's service proxy, and because a
//! cluster may have no DNS, it is told ZooKeeper's cluster IP.

pub mod broker;
pub(crate) mod historical;
pub(crate) mod hrtr;
pub(crate) mod jvm;
pub mod kafka;
pub(crate) mod middle_manager;
mod process;
pub mod samples;
pub mod segments;
pub(crate) mod stock_middle_manager;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::testbed::{
    cluster::Cluster,
    kubectl::Kubectl,
    progress::Progress,
    proxy::{Proxy, encoded},
    target::Target,
};

/// The claim that holds segments, task logs and the Overlord's data.
pub const STORAGE_CLAIM: &str = "druid-deep-storage";
/// Where Overlord and peons must mount it.
pub const STORAGE_PATH: &str = "/opt/druid/var/druid-storage";
/// Java options that every Druid process of these tests needs, one a line (a `java @file`).
pub const JVM_CONFIG: &str = include_str!("../../../druid/jvm.config");
/// A log configuration that prints to standard output.
pub const LOG4J2: &str = include_str!("../../../druid/log4j2.xml");

const ZOOKEEPER: &str = include_str!("../../../druid/zookeeper.yaml");
const OVERLORD: &str = include_str!("../../../druid/overlord.yaml");
const PROPERTIES: &str = include_str!("../../../druid/common.properties");
/// On a foreign cluster this includes pulling the image.
const START_LIMIT: Duration = Duration::from_secs(900);

/// A running Druid.
#[derive(Debug, Clone)]
pub struct Druid {
    kubectl: Kubectl,
    proxy: Arc<Proxy>,
    namespace: String,
    zookeeper: String,
}

/// What one Druid has that is not as another's.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The namespace whose storage it uses, on a cluster of our own. Druids that share it have segments and task logs in
    /// common, and metadata of their own.
    pub storage: &'a str,
    /// How long the Overlord waits until a worker says that it has a task that was assigned to it
    /// (`druid.indexer.runner.taskAssignmentTimeout`).
    pub assignment_timeout: &'a str,
    /// What the Overlord requests of the cpu.
    pub overlord_cpu: &'a str,
    /// What ZooKeeper requests of the cpu.
    pub zookeeper_cpu: &'a str,
}

impl<'a> Settings<'a> {
    /// The defaults for a Druid in this namespace.
    #[must_use]
    pub const fn of(namespace: &'a str) -> Self {
        Self {
            storage: namespace,
            assignment_timeout: "PT5M",
            overlord_cpu: "200m",
            zookeeper_cpu: "50m",
        }
    }
}

impl Druid {
    /// Deploys Druid into a namespace, which is made (at the `restricted` Pod Security level) when
    /// missing, and waits until the Overlord leads.
    ///
    /// # Errors
    /// When an object is refused or Druid does not start in time.
    pub fn deploy(target: &Target, namespace: &str, image: &str, progress: &Progress) -> Result<Self> {
        let step = progress.step("Druid");
        let druid = Self::deploy_with(target, namespace, image, &Settings::of(namespace))?;
        step.done("leads");
        Ok(druid)
    }

    /// As [`Self::deploy`], with settings of its own and without saying so.
    ///
    /// # Errors
    /// As [`Self::deploy`].
    pub fn deploy_with(target: &Target, namespace: &str, image: &str, settings: &Settings) -> Result<Self> {
        let kubectl = target.kubectl();
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let metadata = json!({"name": namespace, "labels": labels});
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string())?;
        if let Some(cluster) = target.own() {
            let folder = Self::storage_folder(cluster, settings.storage)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))
                .context("cannot open up the storage")?;
            kubectl.apply(&volume(namespace, &folder.display().to_string()).to_string())?;
        }
        let apply = |manifest: &str| {
            let args = [
                "apply",
                "--server-side",
                "--force-conflicts",
                "--namespace",
                namespace,
                "-f",
                "-",
            ];
            kubectl.run_with_input(&args, manifest)
        };
        let values = [
            ("{log4j2}", LOG4J2),
            ("{image}", image),
            ("{namespace}", namespace),
            ("{cpu}", settings.zookeeper_cpu),
        ];
        apply(&fill(ZOOKEEPER, &values))?;
        let service = kubectl.get_json(&["--namespace", namespace, "service", "zookeeper"])?;
        let address = service["spec"]["clusterIP"]
            .as_str()
            .context("the ZooKeeper service has no cluster IP")?;
        let druid = Self {
            kubectl: kubectl.clone(),
            proxy: Arc::new(Proxy::start(&kubectl)?),
            namespace: namespace.to_owned(),
            zookeeper: format!("{address}:2181"),
        };
        let properties = druid.common_properties();
        let values = [
            ("{properties}", properties.as_str()),
            ("{jvm}", JVM_CONFIG),
            ("{log4j2}", LOG4J2),
            ("{image}", image),
            ("{namespace}", namespace),
            ("{assignment}", settings.assignment_timeout),
            ("{cpu}", settings.overlord_cpu),
        ];
        apply(&fill(OVERLORD, &values))?;
        for name in ["zookeeper", "overlord"] {
            let deployment = ["--namespace", namespace, "deployment", name];
            let ready = kubectl.wait_for(&deployment, START_LIMIT, |it| it["status"]["readyReplicas"] == 1);
            ready.with_context(|| druid.why_not_ready(name))?;
        }
        Ok(druid)
    }

    /// ZooKeeper's `ADDRESS:PORT`, an address that pods reach without DNS.
    #[must_use]
    pub fn zookeeper(&self) -> &str {
        &self.zookeeper
    }

    /// The folder of this machine that holds deep storage and task logs, on a cluster of our own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn storage_folder(cluster: &Cluster, namespace: &str) -> Result<PathBuf> {
        cluster.scratch(&format!("druid-{namespace}"))
    }

    /// The namespace it runs in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The properties that all Druid processes share: discovery, deep storage, task logs. Peons need them
    /// too, with [`STORAGE_CLAIM`] mounted at [`STORAGE_PATH`].
    #[must_use]
    pub fn common_properties(&self) -> String {
        fill(PROPERTIES, &[("{zookeeper}", &self.zookeeper)])
    }

    /// GET of a path such as `/druid/indexer/v1/leader`, as text.
    ///
    /// # Errors
    /// When the answer is not a 2xx.
    pub fn get_text(&self, path: &str) -> Result<String> {
        self.proxy.request("GET", &self.url(path), None)
    }

    /// GET of a path whose answer is JSON.
    ///
    /// # Errors
    /// When the answer is not a 2xx or not JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let text = self.get_text(path)?;
        serde_json::from_str(&text).with_context(|| format!("GET {path} answered no JSON: {text}"))
    }

    /// POST of JSON whose answer is JSON.
    ///
    /// # Errors
    /// When the answer is not a 2xx or not JSON.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let text = self
            .proxy
            .request("POST", &self.url(path), Some(&body.to_string()))?;
        serde_json::from_str(&text).with_context(|| format!("POST {path} answered no JSON: {text}"))
    }

    /// POST of JSON whose answer does not matter, as long as it is a 2xx.
    ///
    /// # Errors
    /// When the answer is not a 2xx.
    pub fn tell(&self, path: &str, body: &Value) -> Result<()> {
        self.proxy
            .request("POST", &self.url(path), Some(&body.to_string()))
            .map(drop)
    }

    /// Submits a task; returns its id.
    ///
    /// # Errors
    /// When the Overlord refuses it.
    pub fn submit(&self, task: &Value) -> Result<String> {
        let answer = self.post("/druid/indexer/v1/task", task)?;
        answer["task"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no task id in {answer}"))
    }

    /// The Overlord's status of a task: `status`, `statusCode`, `location`, `errorMsg` …
    ///
    /// # Errors
    /// When the Overlord does not know it.
    pub fn status(&self, id: &str) -> Result<Value> {
        let mut answer = self.get(&format!("/druid/indexer/v1/task/{}/status", encoded(id)))?;
        Ok(answer["status"].take())
    }

    /// Asks the Overlord to stop a task.
    ///
    /// # Errors
    /// When the Overlord refuses.
    pub fn shutdown(&self, id: &str) -> Result<()> {
        self.post(
            &format!("/druid/indexer/v1/task/{}/shutdown", encoded(id)),
            &json!({}),
        )
        .map(drop)
    }

    /// The published segments of a data source; empty when it has none.
    ///
    /// The Coordinator looks at its store every two seconds: wait for what was just published.
    ///
    /// # Errors
    /// When the Coordinator does not answer.
    pub fn segments(&self, datasource: &str) -> Result<Vec<Value>> {
        let path = format!(
            "/druid/coordinator/v1/metadata/segments?datasources={}",
            encoded(datasource)
        );
        let answer = self.get(&path)?;
        answer
            .as_array()
            .cloned()
            .with_context(|| format!("not a list: {answer}"))
    }

    /// What the Overlord's runner says of a task: `RUNNING`, `PENDING`, `WAITING` or `NONE`.
    ///
    /// # Errors
    /// When the Overlord does not know it.
    pub fn runner_status(&self, id: &str) -> Result<String> {
        let status = self.status(id)?;
        Ok(status["runnerStatusCode"].as_str().unwrap_or_default().to_owned())
    }

    /// URL of the Overlord for pods, by the address of its Service: a cluster may have no DNS.
    ///
    /// # Errors
    /// When the Service has none.
    pub fn service_url(&self) -> Result<String> {
        let service = self
            .kubectl
            .get_json(&["--namespace", &self.namespace, "service", "overlord"])?;
        let address = service["spec"]["clusterIP"].as_str().context("no cluster IP")?;
        Ok(format!("http://{address}:8081"))
    }

    fn url(&self, path: &str) -> String {
        format!(
            "/api/v1/namespaces/{}/services/overlord:8081/proxy{path}",
            self.namespace
        )
    }

    fn why_not_ready(&self, app: &str) -> String {
        let run = |args: &[&str]| {
            let args = [&["--namespace", &self.namespace], args].concat();
            self.kubectl
                .run(&args)
                .unwrap_or_else(|error| format!("{error:#}"))
        };
        let label = format!("app={app}");
        let pods = run(&["describe", "pods", "--selector", &label]);
        let log = run(&["logs", "--selector", &label, "--tail=30"]);
        format!("{app} of Druid is not ready\n{pods}\n{log}")
    }
}

/// A volume on the node for the claim; clusters other than ours provide one themselves.
fn volume(namespace: &str, path: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": format!("{STORAGE_CLAIM}-{namespace}")},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "2Gi"},
            "claimRef": {"namespace": namespace, "name": STORAGE_CLAIM},
            "hostPath": {"path": path, "type": "Directory"},
        },
    })
}

/// Replaces placeholders such as `{image}` in a manifest. A value of several lines continues at the placeholder's indentation, as a YAML
/// block needs it.
#[must_use]
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len());
    for line in template.lines() {
        let indentation = &line[..line.len() - line.trim_start().len()];
        let line = values.iter().fold(line.to_owned(), |line, (name, value)| {
            line.replace(name, &value.trim_end().replace('\n', &format!("\n{indentation}")))
        });
        filled.push_str(&line);
        filled.push('\n');
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn lines_keep_their_indentation() {
        assert_eq!(fill("a: |\n  {x}\n", &[("{x}", "1\n2\n")]), "a: |\n  1\n  2\n");
    }
}
