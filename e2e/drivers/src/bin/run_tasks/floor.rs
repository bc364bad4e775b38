//! A task as a client runs it that does nothing but send the requests.

use std::sync::Arc;

use anyhow::Context;
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use peon_operator::api::PeonTask;
use peon_operator::api::status_patch::replacing;
use peon_operator::druid::payload::Payload;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use e2e_drivers::statuses::{running, settings, starting, succeeded};

use super::Way;
use super::board::{Board, Pod};
use super::objects::Objects;

/// From its creation to its verdict.
pub async fn run(
    objects: &Objects,
    board: &Board,
    permits: &Arc<Semaphore>,
    name: &str,
    way: Way,
) -> anyhow::Result<()> {
    let mut pod = board.pod(name).context("no such task")?;
    let permit = permits.acquire().await?;
    board.created(name);
    let mut task = objects.create_task(name).await?;
    if way == Way::CrdOnly {
        for step in [Step::Starting, Step::Running, Step::Succeeded] {
            task = patch(objects, name, task, way, step).await?;
        }
        return Ok(());
    }
    objects.create_pod(name, &task).await?;
    if way == Way::Crd {
        task = patch(objects, name, task, way, Step::Starting).await?;
    }
    drop(permit);
    for (reached, step) in [(Pod::Runs, Step::Running), (Pod::Ended, Step::Succeeded)] {
        pod.wait_for(|now| *now >= reached).await?;
        let _permit = permits.acquire().await?;
        task = patch(objects, name, task, way, step).await?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Step {
    Starting,
    Running,
    Succeeded,
}

async fn patch(
    objects: &Objects,
    name: &str,
    task: DynamicObject,
    way: Way,
    step: Step,
) -> anyhow::Result<DynamicObject> {
    let version = task.resource_version();
    let status = if matches!(way, Way::Crd | Way::CrdOnly) {
        peon_status(task, step)?
    } else {
        let phase = match step {
            Step::Starting => "Starting",
            Step::Running => "Running",
            Step::Succeeded => "Succeeded",
        };
        json!({"phase": phase})
    };
    let body = json!({"metadata": {"resourceVersion": version}, "status": status});
    let params = PatchParams::default();
    Ok(objects
        .tasks
        .patch_status(name, &params, &Patch::Merge(&body))
        .await?)
}

/// The status that the operator would write.
fn peon_status(task: DynamicObject, step: Step) -> anyhow::Result<Value> {
    let task: PeonTask = serde_json::from_value(serde_json::to_value(task)?)?;
    let payload = Payload::parse_chunked(br#"{"type":"noop"}"#, &task.name_any())?;
    let status = match step {
        Step::Starting => starting,
        Step::Running => running,
        Step::Succeeded => succeeded,
    };
    let status = status(&task, &payload, &settings()?);
    Ok(replacing(task.status.as_ref(), &status)?)
}
