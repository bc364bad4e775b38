//! `helm` with the chart of this checkout.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::testbed::{cluster::Cluster, exec, target::Target};

/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/peon-operator");
/// How long helm waits for what it installs.
const TIMEOUT: &str = "--timeout=120s";

/// Runs helm against one cluster.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// helm for this cluster: the built program for our own, the one on the `PATH` for any other.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        match target.own() {
            Some(cluster) => Self::on(cluster),
            None => Self {
                program: PathBuf::from("helm"),
                kubeconfig: None,
            },
        }
    }

    /// The built program, for our own cluster.
    #[must_use]
    pub fn on(cluster: &Cluster) -> Self {
        Self {
            program: cluster.bin_dir().join("helm"),
            kubeconfig: Some(cluster.kubeconfig()),
        }
    }

    /// Installs or upgrades a release of the chart in `namespace`, which is made when missing, and waits until it
    /// is ready.
    ///
    /// # Errors
    /// When helm fails.
    pub fn install(&self, release: &str, namespace: &str, image: &str, values: &[&str]) -> Result<()> {
        self.upgrade(release, namespace, image, values, &["--wait", TIMEOUT])
    }

    /// As [`Helm::install`], without waiting for anything to be ready.
    ///
    /// # Errors
    /// When helm fails.
    pub fn install_unready(
        &self,
        release: &str,
        namespace: &str,
        image: &str,
        values: &[&str],
    ) -> Result<()> {
        self.upgrade(release, namespace, image, values, &[])
    }

    fn upgrade(
        &self,
        release: &str,
        namespace: &str,
        image: &str,
        values: &[&str],
        more: &[&str],
    ) -> Result<()> {
        let (repository, tag) = match image.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (image, "latest"),
        };
        let image = [
            format!("image.repository={repository}"),
            // As JSON: a tag of digits alone is no number.
            format!("image.tag=\"{tag}\""),
        ];
        let mut args = vec![
            "upgrade",
            "--install",
            release,
            CHART,
            "--namespace",
            namespace,
            "--create-namespace",
        ];
        args.extend(more);
        for value in image.iter().map(String::as_str).chain(values.iter().copied()) {
            // What is JSON is given as such.
            let is_json = value.contains("={") || value.contains("=\"");
            args.extend([if is_json { "--set-json" } else { "--set" }, value]);
        }
        self.run(&args).map(drop)
    }

    /// Runs what `helm test` runs, and returns what it says.
    ///
    /// # Errors
    /// When the test fails.
    pub fn test(&self, release: &str, namespace: &str) -> Result<String> {
        self.run(&["test", release, "--namespace", namespace, TIMEOUT])
    }

    /// Renders the chart, without its hooks.
    ///
    /// # Errors
    /// When helm refuses the values.
    pub fn template(&self, release: &str, namespace: &str, arguments: &[&str]) -> Result<String> {
        let all = [
            "template",
            release,
            CHART,
            "--namespace",
            namespace,
            "--no-hooks",
            // Without a cluster, helm takes an old one for granted.
            "--kube-version",
            "1.36.0",
        ];
        self.run(&[&all, arguments].concat())
    }

    /// Uninstalls a release and waits until its objects are gone.
    ///
    /// # Errors
    /// When helm fails.
    pub fn uninstall(&self, release: &str, namespace: &str) -> Result<()> {
        self.run(&["uninstall", release, "--namespace", namespace, "--wait", TIMEOUT])
            .map(drop)
    }

    /// The manifests of an installed release.
    ///
    /// # Errors
    /// When there is no such release.
    pub fn manifests(&self, release: &str, namespace: &str) -> Result<String> {
        self.run(&["get", "manifest", release, "--namespace", namespace])
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        exec::output(command.args(args))
    }
}
