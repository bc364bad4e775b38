//! Runs Helm and reads what it renders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Namespace of every release rendered here; deliberately not `default`.
pub const NAMESPACE: &str = "release-namespace";
/// Name of every release rendered here; it differs from the chart's, so that swapped names show.
pub const RELEASE: &str = "blue";
/// Name of the objects of that release.
pub const FULL_NAME: &str = "blue-peon-operator";

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The chart.
pub fn chart() -> PathBuf {
    root().join("charts/peon-operator")
}

/// A file as text.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A YAML file with one document.
pub fn yaml(path: &Path) -> Value {
    serde_yaml::from_str(&read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs Helm with these arguments.
pub fn helm(arguments: &[&str]) -> Output {
    let program = std::env::var("HELM").unwrap_or_else(|_| "helm".into());
    Command::new(&program)
        .args(arguments)
        // A user's plugins, repositories and cluster have no part in this.
        .env("KUBECONFIG", "/dev/null")
        .env_remove("HELM_NAMESPACE")
        .output()
        .unwrap_or_else(|e| {
            panic!("Helm cannot be run as {program} ({e}): run `make tools`, or name the program in HELM")
        })
}

/// The oldest version of Kubernetes that is supported.
pub const OLDEST: &str = "1.35.0";

/// Runs `helm template`.
pub fn template(chart: &Path, arguments: &[&str]) -> Output {
    let chart = chart.to_string_lossy();
    // A Helm built from source takes 1.20 for granted.
    let mut all = vec![
        "template",
        RELEASE,
        &chart,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        OLDEST,
    ];
    all.extend(arguments);
    helm(&all)
}

/// Renders the chart with values such as `scope="namespace"`, each a path and JSON.
pub fn render(values: &[&str]) -> Objects {
    render_chart(&chart(), values)
}

/// Renders the chart with what `helm test` and `helm uninstall` create.
pub fn render_with_hooks(values: &[&str]) -> Objects {
    read_output(&template(&chart(), &arguments(values)), values)
}

/// Renders the chart in another folder.
pub fn render_chart(chart: &Path, values: &[&str]) -> Objects {
    let all = [&["--no-hooks"][..], &arguments(values)].concat();
    read_output(&template(chart, &all), values)
}

fn read_output(output: &Output, values: &[&str]) -> Objects {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "with {values:?}: {errors}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let objects = serde_yaml::from_multiple(&text).unwrap_or_else(|e| panic!("with {values:?}: {e}"));
    Objects(objects)
}

/// What Helm says when it refuses these values.
pub fn refusal(values: &[&str]) -> String {
    let output = template(&chart(), &arguments(values));
    assert!(!output.status.success(), "{values:?} was not refused");
    String::from_utf8(output.stderr).unwrap()
}

fn arguments<'a>(values: &[&'a str]) -> Vec<&'a str> {
    values.iter().flat_map(|value| ["--set-json", *value]).collect()
}

/// Rendered objects.
pub struct Objects(pub Vec<Value>);

impl Objects {
    /// All of a kind.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|o| o["kind"] == kind).collect()
    }

    /// The only one of a kind.
    pub fn only(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "number of {kind}s");
        all[0]
    }

    /// The one of a kind with this name.
    pub fn named(&self, kind: &str, name: &str) -> &Value {
        let found = self.find(kind, name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// The one of a kind with this name, if there is one.
    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.all(kind).into_iter().find(|o| o["metadata"]["name"] == name)
    }

    /// The kinds, of each object.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|o| o["kind"].as_str())
    }

    /// The pod template of the Deployment.
    pub fn pod(&self) -> &Value {
        &self.only("Deployment")["spec"]["template"]
    }

    /// The operator's container.
    pub fn container(&self) -> &Value {
        let containers = self.pod()["spec"]["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// The arguments of the operator.
    pub fn arguments(&self) -> Vec<String> {
        serde_json::from_value(self.container()["args"].clone()).unwrap()
    }
}
