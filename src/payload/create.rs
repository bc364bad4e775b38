//! Creates the chunks of a payload.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::chunks::Kind;

/// Outcome of creating a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// The chunk was created.
    Created,
    /// An object with its name exists: the chunk itself, from an earlier try, or something else.
    Exists,
}

/// Creates one chunk, as [`New::objects`](super::chunks::new_task::New::objects) makes it.
///
/// The caller needs the right to create objects of that kind.
///
/// # Errors
/// When the request failed, or the API server refused the object.
pub async fn create(client: &Client, namespace: &str, kind: Kind, chunk: Value) -> kube::Result<Made> {
    match kind {
        Kind::ConfigMap => create_as::<ConfigMap>(client, namespace, chunk).await,
        Kind::Secret => create_as::<Secret>(client, namespace, chunk).await,
    }
}

async fn create_as<K>(client: &Client, namespace: &str, chunk: Value) -> kube::Result<Made>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let chunk: K = serde_json::from_value(chunk).map_err(kube::Error::SerdeError)?;
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), &chunk).await {
        Ok(_) => Ok(Made::Created),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(Made::Exists),
        Err(error) => Err(error),
    }
}

/// The owners of a chunk. Its content is not requested.
///
/// The caller needs the right to get objects of that kind.
///
/// # Errors
/// When the request failed, or there is none.
pub async fn owners(
    client: &Client,
    namespace: &str,
    kind: Kind,
    name: &str,
) -> kube::Result<Vec<OwnerReference>> {
    let client = client.clone();
    Ok(match kind {
        Kind::ConfigMap => {
            let api = Api::<ConfigMap>::namespaced(client, namespace);
            api.get_metadata(name).await?.owner_references().to_vec()
        }
        Kind::Secret => {
            let api = Api::<Secret>::namespaced(client, namespace);
            api.get_metadata(name).await?.owner_references().to_vec()
        }
    })
}
