//! `kubectl peon history`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::ArchiveFlags;
use super::connection::Flags;
use super::duration;
use super::outcome::Outcome;
use super::output::{self, Format, note};
use crate::logs::format::record::Record;
use crate::logs::history::reader::{MOST_SEARCHED, Query};

#[derive(Debug, Args)]
pub(super) struct History {
    /// Only tasks of this name, or with this Druid id.
    name: Option<String>,

    /// Only tasks that finished within this time, such as `12h` or `30d`.
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = duration::parse)]
    since: Duration,

    /// Number of tasks at most, newest first; up to 1000.
    #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,

    /// Output format; `wide` is the table with more columns.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<HistoryFormat>,

    #[command(flatten)]
    archive: ArchiveFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HistoryFormat {
    Json,
    Yaml,
    Name,
    Wide,
}

impl History {
    /// Lists finished tasks, newest first.
    ///
    /// # Access control
    /// pods: list. pods/portforward: get, create. Both in the operator's namespace; none with `--log-properties`.
    pub(super) async fn run(&self, flags: &Flags) -> anyhow::Result<Outcome> {
        let direct = flags.namespace().zip(self.archive.store()?);
        let (namespace, way) = if let Some((namespace, way)) = direct {
            // Neither a cluster nor a kubeconfig is needed.
            (namespace.to_owned(), way)
        } else {
            let cluster = flags.connect().await?;
            let way = self.archive.way(&cluster)?;
            (cluster.namespace, way)
        };
        let now = Timestamp::now();
        let ago = SignedDuration::try_from(self.since).unwrap_or(SignedDuration::MAX);
        let query = Query {
            namespace: namespace.clone(),
            since: now.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH),
            limit: self.limit.into(),
            name: self.name.clone(),
        };
        let found = way.history(query).await?;
        if found.cut {
            note(&format!(
                "only the newest {MOST_SEARCHED} tasks were searched: narrow the search with --since"
            ));
        }
        if found.tasks.is_empty() {
            note(&self.nothing(&namespace));
        }
        let text = self.text(&found.tasks, now)?;
        output::print(&text)?;
        if found.tasks.len() == usize::from(self.limit) && self.name.is_none() {
            note(&format!(
                "the newest {} tasks: there may be more (--limit)",
                self.limit
            ));
        }
        Ok(Outcome::Done)
    }

    fn nothing(&self, namespace: &str) -> String {
        let seconds = i64::try_from(self.since.as_secs()).unwrap_or(i64::MAX);
        let which = self
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!(" of {name}"));
        format!(
            "no task{which} was finished in the namespace {namespace} within {} (--since)",
            duration::show(seconds)
        )
    }

    fn text(&self, tasks: &[Value], now: Timestamp) -> anyhow::Result<String> {
        let records = || tasks.iter().map(record);
        Ok(match self.output {
            Some(HistoryFormat::Json) => output::structured(Format::Json, &json!({ "items": tasks }))?,
            Some(HistoryFormat::Yaml) => output::structured(Format::Yaml, &json!({ "items": tasks }))?,
            Some(HistoryFormat::Name) => records().map(|r| output::reference(&r.name) + "\n").collect(),
            Some(HistoryFormat::Wide) | None if tasks.is_empty() => String::new(),
            Some(HistoryFormat::Wide) | None => {
                let rows: Vec<_> = records().map(|record| self.row(&record, now)).collect();
                output::table(&self.head(), &rows)
            }
        })
    }

    fn is_wide(&self) -> bool {
        self.output == Some(HistoryFormat::Wide)
    }

    fn head(&self) -> Vec<&'static str> {
        let mut head = vec![
            "NAME",
            "TYPE",
            "DATASOURCE",
            "PHASE",
            "REASON",
            "ATTEMPT",
            "MEMORY",
            "DURATION",
            "FINISHED",
        ];
        if self.is_wide() {
            head.extend(["STARTED", "CPU", "TEMPLATE", "NODE", "EXIT", "TASK-ID", "LOG"]);
        }
        head
    }

    fn row(&self, record: &Record, now: Timestamp) -> Vec<String> {
        let text = |value: Option<String>| value.filter(|v| !v.is_empty()).unwrap_or_else(|| "-".into());
        let (start, end) = (record.start_time.as_ref(), record.completion_time.as_ref());
        let mut row = vec![
            text(Some(record.name.clone())),
            text(record.task_type.clone()),
            text(record.data_source.clone()),
            text(record.phase.clone()),
            text(record.reason.clone()),
            text(record.attempt.map(|n| n.to_string())),
            text(record.memory.clone()),
            text(
                start
                    .zip(end)
                    .map(|(start, end)| duration::between(start.0, end.0)),
            ),
            text(end.map(|end| format!("{} ago", duration::between(end.0, now)))),
        ];
        if self.is_wide() {
            let log = record.log.as_ref();
            let log = log.map(|l| l.url.clone().unwrap_or_else(|| l.reason.clone()));
            row.extend([
                text(start.map(|t| t.0.to_string())),
                text(record.cpu.clone()),
                text(record.template.clone()),
                text(record.node.clone()),
                text(record.exit_code.map(|c| c.to_string())),
                text(record.task_id.clone()),
                text(log),
            ]);
        }
        row.into_iter()
            .map(|cell| output::plain(&cell).replace('\n', " "))
            .collect()
    }
}

/// What can be read of a record: nothing of one that is of another form altogether.
fn record(task: &Value) -> Record {
    Record::deserialize(task).unwrap_or_default()
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
