//! The objects of a task, made of those of one that the operator ran.

use std::fs;

use anyhow::Context;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use peon_operator::api::PeonTask;
use peon_operator::payload::chunks::new_task::place;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Run, Way};

/// What the file holds. Each text is a JSON object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    /// The name of the task in the other texts.
    name: String,
    pod: String,
    config_map: String,
    peon_task: String,
}

/// Creates the objects of tasks in a namespace.
pub struct Objects {
    samples: Samples,
    way: Way,
    inline: bool,
    /// PeonTasks, Jobs or trivial objects.
    pub tasks: Api<DynamicObject>,
    config_maps: Api<DynamicObject>,
    pods: Api<DynamicObject>,
}

/// What a task is in each way.
pub fn resource(way: Way) -> ApiResource {
    match way {
        Way::Plain => ApiResource::from_gvk(&GroupVersionKind::gvk("bench.peon.dev", "v1", "BenchTask")),
        Way::Crd | Way::CrdOnly | Way::Operator | Way::Pool => ApiResource::erase::<PeonTask>(&()),
        Way::Job => ApiResource::erase::<Job>(&()),
    }
}

impl Objects {
    pub fn read(run: &Run, client: &Client) -> anyhow::Result<Self> {
        let text = fs::read_to_string(&run.objects).with_context(|| run.objects.display().to_string())?;
        let api = |resource| Api::namespaced_with(client.clone(), &run.namespace, &resource);
        Ok(Self {
            samples: serde_json::from_str(&text).context("the file of objects")?,
            way: run.way,
            inline: run.inline,
            tasks: api(resource(run.way)),
            config_maps: api(ApiResource::erase::<ConfigMap>(&())),
            pods: api(ApiResource::erase::<Pod>(&())),
        })
    }

    /// Creates what its controller runs.
    pub async fn submit(&self, name: &str) -> anyhow::Result<()> {
        if self.way == Way::Job {
            create(&self.config_maps, self.filled(&self.samples.config_map, name)?).await?;
        }
        self.create_task(name).await.map(drop)
    }

    pub async fn create_task(&self, name: &str) -> anyhow::Result<DynamicObject> {
        let task = match self.way {
            Way::Plain => json!({
                "apiVersion": "bench.peon.dev/v1", "kind": "BenchTask", "metadata": {"name": name},
                "spec": {"task": self.payload()?},
            }),
            Way::CrdOnly => {
                let task = self.filled(&self.samples.peon_task, name)?;
                json!(as_assigned(task, name, self.inline)?)
            }
            Way::Crd | Way::Operator | Way::Pool => self.filled(&self.samples.peon_task, name)?,
            Way::Job => {
                let pod = self.filled(&self.samples.pod, name)?;
                let metadata = json!({
                    "labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"],
                });
                json!({
                    "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
                    "spec": {"backoffLimit": 0, "template": {"metadata": metadata, "spec": pod["spec"]}},
                })
            }
        };
        create(&self.tasks, task).await
    }

    /// The Druid task, without an id.
    pub fn payload(&self) -> anyhow::Result<Value> {
        let mut task: Value = serde_json::from_str(&self.samples.peon_task)?;
        Ok(task["spec"]["task"].take())
    }

    /// Creates ConfigMap and pod, owned by the task.
    pub async fn create_pod(&self, name: &str, task: &DynamicObject) -> anyhow::Result<String> {
        let types = task.types.clone().unwrap_or_default();
        let owner = json!([{
            "apiVersion": types.api_version, "kind": types.kind, "name": name, "uid": task.metadata.uid,
            "controller": true,
        }]);
        let filled_for = |sample| -> anyhow::Result<Value> {
            let mut object = self.filled(sample, name)?;
            object["metadata"]["ownerReferences"] = owner.clone();
            Ok(object)
        };
        create(&self.config_maps, filled_for(&self.samples.config_map)?).await?;
        let pod = create(&self.pods, filled_for(&self.samples.pod)?).await?;
        Ok(pod.metadata.uid.unwrap_or_default())
    }

    fn filled(&self, sample: &str, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&sample.replace(&self.samples.name, name))?)
    }
}

/// The same task with its payload where that of an assigned task is: the floor is to be that of tasks in a pool.
fn as_assigned(task: Value, name: &str, inline: bool) -> anyhow::Result<PeonTask> {
    let payload = task["spec"]["task"].to_string();
    let mut task: PeonTask = serde_json::from_value(task)?;
    place(&mut task.spec, name, payload, !inline)?;
    Ok(task)
}

async fn create(api: &Api<DynamicObject>, object: Value) -> anyhow::Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(object)?;
    Ok(api.create(&PostParams::default(), &object).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_without_pods_has_the_payload_where_assigned_tasks_have_it() {
        let task = || {
            json!({
                "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": "a"},
                "spec": {"task": {"type": "noop"}},
            })
        };
        let spec = |inline| json!(as_assigned(task(), "a", inline).unwrap().spec);
        assert_eq!(spec(true)["taskJson"], r#"{"type":"noop"}"#);
        let chunks = &spec(false)["taskFrom"]["secrets"];
        assert_eq!(chunks.as_array().map(Vec::len), Some(1));
        assert!(spec(true).get("task").is_none() && spec(false).get("task").is_none());
    }
}
