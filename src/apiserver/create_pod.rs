//! Creates a pod that is given as JSON.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde_json::Value;

use super::classify::refusal::Creation;
use super::identity;
use super::request::{RequestError, TIMEOUT, create_within};

const VERB: &str = "create pod";
/// A field that the API server does not know would be dropped without it.
const STRICT: &str = "fieldValidation=Strict";

/// Creates a pod. A pod with a field that the API server does not know, or with a field twice, is refused for good.
///
/// # Access control
/// pods: create.
///
/// # Errors
/// When the answer says nothing about the pod: the request is to be repeated.
pub async fn create_pod(client: &Client, namespace: &str, pod: &Value) -> Result<Creation, RequestError> {
    let request = request(namespace, pod).map_err(|error| RequestError::api(VERB, error))?;
    let created = create_within(TIMEOUT, VERB, identity::send(client, request)).await?;
    Ok(created.map(|pod| pod.uid))
}

fn request(namespace: &str, pod: &Value) -> kube::Result<http::Request<Vec<u8>>> {
    let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
    let request = Request::new(Pod::url_path(&(), Some(namespace)));
    let request = request
        .create(&PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    let (mut parts, body) = request.into_parts();
    let separator = match parts.uri.query() {
        None => "?",
        Some("") => "",
        Some(_) => "&",
    };
    let uri = format!("{}{separator}{STRICT}", parts.uri);
    parts.uri = uri
        .try_into()
        .map_err(|error: http::uri::InvalidUri| kube::Error::HttpError(error.into()))?;
    Ok(http::Request::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_api_server_is_asked_to_refuse_fields_that_it_does_not_know() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"volumeMount": 1}});
        let request = request("druid", &pod).unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(
            request.uri().to_string(),
            "/api/v1/namespaces/druid/pods?fieldValidation=Strict"
        );
        assert_eq!(serde_json::from_slice::<Value>(request.body()).unwrap(), pod);
    }
}
