//! `kubectl peon submit`.

pub(crate) mod input;
pub(crate) mod new_task;

use std::io::{IsTerminal, Read};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use kube::ResourceExt;
use kube::api::PostParams;

use super::connection::{Cluster, Flags};
use super::outcome::Outcome;
use super::output::{self, Format, note};
use super::wait::{self, Goal};
use super::{duration, tasks};
use crate::api::{PeonTask, Registration};
use crate::payload::chunks::Kind;
use crate::payload::chunks::new_task::New;
use crate::payload::create::{self, Made};
use input::Document;
use new_task::Wishes;

/// Submit PeonTasks, or a Druid task as it would be sent to an overlord.
///
/// A Druid task is JSON with a `type`. It becomes a PeonTask, and its bytes are not changed. Above 100 KiB, or with
/// --secret, they are stored in ConfigMaps or Secrets that belong to the PeonTask. Submitting the same task again creates
/// what is missing; another payload under the same name is an error.
#[derive(Debug, Args)]
pub(super) struct Submit {
    /// Name of the PeonTask. Default: derived from the Druid task's id, always the same for the same task.
    name: Option<String>,

    /// File with PeonTasks (YAML or JSON) or Druid tasks (JSON); `-` is standard input.
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    filename: String,

    /// The same as NAME.
    #[arg(long = "name", value_name = "NAME", conflicts_with = "name")]
    name_option: Option<String>,

    /// The PeonTemplate to use.
    #[arg(long, value_name = "NAME")]
    template: Option<String>,

    /// Memory of the peon, such as 4Gi.
    #[arg(long, value_name = "QUANTITY")]
    memory: Option<String>,

    /// Cpu of the peon, such as 2 or 500m.
    #[arg(long, value_name = "QUANTITY")]
    cpu: Option<String>,

    /// How the overlord learns of the task; `external`: it was registered there by other means. Default: that of the
    /// PeonTask, else `managed`.
    #[arg(long, value_enum, value_name = "HOW")]
    registration: Option<Registered>,

    /// Hold the task until `kubectl peon resume`.
    #[arg(long)]
    suspend: bool,

    /// A label of the PeonTask; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Store the payload in Secrets.
    #[arg(long)]
    secret: bool,

    /// Create nothing: `client` prints what would be created, `server` lets the API server check the PeonTask.
    #[arg(long, value_enum, value_name = "WHERE", conflicts_with = "wait")]
    dry_run: Option<DryRun>,

    /// Follow the tasks to their end; exit code 3 if one fails.
    #[arg(short, long)]
    wait: bool,

    /// With --wait: give up after this time, such as 90s, 5m or 1h30m, with exit code 4. Default: never.
    #[arg(long, value_parser = duration::parse, value_name = "TIME", requires = "wait")]
    timeout: Option<Duration>,

    /// Print the tasks in this format instead of a line for each.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DryRun {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Registered {
    Managed,
    External,
}

impl Registered {
    fn as_field(self) -> Registration {
        match self {
            Self::Managed => Registration::Managed,
            Self::External => Registration::External,
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label has the form NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Submit {
    /// Submits tasks, and with `--wait` follows them.
    ///
    /// # Access control
    /// peontasks: create, get; for chunks configmaps or secrets: create, get. With `--wait` peontasks: list, watch.
    /// Nothing with `--dry-run=client`.
    pub(super) async fn run(&self, flags: &Flags) -> anyhow::Result<Outcome> {
        let new = self.read()?;
        if self.dry_run == Some(DryRun::Client) {
            output::print(&self.sketch(&new, flags.namespace())?)?;
            return Ok(Outcome::Done);
        }
        let mut cluster = flags.connect().await?;
        if let Some(namespace) = namespace(&new, flags.namespace())? {
            cluster.namespace = namespace;
        }
        let mut created = Vec::new();
        for new in &new {
            created.push(self.create(&cluster, new).await?);
        }
        if self.wait {
            let names: Vec<String> = created.iter().map(ResourceExt::name_any).collect();
            return wait::until(&cluster, &names, Goal::Complete, self.timeout, self.output).await;
        }
        if let Some(format) = self.output {
            output::print(&output::tasks(format, &created)?)?;
        }
        Ok(Outcome::Done)
    }

    fn read(&self) -> anyhow::Result<Vec<New>> {
        let documents = documents(&self.filename)?;
        let wishes = Wishes {
            name: self.name.clone().or_else(|| self.name_option.clone()),
            template: self.template.clone(),
            memory: self.memory.clone(),
            cpu: self.cpu.clone(),
            registration: self.registration.map(Registered::as_field),
            suspend: self.suspend,
            labels: self.labels.clone(),
            secret: self.secret,
        };
        if wishes.name.is_some() && documents.len() > 1 {
            bail!(
                "{} contains {} tasks: a name can be given for one task only",
                self.filename,
                documents.len()
            );
        }
        let new = documents.into_iter().map(|document| match document {
            Document::Payload(text) => new_task::of_payload(&text, &wishes),
            Document::Task(task) => new_task::of_task(*task, &wishes),
            Document::Template(template) => Err(format!(
                "PeonTemplate {} is not a task: use `kubectl apply` for it",
                template.name_any()
            )),
            Document::Pool(pool) => Err(format!(
                "IndexerPool {} is not a PeonTask: use `kubectl apply` for it",
                pool.name_any()
            )),
            Document::Other(what) => Err(format!("{what} is not a PeonTask: use `kubectl apply` for it")),
        });
        let new: Result<Vec<New>, String> = new.collect();
        new.map_err(|e| anyhow!("{}: {e}", self.filename))
    }

    /// What would be created, as documents that `kubectl create` takes; the chunks' owner is not known yet.
    fn sketch(&self, new: &[New], flag: Option<&str>) -> anyhow::Result<String> {
        let namespace = namespace(new, flag)?;
        let mut tasks: Vec<PeonTask> = new.iter().map(|n| n.task.clone()).collect();
        for task in &mut tasks {
            task.metadata.namespace.clone_from(&namespace);
        }
        match self.output {
            Some(Format::Name) => output::tasks(Format::Name, &tasks),
            Some(Format::Json) => output::tasks(Format::Json, &tasks),
            Some(Format::Yaml) | None => {
                let all = tasks.into_iter().map(|t| output::tasks(Format::Yaml, &[t]));
                Ok(all.collect::<anyhow::Result<Vec<_>>>()?.join("---\n"))
            }
        }
    }

    /// Creates a task, then its chunks, or completes what an earlier submission left undone.
    async fn create(&self, cluster: &Cluster, new: &New) -> anyhow::Result<PeonTask> {
        let name = new.task.name_any();
        let params = PostParams {
            dry_run: self.dry_run.is_some(),
            ..PostParams::default()
        };
        let (task, done) = match cluster.tasks().create(&params, &new.task).await {
            Ok(task) => (task, "created".to_owned()),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let task = cluster.task(&name).await?;
                let phase = tasks::phase(&task).as_str();
                (repeated(task, &new.task)?, format!("exists already ({phase})"))
            }
            Err(error) => return Err(cluster.doing("create", "peontasks", &name).failed(error)),
        };
        let quiet = self.output.is_some();
        if self.dry_run.is_some() {
            if !quiet {
                output::print(&format!("{} {done} (server dry run)\n", output::reference(&name)))?;
            }
            return Ok(task);
        }
        if tasks::verdict(&task).is_none() {
            create_chunks(cluster, &task, new).await.with_context(|| {
                format!("the payload of {name} is incomplete: submit the task again to complete it")
            })?;
        }
        if !quiet {
            output::print(&format!("{} {done}\n", output::reference(&name)))?;
        }
        Ok(task)
    }
}

/// Reads a file or standard input.
pub(super) fn documents(filename: &str) -> anyhow::Result<Vec<Document>> {
    let bytes = if filename == "-" {
        let mut input = std::io::stdin().lock();
        if input.is_terminal() {
            note("reading from standard input; -f names a file");
        }
        let mut bytes = Vec::new();
        input
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        bytes
    } else {
        std::fs::read(filename).with_context(|| format!("cannot read {filename}"))?
    };
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        anyhow!("{filename} is not a text file: byte {at} is not UTF-8")
    })?;
    input::read(&text).map_err(|e| anyhow!("{filename}: {e}"))
}

/// The namespace of all tasks, where the file or a flag names one.
fn namespace(new: &[New], flag: Option<&str>) -> anyhow::Result<Option<String>> {
    let mut all: Vec<String> = new.iter().filter_map(|n| n.task.namespace()).collect();
    all.extend(flag.map(str::to_owned));
    all.sort();
    all.dedup();
    match all.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => bail!(
            "the tasks belong to several namespaces ({}): submit the tasks of one namespace at a time",
            several.join(", ")
        ),
    }
}

/// An existing task of the name: the same one, or an error.
fn repeated(existing: PeonTask, wanted: &PeonTask) -> anyhow::Result<PeonTask> {
    let name = existing.name_any();
    if existing.metadata.deletion_timestamp.is_some() {
        bail!("a PeonTask {name} is being deleted: submit again when it is gone");
    }
    match new_task::difference(&existing, wanted) {
        None => Ok(existing),
        Some(what) => bail!(
            "a PeonTask {name} exists already, with another {what}: give the new one another name, or \
             delete the existing one first"
        ),
    }
}

async fn create_chunks(cluster: &Cluster, task: &PeonTask, new: &New) -> anyhow::Result<()> {
    let Some((_, kind)) = new.chunks else {
        return Ok(());
    };
    let resource = match kind {
        Kind::ConfigMap => "configmaps",
        Kind::Secret => "secrets",
    };
    for chunk in new.objects(task) {
        let name = chunk["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let made = create::create(&cluster.client, &cluster.namespace, kind, chunk).await;
        match made.map_err(|e| cluster.doing("create", resource, &name).failed(e))? {
            Made::Created => {}
            Made::Exists => {
                let owners = create::owners(&cluster.client, &cluster.namespace, kind, &name).await;
                let owners = owners.map_err(|e| cluster.doing("get", resource, &name).failed(e))?;
                let uid = task.uid();
                if !owners.iter().any(|o| Some(&o.uid) == uid.as_ref()) {
                    bail!(
                        "{resource}/{name} belongs to another owner, perhaps to a task of this name that \
                         was just deleted"
                    );
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
