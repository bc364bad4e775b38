//! Prometheus metrics of the process (`docs/metrics.md`). Labels take few values: never a name, an id or a message.

pub mod logs;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use logs::LogMetrics;

type Labels<const N: usize> = [(&'static str, String); N];

/// The metrics, cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    api_requests: Family<Labels<3>, Counter>,
    passes: Family<Labels<1>, Counter>,
    pass_seconds: Histogram,
    verdicts: Family<Labels<1>, Counter>,
    tasks: Family<Labels<1>, Gauge>,
    unfinished: Family<Labels<1>, Gauge>,
    slots: Family<Labels<2>, Gauge>,
    identities: Family<Labels<1>, Gauge>,
    indexers: Family<Labels<1>, Gauge>,
    undecodable: Family<Labels<1>, Counter>,
    leader: Gauge,
    logs: LogMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let inner = Inner {
            registry: Mutex::new(Registry::with_prefix("peon_operator")),
            api_requests: Family::default(),
            passes: Family::default(),
            pass_seconds: Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
            verdicts: Family::default(),
            tasks: Family::default(),
            unfinished: Family::default(),
            slots: Family::default(),
            identities: Family::default(),
            indexers: Family::default(),
            undecodable: Family::default(),
            leader: Gauge::default(),
            logs: LogMetrics::default(),
        };
        {
            let mut registry = inner.registry.lock();
            registry.register(
                "api_requests",
                "Requests to the API server; code 0: no answer",
                inner.api_requests.clone(),
            );
            registry.register(
                "passes",
                "Passes over a PeonTask by outcome",
                inner.passes.clone(),
            );
            registry.register(
                "pass_seconds",
                "Duration of a pass over a PeonTask",
                inner.pass_seconds.clone(),
            );
            registry.register("verdicts", "Final verdicts by reason", inner.verdicts.clone());
            registry.register(
                "tasks",
                "PeonTasks by phase; reported by the leader only",
                inner.tasks.clone(),
            );
            registry.register(
                "unfinished_tasks",
                "PeonTasks without a verdict, by reason; reported by the leader only",
                inner.unfinished.clone(),
            );
            registry.register(
                "pool_slots",
                "Slots of shared Indexers that are ready, by kind and state; reported by the leader only",
                inner.slots.clone(),
            );
            registry.register(
                "identities",
                "Workers of this VirtualMiddleManager by state",
                inner.identities.clone(),
            );
            registry.register(
                "indexers",
                "Indexers of IndexerPools by state; reported by the leader only",
                inner.indexers.clone(),
            );
            registry.register(
                "undecodable_objects",
                "Objects that could not be decoded",
                inner.undecodable.clone(),
            );
            registry.register(
                "leader",
                "1 while this process holds the lease",
                inner.leader.clone(),
            );
            inner.logs.register(&mut registry);
        }
        Self(Arc::new(inner))
    }
}

impl Metrics {
    /// Those of logs.
    #[must_use]
    pub fn logs(&self) -> LogMetrics {
        self.0.logs.clone()
    }

    /// Counts a request to the API server.
    pub fn api_request(&self, method: &str, resource: &str, code: u16) {
        let labels = [
            ("method", method.to_owned()),
            ("resource", resource.to_owned()),
            ("code", code.to_string()),
        ];
        self.0.api_requests.get_or_create(&labels).inc();
    }

    /// Counts a pass over a task: `unchanged`, `changed`, or the label of its error.
    pub fn pass(&self, outcome: &'static str, took: Duration) {
        self.0
            .passes
            .get_or_create(&[("outcome", outcome.to_owned())])
            .inc();
        self.0.pass_seconds.observe(took.as_secs_f64());
    }

    /// Counts a verdict.
    pub fn verdict(&self, reason: &str) {
        self.0
            .verdicts
            .get_or_create(&[("reason", reason.to_owned())])
            .inc();
    }

    /// Counts an object that could not be read.
    pub fn undecodable(&self, kind: &str) {
        self.0
            .undecodable
            .get_or_create(&[("kind", kind.to_owned())])
            .inc();
    }

    /// Says whether this process leads.
    pub fn leader(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// Sets the numbers of tasks and slots, where this process leads. Every replica has all tasks in its cache: one that
    /// does not lead has no such series, so that a sum over the replicas is right.
    pub fn tasks(&self, counts: impl FnOnce() -> Counts) {
        let inner = &self.0;
        // A reason that no task has any more has no series.
        inner.unfinished.clear();
        if inner.leader.get() == 0 {
            inner.tasks.clear();
            inner.slots.clear();
            return;
        }
        let Counts {
            phases,
            unfinished,
            slots,
        } = counts();
        for (phase, count) in phases {
            inner
                .tasks
                .get_or_create(&[("phase", phase.to_owned())])
                .set(number(count));
        }
        for (reason, count) in unfinished {
            inner
                .unfinished
                .get_or_create(&[("reason", reason.to_owned())])
                .set(number(count));
        }
        for (slot, used, free) in slots {
            for (state, count) in [("used", used), ("free", free)] {
                let labels = [("slot", slot.to_owned()), ("state", state.to_owned())];
                inner.slots.get_or_create(&labels).set(number(count));
            }
        }
    }

    /// Sets how many identities of a VirtualMiddleManager there are, are announced, and were polled by an overlord lately.
    pub fn identities(&self, wanted: usize, announced: usize, polled: usize) {
        for (state, count) in [("wanted", wanted), ("announced", announced), ("polled", polled)] {
            self.0
                .identities
                .get_or_create(&[("state", state.to_owned())])
                .set(number(count));
        }
    }

    /// Changes the number of Indexers in this state by `more`, which may be negative.
    pub fn indexers(&self, state: &'static str, more: i64) {
        self.0
            .indexers
            .get_or_create(&[("state", state.to_owned())])
            .inc_by(more);
    }

    /// The metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When they cannot be formatted.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry.lock())?;
        Ok(text)
    }
}

/// What is counted when somebody asks for the metrics.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks in each phase.
    pub phases: Vec<(&'static str, usize)>,
    /// Tasks without a verdict, by reason.
    pub unfinished: Vec<(&'static str, usize)>,
    /// Used and free slots of shared Indexers, by kind.
    pub slots: Vec<(&'static str, usize, usize)>,
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `docs/metrics.md` has every metric, and no other.
    #[test]
    fn every_metric_is_documented() {
        let metrics = Metrics::default();
        // A family without a series is not in the text.
        metrics.leader(true);
        metrics.api_request("GET", "pods", 200);
        metrics.pass("changed", Duration::ZERO);
        metrics.verdict("Succeeded");
        metrics.undecodable("PeonTask");
        metrics.indexers("Ready", 1);
        metrics.tasks(|| Counts {
            phases: vec![("Running", 1)],
            unfinished: vec![("Running", 1)],
            slots: vec![("heavy", 1, 3)],
        });
        metrics.identities(2, 2, 1);
        let text = metrics.text().unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let registered: BTreeSet<String> = types
            .filter_map(|line| {
                let (name, kind) = line.split_once(' ')?;
                let end = if kind == "counter" { "_total" } else { "" };
                Some(format!("{name}{end}"))
            })
            .collect();
        let documentation = include_str!("../../docs/metrics.md");
        let documented: BTreeSet<String> = documentation
            .lines()
            .filter_map(|line| line.strip_prefix("| `peon_operator_")?.split_once('`'))
            .map(|(name, _)| format!("peon_operator_{name}"))
            .collect();
        assert_eq!(documented, registered);
    }
}
