//! The cluster and the namespace of a command.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::complaint::Doing;
use super::duration;
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

    /// Cluster of the kubeconfig; default: the context's.
    #[arg(long, global = true, value_name = "NAME")]
    cluster: Option<String>,

    /// User of the kubeconfig; default: the context's.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,

    /// User to act as, if your rights allow it (impersonate).
    #[arg(long = "as", global = true, value_name = "USER")]
    impersonate: Option<String>,

    /// Group to act in; may be given several times.
    #[arg(
        long = "as-group",
        global = true,
        value_name = "GROUP",
        requires = "impersonate"
    )]
    impersonate_groups: Vec<String>,

    /// Longest time that the API server may take to answer, and to send more of an answer, such as 10s; 0 is without end.
    /// Default: the client's own limits.
    #[arg(long, global = true, value_parser = duration::parse, value_name = "TIME")]
    request_timeout: Option<Duration>,

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
        self.apply_to(&mut config);
        let namespace = self.namespace().unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).context("the kubeconfig cannot be used")?;
        Ok(Cluster { client, namespace })
    }

    /// What does not depend on the kubeconfig.
    fn apply_to(&self, config: &mut Config) {
        if let Some(user) = &self.impersonate {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                Some(self.impersonate_groups.clone()).filter(|groups| !groups.is_empty());
        }
        if let Some(limit) = self.request_timeout {
            let limit = Some(limit).filter(|limit| !limit.is_zero());
            (config.connect_timeout, config.read_timeout) = (limit, limit);
        }
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let chooses = self.context.is_some() || self.cluster.is_some() || self.user.is_some();
        Ok(match &self.kubeconfig {
            Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
            None if chooses => Config::from_kubeconfig(&options).await?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn config(line: &[&str]) -> Config {
        let flags = Line::try_parse_from(["peon"].iter().chain(line)).unwrap().flags;
        let mut config = Config::new(http::Uri::from_static("https://cluster:6443"));
        flags.apply_to(&mut config);
        config
    }

    #[test]
    fn flags_of_kubectl_mean_what_they_mean_there() {
        let plain = config(&[]);
        assert_eq!(
            (plain.auth_info.impersonate, plain.auth_info.impersonate_groups),
            (None, None)
        );
        let acting = config(&["--as", "jane", "--as-group", "a", "--as-group", "b"]);
        assert_eq!(acting.auth_info.impersonate.as_deref(), Some("jane"));
        assert_eq!(
            acting.auth_info.impersonate_groups,
            Some(vec!["a".into(), "b".into()])
        );
        assert!(Line::try_parse_from(["peon", "--as-group", "a"]).is_err());
        let ten = Some(Duration::from_secs(10));
        let limited = config(&["--request-timeout", "10s"]);
        assert_eq!((limited.connect_timeout, limited.read_timeout), (ten, ten));
        assert_eq!(config(&["--request-timeout", "0"]).read_timeout, None);
    }
}
