//! `kubectl peon list`.

use std::borrow::Cow;

use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Deserialize;

use super::connection::Cluster;
use super::outcome::Outcome;
use super::output::{self, Format, note};
use super::tasks;
use crate::api::{PeonTask, PeonTaskStatus, RunKind};
use crate::apiserver::classify::decode::{Guarded, Readable};
use crate::payload::chunks::new_task::empty_spec;
use crate::quantity;

/// Tasks in one answer of the API server.
const PAGE: u32 = 100;

/// A PeonTask as it is printed: whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
struct Listed(PeonTask);

impl Resource for Listed {
    type DynamicType = ();
    type Scope = <PeonTask as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        PeonTask::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        PeonTask::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        PeonTask::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        PeonTask::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

impl Readable for Listed {
    fn keep(&mut self) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only tasks in this phase.
    #[arg(long, value_enum, ignore_case = true, value_name = "PHASE")]
    phase: Option<PhaseName>,

    /// Only tasks of this Druid type, such as `index_parallel`.
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<String>,

    /// Only tasks that write to this datasource.
    #[arg(long, value_name = "NAME")]
    datasource: Option<String>,

    /// Only tasks with these labels, such as `team=ads,stage!=test`.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// Only tasks with these fields, such as `status.phase!=Succeeded,metadata.name=a`.
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,

    /// Sort the list by this column; without it by namespace and name.
    #[arg(long, value_enum, value_name = "COLUMN", conflicts_with = "watch")]
    sort_by: Option<SortBy>,

    /// Tasks of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,

    /// After the list, print a line for every change.
    #[arg(short, long)]
    watch: bool,

    /// Output format; `wide` is the table with more columns.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<ListFormat>,
}

/// What a list is sorted by; kubectl's paths of the same fields are accepted, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortBy {
    /// Name.
    #[value(aliases = [".metadata.name", "metadata.name"])]
    Name,
    /// Time of creation, oldest first.
    #[value(aliases = [".metadata.creationTimestamp", "metadata.creationTimestamp"])]
    Age,
    /// Phase.
    #[value(aliases = [".status.phase", "status.phase"])]
    Phase,
    /// Reason.
    #[value(aliases = [".status.reason", "status.reason"])]
    Reason,
    /// Time of the start of the peon, those that have not started last.
    #[value(aliases = [".status.startTime", "status.startTime"])]
    Start,
    /// Memory limit, smallest first.
    #[value(aliases = [".status.memory", "status.memory"])]
    Memory,
}

impl SortBy {
    /// The key of a task: what is unknown comes last, and equal ones are in the order of their names.
    fn key(self, task: &PeonTask) -> (bool, String, i128) {
        let status = tasks::status(task);
        let text = |text: Option<String>| (text.is_none(), text.unwrap_or_default(), 0);
        let number = |number: Option<i128>| (number.is_none(), String::new(), number.unwrap_or_default());
        match self {
            Self::Name => text(Some(task.name_any())),
            Self::Phase => text(Some(tasks::phase(task).as_str().to_owned())),
            Self::Reason => text(status.reason),
            Self::Age => {
                let created = task.metadata.creation_timestamp.as_ref();
                number(created.map(|time| time.0.as_nanosecond()))
            }
            Self::Start => number(status.start_time.map(|time| time.0.as_nanosecond())),
            Self::Memory => {
                let memory = status.memory.and_then(|memory| quantity::parse(&memory).ok());
                number(memory.map(i128::from))
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    Json,
    Yaml,
    Name,
    Wide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum PhaseName {
    Pending,
    Starting,
    Running,
    Suspended,
    Succeeded,
    Failed,
}

impl List {
    /// Lists tasks, and with `--watch` what becomes of them.
    ///
    /// # Access control
    /// peontasks: list; with `--watch` also watch. With `--all-namespaces` in the whole cluster.
    pub(super) async fn run(&self, cluster: &Cluster) -> anyhow::Result<Outcome> {
        let api: Api<Guarded<Listed>> = if self.all_namespaces {
            Api::all(cluster.client.clone())
        } else {
            Api::namespaced(cluster.client.clone(), &cluster.namespace)
        };
        if self.watch {
            self.watch(cluster, api).await?;
        } else {
            self.once(cluster, &api).await?;
        }
        Ok(Outcome::Done)
    }

    async fn once(&self, cluster: &Cluster, api: &Api<Guarded<Listed>>) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let mut params = ListParams::default().limit(PAGE);
        params.field_selector = self.fields();
        params.label_selector.clone_from(&self.selector);
        // Of a page only what is printed is kept: there may be very many tasks, and their payloads are large.
        let (mut rows, mut whole) = (Vec::new(), Vec::new());
        loop {
            let page = api.list(&params).await;
            let page = page.map_err(|e| cluster.doing("list", "peontasks", "").failed(e))?;
            for task in page.items {
                let Some(task) = self.readable(task) else { continue };
                match self.format() {
                    Some(Format::Name) if self.sort_by.is_none() => {
                        output::print(&output::tasks(Format::Name, &[task])?)?;
                    }
                    Some(_) => whole.push(task),
                    None => rows.push((self.sort_by.map(|by| by.key(&task)), self.row(&task, now))),
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
        if let Some(by) = self.sort_by {
            // The sort is stable, and the API server lists by namespace and name.
            whole.sort_by_cached_key(|task| by.key(task));
            rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
        match self.format() {
            Some(Format::Name) => output::print(&output::tasks(Format::Name, &whole)?)?,
            Some(format) => output::print(&output::list(format, &whole)?)?,
            None if rows.is_empty() => note(&self.nothing(cluster)),
            None => output::print(&output::table(&self.head(), &rows))?,
        }
        Ok(())
    }

    async fn watch(&self, cluster: &Cluster, api: Api<Guarded<Listed>>) -> anyhow::Result<()> {
        let mut config = watcher::Config::default().page_size(PAGE);
        config.field_selector = self.fields();
        config.label_selector.clone_from(&self.selector);
        let mut events = Box::pin(watcher(api, config));
        let mut first: Option<Vec<Vec<String>>> = Some(Vec::new());
        let mut widths = Vec::new();
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(watcher::Error::InitialListFailed(e)) if !super::complaint::passes(&e) => {
                    return Err(cluster.doing("list", "peontasks", "").failed(e));
                }
                Err(watcher::Error::WatchStartFailed(e)) if !super::complaint::passes(&e) => {
                    return Err(cluster.doing("watch", "peontasks", "").failed(e));
                }
                Err(_) => {
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    continue;
                }
            };
            let task = match event {
                Event::Init | Event::Delete(_) => continue,
                Event::InitDone => {
                    if let Some(rows) = first.take().filter(|_| self.format().is_none()) {
                        widths = output::widths(&self.head(), &rows);
                        output::print(&output::table(&self.head(), &rows))?;
                    }
                    continue;
                }
                Event::InitApply(task) | Event::Apply(task) => task,
            };
            let Some(task) = self.readable(task) else { continue };
            match (self.format(), &mut first) {
                (Some(Format::Json), _) => output::print(&format!("{}\n", output::shown(&task)))?,
                (Some(Format::Yaml), _) => {
                    output::print(&format!("---\n{}", output::tasks(Format::Yaml, &[task])?))?;
                }
                (Some(Format::Name), _) => output::print(&output::tasks(Format::Name, &[task])?)?,
                (None, Some(rows)) => rows.push(self.row(&task, Timestamp::now())),
                (None, None) => output::print(&output::line(&self.row(&task, Timestamp::now()), &widths))?,
            }
        }
    }

    /// The task. One that cannot be read keeps nobody from seeing the others: it has a row, and no document.
    fn readable(&self, task: Guarded<Listed>) -> Option<PeonTask> {
        let unreadable = match task.0 {
            Ok(Listed(task)) => return Some(task),
            Err(unreadable) => unreadable,
        };
        let mut task = PeonTask::new("", empty_spec());
        task.metadata = unreadable.metadata;
        task.status = Some(PeonTaskStatus {
            reason: unreadable.reason,
            ..PeonTaskStatus::default()
        });
        note(&format!(
            "the PeonTask {} in the namespace {} cannot be decoded ({}): do kubectl peon and the cluster's \
             CRDs have the same version?",
            task.name_any(),
            task.namespace().unwrap_or_default(),
            unreadable.error
        ));
        matches!(self.format(), None | Some(Format::Name)).then_some(task)
    }

    fn format(&self) -> Option<Format> {
        match self.output? {
            ListFormat::Json => Some(Format::Json),
            ListFormat::Yaml => Some(Format::Yaml),
            ListFormat::Name => Some(Format::Name),
            ListFormat::Wide => None,
        }
    }

    fn nothing(&self, cluster: &Cluster) -> String {
        let where_ = if self.all_namespaces {
            "in any namespace".to_owned()
        } else {
            format!("in the namespace {}", cluster.namespace)
        };
        let such = if self.fields().is_some() || self.selector.is_some() {
            "such "
        } else {
            ""
        };
        format!("no {such}PeonTasks {where_}")
    }

    /// The field selector, which the API server applies.
    fn fields(&self) -> Option<String> {
        let phase = self.phase.and_then(|p| p.to_possible_value());
        let wanted = [
            (
                "status.phase",
                phase.as_ref().map(clap::builder::PossibleValue::get_name),
            ),
            ("status.taskType", self.task_type.as_deref()),
            ("status.dataSource", self.datasource.as_deref()),
        ];
        let parts: Vec<String> = wanted
            .into_iter()
            .filter_map(|(field, value)| Some(format!("{field}={}", escaped(value?))))
            .chain(self.field_selector.clone())
            .collect();
        (!parts.is_empty()).then(|| parts.join(","))
    }

    fn head(&self) -> Vec<&'static str> {
        let mut head = if self.all_namespaces {
            vec!["NAMESPACE"]
        } else {
            vec![]
        };
        head.extend([
            "NAME",
            "TYPE",
            "DATASOURCE",
            "PHASE",
            "REASON",
            "ATTEMPT",
            "MEMORY",
            "DURATION",
            "AGE",
        ]);
        if self.output == Some(ListFormat::Wide) {
            head.extend([
                "CPU",
                "TEMPLATE",
                "RUNS-IN",
                "POOL",
                "POD",
                "NODE",
                "EXIT",
                "TASK-ID",
                "WHY-THERE",
            ]);
        }
        head
    }

    fn row(&self, task: &PeonTask, now: Timestamp) -> Vec<String> {
        let status = tasks::status(task);
        let attempt = tasks::attempt(&status).map(|n| n.to_string());
        let text = |value: Option<String>| value.filter(|v| !v.is_empty()).unwrap_or_else(|| "-".into());
        let mut row = if self.all_namespaces {
            vec![task.namespace().unwrap_or_default()]
        } else {
            vec![]
        };
        row.extend([
            task.name_any(),
            text(status.task_type.clone()),
            text(status.data_source.clone()),
            tasks::phase(task).as_str().to_owned(),
            text(status.reason.clone()),
            text(attempt),
            text(status.memory.clone()),
            text(tasks::duration(&status, now)),
            tasks::age(task, now),
        ]);
        if self.output == Some(ListFormat::Wide) {
            let run = status.run.as_ref();
            row.extend([
                text(status.cpu.clone()),
                text(status.template.clone()),
                text(run.map(|run| runs_in(run.kind).to_owned())),
                text(run.and_then(|run| run.pool.clone())),
                text(status.pod_name().map(str::to_owned)),
                text(status.node_name.clone()),
                text(status.exit_code.map(|c| c.to_string())),
                text(status.task_id.clone()),
                text(run.and_then(|run| run.reason.clone())),
            ]);
        }
        row.into_iter()
            .map(|cell| output::plain(&cell).replace('\n', " "))
            .collect()
    }
}

/// The kind of place, as the API names it.
fn runs_in(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Pod => "Pod",
        RunKind::Worker => "Worker",
        RunKind::Elsewhere => "Elsewhere",
    }
}

/// A value in a field selector, where a backslash, a comma and an equals sign mean something.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
