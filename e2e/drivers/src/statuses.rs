//! The statuses that the operator writes about a task that succeeds, made by its own code.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use peon_operator::api::{PeonEndpoint, PeonTask, PeonTaskStatus, Phase};
use peon_operator::druid::payload::Payload;
use peon_operator::task::accept::ladder::Growth;
use peon_operator::task::accept::properties_file::PropertiesFile;
use peon_operator::task::accept::settings::{Settings, Source};
use peon_operator::task::decide::status::Draft;
use peon_operator::task::decide::verdict::{Outcome, Verdict};
use peon_operator::task::run::pod::evidence::Terminated;

/// Settings as the operator finds them for a task that asks for nothing.
///
/// # Errors
/// When the memory cannot be read.
pub fn settings() -> anyhow::Result<Settings> {
    Ok(Settings {
        image: "apache/druid:33.0.0".to_owned(),
        resources: k8s_openapi::api::core::v1::ResourceRequirements::default(),
        memory: ("2G".to_owned(), Source::Operator),
        cpu: ("1".to_owned(), Source::Operator),
        first_memory: "2G".to_owned(),
        growth: Growth::between("2G", "2G").map_err(anyhow::Error::msg)?,
        enforce: true,
        active_deadline_seconds: None,
        class_path: String::new(),
        platform_user: false,
        host: "{address}".to_owned(),
        omitted: Vec::new(),
        properties_file: PropertiesFile::default(),
        java_opts: Vec::new(),
    })
}

/// What every status says once the task is accepted.
fn accepted(task: &PeonTask, payload: &Payload, settings: &Settings) -> Draft {
    let mut draft = Draft::of(task, Timestamp::now());
    draft.describe(payload);
    draft.template("default");
    draft.accept(settings);
    let name = task.name_any();
    let uid = "8f3c2a52-6c0e-4a55-9d3d-2f1f7c1f0a11";
    draft.pod(1, &format!("{name}-1"), uid, Some("node-1"));
    draft
}

/// After the pod was created.
#[must_use]
pub fn starting(task: &PeonTask, payload: &Payload, settings: &Settings) -> PeonTaskStatus {
    let waiting = peon_operator::api::reason::Waiting::Starting;
    accepted(task, payload, settings).wait(Phase::Starting, waiting, "the pod was created")
}

/// When the pod runs.
#[must_use]
pub fn running(task: &PeonTask, payload: &Payload, settings: &Settings) -> PeonTaskStatus {
    let mut draft = accepted(task, payload, settings);
    draft.location(Some("10.200.0.17"), &PeonEndpoint::default());
    draft.run(Some(Timestamp::now()))
}

/// With the verdict.
#[must_use]
pub fn succeeded(task: &PeonTask, payload: &Payload, settings: &Settings) -> PeonTaskStatus {
    let now = Timestamp::now();
    accepted(task, payload, settings).judge(&Verdict {
        outcome: Outcome::Succeeded,
        terminated: Some(Terminated {
            reason: "Completed".to_owned(),
            started: Some(now - SignedDuration::from_secs(10)),
            finished: Some(now),
            ..Terminated::default()
        }),
    })
}
