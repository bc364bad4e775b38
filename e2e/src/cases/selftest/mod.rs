//! The test cluster itself: it does what the cases rely on, and nothing is left of it.

mod second_node;

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cases::{Check, standalone};
use crate::testbed::{
    cache::Cache,
    cluster::{self, Cluster, Component, KUBERNETES_SERVICE_IP, NODE, NODE_IP},
    exec,
    images::{self, CLASS_ARCHIVE, Image},
    interrupt,
    kubectl::Kubectl,
    lock::Busy,
    progress::Progress,
    wait::wait_until,
};

pub use second_node::{fails_and_recovers, goes_when_interrupted as second_node_goes_when_interrupted};

const LIMIT: Duration = Duration::from_secs(90);

/// The cases of the test cluster itself; each has the cluster for itself.
pub const CASES: &[Check] = &[
    standalone("cluster::works_and_leaves_nothing", works_and_goes),
    standalone("cluster::leaves_nothing_when_interrupted", goes_when_interrupted),
    standalone("cluster::a_second_node_fails_and_recovers", fails_and_recovers).full(),
    standalone(
        "cluster::a_second_node_leaves_nothing_when_interrupted",
        second_node_goes_when_interrupted,
    ),
];

/// Limits, logs, services, garbage collection and restarts work, and ending the cluster leaves the machine as it was.
///
/// # Errors
/// What does not work, or is left.
pub fn works_and_goes(cache: &Cache, progress: &Progress) -> Result<()> {
    let rules = firewall()?;
    let cluster = Cluster::up(cache, Busy::Wait, progress)?;
    let archives = images::build(cache, &[Image::Druid], progress)?;
    archives.iter().try_for_each(|image| cluster.import(image))?;
    let image = archives
        .first()
        .map(|image| image.reference.as_str())
        .context("no image")?;
    let kubectl = cluster.kubectl();

    let step = progress.step("a container over its memory limit");
    run(
        &kubectl,
        "greedy",
        image,
        "echo started; x=a; while :; do x=$x$x; done",
        "32Mi",
    )?;
    let state = ended(&kubectl, "greedy")?;
    ensure!(state["reason"] == "OOMKilled", "ended with {state}");
    ensure!(
        kubectl.logs(&["greedy"])?.trim() == "started",
        "its log is missing"
    );
    step.done("is OOMKilled, and its log can be read");

    let step = progress.step("a pod");
    let source =
        format!("void main() throws Exception {{ new java.net.Socket(\"{KUBERNETES_SERVICE_IP}\", 443); }}");
    let source = format!(
        "class T {{ public static {} }}",
        source.replace("main()", "main(String[] a)")
    );
    run(
        &kubectl,
        "caller",
        image,
        &format!("echo '{source}' > /tmp/T.java && java /tmp/T.java"),
        "512Mi",
    )?;
    let state = ended(&kubectl, "caller")?;
    ensure!(state["exitCode"] == 0, "{state}: {}", kubectl.logs(&["caller"])?);
    step.done("reaches the API server by its cluster IP");

    let step = progress.step("a JVM with the class-data archive of the image");
    let version = format!(
        "java -XX:+UseSerialGC -Xshare:on -XX:SharedArchiveFile={CLASS_ARCHIVE} -cp '/opt/druid/lib/*' \
         org.apache.druid.cli.Main version"
    );
    run(&kubectl, "archived", image, &version, "512Mi")?;
    let state = ended(&kubectl, "archived")?;
    ensure!(
        state["exitCode"] == 0,
        "{state}: {}",
        kubectl.logs(&["archived"])?
    );
    step.done("starts");

    let step = progress.step("an object whose owner is deleted");
    collects_garbage(&kubectl)?;
    step.done("is collected");

    let step = progress.step("a pod, kubelet and containerd stopped and started");
    run(&kubectl, "survivor", image, "while :; do sleep 1; done", "32Mi")?;
    let running = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    let before = kubectl.wait_for(&["pod", "survivor"], LIMIT, running)?;
    for component in [Component::Kubelet, Component::Containerd] {
        cluster.stop(component)?;
        ensure!(!cluster.runs(component), "{} still runs", component.program());
    }
    cluster.start(Component::Containerd)?;
    cluster.start(Component::Kubelet)?;
    let again = json!({"metadata": {"labels": {"seen": "again"}}}).to_string();
    kubectl.run(&["patch", "pod", "survivor", "--patch", &again])?;
    run(&kubectl, "later", image, "true", "32Mi")?;
    ended(&kubectl, "later")?;
    let after = kubectl.wait_for(&["pod", "survivor"], LIMIT, running)?;
    let id = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    ensure!(id(&before) == id(&after), "it was restarted");
    step.done("runs on, and new pods start");

    let step = progress.step("the API server, killed");
    let server = cluster
        .process_id(Component::ApiServer)
        .context("the API server does not run")?;
    exec::output(Command::new("kill").args(["-KILL", &server.to_string()]))?;
    wait_until(LIMIT, "the API server to end", || {
        // A process that is ending under load may hold its socket for a while after it has gone from the list.
        let listens = TcpStream::connect((NODE_IP, 6443)).is_ok();
        Ok((!cluster.runs(Component::ApiServer) && !listens).then_some(()))
    })?;
    cluster.start(Component::ApiServer)?;
    kubectl.wait_for(&["node", NODE], LIMIT, |node| node["metadata"]["name"] == NODE)?;
    step.done("comes back with its data");

    let audit = fs::read_to_string(cluster.audit_log()).context("no audit log")?;
    ensure!(
        audit.lines().any(|line| line.contains("\"userAgent\":\"kubectl")),
        "kubectl is not in the audit log"
    );
    cluster.down()?;
    nothing_left(cache, &rules)
}

/// Ctrl-C while the cluster starts.
///
/// # Errors
/// When it is not heeded, or something is left.
pub fn goes_when_interrupted(cache: &Cache, _: &Progress) -> Result<()> {
    let rules = firewall()?;
    // From then on processes, mounts, links and cgroups of the cluster exist.
    interrupt_when(&["--wait", "up"], "containerd … ready")?;
    nothing_left(cache, &rules)
}

/// Runs another `e2e`, and interrupts it when it says something.
fn interrupt_when(args: &[&str], said_line: &str) -> Result<()> {
    let mut child = Command::new(env::current_exe()?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start a second e2e")?;
    let group = interrupt::Helper::process(child.id());
    let mut said = BufReader::new(child.stderr.take().context("no standard error")?);
    let mut line = String::new();
    while !line.contains(said_line) {
        line.clear();
        ensure!(said.read_line(&mut line)? > 0, "it did not say `{said_line}`");
    }
    exec::output(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
    let mut rest = String::new();
    said.read_to_string(&mut rest)?;
    let status = child.wait()?;
    drop(group);
    ensure!(
        status.code() == Some(i32::from(interrupt::INTERRUPTED_STATUS)),
        "ended with {status}: {rest}"
    );
    Ok(())
}

fn nothing_left(cache: &Cache, rules: &str) -> Result<()> {
    let left = cluster::leftovers(cache)?;
    ensure!(left.is_empty(), "left over: {}", left.join(", "));
    ensure!(firewall()? == rules, "the machine's iptables rules have changed");
    Ok(())
}

/// The machine's packet filter without the times and counters in the output.
fn firewall() -> Result<String> {
    let mut rules = String::new();
    for program in ["iptables-save", "ip6tables-save"] {
        let text = exec::output(&mut Command::new(program))?;
        let lasting = text.lines().filter(|line| !line.starts_with('#'));
        rules.extend(
            lasting
                .map(|line| line.split(" [").next().unwrap_or_default())
                .flat_map(|line| [line, "\n"]),
        );
    }
    Ok(rules)
}

fn run(kubectl: &Kubectl, name: &str, image: &str, script: &str, memory: &str) -> Result<()> {
    create(kubectl, name, &pod_spec(image, script, memory))
}

fn create(kubectl: &Kubectl, name: &str, spec: &Value) -> Result<()> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    kubectl.create(&pod.to_string()).map(drop)
}

/// A pod of one container that runs a script once.
fn pod_spec(image: &str, script: &str, memory: &str) -> Value {
    let container = json!({
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "resources": {"limits": {"memory": memory}},
    });
    json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]})
}

fn ended(kubectl: &Kubectl, name: &str) -> Result<Value> {
    let state = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    Ok(state(
        &kubectl.wait_for(&["pod", name], LIMIT, |pod| state(pod).is_object())?,
    ))
}

fn collects_garbage(kubectl: &Kubectl) -> Result<()> {
    let map =
        |metadata: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}).to_string();
    kubectl.create(&map(json!({"name": "owner"})))?;
    let owner = kubectl.get_json(&["configmap", "owner"])?;
    let reference =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]});
    kubectl.create(&map(json!({"name": "owned", "ownerReferences": [reference]})))?;
    kubectl.delete(&["configmap", "owner"])?;
    wait_until(LIMIT, "the garbage collector", || {
        let found = kubectl.run(&["get", "configmap", "owned", "--ignore-not-found", "--output=name"])?;
        Ok(found.trim().is_empty().then_some(()))
    })
}
