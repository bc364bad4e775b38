//! Values, their schema, and what the chart says of itself.

use std::fs;
use std::path::{Path, PathBuf};

use peon_operator::api::{PeonTask, PeonTemplate};
use peon_operator::druid::properties::RuntimeProperties;
use serde_json::Value;

use crate::render::{OLDEST, chart, helm, read, refusal, render, render_chart, root, template, yaml};

fn schema() -> Value {
    serde_json::from_str(&read(&chart().join("values.schema.json"))).unwrap()
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    let chart = chart();
    let output = helm(&["lint", "--strict", &chart.to_string_lossy()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = yaml(&chart().join("Chart.yaml"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["kubeVersion"], format!(">={OLDEST}-0"));
}

#[test]
fn versions_of_kubernetes_before_the_oldest_are_refused() {
    // The last version that is given counts. Managed clusters add a suffix.
    for (version, is_fine) in [
        ("1.34.9", false),
        ("1.35.0", true),
        ("v1.35.4-eks-1a2b3c4", true),
        ("v1.36.3-gke.1006000", true),
        ("v1.37.2", true),
    ] {
        let output = template(&chart(), &["--kube-version", version]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_fine, "{version}: {said}");
        assert!(is_fine || said.contains("kubeVersion"), "{said}");
    }
}

#[test]
fn the_annotated_examples_are_valid() {
    let chart = yaml(&chart().join("Chart.yaml"));
    let annotation = |name: &str| -> Vec<Value> {
        serde_yaml::from_str(chart["annotations"][name].as_str().unwrap()).unwrap()
    };
    assert_valid(&annotation("artifacthub.io/crdsExamples"));
    let images = annotation("artifacthub.io/images");
    assert_eq!(images[0]["image"], render(&[]).container()["image"]);
    for link in annotation("artifacthub.io/links") {
        let url = link["url"].as_str().unwrap();
        let path = url.split_once("/main/").unwrap().1;
        assert!(root().join(path).exists(), "{url}");
    }
    let listed = annotation("artifacthub.io/crds");
    let objects = render(&[]);
    for crd in objects.all("CustomResourceDefinition") {
        let is_it = |entry: &&Value| entry["name"] == crd["metadata"]["name"];
        let entry = listed.iter().find(is_it).unwrap();
        assert_eq!(entry["kind"], crd["spec"]["names"]["kind"]);
        assert_eq!(entry["version"], crd["spec"]["versions"][0]["name"]);
    }
}

/// A PeonTemplate and a PeonTask, each as the operator reads it.
fn assert_valid(objects: &[Value]) {
    assert_eq!(objects.len(), 2);
    for object in objects {
        let written = match object["kind"].as_str().unwrap() {
            "PeonTemplate" => {
                serde_json::to_value(serde_json::from_value::<PeonTemplate>(object.clone()).unwrap())
            }
            "PeonTask" => serde_json::to_value(serde_json::from_value::<PeonTask>(object.clone()).unwrap()),
            other => panic!("{other}"),
        };
        assert_eq!(written.unwrap()["spec"], object["spec"]);
    }
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    for (value, said) in [
        ("unknown=1", "'unknown' not allowed"),
        ("image.unknown=1", "'unknown' not allowed"),
        (r#"networkPolicy.peons.ingress="x""#, "'ingress' not allowed"),
        (r#"resources.limit={"memory": "1Gi"}"#, "'limit' not allowed"),
        (r#"scope="all""#, "/scope"),
        ("replicas=0", "/replicas"),
        ("replicas=11", "/replicas"),
        (r#"replicas="2""#, "/replicas"),
        ("leaderElection.leaseSeconds=4", "/leaderElection/leaseSeconds"),
        ("leaderElection.leaseSeconds=301", "/leaderElection/leaseSeconds"),
        ("retainFinished=-1", "/retainFinished"),
        (r#"log.format="xml""#, "/log/format"),
        (r#"log.filter="""#, "/log/filter"),
        (r#"image.pullPolicy="Sometimes""#, "/image/pullPolicy"),
        (r#"image.digest="sha256:0""#, "/image/digest"),
        (r#"image.repository="""#, "/image/repository"),
        (r#"listenAddress="localhost""#, "/listenAddress"),
        (
            "terminationGracePeriodSeconds=20",
            "/terminationGracePeriodSeconds",
        ),
        ("metrics.service.port=0", "/metrics/service/port"),
        (
            r#"metrics.podMonitor.interval="soon""#,
            "/metrics/podMonitor/interval",
        ),
        (
            r#"podLabels={"app.kubernetes.io/managed-by": "peon-operator"}"#,
            "app.kubernetes.io/managed-by",
        ),
        (
            r#"extraEnv=[{"name": "PEON_LEASE_NAMESPACE", "value": "x"}]"#,
            "/extraEnv/0/name",
        ),
        (
            r#"extraEnv=[{"name": "PEON_IMAGE", "value": "x"}]"#,
            "/extraEnv/0/name",
        ),
        (r#"watchNamespace="Druid""#, "/watchNamespace"),
        (r#"watchNamespace="druid""#, "set scope to namespace"),
        (r#"parts="namespace""#, "set scope to namespace"),
        (r#"platform="mesos""#, "/platform"),
        (r#"middleManagers.role="Role/x""#, "rbac.create=false"),
        (r#"extraArgs=["leader"]"#, "/extraArgs/0"),
        (r#"extraVolumes=[{"name": "config"}]"#, "/extraVolumes/0/name"),
        (
            r#"commonLabels={"app.kubernetes.io/name": "x"}"#,
            "app.kubernetes.io/name",
        ),
        (
            r#"crds.annotations={"helm.sh/resource-policy": "delete"}"#,
            "helm.sh/resource-policy",
        ),
    ] {
        let refusal = refusal(&[value]);
        assert!(refusal.contains(said), "{value}: {refusal}");
    }
}

/// Calls `visit` with the path and schema of every value.
fn walk(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    // Of what parents give to all their charts, other charts read more.
    if path == "global" {
        return;
    }
    // An object whose keys are listed has no others.
    assert_eq!(schema["additionalProperties"], false, "{path}");
    for (name, schema) in properties {
        let path = format!("{path}.{name}").trim_start_matches('.').to_owned();
        visit(&path, schema);
        walk(&path, schema, visit);
    }
}

#[test]
fn schema_values_and_readme_list_the_same() {
    let values = yaml(&chart().join("values.yaml"));
    let readme = read(&chart().join("README.md"));
    let mut expected = Vec::new();
    walk("", &schema(), &mut |path, schema| {
        assert!(schema["description"].is_string(), "{path} has no description");
        // The first two belong to parent charts; inside the others is what Kubernetes defines.
        if path == "enabled" || path.starts_with("global") || path.starts_with("resources.") {
            return;
        }
        let pointer = format!("/{}", path.replace('.', "/"));
        assert!(values.pointer(&pointer).is_some(), "{path} is not in values.yaml");
        if path == "resources" || schema["properties"].is_null() {
            expected.push(path.to_owned());
        }
    });
    let row = |line: &str| {
        line.strip_prefix("| `")
            .and_then(|l| l.split_once('`'))
            .map(|(path, _)| path.to_owned())
    };
    let mut listed: Vec<String> = readme.lines().filter_map(row).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected, "values in the README's table");
}

#[test]
fn every_value_has_a_comment() {
    let text = read(&chart().join("values.yaml"));
    let mut commented = false;
    let mut groups = Vec::new();
    walk("", &schema(), &mut |path, schema| {
        if path != "resources" && schema["properties"].is_object() {
            groups.push(path.rsplit('.').next().unwrap().to_owned());
        }
    });
    // Below the values that Kubernetes defines there is nothing to explain.
    let mut inside: Option<usize> = None;
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        if line.trim().is_empty() || inside.is_some_and(|outer| depth > outer) {
            continue;
        }
        inside = None;
        let line = line.trim();
        if line.starts_with('#') {
            commented = true;
            continue;
        }
        let (name, _) = line.split_once(':').unwrap();
        if !groups.iter().any(|g| g == name) {
            assert!(commented, "{name} has no comment");
            inside = Some(depth);
        }
        commented = false;
    }
}

#[test]
fn the_default_properties_are_those_of_the_repository() {
    let objects = render(&[]);
    let rendered = objects.only("ConfigMap")["data"]["runtime.properties"].clone();
    let values = yaml(&chart().join("values.yaml"));
    assert_eq!(rendered, values["runtimeProperties"]);
    let rendered = RuntimeProperties::parse(rendered.as_str().unwrap()).unwrap();
    let mut file = RuntimeProperties::parse(&read(&root().join("config/runtime.properties"))).unwrap();
    // The chart says which namespace with a value of its own.
    file.namespace = None;
    assert_eq!(rendered, file);
}

#[test]
fn the_notes_lead_to_a_first_task() {
    let chart = chart_that_shows_its_notes();
    let notes = |values: &[&str]| {
        let objects = render_chart(&chart, values);
        objects.only("Notes")["text"].as_str().unwrap().to_owned()
    };
    let text = notes(&[r#"scope="namespace""#, r#"watchNamespace="druid""#]);
    let (_, rest) = text.split_once("kubectl -n druid apply -f - <<'END'\n").unwrap();
    let (manifests, rest) = rest.split_once("\nEND\n").unwrap();
    assert_valid(&serde_yaml::from_multiple::<Value>(manifests).unwrap());
    assert!(rest.contains("kubectl -n druid get pt"), "{rest}");
    assert!(!text.contains("cluster-admin"), "{text}");
    let everywhere = notes(&[]);
    assert!(
        everywhere.contains("cluster-admin") && everywhere.contains("scope=namespace"),
        "{everywhere}"
    );
    assert!(notes(&["crds.install=false"]).contains("not installed by this release"));
    for said in [
        "helm test blue -n release-namespace",
        "delete VirtualMiddleManagers and IndexerPools",
    ] {
        assert!(everywhere.contains(said), "{everywhere}");
    }
    let cluster = notes(&[r#"parts="cluster""#]);
    assert!(
        cluster.contains("There is no operator yet") && !cluster.contains("kubectl -n"),
        "{cluster}"
    );
}

/// Helm shows notes only when it installs, and that needs a cluster: a copy of the chart renders them.
fn chart_that_shows_its_notes() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chart-with-notes");
    if copy.exists() {
        fs::remove_dir_all(&copy).unwrap();
    }
    copy_folder(&chart(), &copy);
    fs::rename(copy.join("templates/NOTES.txt"), copy.join("notes.txt")).unwrap();
    let template = r#"{kind: Notes, text: {{ tpl (.Files.Get "notes.txt") . | toJson }}}"#;
    fs::write(copy.join("templates/notes.yaml"), template).unwrap();
    copy
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

#[test]
fn the_chart_is_packed_as_a_release_packs_it() {
    let folder = tempfile::tempdir().unwrap();
    let helm = std::env::var("HELM").unwrap_or_else(|_| "helm".into());
    let output = std::process::Command::new(root().join("scripts/release/chart.sh"))
        .args(["none".as_ref(), folder.path().as_os_str()])
        .env("HELM", helm)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let archive = format!("peon-operator-{}.tgz", env!("CARGO_PKG_VERSION"));
    // The same files are the same archive, whenever it is made.
    let listed = std::process::Command::new("tar")
        .args(["--full-time", "-tvzf"])
        .arg(folder.path().join(archive))
        .env("TZ", "UTC")
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().count() > 20, "{listed}");
    for line in listed.lines() {
        assert!(line.contains(" 0/0 "), "{line}");
        assert!(line.contains("1970-01-01 00:00"), "{line}");
    }
}
