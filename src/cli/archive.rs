//! Reads the archive for tasks that are gone from the cluster: through the operator, or directly from the store.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::connection::Cluster;
use super::tunnel::{Answer, Place, Tunnel};
use crate::druid::properties::RuntimeProperties;
use crate::logs::format::location::Location;
use crate::logs::format::parts::LogRange;
use crate::logs::format::record::Record;
use crate::logs::history::reader::Query;
use crate::logs::server::CUT;
use crate::logs::store::archive::Archive;
use crate::logs::store::client::Identity;

/// Most bytes of a history that are taken: a thousand tasks have a quarter of it.
const LONGEST_HISTORY: usize = 16 << 20;

/// How to come to the archive.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Archive")]
pub(super) struct ArchiveFlags {
    /// Namespace of the operator, through which the archive is read. Default: peon-system, else the task's namespace,
    /// else the one in which your rights let you find an operator.
    #[arg(long, env = "PEON_OPERATOR_NAMESPACE", value_name = "NAMESPACE")]
    operator_namespace: Option<String>,

    /// Read the log store directly, not through the operator: a file with Druid's properties of the store
    /// (druid.indexer.logs.*) and your own credentials. Default of the credentials: those of your environment.
    #[arg(long, env = "PEON_LOG_PROPERTIES", value_name = "FILE")]
    log_properties: Option<PathBuf>,
}

/// A way to the archive.
pub(super) enum Way {
    /// Through the operator.
    Operator(Tunnel),
    /// To the store.
    Store(Box<Archive>),
}

/// Some finished tasks.
pub(super) struct Found {
    /// Each as it was written, newest first.
    pub(super) tasks: Vec<Value>,
    /// Whether older ones were not looked at.
    pub(super) cut: bool,
}

/// The bytes of a log.
pub(super) type Log = BoxStream<'static, anyhow::Result<Bytes>>;

impl ArchiveFlags {
    /// To the store, where its properties are given.
    pub(super) fn store(&self) -> anyhow::Result<Option<Way>> {
        let archive = self.log_properties.as_deref().map(open).transpose()?;
        Ok(archive.map(|archive| Way::Store(Box::new(archive))))
    }

    /// The way that these flags say; nothing is sent yet.
    pub(super) fn way(&self, cluster: &Cluster) -> anyhow::Result<Way> {
        let tunnel = || {
            let place = match &self.operator_namespace {
                Some(namespace) => Place::Given(namespace.clone()),
                None => Place::Near(cluster.namespace.clone()),
            };
            Tunnel::new(cluster.client.clone(), place)
        };
        Ok(self.store()?.unwrap_or_else(|| Way::Operator(tunnel())))
    }
}

fn open(file: &Path) -> anyhow::Result<Archive> {
    let name = file.display();
    let text =
        std::fs::read_to_string(file).with_context(|| format!("--log-properties {name} cannot be read"))?;
    let properties = RuntimeProperties::parse(&text).with_context(|| format!("in {name}"))?;
    let location = Location::from_properties(&properties.logs.0).with_context(|| format!("in {name}"))?;
    let Some(location) = location else {
        bail!("{name} defines no log store: set druid.indexer.logs.type and the properties of that type");
    };
    Ok(Archive::open(location, Identity::Ambient)?)
}

impl Way {
    /// Finished tasks.
    ///
    /// # Access control
    /// As [`Tunnel::get`], or none of the cluster's.
    pub(super) async fn history(&self, query: Query) -> anyhow::Result<Found> {
        match self {
            Self::Operator(tunnel) => {
                let words = [
                    ("since", query.since.to_string()),
                    ("limit", query.limit.to_string()),
                ];
                let name = query.name.map(|name| ("name", name));
                let words: Vec<_> = words.into_iter().chain(name).collect();
                let path = format!(
                    "/v1/history/{}?{}",
                    query.namespace,
                    serde_urlencoded::to_string(words)?
                );
                let response = match tunnel.get(&path).await? {
                    Answer::Found(response) => response,
                    Answer::Absent(said) => bail!("the operator has no history: {said}"),
                };
                let cut = response.headers().contains_key(CUT);
                let body = http_body_util::Limited::new(response.into_body(), LONGEST_HISTORY);
                let body = body.collect().await;
                let body = body.map_err(|e| {
                    anyhow!("the connection ended before the history was complete: {e}; try again")
                })?;
                let tasks = body
                    .to_bytes()
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                    .map(read)
                    .collect();
                Ok(Found { tasks, cut })
            }
            Self::Store(archive) => {
                let found = archive.history(query).await?;
                let tasks = found.records.map_ok(|json| read(&json)).try_collect().await?;
                let cut = found.cut;
                Ok(Found { tasks, cut })
            }
        }
    }

    /// The log of a task; where there is none, why.
    ///
    /// # Access control
    /// As [`Tunnel::get`], or none of the cluster's.
    pub(super) async fn log(&self, id: &str, uid: &str) -> anyhow::Result<Result<Log, String>> {
        match self {
            Self::Operator(tunnel) => {
                let path = format!(
                    "/v1/log?{}",
                    serde_urlencoded::to_string([("id", id), ("uid", uid)])?
                );
                Ok(match tunnel.get(&path).await? {
                    Answer::Found(response) => {
                        let bytes = response.into_body().into_data_stream();
                        Ok(bytes
                            .map_err(|e| anyhow!("the connection ended before the log was complete: {e}"))
                            .boxed())
                    }
                    Answer::Absent(said) => Err(said),
                })
            }
            Self::Store(archive) => {
                let task = archive.of_task(id, uid)?;
                let content = task.read_log(LogRange::All).await?;
                let none = || format!("no log is archived at {}", task.log_url());
                Ok(content
                    .map(|c| c.bytes.map_err(anyhow::Error::from).boxed())
                    .ok_or_else(none))
            }
        }
    }

    /// The newest finished task of a namespace with this name or Druid id.
    ///
    /// # Access control
    /// As [`Self::history`].
    pub(super) async fn newest(&self, namespace: &str, name: &str) -> anyhow::Result<Record> {
        let query = Query {
            namespace: namespace.to_owned(),
            since: Timestamp::UNIX_EPOCH,
            limit: 1,
            name: Some(name.to_owned()),
        };
        let found = self.history(query).await?;
        match found.tasks.into_iter().next() {
            Some(task) => serde_json::from_value(task).with_context(|| {
                format!("{name} is in the history, but this version cannot read its record")
            }),
            None if found.cut => bail!("{}", absent(namespace, name) + " among its newest tasks"),
            None => bail!("{}", absent(namespace, name)),
        }
    }
}

fn absent(namespace: &str, name: &str) -> String {
    format!("{name} is neither a PeonTask nor in the history of the namespace {namespace}")
}

/// A record; one that is no JSON is shown as text.
fn read(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(json).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn flags(properties: &str) -> (tempfile::NamedTempFile, ArchiveFlags) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(properties.as_bytes()).unwrap();
        let flags = ArchiveFlags {
            operator_namespace: None,
            log_properties: Some(file.path().to_owned()),
        };
        (file, flags)
    }

    #[tokio::test]
    async fn the_store_is_read_without_a_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let place = format!(
            "druid.indexer.logs.type=file\ndruid.indexer.logs.directory={}\n",
            folder.path().display()
        );
        let (_file, flags) = flags(&place);
        let archive = open(flags.log_properties.as_deref().unwrap()).unwrap();
        let json = r#"{"name": "a", "uid": "u", "taskId": "index_a"}"#;
        let at = Timestamp::from_second(5).unwrap();
        archive.put_history("ns", at, "u", json.into()).await.unwrap();
        std::fs::write(folder.path().join("index_a.log"), "what it wrote").unwrap();
        // Whose log it is, as its writer leaves it: the size of what it wrote.
        let notes = folder.path().join(".peon/composed");
        std::fs::create_dir_all(&notes).unwrap();
        std::fs::write(notes.join("u"), "13").unwrap();
        let way = flags.store().unwrap().unwrap();
        for name in ["a", "index_a"] {
            assert_eq!(way.newest("ns", name).await.unwrap().uid, "u");
        }
        let absent = way.newest("ns", "b").await.unwrap_err().to_string();
        assert_eq!(
            absent,
            "b is neither a PeonTask nor in the history of the namespace ns"
        );
        let log: Vec<Bytes> = way
            .log("index_a", "u")
            .await
            .unwrap()
            .ok()
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(log.concat(), b"what it wrote");
        let none = way.log("index_b", "u").await.unwrap().err().unwrap();
        assert!(none.starts_with("no log is archived at "), "{none}");
    }

    #[test]
    fn properties_that_say_no_place_are_an_error() {
        let (_file, flags) = flags("druid.indexer.logs.type=noop\n");
        let error = flags.store().err().unwrap().to_string();
        assert!(error.contains("druid.indexer.logs.type"), "{error}");
    }
}
