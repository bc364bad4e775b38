//! `serving: Queries`, with each discovery of the VirtualMiddleManager.

use super::*;

/// What a pool with `serving: Queries` offers and says, with this discovery of its VirtualMiddleManager.
async fn serving_queries(discovery: Value) -> (bool, Value) {
    let bench = Bench::with_manager(json!({ "discovery": discovery }));
    bench.pass(&pool(json!({"serving": "Queries"}))).await.unwrap();
    let offers = bench.context.caches.aggregates.indexers.pools("ns", "ingestion");
    let status = bench.server.lock().statuses.pop().unwrap();
    let conditions = status["conditions"].as_array().unwrap().iter();
    let mut served = conditions.filter(|c| c["type"] == "QueriesServed");
    let said = served
        .next()
        .map_or(Value::Null, |c| json!([c["status"], c["reason"]]));
    (offers[0].serves_queries, said)
}

#[tokio::test]
async fn without_zookeeper_no_streaming_task_is_taken_for_queries_and_the_status_says_so() {
    let zookeeper = json!({"zookeeper": {"hosts": "z:2181"}});
    assert_eq!(
        serving_queries(zookeeper).await,
        (true, json!(["True", "ZooKeeperDiscovery"]))
    );
    let kubernetes = json!({"kubernetes": {"clusterIdentifier": "analytics"}});
    assert_eq!(
        serving_queries(kubernetes).await,
        (false, json!(["False", "KubernetesDiscovery"]))
    );
}
