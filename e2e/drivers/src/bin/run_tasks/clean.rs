//! Deletes the objects of a run.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Way;
use super::objects::resource;

/// Every namespace has one.
const CONFIG_MAP_OF_ALL: &str = "kube-root-ca.crt";
/// How often it is asked whether all is gone.
const POLL: Duration = Duration::from_millis(500);

/// Deletes all tasks, pods and ConfigMaps, and waits until they are gone. Returns the number of polls.
pub async fn clean(client: &Client, way: Way, namespace: &str) -> anyhow::Result<Value> {
    let api = |resource| -> Api<DynamicObject> { Api::namespaced_with(client.clone(), namespace, &resource) };
    let config_maps = api(ApiResource::erase::<ConfigMap>(&()));
    let others = format!("metadata.name!={CONFIG_MAP_OF_ALL}");
    let all = [
        (api(resource(way)), ListParams::default()),
        (api(ApiResource::erase::<Pod>(&())), ListParams::default()),
        (config_maps, ListParams::default().fields(&others)),
    ];
    let now = DeleteParams::background().grace_period(0);
    let mut polls = 0;
    loop {
        let mut left = false;
        for (api, which) in &all {
            if !api.list_metadata(&which.clone().limit(1)).await?.items.is_empty() {
                left = true;
                // An answer with all objects is long, and needs not be readable.
                api.delete_collection(&now, which).await?;
            }
        }
        if !left {
            return Ok(json!({ "polls": polls }));
        }
        polls += 1;
        sleep(POLL).await;
    }
}
