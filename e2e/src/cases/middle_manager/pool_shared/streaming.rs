//! Tasks of a supervisor share Indexers, and a broker queries what they have not published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use super::super::pool_faults::jvm;
use super::super::pool_tasks::Pool;
use super::super::streaming::{REPLICAS, Supervisor, TASKS, TEMPLATE, template};
use super::super::{MiddleManager, text};
use super::spec;
use crate::testbed::cache::Cache;
use crate::testbed::druid::{
    broker::Broker,
    historical::Historical,
    kafka::{Kafka, Writer},
};
use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::peons::kill_hard;
use crate::testbed::progress::Progress;
use crate::testbed::wait::wait_until;

/// Rows that SQL has to count before the Indexer is killed.
const ENOUGH: u64 = 300;
/// How long tasks wait for a Historical to load what they published, in milliseconds.
const HAND_OFF: u32 = 300_000;
/// Rows that were counted are counted again within this time: brokers are told that an Indexer has ended, and ask the other
/// replica.
const TAKE_OVER: Duration = Duration::from_secs(60);
/// How long rows are watched at most.
const WATCHED: Duration = LIMIT.saturating_mul(4);

/// How Druid 33 fails a replica after another one of its group was lost. The group goes on, and so do the rows. None of it
/// depends on what runs the tasks.
///
/// - The supervisor tells the replicas of a group where to cut a segment, and fails those that do not answer: the one that was
///   killed, and a replacement that still starts (`SeekableStreamSupervisor.checkpointTaskGroup`).
/// - It fails a replacement whose offsets are behind those that its group has published meanwhile
///   (`SeekableStreamSupervisor.verifyAndMergeCheckpoints`).
/// - A replica that publishes after another one has the offsets against it (`IndexerSQLMetadataStorageCoordinator`), and
///   succeeds only if its segments have the same ids (`BaseAppenderatorDriver.publishInBackground`). A replacement gets others:
///   `TaskLockbox.cleanupUpgradeAndPendingSegments` forgets who allocates for a group with the first task of it that ends, so
///   that with the next one the pending segments are deleted of those that still run.
const REPLICA_LOST: [&str; 3] = [
    "returned empty offsets after pause",
    "are not consistent with group checkpoints",
    "Inconsistency between stored metadata state",
];
/// How a replica fails that ends in the moment in which the supervisor stops it, because another one of its group succeeded
/// (`SeekableStreamSupervisor.checkPendingCompletionTasks`): its thread is interrupted, and the consumer of Kafka that it closes
/// says so. By then its segments are published and loaded.
const INTERRUPTED: &str = "kafka.common.errors.InterruptException";

/// Two replicas of two tasks roll over twice, and a JVM with one replica of each is killed before. Every row is published once,
/// and what SQL counted stays in the count but for the moment of the take-over.
pub(super) fn loses_no_row(fixture: &Fixture) -> Result<()> {
    let (cache, progress) = (Cache::open()?, Progress::default());
    template(fixture)?;
    // Those that read, and those that wait for the hand-off.
    let manager = MiddleManager::start_with(fixture, |spec| spec["capacity"] = json!(8))?;
    let mut of_pool = spec(2, "30Mi");
    of_pool["templateRef"] = json!({"name": TEMPLATE});
    of_pool["slots"]["heavy"] = json!(6);
    of_pool["serving"] = json!("Queries");
    let pool = Pool::behind(manager, &of_pool)?;
    let broker = Broker::deploy(fixture)?;
    let _historical = Historical::deploy(fixture)?;
    let kafka = Kafka::deploy(fixture, &cache, &progress)?;
    let topic = format!("shared_stream_{}", fixture.run);
    let writer = kafka.write(&topic)?;
    kafka.until_topic(&topic)?;
    let supervisor = Supervisor::start_with(fixture, &kafka, &topic, |spec| {
        spec["tuningConfig"]["handoffConditionTimeout"] = json!(HAND_OFF);
    })?;

    let rows = Rows {
        broker: &broker,
        topic: &topic,
    };
    let over = AtomicBool::new(false);
    let (read, watched) = thread::scope(|scope| {
        let watching = scope.spawn(|| rows.watch(&over));
        let read = read(&pool, &supervisor, &rows, writer);
        over.store(true, Ordering::Relaxed);
        let watched = watching.join();
        (
            read,
            watched.map_err(|_| anyhow!("the thread that queries panicked")),
        )
    });
    let ((lost, written), (missing, twice)) = (read?, watched??);
    rows.until_exact(written)?;
    progress.say(format_args!(
        "{written} rows, each published once; SQL missed rows for at most {:.1} s, and counted rows of two replicas for at most \
         {:.1} s",
        missing.as_secs_f32(),
        twice.as_secs_f32(),
    ));
    progress.say(lost.verdicts(&pool, &supervisor)?);
    Ok(())
}

/// Returns what was lost with the Indexer, and how many rows were written.
fn read(
    pool: &Pool<'_>,
    supervisor: &Supervisor<'_>,
    rows: &Rows<'_>,
    writer: Writer,
) -> Result<(Lost, u64)> {
    let first = supervisor.until_reading(&BTreeSet::new())?;
    wait_until(LIMIT, "rows in SQL", || {
        let counted = rows.count().unwrap_or_default();
        Ok((counted.different >= ENOUGH).then_some(()))
    })?;
    let lost = Lost::kill_one_of(pool, &first)?;
    supervisor.until_rolls_over(&first)?;
    let second = supervisor.until_reading(&first)?;
    supervisor.until_rolls_over(&second)?;
    supervisor.until_reading(&second)?;
    let written = writer.end()?;
    supervisor.until_caught_up(written)?;
    supervisor.suspend()?;
    Ok((lost, written))
}

/// All but the last part of an id is the same in replicas.
fn group(id: &str) -> &str {
    id.rsplit_once('_').map_or(id, |(group, _)| group)
}

/// What the death of an Indexer concerns.
struct Lost {
    /// Groups that lost a replica.
    groups: BTreeSet<String>,
    /// Tasks of other Indexers, which it does not concern.
    others: BTreeSet<String>,
}

impl Lost {
    /// Kills the JVM of one of the Indexers that have these tasks: two, of which each has one replica of each.
    fn kill_one_of(pool: &Pool<'_>, tasks: &BTreeSet<String>) -> Result<Self> {
        let mut pods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for id in tasks {
            let uid = text(&pool.run(id)?["podUID"]).to_owned();
            pods.entry(uid).or_default().insert(id.clone());
        }
        let groups_of = |tasks: &BTreeSet<String>| -> BTreeSet<String> {
            tasks.iter().map(|id| group(id).to_owned()).collect()
        };
        let apart = pods.values().all(|tasks| groups_of(tasks).len() == TASKS);
        ensure!(
            pods.len() == REPLICAS && apart,
            "replicas share an Indexer: {pods:?}"
        );
        let (killed, its_tasks) = pods.pop_first().context("no Indexer")?;
        kill_hard(jvm(&json!({"podUID": killed}))?)?;
        Ok(Self {
            groups: groups_of(&its_tasks),
            others: pods.into_values().flatten().collect(),
        })
    }

    /// Every task is one `PeonTask` and has ended; only those fail that Druid fails without any loss.
    fn verdicts(&self, pool: &Pool<'_>, supervisor: &Supervisor<'_>) -> Result<String> {
        let tasks = supervisor.tasks()?;
        let groups: BTreeSet<&str> = tasks.iter().map(|id| group(id)).collect();
        ensure!(groups.len() >= 3 * TASKS, "two roll-overs, but only {groups:?}");
        let (mut warm, mut again) = (0, 0);
        let (mut good, mut failed) = (BTreeSet::new(), Vec::new());
        for id in &tasks {
            let status = pool.manager.until_ended(id)?;
            let object = pool.peon_task(id)?["status"].take();
            again += usize::from(object["attempt"].as_u64() > Some(1));
            if status["statusCode"] == "SUCCESS" {
                warm += usize::from(object["run"]["kind"] == "Worker");
                good.insert(group(id));
            } else {
                failed.push((id, status, object));
            }
        }
        let mut reasons = BTreeMap::<&str, usize>::new();
        for (id, status, object) in failed {
            let said = text(&status["errorMsg"]);
            let is_lost = self.groups.contains(group(id)) && !self.others.contains(id);
            let lost = REPLICA_LOST.into_iter().filter(|_| is_lost);
            let stopped = [INTERRUPTED].into_iter().filter(|_| good.contains(group(id)));
            let reason = lost.chain(stopped).find(|reason| said.contains(reason));
            let reason = reason.with_context(|| format!("{id} failed: {status} {object}"))?;
            *reasons.entry(reason).or_default() += 1;
        }
        ensure!(
            warm >= 2 * REPLICAS * TASKS,
            "{warm} of {tasks:?} succeeded in Indexers"
        );
        Ok(format!(
            "{} tasks, {warm} of them in shared Indexers, {again} in a second attempt; Druid failed {reasons:?}",
            tasks.len()
        ))
    }
}

/// What SQL says of a topic.
struct Rows<'a> {
    broker: &'a Broker<'a>,
    topic: &'a str,
}

/// Rows by their numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    different: u64,
    all: u64,
}

/// Times in which something was not as it has to be.
struct Gaps {
    /// When it was as it has to be for the last time.
    last: Instant,
    is_open: bool,
    /// From the last look before to the first one after.
    longest: Duration,
}

impl Gaps {
    fn none() -> Self {
        Self {
            last: Instant::now(),
            is_open: false,
            longest: Duration::ZERO,
        }
    }

    /// Returns how long it has not been as it has to be; zero if it is.
    fn see(&mut self, is_open: bool) -> Duration {
        if is_open || self.is_open {
            self.longest = self.longest.max(self.last.elapsed());
        }
        self.is_open = is_open;
        if !is_open {
            self.last = Instant::now();
            return Duration::ZERO;
        }
        self.last.elapsed()
    }
}

impl Rows<'_> {
    /// Fails while the broker knows no such data source.
    fn count(&self) -> Result<Counted> {
        let query = format!(
            "SELECT COUNT(*), SUM(c) FROM (SELECT n, COUNT(*) AS c FROM \"{}\" GROUP BY n)",
            self.topic
        );
        let rows = self.broker.sql(&query)?;
        let row = rows.first().context("no row")?;
        let number = |column: usize| row[column].as_u64();
        let (different, all) = number(0)
            .zip(number(1))
            .with_context(|| format!("no numbers: {row}"))?;
        Ok(Counted { different, all })
    }

    /// Counts until it is over and no row is missing. No row may be missing for longer than a take-over. Returns the longest times
    /// in which rows were missing that had been counted, or no answer came, and in which rows were counted twice.
    fn watch(&self, over: &AtomicBool) -> Result<(Duration, Duration)> {
        let (mut missing, mut twice) = (Gaps::none(), Gaps::none());
        let mut most = 0;
        wait_until(WATCHED, "the end of the stream", || {
            let counted = self.count().unwrap_or_default();
            most = most.max(counted.different);
            let open = missing.see(counted.different < most);
            ensure!(open < TAKE_OVER, "{counted:?}, after {most} had been counted");
            twice.see(counted.all > counted.different);
            Ok((over.load(Ordering::Relaxed) && open.is_zero()).then_some(()))
        })?;
        Ok((missing.longest, twice.longest))
    }

    /// Waits until every row counts, and none twice.
    fn until_exact(&self, written: u64) -> Result<()> {
        let exact = Counted {
            different: written,
            all: written,
        };
        let mut last = Counted::default();
        let found = wait_until(LIMIT, "exactly the rows that were written", || {
            last = self.count().unwrap_or_default();
            Ok((last == exact).then_some(()))
        });
        found.with_context(|| format!("{last:?} instead of {exact:?}"))
    }
}
