//! Reads the log of one attempt to its end, and writes it as parts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::AsyncReadExt;
use futures::future::BoxFuture;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::buffer::{Log, Next};
use super::decide::log_mark::LogMark;
use super::source::{Closed, Source};
use super::spool::{Disk, Report, Slice};
use super::store_retry::{RETRY, Tell, retry};
use crate::logs::fair_share::{Share, Shares};
use crate::logs::format::attempt_parts;
use crate::logs::format::parts::{Part, PartName};
use crate::logs::format::state::KeepLog;
use crate::logs::store::archive::ArchiveError;
use crate::logs::store::task_archive::TaskArchive;
use crate::metrics::logs::LogMetrics;

/// How much of a stream is read at a time.
const CHUNK: usize = 64 * 1024;
/// A part is written at the latest when so much of it has come.
const LARGE: u64 = 8 << 20;
/// The end of a log that is no longer than this is not worth a part: it waits in memory until the log is composed.
const SHORT: u64 = 256 * 1024;
/// A stream that says nothing for so long is asked for again: whoever stands between may have forgotten it.
const SILENCE: Duration = Duration::from_secs(240);
/// Between two attempts to open a stream, doubled each time that there is no answer, up to the second.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// A stream that ended no longer than this before its container was known to have ended has come to its end; one that
/// ended earlier was cut, and is asked for again.
const END: Duration = Duration::from_secs(3);
/// A log that is shorter was not rotated: kubelets do so at 10 MiB, unless they are told otherwise, and few are told so
/// little.
const ONE_FILE: u64 = 512 * 1024;
/// A node that has not answered for so long since the container is known to have ended will not.
const UNANSWERED: Duration = Duration::from_secs(60);
/// No pod is deleted, made anew under its name, and its container begun within this time of having been seen.
const JUST_NOW: Duration = Duration::from_secs(2);
/// A deleted task's log that found no room for so long is read no further: its place and its room are others'.
const CROWDED: Duration = Duration::from_secs(10);
/// What the log says where its end may be missing.
const DELETED: &str =
    "[peon-operator] the end of the log may be missing: the pod was deleted before it was read\n";
const NO_ANSWER: &str = "[peon-operator] the end of the log may be missing: the pod's node does not answer\n";

/// What all followers share.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How often what was read is written to the store.
    pub flush: Duration,
    /// Most bytes of a log; what comes after them is left out, and the log says so.
    pub most: u64,
    /// Where what was read waits for the store.
    pub disk: Disk,
    /// How many parts, logs that are put together and reports are in memory at the same time.
    pub uploads: Shares,
    /// Where it is counted.
    pub metrics: LogMetrics,
}

/// How far a task is, as the controller sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Goal {
    /// Its attempts.
    pub attempts: BTreeMap<u32, KeepLog>,
    /// When the pod of an attempt was seen, for those that were.
    pub seen: BTreeMap<u32, Instant>,
    /// Whether no attempt follows.
    pub last: bool,
    /// Whether its PeonTask is gone: what there is is archived, and no more is waited for.
    pub abandoned: bool,
}

impl Goal {
    /// Whether the container of this attempt has ended.
    #[must_use]
    pub fn ended(&self, attempt: u32) -> bool {
        self.attempts.get(&attempt).is_some_and(|a| a.ended)
    }
}

/// What was read of an attempt.
#[derive(Debug, Default)]
pub struct Collected {
    /// Its parts in the store, in order.
    pub parts: Vec<PartName>,
    /// What is not in the store, and need not be there as a part.
    pub rest: Vec<u8>,
    /// The report, where the log ended with one.
    pub report: Option<Report>,
    /// How many times something is missing.
    pub gaps: u32,
    /// The place in the log behind it all.
    pub mark: Option<LogMark>,
}

/// Reads one attempt.
pub struct Collector<'a> {
    /// Where its log is read.
    pub source: Source,
    /// Where it is written.
    pub archive: &'a TaskArchive,
    /// Its number.
    pub attempt: u32,
    /// See [`Limits`].
    pub limits: &'a Limits,
    /// How far it is.
    pub goal: watch::Receiver<Goal>,
    /// Whom the state of the store is told.
    pub tell: Tell<'a>,
}

/// How reading a stream ended.
enum Ended {
    /// It came to its end by itself.
    End,
    /// It broke.
    Broken,
    /// The store has answered: a process before this one read a part of the log. What was read here is read again from
    /// its end on.
    Before(Vec<Part>),
}

impl Collector<'_> {
    /// Reads it to its end.
    ///
    /// # Errors
    /// When the spool cannot be used.
    pub async fn run(&self) -> std::io::Result<Collected> {
        let (disk, namespace) = (&self.limits.disk, self.source.namespace.as_str());
        let known = self.archive.parts().await;
        let mut log = match known.map(|all| attempt_parts::chain(&all, self.attempt)) {
            Ok(known) => Log::behind(known, disk, namespace).await?,
            Err(error) => {
                (self.tell)(Err(error.to_string()));
                Log {
                    sure: false,
                    ..Log::behind(Vec::new(), disk, namespace).await?
                }
            }
        };
        let mut seen = self.seen();
        let mut unanswered = None;
        let mut pause = REOPEN.0;
        // Whether the log came to its end, and is asked for once more.
        let mut confirming = false;
        let mut upload = Upload::default();
        let missing = loop {
            let ended_before = self.ended();
            let seen = std::mem::take(&mut seen);
            let eof = match self.source.open_it(log.reader.since(), seen).await {
                Ok(stream) => {
                    unanswered = None;
                    pause = REOPEN.0;
                    log.reader.again();
                    match self.stream(stream, &mut log, &mut upload).await? {
                        Ended::End => true,
                        Ended::Broken => false,
                        Ended::Before(known) => {
                            self.limits.metrics.taken(log.spool.pending());
                            let came = log.came;
                            log = Log::behind(known, disk, namespace).await?;
                            log.came = log.came.max(came);
                            continue;
                        }
                    }
                }
                // Its end was read, and who knows better is gone.
                Err(Closed::Gone) if confirming => break None,
                // Of a container that never ran there is no log.
                Err(Closed::Gone) => break log.reader.mark().is_some().then_some(DELETED),
                Err(Closed::NotStarted) if ended_before => break None,
                Err(Closed::NotStarted) => {
                    pause = REOPEN.0;
                    false
                }
                Err(Closed::Failed(why)) => {
                    tracing::debug!(pod = self.source.pod, why, "the log cannot be read");
                    if ended_before {
                        let since = *unanswered.get_or_insert_with(Instant::now);
                        if since.elapsed() > UNANSWERED {
                            break Some(NO_ANSWER);
                        }
                    }
                    false
                }
            };
            if eof && (ended_before || self.ends_now().await) {
                if confirming {
                    // The container went with its log in between.
                    log.reader.ignore_complaint();
                    break None;
                }
                if log.came < ONE_FILE || log.reader.complaint().is_some() {
                    break None;
                }
                // A kubelet that is at the end of a rotated file when the container has ended says nothing of the file
                // after it.
                confirming = true;
                continue;
            }
            if self.goal.borrow().abandoned {
                break Some(DELETED);
            }
            upload.meanwhile(&mut log, tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(REOPEN.1);
        };
        if let Some(part) = upload.0 {
            log.done(part.await).await?;
        }
        if !log.sure {
            let known = self.known_parts().await;
            if !known.is_empty() {
                // The log may still be there to be read from their end on.
                self.limits.metrics.taken(log.spool.pending());
                drop(log);
                return Box::pin(self.run()).await;
            }
        }
        self.finish(log, missing).await
    }

    /// Whether the pod was seen just now.
    fn seen(&self) -> bool {
        let goal = self.goal.borrow();
        let seen = goal.seen.get(&self.attempt);
        seen.is_some_and(|seen| seen.elapsed() < JUST_NOW)
    }

    fn ended(&self) -> bool {
        self.goal.borrow().ended(self.attempt)
    }

    async fn known_parts(&self) -> Vec<Part> {
        let parts = self.retry(|| self.archive.parts()).await;
        parts
            .map(|all| attempt_parts::chain(&all, self.attempt))
            .unwrap_or_default()
    }

    /// Whether the container's end is seen soon after that of its stream.
    async fn ends_now(&self) -> bool {
        let (attempt, mut goal) = (self.attempt, self.goal.clone());
        let ended = goal.wait_for(|goal| goal.ended(attempt));
        matches!(tokio::time::timeout(END, ended).await, Ok(Ok(_)))
    }

    /// Reads a stream; says how it ended. A part that is being written then goes on: a store that
    /// is down keeps nobody from reading on.
    async fn stream<'s>(
        &'s self,
        mut stream: impl futures::AsyncBufRead + Unpin,
        log: &mut Log,
        upload: &mut Upload<'s>,
    ) -> std::io::Result<Ended> {
        let mut chunk = vec![0; CHUNK];
        let opened = Instant::now();
        log.reader.opened(Timestamp::now());
        let mut heard = opened;
        let mut due = false;
        let mut asked: Option<BoxFuture<'_, Vec<Part>>> = None;
        // Waited for: room on disk to read into, and a place to upload from. Both give way to nobody in their queues.
        let mut room: Option<BoxFuture<'_, Share>> = None;
        let mut full_since = None;
        let mut place: Option<BoxFuture<'_, Share>> = None;
        loop {
            if !log.sure && asked.is_none() {
                asked = Some(Box::pin(self.known_parts()));
            }
            let full = !log.spool.try_grow();
            if full {
                full_since.get_or_insert_with(Instant::now);
            } else {
                full_since = None;
            }
            if full && log.spool.pending() == 0 {
                // The store would take nothing that makes room here.
                log.let_go(self.limits).await?;
            }
            if full && room.is_none() && !log.spool.is_full() {
                room = Some(Box::pin(log.spool.room()));
            }
            let pending = log.spool.pending();
            let is_time = pending > 0 && (due || full || pending >= LARGE);
            if is_time && log.sure && upload.0.is_none() && place.is_none() {
                place = Some(Box::pin(self.limits.uploads.acquire(&self.source.namespace, 1)));
            }
            tokio::select! {
                read = stream.read(&mut chunk), if !full => match read {
                    Ok(0) => return Ok(Ended::End),
                    Ok(length) => {
                        heard = Instant::now();
                        let arrival = heard.duration_since(opened);
                        log.reader.arrived(SignedDuration::try_from(arrival).unwrap_or_default());
                        log.take(&chunk[..length], self.limits).await?;
                        if log.reader.jumped() {
                            tracing::debug!(pod = self.source.pod, "the log's stream may have passed over something");
                            return Ok(Ended::Broken);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(pod = self.source.pod, %error, "the log's stream broke");
                        return Ok(Ended::Broken);
                    }
                },
                known = answer(&mut asked) => {
                    log.sure = true;
                    if !known.is_empty() {
                        return Ok(Ended::Before(known));
                    }
                }
                more = answer(&mut room) => log.spool.grow(more),
                place = answer(&mut place) => {
                    due = false;
                    log.flushed = Instant::now();
                    if let Some(slice) = log.spool.next().await? {
                        upload.0 = Some(Box::pin(self.put(slice, log.next(), place)));
                    }
                }
                part = upload.next() => log.done(part).await?,
                () = tokio::time::sleep_until((log.flushed + self.limits.flush).into()), if !due => due = true,
                () = tokio::time::sleep_until((heard + SILENCE).into()), if !full => return Ok(Ended::Broken),
                () = self.crowded_out(full_since) => return Ok(Ended::Broken),
            }
        }
    }

    /// Waits until the task is deleted and its log has found no room for long.
    async fn crowded_out(&self, full_since: Option<Instant>) {
        let Some(since) = full_since else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until((since + CROWDED).into()).await;
        if self.goal.clone().wait_for(|goal| goal.abandoned).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn finish(&self, mut log: Log, missing: Option<&str>) -> std::io::Result<Collected> {
        let mut report = log.end(self.limits).await?;
        while log.spool.pending() > SHORT {
            let place = self.limits.uploads.acquire(&self.source.namespace, 1).await;
            let Some(slice) = log.spool.next().await? else {
                break;
            };
            let part = self.put(slice, log.next(), place).await;
            log.done(part).await?;
        }
        let mut rest = Vec::new();
        while let Some(slice) = log.spool.next().await? {
            rest.extend_from_slice(&slice.bytes);
            log.spool.release(slice.bytes.len() as u64).await?;
            self.limits.metrics.taken(slice.bytes.len() as u64);
        }
        if log.excess > 0 {
            let text = format!(
                "\n[peon-operator] the log is longer than {} bytes: {} bytes are left out here\n",
                self.limits.most, log.excess
            );
            rest.extend_from_slice(text.as_bytes());
        }
        let mut gaps = log.gaps + log.reader.gaps();
        let said = log
            .reader
            .complaint()
            .map(|c| format!("[peon-operator] the kubelet says: {c}\n"));
        for text in said.as_deref().into_iter().chain(missing) {
            if !rest.is_empty() && !rest.ends_with(b"\n") {
                rest.push(b'\n');
            }
            rest.extend_from_slice(text.as_bytes());
            gaps += 1;
        }
        if let Some(report) = &mut report {
            log.spool.end_with(report);
        }
        Ok(Collected {
            mark: log.reader.mark().cloned(),
            parts: log.parts,
            rest,
            report,
            gaps,
        })
    }

    /// Writes a part, however long it takes; that of a deleted task until the store has taken nothing for a day.
    async fn put(&self, slice: Slice, next: Next, _place: Share) -> (u64, PartName) {
        let (length, began) = (slice.bytes.len() as u64, Instant::now());
        let cursor = attempt_parts::cursor(next.before.as_ref(), next.gaps, &slice.mark);
        let bytes = Bytes::from(slice.bytes);
        loop {
            // A mark's letters are those of a cursor: this does not fail.
            if let Ok(name) = PartName::new(self.attempt, next.sequence, &cursor) {
                let put = self.retry(|| self.archive.put_part(&name, bytes.clone())).await;
                if put.is_ok() || self.goal.borrow().abandoned {
                    self.limits.metrics.archived(length, began.elapsed());
                    self.limits.metrics.taken(length);
                    return (length, name);
                }
            }
            tokio::time::sleep(RETRY.1).await;
        }
    }

    /// Repeats until it works, also for a deleted task: nobody has what was read of its log but this process.
    async fn retry<T, F>(&self, action: impl Fn() -> F) -> Result<T, ArchiveError>
    where
        F: Future<Output = Result<T, ArchiveError>>,
    {
        retry(self.tell, action).await
    }
}

/// What the store says, if it was asked; nothing comes where it was not.
async fn answer<T>(asked: &mut Option<BoxFuture<'_, T>>) -> T {
    let Some(answer) = asked.as_mut() else {
        return std::future::pending().await;
    };
    let answer = answer.await;
    *asked = None;
    answer
}

/// A part that is being written, if any is.
#[derive(Default)]
struct Upload<'a>(Option<BoxFuture<'a, (u64, PartName)>>);

impl Upload<'_> {
    /// Its end; none comes where none is written.
    async fn next(&mut self) -> (u64, PartName) {
        answer(&mut self.0).await
    }

    /// Goes on with it while something else happens.
    async fn meanwhile(&mut self, log: &mut Log, other: impl Future<Output = ()>) -> std::io::Result<()> {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                () = &mut other => return Ok(()),
                part = self.next() => log.done(part).await?,
            }
        }
    }
}
