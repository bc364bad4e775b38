//! PeonTasks that users apply, and that the overlord runs.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Case, MiddleManager, case, list, process::Process, shared, text};
use crate::testbed::{
    cache::hex,
    druid::{samples, stock_middle_manager::StockMiddleManager},
    fixture::{Fixture, LIMIT},
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::submissions::killed_around_the_submit_there_is_one_task",
        killed,
    )
    .long()
    .own(),
    case(
        "middle_manager::submissions::what_another_worker_runs_is_mirrored",
        elsewhere,
    )
    .long()
    .own(),
    shared(
        "middle_manager::submissions::an_applied_ingestion_publishes_its_segments",
        ingestion,
    ),
    case(
        "middle_manager::submissions::only_what_is_enabled_and_listed_reaches_the_overlord",
        policy,
    )
    .own(),
    case(
        "middle_manager::submissions::a_squatter_captures_nothing",
        squatter,
    )
    .own(),
    case(
        "middle_manager::submissions::deleted_or_cancelled_it_ends_at_the_overlord",
        ends,
    )
    .own(),
];

/// Label of the PeonTasks of a case.
const LABEL: &str = "peon.dev/e2e-submission";

/// A VirtualMiddleManager that submits, and the PeonTasks that are applied for it.
struct Submissions<'a> {
    manager: MiddleManager<'a>,
    fixture: &'a Fixture,
}

impl<'a> Submissions<'a> {
    fn start(fixture: &'a Fixture, types: &[&str]) -> Result<Self> {
        let manager = MiddleManager::start(fixture)?;
        let this = Self { manager, fixture };
        this.allow(&json!({"enabled": true, "taskTypes": types}))?;
        Ok(this)
    }

    /// With the workers that other cases use, too, which take ingestions and noops.
    fn shared(fixture: &'a Fixture) -> Result<Self> {
        Ok(Self {
            manager: MiddleManager::shared(fixture)?,
            fixture,
        })
    }

    fn allow(&self, submissions: &Value) -> Result<()> {
        self.manager.change(&json!({ "submissions": submissions }))
    }

    /// Applies a PeonTask with this spec and returns its uid.
    fn apply(&self, name: &str, spec: &Value) -> Result<String> {
        let mut spec = spec.clone();
        spec["middleManagerRef"] = json!({"name": super::NAME});
        let object = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
            "metadata": {"name": name, "labels": {LABEL: "true"}}, "spec": spec,
        });
        self.fixture.apply(self.fixture.home(), &object)?;
        let task = self.fixture.get(self.fixture.home(), name)?;
        Ok(text(&task["metadata"]["uid"]).to_owned())
    }

    fn until_state(&self, name: &str, state: &str) -> Result<Value> {
        let so = |s: &Value| s["submission"]["state"] == state;
        let found = self.fixture.until(self.fixture.home(), name, so);
        found.with_context(|| format!("{:?}", self.fixture.get(self.fixture.home(), name)))
    }

    fn until_phase(&self, name: &str, phase: &str) -> Result<Value> {
        let so = |s: &Value| s["phase"] == phase || s["phase"] == "Failed" || s["phase"] == "Succeeded";
        let task = self.fixture.until(self.fixture.home(), name, so)?;
        ensure!(task["status"]["phase"] == phase, "{}", task["status"]);
        Ok(task)
    }

    /// Waits until the overlord has the task.
    fn until_known(&self, name: &str) -> Result<()> {
        let so =
            |s: &Value| s["submission"]["state"] == "Submitted" || s["submission"]["state"] == "Assigned";
        self.fixture.until(self.fixture.home(), name, so).map(drop)
    }

    /// Whether the overlord's workers take tasks.
    fn enable(&self, enabled: bool) -> Result<()> {
        let what = if enabled { "enable" } else { "disable" };
        for worker in list(&self.fixture.druid.get("/druid/indexer/v1/workers")?) {
            let host = text(&worker["worker"]["host"]).replace(':', "%3A");
            let path = format!("/druid/indexer/v1/worker/{host}/{what}");
            self.fixture.druid.post(&path, &json!({}))?;
        }
        let wanted = if enabled { 2 } else { 0 };
        self.manager.until_workers(wanted).map(drop)
    }

    /// Ids of the overlord's tasks that begin so.
    fn ids(&self, prefix: &str) -> Result<Vec<String>> {
        let all = self.fixture.druid.get("/druid/indexer/v1/tasks?max=1000")?;
        let ids = list(&all)
            .iter()
            .map(|t| text(&t["id"]).to_owned())
            .collect::<Vec<_>>();
        Ok(ids.into_iter().filter(|id| id.starts_with(prefix)).collect())
    }
}

impl Drop for Submissions<'_> {
    fn drop(&mut self) {
        // The workers of a later case would be given them.
        let args = [
            "peontask",
            "--namespace",
            self.fixture.home(),
            "--selector",
            LABEL,
        ];
        if let Err(error) = self.fixture.kubectl.delete(&args) {
            eprintln!("PeonTasks stay: {error:#}");
        }
    }
}

fn noop(run_time: u64) -> Value {
    json!({"task": {"type": "noop", "runTime": run_time}})
}

fn named(fixture: &Fixture, name: &str) -> String {
    format!("{name}-{}", fixture.run)
}

fn ingestion(fixture: &Fixture) -> Result<()> {
    let all = Submissions::shared(fixture)?;
    let name = named(fixture, "applied");
    let datasource = format!("applied_{}", fixture.run);
    let mut sample = samples::index_parallel(&name, "none", &datasource)?;
    let mut spec = sample["spec"].take();
    // As the other peons of lanes: a pod that does not fit beside them waits, and workers have it evicted.
    spec["resources"]["requests"]["cpu"] = json!("50m");
    // It gets an id of its own.
    for key in [("", "registration"), ("/task", "id")] {
        let object = spec.pointer_mut(key.0).and_then(Value::as_object_mut);
        object.context("the sample is another one")?.remove(key.1);
    }
    spec["task"]["context"] = json!({"tags": {"team": "ads"}});
    let uid = all.apply(&name, &spec)?;
    let id = format!("{name}_{uid}");
    // And one whose payload stands in a Secret.
    let secret = named(fixture, "from-a-secret");
    let json = json!({"type": "noop", "id": secret, "runTime": 10}).to_string();
    let labels = json!({"peon.dev/payload": "true"});
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "labels": labels}, "stringData": {"task": json},
    });
    fixture.apply(fixture.home(), &object)?;
    let from = json!({"sha256": hex(&Sha256::digest(&json)), "secrets": [{"name": secret, "key": "task"}]});
    all.apply(&secret, &json!({"taskFrom": from}))?;

    all.until_known(&name)?;
    let status = all.manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let task = all.until_phase(&name, "Succeeded")?;
    ensure!(task["status"]["taskId"] == json!(id), "{}", task["status"]);
    ensure!(
        task["status"]["memory"] == "600Mi",
        "its own settings hold: {}",
        task["status"]
    );
    // The peon was given what the overlord assigned, which has more than what was applied.
    let assigned = &task["status"]["submission"]["assigned"];
    let chunk = text(&assigned["secrets"][0]["name"]);
    let secret_object = fixture
        .kubectl
        .get_json(&["secret", chunk, "--namespace", fixture.home()])?;
    ensure!(
        secret_object["metadata"]["ownerReferences"][0]["uid"] == json!(uid),
        "{secret_object}"
    );
    ensure!(
        task["status"]["taskHash"] == json!(format!("sha256:{}", text(&assigned["sha256"]))),
        "{}",
        task["status"]
    );
    let held = fixture.druid.get(&format!("/druid/indexer/v1/task/{id}"))?;
    let context = &held["payload"]["context"];
    ensure!(context["peon.dev/submission"]["uid"] == json!(uid), "{context}");
    ensure!(context["tags"]["team"] == "ads", "{context}");
    let found = all.manager.peon_tasks(&id)?;
    ensure!(
        found.len() == 1 && found[0]["metadata"]["name"] == json!(name),
        "{found:?}"
    );
    let log = fixture
        .druid
        .get_text(&format!("/druid/indexer/v1/task/{id}/log"))?;
    ensure!(log.contains("Task completed with status"), "{log}");
    all.manager.check_report(&id)?;
    wait_until(LIMIT, "the segments", || {
        Ok((fixture.druid.segments(&datasource)?.len() == 2).then_some(()))
    })?;
    all.until_known(&secret)?;
    let status = all.manager.until_ended(&secret)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    all.until_phase(&secret, "Succeeded")?;
    fixture
        .kubectl
        .delete(&["secret", &secret, "--namespace", fixture.home()])
}

fn policy(fixture: &Fixture) -> Result<()> {
    let all = Submissions::start(fixture, &["index_parallel"])?;
    let name = named(fixture, "unlisted");
    all.apply(&name, &noop(10))?;
    let task = fixture.until_reason(fixture.home(), &name, "TypeNotListed")?;
    let message = Fixture::message(&task, "Accepted", "False")?;
    ensure!(
        message.contains("noop") && message.contains("index_parallel"),
        "{message}"
    );
    all.allow(&json!({"enabled": false, "taskTypes": ["noop", "nonsense"]}))?;
    fixture.until_reason(fixture.home(), &name, "SubmissionsDisabled")?;
    ensure!(all.ids(&name)?.is_empty(), "the overlord knows of it");
    // It goes on by itself.
    all.allow(&json!({"enabled": true, "taskTypes": ["noop", "nonsense"]}))?;
    all.until_phase(&name, "Succeeded")?;
    // What Druid refuses is said in its words, and for good.
    let nonsense = named(fixture, "nonsense");
    all.apply(&nonsense, &json!({"task": {"type": "nonsense"}}))?;
    let task = fixture.until_reason(fixture.home(), &nonsense, "SubmissionRefused")?;
    ensure!(task["status"]["phase"] == "Failed", "{}", task["status"]);
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(message.contains("nonsense"), "{message}");
    Ok(())
}

fn squatter(fixture: &Fixture) -> Result<()> {
    let all = Submissions::start(fixture, &["kill"])?;
    let name = named(fixture, "squatter");
    let id = format!("squatted_{}", fixture.run);
    let task = json!({"task": {"type": "noop", "id": id, "runTime": 1}, "javaOpts": ["-Dsquatted=true"]});
    all.apply(&name, &task)?;
    fixture.until_reason(fixture.home(), &name, "TypeNotListed")?;
    all.manager
        .submit(&json!({"type": "noop", "id": id, "runTime": 2000}))?;
    let refused = fixture.until_reason(fixture.home(), &name, "IdConflict")?;
    ensure!(refused["status"]["phase"] == "Failed", "{}", refused["status"]);
    let other = all.manager.until_assigned(&id)?;
    ensure!(other != name, "the squatter has the assignment");
    let status = all.manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let own = fixture.get(fixture.home(), &other)?;
    ensure!(own["spec"].get("javaOpts").is_none(), "{own}");
    fixture.until_no_pod(fixture.home(), &name)?;
    // So does one that comes later, and may be submitted.
    all.allow(&json!({"enabled": true, "taskTypes": ["noop"]}))?;
    let late = named(fixture, "late-squatter");
    all.apply(&late, &json!({"task": {"type": "noop", "id": id, "runTime": 1}}))?;
    fixture.until_reason(fixture.home(), &late, "IdConflict")?;
    // Labels and annotations of assigned tasks are not for everybody.
    let forged = json!({"metadata": {"labels": {"peon.dev/identity": "0"}}}).to_string();
    let annotated = json!({"metadata": {"annotations": {"peon.dev/task-id": "another"}}}).to_string();
    for (task, patch) in [(&late, &forged), (&other, &annotated)] {
        let args = [
            "patch",
            "peontask",
            task,
            "--type=merge",
            "--patch",
            patch,
            "--namespace",
            fixture.home(),
        ];
        let somebody = format!("--as=system:serviceaccount:{}:somebody", fixture.home());
        let as_user = [&args[..], &[somebody.as_str()]].concat();
        grant(fixture)?;
        let refused = fixture.kubectl.run(&as_user);
        let words = refused.err().map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(words.contains("ValidatingAdmissionPolicy"), "{words}");
    }
    Ok(())
}

/// Somebody may do with PeonTasks what users may.
fn grant(fixture: &Fixture) -> Result<()> {
    let allowed =
        json!({"apiGroups": ["peon.dev"], "resources": ["peontasks"], "verbs": ["get", "create", "patch"]});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "somebody"}, "rules": [allowed],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "somebody"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "somebody"},
        "subjects": [{"kind": "ServiceAccount", "name": "somebody", "namespace": fixture.home()}],
    });
    fixture.apply(fixture.home(), &role)?;
    fixture.apply(fixture.home(), &binding)
}

fn ends(fixture: &Fixture) -> Result<()> {
    let all = Submissions::start(fixture, &["noop"])?;
    all.enable(false)?;
    let [deleted, cancelled, running] =
        ["deleted-pending", "cancelled-pending", "deleted-running"].map(|name| named(fixture, name));
    let mut ids = Vec::new();
    for name in [&deleted, &cancelled] {
        let uid = all.apply(name, &noop(3_600_000))?;
        let task = all.until_state(name, "Submitted")?;
        ensure!(task["status"]["reason"] == "NotAssigned", "{}", task["status"]);
        ids.push(format!("{name}_{uid}"));
    }
    fixture
        .kubectl
        .delete(&["peontask", &deleted, "--namespace", fixture.home()])?;
    fixture.change(fixture.home(), &cancelled, &json!({"cancel": true}))?;
    for id in &ids {
        let status = all.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "FAILED", "{status}");
    }
    fixture.until_reason(fixture.home(), &cancelled, "Cancelled")?;
    all.enable(true)?;
    let uid = all.apply(&running, &noop(3_600_000))?;
    all.until_phase(&running, "Running")?;
    fixture
        .kubectl
        .delete(&["peontask", &running, "--namespace", fixture.home()])?;
    let status = all.manager.until_ended(&format!("{running}_{uid}"))?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    Ok(())
}

fn killed(fixture: &Fixture) -> Result<()> {
    let all = Submissions::start(fixture, &["noop"])?;
    let mut ids = Vec::new();
    // Killed when the first of several is about to be submitted, or was a moment ago.
    for round in 0..2 {
        let names: Vec<String> = (0..3)
            .map(|n| named(fixture, &format!("killed-{round}-{n}")))
            .collect();
        for name in &names {
            let uid = all.apply(name, &noop(500))?;
            ids.push((name.clone(), format!("{name}_{uid}")));
        }
        fixture.until(fixture.home(), &names[0], |s| {
            s["submission"]["state"].is_string()
        })?;
        Process::server(fixture).kill()?;
    }
    for (name, id) in &ids {
        let status = all.manager.until_ended(id)?;
        // One that the overlord was about to assign when the process died: it tries for some seconds only.
        let is_lost = text(&status["errorMsg"]).contains("did not start it in timeout");
        ensure!(is_lost || status["statusCode"] == "SUCCESS", "{status}");
        all.until_phase(name, if is_lost { "Failed" } else { "Succeeded" })?;
        let known = all.ids(name)?;
        ensure!(known == [id.clone()], "{known:?}");
        let found = all.manager.peon_tasks(id)?;
        ensure!(found.len() == usize::from(!is_lost), "{found:?}");
    }
    Ok(())
}

/// A stock MiddleManager of the same overlord takes what the identities do not.
fn elsewhere(fixture: &Fixture) -> Result<()> {
    let all = Submissions::start(fixture, &["noop"])?;
    all.enable(false)?;
    let name = named(fixture, "elsewhere");
    let uid = all.apply(&name, &noop(15_000))?;
    all.until_state(&name, "Submitted")?;
    let options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
    let _stock = StockMiddleManager::start(fixture, &options.map(str::to_owned), 1)?;
    let task = fixture.until_reason(fixture.home(), &name, "RunsElsewhere")?;
    ensure!(task["status"]["phase"] == "Running", "{}", task["status"]);
    ensure!(
        task["status"]["run"] == json!({"kind": "Elsewhere"}),
        "{}",
        task["status"]
    );
    let status = all.manager.until_ended(&format!("{name}_{uid}"))?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let task = all.until_phase(&name, "Succeeded")?;
    ensure!(
        task["status"]["run"] == json!({"kind": "Elsewhere"}),
        "{}",
        task["status"]
    );
    Ok(())
}
