//! Requests of whose answers only uid and resource version are needed: the API server leaves out spec and status.

use http::HeaderValue;
use http::header::ACCEPT;
use kube::Client;
use serde::Deserialize;

/// Without this the answer is the whole object, which takes both sides more time. An API server that does not know it
/// answers with the whole object, which is read in the same way.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");

/// What tells an object and its version apart from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Identity {
    /// Uid of the object.
    pub uid: String,
    /// Resource version of the object.
    pub resource_version: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    metadata: Identity,
}

/// Sends a request that creates or changes one object. Nothing else of the answer is decoded, so it may have fields that
/// this build does not know.
///
/// # Errors
/// As [`Client::request`].
pub async fn send(client: &Client, mut request: http::Request<Vec<u8>>) -> kube::Result<Identity> {
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    Ok(client.request::<Answer>(request).await?.metadata)
}
