//! `kubectl peon logs`.

use anyhow::{Context, bail};
use clap::Args;
use futures::io::AllowStdIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

use crate::api::{ANNOTATION_CONTAINER, PEON_CONTAINER, PeonTask, PeonTaskStatus, Phase, conditions};

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Name of the PeonTask.
    name: String,

    /// Go on until the task ends.
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    /// Prints the log of the task's pod.
    ///
    /// # Access control
    /// peontasks: get, list, watch. pods: get. pods/log: get.
    pub(super) async fn run(&self, client: Client, namespace: Option<&str>) -> anyhow::Result<()> {
        let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
        let tasks: Api<PeonTask> = Api::namespaced(client.clone(), &namespace);
        if self.follow {
            self.await_start(&tasks).await?;
        }
        let task = tasks
            .get(&self.name)
            .await
            .with_context(|| format!("PeonTask {}", self.name))?;
        let status = task.status.unwrap_or_default();
        let Some(pod_name) = &status.pod_name else {
            bail!("{} has no pod yet: {}", self.name, why(&status))
        };
        let pods: Api<Pod> = Api::namespaced(client, &namespace);
        let Some(pod) = pods.get_opt(pod_name).await? else {
            bail!(
                "the pod {pod_name} is gone, and its log with it: {}",
                why(&status)
            );
        };
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let container = annotations
            .get(ANNOTATION_CONTAINER)
            .map_or(PEON_CONTAINER, String::as_str);
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: self.follow,
            ..LogParams::default()
        };
        let stream = pods
            .log_stream(pod_name, &params)
            .await
            .with_context(|| format!("log of pod {pod_name}"))?;
        // Bytes as they are: a log need not be text, and a reader such as `head` may go before its end.
        match futures::io::copy(stream, &mut AllowStdIo::new(std::io::stdout().lock())).await {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(error).context("the log broke off")
            }
            _ => Ok(()),
        }
    }

    /// Waits until the task's container has begun, or never will.
    async fn await_start(&self, tasks: &Api<PeonTask>) -> anyhow::Result<()> {
        let begun = |task: Option<&PeonTask>| {
            let phase = task.and_then(|t| t.status.as_ref()).and_then(|s| s.phase);
            task.is_none() || matches!(phase, Some(Phase::Running | Phase::Succeeded | Phase::Failed))
        };
        await_condition(tasks.clone(), &self.name, begun).await?;
        Ok(())
    }
}

/// Why a task is where it is.
fn why(status: &PeonTaskStatus) -> String {
    let types = [conditions::FAILED, conditions::COMPLETE, conditions::READY];
    let condition = types.iter().find_map(|t| conditions::find(&status.conditions, t));
    condition.map_or_else(
        || "nothing is known of it".into(),
        |c| format!("{}: {}", c.reason, c.message),
    )
}
