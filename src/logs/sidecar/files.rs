//! The files that the sidecar reads and writes in its container.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::plain_file;
use crate::druid::properties::parse;
use crate::logs::format::report::MAX_REPORT;
use crate::logs::format::sidecar_config::{
    DIR, FILE, PEAK_FILE, SHARED_DIR, SHOWN_FILE, SOURCES_DIR, SidecarConfig,
};
use crate::logs::format::sidecar_message::LogVerdict;

/// Path of the report below the volume that the peon works in.
const REPORT: [&str; 4] = ["task", "attempt", "1", "report.json"];

/// Paths of the sidecar's files; the defaults are those in the pod.
#[derive(Debug, Clone, Args)]
pub struct Files {
    /// File with the sidecar's configuration.
    #[arg(long, value_name = "FILE", default_value_os_t = PathBuf::from(DIR).join(FILE))]
    pub config: PathBuf,
    /// Directory with a directory for each source of the store's properties.
    #[arg(long, value_name = "DIR", default_value = SOURCES_DIR)]
    pub sources: PathBuf,
    /// Directory that the peon writes its log into.
    #[arg(long, value_name = "DIR", default_value = SHARED_DIR)]
    pub shared: PathBuf,
    /// Directory that the peon works in.
    #[arg(long, value_name = "DIR", default_value = "/peon")]
    pub scratch: PathBuf,
    /// File that the result is written to.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub verdict: PathBuf,
}

impl Files {
    /// The configuration, and the properties of the store.
    ///
    /// # Errors
    /// Names what cannot be read.
    pub fn read(&self) -> anyhow::Result<(SidecarConfig, BTreeMap<String, String>)> {
        let file = || self.config.display().to_string();
        let text = std::fs::read(&self.config).with_context(file)?;
        let config: SidecarConfig = serde_json::from_slice(&text).with_context(file)?;
        let properties = config.properties(sources(&self.sources)?);
        Ok((config, properties))
    }

    /// How many of the log's bytes were copied to the container's own log.
    #[must_use]
    pub fn shown(&self) -> u64 {
        plain_file::number(&self.shared, SHOWN_FILE).unwrap_or(0)
    }

    /// Peak memory of the peon's container, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        plain_file::number(&self.shared, PEAK_FILE)
    }

    /// The peon's report, if it wrote one.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is no regular file.
    pub fn report(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match plain_file::open(&self.scratch, &REPORT, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut report = Vec::new();
        let limit = u64::try_from(MAX_REPORT).map_err(io::Error::other)?;
        file.take(limit + 1).read_to_end(&mut report)?;
        if report.len() > MAX_REPORT {
            return Err(io::Error::other(format!("it has more than {MAX_REPORT} bytes")));
        }
        Ok((!report.is_empty()).then_some(report))
    }

    /// Writes the result.
    pub fn say(&self, verdict: &LogVerdict) {
        if let Err(error) = std::fs::write(&self.verdict, verdict.line() + "\n") {
            tracing::warn!(%error, "the result of the log cannot be written to the termination message");
        }
    }
}

/// The properties in the files of each directory below `dir`.
fn sources(dir: &Path) -> anyhow::Result<Vec<BTreeMap<String, String>>> {
    let mut sources = Vec::new();
    for source in entries(dir)? {
        let mut properties = BTreeMap::new();
        for file in entries(&source)? {
            let name = file.file_name().and_then(|name| name.to_str());
            // Kubernetes' own entries in a volume begin with two dots.
            let Some(name) = name.filter(|name| !name.starts_with("..")) else {
                continue;
            };
            let text = std::fs::read_to_string(&file).with_context(|| format!("the property {name}"))?;
            // As for the peon: a whole file.
            if name.ends_with(".properties") {
                properties.extend(parse(&text).with_context(|| format!("the file {name}"))?);
            } else {
                properties.insert(name.to_owned(), text);
            }
        }
        sources.push(properties);
    }
    Ok(sources)
}

/// The entries of a directory, sorted; empty if it does not exist.
fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = || dir.display().to_string();
    let found = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.with_context(name)?,
    };
    let entries = found.map(|entry| entry.map(|entry| entry.path()));
    let mut entries = entries.collect::<io::Result<Vec<_>>>().with_context(name)?;
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_files_are_read_as_files() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("00");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("druid.indexer.logs.type"), "s3").unwrap();
        let common = "druid.s3.accessKey=a\ndruid.indexer.logs.s3Prefix=größe\n";
        std::fs::write(source.join("common.runtime.properties"), common).unwrap();
        let read = sources(dir.path()).unwrap();
        let pairs: Vec<_> = read[0]
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("druid.indexer.logs.s3Prefix", "größe"),
                ("druid.indexer.logs.type", "s3"),
                ("druid.s3.accessKey", "a"),
            ]
        );
    }
}
