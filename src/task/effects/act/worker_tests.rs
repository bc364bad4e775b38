use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};

use super::*;
use crate::api::{PeonTask, RunStatus, Stop};
use crate::apiserver::fixtures::client;
use crate::indexer::fixtures::{ModelIndexer, Mood, target};
use crate::payload::chunks::{Chunks, Kind};
use crate::process::leadership::Leadership;
use crate::task::decide::plan::Action;
use crate::task::fixtures::{ID, at, noop, snapshot, task};
use crate::task::indexers::Indexers;
use crate::task::run::worker::IndexerSeen;

/// One Indexer, in the pod `uid`.
struct One(Arc<ModelIndexer>);

impl Indexers for One {
    fn seen(&self, _: &str, _: &WorkerClaim) -> IndexerSeen {
        IndexerSeen::default()
    }

    fn indexer(&self, pod_uid: &str) -> Option<Indexer> {
        (pod_uid == "uid").then(|| Indexer {
            target: target(pod_uid),
            worker: self.0.clone(),
        })
    }
}

/// An actor that leads for this time, its Indexer, and an API server with these Secrets.
fn actor(leads: Option<Duration>, secrets: Vec<(String, Value)>) -> (Actor, Arc<ModelIndexer>) {
    let client = client(move |path| {
        let found = secrets
            .iter()
            .find(|(name, _)| path.ends_with(&format!("/secrets/{name}")));
        found.map(|(_, secret)| secret.clone())
    });
    let leadership = Leadership::default();
    if let Some(leads) = leads {
        leadership.extend(Instant::now() + leads);
    }
    let reporter = Reporter {
        controller: "peon-operator".into(),
        instance: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let model = ModelIndexer::new();
    let actor = Actor::new(client, recorder, leadership, Arc::default());
    (actor.with_indexers(Arc::new(One(model.clone()))), model)
}

const LONG: Option<Duration> = Some(Duration::from_secs(60));

/// The task, claimed on the Indexer in the pod with this uid.
fn claimed(mut task: PeonTask, uid: &str) -> PeonTask {
    let status = task.status.get_or_insert_default();
    status.run = Some(RunStatus::in_indexer("warm", "warm-x", uid, ("10.0.0.9", 8091)));
    status.task_id = Some(ID.into());
    task
}

async fn post(actor: &Actor, task: PeonTask) -> (Result<(), ActError>, Snapshot) {
    let mut snapshot = snapshot(task);
    let action = Action::PostTask {
        pod_uid: "uid".into(),
    };
    let result = actor.perform(action, &mut snapshot).await;
    (result, snapshot)
}

#[tokio::test]
async fn a_claimed_task_is_posted_whole() {
    let (actor, model) = actor(LONG, Vec::new());
    let (result, snapshot) = post(&actor, claimed(noop(), "uid")).await;
    result.unwrap();
    assert_eq!(snapshot.outcomes.posted, Some(Posted::Accepted));
    assert_eq!(model.posted(), [ID]);
    // The next pass may come before the Indexer has announced it.
    let (_, snapshot) = post(&actor, claimed(noop(), "uid")).await;
    assert_eq!(snapshot.outcomes.posted, Some(Posted::Accepted));
    assert_eq!(model.posted(), [ID]);
    // A process that knows nothing of it posts it again: the Indexer has it once.
    let (actor, model) = self::actor(LONG, Vec::new());
    model.mood(Mood::Fails(500));
    for _ in 0..2 {
        let (_, snapshot) = post(&actor, claimed(noop(), "uid")).await;
        assert!(matches!(snapshot.outcomes.posted, Some(Posted::Unknown(_))));
    }
    model.mood(Mood::Answers);
    post(&actor, claimed(noop(), "uid")).await.0.unwrap();
    assert_eq!(model.posted(), [ID]);
}

/// A task in chunks, without an id: it gets the one that its status records.
#[tokio::test]
async fn a_task_in_chunks_is_put_together_first() {
    let json = json!({"type": "noop", "runTime": 5}).to_string();
    let chunks = Chunks::split(json.as_bytes()).unwrap();
    let from = chunks.task_from("nightly", Kind::Secret);
    let chunked = task(json!({"taskFrom": from}));
    let secret = chunks.objects(&chunked, Kind::Secret).remove(0);
    let name = from.secrets[0].name.clone();
    let (there, model) = actor(LONG, vec![(name, secret)]);
    let (result, snapshot) = post(&there, claimed(chunked.clone(), "uid")).await;
    result.unwrap();
    assert_eq!(snapshot.outcomes.posted, Some(Posted::Accepted));
    assert_eq!(model.posted(), [chunked.default_task_id()]);
    let (missing, model) = actor(LONG, Vec::new());
    let (_, snapshot) = post(&missing, claimed(chunked, "uid")).await;
    assert!(matches!(snapshot.outcomes.posted, Some(Posted::NotReceived(_))));
    assert!(model.posted().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_without_a_claim_after_a_stop_or_to_another_pod() {
    let (actor, model) = actor(LONG, Vec::new());
    let mut stopped = claimed(noop(), "uid");
    stopped.status.as_mut().unwrap().stop = Some(Stop {
        cause: "Cancelled".into(),
        message: "m".into(),
        time: Time(at(1)),
    });
    for task in [noop(), claimed(noop(), "other"), stopped] {
        let (result, snapshot) = post(&actor, task).await;
        result.unwrap();
        assert!(matches!(snapshot.outcomes.posted, Some(Posted::NotReceived(_))));
    }
    let mut elsewhere = crate::task::fixtures::snapshot(claimed(noop(), "gone"));
    let action = Action::PostTask {
        pod_uid: "gone".into(),
    };
    actor.perform(action, &mut elsewhere).await.unwrap();
    assert_eq!(elsewhere.outcomes.posted, Some(not_polled()));
    assert!(model.posted().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_that_may_arrive_after_the_lease() {
    for leads in [
        None,
        Some(Duration::ZERO),
        Some(MARGIN),
        Some(MARGIN + Duration::from_millis(300)),
    ] {
        let (actor, model) = actor(leads, Vec::new());
        let (result, snapshot) = post(&actor, claimed(noop(), "uid")).await;
        assert!(matches!(result, Err(ActError::NotLeader)), "{leads:?}");
        assert_eq!(snapshot.outcomes.posted, None);
        let mut stopping = crate::task::fixtures::snapshot(claimed(noop(), "uid"));
        let action = Action::ShutDown {
            pod_uid: "uid".into(),
            task_id: ID.into(),
        };
        assert!(actor.perform(action, &mut stopping).await.is_err());
        assert!(model.posted().is_empty() && model.stopped().is_empty());
    }
}

#[test]
fn a_post_takes_no_longer_than_this_process_certainly_leads() {
    let seconds = Duration::from_secs;
    assert_eq!(time_limit(seconds(3600)), Ok(LONGEST));
    assert_eq!(time_limit(seconds(10)), Ok(seconds(8)));
    assert_eq!(time_limit(MARGIN), Err(NotLeader));
    assert_eq!(time_limit(Duration::ZERO), Err(NotLeader));
}

#[tokio::test]
async fn a_shutdown_is_done_whether_it_is_answered_or_not() {
    let (actor, model) = actor(LONG, Vec::new());
    for uid in ["uid", "gone"] {
        let mut stopping = crate::task::fixtures::snapshot(claimed(noop(), uid));
        let action = Action::ShutDown {
            pod_uid: uid.into(),
            task_id: ID.into(),
        };
        actor.perform(action, &mut stopping).await.unwrap();
        assert_eq!(stopping.outcomes.shut_down, [ID]);
    }
    assert_eq!(model.stopped(), [ID]);
}
