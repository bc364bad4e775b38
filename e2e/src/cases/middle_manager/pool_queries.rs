//! Queries on what streaming tasks in Indexers have not published.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    Case, Turn, case,
    pool_tasks::Pool,
    process::Process,
    streaming::{Supervisor, TEMPLATE, template},
};
use crate::testbed::{
    cache::Cache,
    druid::{broker::Broker, kafka::Kafka},
    fixture::{Fixture, LIMIT},
    progress::Progress,
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[case(
    "pool_queries::rows_are_visible_before_they_are_published_and_stay_so",
    visible,
)
.turn(Turn::Alone)
.own()
.full()];

/// Rows that have to be visible before anything is published.
const ENOUGH: u64 = 300;
/// How long the rows are watched after each fault: longer than a session lives without its process.
const WATCHED: Duration = Duration::from_secs(45);

/// A broker counts rows of a task that publishes nothing for as long as the case runs. They stay visible while the process
/// that announces the Indexer is killed, and while its pod is replaced.
fn visible(fixture: &Fixture) -> Result<()> {
    let (cache, progress) = (Cache::open()?, Progress::default());
    template(fixture)?;
    let spec = json!({
        "templateRef": {"name": TEMPLATE},
        "serving": "Queries",
        "replicas": 1,
        "maxIndexers": 4,
    });
    let pool = Pool::start(fixture, &spec)?;
    let broker = Broker::deploy(fixture)?;
    let kafka = Kafka::deploy(fixture, &cache, &progress)?;
    let topic = format!("queried_{}", fixture.run);
    let writer = kafka.write(&topic)?;
    kafka.until_topic(&topic)?;
    let supervisor = Supervisor::start_with(fixture, &kafka, &topic, |spec| {
        let io = &mut spec["ioConfig"];
        (io["replicas"], io["taskCount"]) = (json!(1), json!(1));
        io["taskDuration"] = json!("PT1H");
        spec["tuningConfig"]["maxRowsPerSegment"] = json!(1_000_000);
    })?;
    let count = || -> Result<u64> {
        let rows = broker.sql(&format!("SELECT COUNT(*) FROM \"{topic}\""))?;
        let row = rows.first().context("no row")?;
        row[0].as_u64().with_context(|| format!("not a number: {row}"))
    };
    // Until the broker knows the data source it refuses the query.
    wait_until(LIMIT, "rows of the task", || {
        let counted = count().unwrap_or_default();
        Ok((counted >= ENOUGH).then_some(()))
    })?;
    ensure!(
        fixture.druid.segments(&topic)?.is_empty(),
        "something was published already: this shows nothing"
    );
    let faults: [(&str, &dyn Fn() -> Result<()>); 2] = [
        ("the process of the workers is killed", &|| {
            Process::server(fixture).kill()
        }),
        ("its pod is replaced", &|| {
            let pods = [
                "pod",
                "--namespace",
                fixture.home(),
                "--selector",
                "peon.dev/serves",
            ];
            fixture.kubectl.delete(&pods)
        }),
    ];
    for (what, fault) in faults {
        let before = count()?;
        fault()?;
        let (begun, mut last) = (Instant::now(), before);
        let (mut gap, mut longest) = (None, Duration::ZERO);
        wait_until(LIMIT, "the end of the watch", || {
            match count() {
                Ok(now) if now >= last => {
                    last = now;
                    gap = None;
                }
                _ => {
                    let since = *gap.get_or_insert_with(Instant::now);
                    longest = longest.max(since.elapsed());
                }
            }
            Ok((begun.elapsed() >= WATCHED && gap.is_none()).then_some(()))
        })?;
        println!(
            "{what}: {before} rows before, {last} after; rows were missing for at most {:.1} s",
            longest.as_secs_f32()
        );
        ensure!(last > before, "{what}: no rows came after {before}");
        // Announcements outlive their process, and the next process replaces them at once.
        ensure!(
            longest < Duration::from_secs(10),
            "{what}: rows were missing for {longest:?}"
        );
        pool.manager.until_workers(2)?;
    }
    writer.end()?;
    drop(supervisor);
    Ok(())
}
