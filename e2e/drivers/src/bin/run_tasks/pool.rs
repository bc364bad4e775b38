//! Tasks for a pool of Indexers: as the workers of a VirtualMiddleManager store what the overlord assigns to them.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use peon_operator::api::PeonTask;
use peon_operator::api::virtual_middle_manager::PayloadPlace;
use peon_operator::middle_manager::assign::decide::assignment::{Maker, read};
use peon_operator::middle_manager::registry::identity::{Assigned, Ordinal};
use peon_operator::payload::chunks::new_task::New;
use peon_operator::payload::create::{Made, create};
use serde_json::Value;

use super::Run;
use super::objects::Objects;

/// The PeonTasks of a run, by name.
pub struct Assignments {
    client: Client,
    namespace: String,
    tasks: BTreeMap<String, New>,
    /// Their names, in the order of their assignments.
    names: Vec<String>,
}

impl Assignments {
    /// Makes the PeonTasks, and creates none of them yet.
    pub fn make(run: &Run, client: &Client, objects: &Objects) -> anyhow::Result<Self> {
        let maker = Maker {
            middle_manager: run.middle_manager.clone(),
            // Only tasks that were submitted by it are recognised by its uid, and these are not.
            uid: String::new(),
            namespace: run.namespace.clone(),
            labels: BTreeMap::new(),
            payload: if run.inline {
                PayloadPlace::Inline
            } else {
                PayloadPlace::Secret
            },
        };
        let payload = objects.payload()?;
        let mut assignments = Self {
            client: client.clone(),
            namespace: run.namespace.clone(),
            tasks: BTreeMap::new(),
            names: Vec::new(),
        };
        for n in 0..run.count {
            let new = assigned(&maker, &payload, &format!("{}_{n}", run.prefix))?;
            let name = new.task.name_any();
            assignments.names.push(name.clone());
            assignments.tasks.insert(name, new);
        }
        Ok(assignments)
    }

    /// The names of the PeonTasks.
    pub fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// Creates the PeonTask, and then the chunks of its payload.
    pub async fn assign(&self, name: &str) -> anyhow::Result<()> {
        let new = self.tasks.get(name).context("no such task")?;
        let api: Api<PeonTask> = Api::namespaced(self.client.clone(), &self.namespace);
        let created = api.create(&PostParams::default(), &new.task).await?;
        let kind = new.chunks.as_ref().map(|(_, kind)| *kind);
        for (chunk, kind) in new.objects(&created).into_iter().zip(kind.into_iter().cycle()) {
            let made = create(&self.client, &self.namespace, kind, chunk).await?;
            ensure!(made == Made::Created, "{name} has a payload already");
        }
        Ok(())
    }
}

/// The PeonTask of this task with this id.
fn assigned(maker: &Maker, payload: &Value, id: &str) -> anyhow::Result<New> {
    let mut task = payload.clone();
    task["id"] = id.into();
    let task = Assigned {
        id: id.to_owned(),
        json: task.to_string(),
    };
    let (facts, invalid) = read(&task);
    ensure!(invalid.is_none(), "the task cannot run: {invalid:?}");
    Ok(maker.task(Ordinal(0), &facts, &task.json, 0)?)
}

#[cfg(test)]
mod tests {
    use peon_operator::api::{LABEL_IDENTITY, LABEL_MIDDLE_MANAGER};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_is_as_the_workers_make_it() {
        let maker = |payload| Maker {
            middle_manager: "workers".into(),
            uid: String::new(),
            namespace: "bench".into(),
            labels: BTreeMap::new(),
            payload,
        };
        let of = |payload| assigned(&maker(payload), &json!({"type": "noop"}), "a_1").unwrap();
        let new = of(PayloadPlace::Secret);
        assert_eq!(new.task.labels()[LABEL_MIDDLE_MANAGER], "workers");
        assert_eq!(new.task.labels()[LABEL_IDENTITY], "0");
        assert_eq!(new.task.middle_manager(), Some("workers"));
        assert_eq!(new.objects(&new.task).len(), 1);
        let inline = of(PayloadPlace::Inline);
        assert!(inline.objects(&inline.task).is_empty());
        let json: Value = serde_json::from_str(&inline.task.spec.task_json.unwrap()).unwrap();
        assert_eq!(json, json!({"type": "noop", "id": "a_1"}));
    }
}
