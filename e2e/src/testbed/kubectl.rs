//! `kubectl` as a library: the cached program for our own cluster, the user's for any other.

use std::{cell::Cell, path::PathBuf, process::Command, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::testbed::{
    changes::Changes,
    exec, interrupt,
    proxy::Proxy,
    resource::Resource,
    wait::{rest, saw, unseen, wait_resting},
};

/// How long nobody looks at what is said not to have changed.
const UNTOLD: Duration = Duration::from_secs(3);

/// Runs kubectl against one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    marker: Option<(&'static str, String)>,
    reader: Option<Arc<Proxy>>,
}

impl Kubectl {
    /// This program with this kubeconfig.
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self {
            program,
            kubeconfig: Some(kubeconfig),
            marker: None,
            reader: None,
        }
    }

    /// Sets a variable in kubectl's environment, by which a cluster that goes down finds what is left.
    #[must_use]
    pub(crate) fn marked(mut self, name: &'static str, value: String) -> Self {
        self.marker = Some((name, value));
        self
    }

    /// The `kubectl` on the `PATH` with whatever cluster it talks to now.
    #[must_use]
    pub fn current() -> Self {
        Self {
            program: PathBuf::from("kubectl"),
            kubeconfig: None,
            marker: None,
            reader: None,
        }
    }

    /// Has objects read, and their changes told, through a proxy that runs as long as this value and its clones.
    ///
    /// # Errors
    /// When the proxy does not start.
    pub fn reading_through_a_proxy(mut self) -> Result<Self> {
        self.reader = Some(Arc::new(Proxy::start(&self)?));
        Ok(self)
    }

    /// What answers such arguments without another process.
    pub(crate) fn reader(&self, args: &[&str]) -> Option<(&Proxy, Resource)> {
        Some((self.reader.as_deref()?, Resource::of(args)?))
    }

    /// A command that the caller completes and runs.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        if let Some((name, value)) = &self.marker {
            command.env(name, value);
        }
        command
    }

    /// Runs kubectl and returns what it prints.
    ///
    /// # Errors
    /// When it fails; the error holds its standard error.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        exec::output(self.command().args(args))
    }

    /// Runs kubectl with `input` on its standard input.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        exec::output_with_input(self.command().args(args), input)
    }

    /// Applies YAML or JSON documents, server-side.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn apply(&self, documents: &str) -> Result<()> {
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=e2e",
            "-f",
            "-",
        ];
        self.run_with_input(&args, documents).map(drop)
    }

    /// Creates YAML or JSON documents; fails when one exists. Returns their `kind/name` lines.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn create(&self, documents: &str) -> Result<String> {
        self.run_with_input(&["create", "-o", "name", "-f", "-"], documents)
    }

    /// `kubectl get ARGS -o json`.
    ///
    /// # Errors
    /// As [`Kubectl::run`], and when the answer is not JSON.
    pub fn get_json(&self, args: &[&str]) -> Result<Value> {
        let text = match self.reader(args) {
            Some((proxy, resource)) => proxy.request("GET", &resource.read(), None)?,
            None => exec::output(self.command().arg("get").args(args).args(["-o", "json"]))?,
        };
        serde_json::from_str(&text).with_context(|| format!("kubectl get {} gave no JSON", args.join(" ")))
    }

    /// Looks at an object (`kubectl get ARGS`) until `condition` holds, and returns it.
    ///
    /// An object that is not there yet is waited for.
    ///
    /// # Errors
    /// After `limit`; the message has the last three states that were seen.
    pub fn wait_for(
        &self,
        args: &[&str],
        limit: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let there = Cell::new(false);
        let look = || {
            interrupt::check()?;
            let found = unseen(|| self.get_json(args));
            there.set(found.is_ok());
            match found {
                Ok(object) if condition(&object) => return Ok(Some(object)),
                Ok(object) => saw(object.get("status").unwrap_or(&object)),
                Err(error) => saw(format_args!("{error:#}")),
            }
            Ok(None)
        };
        let mut changes: Option<Changes> = None;
        let until_told = |looked| {
            if changes.as_ref().is_some_and(|changes| changes.wait(UNTOLD)) {
                return;
            }
            rest(looked);
            // What changes before the watch has begun is seen with the next look.
            changes = there.get().then(|| Changes::of(self, args)).flatten();
        };
        wait_resting(limit, &args.join(" "), look, until_told)
    }

    /// `kubectl logs ARGS`.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn logs(&self, args: &[&str]) -> Result<String> {
        exec::output(self.command().arg("logs").args(args))
    }

    /// `kubectl delete ARGS`; what is already gone is fine.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn delete(&self, args: &[&str]) -> Result<()> {
        exec::output(self.command().arg("delete").arg("--ignore-not-found").args(args)).map(drop)
    }
}

/// The condition of a status that is `True`, or `False`, or `Unknown`, as said.
#[must_use]
pub fn condition<'s>(status: &'s Value, condition: &str, is: &str) -> Option<&'s Value> {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.find(|c| c["type"] == condition && c["status"] == is)
}

/// Whether an object is ready by its own word: a node, a pod, a VirtualMiddleManager.
#[must_use]
pub fn is_ready(object: &Value) -> bool {
    condition(&object["status"], "Ready", "True").is_some()
}
