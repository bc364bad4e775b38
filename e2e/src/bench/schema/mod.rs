//! `make bench-schema`: what the CRD of PeonTask costs the API server, beside the same CRD without its rules, with an
//! open schema, and as given in files.
//!
//! The variants take turns within each round. For each the CRD is replaced; then one program (`write_tasks`) creates
//! PeonTasks and patches their statuses, and reads the cpu of the API server and of etcd from `/proc` meanwhile. Cpu and
//! not time is compared, without what the processes use while nothing is requested: other programs on the machine
//! change it little.

mod variants;

use std::{env, fmt::Write as _, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use self::variants::Variant;
use super::logs::spread;
use crate::testbed::{
    cache::Cache,
    cluster::{Cluster, Component},
    exec,
    kubectl::Kubectl,
    lock::Busy,
    progress::Progress,
    target::Target,
};

const NAMESPACE: &str = "bench-schema";
const CRD: &str = "peontasks.peon.dev";

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// PeonTasks to create, and status patches to send, for each variant in each round.
    #[arg(long, default_value_t = 1000)]
    tasks: u32,
    /// Rounds, after one that does not count.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only the CRDs that are given as files.
    #[arg(long)]
    only_files: bool,
    /// Further CRDs of PeonTask to measure; the table has the names of the files.
    crds: Vec<PathBuf>,
}

/// Milliseconds of cpu for one request.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Of the API server, user and system.
    apiserver: f64,
    /// Of that, user.
    apiserver_user: f64,
    /// Of etcd, user and system.
    etcd: f64,
}

/// One round of one variant.
#[derive(Debug, Clone, Copy)]
struct Measured {
    creation: Cost,
    patch: Cost,
}

/// Measures, and prints a table.
///
/// # Errors
/// When the cluster does not start, has the CRD already, or refuses an object or a CRD.
pub fn run(cache: &Cache, busy: Busy, plan: &Plan, progress: &Progress) -> Result<()> {
    let mut all = variants::of_files(&plan.crds)?;
    if !plan.only_files {
        all.extend(variants::of_this_checkout()?);
    }
    ensure!(!all.is_empty(), "no CRD to measure");
    let target = Target::choose_running(cache, busy, progress)?;
    let table = match target.own() {
        Some(cluster) => measure(cluster, plan, &all, progress),
        None => bail!("the processes of a foreign cluster cannot be read"),
    };
    target.down()?;
    print!("{}", table?);
    Ok(())
}

fn measure(cluster: &Cluster, plan: &Plan, all: &[Variant], progress: &Progress) -> Result<String> {
    let kubectl = cluster.kubectl();
    ensure!(
        kubectl.run(&["get", "crd", CRD]).is_err(),
        "the cluster has the CRD already: `e2e down` first"
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    kubectl.apply(&namespace.to_string())?;
    let rounds = in_turns(cluster, &kubectl, plan, all, progress);
    // A cluster that was up before stays up.
    let gone = kubectl.delete(&["crd", CRD]);
    kubectl.delete(&["namespace", NAMESPACE]).and(gone)?;
    Ok(table(plan, all, &rounds?))
}

/// The rounds, each with a value for each variant in their order.
fn in_turns(
    cluster: &Cluster,
    kubectl: &Kubectl,
    plan: &Plan,
    all: &[Variant],
    progress: &Progress,
) -> Result<Vec<Vec<Measured>>> {
    let mut rounds = Vec::new();
    for round in 0..=plan.rounds {
        let mut costs = vec![None; all.len()];
        for turn in 0..all.len() {
            // Which one comes first changes with the rounds.
            let at = (turn + round) % all.len();
            let step = progress.step(format!("round {round} of {}, {}", plan.rounds, all[at].name));
            install(kubectl, &all[at], round + turn == 0)?;
            let measured = write_tasks(cluster, plan, &all[at])?;
            step.done(format_args!(
                "{:.2} ms a creation, {:.2} ms a status patch",
                measured.creation.apiserver, measured.patch.apiserver
            ));
            costs[at] = Some(measured);
        }
        if round > 0 {
            rounds.push(costs.into_iter().flatten().collect());
        }
    }
    Ok(rounds)
}

fn install(kubectl: &Kubectl, variant: &Variant, first: bool) -> Result<()> {
    let verb = if first { "create" } else { "replace" };
    let args = [verb, "-f", "-"];
    let installed = kubectl.run_with_input(&args, &variant.crd.to_string());
    installed.with_context(|| variant.name.clone()).map(drop)
}

fn write_tasks(cluster: &Cluster, plan: &Plan, variant: &Variant) -> Result<Measured> {
    let mut program = Command::new(env::current_exe()?.with_file_name("write_tasks"));
    program.env("KUBECONFIG", cluster.kubeconfig());
    program.args([NAMESPACE, &variant.column, &plan.tasks.to_string()]);
    for component in [Component::ApiServer, Component::Etcd] {
        let process = cluster.process_id(component);
        program.arg(process.context(component.program())?.to_string());
    }
    let said = exec::output(&mut program)?;
    let said: Value = serde_json::from_str(&said).context(said)?;
    Ok(Measured {
        creation: cost(&said, "create", "creations")?,
        patch: cost(&said, "patch", "patches")?,
    })
}

/// Milliseconds of cpu of one request of a phase, less what the processes use while idle.
fn cost(said: &Value, phase: &str, requests: &str) -> Result<Cost> {
    let requests = said[requests].as_f64().context("no requests")?;
    let of = |process: usize, mode: &str| -> Result<f64> {
        let used = |phase: &str| said[phase]["cpu"][process][mode].as_f64().context("no cpu");
        let seconds = |phase: &str| said[phase]["seconds"].as_f64().context("no seconds");
        let idle = used("idle")? / seconds("idle")? * seconds(phase)?;
        Ok((used(phase)? - idle) * 1000.0 / requests)
    };
    Ok(Cost {
        apiserver: of(0, "user")? + of(0, "system")?,
        apiserver_user: of(0, "user")?,
        etcd: of(1, "user")? + of(1, "system")?,
    })
}

fn table(plan: &Plan, all: &[Variant], rounds: &[Vec<Measured>]) -> String {
    let width = all.iter().map(|v| v.name.len()).max().unwrap_or_default();
    let mut table = format!(
        "\nMilliseconds of cpu for one request, {} requests a round, {} rounds: median (least – most)\n\
         {:<width$}  {:>23}{:>8}{:>8}    {:>23}{:>8}{:>8}\n",
        plan.tasks,
        rounds.len(),
        "",
        "API server: creation",
        "user",
        "etcd",
        "status patch",
        "user",
        "etcd",
    );
    for (at, variant) in all.iter().enumerate() {
        let of = |value: fn(&Measured) -> f64| {
            spread(
                rounds
                    .iter()
                    .filter_map(|round| round.get(at).map(value))
                    .collect(),
            )
        };
        let creation = of(|m| m.creation.apiserver);
        let patch = of(|m| m.patch.apiserver);
        let (user, etcd) = (of(|m| m.creation.apiserver_user), of(|m| m.creation.etcd));
        let (patch_user, patch_etcd) = (of(|m| m.patch.apiserver_user), of(|m| m.patch.etcd));
        let shown = |(median, least, most): (f64, f64, f64)| format!("{median:.2} ({least:.2} – {most:.2})");
        let _ = writeln!(
            table,
            "{:<width$}  {:>23}{:>8.2}{:>8.2}    {:>23}{:>8.2}{:>8.2}",
            variant.name,
            shown(creation),
            user.0,
            etcd.0,
            shown(patch),
            patch_user.0,
            patch_etcd.0,
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_while_idle_is_not_counted() {
        let cpu = |user: f64| json!([{"user": user, "system": 0.5}, {"user": 0.0, "system": 0.0}]);
        let said = json!({
            "idle": {"seconds": 1.0, "cpu": cpu(0.1)}, "create": {"seconds": 2.0, "cpu": cpu(3.2)}, "creations": 1000,
        });
        let cost = cost(&said, "create", "creations").unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(
            near(cost.apiserver_user, 3.0) && near(cost.apiserver, 2.5) && near(cost.etcd, 0.0),
            "{cost:?}"
        );
    }
}
