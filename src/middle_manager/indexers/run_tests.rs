use std::collections::HashMap;
use std::time::Duration;

use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::api::ANNOTATION_SERVING;
use crate::api::indexer_pool::IndexerDiscovery;
use crate::apiserver::classify::decode::Guarded;
use crate::druid::discovery::Worker;
use crate::middle_manager::discovery::announce::AnnouncementState;
use crate::middle_manager::object_fixtures::{indexer, indexer_announcement};
use crate::middle_manager::registry::identity::Ordinal;
use crate::middle_manager::registry::view::PodView;

/// ZooKeeper, an overlord and an API server in memory.
#[derive(Default)]
struct World {
    announced: HashMap<String, Vec<u8>>,
    workers: Option<BTreeSet<String>>,
    requests: Vec<&'static str>,
    written: Vec<IndexerDiscovery>,
    outcome: Option<Written>,
    servers: Vec<String>,
}

#[derive(Clone, Default)]
struct Simulated(Arc<Mutex<World>>);

impl Surroundings for Simulated {
    async fn finding(&self, read: &Read) -> Finding {
        let mut world = self.0.lock();
        world.requests.push("read");
        let announced = world.announced.get(&read.endpoint.address());
        Finding::of(announced.map(Vec::as_slice), &read.endpoint)
    }

    async fn workers(&self) -> Result<BTreeSet<String>, String> {
        let mut world = self.0.lock();
        world.requests.push("ask");
        world
            .workers
            .clone()
            .ok_or_else(|| "no overlord leads".to_owned())
    }

    async fn write(&self, write: &Write) -> Written {
        assert_eq!(
            (write.pool.name.as_str(), write.pool.uid.as_str()),
            ("warm", "pool")
        );
        let mut world = self.0.lock();
        world.requests.push("write");
        world.written.push(write.discovery.clone());
        world.outcome.unwrap_or(Written::Kept)
    }

    fn announce(&self, servers: Wanted<QueryServer>) {
        self.0.lock().servers = servers.into_keys().collect();
    }
}

struct Bench {
    world: Arc<Mutex<World>>,
    pods: Arc<IndexerPods>,
    states: watch::Sender<States>,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Bench {
    fn start() -> Self {
        let (simulated, pods) = (Simulated::default(), Arc::<IndexerPods>::default());
        let (states, of_states) = watch::channel::<States>(States::<Worker>::new());
        simulated.0.lock().workers = Some(BTreeSet::new());
        let running = tokio::spawn(run(simulated.clone(), pods.clone(), of_states));
        Self {
            world: simulated.0,
            pods,
            states,
            running,
        }
    }

    fn pod(&self, uid: &str, ip: &str) {
        let pod: Guarded<_> = serde_json::from_value(indexer(uid, ip)).unwrap();
        self.pods.event(&Event::Apply(pod));
    }

    /// A pod of a pool that serves queries.
    fn serving_pod(&self, uid: &str, ip: &str) -> Guarded<PodView> {
        let mut pod = indexer(uid, ip);
        pod["metadata"]["annotations"][ANNOTATION_SERVING] = json!("Queries");
        let pod: Guarded<PodView> = serde_json::from_value(pod).unwrap();
        self.pods.event(&Event::Apply(pod.clone()));
        pod
    }

    fn servers(&self) -> Vec<String> {
        self.world.lock().servers.clone()
    }

    fn announce(&self, ip: &str, services: Value) {
        let announcement = indexer_announcement(ip, 115, services);
        self.world
            .lock()
            .announced
            .insert(format!("{ip}:8091"), announcement);
    }

    fn presence(&self, presence: Presence) {
        let state = AnnouncementState {
            presence,
            error: None,
        };
        self.states
            .send_modify(|states| drop(states.insert(Ordinal(0), state)));
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.world.lock().requests)
    }

    fn last(&self) -> IndexerDiscovery {
        self.world.lock().written.last().cloned().unwrap()
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn reads_then_asks_then_writes_and_does_nothing_without_pools() {
    let bench = Bench::start();
    pass(3600).await;
    assert!(bench.take().is_empty());
    bench.announce("10.0.0.1", json!({}));
    bench.pod("a", "10.0.0.1");
    pass(1).await;
    assert_eq!(bench.take(), ["read", "ask", "write"]);
    assert_eq!(bench.last().hidden, ["a"]);
    pass(60).await;
    assert_eq!(bench.take(), ["ask"]);
    // One that offers a worker.
    bench.announce("10.0.0.2", json!({"workerNodeService": {}}));
    bench.pod("b", "10.0.0.2");
    pass(1).await;
    assert_eq!(bench.take(), ["read", "write"]);
    let last = bench.last();
    assert_eq!(
        (last.hidden, last.visible),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
    for (uid, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        let pod: Guarded<_> = serde_json::from_value(indexer(uid, ip)).unwrap();
        bench.pods.event(&Event::Delete(pod));
    }
    pass(2).await;
    assert_eq!(bench.last(), IndexerDiscovery::default());
    bench.take();
    pass(3600).await;
    assert!(bench.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_overlord_that_is_away_is_said_and_asked_again() {
    let bench = Bench::start();
    bench.world.lock().workers = None;
    bench.announce("10.0.0.1", json!({}));
    bench.pod("a", "10.0.0.1");
    pass(20).await;
    let last = bench.last();
    assert!(last.hidden.is_empty(), "{last:?}");
    assert_eq!(
        last.message.as_deref(),
        Some("the overlord's workers are not known: no overlord leads")
    );
    bench.world.lock().workers = Some(BTreeSet::new());
    pass(60).await;
    assert_eq!(
        (bench.last().hidden, bench.last().message),
        (vec!["a".to_owned()], None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_may_not_be_written_costs_a_request_a_minute() {
    let bench = Bench::start();
    bench.world.lock().outcome = Some(Written::Refused);
    bench.announce("10.0.0.1", json!({}));
    bench.pod("a", "10.0.0.1");
    pass(601).await;
    let writes = bench
        .take()
        .into_iter()
        .filter(|request| *request == "write")
        .count();
    assert_eq!(writes, 11);
}

#[tokio::test(start_paused = true)]
async fn the_younger_of_two_processes_checks() {
    let bench = Bench::start();
    bench.announce("10.0.0.1", json!({}));
    bench.presence(Presence::Superseded { by: "younger".into() });
    bench.pod("a", "10.0.0.1");
    pass(600).await;
    bench.take();
    pass(600).await;
    assert!(bench.take().is_empty());
    bench.presence(Presence::Announced);
    pass(1).await;
    assert_eq!(bench.take(), ["read", "ask", "write"]);
    // It does not know what was written meanwhile.
    bench.presence(Presence::Superseded { by: "younger".into() });
    pass(1).await;
    bench.presence(Presence::Announced);
    pass(1).await;
    assert_eq!(bench.take(), ["read", "ask", "write"]);
}

#[tokio::test(start_paused = true)]
async fn what_serves_queries_is_announced_once_it_is_proven_hidden() {
    let bench = Bench::start();
    bench.pod("silent", "10.0.0.1");
    let pod = bench.serving_pod("a", "10.0.0.2");
    bench.announce("10.0.0.1", json!({}));
    pass(5).await;
    assert!(bench.servers().is_empty());
    bench.announce("10.0.0.2", json!({}));
    pass(15).await;
    assert_eq!(bench.servers(), ["10.0.0.2:8091"]);
    // The younger process may need a moment for its proof; what has ended is withdrawn all the same.
    bench.presence(Presence::Superseded { by: "younger".into() });
    pass(60).await;
    assert_eq!(bench.servers(), ["10.0.0.2:8091"]);
    bench.pods.event(&Event::Delete(pod));
    pass(1).await;
    assert!(bench.servers().is_empty());
}
