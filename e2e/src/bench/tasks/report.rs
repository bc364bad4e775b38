//! What was measured as a table, as JSON and as a picture (pure).

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};

use super::{Way, memory::Memory, round::Measured};
use crate::bench::{
    chart::{self, Row, Spread},
    logs::spread,
};

/// All that was measured.
pub(super) struct Results {
    tasks: usize,
    rounds: usize,
    /// By way, one of each round.
    pub(super) bursts: BTreeMap<Way, Vec<Measured>>,
    /// At half the rate of a burst.
    pub(super) steady: BTreeMap<Way, Measured>,
    pub(super) memory: Option<Memory>,
    /// Of the other build.
    pub(super) other_memory: Option<Memory>,
}

/// A value of a round.
type Of = fn(&Measured) -> f64;

impl Results {
    pub(super) fn new(tasks: usize, rounds: usize) -> Self {
        Self {
            tasks,
            rounds,
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

    fn of(&self, way: Way, value: impl Fn(&Measured) -> f64) -> Option<Spread> {
        let rounds = self.bursts.get(&way)?;
        Some(spread(rounds.iter().map(value).collect()).into())
    }

    /// Cpu of what decides for the task: that of the controller manager is without what it uses for the same pods of
    /// nobody.
    fn controller(&self, way: Way) -> Option<Spread> {
        match way {
            Way::Plain | Way::Crd => None,
            Way::Job => {
                let same_pods = self
                    .of(Way::Plain, |m| m.cpu.controllers)
                    .map_or(0.0, |s| s.median);
                self.of(way, |m| m.cpu.controllers - same_pods)
            }
            Way::Operator | Way::Other => self.of(way, |m| m.cpu.operator.unwrap_or_default()),
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
        let ways = [
            (Way::Plain, "floor_plain"),
            (Way::Crd, "floor_crd"),
            (Way::Job, "job"),
            (Way::Operator, "operator"),
        ];
        for (way, name) in ways {
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
        let of_operator = |is: fn(&str) -> bool| {
            self.of(Way::Operator, |m| m.count("operator", is))
                .map(|s| s.median)
        };
        put("operator_writes_per_task", of_operator(is_write));
        put("operator_reads_per_task", of_operator(|what| !is_write(what)));
        put(
            "job_controller_cpu_ms_per_task",
            self.controller(Way::Job).map(|s| s.median),
        );
        put(
            "operator_cpu_ms_per_task",
            self.controller(Way::Operator).map(|s| s.median),
        );
        put(
            "operator_peak_rss_mib",
            median(Way::Operator, |m| m.peak.unwrap_or_default()),
        );
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
        Value::Object(all)
    }

    /// Of a burst, all rounds together, and at a steady rate.
    fn latencies(&self, way: Way) -> Vec<(&'static str, [Vec<f64>; 3])> {
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

    /// A picture of rate and cpu.
    pub(super) fn picture(&self) -> String {
        let panels = ["tasks a second", "API server, ms a task", "controller, ms a task"];
        let rows: Vec<Row> = Way::ALL
            .into_iter()
            .map(|way| Row {
                name: way.title(),
                values: vec![
                    self.of(way, Measured::rate),
                    self.of(way, |m| m.cpu.apiserver),
                    self.controller(way),
                ],
            })
            .collect();
        chart::svg(
            "What a task costs: tasks a second, and milliseconds of cpu of a task",
            &panels.map(str::to_owned),
            &rows,
        )
    }

    /// The table for people.
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "\n{} tasks in each burst, {} rounds: median (least – most); milliseconds of cpu and kilobytes of one task\n",
            self.tasks, self.rounds
        );
        let _ = writeln!(
            table,
            "{:<23}{:>22}{:>22}{:>20}{:>8}{:>9}",
            "", "tasks a second", "API server ms", "controller ms", "etcd ms", "etcd kB"
        );
        let other = self.bursts.keys().copied().filter(|way| *way == Way::Other);
        for way in Way::ALL.into_iter().chain(other) {
            let text = |value: Option<Spread>| {
                value.map_or_else(String::new, |s| {
                    format!("{:.1} ({:.1} – {:.1})", s.median, s.least, s.most)
                })
            };
            let one = |value: Option<Spread>| value.map_or_else(String::new, |s| format!("{:.1}", s.median));
            let _ = writeln!(
                table,
                "{:<23}{:>22}{:>22}{:>20}{:>8}{:>9}",
                way.title(),
                text(self.of(way, Measured::rate)),
                text(self.of(way, |m| m.cpu.apiserver)),
                text(self.controller(way)),
                one(self.of(way, |m| m.cpu.etcd)),
                one(self.of(way, |m| m.etcd_kilobytes)),
            );
        }
        table.push_str("\nRequests of a task\n");
        for (way, rounds) in &self.bursts {
            let requests = rounds.last().map(|m| &m.requests).into_iter().flatten();
            let requests = requests.filter(|(_, count)| **count >= 0.005);
            let requests: Vec<String> = requests
                .map(|((who, what), count)| format!("{who} {what} {count:.2}"))
                .collect();
            let _ = writeln!(table, "  {}: {}", way.title(), requests.join(", "));
        }
        table.push_str("\nMilliseconds after creation: median, 90 %, 99 %\n");
        for way in self.bursts.keys() {
            for (load, stages) in self.latencies(*way) {
                let stages = ["pod", "running", "verdict"].iter().zip(stages);
                let stages = stages.map(|(stage, values)| {
                    let of = |q| {
                        quantile(&values, q).map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"))
                    };
                    format!("{stage} {}, {}, {}", of(0.5), of(0.9), of(0.99))
                });
                let stages: Vec<String> = stages.collect();
                let _ = writeln!(table, "  {:<23}{load:<8}{}", way.title(), stages.join("   "));
            }
        }
        for (way, memory) in [(Way::Operator, &self.memory), (Way::Other, &self.other_memory)] {
            let Some(memory) = memory else { continue };
            let peak = self.of(way, |m| m.peak.unwrap_or_default());
            let _ = writeln!(
                table,
                "\nMemory, {}: {:.1} MiB without tasks, at most {:.1} MiB in a burst; bytes of a live task {:.0}, of a \
                 finished one {:.0}, of a finished one after a restart {:.0}\nRestart: ready after {:.1} s, another task has \
                 ended after {:.1} s",
                way.title(),
                memory.empty,
                peak.map_or(0.0, |s| s.median),
                memory.bytes_per_live_task,
                memory.bytes_per_finished_task,
                memory.bytes_per_listed_task,
                memory.ready_seconds,
                memory.steady_seconds,
            );
        }
        table
    }
}

fn is_write(what: &str) -> bool {
    !["get ", "list "].iter().any(|verb| what.starts_with(verb))
}

/// The value that this share of the values does not exceed.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
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
        let results = Results::new(10, 3);
        assert_eq!(results.json(), json!({"tasks": 10.0, "rounds": 3.0}));
        assert!(results.picture().contains("<svg") && results.table().contains("Jobs"));
    }
}
