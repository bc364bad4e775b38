//! What a task that succeeds may cost at most: requests, bytes of its status, bytes in the caches.

use std::mem::size_of;

use kube::runtime::reflector::ObjectRef;

use super::*;
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::task::fixtures::ended;

/// Bytes of the status as JSON after the first, the second and the third write, with a short id.
const STATUS: [usize; 3] = [1200, 1000, 1200];
/// Bytes of a cached task that has ended, without its place in the cache. Its pod is not cached any more.
const FINISHED: usize = 2000;
/// Bytes of a cached pod: of its type, and as JSON of what the type points to.
const POD: (usize, usize) = (700, 1000);

const SUCCESS: &str = r#"{"id":"t","status":"SUCCESS","duration":1,"errorMsg":null,"location":{"host":null,"port":-1,"tlsPort":-1}}"#;

/// The watch tells of the pod, with this status and with what an API server adds to it.
fn pod_seen(operator: &mut Operator, status: Value) -> Guarded<WatchedPod> {
    let mut pod = operator.cluster.tenants.lock()[QUIET]
        .get(Kind::Pod, "t-1")
        .unwrap()
        .clone();
    pod["metadata"]["namespace"] = json!(QUIET);
    pod["metadata"]["managedFields"] =
        json!([{"manager": "m", "fieldsV1": {"f:spec": {"f:containers": {}}}}]);
    pod["status"] = status;
    let pod = Guarded::<WatchedPod>::read(&pod.to_string());
    let event = Event::Apply(pod.0.clone().unwrap());
    operator.writers.pods.apply_watcher_event(&event);
    pod
}

#[tokio::test]
async fn a_task_that_succeeds_costs_five_writes_and_no_read() {
    let mut operator = Operator::new();
    operator.template(QUIET);
    operator.task(QUIET, "t", json!({"task": {"type": "noop"}}));
    let mut statuses = Vec::new();
    operator.pass(QUIET, "t").await.unwrap();
    statuses.push(operator.now(QUIET, "t")["status"].clone());
    pod_seen(&mut operator, running());
    operator.pass(QUIET, "t").await.unwrap();
    statuses.push(operator.now(QUIET, "t")["status"].clone());
    let pod = pod_seen(&mut operator, ended(0, "Completed", SUCCESS));
    operator.pass(QUIET, "t").await.unwrap();
    // Nothing is left to do.
    operator.pass(QUIET, "t").await.unwrap();
    let task = operator.now(QUIET, "t");
    statuses.push(task["status"].clone());
    let phases: Vec<&Value> = statuses.iter().map(|status| &status["phase"]).collect();
    assert_eq!(phases, ["Starting", "Running", "Succeeded"]);
    let requests = operator.cluster.requests.lock().clone();
    let requests: Vec<String> = requests
        .iter()
        .map(|(method, _, rest)| format!("{method} {rest}"))
        .collect();
    let status = "PATCH peontasks/t/status";
    assert_eq!(requests, ["POST configmaps", "POST pods", status, status, status]);

    let size = |value: &Value| value.to_string().len();
    for (status, most) in statuses.iter().zip(STATUS) {
        assert!(size(status) <= most, "{} bytes: {status}", size(status));
    }
    operator.tell(QUIET, "t");
    let key = ObjectRef::new("t").within(QUIET);
    let finished = operator.caches.tasks.get(&key).unwrap().bytes();
    let pod = (
        size_of::<WatchedPod>(),
        size(&serde_json::to_value(pod.0.unwrap()).unwrap()),
    );
    println!(
        "statuses {:?}, task {finished}, pod {pod:?}",
        statuses.iter().map(size).collect::<Vec<_>>()
    );
    assert!(finished <= FINISHED, "{finished}");
    assert!(operator.caches.pods.is_empty());
    assert!(pod.0 <= POD.0 && pod.1 <= POD.1, "{pod:?}");
}
