//! `peon-operator uninstall-check`: whether the operator may go, for Helm's hook `pre-delete`.

use std::fmt::Debug;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::{IndexerPool, VirtualMiddleManager};
use crate::apiserver::error::chain;
use crate::apiserver::request::request;

/// Most objects of a kind that are named.
const NAMED: u32 = 20;

/// Where to look.
#[derive(Debug, Clone, Args)]
pub struct UninstallCheck {
    /// Namespace of which the operator's objects are. Default: all namespaces.
    #[arg(long, env = "PEON_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// Fails while there are objects whose pods would run on without an operator: workers would stay announced to an overlord,
/// and idle Indexers would hold their memory. Nothing is changed.
///
/// # Errors
/// When there are such objects, with their names, or when that cannot be found out.
pub async fn run(check: &UninstallCheck) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("there is no usable cluster configuration (service account or kubeconfig)")?;
    let namespace = check.namespace.as_deref();
    let mut left = names::<VirtualMiddleManager>(&client, namespace).await?;
    left.extend(names::<IndexerPool>(&client, namespace).await?);
    if left.is_empty() {
        println!("no VirtualMiddleManager and no IndexerPool is left: the operator can be removed");
        return Ok(());
    }
    bail!(
        "these objects have pods that would run on without an operator:\n  {}\nDelete them and wait until their pods are \
         gone, or uninstall with --no-hooks",
        left.join("\n  ")
    )
}

/// The objects of a kind, as `kind namespace/name`; at most [`NAMED`].
///
/// # Access control
/// virtualmiddlemanagers, indexerpools: list.
async fn names<K>(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<String>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let kind = K::kind(&()).into_owned();
    let listed = request("list", api.list_metadata(&ListParams::default().limit(NAMED))).await;
    let found = match listed {
        Ok(found) => found,
        // Without the CRD there are none.
        Err(error) if error.code() == Some(404) => return Ok(Vec::new()),
        Err(error) => return Err(anyhow!("{kind} objects cannot be listed: {}", chain(&error))),
    };
    let name = |object: &kube::api::PartialObjectMeta<K>| {
        format!(
            "{kind} {}/{}",
            object.namespace().unwrap_or_default(),
            object.name_any()
        )
    };
    Ok(found.items.iter().map(name).collect())
}
