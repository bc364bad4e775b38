//! Programs that read logs, and what they cost.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use serde_json::Value;

use super::writers::{NAMESPACE, Written};
use crate::bench::optimised;
use crate::testbed::{exec, interrupt::Helper, target::Target};

/// What a run of a program took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// From its start to its end.
    pub(super) seconds: f64,
    /// Of all its threads, in user and kernel.
    pub(super) cpu: f64,
}

pub(super) fn follow(target: &Target) -> Result<Command> {
    let program = optimised("follow")?;
    let mut command = Command::new(program);
    if let Some(own) = target.own() {
        command.env("KUBECONFIG", own.kubeconfig());
    }
    command.arg(NAMESPACE);
    Ok(command)
}

/// Runs a program that says what it did as JSON; nothing else may be started meanwhile.
pub(super) fn measured(command: &mut Command) -> Result<(Cost, Value)> {
    let (cost, said) = cost_of(|| exec::output(command))?;
    Ok((cost, serde_json::from_str(&said).context(said)?))
}

/// Runs a program whose output goes to a file.
pub(super) fn measured_to_file(command: &mut Command, to: &Path) -> Result<Cost> {
    let file = File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
    let run = || {
        let mut child = command.stdin(Stdio::null()).stdout(file).spawn()?;
        let _helper = Helper::process(child.id());
        Ok(child.wait()?)
    };
    let (cost, status) = cost_of(run)?;
    if !status.success() {
        bail!("`{}` failed ({status})", exec::line(command));
    }
    Ok(cost)
}

fn cost_of<T>(run: impl FnOnce() -> Result<T>) -> Result<(Cost, T)> {
    let (cpu, began) = (cpu_of_children()?, Instant::now());
    let done = run()?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_of_children()? - cpu;
    Ok((Cost { seconds, cpu }, done))
}

/// Of those that have ended.
fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = usage.user_time() + usage.system_time();
    #[allow(clippy::cast_precision_loss)] // Microseconds of a benchmark.
    Ok(time.num_microseconds() as f64 / 1e6)
}

/// Fails unless a file has these bytes; of a stream of lines with times, unless it has them behind the times.
pub(super) fn check(file: &Path, timestamps: bool, written: &Written) -> Result<()> {
    // By programs: our own build has no optimised SHA-256.
    let script = if timestamps {
        r#"cut -d ' ' -f 2- -- "$0" | sha256sum"#
    } else {
        r#"sha256sum < "$0""#
    };
    let said = exec::output(Command::new("sh").args(["-c", script]).arg(file))?;
    ensure!(
        said.starts_with(&written.sha256),
        "{} is not what the container wrote ({} bytes); was its log rotated?",
        file.display(),
        written.bytes
    );
    Ok(())
}
