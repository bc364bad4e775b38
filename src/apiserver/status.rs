//! Conditional writes of a status.

use std::fmt::Debug;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::request::{RequestError, request};

/// Merges `status` into the status of the object `name`, unless its resource version is not `version` any more; without
/// a version it is merged in any case. Returns the object as it is then. `verb` is the request in the error. Each caller
/// documents the right that it needs: patch on the subresource `status` of its kind.
///
/// # Errors
/// When the request fails; 409 if the object was changed.
pub async fn patch_status<K>(
    verb: &'static str,
    api: &Api<K>,
    name: &str,
    version: Option<&str>,
    status: &impl Serialize,
) -> Result<K, RequestError>
where
    K: Clone + Debug + DeserializeOwned,
{
    // The version in the body makes the patch conditional.
    let body = json!({"metadata": {"resourceVersion": version}, "status": status});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&body));
    request(verb, api.patch_status(name, &params, &patch)).await
}
