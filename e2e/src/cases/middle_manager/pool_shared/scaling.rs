//! Scaling of shared pools: autoscaling by the operator, and the scale subresource.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::pool_tasks::Pool;
use super::{change, noop, spec, start, text};
use crate::testbed::fixture::{Fixture, LIMIT};

/// A pool without tasks has no Indexer; tasks that wait start some, up to the maximum, and afterwards there is none again.
pub(super) fn by_tasks(fixture: &Fixture) -> Result<()> {
    let mut of_pool = spec(0, "40Mi");
    of_pool["autoscaling"] = json!({"min": 0, "max": 2, "targetPercent": 100, "scaleDownAfterSeconds": 20});
    let pool = Pool::start(fixture, &of_pool)?;
    let ids: Vec<String> = (0..6).map(|n| format!("scaled_{n}_{}", fixture.run)).collect();
    for id in &ids {
        pool.manager.submit(&noop(id, 20_000))?;
    }
    let args = ["indexerpool", "warm", "--namespace", fixture.home()];
    let desired = |pool: &Value| pool["status"]["scaling"]["desiredReplicas"].as_u64();
    let many = fixture
        .kubectl
        .wait_for(&args, LIMIT, |pool| desired(pool) == Some(2))?;
    let message = text(&many["status"]["scaling"]["message"]);
    ensure!(message.contains("wait for one"), "{message}");
    let mut pods = BTreeSet::new();
    for id in &ids {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
        pods.insert(text(&pool.run(id)?["pod"]).to_owned());
    }
    fixture
        .kubectl
        .wait_for(&args, LIMIT, |pool| desired(pool) == Some(0))?;
    for pod in &pods {
        pool.until_pod_is_gone(pod)?;
    }
    // Applying the pool again, which says nothing of a number, changes nothing.
    if let Some(fields) = of_pool.as_object_mut() {
        fields.remove("replicas");
    }
    change(fixture, &of_pool)?;
    let again = fixture.kubectl.get_json(&args)?;
    ensure!(desired(&again) == Some(0), "{again}");
    Ok(())
}

/// The scale subresource sets the number of Indexers, and says which pods they are: with `kubectl scale`, and with the
/// autoscaler of Kubernetes, which has no metrics here and keeps its bounds all the same.
pub(super) fn by_others(fixture: &Fixture) -> Result<()> {
    let pool = start(fixture, 1)?;
    let namespace = ["--namespace", fixture.home()];
    let scale = ["scale", "indexerpool/warm", "--replicas=2"];
    fixture.kubectl.run(&[&scale[..], &namespace[..]].concat())?;
    let status = pool.until_warm(2)?["status"].take();
    let selector = text(&status["selector"]).to_owned();
    let pods = ["get", "pods", "--selector", &selector, "--output", "name"];
    let found = fixture.kubectl.run(&[&pods[..], &namespace[..]].concat())?;
    ensure!(found.lines().count() == 2, "{selector}: {found}");
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "warm"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "name": "warm"},
            "minReplicas": 1, "maxReplicas": 1,
        },
    });
    fixture.apply(fixture.home(), &autoscaler)?;
    let args = [&["indexerpool", "warm"][..], &namespace[..]].concat();
    let scaled = fixture
        .kubectl
        .wait_for(&args, LIMIT, |pool| pool["status"]["replicas"] == 1);
    fixture
        .kubectl
        .delete(&[&["horizontalpodautoscaler", "warm"][..], &namespace[..]].concat())?;
    ensure!(scaled?["spec"]["replicas"] == 1, "the autoscaler did not set it");
    Ok(())
}
