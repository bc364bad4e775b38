//! What was measured as a table and as a picture, for people (pure).

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    report::{Results, is_write, quantile},
    round::Measured,
    way::Way,
};
use crate::bench::chart::{self, Row, Spread};

/// Fewer requests of a task than these are not shown.
const RARE: f64 = 0.005;

impl Results {
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
            "\n{} tasks{} in each burst, {} rounds: median (least – most); milliseconds of cpu and kilobytes of one task\n",
            self.tasks,
            self.payload
                .map_or_else(String::new, |kibibytes| format!(" of {kibibytes} KiB")),
            self.rounds
        );
        let _ = writeln!(
            table,
            "{:<30}{:>22}{:>22}{:>20}{:>8}{:>9}",
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
                "{:<30}{:>22}{:>22}{:>20}{:>8}{:>9}",
                way.title(),
                text(self.of(way, Measured::rate)),
                text(self.of(way, |m| m.cpu.apiserver)),
                text(self.controller(way)),
                one(self.of(way, |m| m.cpu.etcd)),
                one(self.of(way, |m| m.etcd_kilobytes)),
            );
        }
        table.push_str(&self.requests_table());
        table.push_str(&self.rates().table(&self.size.title()));
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
                let _ = writeln!(table, "  {:<30}{load:<8}{}", way.title(), stages.join("   "));
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

    /// Requests of a task, a line for each way and each one that sends them.
    fn requests_table(&self) -> String {
        let mut table = "\nRequests of a task\n".to_owned();
        for way in self.bursts.keys() {
            let mut by_sender: BTreeMap<&str, Vec<(String, f64)>> = BTreeMap::new();
            for ((who, what), count) in self.requests(*way) {
                by_sender.entry(who).or_default().push((what, count));
            }
            for (who, requests) in by_sender {
                let writes: f64 = requests
                    .iter()
                    .filter(|(what, _)| is_write(what))
                    .map(|(_, count)| count)
                    .sum();
                let each = requests.iter().filter(|(_, count)| *count >= RARE);
                let each: Vec<String> = each.map(|(what, count)| format!("{what} {count:.2}")).collect();
                let _ = writeln!(
                    table,
                    "  {:<30}{who}: {writes:.2} writes; {}",
                    way.title(),
                    each.join(", ")
                );
            }
        }
        table
    }
}
