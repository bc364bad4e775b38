//! `peon-operator self-test`: whether an installed operator does its work. It needs no Druid.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use crate::api::PeonTask;
use crate::api::conditions::ACCEPTED;
use crate::api::reason::Acceptance;
use crate::apiserver::error::chain;
use crate::apiserver::request::request;

/// Beginning of the PeonTask's name, and name of the PeonTemplate that does not exist.
const NAME: &str = "peon-operator-self-test";

/// What to check.
#[derive(Debug, Clone, Args)]
pub struct SelfTest {
    /// Namespace in which the operator runs PeonTasks.
    #[arg(long, env = "PEON_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: String,

    /// Seconds that the operator may take to give the PeonTask a reason.
    #[arg(long, default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub wait_seconds: u64,
}

/// Creates a PeonTask whose PeonTemplate does not exist, waits until the operator says so in its status, and deletes it.
/// No pod is created. This shows that the CRDs are installed, that an operator leads and watches the namespace, and that
/// its rights let it write the status.
///
/// # Errors
/// When the PeonTask cannot be created, or does not get the reason in time.
pub async fn run(test: &SelfTest) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("there is no usable cluster configuration (service account or kubeconfig)")?;
    check(client, test).await?;
    println!(
        "the operator answered in namespace {}: the installation works",
        test.namespace
    );
    Ok(())
}

/// # Access control
/// peontasks: create, list, watch, delete.
async fn check(client: Client, test: &SelfTest) -> anyhow::Result<()> {
    let tasks: Api<PeonTask> = Api::namespaced(client, &test.namespace);
    let created = request("create peontask", tasks.create(&PostParams::default(), &task()?)).await;
    let created = created.map_err(|error| {
        anyhow!(
            "no PeonTask can be created in namespace {}: {}; are the CRDs of this version installed?",
            test.namespace,
            chain(&error)
        )
    })?;
    let name = created.name_any();
    let answered = await_condition(tasks.clone(), &name, |task: Option<&PeonTask>| {
        task.is_some_and(is_answered)
    });
    let answered = timeout(Duration::from_secs(test.wait_seconds), answered).await;
    // Whether or not it was answered. One that cannot be deleted runs nothing and is of no further use.
    let deleted = request("delete peontask", tasks.delete(&name, &DeleteParams::default())).await;
    match answered {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => bail!("PeonTask {name} cannot be watched: {}", chain(&error)),
        Err(_) => bail!(
            "PeonTask {name} got no reason within {} s: check that an operator pod leads (its log says \"leading\") and \
             watches namespace {}",
            test.wait_seconds,
            test.namespace
        ),
    }
    deleted
        .map(drop)
        .map_err(|error| anyhow!("PeonTask {name} cannot be deleted: {}", chain(&error)))
}

fn task() -> anyhow::Result<PeonTask> {
    let task = json!({
        "apiVersion": "peon.dev/v1alpha1",
        "kind": "PeonTask",
        "metadata": {"generateName": format!("{NAME}-")},
        "spec": {"task": {"type": "noop"}, "templateRef": {"name": NAME}},
    });
    serde_json::from_value(task).context("the PeonTask of the self-test")
}

/// Whether the operator said that the template does not exist.
fn is_answered(task: &PeonTask) -> bool {
    let conditions = task.status.iter().flat_map(|status| &status.conditions);
    let expected = Acceptance::NoTemplate.as_str();
    conditions
        .into_iter()
        .any(|c| c.type_ == ACCEPTED && c.status == "False" && c.reason == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operators_answer_counts() {
        let mut task = task().unwrap();
        assert!(!is_answered(&task));
        let status = |reason: &str, status: &str| {
            let condition = json!({
                "type": "Accepted", "status": status, "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            serde_json::from_value(json!({"conditions": [condition]})).unwrap()
        };
        task.status = Some(status("WaitingForOperator", "Unknown"));
        assert!(!is_answered(&task));
        task.status = Some(status("NoTemplate", "False"));
        assert!(is_answered(&task));
    }
}
