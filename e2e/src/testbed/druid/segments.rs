//! What is in published segments, row by row.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::testbed::{
    cache::Cache,
    druid::{JVM_CONFIG, STORAGE_PATH},
    exec,
    fixture::Fixture,
    images,
    object_stores::server::Folder,
    progress::Progress,
};

const SOURCE: &str = include_str!("../../../druid/Rows.java");
/// Before everything that is said on purpose.
const MARK: &str = "row: ";

/// The number that a column has in each row of the used segments of a datasource, read from deep storage by Druid's
/// own classes: a number that is there twice comes twice.
///
/// # Errors
/// When the datasource has no segments, or they cannot be read.
pub fn rows(
    fixture: &Fixture,
    datasource: &str,
    column: &str,
    cache: &Cache,
    progress: &Progress,
) -> Result<Vec<u64>> {
    let storage = fixture.storage_folder()?;
    let mut folders = Vec::new();
    for segment in fixture.druid.segments(datasource)? {
        let path = segment["loadSpec"]["path"].as_str().unwrap_or_default();
        let inside = path.strip_prefix(STORAGE_PATH);
        let inside = inside.with_context(|| format!("not in deep storage: {segment}"))?;
        folders.push(storage.join(inside.trim_start_matches('/')));
    }
    ensure!(!folders.is_empty(), "{datasource} has no segments");
    read(column, &folders, &images::druid_class_path(cache, progress)?)
}

fn read(column: &str, folders: &[PathBuf], class_path: &str) -> Result<Vec<u64>> {
    let folder = Folder::new()?;
    let (source, options) = (folder.path().join("Rows.java"), folder.path().join("options"));
    fs::write(&source, SOURCE)?;
    fs::write(&options, JVM_CONFIG)?;
    let mut java = Command::new("java");
    java.arg(format!("@{}", options.display()))
        .args(["-Xmx256m", "-cp", class_path])
        .arg(&source)
        .arg(column)
        .args(folders);
    let said = exec::output(&mut java)?;
    let rows = said.lines().filter_map(|line| line.strip_prefix(MARK));
    rows.map(|row| row.parse().with_context(|| format!("not a number: {row}")))
        .collect()
}
