//! What was measured as a table, as JSON and as a picture (pure).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::load::Measured;
use super::ways::{WAYS, Way};
use crate::bench::chart::{self, Row, Spread};
use crate::bench::logs::spread;

/// By way, one of each round.
pub(super) type Results = BTreeMap<Way, Vec<Measured>>;

/// A value of a round.
type Of = fn(&Measured) -> f64;

/// The targets: what is compared, the ratio or the seconds, and whether it is to be at least or at most so much.
const SHARE_OF_STOCK: f64 = 40.0;
const SHARE_OF_INDEXER: f64 = 0.7;
const SHARE_OF_CPU: f64 = 0.1;
const ALONE: f64 = 0.5;

#[allow(clippy::cast_precision_loss)] // Some thousands.
fn count(n: usize) -> f64 {
    n as f64
}

fn rate(m: &Measured) -> f64 {
    count(m.tasks) * 60.0 / m.seconds.max(f64::MIN_POSITIVE)
}

/// Of the JVMs of tasks.
fn cpu(m: &Measured) -> f64 {
    m.cpu.workers / count(m.tasks)
}

fn cpu_of_operator(m: &Measured) -> f64 {
    m.cpu.operator / count(m.tasks)
}

fn cpu_of_overlord(m: &Measured) -> f64 {
    m.cpu.others / count(m.tasks)
}

fn cpu_of_kubernetes(m: &Measured) -> f64 {
    m.cpu.kubernetes / count(m.tasks)
}

#[allow(clippy::cast_precision_loss)] // Some thousands.
fn memory(m: &Measured) -> f64 {
    m.memory as f64
}

fn of(rounds: &[Measured], value: Of) -> Spread {
    spread(rounds.iter().map(value).collect()).into()
}

fn alone(rounds: &[Measured]) -> Vec<f64> {
    let mut all: Vec<f64> = rounds.iter().flat_map(|m| m.alone.iter().copied()).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// The value that this share of the sorted values does not exceed.
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied()
}

/// A table in Markdown, and whether the targets are reached.
pub(super) fn table(results: &Results) -> String {
    let mut table = String::from(
        "\n| | tasks | tasks a minute | cpu seconds a task: JVMs of tasks | operator and workers | overlord and ZooKeeper \
         | Kubernetes | MiB for each slot | alone: median s | 90 % | of |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for way in WAYS {
        let Some(rounds) = results.get(&way).filter(|rounds| !rounds.is_empty()) else {
            continue;
        };
        let alone = alone(rounds);
        let seconds = |percent| quantile(&alone, percent).map_or(String::from("–"), |s| format!("{s:.2}"));
        let tasks: usize = rounds.iter().map(|m| m.tasks).sum();
        let operator = match way {
            Way::Shared | Way::Single | Way::Pod => format!("{:.3}", of(rounds, cpu_of_operator).median),
            _ => String::from("–"),
        };
        let _ = writeln!(
            table,
            "| {} | {tasks} | {:.0} | {:.3} | {operator} | {:.3} | {:.3} | {:.0} | {} | {} | {} |",
            way.title(),
            of(rounds, rate).median,
            of(rounds, cpu).median,
            of(rounds, cpu_of_overlord).median,
            of(rounds, cpu_of_kubernetes).median,
            of(rounds, memory).median / count(way.slots()),
            seconds(50),
            seconds(90),
            alone.len(),
        );
    }
    table.push('\n');
    for (what, value, wanted, is_reached) in targets(results) {
        let said = if is_reached { "reached" } else { "missed" };
        let _ = writeln!(table, "{what}: {value:.2} (target: {wanted}; {said})");
    }
    table
}

/// What is compared, its value, the target in words, and whether it is reached; those whose ways were measured.
fn targets(results: &Results) -> Vec<(&'static str, f64, String, bool)> {
    let median = |way: Way, value: Of| {
        let rounds = results.get(&way).filter(|rounds| !rounds.is_empty())?;
        Some(of(rounds, value).median)
    };
    let mut all = Vec::new();
    for (what, other, least) in [
        (
            "rate, Shared to MiddleManager with 2 slots",
            Way::Stock2,
            SHARE_OF_STOCK,
        ),
        ("rate, Shared to stock Indexers", Way::Indexer, SHARE_OF_INDEXER),
    ] {
        if let (Some(shared), Some(other)) = (median(Way::Shared, rate), median(other, rate)) {
            let ratio = shared / other;
            all.push((what, ratio, format!("at least {least}"), ratio >= least));
        }
    }
    let both: Of = |m| cpu(m) + cpu_of_operator(m);
    if let (Some(shared), Some(stock)) = (median(Way::Shared, both), median(Way::Stock2, cpu)) {
        let ratio = shared / stock;
        let wanted = format!("at most {SHARE_OF_CPU}");
        let what = "cpu a task, Shared with operator and workers to MiddleManager with 2 slots";
        all.push((what, ratio, wanted, ratio <= SHARE_OF_CPU));
    }
    if let Some(seconds) = results
        .get(&Way::Shared)
        .and_then(|rounds| quantile(&alone(rounds), 50))
    {
        let wanted = format!("at most {ALONE}");
        all.push((
            "one alone in Shared, median of seconds",
            seconds,
            wanted,
            seconds <= ALONE,
        ));
    }
    all
}

/// Values for programs.
pub(super) fn json(results: &Results) -> Value {
    let mut ways = json!({});
    for (way, rounds) in results {
        let alone = alone(rounds);
        ways[way.name()] = json!({
            "tasks": rounds.iter().map(|m| m.tasks).collect::<Vec<_>>(),
            "slots": way.slots(),
            "tasks_per_minute": rounds.iter().map(rate).collect::<Vec<_>>(),
            "cpu_s_per_task": rounds.iter().map(cpu).collect::<Vec<_>>(),
            "operator_cpu_s_per_task": rounds.iter().map(cpu_of_operator).collect::<Vec<_>>(),
            "overlord_cpu_s_per_task": rounds.iter().map(cpu_of_overlord).collect::<Vec<_>>(),
            "kubernetes_cpu_s_per_task": rounds.iter().map(cpu_of_kubernetes).collect::<Vec<_>>(),
            "memory_mib": rounds.iter().map(|m| m.memory).collect::<Vec<_>>(),
            "alone_s": alone,
        });
    }
    let targets = targets(results).into_iter().map(|(what, value, target, is_reached)| {
        json!({"what": what, "value": value, "target": target, "reached": is_reached})
    });
    json!({"ways": ways, "targets": targets.collect::<Vec<_>>()})
}

pub(super) fn picture(results: &Results) -> String {
    let panels = [
        "tasks a minute",
        "cpu seconds a task",
        "MiB for each slot",
        "one alone, seconds",
    ]
    .map(str::to_owned);
    let rows = WAYS.into_iter().filter_map(|way| {
        let rounds = results.get(&way).filter(|rounds| !rounds.is_empty())?;
        let slots = count(way.slots());
        let memory = of(rounds, memory);
        let each = Spread {
            median: memory.median / slots,
            least: memory.least / slots,
            most: memory.most / slots,
        };
        let alone = alone(rounds);
        let seconds = (!alone.is_empty()).then(|| spread(alone).into());
        let values = vec![Some(of(rounds, rate)), Some(of(rounds, cpu)), Some(each), seconds];
        Some(Row {
            name: way.title(),
            values,
        })
    });
    chart::svg(
        "Small ingestions through one overlord",
        &panels,
        &rows.collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::usage::Cpu;
    use super::*;

    fn measured(tasks: usize, seconds: f64, workers: f64, alone: &[f64]) -> Measured {
        let cpu = Cpu {
            workers,
            operator: 1.0,
            others: 2.0,
            kubernetes: 3.0,
        };
        Measured {
            tasks,
            seconds,
            cpu,
            memory: 800,
            alone: alone.to_vec(),
        }
    }

    fn results() -> Results {
        [
            (Way::Shared, vec![measured(1000, 60.0, 49.0, &[0.3, 0.2, 0.4])]),
            (Way::Indexer, vec![measured(1000, 40.0, 40.0, &[0.2])]),
            (Way::Stock2, vec![measured(20, 60.0, 100.0, &[])]),
        ]
        .into()
    }

    #[test]
    fn targets_are_ratios_and_seconds() {
        let found: Vec<_> = targets(&results())
            .into_iter()
            .map(|(_, value, _, is_reached)| (value, is_reached))
            .collect();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], (50.0, true));
        assert!((found[1].0 - 2.0 / 3.0).abs() < 1e-9 && !found[1].1, "{found:?}");
        assert!((found[2].0 - 0.01).abs() < 1e-9 && found[2].1, "{found:?}");
        assert_eq!(found[3], (0.3, true));
    }

    #[test]
    fn each_way_that_was_measured_has_a_line() {
        let results = results();
        let table = table(&results);
        assert!(
            table.contains(
                "| Shared pool, 2 x 4 | 1000 | 1000 | 0.049 | 0.001 | 0.002 | 0.003 | 100 | 0.30 | 0.40 | 3 |"
            ),
            "{table}"
        );
        assert!(
            table.contains(
                "| MiddleManager, 2 slots | 20 | 20 | 5.000 | – | 0.100 | 0.150 | 400 | – | – | 0 |"
            ),
            "{table}"
        );
        assert!(!table.contains("own pods"), "{table}");
        assert_eq!(picture(&results).matches("<rect").count(), 11);
        assert_eq!(
            json(&results)["ways"]["stock2"]["tasks_per_minute"],
            json!([20.0])
        );
    }
}
