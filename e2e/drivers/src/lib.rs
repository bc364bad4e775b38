//! What the programs of the benchmarks share.

pub mod cpu;
pub mod statuses;

use http::{HeaderValue, header::USER_AGENT};
use kube::client::ClientBuilder;
use kube::{Client, Config};

/// A client that is called so in the audit log.
///
/// # Errors
/// When there is no usable kubeconfig.
pub async fn client(agent: &'static str) -> anyhow::Result<Client> {
    let mut config = Config::infer().await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Ok(ClientBuilder::try_from(config)?.build())
}
