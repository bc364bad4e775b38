//! What things cost, measured on the test cluster.

pub mod assign;
mod chart;
pub mod logs;
pub mod middle_manager;
pub mod pool;
pub mod schema;
pub mod tasks;

use std::{env, path::PathBuf};

use anyhow::{Context, Result, ensure};

use crate::testbed::{
    cache::{self, Cache},
    fixture::Fixture,
    lock::Busy,
    progress::Progress,
    target::Target,
};

/// Prepares cluster, Druid and operator, measures, prints what came of it, and removes everything; of a measurement that
/// failed the logs are kept.
fn on_cluster(
    cache: &Cache,
    busy: Busy,
    progress: &Progress,
    measure: impl FnOnce(&Fixture) -> Result<String>,
) -> Result<()> {
    on_prepared_cluster(cache, busy, progress, |fixture| fixture, measure)
}

/// Like [`on_cluster`], with another fixture.
fn on_prepared_cluster(
    cache: &Cache,
    busy: Busy,
    progress: &Progress,
    prepare: impl FnOnce(Fixture) -> Fixture,
    measure: impl FnOnce(&Fixture) -> Result<String>,
) -> Result<()> {
    let target = Target::choose_running(cache, busy, progress)?;
    let fixture = prepare(Fixture::prepare(target, cache, progress)?);
    let measured = fixture.install(progress).and_then(|()| measure(&fixture));
    if measured.is_err() {
        let folder = cache.path("run/failed");
        cache::remove(&folder)?;
        fixture.target.collect_logs(&folder)?;
        progress.say(format_args!("logs of everything are in {}", folder.display()));
    }
    if fixture.target.own().is_none() {
        fixture.remove(progress)?;
    }
    fixture.into_target()?.down()?;
    print!("{}", measured?);
    Ok(())
}

/// A program of this checkout that was compiled with optimisation: the operator as for a release, others without the minutes
/// that optimising over all crates takes.
fn optimised(program: &str) -> Result<PathBuf> {
    let here = env::current_exe()?;
    let folder = here
        .parent()
        .and_then(|debug| debug.parent())
        .context("no target folder")?;
    let profile = if program == "peon-operator" {
        "release"
    } else {
        "drivers"
    };
    let path = folder.join(profile).join(program);
    ensure!(
        path.exists(),
        "{} does not exist: `make` builds it with each benchmark",
        path.display()
    );
    Ok(path)
}
