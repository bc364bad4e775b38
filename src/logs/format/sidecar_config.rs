//! The sidecar's configuration, a file of the attempt's ConfigMap (pure).
//!
//! It is a file, since a task id may contain characters that arguments and environment variables cannot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Name of the file.
pub const FILE: &str = "log.json";
/// Where the file is mounted in the sidecar.
pub const DIR: &str = "/etc/peon-log";
/// Where the sources of the location's properties are mounted, one directory per source, in their order.
pub const SOURCES_DIR: &str = "/etc/peon-log-properties";
/// Mount path of the volume shared by the peon and the sidecar.
pub const SHARED_DIR: &str = "/peon-log";
/// The log's file in it.
pub const LOG_FILE: &str = "log";
/// File with the number of the log's bytes that were copied to the container's own log.
pub const SHOWN_FILE: &str = "shown";
/// File with the peak memory of the peon's container in bytes, including page cache, as its cgroup counts it.
pub const PEAK_FILE: &str = "peak-memory";
/// Default number of seconds between two parts.
pub const FLUSH_SECONDS: u32 = 30;
/// Default limit of a log in bytes.
pub const MAX_BYTES: u64 = 1 << 30;

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarConfig {
    /// The task's id in Druid.
    pub task_id: String,
    /// The uid of its `PeonTask`, under which the archive stores parts.
    pub task_uid: String,
    /// Namespace and name of its `PeonTask`, for which the keys of its id are claimed. Without them the report is
    /// stored where only peon-operator reads it.
    #[serde(default)]
    pub namespace: String,
    /// See [`Self::namespace`].
    #[serde(default)]
    pub task_name: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Whether to compose the parts into one log at the end. False if the task may be tried again: once the log is
    /// composed, nothing is added to it.
    #[serde(default)]
    pub compose: bool,
    /// Seconds after which new bytes are archived, even if there are few.
    #[serde(default = "flush_seconds")]
    pub flush_seconds: u32,
    /// Limit of the log in bytes.
    #[serde(default = "max_bytes")]
    pub max_bytes: u64,
    /// Druid's properties of the log location. They override those of the mounted sources.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

fn flush_seconds() -> u32 {
    FLUSH_SECONDS
}

fn max_bytes() -> u64 {
    MAX_BYTES
}

impl SidecarConfig {
    /// All properties: those of the sources, later ones overriding earlier ones, then those of this file overriding
    /// both. As for the peon, a source's value does not include the line break at its end.
    #[must_use]
    pub fn properties(&self, sources: Vec<BTreeMap<String, String>>) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for (name, value) in sources.into_iter().flatten() {
            let value = value.strip_suffix('\n').map(str::to_owned).unwrap_or(value);
            all.insert(name, value);
        }
        all.extend(self.properties.clone());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_not_given_has_a_default() {
        let config: SidecarConfig =
            serde_json::from_str(r#"{"taskId": "a b", "taskUid": "u", "attempt": 2}"#).unwrap();
        assert_eq!((config.flush_seconds, config.max_bytes), (30, 1 << 30));
        assert!(serde_json::from_str::<SidecarConfig>("{}").is_err());
    }

    #[test]
    fn later_sources_win_and_the_file_over_all() {
        let config = SidecarConfig {
            task_id: "x".into(),
            task_uid: "u".into(),
            namespace: "ns".into(),
            task_name: "n".into(),
            compose: true,
            attempt: 1,
            flush_seconds: 1,
            max_bytes: 1,
            properties: map(&[("c", "own")]),
        };
        let sources = vec![
            map(&[("a", "1\n"), ("b", "1"), ("c", "1")]),
            map(&[("b", "2\n\n")]),
        ];
        assert_eq!(
            config.properties(sources),
            map(&[("a", "1"), ("b", "2\n"), ("c", "own")])
        );
    }
}
