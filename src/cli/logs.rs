//! `kubectl peon logs`: from the pod while it exists, else from the archive.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use futures::TryStreamExt;
use futures::io::{AsyncRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use kube::{Api, ResourceExt};

use super::archive::{ArchiveFlags, Log, Way};
use super::connection::{Cluster, Flags};
use super::duration;
use super::follow::follow;
use super::outcome::Outcome;
use super::output::{Out, note};
use super::progress::Progress;
use super::tasks;
use crate::api::{ANNOTATION_CONTAINER, PEON_CONTAINER, PeonTask, PeonTaskStatus, Phase, conditions};
use crate::logs::format::report;
use crate::logs::format::shared_log::{LineCutter, TaskLines};

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

    /// Print the last lines only, this many; with --follow of a peon that runs, and then what follows them.
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,

    /// Print only what was written in this time before now, such as 90s, 5m or 1h30m; not of an archived log.
    #[arg(long, value_parser = duration::parse, value_name = "TIME", conflicts_with = "from_archive")]
    since: Option<Duration>,

    /// Print the archived log even if a PeonTask of this name exists: that of the newest finished task with this name or
    /// Druid id.
    #[arg(long, conflicts_with_all = ["follow", "previous", "attempt"])]
    from_archive: bool,

    #[command(flatten)]
    archive: ArchiveFlags,
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
        let pod_name = tasks::pod_of(&task, number);
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let pod = pods.get_opt(&pod_name).await;
        let pod = pod.map_err(|e| cluster.doing("get", "pods", &pod_name).failed(e))?;
        let Some(pod) = pod.filter(|p| belongs(p, &task, number)) else {
            let gone = format!("{} is gone ({})", pod_words(&task, number), ended(&task, number));
            return self.of_status(cluster, &task, &gone).await;
        };
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let container = annotations
            .get(ANNOTATION_CONTAINER)
            .map_or(PEON_CONTAINER, String::as_str);
        // The report behind the log of a peon that has ended would be among the kubelet's last lines.
        let runs = pod.status.and_then(|status| status.phase).as_deref() == Some("Running");
        let follows = self.follow && runs;
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: self.follow,
            since_seconds: self
                .since
                .map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
            tail_lines: self.tail.filter(|_| follows).map(i64::from),
            ..LogParams::default()
        };
        let stream = pods.log_stream(&pod_name, &params).await;
        let stream = stream.map_err(|e| cluster.doing("get", "pods/log", &pod_name).failed(e))?;
        let cutter = shared_lines(&task, number).map(LineCutter::new);
        print(stream, cutter, Tail::of(self.tail.filter(|_| !follows)))
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
        if self.since.is_some() {
            bail!("this log is archived, without the times of its lines: leave --since out");
        }
        if self.attempt.is_some() || self.previous || attempts.is_some_and(|n| n > 1) {
            note(
                "this is the archived log of all attempts: each attempt begins with a line of \
                 [peon-operator]",
            );
        }
        let mut out = Out::stdout();
        let mut tail = Tail::of(self.tail);
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

/// Whether a pod is that of this attempt, and not one that an earlier task of the name left. One of an Indexer belongs to
/// its pool; the status names it.
fn belongs(pod: &Pod, task: &PeonTask, number: u32) -> bool {
    if number == task.attempt() && tasks::is_in_indexer(task) {
        let claimed = task.status.as_ref().and_then(PeonTaskStatus::pod_uid);
        return claimed.is_some() && pod.metadata.uid.as_deref() == claimed;
    }
    let uid = task.uid();
    pod.owner_references()
        .iter()
        .any(|owner| Some(&owner.uid) == uid.as_ref())
}

/// The lines of the current attempt, if it shares its Indexer with other tasks.
fn shared_lines(task: &PeonTask, number: u32) -> Option<TaskLines> {
    let status = task.status.as_ref().filter(|_| number == task.attempt())?;
    let run = status.run.as_ref().filter(|run| run.slot.is_some())?;
    Some(TaskLines {
        task_id: status.task_id.clone()?,
        pod_uid: run.pod_uid.clone()?,
        since: Timestamp::UNIX_EPOCH,
    })
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

/// Prints a log without the report behind it: its bytes as they are, since a log need not be text, or visibly on a terminal.
/// Of a shared Indexer, only the task's lines are printed.
async fn print(
    mut stream: impl AsyncRead + Unpin,
    mut cutter: Option<LineCutter>,
    mut tail: Tail,
) -> std::io::Result<()> {
    let mut report = report::Cutter::default();
    let mut out = Out::stdout();
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            let rest = cutter.map(LineCutter::end).unwrap_or_default();
            out.write(tail.take(&rest))?;
            out.write(tail.take(&report.finish().0))?;
            for line in tail.end() {
                out.write(&line)?;
            }
            return out.end();
        }
        let mut log = Vec::new();
        match &mut cutter {
            Some(cutter) => log = cutter.take(&chunk[..length]),
            None => report.push(&chunk[..length], &mut log),
        }
        out.write(tail.take(&log))?;
    }
}

/// Holds back all but the last lines of a log, if only those are wanted.
#[derive(Debug, Default)]
struct Tail {
    most: Option<usize>,
    /// The last lines, the last of which may not have ended.
    lines: VecDeque<Vec<u8>>,
}

impl Tail {
    fn of(most: Option<u32>) -> Self {
        Self {
            most: most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            lines: VecDeque::new(),
        }
    }

    /// Takes the next bytes, and returns those that are to be printed at once.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(most) = self.most else { return bytes };
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            match self.lines.back_mut().filter(|last| !last.ends_with(b"\n")) {
                Some(last) => last.extend_from_slice(line),
                None => self.lines.push_back(line.to_vec()),
            }
            while self.lines.len() > most {
                self.lines.pop_front();
            }
        }
        &[]
    }

    /// The lines that were held back.
    fn end(self) -> impl Iterator<Item = Vec<u8>> {
        self.lines.into_iter()
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
    fn the_last_lines_are_the_last_wherever_pieces_end() {
        let log = b"one\ntwo\n\nthree\nfour";
        for (most, expected) in [
            (Some(2), &b"three\nfour"[..]),
            (Some(3), b"\nthree\nfour"),
            (Some(0), b""),
            (Some(9), log),
            (None, log),
        ] {
            for at in 0..=log.len() {
                let mut tail = Tail::of(most);
                let mut printed = tail.take(&log[..at]).to_vec();
                printed.extend_from_slice(tail.take(&log[at..]));
                printed.extend(tail.end().flatten());
                assert_eq!(printed, expected, "{most:?} {at}");
            }
        }
    }

    #[test]
    fn a_pod_of_an_earlier_task_is_not_this_tasks() {
        let pod = |uid: &str| -> Pod {
            let owner = json!({"apiVersion": "v", "kind": "PeonTask", "name": "a", "uid": uid});
            serde_json::from_value(json!({"metadata": {"name": "a-1", "ownerReferences": [owner]}})).unwrap()
        };
        let task = task("a", json!({}), json!({}));
        assert!(belongs(&pod("u"), &task, 1));
        assert!(!belongs(&pod("other"), &task, 1));
    }

    #[test]
    fn the_pod_of_an_indexer_is_the_one_that_the_status_names() {
        let pod = |uid: &str| -> Pod {
            let owner = json!({"apiVersion": "v", "kind": "IndexerPool", "name": "warm", "uid": "pool"});
            serde_json::from_value(
                json!({"metadata": {"name": "warm-a", "uid": uid, "ownerReferences": [owner]}}),
            )
            .unwrap()
        };
        let run = json!({"kind": "Worker", "pool": "warm", "pod": "warm-a", "podUID": "i"});
        let mut task = task("a", json!({}), json!({"attempt": 2, "run": run}));
        assert!(belongs(&pod("i"), &task, 2));
        assert!(!belongs(&pod("another"), &task, 2));
        assert!(!belongs(&pod("i"), &task, 1), "that of another attempt");
        assert_eq!(pod_words(&task, 2), "the pod warm-a of attempt 2");
        assert_eq!(pod_words(&task, 1), "the pod of attempt 1");
        task.status.as_mut().unwrap().run.as_mut().unwrap().pod_uid = None;
        assert!(!belongs(&pod("i"), &task, 2));
    }
}
