//! A supervisor that reads a topic of a real Kafka with two replicas of two tasks.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Case, MiddleManager, Turn, case, list, pool_faults::jvm, pool_tasks::Pool, process::Process, text,
};
use crate::testbed::{
    cache::Cache,
    druid::{kafka::Kafka, segments},
    fixture::{Fixture, LIMIT},
    peons::kill_hard,
    progress::Progress,
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::a_stream_is_read_exactly_once_while_parts_die",
        in_pods,
    )
    .turn(Turn::Alone)
    .own()
    .full(),
    case(
        "pool_tasks::a_stream_is_read_exactly_once_though_an_indexer_dies",
        in_indexers,
    )
    .turn(Turn::Alone)
    .own()
    .full(),
];

/// Replicas of each task, on different workers.
pub(super) const REPLICAS: usize = 2;
/// Tasks that share the partitions.
pub(super) const TASKS: usize = 2;
/// Name of the template of streaming tasks.
pub(super) const TEMPLATE: &str = "streaming";

/// What happens to tasks that read.
type Fault<'a> = &'a dyn Fn(&BTreeSet<String>) -> Result<()>;

/// What happens in the course of two roll-overs under rows that never pause.
struct Faults<'a> {
    /// While the first tasks read.
    reading: Fault<'a>,
    /// In the first roll-over.
    first: Fault<'a>,
    /// In the second.
    second: Fault<'a>,
    /// How many tasks have a second attempt.
    reruns: usize,
}

/// The process that serves the workers is killed, and then the operator's.
fn in_pods(fixture: &Fixture) -> Result<()> {
    template(fixture)?;
    let manager = MiddleManager::start(fixture)?;
    let faults = Faults {
        reading: &|_| Ok(()),
        first: &|_| Process::server(fixture).kill(),
        second: &|_| Process::operator(fixture).kill(),
        reruns: 0,
    };
    exactly_once(fixture, &manager, &faults).map(drop)
}

/// Tasks in Indexers of a pool, one of whose JVMs is killed.
fn in_indexers(fixture: &Fixture) -> Result<()> {
    template(fixture)?;
    let spec = json!({
        "templateRef": {"name": TEMPLATE},
        "match": {"types": ["index_kafka"]},
        "replicas": REPLICAS * TASKS,
        "maxIndexers": 10,
    });
    let pool = Pool::start(fixture, &spec)?;
    let faults = Faults {
        reading: &|tasks| kill_hard(jvm(&pool.run(tasks.first().context("no task reads")?)?)?),
        first: &|_| Ok(()),
        second: &|_| Process::operator(fixture).kill(),
        reruns: 1,
    };
    let tasks = exactly_once(fixture, &pool.manager, &faults)?;
    let mut warm = 0;
    for id in &tasks {
        warm += usize::from(pool.peon_task(id)?["status"]["run"]["kind"] == "Worker");
    }
    ensure!(warm >= REPLICAS * TASKS, "{warm} of {tasks:?} ran in Indexers");
    println!("{warm} of {} tasks ran in Indexers", tasks.len());
    Ok(())
}

/// Returns the tasks that succeeded.
fn exactly_once(
    fixture: &Fixture,
    manager: &MiddleManager<'_>,
    faults: &Faults<'_>,
) -> Result<BTreeSet<String>> {
    let (cache, progress) = (Cache::open()?, Progress::default());
    let kafka = Kafka::deploy(fixture, &cache, &progress)?;
    let topic = format!("streamed_{}", fixture.run);
    let writer = kafka.write(&topic)?;
    kafka.until_topic(&topic)?;
    let supervisor = Supervisor::start(fixture, &kafka, &topic)?;

    let first = supervisor.until_reading(&BTreeSet::new())?;
    supervisor.apart()?;
    supervisor.live_reports(&first)?;
    (faults.reading)(&first)?;
    supervisor.until_rolls_over(&first)?;
    (faults.first)(&first)?;
    let second = supervisor.until_reading(&first)?;
    supervisor.until_rolls_over(&second)?;
    (faults.second)(&second)?;
    let third = supervisor.until_reading(&second)?;

    let written = writer.end()?;
    supervisor.until_caught_up(written)?;
    supervisor.suspend()?;
    let (tasks, late) = supervisor.ended_well(manager, faults.reruns)?;
    let known: BTreeSet<_> = tasks.union(&late).cloned().collect();
    ensure!(
        tasks.len() >= 3 * REPLICAS * TASKS - late.len() && third.is_subset(&known),
        "{tasks:?} {late:?}"
    );
    let (mut rows, segments) = supervisor.until_rows(written, &cache, &progress)?;
    // More than one a group: replicas were paused and told where to cut, and read on.
    ensure!(
        segments > tasks.len() / REPLICAS,
        "{segments} segments of {tasks:?}"
    );
    let read = rows.len();
    rows.sort_unstable();
    rows.dedup();
    ensure!(
        rows.iter().copied().eq(0..written) && u64::try_from(read)? == written,
        "{read} rows, of which {} are different, were published of {written}",
        rows.len()
    );
    progress.say(format_args!(
        "{written} rows, each published once, by {} tasks; {} were killed before they were up",
        tasks.len(),
        late.len()
    ));
    Ok(tasks)
}

/// The template of streaming tasks.
pub(super) fn template(fixture: &Fixture) -> Result<()> {
    fixture.template(fixture.home(), TEMPLATE, |spec| {
        spec["match"] = json!({"types": ["index_kafka"]});
        spec["priority"] = json!(10);
        spec["properties"]["druid.extensions.loadList"] = json!("[\"druid-kafka-indexing-service\"]");
        // Eight of them at a time on two cores.
        spec["resources"]["requests"]["cpu"] = json!("50m");
    })
}

/// A supervisor of the overlord, for as long as the value lives, and the template of its tasks.
pub(super) struct Supervisor<'a> {
    fixture: &'a Fixture,
    /// Its id, the name of its datasource and of its topic.
    id: String,
}

impl<'a> Supervisor<'a> {
    fn start(fixture: &'a Fixture, kafka: &Kafka, topic: &str) -> Result<Self> {
        Self::start_with(fixture, kafka, topic, |_| {})
    }

    /// With a spec that is changed.
    pub(super) fn start_with(
        fixture: &'a Fixture,
        kafka: &Kafka,
        topic: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        let supervisor = Self {
            fixture,
            id: topic.to_owned(),
        };
        let mut spec = json!({
            "dataSchema": {
                "dataSource": topic,
                "timestampSpec": {"column": "ts", "format": "iso"},
                "dimensionsSpec": {"dimensions": [{"type": "long", "name": "n"}]},
                "granularitySpec": {"segmentGranularity": "DAY", "queryGranularity": "NONE", "rollup": false},
            },
            "ioConfig": {
                "topic": topic,
                "inputFormat": {"type": "json"},
                "consumerProperties": {"bootstrap.servers": kafka.bootstrap()},
                "replicas": REPLICAS,
                "taskCount": TASKS,
                // The shortest: tasks of Druid 33 are told it in whole minutes, and fail when it is none.
                "taskDuration": "PT60S",
                "startDelay": "PT1S",
                "period": "PT5S",
                "useEarliestOffset": true,
            },
            "tuningConfig": {
                "type": "kafka",
                // So few that a task publishes before its end: the replicas have to agree on an offset.
                "maxRowsPerSegment": 1000,
                "offsetFetchPeriod": "PT5S",
                // Nobody loads segments here, so nobody waits for it.
                "handoffConditionTimeout": 1,
            },
        });
        change(&mut spec);
        let body = json!({"type": "kafka", "spec": spec});
        fixture.druid.post("/druid/indexer/v1/supervisor", &body)?;
        Ok(supervisor)
    }

    fn status(&self) -> Result<Value> {
        let path = format!("/druid/indexer/v1/supervisor/{}/status", self.id);
        Ok(self.fixture.druid.get(&path)?["payload"].take())
    }

    fn until<T>(&self, what: &str, mut wanted: impl FnMut(&Value) -> Result<Option<T>>) -> Result<T> {
        let mut last = Value::Null;
        let found = wait_until(LIMIT, what, || {
            last = self.status()?;
            wanted(&last)
        });
        found.with_context(|| last.to_string())
    }

    /// Waits until tasks that are not among these read, all of them, and the supervisor knows how far.
    pub(super) fn until_reading(&self, earlier: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        self.until("tasks that read", |status| {
            let active = list(&status["activeTasks"]);
            let reads = |task: &Value| {
                let offsets = task["currentOffsets"].as_object();
                offsets.is_some_and(|o| o.values().any(|offset| offset.as_u64() > Some(0)))
                    && !earlier.contains(text(&task["id"]))
            };
            let all = active.len() == REPLICAS * TASKS && active.iter().all(reads);
            Ok(all.then(|| ids(&active)))
        })
    }

    /// Waits until these tasks read no more: they publish, or did.
    pub(super) fn until_rolls_over(&self, reading: &BTreeSet<String>) -> Result<()> {
        self.until("a roll-over", |status| {
            let active = ids(&list(&status["activeTasks"]));
            Ok(active.is_disjoint(reading).then_some(()))
        })
    }

    /// Replicas are those that began with the same partitions: each is on a worker of its own.
    fn apart(&self) -> Result<()> {
        let workers = self.fixture.druid.get("/druid/indexer/v1/workers")?;
        let mut hosts = BTreeMap::new();
        for worker in list(&workers) {
            for task in list(&worker["runningTasks"]) {
                hosts.insert(text(&task).to_owned(), worker["worker"]["host"].clone());
            }
        }
        let mut groups: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
        let status = self.status()?;
        for task in list(&status["activeTasks"]) {
            let partitions = task["startingOffsets"].as_object().into_iter().flatten();
            let partitions = partitions.map(|(partition, _)| partition.clone()).collect();
            let host = hosts.get(text(&task["id"])).cloned().unwrap_or_default();
            groups.entry(partitions).or_default().insert(host.to_string());
        }
        let apart = groups.len() == TASKS && groups.values().all(|hosts| hosts.len() == REPLICAS);
        ensure!(apart, "{groups:?} of {workers}, {status}");
        Ok(())
    }

    /// What the overlord says of tasks that run, it asks them.
    fn live_reports(&self, tasks: &BTreeSet<String>) -> Result<()> {
        let druid = &self.fixture.druid;
        for id in tasks {
            let mut last = Value::Null;
            let counts = wait_until(LIMIT, "a live report", || {
                last = druid.get(&format!("/druid/indexer/v1/task/{id}/reports"))?;
                let payload = &last["ingestionStatsAndErrors"]["payload"];
                let processed = &payload["rowStats"]["totals"]["buildSegments"]["processed"];
                Ok((processed.as_u64() > Some(0)).then_some(()))
            });
            counts.with_context(|| last.to_string())?;
        }
        let stats = druid.get(&format!("/druid/indexer/v1/supervisor/{}/stats", self.id))?;
        let groups = stats.as_object().into_iter().flatten();
        let counted: BTreeSet<String> = groups
            .flat_map(|(_, group)| group.as_object().into_iter().flatten())
            .filter(|(_, task)| task["totals"]["buildSegments"]["processed"].as_u64() > Some(0))
            .map(|(id, _)| id.clone())
            .collect();
        ensure!(counted == *tasks, "{stats}");
        Ok(())
    }

    /// Waits until so many rows are read that stand in Kafka.
    pub(super) fn until_caught_up(&self, written: u64) -> Result<()> {
        self.until("the tasks to catch up", |status| {
            let sum = |offsets: &Value| -> u64 {
                let offsets = offsets.as_object().into_iter().flatten();
                offsets.filter_map(|(_, offset)| offset.as_u64()).sum()
            };
            ensure!(
                sum(&status["latestOffsets"]) <= written,
                "Kafka has more than {written} rows"
            );
            let mut read: BTreeMap<&String, u64> = BTreeMap::new();
            for task in status["activeTasks"].as_array().into_iter().flatten() {
                for (partition, offset) in task["currentOffsets"].as_object().into_iter().flatten() {
                    // The one that is behind counts.
                    let offset = offset.as_u64().unwrap_or_default();
                    let least = read.entry(partition).or_insert(offset);
                    *least = offset.min(*least);
                }
            }
            Ok((read.values().sum::<u64>() == written).then_some(()))
        })
    }

    /// Has the tasks publish what they read, and waits until none is left.
    pub(super) fn suspend(&self) -> Result<()> {
        let path = format!("/druid/indexer/v1/supervisor/{}/suspend", self.id);
        self.fixture.druid.post(&path, &json!({}))?;
        self.until("the last tasks to end", |status| {
            let none = |tasks: &Value| list(tasks).is_empty();
            let ended = none(&status["activeTasks"]) && none(&status["publishingTasks"]);
            Ok((status["suspended"] == true && ended).then_some(()))
        })
    }

    /// The ids of all tasks that the supervisor ever had.
    pub(super) fn tasks(&self) -> Result<BTreeSet<String>> {
        let path = format!("/druid/indexer/v1/tasks?datasource={}", self.id);
        Ok(ids(&list(&self.fixture.druid.get(&path)?)))
    }

    /// Every task succeeded at the overlord and was one PeonTask, all but `reruns` of one attempt; returns their ids, and those of tasks that
    /// the supervisor killed before they were up. It does so with whoever has no location when a group of replicas is told
    /// where to cut, as if no worker had it, and starts another one.
    fn ended_well(
        &self,
        manager: &MiddleManager<'_>,
        reruns: usize,
    ) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        let (mut tasks, mut late) = (BTreeSet::new(), BTreeSet::new());
        let mut again = Vec::new();
        for id in self.tasks()? {
            let status = manager.until_ended(&id)?;
            let objects = manager.peon_tasks(&id)?;
            ensure!(objects.len() == 1, "{objects:?}");
            let object = &objects[0]["status"];
            if object["attempt"].as_u64() > Some(1) {
                again.push(object.to_string());
            }
            if status["statusCode"] == "SUCCESS" {
                tasks.insert(id);
                continue;
            }
            let is_late = text(&status["errorMsg"]).contains("empty offsets after pause")
                && status["location"]["host"].is_null();
            ensure!(
                is_late && object["reason"] == "Cancelled",
                "{id}: {status} {object}"
            );
            late.insert(id);
        }
        ensure!(again.len() == reruns, "{again:?}");
        Ok((tasks, late))
    }

    /// The numbers in the published rows, and of how many segments, as soon as there are enough: the coordinator hears of
    /// segments later.
    fn until_rows(&self, written: u64, cache: &Cache, progress: &Progress) -> Result<(Vec<u64>, usize)> {
        let mut known = Vec::new();
        let mut rows = Vec::new();
        let found = wait_until(LIMIT, "the rows in the segments", || {
            let segments = self.fixture.druid.segments(&self.id)?;
            if segments.len() != known.len() {
                rows = segments::rows(self.fixture, &self.id, "n", cache, progress)?;
                known = segments;
            }
            Ok((u64::try_from(rows.len())? >= written).then(|| (rows.clone(), known.len())))
        });
        found.with_context(|| format!("{} of {written} rows in {} segments", rows.len(), known.len()))
    }
}

impl Drop for Supervisor<'_> {
    fn drop(&mut self) {
        let path = format!("/druid/indexer/v1/supervisor/{}/terminate", self.id);
        let ended = self.fixture.druid.post(&path, &json!({}));
        let template = ["peontemplate", TEMPLATE, "--namespace", self.fixture.home()];
        if let Err(error) = ended.and_then(|_| self.fixture.kubectl.delete(&template)) {
            eprintln!("the supervisor stays: {error:#}");
        }
    }
}

fn ids(tasks: &[Value]) -> BTreeSet<String> {
    tasks.iter().map(|task| text(&task["id"]).to_owned()).collect()
}
