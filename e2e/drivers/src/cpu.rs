//! The cpu that other processes use, read from `/proc`.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Below this share of a core the processes count as idle, for instance after they have read a new CRD.
const IDLE_SHARE: f64 = 0.15;
/// Most seconds that idle processes are waited for; then they are read as they are.
const MOST_WAITS: usize = 20;
/// Clock ticks of `/proc/PID/stat` in a second: `USER_HZ` of every Linux.
const TICKS: f64 = 100.0;

/// Seconds of cpu of a process since its start.
#[derive(Clone, Copy)]
struct Cpu {
    user: f64,
    system: f64,
}

/// Waits until these processes together use little cpu, or for twenty seconds.
///
/// # Errors
/// When one of them has ended.
pub async fn until_idle(processes: &[i32]) -> anyhow::Result<()> {
    for _ in 0..MOST_WAITS {
        let before = read_all(processes)?;
        sleep(Duration::from_secs(1)).await;
        let used: f64 = differences(&before, &read_all(processes)?)
            .map(|c| c.user + c.system)
            .sum();
        if used < IDLE_SHARE {
            return Ok(());
        }
    }
    Ok(())
}

/// Runs `work`; with the seconds it took, and the cpu that each of the processes used meanwhile.
///
/// # Errors
/// When the work fails, or one of the processes has ended.
pub async fn measured<T>(
    processes: &[i32],
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(Value, T)> {
    let (before, began) = (read_all(processes)?, Instant::now());
    let done = work.await?;
    let seconds = began.elapsed().as_secs_f64();
    let used: Vec<Value> = differences(&before, &read_all(processes)?)
        .map(|cpu| json!({"user": cpu.user, "system": cpu.system}))
        .collect();
    Ok((json!({"seconds": seconds, "cpu": used}), done))
}

fn read_all(processes: &[i32]) -> anyhow::Result<Vec<Cpu>> {
    processes.iter().map(|id| read(*id)).collect()
}

fn read(process: i32) -> anyhow::Result<Cpu> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name, in parentheses, may itself have blanks.
    let fields = stat.rsplit_once(')').context("no program")?.1;
    let mut fields = fields.split_whitespace().skip(11);
    let mut seconds = || -> anyhow::Result<f64> {
        let ticks: u32 = fields.next().context("no such field")?.parse()?;
        Ok(f64::from(ticks) / TICKS)
    };
    Ok(Cpu {
        user: seconds()?,
        system: seconds()?,
    })
}

fn differences<'a>(before: &'a [Cpu], after: &'a [Cpu]) -> impl Iterator<Item = Cpu> + 'a {
    before.iter().zip(after).map(|(before, after)| Cpu {
        user: after.user - before.user,
        system: after.system - before.system,
    })
}
