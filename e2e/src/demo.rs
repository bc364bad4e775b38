//! `make demo`: an ingestion on a real Kubernetes and a real Druid, from nothing to its segments.

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::testbed::{
    cache::Cache,
    cluster::Cluster,
    druid::{
        middle_manager::{MiddleManager, NAME},
        samples,
    },
    fixture::{Fixture, LIMIT, NAMESPACE, OPERATOR_NAMESPACE, RELEASE},
    json::text,
    lock::Busy,
    progress::Progress,
    target::Target,
    wait::wait_until,
};

const TASK: &str = "demo";
const APPLIED: &str = "applied";
const POOL: &str = "warm";

/// Runs the demo; `keep` leaves everything running for a look around.
///
/// # Errors
/// When anything does not work; the task's status is in the message.
pub fn run(cache: &Cache, busy: Busy, keep: bool, progress: &Progress) -> Result<()> {
    let target = Target::choose_running(cache, busy, progress)?;
    let foreign = target.own().is_none();
    let fixture = Fixture::prepare(target, cache, progress)?;
    let shown = fixture
        .install(progress)
        .and_then(|()| show(&fixture, keep, progress));
    if shown.is_err() {
        let folder = cache.path("run/failed");
        fixture.target.collect_logs(&folder)?;
        progress.say(format_args!("logs of everything are in {}", folder.display()));
    }
    if keep {
        look_around(&fixture);
        fixture.into_target()?.keep();
        return shown;
    }
    if foreign {
        fixture.remove(progress)?;
    }
    fixture.into_target()?.down()?;
    shown
}

fn show(fixture: &Fixture, keep: bool, progress: &Progress) -> Result<()> {
    progress.say("applying a VirtualMiddleManager");
    let workers = MiddleManager::start_with(fixture, |spec| {
        spec["submissions"] = json!({"enabled": true, "taskTypes": ["index_parallel"]});
    })?;
    heading("the overlord's workers: GET /druid/indexer/v1/workers");
    for worker in workers.until_workers(2)? {
        let worker = &worker["worker"];
        println!("{}  capacity {}", text(&worker["host"]), worker["capacity"]);
    }
    println!();
    let in_pod = through_the_overlord(fixture, &workers, progress)?;
    println!();
    let warm = in_a_pool(fixture, &workers, keep, progress)?;
    heading("from submitting the ingestion to SUCCESS at the overlord");
    println!("in a pod of its own     {:>6.2} s", in_pod.as_secs_f64());
    println!("in a warm Indexer       {:>6.2} s", warm.as_secs_f64());
    println!();
    applied(fixture, &workers, progress)?;
    println!();
    if keep {
        // Dropped, they would be deleted.
        std::mem::forget(workers);
    }
    progress.say("the demo is complete");
    Ok(())
}

/// What somebody does who has an overlord and knows nothing of Kubernetes.
fn through_the_overlord(fixture: &Fixture, workers: &MiddleManager, progress: &Progress) -> Result<Duration> {
    progress.say("submitting an ingestion to the overlord: POST /druid/indexer/v1/task");
    let datasource = format!("demo_{}", fixture.run);
    let id = format!("index_parallel_{datasource}");
    let mut sample = samples::index_parallel(TASK, &id, &datasource)?;
    let began = Instant::now();
    workers.submit(&sample["spec"]["task"].take())?;
    let name = workers.until_assigned(&id)?;
    let task = follow(fixture, &name, progress)?;
    let status = workers.until_ended(&id)?;
    let took = began.elapsed();
    if fixture.target.own().is_some() {
        heading(&format!("the task's log: GET /druid/indexer/v1/task/{id}/log"));
        print!(
            "{}",
            fixture
                .druid
                .get_text(&format!("/druid/indexer/v1/task/{id}/log"))?
        );
        heading("its report: GET …/reports");
        let report = fixture
            .druid
            .get(&format!("/druid/indexer/v1/task/{id}/reports"))?;
        println!(
            "{}",
            report["ingestionStatsAndErrors"]["payload"]["rowStats"]["buildSegments"]
        );
    } else {
        // The operator cannot mount the volume on which this overlord keeps its logs.
        let pod = text(&task["status"]["run"]["pod"]);
        heading(&format!("the task's log: kubectl logs {pod}"));
        print!("{}", fixture.kubectl.logs(&[pod, "--namespace", NAMESPACE])?);
    }
    describe(fixture, &name, &task)?;
    heading("the task's status at the overlord: GET …/status");
    println!("{} after {} ms", text(&status["statusCode"]), status["duration"]);
    if status["statusCode"] != "SUCCESS" {
        bail!("the task did not succeed: {status}");
    }
    show_segments(fixture, &datasource)?;
    Ok(took)
}

/// The same ingestion where a JVM is there before the task is.
fn in_a_pool(
    fixture: &Fixture,
    workers: &MiddleManager,
    keep: bool,
    progress: &Progress,
) -> Result<Duration> {
    progress.say("applying an IndexerPool with one idle Indexer");
    let spec = json!({
        "middleManagerRef": {"name": NAME},
        "replicas": 1,
        "maxIndexers": 2,
        "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "640Mi", "cpu": "1"}},
    });
    let object = samples::pool(POOL, &spec);
    fixture.apply(NAMESPACE, &object)?;
    let args = ["indexerpool", POOL, "--namespace", NAMESPACE];
    fixture
        .kubectl
        .wait_for(&args, LIMIT, |pool| pool["status"]["readyReplicas"] == 1)?;
    heading("the pool: kubectl get indexerpools");
    print!(
        "{}",
        fixture
            .kubectl
            .run(&["get", "indexerpools", "--namespace", NAMESPACE])?
    );
    println!();
    progress.say("submitting the same ingestion to the overlord again");
    let datasource = format!("warm_{}", fixture.run);
    let id = format!("index_parallel_{datasource}");
    let mut sample = samples::index_parallel(TASK, &id, &datasource)?;
    let began = Instant::now();
    workers.submit(&sample["spec"]["task"].take())?;
    let status = workers.until_ended(&id)?;
    let took = began.elapsed();
    if status["statusCode"] != "SUCCESS" {
        bail!("the task did not succeed: {status}");
    }
    let name = workers.until_assigned(&id)?;
    let task = fixture.get(NAMESPACE, &name)?;
    heading("where it ran: status.run of the PeonTask");
    println!("{}", task["status"]["run"]);
    if !keep {
        fixture.kubectl.delete(&args)?;
    }
    show_segments(fixture, &datasource)?;
    Ok(took)
}

/// What somebody does who has kubectl and knows nothing of the overlord.
fn applied(fixture: &Fixture, workers: &MiddleManager, progress: &Progress) -> Result<()> {
    progress
        .say("applying an ingestion with middleManagerRef: kubectl apply -f config/samples/submitted.yaml");
    fixture
        .kubectl
        .delete(&["peontask", APPLIED, "--namespace", NAMESPACE])?;
    let datasource = format!("applied_{}", fixture.run);
    fixture.apply(NAMESPACE, &samples::submitted(APPLIED, &datasource)?)?;
    let task = follow(fixture, APPLIED, progress)?;
    describe(fixture, APPLIED, &task)?;
    let id = text(&task["status"]["taskId"]);
    let status = workers.until_ended(id)?;
    heading(&format!(
        "its status at the overlord: GET /druid/indexer/v1/task/{id}/status"
    ));
    println!("{} after {} ms", text(&status["statusCode"]), status["duration"]);
    if fixture.target.own().is_some() {
        heading("the end of its log: GET …/log?offset=-400");
        let log = fixture
            .druid
            .get_text(&format!("/druid/indexer/v1/task/{id}/log?offset=-400"))?;
        println!("{log}");
    }
    if status["statusCode"] != "SUCCESS" || task["status"]["phase"] != "Succeeded" {
        bail!("the task did not succeed: {status} {}", task["status"]);
    }
    show_segments(fixture, &datasource)
}

fn describe(fixture: &Fixture, name: &str, task: &Value) -> Result<()> {
    heading("the task: kubectl get peontasks -o wide");
    let args = ["get", "peontasks", name, "-o", "wide", "--namespace", NAMESPACE];
    print!("{}", fixture.kubectl.run(&args)?);
    heading("its conditions");
    for condition in task["status"]["conditions"].as_array().into_iter().flatten() {
        let text = |name: &str| text(&condition[name]);
        println!(
            "{:<12} {:<6} {:<12} {}",
            text("type"),
            text("status"),
            text("reason"),
            text("message")
        );
    }
    heading("the cpu and memory that it got");
    println!(
        "cpu {}, memory {}",
        text(&task["status"]["cpu"]),
        text(&task["status"]["memory"])
    );
    Ok(())
}

fn show_segments(fixture: &Fixture, datasource: &str) -> Result<()> {
    heading("the segments that Druid has now");
    for segment in segments(fixture, datasource)? {
        println!("{} {} bytes", text(&segment["identifier"]), segment["size"]);
    }
    Ok(())
}

/// Says each phase as it comes, until the task has ended.
fn follow(fixture: &Fixture, name: &str, progress: &Progress) -> Result<Value> {
    let mut last = Value::Null;
    wait_until(LIMIT, "the task to end", || {
        let task = fixture.get(NAMESPACE, name)?;
        let phase = task["status"]["phase"].clone();
        if phase != last {
            let reason = task["status"]["reason"].as_str().unwrap_or_default();
            progress.say(format_args!(
                "{name}: {} ({reason})",
                phase.as_str().unwrap_or("created")
            ));
            last = phase.clone();
        }
        let ended = matches!(phase.as_str(), Some("Succeeded" | "Failed"));
        Ok(ended.then_some(task))
    })
}

fn segments(fixture: &Fixture, datasource: &str) -> Result<Vec<Value>> {
    wait_until(Duration::from_secs(60), "the segments", || {
        let segments = fixture.druid.segments(datasource)?;
        Ok((!segments.is_empty()).then_some(segments))
    })
}

fn heading(text: &str) {
    println!("\n=== {text}");
}

fn look_around(fixture: &Fixture) {
    let own = fixture.target.own();
    let programs = env::current_exe().ok();
    let around = Around {
        kubeconfig: own.map(Cluster::kubeconfig),
        programs: [
            own.map(|own| own.bin_dir().to_owned()),
            programs.and_then(|program| Some(program.parent()?.to_owned())),
        ],
        ends_with_make: own.is_some(),
    };
    println!("\n{}", around.text());
}

/// What is printed for a look at what was left running. Its lines are for a shell in any folder.
struct Around {
    kubeconfig: Option<PathBuf>,
    /// Folders of kubectl, and of kubectl-peon.
    programs: [Option<PathBuf>; 2],
    /// Whether the cluster is our own.
    ends_with_make: bool,
}

impl Around {
    fn text(&self) -> String {
        let mut lines = vec!["Everything is left running. To look around:".to_owned()];
        if let Some(file) = &self.kubeconfig {
            lines.push(format!("  export KUBECONFIG={}", file.display()));
        }
        let folders = self
            .programs
            .iter()
            .flatten()
            .map(|folder| folder.display().to_string() + ":");
        lines.push(format!("  export PATH={}$PATH", folders.collect::<String>()));
        lines.push(format!(
            "  export PEON_NAMESPACE={NAMESPACE} PEON_OPERATOR_NAMESPACE={OPERATOR_NAMESPACE}"
        ));
        for command in [
            format!("kubectl get peontasks,virtualmiddlemanagers,indexerpools,pods --namespace {NAMESPACE}"),
            "kubectl peon list -o wide".to_owned(),
            format!("kubectl peon explain {APPLIED}"),
            format!("kubectl peon logs {APPLIED} --tail 20"),
            format!("kubectl peon pool {POOL}"),
            "kubectl peon history".to_owned(),
            format!(
                "kubectl port-forward service/overlord 8081 --namespace {NAMESPACE}   # Druid at http://localhost:8081"
            ),
        ] {
            lines.push(format!("  {command}"));
        }
        lines.push("To end it:".to_owned());
        if self.ends_with_make {
            lines.push("  make cluster-down".to_owned());
        } else {
            // In this order: workers and pools need their operator to go.
            lines.push(format!("  kubectl delete namespace {NAMESPACE}"));
            lines.push(format!(
                "  helm uninstall {RELEASE} --namespace {OPERATOR_NAMESPACE}"
            ));
            lines.push(format!("  kubectl delete namespace {OPERATOR_NAMESPACE}"));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_works_in_a_shell_of_its_own() {
        let own = Around {
            kubeconfig: Some("/c/kubeconfig".into()),
            programs: [Some("/c/bin".into()), Some("/t/debug".into())],
            ends_with_make: true,
        };
        let text = own.text();
        let namespaces =
            format!("  export PEON_NAMESPACE={NAMESPACE} PEON_OPERATOR_NAMESPACE={OPERATOR_NAMESPACE}");
        for line in [
            "  export KUBECONFIG=/c/kubeconfig",
            "  export PATH=/c/bin:/t/debug:$PATH",
            &namespaces,
            "  kubectl peon explain applied",
            "  make cluster-down",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        // kubectl itself reads none of the variables with a namespace.
        let plain = text
            .lines()
            .filter(|l| l.starts_with("  kubectl ") && !l.contains("kubectl peon"));
        for line in plain {
            assert!(line.contains(&format!(" --namespace {NAMESPACE}")), "{line}");
        }
        let foreign = Around {
            kubeconfig: None,
            programs: [None, Some("/t/debug".into())],
            ends_with_make: false,
        };
        let text = foreign.text();
        assert!(
            text.contains("helm uninstall") && !text.contains("make cluster-down"),
            "{text}"
        );
    }
}
