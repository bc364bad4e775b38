//! What it costs to archive a very long log: a sidecar's way, since no kubelet sends so much in a few minutes.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::testbed::{
    cache::Cache,
    object_stores::{Place as _, counted::Counted, server::Folder, versitygw::Versitygw},
    progress::Progress,
    wait::wait_until,
};

const ID: &str = "index_parallel_long_2026-11-21T02:04:32.154Z";
const GIB: usize = 1 << 30;
const LIMIT: Duration = Duration::from_secs(300);

/// Once as parts and once as the whole, and a little for everything around.
pub(super) fn is_sent_about_twice(cache: &Cache, progress: &Progress) -> Result<()> {
    let s3 = Versitygw::start(cache, progress)?;
    let counted = Counted::before(&s3.properties())?;
    let folder = Folder::new()?;
    let at = |name: &str| folder.path().join(name);
    for name in ["shared", "scratch/task/attempt/1", "sources"] {
        fs::create_dir_all(at(name))?;
    }
    let lines = counted.properties.lines().filter_map(|line| line.split_once('='));
    let properties: serde_json::Map<_, _> = lines.map(|(k, v)| (k.to_owned(), json!(v))).collect();
    let config = json!({
        "taskId": ID, "taskUid": "uid", "attempt": 1, "compose": true, "maxBytes": 2 * GIB, "properties": properties,
    });
    fs::write(at("log.json"), config.to_string())?;
    // As if somebody had shown all of it as the container's log.
    fs::write(at("shared/shown"), format!("{}\n", u64::MAX))?;
    let mut log = File::create(at("shared/log"))?;
    let mut command = Command::new(env::current_exe()?.with_file_name("peon-operator"));
    command.arg("log-sidecar").stdin(Stdio::null());
    for (option, name) in [
        ("--config", "log.json"),
        ("--sources", "sources"),
        ("--shared", "shared"),
        ("--scratch", "scratch"),
        ("--verdict", "verdict"),
    ] {
        command.arg(option).arg(at(name));
    }
    let mut sidecar = command.spawn().context("cannot start the sidecar")?;
    let written = write(&mut log);
    let id = Pid::from_raw(i32::try_from(sidecar.id())?);
    let peak = fs::read_to_string(format!("/proc/{id}/status"));
    kill(id, Signal::SIGTERM)?;
    let ended = wait_until(LIMIT, "the sidecar to end", || Ok(sidecar.try_wait()?));
    if ended.is_err() {
        sidecar.kill()?;
        sidecar.wait()?;
    }
    let (ended, expected) = (ended?, written?);
    ensure!(ended.success(), "{ended}: {}", fs::read_to_string(at("verdict"))?);
    let archived = s3.read(&s3.log(ID))?.context("no log")?;
    ensure!(
        archived == expected,
        "{} bytes of {}",
        archived.len(),
        expected.len()
    );
    let (sent, length) = (counted.sent(), archived.len() as u64);
    let peak = peak?;
    let peak = peak
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap_or_default();
    println!("{sent} bytes were sent for a log of {length}; the sidecar's {peak}");
    ensure!(sent * 10 <= length * 22, "{sent} bytes were sent for {length}");
    Ok(())
}

fn write(log: &mut File) -> Result<Vec<u8>> {
    let mut all = Vec::with_capacity(GIB + 100);
    let mut line = 0_u64;
    while all.len() < GIB {
        let begin = all.len();
        while all.len() - begin < 1 << 20 {
            writeln!(
                all,
                "2026-11-21T02:04:32,154 INFO [task-runner-0] line {line} of a very long log: {:x}",
                line.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            )?;
            line += 1;
        }
        log.write_all(&all[begin..])?;
    }
    Ok(all)
}
