//! Conditional writes of a status.

use kube::api::{Patch, PatchParams};
use kube::core::Request;
use kube::{Api, Resource};
use serde::Serialize;
use serde_json::json;

use super::identity::{self, Identity};
use super::request::{RequestError, request};

/// Merges `status` into the status of the object `name`, unless its resource version is not `version` any more. Returns
/// the new version. `verb` is the request in the error. Each caller documents the right that it needs: patch on the
/// subresource `status` of its kind.
///
/// # Errors
/// When the request fails; 409 if the object was changed.
pub async fn patch_status<K: Clone + Resource>(
    verb: &'static str,
    api: &Api<K>,
    name: &str,
    version: Option<&str>,
    status: &impl Serialize,
) -> Result<Identity, RequestError> {
    // The version in the body makes the patch conditional.
    let body = json!({"metadata": {"resourceVersion": version}, "status": status});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&body));
    let patch = Request::new(api.resource_url())
        .patch_subresource("status", name, &params, &patch)
        .map_err(|error| RequestError::api(verb, kube::Error::BuildRequest(error)))?;
    let client = api.clone().into_client();
    request(verb, identity::send(&client, patch)).await
}
