//! What was measured, and its values for programs (pure).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    memory::Memory,
    pool::Size,
    round::{Measured, Requests},
    targets::Rates,
    way::Way,
};
use crate::bench::{chart::Spread, logs::spread};

/// All that was measured.
pub(super) struct Results {
    pub(super) tasks: usize,
    pub(super) rounds: usize,
    /// KiB of a task, where it is not the smallest.
    pub(super) payload: Option<u8>,
    pub(super) size: Size,
    /// By way, one of each round.
    pub(super) bursts: BTreeMap<Way, Vec<Measured>>,
    /// At half the rate of a burst.
    pub(super) steady: BTreeMap<Way, Measured>,
    pub(super) memory: Option<Memory>,
    /// Of the other build.
    pub(super) other_memory: Option<Memory>,
}

/// As whom requests of the operator are counted.
const OPERATOR: &str = "operator";

/// A value of a round.
type Of = fn(&Measured) -> f64;

impl Results {
    pub(super) fn new(tasks: usize, rounds: usize, payload: Option<u8>, size: Size) -> Self {
        Self {
            tasks,
            rounds,
            payload,
            size,
            bursts: BTreeMap::new(),
            steady: BTreeMap::new(),
            memory: None,
            other_memory: None,
        }
    }

    /// Tasks a second.
    pub(super) fn rate(&self, way: Way) -> Spread {
        self.of(way, Measured::rate).unwrap_or(Spread {
            median: 0.0,
            least: 0.0,
            most: 0.0,
        })
    }

    pub(super) fn of(&self, way: Way, value: impl Fn(&Measured) -> f64) -> Option<Spread> {
        let rounds = self.bursts.get(&way)?;
        Some(spread(rounds.iter().map(value).collect()).into())
    }

    /// Cpu of what decides for the task: that of the controller manager is without what it uses for the same pods of
    /// nobody.
    pub(super) fn controller(&self, way: Way) -> Option<Spread> {
        match way {
            Way::Plain | Way::Crd | Way::CrdOnly => None,
            Way::Job => {
                let same_pods = self
                    .of(Way::Plain, |m| m.cpu.controllers)
                    .map_or(0.0, |s| s.median);
                self.of(way, |m| m.cpu.controllers - same_pods)
            }
            Way::Operator | Way::Pool | Way::Other => self.of(way, |m| m.cpu.operator.unwrap_or_default()),
        }
    }

    /// Values for programs. Those that were not measured are missing.
    pub(super) fn json(&self) -> Value {
        let mut all = Map::new();
        let mut put = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                all.insert(name.to_owned(), json!((value * 100.0).round() / 100.0));
            }
        };
        let median = |way, value: Of| self.of(way, value).map(|s| s.median);
        for (way, name) in Way::ALL.map(|way| (way, way.key())) {
            put(&format!("{name}_tasks_per_s"), median(way, Measured::rate));
            put(
                &format!("api_cpu_ms_per_task_{name}"),
                median(way, |m| m.cpu.apiserver),
            );
            put(
                &format!("etcd_cpu_ms_per_task_{name}"),
                median(way, |m| m.cpu.etcd),
            );
            put(
                &format!("etcd_kb_per_task_{name}"),
                median(way, |m| m.etcd_kilobytes),
            );
            for (load, measured) in self.latencies(way) {
                let stages = ["pod_created", "running_seen", "verdict_visible"];
                for (stage, values) in stages.iter().zip(measured) {
                    for (percent, title) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
                        put(
                            &format!("{name}_{load}_{stage}_ms_{title}"),
                            quantile(&values, percent),
                        );
                    }
                }
            }
        }
        for (way, name) in [(Way::Operator, "operator"), (Way::Pool, "pool")] {
            put(&format!("{name}_writes_per_task"), self.writes(way));
            let reads = self.of(way, |m| m.count(OPERATOR, |what| !is_write(what)));
            put(&format!("{name}_reads_per_task"), reads.map(|s| s.median));
            let peak = median(way, |m| m.peak.unwrap_or_default());
            put(&format!("{name}_peak_rss_mib"), peak);
        }
        put(
            "job_controller_cpu_ms_per_task",
            self.controller(Way::Job).map(|s| s.median),
        );
        put(
            "operator_cpu_ms_per_task",
            self.controller(Way::Operator).map(|s| s.median),
        );
        put(
            "operator_cpu_ms_per_task_pool",
            self.controller(Way::Pool).map(|s| s.median),
        );
        put("pool_tasks_per_s_wanted", self.rates().wanted());
        let memory = self.memory.as_ref();
        put("operator_empty_rss_mib", memory.map(|m| m.empty));
        put(
            "operator_bytes_per_finished_task",
            memory.map(|m| m.bytes_per_finished_task),
        );
        put(
            "operator_bytes_per_listed_task",
            memory.map(|m| m.bytes_per_listed_task),
        );
        put(
            "operator_bytes_per_live_task",
            memory.map(|m| m.bytes_per_live_task),
        );
        put("operator_ready_s", memory.map(|m| m.ready_seconds));
        put("operator_steady_s", memory.map(|m| m.steady_seconds));
        put("tasks", u32::try_from(self.tasks).ok().map(f64::from));
        put("rounds", u32::try_from(self.rounds).ok().map(f64::from));
        put("payload_kib", self.payload.map(f64::from));
        let has_pool = self.bursts.contains_key(&Way::Pool);
        for (name, value) in self.size.values().into_iter().filter(|_| has_pool) {
            put(name, Some(f64::from(value)));
        }
        all.insert("requests_per_task".to_owned(), self.all_requests());
        Value::Object(all)
    }

    /// Requests of a task by way, who sends them, and verb and resource.
    fn all_requests(&self) -> Value {
        let mut ways = Map::new();
        for way in self.bursts.keys() {
            let mut of_way = Map::new();
            for ((who, what), count) in self.requests(*way) {
                let of_one = of_way.entry(who).or_insert_with(|| json!({}));
                of_one[what] = json!((count * 1000.0).round() / 1000.0);
            }
            ways.insert(way.key().to_owned(), of_way.into());
        }
        ways.into()
    }

    /// Requests of a task, on average of all rounds.
    pub(super) fn requests(&self, way: Way) -> Requests {
        let rounds = self.bursts.get(&way).map_or(&[][..], Vec::as_slice);
        let mut all = Requests::new();
        for (request, count) in rounds.iter().flat_map(|measured| &measured.requests) {
            #[allow(clippy::cast_precision_loss)] // A few.
            let share = count / rounds.len() as f64;
            *all.entry(request.clone()).or_default() += share;
        }
        all
    }

    /// Writes of the operator for a task.
    fn writes(&self, way: Way) -> Option<f64> {
        self.of(way, |m| m.count(OPERATOR, is_write)).map(|s| s.median)
    }

    /// What the targets of tasks in a pool are about.
    pub(super) fn rates(&self) -> Rates {
        let rate = |way| self.of(way, Measured::rate).map(|s| s.median);
        Rates {
            pool: rate(Way::Pool),
            jobs: rate(Way::Job),
            floor: rate(Way::CrdOnly),
            writes: self.writes(Way::Pool),
        }
    }

    /// Of a burst, all rounds together, and at a steady rate.
    pub(super) fn latencies(&self, way: Way) -> Vec<(&'static str, [Vec<f64>; 3])> {
        let bursts = self.bursts.get(&way).map_or(&[][..], Vec::as_slice);
        let of = |measured: &[&Measured]| {
            [0, 1, 2].map(|at: usize| measured.iter().flat_map(|m| m.latencies[at].clone()).collect())
        };
        let mut all = Vec::new();
        if !bursts.is_empty() {
            all.push(("burst", of(&bursts.iter().collect::<Vec<_>>())));
        }
        all.extend(self.steady.get(&way).map(|m| ("steady", of(&[m]))));
        all
    }
}

/// Whether requests of this verb change something.
pub(super) fn is_write(what: &str) -> bool {
    !["get ", "list "].iter().any(|verb| what.starts_with(verb))
}

/// The value that this share of the values does not exceed.
pub(super) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // Some thousands.
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn what_was_not_measured_is_missing() {
        let results = Results::new(10, 3, None, Size::default());
        let nothing = json!({"tasks": 10.0, "rounds": 3.0, "requests_per_task": {}});
        assert_eq!(results.json(), nothing);
        assert!(results.picture().contains("<svg") && results.table().contains("Jobs"));
    }

    #[test]
    fn tasks_in_a_pool_have_their_own_values() {
        let mut results = Results::new(10, 2, Some(2), Size::default());
        let round = |seconds, patches| {
            let requests = [
                (("operator", "patch peontasks/status".to_owned()), patches),
                (("operator", "get secrets".to_owned()), 1.0),
                (("client", "create peontasks".to_owned()), 1.0),
            ];
            Measured::example(10.0, seconds, requests)
        };
        results
            .bursts
            .insert(Way::Pool, vec![round(0.5, 2.0), round(0.25, 3.0)]);
        results.bursts.insert(Way::CrdOnly, vec![round(0.2, 0.0)]);
        let json = results.json();
        for (name, value) in [
            ("pool_tasks_per_s", 40.0),
            ("pool_writes_per_task", 3.0),
            ("pool_reads_per_task", 1.0),
            ("api_cpu_ms_per_task_pool", 4.0),
            ("operator_cpu_ms_per_task_pool", 2.0),
            ("floor_crd_only_tasks_per_s", 50.0),
            ("pool_tasks_per_s_wanted", 45.0),
            ("payload_kib", 2.0),
            ("pool_in_flight", 8.0),
        ] {
            assert_eq!(json[name], json!(value), "{name}");
        }
        let requests = &json["requests_per_task"]["pool"];
        assert_eq!(
            requests["operator"],
            json!({"get secrets": 1.0, "patch peontasks/status": 2.5})
        );
        assert_eq!(requests["client"], json!({"create peontasks": 1.0}));
        let table = results.table();
        assert!(
            table.contains("shared pool") && table.contains("(not reached)"),
            "{table}"
        );
        assert!(
            table.contains("operator: 2.50 writes; get secrets 1.00, patch peontasks/status 2.50"),
            "{table}"
        );
    }
}
