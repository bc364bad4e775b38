//! The ways in which a task can be run, each with what it needs beside overlord and operator.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::middle_manager::{STOCK, VIRTUAL, send_to, until_idle, workers::NAME};
use crate::testbed::druid::{
    samples,
    stock_middle_manager::{StockIndexers, StockMiddleManager},
};
use crate::testbed::fixture::{Fixture, LIMIT, NAMESPACE};
use crate::testbed::wait::wait_until;

/// Category of the stock Indexers.
const INDEXER: &str = "indexer";
/// Slots of all ways but one, which are those of the pools, too.
const SLOTS: usize = 8;
/// Shared Indexers, and heavy slots of each.
const SHARED: usize = 2;
/// The template of shared Indexers.
const LONG_LIVED: &str = "long-lived";

/// How a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Way {
    /// In a pool of mode `Shared`.
    Shared,
    /// In stock Indexers, to which the overlord assigns it.
    Indexer,
    /// In a pool of mode `Single`.
    Single,
    /// In a pod of its own.
    Pod,
    /// In a JVM that a stock MiddleManager forks.
    Stock2,
    /// The same, of a MiddleManager with as many slots as the others.
    Stock8,
}

/// In the order of the table.
pub(super) const WAYS: [Way; 6] = [
    Way::Shared,
    Way::Indexer,
    Way::Single,
    Way::Pod,
    Way::Stock2,
    Way::Stock8,
];

impl Way {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Shared => "Shared pool, 2 x 4",
            Self::Indexer => "stock Indexers, 2 x 4",
            Self::Single => "Single pool, 8 warm",
            Self::Pod => "own pods, 8 at a time",
            Self::Stock2 => "MiddleManager, 2 slots",
            Self::Stock8 => "MiddleManager, 8 slots",
        }
    }

    /// In JSON, and in the ids of tasks.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Indexer => "indexer",
            Self::Single => "single",
            Self::Pod => "pod",
            Self::Stock2 => "stock2",
            Self::Stock8 => "stock8",
        }
    }

    /// Whether no JVM starts for a task.
    pub(super) fn is_fast(self) -> bool {
        matches!(self, Self::Shared | Self::Indexer)
    }

    pub(super) fn slots(self) -> usize {
        if self == Self::Stock2 { 2 } else { SLOTS }
    }

    /// How many tasks the overlord has at a time that did not end: of a way that starts JVMs no more than run.
    pub(super) fn window(self, tasks: usize) -> usize {
        if self.is_fast() { tasks } else { self.slots() }
    }

    fn category(self) -> &'static str {
        match self {
            Self::Shared | Self::Single | Self::Pod => VIRTUAL,
            Self::Indexer => INDEXER,
            Self::Stock2 | Self::Stock8 => STOCK,
        }
    }

    /// What the context of a task says about it.
    fn context(self) -> Value {
        let placement = match self {
            Self::Shared | Self::Single => "Pool",
            Self::Pod => "Pod",
            _ => return json!({}),
        };
        json!({"druid.peon.placement": placement, "tags": {"way": self.name()}})
    }

    fn pool(self) -> Option<Value> {
        let (template, more) = match self {
            Self::Shared => {
                let slots = json!({"heavy": SLOTS / SHARED, "light": 1});
                let limits = json!({"memory": "1536Mi", "cpu": "2"});
                let more = json!({
                    "mode": "Shared", "replicas": SHARED, "slots": slots, "overflow": {"to": "Wait"},
                    "resources": {"limits": limits, "requests": {"cpu": "100m"}},
                });
                (LONG_LIVED, more)
            }
            Self::Single => {
                let limits = json!({"memory": "640Mi", "cpu": "2"});
                let more = json!({
                    "replicas": SLOTS, "maxIndexers": SLOTS + SLOTS / 2,
                    "resources": {"limits": limits, "requests": {"cpu": "60m"}},
                });
                ("default", more)
            }
            _ => return None,
        };
        let mut spec = more;
        spec["middleManagerRef"] = json!({"name": NAME});
        spec["templateRef"] = json!({"name": template});
        spec["match"] = json!({"contextTags": {"way": [self.name()]}});
        Some(spec)
    }

    /// Idle Indexers of its pool at rest.
    fn warm(self) -> usize {
        if self == Self::Shared { SHARED } else { SLOTS }
    }

    /// A small ingestion: three rows inline, two segments, of a datasource of its own.
    pub(super) fn task(self, fixture: &Fixture, name: &str) -> Result<Value> {
        let id = format!("{}_{name}_{}", self.name(), fixture.run);
        let mut task = samples::index_parallel(&id, &id, &id)?["spec"]["task"].take();
        task["type"] = json!("index");
        for config in ["ioConfig", "tuningConfig"] {
            task["spec"][config]["type"] = json!("index");
        }
        task["context"] = self.context();
        Ok(task)
    }
}

/// The template of JVMs that live long: they compile what they often run.
pub(super) fn long_lived_template(fixture: &Fixture) -> Result<()> {
    let args = ["peontemplate", "default", "--namespace", NAMESPACE];
    let mut spec = fixture.kubectl.get_json(&args)?["spec"].take();
    spec["javaOpts"] = json!([]);
    spec["match"] = json!({"contextTags": {"way": [Way::Shared.name()]}});
    spec["priority"] = json!(10);
    let object = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": LONG_LIVED}, "spec": spec,
    });
    fixture.apply(NAMESPACE, &object)
}

/// What a way needs, for as long as the value lives.
pub(super) struct Ground<'a> {
    fixture: &'a Fixture,
    way: Way,
    _middle_manager: Option<StockMiddleManager<'a>>,
    _indexers: Option<StockIndexers<'a>>,
}

impl<'a> Ground<'a> {
    /// Sets it up, has the overlord send all tasks there, and waits until tasks can begin. The peons of a stock
    /// MiddleManager get these options.
    pub(super) fn start(fixture: &'a Fixture, way: Way, options: &[String]) -> Result<Self> {
        let (mut middle_manager, mut indexers) = (None, None);
        match way {
            Way::Stock2 | Way::Stock8 => {
                until_workers(fixture, way, 0)?;
                middle_manager = Some(StockMiddleManager::start(fixture, options, way.slots())?);
                until_workers(fixture, way, 1)?;
            }
            Way::Indexer => {
                until_workers(fixture, way, 0)?;
                let each = way.slots() / StockIndexers::COUNT;
                indexers = Some(StockIndexers::start(fixture, each)?);
                until_workers(fixture, way, StockIndexers::COUNT)?;
            }
            Way::Shared | Way::Single | Way::Pod => {}
        }
        let ground = Self {
            fixture,
            way,
            _middle_manager: middle_manager,
            _indexers: indexers,
        };
        if let Some(spec) = way.pool() {
            fixture.apply(NAMESPACE, &samples::pool(way.name(), &spec))?;
        }
        send_to(fixture, way.category())?;
        ground.until_at_rest()?;
        Ok(ground)
    }

    /// Waits until nothing runs and as many Indexers are warm as the pool keeps.
    pub(super) fn until_at_rest(&self) -> Result<()> {
        until_idle(self.fixture)?;
        if self.way.pool().is_none() {
            return Ok(());
        }
        let args = ["indexerpool", self.way.name(), "--namespace", NAMESPACE];
        let warm = self.way.warm();
        let at_rest =
            |pool: &Value| pool["status"]["readyReplicas"] == warm && pool["status"]["replicas"] == warm;
        self.fixture.kubectl.wait_for(&args, LIMIT, at_rest).map(drop)
    }

    fn remove_pool(&self) -> Result<()> {
        let name = self.way.name();
        let kubectl = &self.fixture.kubectl;
        kubectl.delete(&["indexerpool", name, "--namespace", NAMESPACE])?;
        let selector = format!("peon.dev/pool={name}");
        let pods = ["pod", "--namespace", NAMESPACE, "--selector", &selector];
        kubectl
            .wait_for(&pods, LIMIT, |found| found["items"] == json!([]))
            .map(drop)
    }
}

impl Drop for Ground<'_> {
    fn drop(&mut self) {
        if self.way.pool().is_some()
            && let Err(error) = self.remove_pool()
        {
            eprintln!("the pool stays: {error:#}");
        }
    }
}

/// Waits until the overlord has so many enabled workers of a way.
fn until_workers(fixture: &Fixture, way: Way, wanted: usize) -> Result<()> {
    let mut last = Value::Null;
    let there = wait_until(LIMIT, "the workers", || {
        last = fixture.druid.get("/druid/indexer/v1/workers")?;
        let of = |w: &&Value| w["worker"]["category"] == way.category() && w["worker"]["version"] != "";
        let there = last.as_array().into_iter().flatten().filter(of).count();
        Ok((there == wanted).then_some(()))
    });
    there.with_context(|| last.to_string())
}
