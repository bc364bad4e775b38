//! Deletes the objects of a run.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::{Api, Client};
use peon_operator::api::{IndexerPool, LABEL_POOL, LABEL_TASK};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Way;
use super::objects::resource;

/// Every namespace has one.
const CONFIG_MAP_OF_ALL: &str = "kube-root-ca.crt";
/// What the API server says of a request that took longer than a minute.
const TOO_LONG: u16 = 504;
/// How often it is asked whether all is gone.
const POLL: Duration = Duration::from_millis(500);

/// Deletes all tasks and what belongs to them, and waits until they are gone. Returns the number of polls.
pub async fn clean(client: &Client, way: Way, namespace: &str) -> anyhow::Result<Value> {
    let api = |resource| -> Api<DynamicObject> { Api::namespaced_with(client.clone(), namespace, &resource) };
    let tasks = (api(resource(way)), ListParams::default());
    let pods = api(ApiResource::erase::<Pod>(&()));
    let all = if way == Way::Pool {
        // As long as there is the pool, the operator creates pods for it; others are those of the VirtualMiddleManager.
        let pools = api(ApiResource::erase::<IndexerPool>(&()));
        let payloads = api(ApiResource::erase::<Secret>(&()));
        vec![
            (pools, ListParams::default()),
            tasks,
            (pods, ListParams::default().labels(LABEL_POOL)),
            (payloads, ListParams::default().labels(LABEL_TASK)),
        ]
    } else {
        let config_maps = api(ApiResource::erase::<ConfigMap>(&()));
        let others = format!("metadata.name!={CONFIG_MAP_OF_ALL}");
        vec![
            tasks,
            (pods, ListParams::default()),
            (config_maps, ListParams::default().fields(&others)),
        ]
    };
    let now = DeleteParams::background().grace_period(0);
    let mut polls = 0;
    loop {
        let mut left = false;
        for (api, which) in &all {
            if !api.list_metadata(&which.clone().limit(1)).await?.items.is_empty() {
                left = true;
                // An answer with all objects is long, and needs not be readable. Thousands take longer than a request may: the
                // next one goes on.
                match api.delete_collection(&now, which).await {
                    Err(kube::Error::Api(status)) if status.code == TOO_LONG => {}
                    other => drop(other?),
                }
            }
        }
        if !left {
            return Ok(json!({ "polls": polls }));
        }
        polls += 1;
        sleep(POLL).await;
    }
}
