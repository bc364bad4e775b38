//! `kubectl peon logs`: from the pod while it exists, else from the archive.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use futures::TryStreamExt;
use futures::io::{AsyncRead, AsyncReadExt};
use kube::ResourceExt;
use kube::api::LogParams;

use super::archive::{ArchiveFlags, Log, Way};
use super::connection::{Cluster, Flags};
use super::duration;
use super::follow::follow;
use super::log_lines::{LogLines, Tail};
use super::outcome::Outcome;
use super::output::{Out, note};
use super::pod_log::PodLog;
use super::progress::Progress;
use super::tasks;
use crate::api::{PeonTask, PeonTaskStatus, Phase, conditions};

/// How much is read at a time.
const CHUNK: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Name of the PeonTask.
    name: String,

    /// Wait for the peon to start, and follow its log until it ends.
    #[arg(short, long)]
    follow: bool,

    /// Print the log of this attempt, counted from 1; default: the current attempt.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "previous")]
    attempt: Option<u32>,

    /// Print the log of the attempt before the current one.
    #[arg(short, long)]
    previous: bool,

    #[command(flatten)]
    lines: Lines,

    /// Print the archived log even if a PeonTask of this name exists: that of the newest finished task with this name or
    /// Druid id.
    #[arg(long, conflicts_with_all = ["follow", "previous", "attempt"])]
    from_archive: bool,

    #[command(flatten)]
    archive: ArchiveFlags,
}

/// Which lines are printed, and how.
#[derive(Debug, Args)]
struct Lines {
    /// Print the last lines only, this many; with --follow of a peon that runs, and then what follows them.
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,

    /// Print only what was written in this time before now, such as 90s, 5m or 1h30m; not of an archived log.
    #[arg(long, value_parser = duration::parse, value_name = "TIME", conflicts_with = "from_archive")]
    since: Option<Duration>,

    /// Begin each line with the time at which it was written; not of an archived log, which has no times.
    #[arg(long, conflicts_with = "from_archive")]
    timestamps: bool,
}

impl Logs {
    /// Prints the log of the pod of an attempt; of one that is gone, or of a task that is, the archived log.
    ///
    /// # Access control
    /// peontasks: get; with `--follow` also list, watch. pods: get. pods/log: get. For the archive see
    /// [`Way::history`] and [`Way::log`].
    pub(super) async fn run(&self, flags: &Flags) -> anyhow::Result<Outcome> {
        if let (true, Some(namespace), Some(way)) =
            (self.from_archive, flags.namespace(), self.archive.store()?)
        {
            // Neither a cluster nor a kubeconfig is needed.
            return self.of_history(&way, namespace).await;
        }
        let cluster = &flags.connect().await?;
        let found = if self.from_archive {
            None
        } else {
            self.task(cluster).await?
        };
        let Some(mut task) = found else {
            return self
                .of_history(&self.archive.way(cluster)?, &cluster.namespace)
                .await;
        };
        let mut number = self.number(&task)?;
        if self.follow && number.is_none_or(|n| Some(n) == tasks::attempt(&tasks::status(&task))) {
            task = self.await_start(cluster, task).await?;
            number = self.number(&task)?;
        }
        let status = tasks::status(&task);
        let waits = status.pod_name().is_none() && number == tasks::attempt(&status);
        let Some(number) = number.filter(|_| !waits) else {
            bail!(
                "{} has no pod yet: {}",
                self.name,
                tasks::why(&tasks::status(&task))
            );
        };
        let name = tasks::pod_of(&task, number);
        let pod = PodLog::find(cluster, &task, number).await;
        let pod = pod.map_err(|e| cluster.doing("get", "pods", &name).failed(e))?;
        let Some(pod) = pod else {
            let gone = format!("{} is gone ({})", pod_words(&task, number), ended(&task, number));
            return self.of_status(cluster, &task, &gone).await;
        };
        // The report behind the log of a peon that has ended would be among the kubelet's last lines.
        let follows = self.follow && pod.runs;
        let params = LogParams {
            follow: self.follow,
            timestamps: self.lines.timestamps,
            since_seconds: self
                .lines
                .since
                .map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
            tail_lines: self.lines.tail.filter(|_| follows).map(i64::from),
            ..LogParams::default()
        };
        let stream = pod.stream(params).await;
        let stream = stream.map_err(|e| cluster.doing("get", "pods/log", &pod.name).failed(e))?;
        let lines = LogLines::of(pod.shared)
            .with_times(self.lines.timestamps)
            .last(self.lines.tail.filter(|_| !follows));
        print(stream, lines)
            .await
            .context("the connection ended before the log was complete")?;
        Ok(Outcome::Done)
    }

    /// The task, where it was not deleted.
    async fn task(&self, cluster: &Cluster) -> anyhow::Result<Option<PeonTask>> {
        match cluster.tasks().get(&self.name).await {
            Ok(task) => Ok(Some(task)),
            // It names the object: there is such a resource, and such a namespace.
            Err(kube::Error::Api(status))
                if status.code == 404 && status.details.as_ref().is_some_and(|d| d.name == self.name) =>
            {
                Ok(None)
            }
            Err(error) => Err(cluster.doing("get", "peontasks", &self.name).failed(error)),
        }
    }

    /// The archived log of a task whose pod is gone.
    async fn of_status(&self, cluster: &Cluster, task: &PeonTask, gone: &str) -> anyhow::Result<Outcome> {
        let status = tasks::status(task);
        let (Some(id), Some(uid)) = (&status.task_id, task.uid()) else {
            bail!("{gone}, and so is its log");
        };
        let unread = || format!("{gone}, and the archive cannot be read");
        let way = self.archive.way(cluster).with_context(unread)?;
        let log = way.log(id, &uid).await.with_context(unread)?;
        let log = log.map_err(|said| anyhow!("{gone}, and so is its log: {said}{}", kept(&status)))?;
        self.print_archived(log, tasks::attempt(&status)).await
    }

    /// The archived log of a task that was deleted.
    async fn of_history(&self, way: &Way, namespace: &str) -> anyhow::Result<Outcome> {
        let name = &self.name;
        let record = way.newest(namespace, name).await.with_context(|| {
            format!(
                "there is no PeonTask {name} in the namespace {namespace}, and its log cannot be read from \
                 the archive"
            )
        })?;
        let reason = record.reason.as_deref().unwrap_or("no reason");
        let Some(id) = &record.task_id else {
            bail!("{name} ended with {reason} before its Druid id was known: it has no log");
        };
        let log = way.log(id, &record.uid).await?;
        let log = log.map_err(|said| anyhow!("{name} ended with {reason}: {said}"))?;
        self.print_archived(log, record.attempt).await
    }

    async fn print_archived(&self, mut log: Log, attempts: Option<u32>) -> anyhow::Result<Outcome> {
        if self.lines.since.is_some() || self.lines.timestamps {
            bail!("this log is archived, without the times of its lines: leave --since and --timestamps out");
        }
        if self.attempt.is_some() || self.previous || attempts.is_some_and(|n| n > 1) {
            note(
                "this is the archived log of all attempts: each attempt begins with a line of \
                 [peon-operator]",
            );
        }
        let mut out = Out::stdout();
        let mut tail = Tail::of(self.lines.tail);
        while let Some(some) = log.try_next().await? {
            out.write(tail.take(&some))?;
        }
        for line in tail.end() {
            out.write(&line)?;
        }
        out.end()?;
        Ok(Outcome::Done)
    }

    /// Which attempt is meant; `None` where there is none yet.
    fn number(&self, task: &PeonTask) -> anyhow::Result<Option<u32>> {
        let current = tasks::attempt(&tasks::status(task));
        if self.previous {
            let Some(number) = current.and_then(|n| n.checked_sub(1)).filter(|n| *n > 0) else {
                bail!("{} has no attempt before the current one", self.name);
            };
            return Ok(Some(number));
        }
        match (self.attempt, current) {
            (Some(number), Some(current)) if number > current => {
                bail!(
                    "{} has no attempt {number} yet: the current one is {current}",
                    self.name
                )
            }
            (Some(number), None) if number > 1 => bail!("{} has no attempt {number} yet", self.name),
            (Some(_), None) => Ok(None),
            (number, current) => Ok(number.or(current)),
        }
    }

    /// Waits until the task's container has begun, or never will.
    async fn await_start(&self, cluster: &Cluster, task: PeonTask) -> anyhow::Result<PeonTask> {
        let begun = |task: &PeonTask| {
            let begun = matches!(
                tasks::phase(task),
                Phase::Running | Phase::Succeeded | Phase::Failed
            );
            begun.then(|| task.clone())
        };
        match begun(&task) {
            Some(task) => Ok(task),
            None => follow(cluster, &self.name, &mut Progress::of(1), begun).await,
        }
    }
}

/// The pod of an attempt. In which Indexer an earlier attempt ran is not recorded.
fn pod_words(task: &PeonTask, number: u32) -> String {
    if number == task.attempt() {
        format!("the pod {} of attempt {number}", tasks::pod_of(task, number))
    } else {
        format!("the pod of attempt {number}")
    }
}

/// What became of the log, as far as the status says.
fn kept(status: &PeonTaskStatus) -> String {
    conditions::find(&status.conditions, conditions::LOGS_ARCHIVED)
        .map_or_else(String::new, |c| format!(" ({}: {})", c.reason, c.message))
}

/// How an attempt ended, as far as the status keeps it.
fn ended(task: &PeonTask, number: u32) -> String {
    let status = tasks::status(task);
    match status.attempts.iter().find(|a| a.number == number) {
        Some(record) => format!("that attempt ended with {}", record.cause),
        None => tasks::why(&status),
    }
}

/// Prints a log: its bytes as they are, since a log need not be text, or visibly on a terminal.
async fn print(mut stream: impl AsyncRead + Unpin, mut lines: LogLines) -> std::io::Result<()> {
    let mut out = Out::stdout();
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            out.write(&lines.end())?;
            return out.end();
        }
        out.write(&lines.take(&chunk[..length]))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tasks::tests::task;
    use clap::Parser;
    use serde_json::json;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        logs: Logs,
    }

    fn logs(attempt: Option<u32>, previous: bool) -> Logs {
        let mut line = vec!["logs".to_owned(), "a".to_owned()];
        line.extend(attempt.map(|n| format!("--attempt={n}")));
        line.extend(previous.then(|| "--previous".to_owned()));
        Line::try_parse_from(line).unwrap().logs
    }

    #[test]
    fn the_attempt_is_the_current_one_unless_said_otherwise() {
        let third = task(
            "a",
            json!({}),
            json!({"attempt": 3, "attempts": [{"number": 1, "cause": "OOMKilled"}]}),
        );
        let number = |attempt, previous, task: &PeonTask| logs(attempt, previous).number(task);
        assert_eq!(number(None, false, &third).unwrap(), Some(3));
        assert_eq!(number(None, true, &third).unwrap(), Some(2));
        assert_eq!(number(Some(1), false, &third).unwrap(), Some(1));
        assert!(number(Some(4), false, &third).is_err());
        assert_eq!(ended(&third, 1), "that attempt ended with OOMKilled");
        let new = task("a", json!({}), json!({}));
        assert_eq!(number(None, false, &new).unwrap(), None);
        assert_eq!(number(Some(1), false, &new).unwrap(), None);
        assert!(number(None, true, &new).is_err());
        assert!(number(Some(2), false, &new).is_err());
    }

    #[test]
    fn an_attempt_is_named_by_its_pod_where_that_is_known() {
        let run = json!({"kind": "Worker", "pool": "warm", "pod": "warm-a", "podUID": "i"});
        let task = task("a", json!({}), json!({"attempt": 2, "run": run}));
        assert_eq!(pod_words(&task, 2), "the pod warm-a of attempt 2");
        assert_eq!(pod_words(&task, 1), "the pod of attempt 1");
    }

    #[test]
    fn an_archived_log_has_no_times() {
        let line = ["logs", "a", "--timestamps", "--from-archive"];
        assert!(Line::try_parse_from(line).is_err());
        assert!(Line::try_parse_from(&line[..3]).unwrap().logs.lines.timestamps);
    }
}
