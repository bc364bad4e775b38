//! `make bench-logs`: what the operator's log followers cost, beside a plain client that reads the same logs.
//!
//! The operator's own code reads `pods/log` of a real kubelet through a real API server (`e2e/drivers/src/bin/follow.rs`), on the
//! machine rather than in a pod, so that its time and memory are those of its process alone. The pods that write are on
//! a second node, whose kubelet does not rotate their logs, and which goes away with all they made.

mod reader;
mod writers;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::{
    reader::{Cost, check, follow, measured, measured_to_file},
    writers::{Pace, Written},
};
use crate::testbed::{
    cache::Cache, cluster::SecondNode, images::Image, kubectl::Kubectl, lock::Busy, progress::Progress,
    target::Target,
};

/// Bytes of the log whose reading is timed.
const LOG: u64 = 64 << 20;
const LARGE: &str = "bench-logs-large";
/// How often it is read by each, after once that does not count.
const ROUNDS: usize = 5;
/// Followers at the same time: as many as the operator has by default.
const FOLLOWERS: usize = 200;
/// The pods that they share: most write little, some much.
const SLOW: (usize, Pace) = (6, Pace::Steady(8 << 10, 60));
const FAST: (usize, Pace) = (2, Pace::Steady(256 << 10, 60));

/// Who reads the timed log, with the name that the table gives it.
const READERS: [(&str, Reader); 3] = [
    ("plain copy", Reader::Copy),
    ("follower", Reader::Follower),
    ("kubectl logs", Reader::Kubectl),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The same HTTP client as the follower's, straight to a file.
    Copy,
    /// To an archive in a folder, as the operator does it.
    Follower,
    /// A client that has nothing to do with ours.
    Kubectl,
}

/// Measures, and prints a table.
///
/// # Errors
/// When the cluster does not start, keeps too little of a log, or what was read is not what was written.
pub fn run(cache: &Cache, busy: Busy, progress: &Progress) -> Result<()> {
    let target = Target::choose_running(cache, busy, progress)?;
    let done = Bench::begin(&target, cache, progress).and_then(|bench| bench.run());
    // A cluster that was up before stays up.
    target.down()?;
    print!("{}", done?);
    Ok(())
}

struct Bench<'a> {
    target: &'a Target,
    kubectl: Kubectl,
    progress: &'a Progress,
    image: String,
    /// Where the pods come, on a cluster of our own.
    node: Option<SecondNode<'a>>,
    /// Removed with this value, as are the pods.
    folder: PathBuf,
}

impl<'a> Bench<'a> {
    fn begin(target: &'a Target, cache: &Cache, progress: &'a Progress) -> Result<Self> {
        let kubectl = target.kubectl();
        let image = target.image(Image::Druid, cache, progress)?;
        let node = target
            .own()
            .map(crate::testbed::cluster::Cluster::second_node)
            .transpose()?;
        let folder = match target.own() {
            Some(own) => own.scratch("bench-logs")?,
            None => cache.path("run/bench-logs"),
        };
        let bench = Self {
            target,
            kubectl,
            progress,
            image,
            node,
            folder,
        };
        bench.check_rotation()?;
        bench.empty_folder("")?;
        // An earlier run may have been killed.
        writers::remove(&bench.kubectl)?;
        Ok(bench)
    }

    fn run(&self) -> Result<String> {
        let throughput = self.throughput()?;
        let memory = self.memory()?;
        Ok(format!("\n{throughput}\n{memory}"))
    }

    /// `pods/log` reads a container's current file only: the logs must not be rotated.
    fn check_rotation(&self) -> Result<()> {
        let nodes = self.kubectl.get_json(&["nodes"])?;
        let names = nodes["items"].as_array().into_iter().flatten();
        for name in names.filter_map(|node| node["metadata"]["name"].as_str()) {
            if self.node.as_ref().is_some_and(|node| node.name() != name) {
                continue;
            }
            let path = format!("/api/v1/nodes/{name}/proxy/configz");
            let config = self.kubectl.run(&["get", "--raw", &path])?;
            let config: Value = serde_json::from_str(&config)?;
            let size = config["kubeletconfig"]["containerLogMaxSize"].as_str();
            let size = size.unwrap_or("a size that it does not say");
            ensure!(
                size.ends_with("Gi"),
                "the kubelet of {name} rotates logs at {size}: it needs CONTAINER_LOG_MAX_SIZE=1Gi when it starts"
            );
        }
        Ok(())
    }

    fn create(&self, name: &str, pace: Pace) -> Result<()> {
        let mut pod = writers::pod(name, &self.image, pace);
        if let Some(node) = &self.node {
            node.place(&mut pod["spec"], 60);
        }
        self.kubectl.apply(&pod.to_string())
    }

    /// A new folder below that of the run.
    fn empty_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        crate::testbed::cache::remove(&folder)?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    fn throughput(&self) -> Result<String> {
        let step = self.progress.step("a log of 64 MiB");
        self.create(LARGE, Pace::AtOnce(LOG))?;
        let written = writers::written(&self.kubectl, LARGE)?;
        step.done("written");
        let mut rounds = Vec::new();
        for round in 0..=ROUNDS {
            // The order changes with each round, so that none always comes first.
            let mut order = READERS;
            order.rotate_left(round % READERS.len());
            let mut costs = Vec::new();
            for (name, reader) in order {
                let step = self.progress.step(format!("round {round} of {ROUNDS}, {name}"));
                let cost = self.read(reader, &written)?;
                costs.push((reader, cost));
                step.done(format_args!(
                    "{:.1} MB/s, {:.2} s of cpu",
                    rate(&written, cost),
                    cost.cpu
                ));
            }
            if round > 0 {
                rounds.push(costs);
            }
        }
        Ok(throughput_table(&written, &rounds))
    }

    fn read(&self, reader: Reader, written: &Written) -> Result<Cost> {
        let folder = self.empty_folder("one")?;
        let copy = folder.join("copy");
        let cost = match reader {
            Reader::Copy => {
                let mut program = follow(self.target)?;
                measured(program.args(["copy", LARGE]).arg(&copy))?.0
            }
            Reader::Kubectl => {
                let mut kubectl = self.kubectl.command();
                kubectl.args(["logs", LARGE, "--timestamps", "--follow"]);
                measured_to_file(kubectl.args(["--namespace", writers::NAMESPACE]), &copy)?
            }
            Reader::Follower => {
                let (cost, said) = self.follow("archive", &folder, 1, &[LARGE.to_owned()], written.bytes)?;
                ensure!(said["gaps"] == 0, "something is missing: {said}");
                cost
            }
        };
        if reader == Reader::Follower {
            check(&folder.join("0.log"), false, written)?;
        } else {
            check(&copy, true, written)?;
        }
        crate::testbed::cache::remove(&folder)?;
        Ok(cost)
    }

    fn follow(
        &self,
        how: &str,
        folder: &Path,
        followers: usize,
        pods: &[String],
        bytes: u64,
    ) -> Result<(Cost, Value)> {
        let mut program = follow(self.target)?;
        program.arg(how).arg(folder);
        program
            .args([followers.to_string(), bytes.to_string()])
            .args(pods);
        let (cost, said) = measured(&mut program)?;
        ensure!(
            said["bytes"] == bytes,
            "{bytes} bytes were written, read were {said}"
        );
        Ok((cost, said))
    }

    fn memory(&self) -> Result<String> {
        let paces = std::iter::repeat_n(SLOW.1, SLOW.0).chain(std::iter::repeat_n(FAST.1, FAST.0));
        let paces: Vec<Pace> = paces.collect();
        let pods: Vec<String> = (0..paces.len()).map(|n| format!("bench-logs-{n}")).collect();
        for (name, pace) in pods.iter().zip(&paces) {
            self.create(name, *pace)?;
        }
        let folder = self.empty_folder("many")?;
        let mut lines = Vec::new();
        let step = self
            .progress
            .slow_step("200 followers, pods that write", "a minute");
        let mut program = follow(self.target)?;
        program.arg("archive").arg(&folder);
        program.args([FOLLOWERS.to_string(), "0".to_owned()]).args(&pods);
        let (cost, said) = measured(&mut program)?;
        step.done("archived");
        let written = pods
            .iter()
            .map(|name| writers::written(&self.kubectl, name))
            .collect::<Result<Vec<_>>>()?;
        check_many(&folder, &written, &said)?;
        lines.push(memory_line("pods that write", cost, &said));

        let all: u64 = written.iter().cycle().take(FOLLOWERS).map(|w| w.bytes).sum();
        for (how, name) in [("archive", "all at once"), ("hang", "the store hangs")] {
            let folder = self.empty_folder("many")?;
            let step = self.progress.step(format!("200 followers, {name}"));
            let (cost, said) = self.follow(how, &folder, FOLLOWERS, &pods, all)?;
            step.done("read");
            if how == "archive" {
                check_many(&folder, &written, &said)?;
            }
            lines.push(memory_line(name, cost, &said));
        }
        Ok(format!(
            "{FOLLOWERS} followers in one process, of {} logs (memory in MiB, of a follower in KiB)\n{:<20}{:>8}{:>10}{:>8}{:>8}{:>8}{:>12}\n{}",
            pods.len(),
            "",
            "MB",
            "seconds",
            "cpu s",
            "idle",
            "peak",
            "a follower",
            lines.concat()
        ))
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let pods = writers::remove(&self.kubectl);
        let folder = crate::testbed::cache::remove(&self.folder);
        if let Err(error) = pods.and(folder) {
            eprintln!("something of the benchmark is left: {error:#}");
        }
    }
}

fn check_many(folder: &Path, written: &[Written], said: &Value) -> Result<()> {
    ensure!(said["gaps"] == 0, "something is missing: {said}");
    for n in 0..FOLLOWERS {
        check(
            &folder.join(format!("{n}.log")),
            false,
            &written[n % written.len()],
        )?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // Bytes of a benchmark.
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn rate(written: &Written, cost: Cost) -> f64 {
    megabytes(written.bytes) / cost.seconds
}

/// The median, with the least and the most.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |n: usize| values.get(n).copied().unwrap_or_default();
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

fn throughput_table(written: &Written, rounds: &[Vec<(Reader, Cost)>]) -> String {
    let of = |reader: Reader| -> Vec<Cost> {
        let found = rounds.iter().flatten().filter(|(r, _)| *r == reader);
        found.map(|(_, cost)| *cost).collect()
    };
    let plain = of(Reader::Copy);
    let mut table = format!(
        "One log of {:.0} MB, {} rounds: median (least – most); speed relative to the plain copy of the same round\n",
        megabytes(written.bytes),
        rounds.len()
    );
    for (name, reader) in READERS {
        let costs = of(reader);
        let rates = spread(costs.iter().map(|c| rate(written, *c)).collect());
        let cpu = spread(costs.iter().map(|c| c.cpu).collect());
        let pairs = costs.iter().zip(&plain);
        let ratio = spread(pairs.map(|(c, p)| p.seconds / c.seconds).collect());
        let line = format!(
            "{name:<14}{:>7.1} MB/s ({:.1} – {:.1}){:>7.2} s of cpu ({:.2} – {:.2}){:>7.2} ({:.2} – {:.2})\n",
            rates.0, rates.1, rates.2, cpu.0, cpu.1, cpu.2, ratio.0, ratio.1, ratio.2
        );
        table.push_str(&line);
    }
    table
}

fn memory_line(name: &str, cost: Cost, said: &Value) -> String {
    let number = |name: &str| said[name].as_u64().unwrap_or_default();
    let (idle, peak) = (number("idleKib"), number("peakKib"));
    let each = peak.saturating_sub(idle) / FOLLOWERS as u64;
    format!(
        "{name:<20}{:>8.0}{:>10.1}{:>8.1}{:>8}{:>8}{each:>12}\n",
        megabytes(number("bytes")),
        cost.seconds,
        cost.cpu,
        idle / 1024,
        peak / 1024
    )
}
