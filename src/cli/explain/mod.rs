//! `kubectl peon explain`: every setting with its source, why a task does not run, and what to do.

mod chain;
mod effective;
mod findings;
mod gather;
mod log_end;
mod pools;
mod report;
mod run_location;

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use k8s_openapi::jiff::Timestamp;

use self::findings::KnownPools;
use self::gather::Gathered;
use self::report::Report;
use super::connection::Flags;
use super::outcome::Outcome;
use super::output::{self, Format, Style};
use super::submit::documents;
use super::submit::input::Document;
use crate::api::{PeonTask, PeonTemplate};
use crate::druid::properties::RuntimeProperties;

/// Explain what a task runs with and where each setting comes from, why it does not run, and what to do.
///
/// With -f no cluster is contacted: the PeonTasks in the file are checked as the operator would check them, with the
/// templates and pools in that file and in --template.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Name of the PeonTask.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    name: Option<String>,

    /// File with PeonTasks, PeonTemplates and IndexerPools (YAML or JSON) or Druid tasks (JSON); `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: Option<String>,

    /// With -f: a file with more PeonTemplates and IndexerPools; may be given several times.
    #[arg(long = "template", value_name = "FILE", requires = "filename")]
    templates: Vec<String>,

    /// The operator's runtime.properties. Default: none, which leaves the built-in defaults.
    #[arg(long, value_name = "FILE")]
    runtime_properties: Option<PathBuf>,

    /// Print the explanation as data in this format.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<ExplainFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ExplainFormat {
    Json,
    Yaml,
}

impl Explain {
    /// Explains a task of a cluster, or tasks in a file.
    ///
    /// # Access control
    /// peontasks: get. The rest is left out where the right is missing: peontemplates: list; of a task for an overlord
    /// indexerpools: list, and peontasks: list, for the duration of earlier ones; of a payload in chunks
    /// configmaps or secrets: get; of a pod that does not start events: list; of the log of
    /// a running task pods, pods/log: get. Nothing with `-f`.
    pub(super) async fn run(&self, flags: &Flags) -> anyhow::Result<Outcome> {
        let operator = self.operator()?;
        if let Some(filename) = &self.filename {
            return self.offline(filename, &operator);
        }
        let cluster = flags.connect().await?;
        let gathered = Gathered::of(&cluster, self.name.as_deref().unwrap_or_default()).await?;
        let report = report::live(
            gathered,
            &operator,
            self.runtime_properties.is_some(),
            Timestamp::now(),
        );
        self.print(&[report])?;
        Ok(Outcome::Done)
    }

    fn offline(&self, filename: &str, operator: &RuntimeProperties) -> anyhow::Result<Outcome> {
        let (mut tasks, mut templates) = (Vec::new(), Vec::new());
        let mut known = KnownPools::default();
        for document in documents(filename)? {
            match document {
                Document::Task(task) => tasks.push(*task),
                Document::Template(template) => templates.push(*template),
                Document::Payload(text) => {
                    tasks.push(of_payload(&text).map_err(|e| anyhow!("{filename}: {e}"))?);
                }
                Document::Pool(pool) => known.pools.push(*pool),
                // A file may hold everything that an application needs.
                Document::Other(_) => {}
            }
        }
        for file in self.templates.iter().filter(|file| *file != filename) {
            for document in documents(file)? {
                match document {
                    Document::Template(template) => templates.push(*template),
                    Document::Pool(pool) => known.pools.push(*pool),
                    Document::Task(_) | Document::Payload(_) | Document::Other(_) => {}
                }
            }
        }
        if tasks.is_empty() {
            bail!("{filename} contains neither a PeonTask nor a Druid task");
        }
        let now = Timestamp::now();
        let reports: Vec<Report> = tasks
            .iter()
            .map(|task| report::offline(task, &templates, &known, operator, now))
            .collect();
        self.print(&reports)?;
        let refused = reports.iter().any(|r| r.refused);
        Ok(if refused {
            Outcome::TaskFailed
        } else {
            Outcome::Done
        })
    }

    fn operator(&self) -> anyhow::Result<RuntimeProperties> {
        let Some(file) = &self.runtime_properties else {
            return Ok(RuntimeProperties::default());
        };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        RuntimeProperties::parse(&text).with_context(|| file.display().to_string())
    }

    fn print(&self, reports: &[Report]) -> anyhow::Result<()> {
        let text = match (self.output, reports) {
            (None, _) => {
                let texts = reports.iter().map(|r| r.text(Style::of_stdout()));
                let texts = texts.collect::<Vec<_>>().join("\n");
                return Ok(output::print_styled(&texts)?);
            }
            (Some(format), [one]) => output::structured(format.into(), one)?,
            (Some(format), several) => output::structured(format.into(), &several)?,
        };
        output::print(&text)?;
        Ok(())
    }
}

impl From<ExplainFormat> for Format {
    fn from(format: ExplainFormat) -> Self {
        match format {
            ExplainFormat::Json => Self::Json,
            ExplainFormat::Yaml => Self::Yaml,
        }
    }
}

/// The PeonTask that `submit` would make of a Druid task. Where its bytes would stand does not matter here.
fn of_payload(text: &str) -> Result<PeonTask, String> {
    let mut task =
        super::submit::new_task::of_payload(text, &super::submit::new_task::Wishes::default())?.task;
    task.spec.task_from = None;
    task.spec.task_json = Some(text.to_owned());
    Ok(task)
}

/// Templates by which a task is judged.
type Templates = [PeonTemplate];
