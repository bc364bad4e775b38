//! Who is not the overlord, and what is no task.

use anyhow::{Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    Case, MiddleManager, case, list, noop, text,
    worker::{Answer, JSON, SMILE, Worker, assignment, smile},
};
use crate::testbed::{
    druid::samples,
    fixture::{Fixture, LIMIT},
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::races::who_has_no_credentials_or_sends_no_task_is_refused",
        refused,
    )
    .own(),
    case(
        "middle_manager::races::a_peontask_of_a_stranger_captures_no_assignment",
        squatters,
    )
    .own(),
];

/// Secret with the credentials.
const SECRET: &str = "overlord-and-workers";
/// Largest assignment that is taken.
const MOST_BYTES: usize = 100_000;

/// `user:password` as a header carries it.
fn encoded(pair: &str) -> String {
    STANDARD.encode(pair)
}

fn restarts(fixture: &Fixture) -> Result<Vec<Value>> {
    let pods = [
        "pod",
        "--namespace",
        fixture.home(),
        "--selector",
        "peon.dev/serves",
    ];
    let pods = fixture.kubectl.get_json(&pods)?;
    Ok(list(&pods["items"])
        .iter()
        .map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].clone())
        .collect())
}

fn refused(fixture: &Fixture) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "type": "kubernetes.io/basic-auth", "stringData": {"username": "druid_system", "password": "sesame"},
    });
    fixture.apply(fixture.home(), &secret)?;
    // Whether anybody may call the workers has to be said.
    let unsaid = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": super::NAME},
        "spec": {
            "discovery": {"zookeeper": {"hosts": fixture.druid.zookeeper()}},
            "overlord": {"url": fixture.druid.service_url()?},
        },
    });
    let Err(error) = fixture.apply(fixture.home(), &unsaid) else {
        anyhow::bail!("workers without authentication were taken");
    };
    ensure!(format!("{error:#}").contains("allowAnonymous: true"), "{error:#}");
    for (discovery, expected) in [
        (json!({}), "exactly one of zookeeper and kubernetes"),
        (
            json!({"zookeeper": {"hosts": "z:2181"}, "kubernetes": {"clusterIdentifier": "d"}}),
            "exactly one of zookeeper and kubernetes",
        ),
        (json!({"kubernetes": {}}), "clusterIdentifier: Required value"),
    ] {
        let mut object = unsaid.clone();
        object["spec"]["allowAnonymous"] = json!(true);
        object["spec"]["discovery"] = discovery.clone();
        let Err(error) = fixture.apply(fixture.home(), &object) else {
            anyhow::bail!("{discovery} was accepted");
        };
        ensure!(format!("{error:#}").contains(expected), "{discovery}: {error:#}");
    }
    let manager = MiddleManager::create(fixture, |spec| {
        spec["authRef"] = json!({"name": SECRET});
        spec["maxTaskBytes"] = json!(MOST_BYTES);
    })?;
    // An overlord that has no credentials does not get in, and they are announced all the same.
    let worker = wait_until(LIMIT, "identities that are announced", || {
        let status = manager.status()?;
        let announced = list(&status["identities"])
            .iter()
            .filter(|i| i["announced"] == true)
            .count();
        (announced == 2).then(|| Worker::of(&manager, 0)).transpose()
    })?;
    // They are announced before the Service leads to the pod.
    wait_until(LIMIT, "the workers to be reached", || {
        let health = worker.get("/status/health").ok();
        Ok(health.filter(|answer| answer.code == 200).map(drop))
    })?;
    let known = worker.with_credentials(&encoded("druid_system:sesame"));
    let wrong = worker.with_credentials(&encoded("druid_system:open"));
    let id = format!("by_a_stranger_{}", fixture.run);
    let task = assignment(&id, 1000).to_string();
    for stranger in [&worker, &wrong] {
        let order = format!("/druid/worker/v1/task/{id}/shutdown");
        let log = format!("/druid/worker/v1/task/{id}/log");
        let requests: [(&str, &str, &[u8]); 8] = [
            ("GET", "/druid-internal/v1/worker?counter=-1&timeout=1000", b""),
            ("POST", "/druid-internal/v1/worker/assignTask", task.as_bytes()),
            ("POST", &order, b""),
            ("POST", "/druid/worker/v1/disable", b""),
            ("GET", "/druid/worker/v1/enabled", b""),
            ("GET", "/druid/worker/v1/tasks", b""),
            ("GET", &log, b""),
            ("GET", "/status", b""),
        ];
        for (method, path, body) in requests {
            let answer = stranger.send(method, path, &[("Content-Type", JSON)], body)?;
            ensure!(
                answer.code == 401
                    && answer
                        .head
                        .to_ascii_lowercase()
                        .contains("www-authenticate: basic"),
                "{path}: {answer:?}"
            );
        }
        ensure!(stranger.get("/status/health")?.code == 200);
    }
    bad_polls(&known)?;
    bad_assignments(&known)?;
    let unknown = known.shutdown("a%20b%2Fc")?;
    ensure!(
        unknown.code == 200 && unknown.json()? == json!({"task": "a b/c"}),
        "{unknown:?}"
    );
    let log = known.get("/druid/worker/v1/task/unknown/log?offset=0")?;
    ensure!(log.code == 404 && log.body.is_empty(), "{log:?}");
    // After all that it has none of these. It tells the ends of what ran in other cases, until the overlord forgets them.
    let (_, tasks) = known.poll(60_000)?.state()?;
    let refused = [id.as_str(), "a", "cut_off", "large", "unknown"];
    ensure!(
        refused.iter().all(|id| !tasks.contains_key(*id)) && tasks.values().all(|s| s != "RUNNING"),
        "{tasks:?}"
    );
    ensure!(manager.peon_tasks(&id)?.is_empty(), "a stranger had a task run");
    ensure!(restarts(fixture)? == [json!(0)], "{:?}", restarts(fixture)?);
    opened(fixture, &manager)?;
    fixture
        .kubectl
        .delete(&["secret", SECRET, "--namespace", fixture.home()])
}

/// Where everybody is let in, a condition says so, and what the pod had of the Secret is taken from it.
fn opened(fixture: &Fixture, manager: &MiddleManager) -> Result<()> {
    let reason = |wanted: &str| {
        wait_until(LIMIT, wanted, || {
            let conditions = list(&manager.status()?["conditions"]);
            let said = conditions
                .iter()
                .any(|c| c["type"] == "Authenticated" && c["reason"] == wanted);
            Ok(said.then_some(()))
        })
    };
    reason("BasicAuth")?;
    manager.change(&json!({"authRef": null, "allowAnonymous": true}))?;
    reason("AnonymousAllowed")?;
    wait_until(LIMIT, "a Deployment without the Secret", || {
        let name = format!("{}-vmm", super::NAME);
        let found = fixture
            .kubectl
            .get_json(&["deployment", &name, "--namespace", fixture.home()])?;
        Ok(list(&found["spec"]["template"]["spec"]["volumes"])
            .is_empty()
            .then_some(()))
    })
}

fn bad_polls(worker: &Worker) -> Result<()> {
    let poll = |query: &str| worker.get(&format!("/druid-internal/v1/worker?{query}"));
    for query in [
        "counter=-1",
        "counter=-1&timeout=0",
        "counter=-1&timeout=-5",
        "counter=-1&timeout=soon",
        "counter=many&timeout=1000",
        "counter=99999999999999999999&timeout=1000",
    ] {
        let answer = poll(query)?;
        ensure!(answer.code == 400, "{query}: {answer:?}");
    }
    let (hash, _) = poll("counter=-7&timeout=60000")?.state()?;
    let ahead = format!("counter=1000000&hash={hash}&timeout=1000");
    for query in [ahead.as_str(), "counter=0&hash=1&timeout=1000", "timeout=1000"] {
        let answer = poll(query)?.json()?;
        ensure!(
            answer["resetCounter"] == true && answer["resetCause"].is_string(),
            "{query}: {answer}"
        );
    }
    Ok(())
}

fn bad_assignments(worker: &Worker) -> Result<()> {
    let whole = smile(&assignment("cut_off", 1000))?;
    let cut = &whole[..whole.len() / 2];
    let large = json!({"type": "noop", "id": "large", "x": "x".repeat(MOST_BYTES)}).to_string();
    let (json, smile_of_it) = (Some(JSON), smile(&serde_json::from_str(&large)?)?);
    let cases: [(&[u8], Option<&str>, u16); 10] = [
        (b"", Some(SMILE), 400),
        (b":)\n\0\xff\xff", Some(SMILE), 400),
        (b"no smile at all", Some(SMILE), 400),
        (cut, Some(SMILE), 400),
        (b"{\"type\": \"noop\", \"id\": ", json, 400),
        (b"{\"type\": \"noop\"}", json, 400),
        (b"[]", json, 400),
        (b"{\"type\": \"noop\", \"id\": \"a\"}", Some("text/plain"), 415),
        (large.as_bytes(), json, 413),
        (&smile_of_it, Some(SMILE), 413),
    ];
    for (n, (body, media_type, code)) in cases.into_iter().enumerate() {
        let path = "/druid-internal/v1/worker/assignTask";
        let headers = media_type.map(|m| ("Content-Type", m));
        let answer: Answer = worker.send("POST", path, headers.as_slice(), body)?;
        ensure!(answer.code == code, "{n}: {answer:?}");
    }
    Ok(())
}

/// The name that the PeonTask of a noop gets.
fn name_of(id: &str) -> String {
    let hash = Sha256::digest(format!("{}\0{id}", super::NAME));
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    let hash = u64::from_be_bytes(first);
    format!("noop-{hash:016x}")
}

fn squatters(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let worker = Worker::of(&manager, 0)?;
    // The name, and even the reference to the workers.
    let mut squats = Vec::new();
    for (n, middle_manager) in [None, Some(super::NAME)].into_iter().enumerate() {
        let id = format!("squatted_{n}_{}", fixture.run);
        let mut squatter = samples::noop(&name_of(&id))?;
        squatter["spec"]["suspend"] = json!(true);
        if let Some(name) = middle_manager {
            squatter["spec"]["middleManagerRef"] = json!({"name": name});
        }
        squatter["spec"]["task"]["id"] = json!(id);
        squatter["spec"]["task"]["runTime"] = json!(1);
        fixture.apply(fixture.home(), &squatter)?;
        ensure!(worker.says(&id)?.is_none(), "{id} is announced");
        squats.push((id, fixture.get(fixture.home(), &name_of(&squatted(&squatter)))?));
    }
    for (id, squatter) in &squats {
        let submitted = manager.submit(&json!({"type": "noop", "id": id, "runTime": 500}))?;
        let status = manager.until_ended(&submitted)?;
        ensure!(status["statusCode"] == "SUCCESS", "{status}");
        let name = manager.until_assigned(id)?;
        ensure!(name == format!("{}-1", name_of(id)), "{name}");
        let after = fixture.get(fixture.home(), text(&squatter["metadata"]["name"]))?;
        ensure!(
            after["spec"] == squatter["spec"] && after["metadata"]["uid"] == squatter["metadata"]["uid"],
            "the squatter was changed: {after}"
        );
    }
    forged(fixture, &manager)?;
    large(fixture, &manager, &worker)
}

fn squatted(task: &Value) -> String {
    text(&task["spec"]["task"]["id"]).to_owned()
}

/// What says that a task was assigned, and to whom, is not for users to write.
fn forged(fixture: &Fixture, manager: &MiddleManager) -> Result<()> {
    let id = format!("forged_{}", fixture.run);
    let refused = |what: &str, outcome: Result<()>| -> Result<()> {
        let Err(error) = outcome else {
            anyhow::bail!("{what} was taken");
        };
        let said = format!("{error:#}");
        ensure!(said.contains("VirtualMiddleManager"), "{what}: {said}");
        Ok(())
    };
    let marks = [
        ("labels", "peon.dev/middle-manager", super::NAME),
        ("labels", "peon.dev/identity", "0"),
        ("annotations", "peon.dev/task-id", &id),
        ("annotations", "peon.dev/overlord", "forgotten"),
    ];
    for (kind, key, value) in marks {
        let mut task = samples::noop("forged")?;
        task["spec"]["suspend"] = json!(true);
        task["metadata"][kind] = json!({ key: value });
        refused(key, fixture.apply(fixture.home(), &task))?;
    }
    impostor(fixture, &refused)?;
    let running = manager.submit(&noop(fixture, "relabelled", 3_600_000))?;
    let name = manager.until_assigned(&running)?;
    for change in [
        "peon.dev/identity=7",
        "peon.dev/identity-",
        "peon.dev/middle-manager-",
    ] {
        let args = [
            "label",
            "peontask",
            &name,
            change,
            "--overwrite",
            "--namespace",
            fixture.home(),
        ];
        refused(change, fixture.kubectl.run(&args).map(drop))?;
    }
    // Everything else is theirs.
    let args = [
        "label",
        "peontask",
        &name,
        "team=ads",
        "--namespace",
        fixture.home(),
    ];
    fixture.kubectl.run(&args)?;
    fixture.druid.shutdown(&running)?;
    manager.until_ended(&running).map(drop)
}

/// A service account named as that of a VirtualMiddleManager, which somebody made who may make service accounts.
fn impostor(fixture: &Fixture, refused: &dyn Fn(&str, Result<()>) -> Result<()>) -> Result<()> {
    let account = "impostor-vmm";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": account},
        "rules": [{"apiGroups": ["peon.dev"], "resources": ["peontasks"], "verbs": ["create"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": fixture.home()}],
    });
    let service_account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
    for object in [service_account, role, binding] {
        fixture.apply(fixture.home(), &object)?;
    }
    let namespace = fixture.home();
    let user = format!("--as=system:serviceaccount:{namespace}:{account}");
    let group = format!("--as-group=system:serviceaccounts:{namespace}");
    let create = |task: &Value| {
        let args = [
            "create",
            "-f",
            "-",
            "--namespace",
            fixture.home(),
            &user,
            &group,
            "--as-group=system:serviceaccounts",
            "--as-group=system:authenticated",
        ];
        fixture.kubectl.run_with_input(&args, &task.to_string()).map(drop)
    };
    let mut task = samples::noop("forged-by-an-impostor")?;
    task["metadata"]["namespace"] = json!(fixture.home());
    task["spec"]["suspend"] = json!(true);
    task["spec"]["middleManagerRef"] = json!({"name": "impostor"});
    let mut marked = task.clone();
    marked["metadata"]["labels"] = json!({"peon.dev/middle-manager": "impostor"});
    refused("a mark by an account of the right name", create(&marked))?;
    // It may do the rest.
    create(&task)
}

/// As much as may be sent by default is more than a task may have: it is taken and fails, and the process lives on.
fn large(fixture: &Fixture, manager: &MiddleManager, worker: &Worker) -> Result<()> {
    let id = format!("large_{}", fixture.run);
    let mut task = assignment(&id, 1000);
    task["context"] = json!({"padding": "x".repeat(60 << 20)});
    let answer = worker.assign(&smile(&task)?, SMILE)?;
    ensure!(answer.code == 200, "{answer:?}");
    let said = worker.says(&id)?;
    ensure!(said.as_deref() == Some("FAILED"), "{said:?}");
    ensure!(manager.peon_tasks(&id)?.is_empty(), "{id} has a PeonTask");
    task["context"] = json!({"padding": "x".repeat(64 << 20)});
    let answer = worker.assign(task.to_string().as_bytes(), JSON)?;
    ensure!(answer.code == 413, "{} {}", answer.code, answer.head);
    ensure!(restarts(fixture)? == [json!(0)], "{:?}", restarts(fixture)?);
    Ok(())
}
