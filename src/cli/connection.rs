//! The cluster and the namespace of a command.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::complaint::Doing;
use crate::api::PeonTask;
use crate::apiserver::error::chain;

/// Name and version, by which an audit log tells these requests from others.
const NAME: &str = concat!("kubectl-peon/", env!("CARGO_PKG_VERSION"));

/// Flags of every command that talks to a cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Flags {
    /// Namespace; default: that of the kubeconfig's context.
    #[arg(short, long, global = true, env = "PEON_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Context of the kubeconfig; default: its current one.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,

    /// The kubeconfig; default: $KUBECONFIG, then ~/.kube/config, then the service account of the pod.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// A client and the namespace that it works on.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Flags {
    /// The namespace, where a flag or the environment gives one.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|n| !n.is_empty())
    }

    /// Connects; nothing is sent yet.
    pub(super) async fn connect(&self) -> anyhow::Result<Cluster> {
        let mut config = self.config().await.map_err(|error| {
            anyhow!(
                "there is no usable kubeconfig, give one with --kubeconfig or $KUBECONFIG: {}",
                chain(&*error)
            )
        })?;
        config.headers.push((USER_AGENT, HeaderValue::from_static(NAME)));
        let namespace = self.namespace().unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).context("the kubeconfig cannot be used")?;
        Ok(Cluster { client, namespace })
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        Ok(match &self.kubeconfig {
            Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
            None if self.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await?,
        })
    }
}

impl Cluster {
    /// The PeonTasks of the namespace.
    pub(super) fn tasks(&self) -> Api<PeonTask> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What a request is about, for its error message.
    pub(super) fn doing<'a>(
        &'a self,
        verb: &'static str,
        resource: &'static str,
        name: &'a str,
    ) -> Doing<'a> {
        Doing {
            verb,
            resource,
            namespace: &self.namespace,
            name,
        }
    }

    /// One PeonTask.
    ///
    /// # Access control
    /// peontasks: get.
    pub(super) async fn task(&self, name: &str) -> anyhow::Result<PeonTask> {
        let got = self.tasks().get(name).await;
        got.map_err(|e| self.doing("get", "peontasks", name).failed(e))
    }
}
